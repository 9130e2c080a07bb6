//! InitProducerId.

use kafka_protocol::messages::InitProducerIdRequest;

use super::{enlist, producer};
use crate::play::play;
use crate::transaction_requests::{Producer, add, describe, end, init, init_again};

#[test]
fn init_producer_id() {
    play("init-producer-id", |s| {
        for version in 0..=5 {
            s.step(&format!("v{version} of no transactional id"));
            s.call("x", version, &InitProducerIdRequest::default().with_transactional_id(None));
            s.call("x", version, &init("").with_transactional_id(None).with_transaction_timeout_ms(-1));
            s.step(&format!("v{version} of an empty one"));
            s.call("x", version, &init(""));
            s.step(&format!("v{version} of a new one, again, and again"));
            let id = s.name(&format!("v{version}"));
            s.call("x", version, &init(&id));
            s.call("x", version, &init(&id));
            s.call("y", version, &init(&id));
            s.call("x", 0, &describe(&[&id]));
            s.step(&format!("v{version} timeouts"));
            for timeout in [0, -1, i32::MIN, 1, 900_000, 900_001, i32::MAX] {
                s.call("x", version, &init(&id).with_transaction_timeout_ms(timeout));
            }
            s.call("x", version, &init("").with_transaction_timeout_ms(0));
        }
    });
}

#[test]
fn init_expected() {
    play("init-expected", |s| {
        let nobody = Producer { id: 12_345_678, epoch: 3 };
        for version in [3, 4, 5] {
            s.step(&format!("v{version} without a transactional id"));
            s.call("x", version, &init_again("", nobody).with_transactional_id(None));
            s.step(&format!("v{version} of a new transactional id"));
            let id = s.name(&format!("new-v{version}"));
            s.call("x", version, &init_again(&id, nobody));
            s.step(&format!("v{version} half of what is expected"));
            s.call("x", version, &init_again(&id, nobody.at(-1)));
            s.call("x", version, &init_again(&id, Producer { id: -1, epoch: 0 }));
            s.call("x", version, &init_again(&id, nobody.at(-2)));
            s.step(&format!("v{version} the present epoch, again, and what is wrong"));
            let (id, given) = producer(s, &format!("v{version}"));
            s.call("x", version, &init_again(&id, given));
            s.call("x", version, &init_again(&id, given));
            s.call("x", version, &init_again(&id, given.stranger()));
            s.call("x", version, &init_again(&id, given.plus(7)));
            s.call("x", version, &init_again(&id, given.plus(1)));
            s.call("x", version, &init_again(&id, given));
            s.step(&format!("v{version} after another one took over"));
            s.call("y", version, &init(&id));
            s.call("x", version, &init_again(&id, given.plus(2)));
            s.call("x", version, &init_again(&id, given.plus(1)));
        }
    });
}

#[test]
fn init_in_a_transaction() {
    play("init-in-a-transaction", |s| {
        let topic = s.topic("topic", 1);
        s.step("by a new producer: it is aborted first");
        let (id, given) = producer(s, "other");
        enlist(s, &id, given, &[(&topic, &[0])]);
        s.call("y", 4, &init(&id));
        s.until_transaction(&id, "CompleteAbort");
        s.call("y", 0, &describe(&[&id]));
        s.step("what the fenced one is told meanwhile");
        s.call("x", 3, &add(&id, given, &[(&topic, &[0])]));
        s.call("x", 4, &end(&id, given, true));
        s.call("x", 4, &end(&id, given, false));
        s.call("x", 5, &end(&id, given, true));
        s.call("x", 5, &end(&id, given, false));
        s.call("x", 4, &end(&id, given.plus(1), false));
        s.call("x", 4, &end(&id, given.plus(1), true));
        s.step("asked again");
        s.call("y", 4, &init(&id));
        s.call("y", 0, &describe(&[&id]));
        s.step("what the fenced one is told afterwards");
        s.call("x", 3, &add(&id, given, &[(&topic, &[0])]));
        s.call("x", 4, &end(&id, given, false));
        s.call("x", 5, &end(&id, given, false));
        s.call("x", 5, &end(&id, given.plus(1), false));
        s.call("x", 4, &init_again(&id, given));

        s.step("by the producer itself");
        let (id, given) = producer(s, "itself");
        enlist(s, &id, given, &[(&topic, &[0])]);
        s.call("x", 4, &init_again(&id, given));
        s.until_transaction(&id, "CompleteAbort");
        s.call("x", 0, &describe(&[&id]));
        s.call("x", 4, &init_again(&id, given));
        s.call("x", 4, &init_again(&id, given));
        s.call("x", 0, &describe(&[&id]));

        s.step("with a producer id and an epoch that are not the present ones");
        let (id, given) = producer(s, "stale");
        s.quiet(4, &init(&id));
        let present = given.plus(1);
        enlist(s, &id, present, &[(&topic, &[0])]);
        s.call("x", 4, &init_again(&id, given.stranger()));
        s.step("with an epoch that was fenced before");
        s.call("x", 4, &init_again(&id, given));
        s.step("whether the transaction is still there");
        s.repeat("y", 4, &end(&id, present, true), |answer| answer.error_code != 51);
    });
}
