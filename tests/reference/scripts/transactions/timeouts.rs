//! Transactions that take too long.

use super::{enlist, producer, write};
use crate::play::play;
use crate::transaction_requests::{
    Producer, add, describe, end, fetch_committed, init, init_again, produce, records,
};

/// A transactional id with a timeout that ends soon.
fn hasty(s: &mut crate::script::Script, name: &str) -> (String, Producer) {
    let (id, _) = producer(s, name);
    let answer = s.quiet(4, &init(&id).with_transaction_timeout_ms(1000));
    (id, Producer::of(&answer))
}

#[test]
fn overdue() {
    play("overdue-transactions", |s| {
        let topic = s.topic("topic", 1);
        s.step("of the first protocol");
        let (id, of) = hasty(s, "one");
        enlist(s, &id, of, &[(&topic, &[0])]);
        s.quiet(11, &produce(Some(&id), vec![(&topic, 0, records(of, 0, &["a"]))]));
        s.until_transaction(&id, "CompleteAbort");
        s.call("x", 0, &describe(&[&id]));
        s.call("x", 12, &fetch_committed(&topic, 0, 0));
        s.step("what its producer is told");
        s.call("x", 11, &produce(Some(&id), vec![(&topic, 0, records(of, 1, &["b"]))]));
        s.call("x", 3, &add(&id, of, &[(&topic, &[0])]));
        s.call("x", 4, &end(&id, of, true));
        s.call("x", 4, &end(&id, of, false));
        s.call("x", 4, &init_again(&id, of));
        s.step("of the second protocol");
        let (id, of) = hasty(s, "two");
        write(s, &id, of, &topic, 0, 0, "a");
        s.until_transaction(&id, "CompleteAbort");
        s.call("x", 0, &describe(&[&id]));
        s.step("what its producer is told, in the second protocol");
        s.call("x", 12, &produce(Some(&id), vec![(&topic, 0, records(of, 1, &["b"]))]));
        s.call("x", 5, &end(&id, of, true));
        s.call("x", 5, &end(&id, of, false));
        s.call("x", 12, &produce(Some(&id), vec![(&topic, 0, records(of.plus(1), 0, &["c"]))]));
        s.call("x", 5, &end(&id, of.plus(1), true));
    });
}
