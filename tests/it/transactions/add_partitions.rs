//! AddPartitionsToTxn: all or nothing for clients, several transactions and mere questions for brokers.

use kafka_protocol::messages::AddPartitionsToTxnResponse;

use super::ask::{self, Producer};
use super::code;
use super::session::{BOTH, Session, added, broker, described, init, state};
use crate::support::Client;

fn touched(client: &mut Client, id: &str) -> Vec<(String, Vec<i32>)> {
    let mut topics: Vec<_> = described(client, id)
        .topics
        .into_iter()
        .map(|topic| {
            let mut partitions = topic.partitions;
            partitions.sort_unstable();
            (topic.topic.to_string(), partitions)
        })
        .collect();
    topics.sort();
    topics
}

/// Codes of the transactions of an answer from version 4 on.
fn batched(answer: &AddPartitionsToTxnResponse) -> Vec<(String, Vec<i16>)> {
    assert_eq!(answer.error_code, code::NONE);
    assert!(answer.results_by_topic_v3_and_below.is_empty());
    let results = answer.results_by_transaction.iter().map(|of| {
        let topics = of.topic_results.iter();
        let codes = topics.flat_map(|t| t.results_by_partition.iter().map(|p| p.partition_error_code));
        (of.transactional_id.to_string(), codes.collect())
    });
    results.collect()
}

#[test]
fn partitions_are_enlisted_and_nothing_twice() {
    let (_broker, mut client) = broker();
    client.create_topic("u", 1, &[]);
    for version in 0..=3 {
        let id = format!("x{version}");
        let of = init(&mut client, &id);
        let request = ask::add(&id, of, &[("t", &[3, 0, 3]), ("u", &[0])]);
        for _ in 0..2 {
            assert_eq!(added(&client.call(version, &request)), [code::NONE; 4], "v{version}");
            let both = [("t".to_owned(), vec![0, 3]), ("u".to_owned(), vec![0])];
            assert_eq!(touched(&mut client, &id), both, "v{version}");
        }
        assert_eq!(added(&client.call(version, &ask::add(&id, of, &[("t", &[1])]))), [code::NONE]);
        assert_eq!(touched(&mut client, &id)[0].1, [0, 1, 3], "v{version}");
    }
}

#[test]
fn one_partition_that_is_not_there_keeps_all_out() {
    let (_broker, mut client) = broker();
    let (unknown, not) = (code::UNKNOWN_TOPIC_OR_PARTITION, code::OPERATION_NOT_ATTEMPTED);
    for version in 0..=3 {
        let id = format!("x{version}");
        let of = init(&mut client, &id);
        let mut codes = |of: Producer, wanted: &[(&str, &[i32])]| {
            added(&client.call(version, &ask::add(&id, of, wanted)))
        };
        assert_eq!(codes(of, &[("t", &[0, 4, 1])]), [not, unknown, not], "v{version}");
        assert_eq!(codes(of, &[("t", &[0, -1])]), [not, unknown], "v{version}");
        assert_eq!(codes(of, &[("t", &[0]), ("nowhere", &[0, 1])]), [not, unknown, unknown], "v{version}");
        // It is looked at before the producer is.
        assert_eq!(codes(of.stranger(), &[("t", &[0, 4])]), [not, unknown], "v{version}");
        assert_eq!(state(&mut client, &id), "Empty", "v{version}");
    }
}

#[test]
fn only_the_present_producer_enlists() {
    let (_broker, mut client) = broker();
    for version in 0..=3 {
        let id = format!("x{version}");
        let of = init(&mut client, &id);
        let fenced = if version < 2 { code::INVALID_PRODUCER_EPOCH } else { code::PRODUCER_FENCED };
        let mut codes =
            |id: &str, of: Producer| added(&client.call(version, &ask::add(id, of, &[("t", &[0, 1])])));
        assert_eq!(codes(&id, of.plus(1)), [fenced; 2], "v{version}");
        assert_eq!(codes(&id, of.plus(-1)), [fenced; 2], "v{version}");
        assert_eq!(codes(&id, of.stranger()), [code::INVALID_PRODUCER_ID_MAPPING; 2], "v{version}");
        assert_eq!(codes("unknown", of), [code::INVALID_PRODUCER_ID_MAPPING; 2], "v{version}");
        assert_eq!(codes("", of), [code::INVALID_REQUEST; 2], "v{version}");
        assert_eq!(state(&mut client, &id), "Empty", "v{version}");
    }
}

#[test]
fn nothing_to_enlist_begins_the_transaction_all_the_same() {
    let (_broker, mut client) = broker();
    let of = init(&mut client, "x");
    let answer = client.call(3, &ask::add("x", of, &[]));
    assert!(answer.results_by_topic_v3_and_below.is_empty());
    assert_eq!(state(&mut client, "x"), "Ongoing");
    assert_eq!(client.call(4, &ask::end("x", of, true)).error_code, code::NONE);
    assert_eq!(state(&mut client, "x"), "CompleteCommit");
}

#[test]
fn brokers_name_several_transactions_each_with_its_own_answer() {
    let (_broker, mut client) = broker();
    for version in [4, 5] {
        let (a, b) = (format!("a{version}"), format!("b{version}"));
        let (of_a, of_b) = (init(&mut client, &a), init(&mut client, &b));
        let (unknown, not) = (code::UNKNOWN_TOPIC_OR_PARTITION, code::OPERATION_NOT_ATTEMPTED);
        let request = ask::add_all(vec![
            ask::adding(&a, of_a, false, &[("t", &[0, 1])]),
            ask::adding(&b, of_b.plus(1), false, &[("t", &[0])]),
            ask::adding("unknown", of_a, false, &[("t", &[0])]),
            ask::adding(&b, of_b, false, &[("t", &[0, 9])]),
            ask::adding("", of_b, false, &[("t", &[0])]),
        ]);
        let expected = [
            (a.clone(), vec![code::NONE; 2]),
            (b.clone(), vec![code::PRODUCER_FENCED]),
            ("unknown".to_owned(), vec![code::INVALID_PRODUCER_ID_MAPPING]),
            (b.clone(), vec![not, unknown]),
            (String::new(), vec![code::INVALID_REQUEST]),
        ];
        assert_eq!(batched(&client.call(version, &request)), expected, "v{version}");
        assert_eq!((state(&mut client, &a), state(&mut client, &b)), ("Ongoing".into(), "Empty".into()));
        assert!(batched(&client.call(version, &ask::add_all(vec![]))).is_empty());
    }
}

#[test]
fn a_mere_question_enlists_nothing() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        for version in [4, 5] {
            let id = format!("{protocol:?}{version}");
            let mut session = Session::open(&broker, &id, protocol);
            let of = session.of;
            let mut verified = |of: Producer| {
                let request = ask::add_all(vec![ask::adding(&id, of, true, &[("t", &[0, 1])])]);
                batched(&client.call(version, &request)).remove(0).1
            };
            assert_eq!(verified(of), [code::TRANSACTION_ABORTABLE; 2], "{id}");
            assert_eq!(verified(of.plus(1)), [code::PRODUCER_FENCED; 2], "{id}");
            assert_eq!(verified(of.stranger()), [code::INVALID_PRODUCER_ID_MAPPING; 2], "{id}");
            session.write("t", 1, &["v"]);
            assert_eq!(verified(of), [code::TRANSACTION_ABORTABLE, code::NONE], "{id}");
            session.end(true);
            assert_eq!(verified(session.of), [code::TRANSACTION_ABORTABLE; 2], "{id}");
        }
    }
}
