//! Snapshots are taken while everything is going on at once: each is a state that holds together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use kafka_protocol::messages::{DeleteTopicsRequest, InitProducerIdRequest};

use super::{place, take};
use crate::groups::ask as asking;
use crate::groups::member::{commit, committed};
use crate::support::{Client, TestBroker, batch, request};
use crate::transactions::code;
use crate::transactions::session::{
    BOTH, Protocol, Session, committed_values, described, producers, until_stable,
};

const SNAPSHOTS: usize = 8;
const PARTITIONS: i32 = 3;

/// What was acknowledged so far.
#[derive(Default)]
struct Acknowledged {
    /// Number of the last transaction whose commit was, for each protocol.
    transactions: [AtomicI64; 2],
    /// Records of the plain producer in each partition.
    plain: [AtomicI64; 2],
    /// Topics that were made, and topics that were deleted, which are the same from the first on.
    made: AtomicI64,
    deleted: AtomicI64,
}

impl Acknowledged {
    fn now(&self) -> Acknowledged {
        let copy = |of: &AtomicI64| AtomicI64::new(of.load(Ordering::Acquire));
        Acknowledged {
            transactions: self.transactions.each_ref().map(copy),
            plain: self.plain.each_ref().map(copy),
            // In this order: what is deleted was made.
            deleted: copy(&self.deleted),
            made: copy(&self.made),
        }
    }
}

fn topic(protocol: Protocol) -> String {
    format!("transactions-{protocol:?}")
}

/// Transaction N writes its number into every partition, and as the offset of a group in each; every fifth is aborted.
fn transact(broker: &TestBroker, protocol: Protocol, last: &AtomicI64, stop: &AtomicBool) {
    let (id, topic) = (format!("id-{protocol:?}"), topic(protocol));
    let mut session = Session::open(broker, &id, protocol);
    for number in 1.. {
        if stop.load(Ordering::Acquire) {
            return;
        }
        for partition in 0..PARTITIONS {
            session.write(&topic, partition, &[&number.to_string()]);
        }
        let offsets: Vec<_> = (0..PARTITIONS).map(|partition| (topic.as_str(), partition, number)).collect();
        session.write_offsets(&id, &offsets);
        let commits = number % 5 != 0;
        session.end(commits);
        if commits {
            last.store(number, Ordering::Release);
        }
    }
}

/// Writes numbers, and commits where it is after each, as a consumer that is up to date does.
fn write_and_commit(broker: &TestBroker, acknowledged: &[AtomicI64; 2], stop: &AtomicBool) {
    let mut client = broker.client();
    while !stop.load(Ordering::Acquire) {
        for (partition, count) in (0..).zip(acknowledged) {
            let number = count.load(Ordering::Acquire);
            let answer = client.produce("plain", partition, batch::of(&[&number.to_string()]));
            assert_eq!((answer.error_code, answer.base_offset), (code::NONE, number));
            count.store(number + 1, Ordering::Release);
            let codes = commit(&mut client, &asking::commit("reader", "plain", &[(partition, number + 1)]));
            assert_eq!(codes, [code::NONE]);
        }
    }
}

/// New producers without end, each of which writes one record: their ids come from blocks that are reserved by and by.
fn come_and_go(broker: &TestBroker, stop: &AtomicBool) {
    let mut client = broker.client();
    while !stop.load(Ordering::Acquire) {
        for _ in 0..100 {
            let answer = client.call(4, &InitProducerIdRequest::default().with_transactional_id(None));
            assert_eq!(answer.error_code, code::NONE);
            if answer.producer_id.0 % 50 == 0 {
                let records = batch::sequenced(answer.producer_id.0, answer.producer_epoch, 0, &["x"]);
                assert_eq!(client.produce("strangers", 0, records).error_code, code::NONE);
            }
        }
    }
}

/// Makes a topic, writes to it, and deletes the one before.
fn make_and_delete(broker: &TestBroker, acknowledged: &Acknowledged, stop: &AtomicBool) {
    let mut client = broker.client();
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let name = format!("passing-{number}");
        client.create_topic(&name, 2, &[]);
        client.produce(&name, 1, batch::of(&[&name]));
        acknowledged.made.store(number + 1, Ordering::Release);
        if number > 0 {
            let former = vec![request::name(&format!("passing-{}", number - 1))];
            let answer = client.call(5, &DeleteTopicsRequest::default().with_topic_names(former));
            assert_eq!(answer.responses[0].error_code, code::NONE);
            acknowledged.deleted.store(number, Ordering::Release);
        }
    }
}

/// Everything that holds in a broker that was started from a snapshot, which was begun when so much was acknowledged.
fn assert_holds_together(broker: &TestBroker, before: &Acknowledged, what: &str) {
    let mut client = broker.client();
    for (index, protocol) in BOTH.into_iter().enumerate() {
        let (id, topic) = (format!("id-{protocol:?}"), topic(protocol));
        described(&mut client, &id);
        // What was open stays open until its producer or its timeout ends it: a new producer does.
        Session::open(broker, &id, protocol);
        let seen: Vec<Vec<String>> = (0..PARTITIONS)
            .map(|partition| {
                until_stable(&mut client, &topic, partition);
                committed_values(&mut client, &topic, partition, 0)
            })
            .collect();
        let last = seen[0].last().map_or(0, |last| last.parse().expect("a number"));
        let acknowledged = before.transactions[index].load(Ordering::Acquire);
        assert!(last >= acknowledged, "{what}: {topic} ends with {last}, {acknowledged} was acknowledged");
        let expected: Vec<String> =
            (1..=last).filter(|number| number % 5 != 0).map(|number| number.to_string()).collect();
        for partition in 0..PARTITIONS {
            assert_eq!(seen[partition as usize], expected, "{what}: {topic}-{partition}");
            let offset = committed(&mut client, &id, &topic, partition);
            assert_eq!(offset, if last == 0 { -1 } else { last }, "{what}: offset of {topic}-{partition}");
        }
    }
    for (partition, acknowledged) in (0..).zip(&before.plain) {
        let end = client.end_offset("plain", partition);
        assert!(end >= acknowledged.load(Ordering::Acquire), "{what}: plain-{partition} ends at {end}");
        let expected: Vec<String> = (0..end).map(|number| number.to_string()).collect();
        assert_eq!(client.values("plain", partition, 0), expected, "{what}: plain-{partition}");
        let offset = committed(&mut client, "reader", "plain", partition);
        assert!(
            (end - 1..=end).contains(&offset),
            "{what}: {offset} is committed in plain-{partition}, which ends at {end}"
        );
    }
    let newest = producers(&mut client, "strangers", 0).iter().map(|producer| producer.producer_id.0).max();
    let given = client.call(4, &InitProducerIdRequest::default().with_transactional_id(None)).producer_id.0;
    assert!(
        newest.is_none_or(|newest| given > newest),
        "{what}: {given} is given out again, {newest:?} has written"
    );
    assert_topics(&mut client, before, what);
}

fn assert_topics(client: &mut Client, before: &Acknowledged, what: &str) {
    let (made, deleted) = (before.made.load(Ordering::Acquire), before.deleted.load(Ordering::Acquire));
    let metadata = client.call(12, &kafka_protocol::messages::MetadataRequest::default().with_topics(None));
    let names = metadata.topics.iter().filter_map(|topic| topic.name.as_ref().map(|name| name.to_string()));
    let passing: BTreeMap<i64, String> =
        names.filter_map(|name| Some((name.strip_prefix("passing-")?.parse().ok()?, name))).collect();
    assert!(passing.keys().all(|number| *number >= deleted), "{what}: {passing:?}, {deleted} were deleted");
    // Some may have been deleted while the snapshot was taken, but only for later ones.
    let newest = passing.keys().last().copied().unwrap_or(-1);
    assert!(newest >= made - 1, "{what}: {passing:?}, {made} were made");
    for (number, name) in passing {
        let values = client.values(&name, 1, 0);
        if number < made {
            assert_eq!(values, [name.as_str()], "{what}");
        } else {
            assert!(values.len() <= 1, "{what}");
        }
        assert_eq!(client.end_offset(&name, 0), 0, "{what}");
    }
}

#[test]
fn each_snapshot_under_load_holds_together() {
    let broker = TestBroker::with(&[("log.retention.check.interval.ms", "100")]);
    let mut client = broker.client();
    for protocol in BOTH {
        // Segments begin all the time, before a pin, between it and the cut, and afterwards.
        client.create_topic(&topic(protocol), PARTITIONS, &[("segment.ms", "40"), ("retention.ms", "-1")]);
    }
    client.create_topic("plain", 2, &[("segment.ms", "100"), ("retention.ms", "-1")]);
    client.create_topic("strangers", 1, &[]);
    let (_dir, place) = place();
    let (acknowledged, stop) = (Acknowledged::default(), AtomicBool::new(false));
    let mut snapshots: Vec<(PathBuf, Acknowledged)> = Vec::new();
    std::thread::scope(|scope| {
        // Should an assertion fail, the others are to end as well.
        let _ending = Ending(&stop);
        let (broker, acknowledged, stop) = (&broker, &acknowledged, &stop);
        for (protocol, last) in BOTH.into_iter().zip(&acknowledged.transactions) {
            scope.spawn(move || transact(broker, protocol, last, stop));
        }
        scope.spawn(move || write_and_commit(broker, &acknowledged.plain, stop));
        scope.spawn(move || come_and_go(broker, stop));
        scope.spawn(move || make_and_delete(broker, acknowledged, stop));
        for number in 0..SNAPSHOTS {
            std::thread::sleep(Duration::from_millis(150 + 70 * number as u64));
            let (to, before) = (place.join(format!("snapshot-{number}")), acknowledged.now());
            let taken = take(broker, &to);
            assert!(taken.partitions >= 2 * PARTITIONS as usize + 3);
            snapshots.push((to, before));
        }
    });
    for (transactions, what) in acknowledged.transactions.iter().zip(["first", "second"]) {
        let last = transactions.load(Ordering::Acquire);
        assert!(
            last > SNAPSHOTS as i64,
            "only {last} transactions of the {what} protocol were made under way"
        );
    }
    for (number, (dir, before)) in snapshots.iter().enumerate() {
        let mut copy = broker.another_on(dir);
        assert_holds_together(&copy, before, &format!("snapshot {number}"));
        assert_epoch_begins(&copy, dir);
        // It is a data directory like any other.
        copy.restart();
        copy.assert_serves();
    }
}

/// Who saw later offsets of the broker that was copied notices that they are of another history.
fn assert_epoch_begins(copy: &TestBroker, dir: &Path) {
    let mut client = copy.client();
    let end = client.end_offset("plain", 0);
    client.produce("plain", 0, batch::of(&["of the copy"]));
    let records = batch::records(&client.fetch("plain", 0, end).records.expect("records"));
    assert_eq!(records[0].leader_epoch, 1, "{}", dir.display());
}

/// Ends the load when it is dropped.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
