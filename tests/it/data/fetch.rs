//! Fetch: whole batches within limits, waiting for more, and what cannot be fetched.

use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tidelog::record::Compression;
use uuid::Uuid;

use crate::support::{Client, TestBroker, batch, request};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNKNOWN_TOPIC_ID: i16 = 100;
/// A wait that no test sits out: something else ends it.
const LONG_MS: i32 = 100_000;

fn base_offsets(data: &PartitionData) -> Vec<i64> {
    let records = data.records.clone().unwrap_or_default();
    batch::headers(&records).iter().map(|header| header.base_offset).collect()
}

fn bytes(data: &PartitionData) -> usize {
    data.records.as_ref().map_or(0, |records| records.len())
}

/// Three batches of two records each, of about 1,000 bytes; returns the size of one.
fn three_batches(client: &mut Client, topic: &str, partition: i32) -> usize {
    let value = "x".repeat(500);
    let records = batch::at(1_000, &[&value, &value]);
    for number in 0..3 {
        assert_eq!(client.produce(topic, partition, records.clone()).base_offset, number * 2);
    }
    records.len()
}

#[test]
fn every_version_reads_what_was_written() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = client.create_topic("t", 1, &[]);
    client.produce("t", 0, batch::of(&["a", "b"]));
    for version in 4..=18 {
        let mut request = request::fetch(vec![("t", request::wanted(0, 0))]);
        if version >= 13 {
            request.topics[0].topic = Default::default();
            request.topics[0].topic_id = id;
        }
        let response = client.call(version, &request);
        assert_eq!((response.error_code, response.session_id), (0, 0), "v{version}");
        let topic = &response.responses[0];
        assert_eq!(topic.topic_id, if version >= 13 { id } else { Uuid::nil() }, "v{version}");
        assert_eq!(topic.topic.as_str(), if version >= 13 { "" } else { "t" }, "v{version}");
        let data = &topic.partitions[0];
        assert_eq!((data.error_code, data.high_watermark, data.last_stable_offset), (0, 2, 2), "v{version}");
        let records = batch::records(data.records.as_ref().expect("records"));
        let values: Vec<_> = records.iter().map(batch::Consumed::value_text).collect();
        assert_eq!(values, ["a", "b"], "v{version}");
        // What was aborted is told only to those who want to pass over it; nothing ever was.
        assert_eq!(data.aborted_transactions, None, "v{version}");
        let response = client.call(version, &request.with_isolation_level(1));
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.aborted_transactions, Some(Vec::new()), "v{version}");
        assert_eq!(data.records.as_ref().map(|bytes| batch::records(bytes)), Some(records), "v{version}");
    }
}

#[test]
fn an_offset_inside_a_batch_gives_the_whole_batch() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    three_batches(&mut client, "t", 0);
    assert_eq!(base_offsets(&client.fetch("t", 0, 2)), [2, 4]);
    assert_eq!(base_offsets(&client.fetch("t", 0, 3)), [2, 4]);
    assert_eq!(base_offsets(&client.fetch("t", 0, 5)), [4]);
    // Compressed batches are not opened for this.
    let folded =
        batch::builder(5, &["a", "b", "c"]).compression(Compression::Zstd, None).build().expect("a batch");
    client.produce("t", 0, folded);
    assert_eq!(base_offsets(&client.fetch("t", 0, 8)), [6]);
}

#[test]
fn the_end_is_empty_and_beyond_it_is_out_of_range() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    three_batches(&mut client, "t", 0);
    let data = client.fetch("t", 0, 6);
    assert_eq!((data.error_code, bytes(&data), data.high_watermark), (0, 0, 6));
    for offset in [7, -1, i64::MAX, i64::MIN] {
        let data = client.fetch("t", 0, offset);
        assert_eq!((data.error_code, bytes(&data)), (OFFSET_OUT_OF_RANGE, 0), "{offset}");
        assert_eq!(data.records, Some(Default::default()), "{offset}: no records are not null records");
    }
}

#[test]
fn an_error_is_told_without_waiting() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    for (topic, partition, offset, code) in [
        ("t", 0, 5, OFFSET_OUT_OF_RANGE),
        ("t", 1, 0, UNKNOWN_TOPIC_OR_PARTITION),
        ("t", -1, 0, UNKNOWN_TOPIC_OR_PARTITION),
        ("nowhere", 0, 0, UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        // The healthy partition has nothing: without the error this would wait for a minute and a half.
        let request =
            request::fetch(vec![("t", request::wanted(0, 0)), (topic, request::wanted(partition, offset))]);
        let response = client.call(11, &request.with_max_wait_ms(LONG_MS));
        let codes: Vec<_> =
            response.responses.iter().flat_map(|t| &t.partitions).map(|data| data.error_code).collect();
        assert_eq!(codes, [0, code], "{topic}-{partition} at {offset}");
    }
}

#[test]
fn unknown_ids_are_told_as_such() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = client.create_topic("t", 1, &[]);
    for (topic_id, partition, code) in [
        (Uuid::from_u128(3), 0, UNKNOWN_TOPIC_ID),
        (Uuid::nil(), 0, UNKNOWN_TOPIC_ID),
        (id, 1, UNKNOWN_TOPIC_OR_PARTITION),
        (id, 0, 0),
    ] {
        let mut request = request::fetch(vec![("", request::wanted(partition, 0))]);
        request.topics[0].topic_id = topic_id;
        let response = client.call(13, &request);
        assert_eq!(response.responses[0].topic_id, topic_id);
        assert_eq!(response.responses[0].partitions[0].error_code, code, "{topic_id}-{partition}");
    }
}

#[test]
fn a_waiting_fetch_is_woken_by_an_append_to_any_partition() {
    let broker = TestBroker::start();
    let mut writer = broker.client();
    writer.create_topic("t", 2, &[]);
    let mut ends = [0, 0];
    for partition in [0, 1, 1, 0] {
        let mut reader = broker.client();
        let at_end = [0, 1].map(|index| ("t", request::wanted(index, ends[index as usize])));
        let request = request::fetch(at_end.to_vec()).with_max_wait_ms(LONG_MS);
        let begun = reader.begin(11, &request);
        writer.produce("t", partition, batch::of(&["woken"]));
        let response = reader.finish::<FetchRequest>(11, begun);
        let woken: Vec<i32> = response.responses[0]
            .partitions
            .iter()
            .filter(|data| bytes(data) > 0)
            .map(|data| data.partition_index)
            .collect();
        assert_eq!(woken, [partition]);
        ends[partition as usize] += 1;
    }
}

#[test]
fn a_fetch_waits_for_min_bytes() {
    let broker = TestBroker::start();
    let mut writer = broker.client();
    let mut reader = broker.client();
    writer.create_topic("t", 1, &[]);
    let records = batch::sized(1_000);
    let len = records.len() as i32;
    let wanted = request::fetch(vec![("t", request::wanted(0, 0))]).with_min_bytes(3 * len);
    let begun = reader.begin(11, &wanted.clone().with_max_wait_ms(LONG_MS));
    for _ in 0..3 {
        writer.produce("t", 0, records.clone());
    }
    let response = reader.finish::<FetchRequest>(11, begun);
    assert_eq!(base_offsets(&response.responses[0].partitions[0]), [0, 1, 2]);
    // When the time is over, what there is must do.
    let response = reader.call(11, &wanted.with_min_bytes(4 * len).with_max_wait_ms(50));
    assert_eq!(base_offsets(&response.responses[0].partitions[0]), [0, 1, 2]);
}

#[test]
fn a_batch_above_every_limit_is_returned_whole() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let len = three_batches(&mut client, "t", 0);
    for (max_bytes, partition_max_bytes, count) in [
        (1, 1 << 20, 1),
        (1 << 20, 1, 1),
        (0, 0, 1),
        (1 << 20, len as i32 + 1, 1),
        (1 << 20, 2 * len as i32, 2),
        (2 * len as i32, 1 << 20, 2),
        (2 * len as i32 + len as i32 - 1, 1 << 20, 2),
        (1 << 20, 1 << 20, 3),
    ] {
        let wanted = request::wanted(0, 0).with_partition_max_bytes(partition_max_bytes);
        let response = client.call(11, &request::fetch(vec![("t", wanted)]).with_max_bytes(max_bytes));
        let data = &response.responses[0].partitions[0];
        assert_eq!(bytes(data), count * len, "{max_bytes} in all, {partition_max_bytes} of a partition");
        assert_eq!(base_offsets(data).len(), count);
    }
}

#[test]
fn partitions_share_max_bytes_in_their_order() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 3, &[]);
    let len = (0..3).map(|partition| three_batches(&mut client, "t", partition)).max().expect("a batch");
    let ask = |client: &mut Client, max_bytes: usize, order: [i32; 3]| -> Vec<usize> {
        let wanted = order.map(|partition| ("t", request::wanted(partition, 0)));
        let response = client.call(11, &request::fetch(wanted.to_vec()).with_max_bytes(max_bytes as i32));
        assert_eq!(
            response.responses[0].partitions.iter().map(|data| data.partition_index).collect::<Vec<_>>(),
            order
        );
        response.responses[0].partitions.iter().map(|data| bytes(data) / len).collect()
    };
    // Only the first batch of the answer may pass the limit.
    assert_eq!(ask(&mut client, 1, [0, 1, 2]), [1, 0, 0]);
    assert_eq!(ask(&mut client, 1, [2, 0, 1]), [1, 0, 0]);
    assert_eq!(ask(&mut client, 4 * len, [0, 1, 2]), [3, 1, 0]);
    assert_eq!(ask(&mut client, 9 * len, [0, 1, 2]), [3, 3, 3]);
}

#[test]
fn the_brokers_own_limit_holds_too() {
    let broker = TestBroker::with(&[("fetch.max.bytes", "1024")]);
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let len = three_batches(&mut client, "t", 0);
    assert!(len > 1024 / 2);
    assert_eq!(base_offsets(&client.fetch("t", 0, 0)), [0]);
}

#[test]
fn leader_epochs_are_compared() {
    let mut broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    broker.client().produce("t", 0, batch::of(&["epoch 0"]));
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    client.produce("t", 0, batch::of(&["epoch 1"]));
    for (epoch, code) in [(-1, 0), (1, 0), (0, FENCED_LEADER_EPOCH), (2, UNKNOWN_LEADER_EPOCH)] {
        let wanted = request::wanted(0, 0).with_current_leader_epoch(epoch);
        let response = client.call(11, &request::fetch(vec![("t", wanted)]));
        assert_eq!(response.responses[0].partitions[0].error_code, code, "epoch {epoch}");
    }
    let records = batch::records(&client.fetch("t", 0, 0).records.expect("records"));
    assert_eq!(records.iter().map(|record| record.leader_epoch).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_history_that_parts_from_ours_is_told() {
    let mut broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    broker.client().produce("t", 0, batch::of(&["a", "b"]));
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    client.produce("t", 0, batch::of(&["c"]));
    // Epoch 0 ended at offset 2: a client that saw offset 2 in it saw something that is gone.
    let wanted = request::wanted(0, 3).with_last_fetched_epoch(0);
    let response: FetchResponse =
        client.call(12, &request::fetch(vec![("t", wanted)]).with_max_wait_ms(LONG_MS));
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.error_code, bytes(data)), (0, 0));
    assert_eq!((data.diverging_epoch.epoch, data.diverging_epoch.end_offset), (0, 2));
    let wanted = request::wanted(0, 2).with_last_fetched_epoch(0);
    let response = client.call(12, &request::fetch(vec![("t", wanted)]));
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.diverging_epoch.epoch, base_offsets(data)), (-1, vec![2]));
}

#[test]
fn large_answers_arrive_whole() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 2, &[]);
    for number in 0..12 {
        let answer = client.produce("t", number % 2, batch::sized(1_000_000));
        assert_eq!(answer.error_code, 0);
    }
    let request = request::fetch(vec![("t", request::wanted(0, 0)), ("t", request::wanted(1, 0))]);
    let response = client.call(11, &request);
    for data in &response.responses[0].partitions {
        let records = batch::records(data.records.as_ref().expect("records"));
        assert_eq!(
            records.iter().map(|record| record.offset).collect::<Vec<_>>(),
            (0..6).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_fetch_under_way_survives_the_end_of_its_topic() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("gone", 1, &[]);
    let mut reader = broker.client();
    let request = request::fetch(vec![("gone", request::wanted(0, 0))]).with_max_wait_ms(LONG_MS);
    let begun = reader.begin(11, &request);
    // A round trip of the same connection cannot be used here: it would wait for the fetch.
    let delete = kafka_protocol::messages::DeleteTopicsRequest::default()
        .with_topic_names(vec![request::name("gone")]);
    assert_eq!(client.call(5, &delete).responses[0].error_code, 0);
    let response = reader.finish::<FetchRequest>(11, begun);
    let code = response.responses[0].partitions[0].error_code;
    // Either the fetch was waiting when the topic went, or it came when it was gone.
    assert!([UNKNOWN_TOPIC_OR_PARTITION, 6].contains(&code), "{code}");
}
