//! AddPartitionsToTxn.

use super::{ended, enlist, producer};
use crate::play::play;
use crate::transaction_requests::{add, add_all, adding, describe, end};

#[test]
fn add_partitions() {
    play("add-partitions", |s| {
        let topic = s.topic("topic", 3);
        let other = s.topic("other", 1);
        let absent = s.name("absent");
        for version in 0..=3 {
            s.step(&format!("v{version} one, again, and others"));
            let (id, given) = producer(s, &format!("v{version}"));
            s.call("x", version, &add(&id, given, &[(&topic, &[0])]));
            s.call("x", version, &add(&id, given, &[(&topic, &[0])]));
            s.call("x", version, &add(&id, given, &[(&topic, &[0, 2, 2]), (&other, &[0])]));
            s.call("x", 0, &describe(&[&id]));
            s.step(&format!("v{version} topics and partitions that there are not"));
            s.call("x", version, &add(&id, given, &[(&absent, &[0, 1]), (&topic, &[1])]));
            s.call("x", version, &add(&id, given, &[(&topic, &[1, 3])]));
            s.call("x", version, &add(&id, given, &[(&topic, &[-1])]));
            s.call("x", version, &add(&id, given.plus(1), &[(&absent, &[0])]));
            s.step(&format!("v{version} nothing"));
            s.call("x", version, &add(&id, given, &[]));
            s.call("x", version, &add(&id, given, &[(&topic, &[])]));
            s.call("x", 0, &describe(&[&id]));
            s.step(&format!("v{version} of others"));
            s.call("x", version, &add(&id, given.stranger(), &[(&topic, &[0])]));
            s.call("x", version, &add(&id, given.plus(1), &[(&topic, &[0])]));
            s.call("x", version, &add(&id, given.at(-1), &[(&topic, &[0])]));
            s.call("x", version, &add(&id, given.stranger().plus(1), &[(&topic, &[0])]));
            s.step(&format!("v{version} of an id that is not known, and of none"));
            let unknown = s.name("unknown");
            s.call("x", version, &add(&unknown, given, &[(&topic, &[0])]));
            s.call("x", version, &add("", given, &[(&topic, &[0])]));
            s.call("x", version, &add("", given, &[(&absent, &[0])]));
        }
        s.step("nothing, and nothing else: it begins all the same");
        let (id, given) = producer(s, "nothing");
        s.call("x", 3, &add(&id, given, &[]));
        s.call("x", 0, &describe(&[&id]));
        s.call("x", 4, &end(&id, given, true));
        s.until_transaction(&id, "CompleteCommit");
        s.call("x", 0, &describe(&[&id]));
        s.step("after a commit: the next transaction");
        s.call("x", 3, &add(&id, given, &[(&topic, &[1])]));
        s.call("x", 0, &describe(&[&id]));
        s.step("after an end of the second protocol, with the old epoch and the new one");
        let next = ended(s, &id, given, false);
        s.call("x", 3, &add(&id, given, &[(&topic, &[1])]));
        s.call("x", 3, &add(&id, next, &[(&topic, &[1])]));
    });
}

#[test]
fn add_partitions_in_batches() {
    play("add-partitions-in-batches", |s| {
        let topic = s.topic("topic", 3);
        let absent = s.name("absent");
        let (one, of_one) = producer(s, "one");
        let (two, of_two) = producer(s, "two");
        enlist(s, &one, of_one, &[(&topic, &[0])]);
        for version in [4, 5] {
            s.step(&format!("v{version} verified"));
            let all = vec![
                adding(&one, of_one, true, &[(&topic, &[0, 1])]),
                adding(&two, of_two, true, &[(&topic, &[0])]),
            ];
            s.call("x", version, &add_all(all));
            s.step(&format!("v{version} verified, of others"));
            s.call("x", version, &add_all(vec![adding(&one, of_one.plus(1), true, &[(&topic, &[0])])]));
            s.call("x", version, &add_all(vec![adding(&one, of_one.stranger(), true, &[(&topic, &[0])])]));
            let unknown = s.name("unknown");
            s.call("x", version, &add_all(vec![adding(&unknown, of_one, true, &[(&topic, &[0])])]));
            s.call("x", version, &add_all(vec![adding("", of_one, true, &[(&topic, &[0])])]));
            s.step(&format!("v{version} verified, partitions that there are not"));
            let topics: &[(&str, &[i32])] = &[(&absent, &[0]), (&topic, &[0, 7])];
            s.call("x", version, &add_all(vec![adding(&one, of_one, true, topics)]));
            s.step(&format!("v{version} added"));
            let all = vec![
                adding(&one, of_one, false, &[(&topic, &[0])]),
                adding(&two, of_two.plus(1), false, &[(&topic, &[0])]),
            ];
            s.call("x", version, &add_all(all));
        }
        s.step("v5 nothing");
        s.call("x", 5, &add_all(vec![]));
    });
}
