//! DeleteRecords: the log start moves up, for readers at once and for good.

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

use crate::support::{Client, TestBroker, batch, request};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// DeleteRecords of one partition; -1 deletes all that is committed.
pub(super) fn request(topic: &str, partition: i32, offset: i64) -> DeleteRecordsRequest {
    let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
    let topic =
        DeleteRecordsTopic::default().with_name(request::name(topic)).with_partitions(vec![partition]);
    DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000)
}

fn delete(client: &mut Client, version: i16, topic: &str, partition: i32, offset: i64) -> (i16, i64) {
    let response = client.call(version, &request(topic, partition, offset));
    let result = &response.topics[0].partitions[0];
    (result.error_code, result.low_watermark)
}

fn fill(client: &mut Client) {
    client.create_topic("t", 1, &[]);
    for _ in 0..5 {
        client.produce("t", 0, batch::of(&["a", "b"]));
    }
}

#[test]
fn the_log_start_moves_up_and_never_back() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    fill(&mut client);
    for (version, offset, low_watermark) in
        [(0, 0, 0), (0, 3, 3), (1, 2, 3), (2, 4, 4), (2, -1, 10), (2, 0, 10)]
    {
        assert_eq!(
            delete(&mut client, version, "t", 0, offset),
            (0, low_watermark),
            "v{version} at {offset}"
        );
        assert_eq!(client.list_offset("t", 0, -2).offset, low_watermark);
        assert_eq!(client.fetch("t", 0, low_watermark).log_start_offset, low_watermark);
    }
    assert_eq!(client.end_offset("t", 0), 10);
}

#[test]
fn offsets_below_the_start_are_out_of_range() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    fill(&mut client);
    assert_eq!(delete(&mut client, 2, "t", 0, 3), (0, 3));
    assert_eq!(client.fetch("t", 0, 2).error_code, OFFSET_OUT_OF_RANGE);
    // The start lies inside a batch, which is returned whole.
    let records = batch::records(&client.fetch("t", 0, 3).records.expect("records"));
    assert_eq!(records.first().map(|record| record.offset), Some(2));
    assert_eq!(client.produce("t", 0, batch::of(&["c"])).log_start_offset, 3);
}

#[test]
fn what_cannot_be_deleted() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    fill(&mut client);
    for offset in [11, i64::MAX, -2, i64::MIN] {
        assert_eq!(delete(&mut client, 2, "t", 0, offset), (OFFSET_OUT_OF_RANGE, -1), "{offset}");
    }
    for (topic, partition) in [("t", 1), ("t", -1), ("nowhere", 0)] {
        assert_eq!(
            delete(&mut client, 2, topic, partition, 0),
            (UNKNOWN_TOPIC_OR_PARTITION, -1),
            "{topic}-{partition}"
        );
    }
    assert_eq!(client.list_offset("t", 0, -2).offset, 0);
}

#[test]
fn deleted_records_stay_deleted_over_a_crash() {
    let mut broker = TestBroker::start();
    fill(&mut broker.client());
    assert_eq!(delete(&mut broker.client(), 2, "t", 0, 7), (0, 7));
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    assert_eq!(client.list_offset("t", 0, -2).offset, 7);
    assert_eq!(client.fetch("t", 0, 6).error_code, OFFSET_OUT_OF_RANGE);
    assert_eq!(client.end_offset("t", 0), 10);
}
