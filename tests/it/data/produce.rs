//! Produce: what is appended, when it is answered, and what the answer says.

use kafka_protocol::messages::produce_request::TopicProduceData;
use kafka_protocol::messages::{ProduceRequest, TransactionalId};
use uuid::Uuid;

use crate::support::{TestBroker, batch, request};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const INVALID_REQUIRED_ACKS: i16 = 21;
const UNKNOWN_TOPIC_ID: i16 = 100;

#[test]
fn every_version_appends_and_tells_the_offset() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = client.create_topic("t", 1, &[]);
    for (version, offset) in (3..=13).zip(0_i64..) {
        let mut request = request::produce("t", 0, -1, batch::of(&["v"]));
        if version >= 13 {
            request.topic_data[0].name = Default::default();
            request.topic_data[0].topic_id = id;
        }
        let response = client.call(version, &request);
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, offset), "v{version}");
        assert_eq!(partition.log_append_time_ms, -1, "v{version}");
        let log_start = if version >= 5 { 0 } else { -1 };
        assert_eq!(partition.log_start_offset, log_start, "v{version}");
    }
    assert_eq!(client.end_offset("t", 0), 11);
}

#[test]
fn acks_one_and_all_are_answered_and_none_is_not() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    for (acks, offset) in [(1, 0), (-1, 1)] {
        let response = client.call(9, &request::produce("t", 0, acks, batch::of(&["v"])));
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, offset), "acks={acks}");
    }
    client.begin(9, &request::produce("t", 0, 0, batch::of(&["v"])));
    // The next answer on the connection is that of the next request.
    assert_eq!(client.produce("t", 0, batch::of(&["v"])).base_offset, 3);
}

#[test]
fn acks_that_do_not_exist_are_refused() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    for acks in [2, -2, i16::MAX, i16::MIN] {
        let response = client.call(9, &request::produce("t", 0, acks, batch::of(&["v"])));
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (INVALID_REQUIRED_ACKS, -1), "acks={acks}");
    }
    assert_eq!(client.end_offset("t", 0), 0);
}

#[test]
fn an_error_without_acks_closes_the_connection() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let corrupt = batch::with_byte(&batch::of(&["v"]), 20, 0);
    let corrupt = if corrupt == batch::of(&["v"]) { batch::with_byte(&corrupt, 20, 1) } else { corrupt };
    for request in [
        request::produce("t", 0, 0, corrupt),
        request::produce("t", 1, 0, batch::of(&["v"])),
        request::produce("nowhere", 0, 0, batch::of(&["v"])),
    ] {
        let mut silent = broker.client();
        silent.begin(9, &request);
        silent.assert_closed();
    }
    assert_eq!(client.end_offset("t", 0), 0);
}

#[test]
fn partitions_and_topics_that_do_not_exist() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = client.create_topic("t", 2, &[]);
    for (topic, partition) in [("t", 2), ("t", -1), ("t", i32::MAX), ("nowhere", 0), ("..", 0), ("", 0)] {
        let answer = client.produce(topic, partition, batch::of(&["v"]));
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (UNKNOWN_TOPIC_OR_PARTITION, -1),
            "{topic}-{partition}"
        );
    }
    for (topic_id, code) in [(id, 0), (Uuid::from_u128(7), UNKNOWN_TOPIC_ID), (Uuid::nil(), UNKNOWN_TOPIC_ID)]
    {
        let mut request = request::produce("", 0, -1, batch::of(&["v"]));
        request.topic_data[0].topic_id = topic_id;
        let response = client.call(13, &request);
        assert_eq!(response.responses[0].topic_id, topic_id);
        assert_eq!(response.responses[0].partition_responses[0].error_code, code, "{topic_id}");
    }
}

#[test]
fn one_bad_partition_does_not_spoil_the_others() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("a", 2, &[]);
    client.create_topic("b", 1, &[]);
    let mut request = request::produce("a", 0, -1, batch::of(&["a0"]));
    let more =
        [("a", 1, batch::of(&["a1"])), ("b", 0, batch::of(&["b0"])), ("nowhere", 0, batch::of(&["n"]))];
    for (topic, partition, records) in more {
        let data: TopicProduceData = request::produce(topic, partition, -1, records).topic_data.remove(0);
        match request.topic_data.iter_mut().find(|known| known.name == data.name) {
            Some(known) => known.partition_data.extend(data.partition_data),
            None => request.topic_data.push(data),
        }
    }
    request.topic_data[0].partition_data[1].records =
        Some(batch::changed(&batch::of(&["x"]), |h| h.base_offset = 5));
    let response = client.call(9, &request);
    let codes: Vec<_> = response
        .responses
        .iter()
        .flat_map(|topic| {
            topic.partition_responses.iter().map(|part| (topic.name.to_string(), part.index, part.error_code))
        })
        .collect();
    let expected = [("a", 0, 0), ("a", 1, 87), ("b", 0, 0), ("nowhere", 0, UNKNOWN_TOPIC_OR_PARTITION)];
    assert_eq!(codes, expected.map(|(topic, index, code)| (topic.to_owned(), index, code)));
    assert_eq!(client.values("a", 0, 0), ["a0"]);
    assert_eq!(client.end_offset("a", 1), 0);
    assert_eq!(client.values("b", 0, 0), ["b0"]);
}

#[test]
fn more_in_sync_replicas_than_there_are_refuse_acks_all_only() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("min.insync.replicas", "2")]);
    assert_eq!(client.produce("t", 0, batch::of(&["v"])).error_code, NOT_ENOUGH_REPLICAS);
    assert_eq!(client.end_offset("t", 0), 0);
    let response = client.call(9, &request::produce("t", 0, 1, batch::of(&["v"])));
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

#[test]
fn a_transactional_id_alone_makes_no_transaction() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let id = TransactionalId(request::text("unknown"));
    let request: ProduceRequest =
        request::produce("t", 0, -1, batch::of(&["v"])).with_transactional_id(Some(id));
    // The batch is in no transaction, so nobody asks whose id it is.
    assert_eq!(client.call(9, &request).responses[0].partition_responses[0].error_code, 0);
    assert_eq!(client.values("t", 0, 0), ["v"]);
}

#[test]
fn header_keys_may_repeat_and_nulls_stay_null() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let headers: [(&[u8], Option<&[u8]>); 4] =
        [(b"k", Some(b"1")), (b"k", Some(b"2")), (b"", None), (b"k", Some(b""))];
    let sent = tidelog::record::BatchBuilder::new()
        .record_with_headers(1_000, Some(b"key"), Some(b"value"), &headers)
        .record(1_001, None, None)
        .record(999, Some(b""), Some(b""))
        .build()
        .expect("a batch");
    assert_eq!(client.produce("t", 0, sent).error_code, 0);
    let records = batch::records(&client.fetch("t", 0, 0).records.expect("records"));
    let expected: Vec<(Vec<u8>, Option<Vec<u8>>)> =
        headers.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
    assert_eq!(records[0].headers, expected);
    assert_eq!((records[1].key.clone(), records[1].value.clone()), (None, None));
    assert_eq!((records[2].key.clone(), records[2].value.clone()), (Some(Vec::new()), Some(Vec::new())));
    assert_eq!(records.iter().map(|record| record.timestamp).collect::<Vec<_>>(), [1_000, 1_001, 999]);
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn log_append_time_replaces_the_producers_and_is_told() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let before = batch::now_ms();
    // However wrong the producer's clock is: it is not looked at.
    let answer = client.produce("t", 0, batch::at(i64::MAX / 2, &["a", "b"]));
    let after = batch::now_ms();
    assert_eq!(answer.error_code, 0);
    assert!((before..=after).contains(&answer.log_append_time_ms), "{}", answer.log_append_time_ms);
    let records = batch::records(&client.fetch("t", 0, 0).records.expect("records"));
    assert!(records.iter().all(|record| record.timestamp == answer.log_append_time_ms));
    assert_eq!(records.len(), 2);
}

#[test]
fn the_batch_is_stored_as_it_came_but_for_offset_and_epoch() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    client.produce("t", 0, batch::of(&["first"]));
    let sent = batch::at(5, &["second"]);
    client.produce("t", 0, sent.clone());
    let stored = client.fetch("t", 0, 1).records.expect("records");
    assert_eq!(stored[..8], 1_i64.to_be_bytes());
    assert_eq!(stored[8..12], sent[8..12]);
    assert_eq!(stored[12..16], 0_i32.to_be_bytes());
    assert_eq!(stored[16..], sent[16..]);
}

#[test]
fn many_producers_share_a_partition_without_gap_or_overlap() {
    const PRODUCERS: usize = 8;
    const BATCHES: usize = 40;
    let broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    let total = (PRODUCERS * BATCHES * 2) as i64;
    let mut given: Vec<i64> = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let mut client = broker.client();
                scope.spawn(move || {
                    let produce = |number: usize| {
                        let value = format!("{producer}.{number}");
                        let answer = client.produce("t", 0, batch::of(&[&value, &value]));
                        assert_eq!(answer.error_code, 0);
                        answer.base_offset
                    };
                    (0..BATCHES).map(produce).collect::<Vec<i64>>()
                })
            })
            .collect();
        // A reader beside them sees every offset once and in order, and nothing above the high watermark.
        let mut reader = broker.client();
        let mut next = 0;
        while next < total {
            let request = request::fetch(vec![("t", request::wanted(0, next))]).with_max_wait_ms(100_000);
            let response = reader.call(11, &request);
            let data = &response.responses[0].partitions[0];
            assert_eq!(data.error_code, 0);
            for record in batch::records(data.records.as_ref().expect("records")) {
                assert_eq!(record.offset, next);
                next += 1;
            }
            assert!(next <= data.high_watermark, "{next} was read below {}", data.high_watermark);
        }
        producers.into_iter().flat_map(|producer| producer.join().expect("a producer")).collect()
    });
    given.sort_unstable();
    assert_eq!(given, (0..total).step_by(2).collect::<Vec<_>>());
}

#[test]
fn a_topic_may_be_flushed_as_rarely_as_kafkas() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("flush.messages", "9223372036854775807")]);
    for number in 0..10_i64 {
        assert_eq!(client.produce("t", 0, batch::of(&["v"])).base_offset, number);
        // Readable at once, although nothing was forced to disk.
        assert_eq!(client.fetch("t", 0, number).high_watermark, number + 1);
    }
}
