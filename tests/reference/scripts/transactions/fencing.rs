//! The last epochs of a producer id.

use super::{ended, write};
use crate::play::play;
use crate::transaction_requests::{Producer, describe, end, init, init_again};

/// The last epoch that a client may have.
const LAST: i16 = i16::MAX - 1;

#[test]
fn epochs_run_out() {
    play("epochs-run-out", |s| {
        let topic = s.topic("topic", 1);
        let id = s.name("a");
        // Nothing takes epochs quicker than InitProducerId.
        let wear = |s: &mut crate::script::Script, id: &str, until: i16| loop {
            let answer = s.quiet(4, &init(id));
            s.know_producer(answer.producer_id.0);
            if answer.error_code == 0 && answer.producer_epoch >= until {
                return Producer::of(&answer);
            }
        };
        s.step("an end with the last epoch gives a new producer id; again, and the other way");
        let of = wear(s, &id, LAST);
        write(s, &id, of, &topic, 0, 0, "last");
        s.call("x", 5, &end(&id, of, true));
        s.until_transaction(&id, "CompleteCommit");
        s.call("x", 0, &describe(&[&id]));
        s.call("x", 5, &end(&id, of, true));
        s.call("x", 5, &end(&id, of, false));
        s.call("x", 4, &end(&id, of, true));
        let next = Producer::of(&s.call("x", 4, &init_again(&id, of)));
        s.step("after the next transaction");
        write(s, &id, next, &topic, 0, 0, "first");
        s.call("x", 5, &end(&id, of, true));
        s.call("x", 4, &init_again(&id, of));
        ended(s, &id, next, false);

        s.step("InitProducerId with the last epoch");
        let id = s.name("b");
        let of = wear(s, &id, LAST);
        s.call("x", 4, &init_again(&id, of.plus(-2)));
        s.call("x", 4, &init_again(&id, of));
        s.call("x", 4, &init_again(&id, of));
        s.call("x", 0, &describe(&[&id]));

        s.step("a takeover from the last epoch");
        let id = s.name("c");
        let of = wear(s, &id, LAST);
        write(s, &id, of, &topic, 0, 0, "fenced");
        s.call("y", 4, &init(&id));
        s.until_transaction(&id, "CompleteAbort");
        s.call("x", 0, &describe(&[&id]));
        s.call("x", 5, &end(&id, of, true));
        s.call("y", 4, &init(&id));
        s.call("x", 0, &describe(&[&id]));
    });
}
