//! ListOffsets: the ends of the log, and offsets by time.

use tidelog::record::{BatchBuilder, Compression};

use crate::support::{Client, TestBroker, batch, request};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;

fn look_up(client: &mut Client, version: i16, timestamp: i64) -> (i16, i64, i64, i32) {
    let response = client.call(version, &request::list_offsets("t", 0, timestamp));
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp, found.leader_epoch)
}

/// Six records in three batches, one of them compressed, with times that go up and down.
fn fill(client: &mut Client) {
    client.create_topic("t", 1, &[("retention.ms", "-1")]);
    let pair =
        |first, second| BatchBuilder::new().record(first, None, Some(b"a")).record(second, None, Some(b"b"));
    for batch in [pair(100, 300), pair(200, 400).compression(Compression::Lz4, None), pair(350, 250)] {
        assert_eq!(client.produce("t", 0, batch.build().expect("a batch")).error_code, 0);
    }
}

#[test]
fn every_version_knows_the_ends_and_the_times() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    fill(&mut client);
    for version in 1..=10 {
        let epoch = if version >= 4 { 0 } else { -1 };
        assert_eq!(look_up(&mut client, version, LATEST), (0, 6, -1, epoch), "v{version}");
        assert_eq!(look_up(&mut client, version, EARLIEST), (0, 0, -1, epoch), "v{version}");
        for (asked, offset, timestamp) in
            [(0, 0, 100), (100, 0, 100), (101, 1, 300), (300, 1, 300), (301, 3, 400), (400, 3, 400)]
        {
            let found = look_up(&mut client, version, asked);
            assert_eq!(found, (0, offset, timestamp, epoch), "v{version} at {asked}");
        }
        assert_eq!(look_up(&mut client, version, 401), (0, -1, -1, -1), "v{version}: later than everything");
        assert_eq!(look_up(&mut client, version, i64::MAX), (0, -1, -1, -1), "v{version}");
    }
}

#[test]
fn special_times_come_with_their_versions() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    fill(&mut client);
    let unsupported = (UNSUPPORTED_VERSION, -1, -1, -1);
    for version in 1..=10 {
        let expected = if version >= 7 { (0, 3, 400, 0) } else { unsupported };
        assert_eq!(look_up(&mut client, version, MAX_TIMESTAMP), expected, "v{version}");
        let expected = if version >= 8 { (0, 0, -1, 0) } else { unsupported };
        assert_eq!(look_up(&mut client, version, EARLIEST_LOCAL), expected, "v{version}");
        let expected = if version >= 9 { (0, -1, -1, -1) } else { unsupported };
        assert_eq!(look_up(&mut client, version, LATEST_TIERED), expected, "v{version}");
        for unknown in [-6, -7, i64::MIN] {
            assert_eq!(look_up(&mut client, version, unknown), unsupported, "v{version} at {unknown}");
        }
    }
}

#[test]
fn an_empty_log() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    for timestamp in [LATEST, EARLIEST] {
        let (code, offset, ..) = look_up(&mut client, 10, timestamp);
        assert_eq!((code, offset), (0, 0), "{timestamp}");
    }
    for timestamp in [MAX_TIMESTAMP, 0, 5] {
        assert_eq!(look_up(&mut client, 10, timestamp), (0, -1, -1, -1), "{timestamp}");
    }
}

#[test]
fn the_leader_epoch_is_that_of_the_offset() {
    let mut broker = TestBroker::start();
    fill(&mut broker.client());
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    let records = BatchBuilder::new().record(500, None, Some(b"later")).build().expect("a batch");
    assert_eq!(client.produce("t", 0, records).base_offset, 6);
    assert_eq!(look_up(&mut client, 10, EARLIEST), (0, 0, -1, 0));
    assert_eq!(look_up(&mut client, 10, 301), (0, 3, 400, 0));
    assert_eq!(look_up(&mut client, 10, 450), (0, 6, 500, 1));
    assert_eq!(look_up(&mut client, 10, MAX_TIMESTAMP), (0, 6, 500, 1));
    assert_eq!(look_up(&mut client, 10, LATEST), (0, 7, -1, 1));
}

#[test]
fn deleted_records_are_not_found() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    fill(&mut client);
    client.call(2, &super::delete_records::request("t", 0, 1));
    assert_eq!(look_up(&mut client, 10, EARLIEST), (0, 1, -1, 0));
    assert_eq!(look_up(&mut client, 10, 0), (0, 1, 300, 0), "the first record of the batch is gone");
    client.call(2, &super::delete_records::request("t", 0, -1));
    assert_eq!(look_up(&mut client, 10, EARLIEST), (0, 6, -1, 0));
    assert_eq!(look_up(&mut client, 10, 0), (0, -1, -1, -1));
}

#[test]
fn what_does_not_exist_and_epochs_that_do_not_fit() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    fill(&mut client);
    for (topic, partition) in [("t", 1), ("t", -1), ("nowhere", 0)] {
        let found = client.list_offset(topic, partition, LATEST);
        assert_eq!((found.error_code, found.offset), (UNKNOWN_TOPIC_OR_PARTITION, -1), "{topic}-{partition}");
    }
    drop(client);
    let mut broker = broker;
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    for (epoch, code) in [(-1, 0), (1, 0), (0, FENCED_LEADER_EPOCH), (2, UNKNOWN_LEADER_EPOCH)] {
        let mut request = request::list_offsets("t", 0, EARLIEST);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let response = client.call(10, &request);
        assert_eq!(response.topics[0].partitions[0].error_code, code, "epoch {epoch}");
    }
}

#[test]
fn log_append_time_is_looked_up_by_batch() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let time = client.produce("t", 0, batch::at(5, &["a", "b"])).log_append_time_ms;
    assert_eq!(look_up(&mut client, 10, time), (0, 0, time, 0));
    assert_eq!(look_up(&mut client, 10, time + 1), (0, -1, -1, -1));
}
