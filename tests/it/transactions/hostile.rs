//! Transactional requests that no honest client sends: Kafka's codes, within bounds, and nobody else notices.

use kafka_protocol::messages::{AddPartitionsToTxnRequest, WriteTxnMarkersRequest};
use kafka_protocol::protocol::Request;

use super::ask::{self, Producer};
use super::code;
use super::session::{
    BOTH, INIT, Session, added, broker, broker_with, described, init, offset_codes, produced, state,
};
use crate::support::TestBroker;
use crate::support::alone::{alone, peak_resident_bytes};
use crate::support::client::frame;

/// The longest text of the protocol, bytes.
const MAX_TEXT: usize = i16::MAX as usize;
/// POLICY_VIOLATION.
const POLICY_VIOLATION: i16 = 44;

fn closes<Q: Request>(broker: &TestBroker, version: i16, request: &Q) {
    let mut client = broker.client();
    client.send(&frame(1, version, request));
    client.assert_closed();
}

#[test]
fn ids_of_every_length_and_kind_work_and_outlive_the_broker() {
    let (mut broker, client) = broker();
    let longest = "x".repeat(MAX_TEXT);
    let odd = [longest.as_str(), "\0", " ", "a\0b\r\nFAKE\x1b[2J\u{9b}31m", "ünïcödé 🦀", "\u{202e}x"];
    for protocol in BOTH {
        for id in odd {
            let mut session = Session::open(&broker, id, protocol);
            session.write("t", 0, &["v"]);
            session.write_offsets("g", &[("t", 0, 1)]);
            session.end(true);
            session.write("t", 0, &["open"]);
        }
    }
    drop(client);
    broker.restart();
    let mut client = broker.client();
    for id in odd {
        assert_eq!(state(&mut client, id), "Ongoing");
    }
    let listed = client.call(2, &kafka_protocol::messages::ListTransactionsRequest::default());
    assert_eq!(listed.transaction_states.len(), odd.len());
}

#[test]
fn an_id_longer_than_the_protocol_has_closes_the_connection() {
    let (broker, _client) = broker();
    // Compact strings could carry it; Kafka takes no more than the older ones can.
    let long = "x".repeat(MAX_TEXT + 1);
    let of = Producer { id: 1, epoch: 0 };
    closes(&broker, INIT, &ask::init(&long));
    closes(&broker, 3, &ask::add(&long, of, &[("t", &[0])]));
    closes(&broker, 5, &ask::add_all(vec![ask::adding(&long, of, false, &[("t", &[0])])]));
    closes(&broker, 4, &ask::add_offsets(&long, of, "g"));
    closes(&broker, 5, &ask::commit_in(&long, of, "g", &[("t", 0, 1)]));
    closes(&broker, 5, &ask::end(&long, of, true));
    closes(&broker, 12, &ask::produce(Some(&long), vec![("t", 0, ask::records(of, 0, &["v"]))]));
    closes(&broker, 0, &ask::describe(&["x", &long]));
    broker.assert_serves();
}

#[test]
fn negative_producer_ids_and_epochs_are_nobodys() {
    let (broker, mut client) = broker();
    let of = init(&mut client, "x");
    for bad in [-1, -2, i64::MIN, i64::MAX].map(|id| Producer { id, epoch: 0 }) {
        let mapping = code::INVALID_PRODUCER_ID_MAPPING;
        assert_eq!(added(&client.call(3, &ask::add("x", bad, &[("t", &[0])]))), [mapping], "{bad:?}");
        assert_eq!(client.call(4, &ask::add_offsets("x", bad, "g")).error_code, mapping, "{bad:?}");
        let request = ask::commit_in("x", bad, "g", &[("t", 0, 1)]);
        assert_eq!(offset_codes(&client.call(5, &request)), [mapping], "{bad:?}");
        for version in [4, 5] {
            assert_eq!(client.call(version, &ask::end("x", bad, true)).error_code, mapping, "{bad:?}");
        }
        let request = ask::produce(Some("x"), vec![("t", 0, ask::records(bad, 0, &["v"]))]);
        assert_ne!(produced(&client.call(12, &request))[0].error_code, code::NONE, "{bad:?}");
    }
    for epoch in [-1, -2, i16::MIN, i16::MAX] {
        let bad = Producer { epoch, ..of };
        let fenced = code::PRODUCER_FENCED;
        assert_eq!(added(&client.call(3, &ask::add("x", bad, &[("t", &[0])]))), [fenced], "{epoch}");
        assert_eq!(client.call(4, &ask::add_offsets("x", bad, "g")).error_code, fenced, "{epoch}");
        let request = ask::commit_in("x", bad, "g", &[("t", 0, 1)]);
        assert_eq!(offset_codes(&client.call(5, &request)), [code::INVALID_PRODUCER_EPOCH], "{epoch}");
        for version in [4, 5] {
            assert_eq!(client.call(version, &ask::end("x", bad, true)).error_code, fenced, "{epoch}");
        }
        let request = ask::produce(Some("x"), vec![("t", 0, ask::records(bad, 0, &["v"]))]);
        assert_ne!(produced(&client.call(12, &request))[0].error_code, code::NONE, "{epoch}");
        if epoch != -1 {
            let again = client.call(INIT, &ask::init_again("x", bad));
            assert_eq!(again.error_code, fenced, "{epoch}");
        }
    }
    for bad in [
        Producer { id: -1, epoch: 0 },
        Producer { id: 7, epoch: -1 },
        Producer { id: i64::MIN, epoch: i16::MIN },
    ] {
        let request = ask::write_markers(vec![ask::marker(bad, true, "t", &[0])]);
        let answer = client.call(1, &request);
        assert_ne!(answer.markers[0].topics[0].partitions[0].error_code, code::NONE, "{bad:?}");
    }
    assert_eq!((client.end_offset("t", 0), state(&mut client, "x")), (0, "Empty".to_owned()));
    broker.assert_serves();
}

#[test]
fn negative_offsets_and_partitions_of_a_group_are_answered() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", BOTH[1]);
    let offsets = &[("t", -1, 1), ("t", i32::MIN, 1), ("t", i32::MAX, 1)];
    let codes = offset_codes(&client.call(5, &ask::commit_in("x", session.of, "g", offsets)));
    assert_eq!(codes, [code::UNKNOWN_TOPIC_OR_PARTITION; 3]);
    let codes = added(&client.call(3, &ask::add("x", session.of, &[("t", &[i32::MIN, -1, i32::MAX])])));
    assert_eq!(codes, [code::UNKNOWN_TOPIC_OR_PARTITION; 3]);
    session.write("t", 0, &["v"]);
    session.end(true);
    broker.assert_serves();
}

#[test]
fn requests_with_a_great_many_partitions_are_answered_within_bounds() {
    alone("transactions::hostile::requests_with_a_great_many_partitions_are_answered_within_bounds", || {
        let (broker, mut client) = broker();
        let of = init(&mut client, "x");
        let before = peak_resident_bytes();
        // One below the bound on elements of a frame, with the topic.
        let many = vec![1; 199_990];
        let codes = added(&client.call(3, &ask::add("x", of, &[("t", &many)])));
        assert!(codes.len() == many.len() && codes.iter().all(|code| *code == code::NONE));
        assert_eq!(described(&mut client, "x").topics[0].partitions, [1], "all of them are one partition");
        let unknown: Vec<i32> = (0..199_990).collect();
        let codes = added(&client.call(3, &ask::add("x", of, &[("t", &unknown)])));
        assert_eq!(codes.len(), unknown.len());
        assert_eq!(codes[4], code::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(codes[0], code::OPERATION_NOT_ATTEMPTED);
        let offsets: Vec<_> = (0..199_000).map(|number| ("t", number % 4, i64::from(number))).collect();
        let codes = offset_codes(&client.call(5, &ask::commit_in("x", of, "g", &offsets)));
        assert_eq!(codes.len(), offsets.len());
        let markers = ask::write_markers(vec![ask::marker(of, true, "t", &unknown[4..])]);
        let answer = client.call(1, &markers);
        assert_eq!(answer.markers[0].topics[0].partitions.len(), unknown.len() - 4);
        let ids = vec!["unknown"; 100_000];
        assert_eq!(client.call(0, &ask::describe(&ids)).transaction_states.len(), ids.len());
        assert_eq!(client.call(5, &ask::end("x", of, true)).error_code, code::NONE);
        let grown = peak_resident_bytes() - before;
        assert!(grown < 512 << 20, "{grown} bytes");
        // More than that is no request any more.
        closes(&broker, 3, &ask::add("x", of, &[("t", &vec![1; 200_001])]));
        closes(&broker, 1, &ask::write_markers(vec![ask::marker(of, true, "t", &vec![1; 200_001])]));
        broker.assert_serves();
    });
}

#[test]
fn counts_that_are_not_there_close_the_connection() {
    let (broker, _client) = broker();
    let of = Producer { id: 1, epoch: 0 };
    // The count of the topics, which is the last thing of a request without any.
    let mut add = frame::<AddPartitionsToTxnRequest>(1, 2, &ask::add("x", of, &[]));
    let at = add.len() - 4;
    for count in [i32::MAX, 200_001, -2, i32::MIN] {
        add[at..].copy_from_slice(&count.to_be_bytes());
        let mut client = broker.client();
        client.send(&add);
        client.assert_closed();
    }
    // A compact count of four gigabytes, in place of none and the tags behind it.
    let mut markers = frame::<WriteTxnMarkersRequest>(1, 1, &ask::write_markers(vec![]));
    markers.truncate(markers.len() - 2);
    markers.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    let length = i32::try_from(markers.len() - 4).expect("a small frame");
    markers[..4].copy_from_slice(&length.to_be_bytes());
    let mut client = broker.client();
    client.send(&markers);
    client.assert_closed();
    broker.assert_serves();
}

#[test]
fn no_more_ids_are_taken_than_the_setting_permits() {
    let (mut broker, mut client) = broker_with(&[
        ("tidelog.max.transactional.ids", "3"),
        ("transaction.remove.expired.transaction.cleanup.interval.ms", "20"),
    ]);
    let ids = ["a", "b", "c"];
    let given = ids.map(|id| init(&mut client, id));
    for version in 0..=5 {
        let refused = client.call(version, &ask::init("d"));
        assert_eq!((refused.error_code, refused.producer_id.0), (POLICY_VIOLATION, -1), "v{version}");
    }
    // Known ones go on, and so do producers that need none.
    assert_eq!(init(&mut client, "b"), given[1].plus(1));
    let plain = kafka_protocol::messages::InitProducerIdRequest::default().with_transactional_id(None);
    assert_eq!(client.call(INIT, &plain).error_code, code::NONE);
    let mut session = Session::open(&broker, "c", BOTH[1]);
    session.write("t", 0, &["v"]);
    session.end(true);
    drop(client);
    broker.restart();
    let mut client = broker.client();
    assert_eq!(client.call(INIT, &ask::init("d")).error_code, POLICY_VIOLATION, "they count after a start");
    drop(client);
    broker.stop();
    broker.change_setting("transactional.id.expiration.ms", "1");
    broker.begin();
    let mut client = broker.client();
    super::session::eventually("there is room again", || {
        client.call(INIT, &ask::init("d")).error_code == code::NONE
    });
}
