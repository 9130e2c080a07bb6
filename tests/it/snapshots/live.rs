//! What a snapshot of a running broker shares with it, and that nothing of it changes later.

use std::fs;

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use tidelog::control::snapshot::{self, Wanted};

use super::{are_one, names, names_with, place, refused, take};
use crate::groups::member::eventually;
use crate::support::{Client, TestBroker, batch};

const MIB: u64 = 1 << 20;

fn delete_records(client: &mut Client, topic: &str, offset: i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let topic = DeleteRecordsTopic::default()
        .with_name(crate::support::request::name(topic))
        .with_partitions(vec![partition]);
    let response = client.call(2, &DeleteRecordsRequest::default().with_topics(vec![topic]));
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
}

#[test]
fn records_are_shared_and_outlive_their_deletion() {
    let broker = TestBroker::with(&[("log.retention.check.interval.ms", "50")]);
    let mut client = broker.client();
    client.create_topic("t", 1, &[("segment.bytes", "1048576"), ("file.delete.delay.ms", "0")]);
    for number in 0..5 {
        assert_eq!(client.produce("t", 0, batch::sized(700_000)).base_offset, number);
    }
    let (_dir, place) = place();
    let to = place.join("copy");
    let taken = take(&broker, &to);
    assert_eq!(taken.partitions, 1);
    assert!(taken.shared_bytes >= 4 * 700_000, "{taken:?}");
    assert!(taken.copied_bytes < MIB, "{taken:?}");
    let (original, copy) = (broker.partition_dir("t", 0), to.join("t-0"));
    let segments = names_with(&original, ".log");
    assert_eq!(names_with(&copy, ".log"), segments);
    let (last, sealed) = segments.split_last().expect("a segment");
    assert!(sealed.iter().all(|name| are_one(&original.join(name), &copy.join(name))));
    assert!(!are_one(&original.join(last), &copy.join(last)));
    let kept: Vec<Vec<u8>> =
        segments.iter().map(|name| fs::read(copy.join(name)).expect("a segment")).collect();

    // The records go, segment by segment, and others come.
    client.produce("t", 0, batch::of(&["later"]));
    delete_records(&mut client, "t", -1);
    eventually("the segments are deleted", || sealed.iter().all(|name| !original.join(name).exists()));
    client.produce("t", 0, batch::of(&["later still"]));
    for (name, content) in segments.iter().zip(&kept) {
        assert_eq!(&fs::read(copy.join(name)).expect("a segment"), content, "{name}");
    }
    let second = broker.another_on(&to);
    let mut client = second.client();
    assert_eq!((client.list_offset("t", 0, -2).offset, client.end_offset("t", 0)), (0, 5));
    assert_eq!(client.values("t", 0, 0).len(), 5);
    assert_eq!(client.produce("t", 0, batch::of(&["of the copy"])).base_offset, 5);
    // The first does not notice.
    drop(second);
    assert_eq!(broker.client().end_offset("t", 0), 7);
}

#[test]
fn a_large_last_segment_is_sealed_so_that_it_can_be_shared_and_a_small_one_is_not() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("large", 1, &[("max.message.bytes", "2000000")]);
    client.create_topic("small", 1, &[]);
    for _ in 0..2 {
        client.produce("large", 0, batch::sized(1_000_000));
        client.produce("small", 0, batch::sized(100_000));
    }
    let (_dir, place) = place();
    for number in 0..3 {
        let taken = take(&broker, &place.join(number.to_string()));
        assert!(taken.shared_bytes >= 2_000_000, "{taken:?}");
        assert!((200_000..300_000).contains(&taken.copied_bytes), "{taken:?}");
        assert_eq!(names_with(&broker.partition_dir("large", 0), ".log").len(), 2);
        assert_eq!(names_with(&broker.partition_dir("small", 0), ".log").len(), 1);
    }
    let copy = broker.another_on(&place.join("2"));
    assert_eq!(copy.client().values("large", 0, 0).len(), 2);
    assert_eq!(copy.client().values("small", 0, 0).len(), 2);
}

#[test]
fn logs_that_are_not_open_are_copied_and_so_are_those_of_an_unclean_stop() {
    for crash in [false, true] {
        let mut broker = TestBroker::start();
        let mut client = broker.client();
        for topic in ["large", "small", "empty"] {
            client.create_topic(topic, 1, &[("max.message.bytes", "3000000")]);
        }
        client.produce("large", 0, batch::sized(2_000_000));
        for value in ["a", "b", "c"] {
            client.produce("small", 0, batch::of(&[value]));
        }
        delete_records(&mut client, "small", 1);
        drop(client);
        match crash {
            true => broker.crash_and_restart(|_| ()),
            false => broker.restart(),
        }
        let (_dir, place) = place();
        let to = place.join("copy");
        let taken = take(&broker, &to);
        assert_eq!(taken.partitions, 3);
        assert!(taken.shared_bytes >= 2_000_000, "crash: {crash}: {taken:?}");
        let copy = broker.another_on(&to);
        let mut client = copy.client();
        assert_eq!(client.values("large", 0, 0).len(), 1, "crash: {crash}");
        assert_eq!(client.list_offset("small", 0, -2).offset, 1, "crash: {crash}");
        assert_eq!(client.values("small", 0, 1), ["b", "c"], "crash: {crash}");
        assert_eq!(client.end_offset("empty", 0), 0, "crash: {crash}");
        assert_eq!(broker.client().produce("small", 0, batch::of(&["d"])).base_offset, 3, "crash: {crash}");
    }
}

#[test]
fn aborted_transactions_are_known_in_the_copy() {
    use crate::transactions::session::{Protocol, Session, committed_values};
    let broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    let mut session = Session::open(&broker, "id", Protocol::First);
    let mut expected = Vec::new();
    let (_dir, place) = place();
    for number in 0..12 {
        let value = number.to_string();
        session.write("t", 0, &[&value]);
        session.end(number % 2 == 0);
        if number % 2 == 0 {
            expected.push(value);
        }
        if number % 4 == 3 {
            // The last segment becomes too large, and a segment with aborted transactions is sealed.
            broker.client().create_topic(&format!("filler-{number}"), 1, &[]);
            for _ in 0..2 {
                session.client.produce("t", 0, batch::sized(600_000));
                expected.push(String::new());
            }
            let to = place.join(number.to_string());
            take(&broker, &to);
            let copy = broker.another_on(&to);
            let found = committed_values(&mut copy.client(), "t", 0, 0);
            let found: Vec<String> = found
                .into_iter()
                .map(|value| if value.len() > 100 { String::new() } else { value })
                .collect();
            assert_eq!(found, expected, "after {number}");
        }
    }
    assert!(!names_with(&broker.partition_dir("t", 0), ".txnindex").is_empty());
}

#[test]
fn what_is_in_it_and_what_is_not() {
    let broker = TestBroker::start();
    broker.client().create_topic("t", 2, &[]);
    broker.client().produce("t", 0, batch::of(&["v"]));
    let to = broker.path().canonicalize().expect("a directory").join("snapshots").join("inside");
    take(&broker, &to);
    let expected = [
        "log-start-offset-checkpoint",
        "meta.properties",
        "recovery-point-offset-checkpoint",
        "state",
        "t-0",
        "t-1",
    ];
    assert_eq!(names(&to), expected);
    assert_eq!(
        names(&to.join("t-0")),
        ["00000000000000000000.log", "leader-epoch-checkpoint", "partition.metadata"]
    );
    // It is of no concern to the broker whose directory it is in, now or after a restart.
    let mut broker = broker;
    broker.restart();
    assert_eq!(broker.client().values("t", 0, 0), ["v"]);
    assert_eq!(names(&to), expected);
}

#[test]
fn everything_can_be_copied_to_another_file_system() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("max.message.bytes", "3000000")]);
    client.produce("t", 0, batch::sized(2_000_000));
    let elsewhere = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let here = tempfile::tempdir().expect("a directory");
    let device = |path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).expect("a directory"));
    let to = elsewhere.path().join("copy");
    if device(elsewhere.path()) != device(broker.path()) {
        let told = refused(&broker, &to, false);
        assert!(told.contains("another file system") && told.contains("--copy"), "{told}");
    }
    for to in [to, here.path().join("copy")] {
        let wanted = Wanted { to: to.clone(), copy: true };
        let taken = snapshot::take(broker.path(), &wanted).expect("a snapshot");
        assert!(taken.shared_bytes == 0 && taken.copied_bytes >= 2_000_000, "{taken:?}");
        assert!(names(&broker.path().join("snapshots")).is_empty(), "nothing stays in the data directory");
        for name in names_with(&to.join("t-0"), ".log") {
            assert_eq!(
                std::os::unix::fs::MetadataExt::nlink(&fs::metadata(to.join("t-0").join(&name)).unwrap()),
                1
            );
        }
        let copy = broker.another_on(&to);
        assert_eq!(copy.client().values("t", 0, 0).len(), 1);
    }
}

#[test]
fn what_cannot_be_done_is_told_and_leaves_nothing() {
    let broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    let (_dir, place) = place();
    take(&broker, &place.join("first"));
    let told = refused(&broker, &place.join("first"), false);
    assert!(told.contains("not empty"), "{told}");
    let told = refused(&broker, &place.join("nowhere").join("copy"), false);
    assert!(told.contains("nowhere"), "{told}");
    let told = refused(&broker, &broker.path().canonicalize().unwrap().join("state").join("copy"), false);
    assert!(told.contains("snapshots"), "{told}");
    assert_eq!(names(&place), ["first"]);
    broker.assert_serves();
}

#[test]
fn a_disk_that_would_be_too_full_is_told() {
    let mut broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    broker.client().produce("t", 0, batch::of(&["v"]));
    broker.change_setting("tidelog.disk.reserve.bytes", &i64::MAX.to_string());
    broker.restart();
    let (_dir, place) = place();
    let told = refused(&broker, &place.join("copy"), false);
    assert!(told.contains("free") && told.contains("--copy"), "{told}");
    assert!(names(&place).is_empty());
}
