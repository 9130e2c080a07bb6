//! EndTxn in every state, of both protocols.

use super::{enlist, producer, write};
use crate::play::play;
use crate::script::Script;
use crate::transaction_requests::{Producer, describe, end, init, init_again};

/// Everything a client may send that is wrong, or late, or early.
fn wrong(s: &mut Script, version: i16, id: &str, of: Producer) {
    for committed in [true, false] {
        s.call("x", version, &end(id, of.stranger(), committed));
        s.call("x", version, &end(id, of.plus(2), committed));
        s.call("x", version, &end(id, of.at(-1), committed));
        s.call("x", version, &end(&s.name("unknown"), of, committed));
        s.call("x", version, &end("", of, committed));
    }
}

#[test]
fn end_txn_of_the_first_protocol() {
    play("end-txn-1", |s| {
        let topic = s.topic("topic", 1);
        for version in 0..=4 {
            s.step(&format!("v{version} of nothing"));
            let (id, given) = producer(s, &format!("v{version}"));
            s.call("x", version, &end(&id, given, true));
            s.call("x", version, &end(&id, given, false));
            s.step(&format!("v{version} of others"));
            wrong(s, version, &id, given);
            s.step(&format!("v{version} a commit, again, and the other way"));
            enlist(s, &id, given, &[(&topic, &[0])]);
            wrong(s, version, &id, given);
            s.call("x", version, &end(&id, given, true));
            s.until_transaction(&id, "CompleteCommit");
            s.call("x", 0, &describe(&[&id]));
            s.call("x", version, &end(&id, given, true));
            s.call("x", version, &end(&id, given, false));
            wrong(s, version, &id, given);
            s.step(&format!("v{version} an abort, again, and the other way"));
            enlist(s, &id, given, &[(&topic, &[0])]);
            s.call("x", version, &end(&id, given, false));
            s.until_transaction(&id, "CompleteAbort");
            s.call("x", 0, &describe(&[&id]));
            s.call("x", version, &end(&id, given, false));
            s.call("x", version, &end(&id, given, true));
            s.step(&format!("v{version} after InitProducerId"));
            s.quiet(4, &init(&id));
            s.call("x", version, &end(&id, given, false));
            s.call("x", version, &end(&id, given.plus(1), false));
            s.call("x", version, &end(&id, given.plus(1), true));
        }
    });
}

#[test]
fn end_txn_of_the_second_protocol() {
    play("end-txn-2", |s| {
        let topic = s.topic("topic", 1);
        s.step("v5 a commit of nothing");
        let (id, given) = producer(s, "a");
        s.call("x", 5, &end(&id, given, true));
        s.step("v5 of others");
        wrong(s, 5, &id, given);
        s.step("v5 an abort of nothing, again with the epoch before, and with the present one");
        s.call("x", 5, &end(&id, given, false));
        s.until_transaction(&id, "CompleteAbort");
        s.call("x", 0, &describe(&[&id]));
        s.call("x", 5, &end(&id, given, false));
        s.call("x", 5, &end(&id, given, true));
        s.call("x", 5, &end(&id, given.plus(1), true));
        s.call("x", 5, &end(&id, given.plus(1), false));
        s.until_transaction(&id, "CompleteAbort");
        s.call("x", 5, &end(&id, given, false));
        s.call("x", 5, &end(&id, given.plus(2), true));
        s.step("v5 a commit, again, and the other way");
        let of = given.plus(2);
        write(s, &id, of, &topic, 0, 0, "one");
        s.call("x", 0, &describe(&[&id]));
        wrong(s, 5, &id, of);
        s.call("x", 5, &end(&id, of, true));
        s.until_transaction(&id, "CompleteCommit");
        s.call("x", 0, &describe(&[&id]));
        s.call("x", 5, &end(&id, of, true));
        s.call("x", 5, &end(&id, of, false));
        s.call("x", 5, &end(&id, of.plus(1), true));
        wrong(s, 5, &id, of);
        s.step("v5 an abort of nothing after a commit");
        s.call("x", 5, &end(&id, of.plus(1), false));
        s.until_transaction(&id, "CompleteAbort");
        s.call("x", 5, &end(&id, of.plus(1), false));
        s.call("x", 5, &end(&id, of, true));
        s.step("v5 an abort, again, and the other way");
        let of = of.plus(2);
        write(s, &id, of, &topic, 0, 0, "two");
        s.call("x", 5, &end(&id, of.plus(-1), false));
        s.call("x", 5, &end(&id, of, false));
        s.until_transaction(&id, "CompleteAbort");
        s.call("x", 5, &end(&id, of, false));
        s.call("x", 5, &end(&id, of, true));
        s.step("v4 after v5");
        let of = of.plus(1);
        s.call("x", 4, &end(&id, of, false));
        s.call("x", 4, &end(&id, of, true));
        s.call("x", 4, &end(&id, of.plus(-1), false));
        s.step("v5 after v4");
        enlist(s, &id, of, &[(&topic, &[0])]);
        s.call("x", 4, &end(&id, of, true));
        s.until_transaction(&id, "CompleteCommit");
        s.call("x", 5, &end(&id, of, true));
        s.step("v5 after v4 with the epoch before");
        s.call("x", 5, &end(&id, of.plus(-1), true));
        s.step("v5 after InitProducerId");
        s.quiet(4, &init(&id));
        s.call("x", 5, &end(&id, of, true));
        s.call("x", 5, &end(&id, of, false));
        s.call("x", 5, &end(&id, of.plus(1), true));
        s.step("InitProducerId with what was before an end, and with what it gave");
        let (id, of) = producer(s, "b");
        write(s, &id, of, &topic, 0, 0, "three");
        s.call("x", 5, &end(&id, of, true));
        s.until_transaction(&id, "CompleteCommit");
        s.call("x", 4, &init_again(&id, of));
        s.call("x", 4, &init_again(&id, of.plus(1)));
        s.call("x", 4, &init_again(&id, of));
    });
}
