//! Idempotent producers: repeats are answered and not appended, gaps and old epochs are refused.

use kafka_protocol::messages::InitProducerIdRequest;

use crate::support::{TestBroker, batch};

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_RECORD: i16 = 87;

#[test]
fn a_repeat_is_answered_with_its_first_offset() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    for batch_number in 0..7 {
        let answer = client.produce("t", 0, batch::sequenced(9, 0, batch_number * 2, &["a", "b"]));
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(batch_number) * 2));
    }
    // The newest five are known, as many as a producer may have in flight.
    for batch_number in 2..7 {
        let answer = client.produce("t", 0, batch::sequenced(9, 0, batch_number * 2, &["a", "b"]));
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (0, i64::from(batch_number) * 2),
            "{batch_number}"
        );
        assert_eq!(answer.log_start_offset, 0);
    }
    assert_eq!(client.end_offset("t", 0), 14);
}

#[test]
fn sequences_that_do_not_follow_are_refused() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    assert_eq!(client.produce("t", 0, batch::sequenced(9, 0, 0, &["a", "b"])).error_code, 0);
    for base_sequence in [3, 1, 100, i32::MAX] {
        let answer = client.produce("t", 0, batch::sequenced(9, 0, base_sequence, &["c"]));
        assert_eq!(answer.error_code, OUT_OF_ORDER_SEQUENCE_NUMBER, "{base_sequence}");
        assert_eq!(answer.base_offset, -1, "{base_sequence}");
    }
    // A part of an earlier batch, or more than it, is no repeat.
    for values in [&["a"][..], &["a", "b", "c"]] {
        let answer = client.produce("t", 0, batch::sequenced(9, 0, 0, values));
        assert_eq!(answer.error_code, OUT_OF_ORDER_SEQUENCE_NUMBER, "{values:?}");
    }
    assert_eq!(client.end_offset("t", 0), 2);
    assert_eq!(client.produce("t", 0, batch::sequenced(9, 0, 2, &["c"])).base_offset, 2);
}

#[test]
fn sequences_wrap_to_zero() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    // A producer that is new to the partition may start anywhere.
    let answer = client.produce("t", 0, batch::sequenced(9, 0, i32::MAX - 1, &["a", "b"]));
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));
    let answer = client.produce("t", 0, batch::sequenced(9, 0, 0, &["c"]));
    assert_eq!((answer.error_code, answer.base_offset), (0, 2));
    let answer = client.produce("t", 0, batch::sequenced(9, 0, i32::MAX - 1, &["a", "b"]));
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));
}

#[test]
fn a_new_epoch_begins_at_zero_and_fences_the_old_one() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    assert_eq!(client.produce("t", 0, batch::sequenced(9, 4, 0, &["a"])).error_code, 0);
    assert_eq!(
        client.produce("t", 0, batch::sequenced(9, 5, 1, &["b"])).error_code,
        OUT_OF_ORDER_SEQUENCE_NUMBER
    );
    assert_eq!(client.produce("t", 0, batch::sequenced(9, 5, 0, &["b"])).error_code, 0);
    let stale = client.produce("t", 0, batch::sequenced(9, 4, 1, &["c"]));
    assert_eq!((stale.error_code, stale.base_offset), (INVALID_PRODUCER_EPOCH, -1));
    assert_eq!(client.end_offset("t", 0), 2);
}

#[test]
fn a_producer_without_a_sequence_is_refused() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let answer = client.produce("t", 0, batch::sequenced(9, 0, -1, &["a"]));
    assert_eq!(answer.error_code, INVALID_RECORD);
    assert_eq!(client.end_offset("t", 0), 0);
}

#[test]
fn producers_and_partitions_do_not_share_sequences() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 2, &[]);
    for partition in 0..2 {
        for producer_id in [9, 10] {
            let answer = client.produce("t", partition, batch::sequenced(producer_id, 0, 0, &["a"]));
            assert_eq!(
                (answer.error_code, answer.base_offset),
                (0, producer_id - 9),
                "{producer_id} {partition}"
            );
        }
    }
}

#[test]
fn a_repeat_in_log_append_time_tells_the_first_time() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let sent = batch::sequenced(9, 0, 0, &["a"]);
    let first = client.produce("t", 0, sent.clone());
    let again = client.produce("t", 0, sent);
    assert_eq!((again.base_offset, again.log_append_time_ms), (first.base_offset, first.log_append_time_ms));
    assert!(first.log_append_time_ms > 0);
}

fn idempotent() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000)
}

#[test]
fn producer_ids_are_never_given_twice() {
    let mut broker = TestBroker::start();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let mut client = broker.client();
        for version in 0..=5 {
            let answer = client.call(version, &idempotent());
            assert_eq!((answer.error_code, answer.producer_epoch), (0, 0), "v{version}");
            assert!(seen.insert(answer.producer_id.0), "{:?} was given before", answer.producer_id);
        }
        drop(client);
        broker.restart();
    }
    broker.crash_and_restart(|_| ());
    let answer = broker.client().call(5, &idempotent());
    assert!(seen.insert(answer.producer_id.0));
}
