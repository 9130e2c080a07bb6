//! Produce in transactions.

use super::{ended, enlist, look, producer};
use crate::play::play;
use crate::script::Script;
use crate::transaction_requests::{Producer, end, init, list_committed, plain_records, produce, records};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest};

/// One batch for one partition; from version 13 on by topic id.
fn one(
    s: &Script,
    version: i16,
    id: Option<&str>,
    topic: &str,
    partition: i32,
    batch: bytes::Bytes,
) -> ProduceRequest {
    let mut request = produce(id, vec![(topic, partition, batch)]);
    if version >= 13 {
        request.topic_data[0].topic_id = s.topic_id(topic);
    }
    request
}

#[test]
fn produce_in_a_transaction() {
    play("produce-in-a-transaction", |s| {
        let topic = s.topic("topic", 3);
        for version in 3..=13 {
            let (id, of) = producer(s, &format!("v{version}"));
            s.step(&format!("v{version} to a partition that is not enlisted"));
            s.call("x", version, &one(s, version, Some(&id), &topic, 1, records(of, 0, &["early"])));
            s.step(&format!("v{version} to one that is, again, and further"));
            enlist(s, &id, of, &[(&topic, &[0])]);
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, records(of, 0, &["a", "b"])));
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, records(of, 0, &["a", "b"])));
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, records(of, 2, &["c"])));
            s.step(&format!("v{version} with a wrong sequence"));
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, records(of, 7, &["d"])));
            s.step(&format!("v{version} what is not transactional, within"));
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, plain_records(of, 3, &["d"])));
            s.call("x", version, &one(s, version, None, &topic, 0, plain_records(of, 3, &["d"])));
            s.step(&format!("v{version} with other epochs"));
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, records(of.plus(1), 0, &["d"])));
            s.call("x", version, &one(s, version, Some(&id), &topic, 2, records(of.plus(1), 0, &["d"])));
            s.step(&format!("v{version} of a producer id that is not of the transactional id"));
            s.call("x", version, &one(s, version, Some(&id), &topic, 2, records(of.stranger(), 0, &["d"])));
            s.step(&format!("v{version} of a transactional id that is not known"));
            let unknown = s.name("unknown");
            s.call("x", version, &one(s, version, Some(&unknown), &topic, 2, records(of, 0, &["d"])));
            s.step(&format!("v{version} without a transactional id"));
            s.call("x", version, &one(s, version, None, &topic, 2, records(of, 0, &["d"])));
            s.call("x", version, &one(s, version, None, &topic, 0, records(of, 3, &["d"])));
            s.step(&format!("v{version} after the end"));
            let next = ended(s, &id, of, true);
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, records(of, 3, &["late"])));
            s.call("x", version, &one(s, version, Some(&id), &topic, 2, records(of, 0, &["late"])));
            s.call("x", version, &one(s, version, None, &topic, 0, plain_records(of, 3, &["late"])));
            s.step(&format!("v{version} the next transaction, not enlisted"));
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, records(next, 0, &["next"])));
            s.step(&format!("v{version} the next transaction"));
            enlist(s, &id, next, &[(&topic, &[0])]);
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, records(next, 0, &["next"])));
            ended(s, &id, next, false);
        }
    });
}

#[test]
fn produce_enlists() {
    play("produce-enlists", |s| {
        let topic = s.topic("topic", 3);
        for version in [12, 13] {
            let (id, of) = producer(s, &format!("v{version}"));
            s.step(&format!("v{version} the first record begins it"));
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, records(of, 0, &["a"])));
            look(s, &id, &topic);
            s.step(&format!("v{version} and the end is seen at once by the second protocol"));
            let next = ended(s, &id, of, true);
            look(s, &id, &topic);
            s.step(&format!("v{version} at once after the end"));
            let request = one(s, version, Some(&id), &topic, 0, records(next, 0, &["b"]));
            s.repeat("x", version, &request, |answer| {
                answer.responses.first().is_none_or(|topic| topic.partition_responses[0].error_code != 51)
            });
            s.step(&format!("v{version} a sequence that does not begin at 0"));
            s.call("x", version, &one(s, version, Some(&id), &topic, 2, records(next, 5, &["c"])));
            s.call("x", version, &one(s, version, Some(&id), &topic, 0, records(next, 5, &["c"])));
            ended(s, &id, next, false);
            look(s, &id, &topic);
        }
    });
}

#[test]
fn produce_of_two_producers() {
    play("produce-of-two-producers", |s| {
        let topic = s.topic("topic", 3);
        let (id, of) = producer(s, "a");
        let (_, other) = producer(s, "b");
        enlist(s, &id, of, &[(&topic, &[0, 1])]);
        for version in [8, 11, 12] {
            let at = i32::from(version);
            s.step(&format!("v{version} two producer ids in one request"));
            let batches =
                vec![(topic.as_str(), 0, records(of, 0, &["a"])), (&topic, 1, records(other, 0, &["b"]))];
            s.call("x", version, &produce(Some(&id), batches));
            s.step(&format!("v{version} one of them not transactional"));
            let batches = vec![
                (topic.as_str(), 0, records(of, at, &["a"])),
                (&topic, 1, plain_records(Producer { id: -1, epoch: -1 }, -1, &["b"])),
            ];
            s.call("x", version, &produce(Some(&id), batches));
            s.step(&format!("v{version} two partitions, one of them not enlisted"));
            let batches =
                vec![(topic.as_str(), 1, records(of, 0, &["a"])), (&topic, 2, records(of, 0, &["b"]))];
            s.call("x", version, &produce(Some(&id), batches));
        }
    });
}

#[test]
fn produce_without_a_transaction() {
    play("produce-without-a-transaction", |s| {
        let topic = s.topic("topic", 2);
        s.step("a transactional producer that writes outside of transactions");
        let (id, of) = producer(s, "a");
        s.call("x", 11, &produce(None, vec![(&topic, 0, plain_records(of, 0, &["a"]))]));
        s.call("x", 11, &produce(Some(&id), vec![(&topic, 0, plain_records(of, 1, &["b"]))]));
        s.call("x", 6, &list_committed(&topic, 0, -1));
        s.step("and then within");
        enlist(s, &id, of, &[(&topic, &[0])]);
        s.call("x", 11, &produce(Some(&id), vec![(&topic, 0, records(of, 2, &["c"]))]));
        s.call("x", 6, &list_committed(&topic, 0, -1));
        ended(s, &id, of, true);
        s.step("an idempotent producer that says it is transactional");
        let plain = s.quiet(4, &InitProducerIdRequest::default().with_transactional_id(None));
        s.know_producer(plain.producer_id.0);
        let plain = Producer::of(&plain);
        s.call("x", 11, &produce(Some(&s.name("none")), vec![(&topic, 1, records(plain, 0, &["a"]))]));
        s.call("x", 12, &produce(Some(&s.name("none")), vec![(&topic, 1, records(plain, 0, &["a"]))]));
        s.step("after a takeover");
        let (id, of) = producer(s, "b");
        enlist(s, &id, of, &[(&topic, &[1])]);
        s.call("x", 11, &produce(Some(&id), vec![(&topic, 1, records(of, 0, &["a"]))]));
        s.call("y", 4, &init(&id));
        s.until_transaction(&id, "CompleteAbort");
        s.call("x", 11, &produce(Some(&id), vec![(&topic, 1, records(of, 1, &["b"]))]));
        s.call("x", 12, &produce(Some(&id), vec![(&topic, 1, records(of, 1, &["b"]))]));
        s.call("x", 11, &produce(Some(&id), vec![(&topic, 0, records(of, 0, &["b"]))]));
        s.call("x", 12, &produce(Some(&id), vec![(&topic, 0, records(of, 0, &["b"]))]));
        s.call("y", 4, &init(&id));
        s.call("x", 11, &produce(Some(&id), vec![(&topic, 1, records(of, 1, &["b"]))]));
        s.call("x", 5, &end(&id, of, true));
    });
}
