//! Produce in transactions: what is let in, and what each version is told otherwise.

use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use uuid::Uuid;

use super::ask::{self, Producer};
use super::code;
use super::session::{
    BOTH, Protocol, Session, broker, committed_values, described, eventually, fetch_committed, init,
    produced, stable_end, state, until_stable,
};
use crate::support::{Client, TestBroker, batch};

/// First version that names topics by id.
const TOPIC_ID_FROM: i16 = 13;

/// A producer and what it needs to speak every version of Produce.
struct Writer {
    client: Client,
    topic: Uuid,
    id: String,
    of: Producer,
}

impl Writer {
    fn open(broker: &TestBroker, topic: Uuid, id: &str) -> Writer {
        let mut client = broker.client();
        let of = init(&mut client, id);
        Writer { client, topic, id: id.to_owned(), of }
    }

    fn request(
        &self,
        version: i16,
        id: Option<&str>,
        partition: i32,
        records: bytes::Bytes,
    ) -> ProduceRequest {
        let mut request = ask::produce(id, vec![("t", partition, records)]);
        if version >= TOPIC_ID_FROM {
            request.topic_data[0].name = Default::default();
            request.topic_data[0].topic_id = self.topic;
        }
        request
    }

    fn answer(
        &mut self,
        version: i16,
        id: Option<&str>,
        partition: i32,
        records: bytes::Bytes,
    ) -> PartitionProduceResponse {
        let request = self.request(version, id, partition, records);
        produced(&self.client.call(version, &request)).remove(0)
    }

    /// Code and base offset of a transactional batch of its own.
    fn write(&mut self, version: i16, partition: i32, of: Producer, sequence: i32) -> (i16, i64) {
        let id = self.id.clone();
        let answer = self.answer(version, Some(&id), partition, ask::records(of, sequence, &["v"]));
        (answer.error_code, answer.base_offset)
    }

    fn enlist(&mut self, partitions: &[i32]) {
        let request = ask::add(&self.id, self.of, &[("t", partitions)]);
        assert!(super::session::added(&self.client.call(3, &request)).iter().all(|code| *code == 0));
    }

    fn end(&mut self, committed: bool) {
        let request = ask::end(&self.id, self.of, committed);
        assert_eq!(self.client.call(4, &request).error_code, code::NONE);
        for partition in 0..4 {
            until_stable(&mut self.client, "t", partition);
        }
    }
}

fn topic() -> (TestBroker, Client, Uuid) {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let topic = client.create_topic("t", 4, &[]);
    (broker, client, topic)
}

const VERSIONS: std::ops::RangeInclusive<i16> = 3..=13;

fn is_second(version: i16) -> bool {
    version >= 12
}

#[test]
fn a_partition_that_is_not_enlisted_is_refused_or_enlisted_as_the_version_has_it() {
    let (broker, mut client, topic) = topic();
    for version in VERSIONS {
        let mut writer = Writer::open(&broker, topic, &format!("x{version}"));
        let (id, of) = (writer.id.clone(), writer.of);
        let before = client.end_offset("t", 1);
        let answer = writer.answer(version, Some(&id), 1, ask::records(of, 0, &["v"]));
        let expected = match version {
            ..=10 => code::INVALID_TXN_STATE,
            11 => code::TRANSACTION_ABORTABLE,
            _ => code::NONE,
        };
        assert_eq!(answer.error_code, expected, "v{version}");
        if is_second(version) {
            assert_eq!(answer.base_offset, before, "v{version}");
            assert_eq!(state(&mut client, &id), "Ongoing", "v{version}");
            assert_eq!(described(&mut client, &id).topics[0].partitions, [1], "v{version}");
        } else {
            assert_eq!((answer.base_offset, client.end_offset("t", 1)), (-1, before), "v{version}");
            assert_eq!(state(&mut client, &id), "Empty", "v{version}");
            // One enlisted partition does not let another in.
            writer.enlist(&[0]);
            assert_eq!(writer.write(version, 1, of, 0), (expected, -1), "v{version}");
            writer.enlist(&[1]);
            assert_eq!(writer.write(version, 1, of, 0), (code::NONE, before), "v{version}");
        }
        writer.end(true);
    }
}

#[test]
fn in_an_open_transaction_sequences_and_epochs_are_checked() {
    let (broker, mut client, topic) = topic();
    for version in VERSIONS {
        let mut writer = Writer::open(&broker, topic, &format!("x{version}"));
        let of = writer.of;
        if !is_second(version) {
            writer.enlist(&[0]);
        }
        let (code, at) = writer.write(version, 0, of, 0);
        assert_eq!(code, code::NONE, "v{version}");
        assert_eq!(writer.write(version, 0, of, 1), (code::NONE, at + 1), "v{version}");
        assert_eq!(writer.write(version, 0, of, 0), (code::NONE, at), "v{version} a repetition");
        for sequence in [3, 7, i32::MAX] {
            let refused = (code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
            assert_eq!(writer.write(version, 0, of, sequence), refused, "v{version} {sequence}");
        }
        for partition in [0, 2] {
            let other = writer.write(version, partition, of.plus(1), 0);
            assert_eq!(other, (code::INVALID_PRODUCER_EPOCH, -1), "v{version} in {partition}");
        }
        // What is in no transaction may not be mixed into one.
        for id in [Some(writer.id.clone()), None] {
            let answer = writer.answer(version, id.as_deref(), 0, ask::plain_records(of, 2, &["plain"]));
            assert_eq!(answer.error_code, code::INVALID_TXN_STATE, "v{version} {id:?}");
        }
        assert_eq!(client.end_offset("t", 0), at + 2, "v{version}");
        assert_eq!(client.end_offset("t", 2), 0, "v{version}");
        assert_eq!(writer.write(version, 0, of, 2), (code::NONE, at + 2), "v{version}");
        writer.end(true);
    }
}

#[test]
fn whose_batch_it_is_must_be_known() {
    let (broker, mut client, topic) = topic();
    for version in VERSIONS {
        let mut writer = Writer::open(&broker, topic, &format!("x{version}"));
        let (id, of) = (writer.id.clone(), writer.of);
        let mut code = |id: Option<&str>, of: Producer, partition: i32| {
            writer.answer(version, id, partition, ask::records(of, 0, &["v"])).error_code
        };
        let mapping = code::INVALID_PRODUCER_ID_MAPPING;
        assert_eq!(code(Some(&id), of.stranger(), 3), mapping, "v{version}");
        assert_eq!(code(Some("unknown"), of, 3), mapping, "v{version}");
        assert_eq!(code(None, of, 3), code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "v{version}");
        assert_eq!(code(Some(&id), of.plus(-1), 3), code::INVALID_PRODUCER_EPOCH, "v{version}");
        // An idempotent producer has no transactions.
        let plain = kafka_protocol::messages::InitProducerIdRequest::default().with_transactional_id(None);
        let plain = client.call(5, &plain);
        let plain = Producer { id: plain.producer_id.0, epoch: plain.producer_epoch };
        assert_eq!(code(Some(&id), plain, 3), mapping, "v{version}");
        // The id of another producer does not open its transaction.
        let other = init(&mut client, &format!("other{version}"));
        assert_eq!(code(Some(&id), other, 3), mapping, "v{version}");
        assert_eq!(client.end_offset("t", 3), 0, "v{version}");
        assert_eq!(state(&mut client, &id), "Empty", "v{version}");
    }
}

#[test]
fn an_empty_transactional_id_is_none_of_the_known_ones() {
    let (_broker, mut client, _) = topic();
    for version in [3, 11, 12] {
        let of = init(&mut client, "x");
        let request = ask::produce(Some(""), vec![("t", 0, ask::records(of, 0, &["v"]))]);
        let refused = produced(&client.call(version, &request)).remove(0).error_code;
        assert_ne!(refused, code::NONE, "v{version}");
    }
    assert_eq!(client.end_offset("t", 0), 0);
}

#[test]
fn two_producers_in_one_request_are_refused_whole() {
    let (broker, mut client, topic) = topic();
    for version in 3..TOPIC_ID_FROM {
        let mut writer = Writer::open(&broker, topic, &format!("x{version}"));
        writer.enlist(&[0, 1]);
        let other = init(&mut client, "other");
        let both =
            vec![("t", 0, ask::records(writer.of, 0, &["a"])), ("t", 1, ask::records(other, 0, &["b"]))];
        let answers = produced(&writer.client.call(version, &ask::produce(Some(&writer.id), both)));
        let codes: Vec<i16> = answers.iter().map(|answer| answer.error_code).collect();
        assert_eq!(codes, [code::INVALID_PRODUCER_ID_MAPPING; 2], "v{version}");
        assert_eq!([0, 1].map(|partition| client.end_offset("t", partition)), [0, 0], "v{version}");
    }
    // A batch of no producer is not a second one.
    let mut writer = Writer::open(&broker, topic, "mixed");
    let both = vec![("t", 0, ask::records(writer.of, 0, &["a"])), ("t", 1, batch::of(&["b"]))];
    let answers = produced(&writer.client.call(12, &ask::produce(Some("mixed"), both)));
    assert_eq!(answers.iter().map(|answer| answer.error_code).collect::<Vec<_>>(), [0, 0]);
    assert_eq!([stable_end(&mut client, "t", 0), stable_end(&mut client, "t", 1)], [0, 1]);
}

#[test]
fn partitions_fail_one_by_one() {
    let (broker, mut client, topic) = topic();
    for version in [3, 8, 11, 12] {
        let mut writer = Writer::open(&broker, topic, &format!("x{version}"));
        writer.enlist(&[1]);
        let before = [1, 2].map(|partition| client.end_offset("t", partition));
        let batches = vec![
            ("t", 1, ask::records(writer.of, 0, &["a"])),
            ("t", 2, ask::records(writer.of, 0, &["b"])),
            ("nowhere", 0, ask::records(writer.of, 0, &["c"])),
        ];
        let answers = produced(&writer.client.call(version, &ask::produce(Some(&writer.id), batches)));
        let codes: Vec<i16> = answers.iter().map(|answer| answer.error_code).collect();
        let second = match version {
            ..=10 => code::INVALID_TXN_STATE,
            11 => code::TRANSACTION_ABORTABLE,
            _ => code::NONE,
        };
        assert_eq!(codes, [code::NONE, second, code::UNKNOWN_TOPIC_OR_PARTITION], "v{version}");
        let after = [1, 2].map(|partition| client.end_offset("t", partition));
        assert_eq!(after, [before[0] + 1, before[1] + i64::from(second == 0)], "v{version}");
        writer.end(false);
    }
}

#[test]
fn the_second_protocol_begins_each_partition_with_sequence_zero() {
    let (broker, mut client, topic) = topic();
    for version in [12, 13] {
        let mut writer = Writer::open(&broker, topic, &format!("x{version}"));
        let of = writer.of;
        assert_eq!(writer.write(version, 2, of, 5), (code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1), "v{version}");
        let (code, at) = writer.write(version, 2, of, 0);
        assert_eq!(code, code::NONE, "v{version}");
        let request = ask::end(&writer.id, of, true);
        assert_eq!(writer.client.call(5, &request).error_code, code::NONE);
        // And with each epoch anew.
        let next = of.plus(1);
        assert_eq!(writer.write(version, 2, next, 1), (code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1), "v{version}");
        assert_eq!(writer.write(version, 2, next, 0), (code::NONE, at + 2), "v{version}");
        writer.of = next;
        writer.end(false);
    }
    assert_eq!(client.end_offset("t", 2), 8, "two records and two markers of each version");
}

#[test]
fn outside_of_transactions_a_transactional_producer_writes_as_others_do() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::First);
    for (number, id) in [(0, None), (1, Some("x"))] {
        let records = ask::plain_records(session.of, number, &["plain"]);
        let answer = produced(&client.call(11, &ask::produce(id, vec![("t", 0, records)]))).remove(0);
        assert_eq!((answer.error_code, answer.base_offset), (code::NONE, i64::from(number)));
    }
    assert_eq!(stable_end(&mut client, "t", 0), 2, "it is in no transaction");
    // The sequence goes on into the transaction.
    session.enlist("t", &[0]);
    let answer = session.send("t", 0, ask::records(session.of, 2, &["within"]));
    assert_eq!((answer.error_code, answer.base_offset), (code::NONE, 2));
    assert_eq!(stable_end(&mut client, "t", 0), 2);
    session.end(true);
    assert_eq!(committed_values(&mut client, "t", 0, 0), ["plain", "plain", "within"]);
}

#[test]
fn acks_of_one_and_of_none_are_within_the_transaction_too() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let mut session = Session::open(&broker, &format!("{protocol:?}"), protocol);
        if protocol == Protocol::First {
            session.enlist("t", &[0]);
        }
        let begin = client.end_offset("t", 0);
        for acks in [1, 0, 1] {
            let records = session.batch("t", 0, &["v"]);
            let request = ask::produce(Some(&session.id), vec![("t", 0, records)]).with_acks(acks);
            let number = session.client.begin(protocol.produce(), &request);
            if acks == 1 {
                let answer = session.client.finish::<ProduceRequest>(protocol.produce(), number);
                assert_eq!(produced(&answer)[0].error_code, code::NONE);
            }
        }
        assert_eq!(stable_end(&mut client, "t", 0), begin);
        session.end(true);
        // What was not acknowledged as durable becomes so some time later.
        eventually("all of it is decided", || stable_end(&mut client, "t", 0) == begin + 4);
        assert_eq!(committed_values(&mut client, "t", 0, begin), ["v"; 3]);
        // A refusal without an answer closes the connection.
        let request = ask::produce(Some("unknown"), vec![("t", 0, ask::records(session.of, 9, &["v"]))]);
        session.client.begin(protocol.produce(), &request.with_acks(0));
        session.client.assert_closed();
        assert_eq!(client.end_offset("t", 0), begin + 4);
    }
}

#[test]
fn a_repetition_after_the_window_of_five_is_not_taken_for_new() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let mut session = Session::open(&broker, &format!("{protocol:?}"), protocol);
        let begin = client.end_offset("t", 0);
        if protocol == Protocol::First {
            session.enlist("t", &[0]);
        }
        let sent: Vec<_> = (0..8).map(|number| session.batch("t", 0, &[&number.to_string()])).collect();
        for (number, records) in (0..).zip(&sent) {
            assert_eq!(session.send("t", 0, records.clone()).base_offset, begin + number);
        }
        for (number, records) in (3..).zip(&sent[3..]) {
            let again = session.send("t", 0, records.clone());
            assert_eq!((again.error_code, again.base_offset), (code::NONE, begin + number), "{number}");
        }
        for records in &sent[..3] {
            let again = session.send("t", 0, records.clone());
            assert_eq!(again.error_code, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
        }
        session.end(true);
        assert_eq!(client.end_offset("t", 0), begin + 9);
        // After a marker of the same epoch the window is still there.
        if protocol == Protocol::First {
            let again = session.send("t", 0, sent[7].clone());
            assert_eq!((again.error_code, again.base_offset), (code::NONE, begin + 7));
        }
    }
}

#[test]
fn clients_cannot_write_markers() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::Second);
    session.write("t", 0, &["v"]);
    let marker = tidelog::record::EndMarker {
        producer_id: session.of.id,
        producer_epoch: session.of.epoch,
        coordinator_epoch: 0,
        outcome: tidelog::record::TransactionOutcome::Commit,
    };
    for version in [9, 11, 12] {
        let records = marker.to_batch(batch::now_ms());
        let request = ask::produce(Some("x"), vec![("t", 0, records)]);
        assert_eq!(produced(&client.call(version, &request))[0].error_code, code::INVALID_RECORD);
    }
    assert_eq!(stable_end(&mut client, "t", 0), 0);
    assert!(fetch_committed(&mut client, "t", 0, 0).records.unwrap_or_default().is_empty());
}
