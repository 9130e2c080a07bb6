//! Old segments go, by age and by size; what is left can be read and written.

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

use crate::support::{Client, TestBroker, batch, request};

const EARLIEST: i64 = -2;
const OFFSET_OUT_OF_RANGE: i16 = 1;

/// Asks until the log start is there; a broker that never gets there runs into the bound.
fn await_log_start(client: &mut Client, wanted: i64) {
    for _ in 0..2_000 {
        let found = client.list_offset("t", 0, EARLIEST).offset;
        assert!(found <= wanted, "{found} is gone too");
        if found == wanted {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the log start never came to {wanted}");
}

#[test]
fn old_segments_go() {
    let broker = TestBroker::with(&[("log.retention.check.interval.ms", "50")]);
    let mut client = broker.client();
    let configs = [("segment.ms", "1000"), ("retention.ms", "3600000"), ("file.delete.delay.ms", "0")];
    client.create_topic("t", 1, &configs);
    let now = batch::now_ms();
    // Two segments of long ago and one of now.
    for (number, age) in [7_300_000, 7_300_000, 7_200_000, 0, 0].into_iter().enumerate() {
        let answer = client.produce("t", 0, batch::at(now - age, &[&number.to_string()]));
        assert_eq!((answer.error_code, answer.base_offset), (0, number as i64));
    }
    await_log_start(&mut client, 3);
    assert_eq!(client.fetch("t", 0, 2).error_code, OFFSET_OUT_OF_RANGE);
    assert_eq!(client.values("t", 0, 3), ["3", "4"]);
    assert_eq!(client.produce("t", 0, batch::of(&["5"])).base_offset, 5);
    let dir = broker.partition_dir("t", 0);
    let is_there = || dir.join(format!("{:020}.log", 0)).exists();
    let gone = std::iter::repeat_with(|| std::thread::sleep(std::time::Duration::from_millis(20)))
        .take(2_000)
        .any(|()| !is_there());
    assert!(gone, "the file of the first segment stays");
}

#[test]
fn a_log_keeps_to_its_size() {
    let broker = TestBroker::with(&[("log.retention.check.interval.ms", "50")]);
    let mut client = broker.client();
    let configs =
        [("segment.bytes", "1048576"), ("retention.bytes", "1000000"), ("file.delete.delay.ms", "0")];
    client.create_topic("t", 1, &configs);
    for number in 0..4 {
        assert_eq!(client.produce("t", 0, batch::sized(900_000)).base_offset, number);
    }
    // One segment is not enough for the bound, two are.
    await_log_start(&mut client, 2);
    assert_eq!(client.values("t", 0, 2).len(), 2);
    assert_eq!(client.end_offset("t", 0), 4);
}

#[test]
fn a_whole_log_may_grow_old() {
    let mut broker = TestBroker::with(&[("log.retention.check.interval.ms", "50")]);
    let mut client = broker.client();
    client.create_topic("t", 1, &[("retention.ms", "1000"), ("file.delete.delay.ms", "0")]);
    let long_ago = batch::now_ms() - 7_200_000;
    for number in 0..3 {
        assert_eq!(client.produce("t", 0, batch::at(long_ago, &["old"])).base_offset, number);
    }
    await_log_start(&mut client, 3);
    assert!(client.values("t", 0, 3).is_empty());
    // Offsets are never given twice, whatever else is forgotten.
    assert_eq!(client.end_offset("t", 0), 3);
    drop(client);
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    assert_eq!(client.list_offset("t", 0, EARLIEST).offset, 3);
    assert_eq!(client.produce("t", 0, batch::of(&["new"])).base_offset, 3);
}

/// Without a policy neither age nor size lets segments go; what a client deleted goes nonetheless.
#[test]
fn without_a_policy_only_deleted_records_go() {
    let broker = TestBroker::with(&[("log.retention.check.interval.ms", "50")]);
    let mut client = broker.client();
    let configs = [
        ("cleanup.policy", ""),
        ("segment.bytes", "1048576"),
        ("retention.bytes", "1000000"),
        ("retention.ms", "1000"),
        ("file.delete.delay.ms", "0"),
    ];
    client.create_topic("t", 1, &configs);
    for number in 0..4 {
        assert_eq!(client.produce("t", 0, batch::sized(900_000)).base_offset, number);
    }
    // Twenty rounds of retention.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(client.list_offset("t", 0, EARLIEST).offset, 0);
    assert_eq!(client.values("t", 0, 0).len(), 4);
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(2);
    let topic = DeleteRecordsTopic::default().with_name(request::name("t")).with_partitions(vec![partition]);
    let deleted = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    assert_eq!(client.call(2, &deleted).topics[0].partitions[0].error_code, 0);
    let dir = broker.partition_dir("t", 0);
    let is_there = |base: i64| dir.join(format!("{base:020}.log")).exists();
    let gone = std::iter::repeat_with(|| std::thread::sleep(std::time::Duration::from_millis(20)))
        .take(2_000)
        .any(|()| !is_there(0) && !is_there(1));
    assert!(gone, "the files of deleted records stay");
    assert!(is_there(2));
    assert_eq!(client.values("t", 0, 2).len(), 2);
}

/// Records from the future are young, as in Kafka: their segment and all behind it stay.
#[test]
fn records_from_the_future_stay() {
    let broker = TestBroker::with(&[("log.retention.check.interval.ms", "50")]);
    let mut client = broker.client();
    let configs = [("segment.bytes", "1048576"), ("retention.ms", "3600000"), ("file.delete.delay.ms", "0")];
    client.create_topic("t", 1, &configs);
    let (old, future) = (batch::now_ms() - 7_200_000, batch::now_ms() + 1_800_000);
    let large = "x".repeat(900_000);
    for (number, timestamp) in [old, future, old, old].into_iter().enumerate() {
        let answer = client.produce("t", 0, batch::at(timestamp, &[&large]));
        assert_eq!((answer.error_code, answer.base_offset), (0, number as i64));
    }
    await_log_start(&mut client, 1);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(client.list_offset("t", 0, EARLIEST).offset, 1);
    assert_eq!(client.values("t", 0, 1).len(), 3);
}
