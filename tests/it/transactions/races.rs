//! What arrives late, twice or at once: nothing of a transaction that has ended falls into the next, and no end gets lost.

use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, DeleteTopicsRequest, EndTxnRequest, ProduceRequest, TxnOffsetCommitRequest,
};

use super::ask;
use super::code;
use super::session::{
    BOTH, FETCH, Protocol, Session, added, broker, committed_values, described, eventually, init,
    offset_codes, produced, stable_end, state, until_stable,
};
use crate::groups::member::committed as offset_of;
use crate::support::client::frame;
use crate::support::{Client, request};

fn delete(client: &mut Client, topic: &str) {
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![request::name(topic)]);
    assert_eq!(client.call(5, &delete).responses[0].error_code, code::NONE);
}

#[test]
fn a_late_batch_of_the_second_protocol_never_falls_into_the_next_transaction() {
    let (broker, mut client) = broker();
    for committed in [true, false] {
        let mut session = Session::open(&broker, &format!("x{committed}"), Protocol::Second);
        let begin = client.end_offset("t", 0);
        session.write("t", 0, &["one"]);
        // On their way: to a partition that the transaction has, and to one that it has not.
        let late = [(0, session.batch("t", 0, &["late"])), (1, session.batch("t", 1, &["late"]))];
        session.end(committed);
        let send_late = |session: &mut Session| {
            for (partition, records) in &late {
                let answer = session.send("t", *partition, records.clone());
                let told = (answer.error_code, answer.base_offset);
                assert_eq!(told, (code::INVALID_PRODUCER_EPOCH, -1), "{partition}");
            }
        };
        send_late(&mut session);
        session.write("t", 0, &["two"]);
        session.write("t", 1, &["two"]);
        send_late(&mut session);
        session.end(true);
        send_late(&mut session);
        let expected: &[&str] = if committed { &["one", "two"] } else { &["two"] };
        assert_eq!(committed_values(&mut client, "t", 0, begin), expected);
    }
    assert_eq!(committed_values(&mut client, "t", 1, 0), ["two", "two"]);
}

#[test]
fn a_late_batch_of_the_first_protocol_is_kept_out_by_its_sequence_or_by_not_being_enlisted() {
    let (broker, mut client) = broker();
    for committed in [true, false] {
        let mut session = Session::open(&broker, &format!("x{committed}"), Protocol::First);
        let begin = client.end_offset("t", 0);
        let repeated = session.batch("t", 0, &["one"]);
        session.enlist("t", &[0]);
        let at = session.send("t", 0, repeated.clone()).base_offset;
        session.end(committed);
        // Lost on its way, before the end: the client has sent it again, and this is the first copy.
        let again = session.send("t", 0, repeated.clone());
        assert_eq!((again.error_code, again.base_offset), (code::NONE, at), "it is known");
        // One that nobody has seen comes when the partition is in no transaction, and when it is in the next.
        let late = ask::records(session.of, 1, &["late"]);
        assert_eq!(session.send("t", 0, late.clone()).error_code, code::TRANSACTION_ABORTABLE);
        session.enlist("t", &[1]);
        assert_eq!(session.send("t", 0, late).error_code, code::TRANSACTION_ABORTABLE);
        session.write("t", 0, &["two"]);
        let again = session.send("t", 0, repeated);
        assert_eq!((again.error_code, again.base_offset), (code::NONE, at));
        session.end(true);
        let expected: &[&str] = if committed { &["one", "two"] } else { &["two"] };
        assert_eq!(committed_values(&mut client, "t", 0, begin), expected);
    }
}

#[test]
fn a_late_end_does_not_end_the_next_transaction() {
    let (broker, mut client) = broker();
    for committed in [true, false] {
        let mut session = Session::open(&broker, &format!("x{committed}"), Protocol::Second);
        session.write("t", 0, &["one"]);
        let late = ask::end(&session.id, session.of, committed);
        session.end(committed);
        session.write("t", 0, &["two"]);
        for version in [5, 4, 3] {
            // The end that was answered long ago, in either form.
            let answer = session.client.call(version, &late);
            assert_eq!(answer.error_code, code::PRODUCER_FENCED, "v{version}");
        }
        assert_eq!(state(&mut client, &session.id), "Ongoing");
        session.end(true);
    }
    assert_eq!(committed_values(&mut client, "t", 0, 0), ["one", "two", "two"]);
}

#[test]
fn a_late_commit_of_offsets_does_not_fall_into_the_next_transaction() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "second", Protocol::Second);
    session.write_offsets("g", &[("t", 0, 5)]);
    let late = ask::commit_in("second", session.of, "g", &[("t", 0, 1)]);
    session.end(true);
    for ongoing in [false, true] {
        if ongoing {
            session.write("t", 0, &["two"]);
        }
        for version in 0..=5 {
            let codes = offset_codes(&session.client.call(version, &late));
            assert_eq!(codes, [code::INVALID_PRODUCER_EPOCH], "v{version} ongoing: {ongoing}");
        }
    }
    session.end(true);
    assert_eq!(offset_of(&mut client, "g", "t", 0), 5);

    // The first protocol can tell only that the group was not enlisted again.
    let mut session = Session::open(&broker, "first", Protocol::First);
    session.write_offsets("h", &[("t", 0, 5)]);
    let late = ask::commit_in("first", session.of, "h", &[("t", 0, 1)]);
    session.end(true);
    session.write("t", 0, &["two"]);
    assert_eq!(offset_codes(&session.client.call(4, &late)), [code::TRANSACTION_ABORTABLE]);
    assert_eq!(offset_codes(&session.client.call(3, &late)), [code::INVALID_TXN_STATE]);
    session.end(true);
    assert_eq!(offset_of(&mut client, "h", "t", 0), 5);
}

#[test]
fn an_end_directly_behind_its_batches_ends_all_of_them() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let mut session = Session::open(&broker, &format!("{protocol:?}"), protocol);
        let begin = client.end_offset("t", 0);
        let mut expected = Vec::new();
        for round in 0..30 {
            let committed = round % 3 != 0;
            let mut add = None;
            if protocol == Protocol::First {
                let request = ask::add(&session.id, session.of, &[("t", &[0, 1])]);
                add = Some(session.client.begin(3, &request));
            }
            let mut asked = Vec::new();
            for number in 0..5 {
                let value = format!("{round} {number}");
                for partition in [0, 1] {
                    let records = session.batch("t", partition, &[&value]);
                    let request = ask::produce(Some(&session.id), vec![("t", partition, records)]);
                    asked.push(session.client.begin(protocol.produce(), &request));
                }
                if committed {
                    expected.push(value);
                }
            }
            let offsets = match protocol {
                Protocol::Second => {
                    let request = ask::commit_in(&session.id, session.of, "g", &[("t", 0, round)]);
                    Some(session.client.begin(5, &request))
                }
                Protocol::First => None,
            };
            let request = ask::end(&session.id, session.of, committed);
            let end = session.client.begin(protocol.end(), &request);
            if let Some(add) = add {
                let answer = session.client.finish::<AddPartitionsToTxnRequest>(3, add);
                assert_eq!(added(&answer), [code::NONE; 2]);
            }
            for number in asked {
                let answer = session.client.finish::<ProduceRequest>(protocol.produce(), number);
                assert_eq!(produced(&answer)[0].error_code, code::NONE, "round {round}");
            }
            if let Some(offsets) = offsets {
                let answer = session.client.finish::<TxnOffsetCommitRequest>(5, offsets);
                assert_eq!(offset_codes(&answer), [code::NONE]);
            }
            let answer = session.client.finish::<EndTxnRequest>(protocol.end(), end);
            assert_eq!(answer.error_code, code::NONE, "round {round}");
            session.ended(&answer);
            if protocol == Protocol::Second && committed {
                assert_eq!(offset_of(&mut client, "g", "t", 0), round);
            }
        }
        let ends = [0, 1].map(|partition| until_stable(&mut client, "t", partition));
        assert_eq!(ends, [begin + 180; 2], "five records and a marker, thirty times");
        assert_eq!(committed_values(&mut client, "t", 0, begin), expected);
    }
}

#[test]
fn transactions_directly_behind_each_other_are_whole() {
    // Ten transactions on one connection before the first answer is read. A transaction that follows too closely is told
    // CONCURRENT_TRANSACTIONS, or NOT_ENOUGH_REPLICAS by the first protocol; nothing of it may be there then.
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::Second);
    let mut asked = Vec::new();
    for number in 0..10_i16 {
        let of = session.of.plus(number);
        let records = ask::records(of, 0, &[&number.to_string()]);
        let batch = session.client.begin(12, &ask::produce(Some("x"), vec![("t", 0, records)]));
        asked.push((batch, session.client.begin(5, &ask::end("x", of, true))));
    }
    let mut expected = Vec::new();
    for (number, (batch, end)) in (0..10).zip(asked) {
        let batch = produced(&session.client.finish::<ProduceRequest>(12, batch)).remove(0);
        let end = session.client.finish::<EndTxnRequest>(5, end);
        match (batch.error_code, end.error_code) {
            (code::NONE, code::NONE) => expected.push(number.to_string()),
            // The batch came while the markers before were on their way, the end when they were there: nothing to commit.
            (code::CONCURRENT_TRANSACTIONS, code::INVALID_TXN_STATE | code::CONCURRENT_TRANSACTIONS) => {}
            // Of an epoch that is not given yet: the end before is on its way, or was refused.
            (code::CONCURRENT_TRANSACTIONS | code::INVALID_PRODUCER_EPOCH, code::PRODUCER_FENCED) => {}
            other => panic!("transaction {number}: {other:?}"),
        }
    }
    assert_eq!(expected.first().map(String::as_str), Some("0"));
    until_stable(&mut client, "t", 0);
    assert_eq!(committed_values(&mut client, "t", 0, 0), expected);
}

#[test]
fn two_connections_that_end_at_once_agree() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let mut session = Session::open(&broker, &format!("{protocol:?}"), protocol);
        let mut others = [broker.client(), broker.client(), broker.client()];
        let begin = client.end_offset("t", 0);
        let mut expected = Vec::new();
        for round in 0..40 {
            let value = round.to_string();
            session.write("t", 0, &[&value]);
            let ends: Vec<_> = [true, false, true]
                .into_iter()
                .zip(&mut others)
                .map(|(committed, other)| {
                    (committed, other.begin(protocol.end(), &ask::end(&session.id, session.of, committed)))
                })
                .collect();
            let mut outcome = None;
            let mut next = None;
            for ((committed, number), other) in ends.into_iter().zip(&mut others) {
                let answer = other.finish::<EndTxnRequest>(protocol.end(), number);
                match answer.error_code {
                    code::NONE => {
                        assert_ne!(outcome, Some(!committed), "round {round} ended both ways");
                        outcome = Some(committed);
                        next = Some(answer);
                    }
                    refused => assert!(
                        [code::CONCURRENT_TRANSACTIONS, code::INVALID_TXN_STATE].contains(&refused),
                        "round {round}: {refused}"
                    ),
                }
            }
            session.ended(&next.expect("one of them ended it"));
            if outcome == Some(true) {
                expected.push(value);
            }
        }
        assert_eq!(until_stable(&mut client, "t", 0), begin + 80, "a record and one marker each");
        assert_eq!(committed_values(&mut client, "t", 0, begin), expected, "{protocol:?}");
    }
}

#[test]
fn who_hangs_up_right_after_asking_for_the_end_has_its_end() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        for committed in [true, false] {
            let id = format!("{protocol:?}{committed}");
            let mut session = Session::open(&broker, &id, protocol);
            let at = session.write("t", 0, &[&id]);
            session.write_offsets(&id, &[("t", 0, 4)]);
            let end = frame(1, protocol.end(), &ask::end(&id, session.of, committed));
            assert!(session.client.send(&end));
            drop(session);
            let name = if committed { "CompleteCommit" } else { "CompleteAbort" };
            eventually("the transaction is complete", || state(&mut client, &id) == name);
            eventually("its marker is there", || stable_end(&mut client, "t", 0) == at + 2);
            let expected = if committed { vec![id.clone()] } else { vec![] };
            assert_eq!(committed_values(&mut client, "t", 0, at), expected);
            let offset = if committed { 4 } else { -1 };
            assert_eq!(offset_of(&mut client, &id, "t", 0), offset);
        }
    }
}

#[test]
fn who_hangs_up_behind_its_batches_leaves_the_transaction_to_its_successor() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let id = format!("{protocol:?}");
        let mut session = Session::open(&broker, &id, protocol);
        let at = session.write("t", 0, &["never"]);
        let records = session.batch("t", 0, &["never either"]);
        let request = ask::produce(Some(&id), vec![("t", 0, records)]);
        assert!(session.client.send(&frame(1, protocol.produce(), &request)));
        drop(session);
        init(&mut client, &id);
        until_stable(&mut client, "t", 0);
        assert_eq!(committed_values(&mut client, "t", 0, at), Vec::<String>::new());
    }
}

#[test]
fn a_topic_that_is_deleted_in_the_middle_does_not_hold_the_transaction_up() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        for committed in [true, false] {
            let id = format!("{protocol:?}{committed}");
            client.create_topic("gone", 2, &[]);
            let mut session = Session::open(&broker, &id, protocol);
            let at = session.write("t", 0, &[&id]);
            session.write("gone", 0, &["v"]);
            session.write_offsets(&id, &[("gone", 0, 1), ("t", 0, 2)]);
            delete(&mut client, "gone");
            let refused = match protocol {
                Protocol::First => {
                    let request = ask::add(&id, session.of, &[("gone", &[1])]);
                    added(&session.client.call(3, &request)).remove(0)
                }
                Protocol::Second => session.send("gone", 1, ask::records(session.of, 0, &["v"])).error_code,
            };
            assert_eq!(refused, code::UNKNOWN_TOPIC_OR_PARTITION);
            let shown = described(&mut client, &id);
            assert!(shown.topics.iter().all(|topic| topic.topic.as_str() != "gone"));
            session.end(committed);
            let expected = if committed { vec![id.clone()] } else { vec![] };
            assert_eq!(committed_values(&mut client, "t", 0, at), expected);
            let offset = if committed { 2 } else { -1 };
            assert_eq!(offset_of(&mut client, &id, "t", 0), offset);
            session.write("t", 0, &["goes on"]);
            session.end(false);
        }
    }
}

#[test]
fn a_topic_of_the_same_name_is_not_part_of_the_transaction() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let id = format!("{protocol:?}");
        client.create_topic("again", 1, &[]);
        let mut session = Session::open(&broker, &id, protocol);
        session.write("again", 0, &["old"]);
        delete(&mut client, "again");
        client.create_topic("again", 1, &[]);
        let records = ask::records(session.of, 0, &["new"]);
        let answer = session.send("again", 0, records);
        match protocol {
            Protocol::First => {
                assert_eq!(answer.error_code, code::TRANSACTION_ABORTABLE, "it was not enlisted");
                let answer = session.client.call(4, &ask::end(&id, session.of, true));
                assert_eq!(answer.error_code, code::NONE);
                assert_eq!(client.end_offset("again", 0), 0, "no marker for a log that had nothing");
            }
            Protocol::Second => {
                assert_eq!((answer.error_code, answer.base_offset), (code::NONE, 0));
                assert_eq!(stable_end(&mut client, "again", 0), 0);
                session.end(true);
                assert_eq!(committed_values(&mut client, "again", 0, 0), ["new"]);
                assert_eq!(client.end_offset("again", 0), 2);
            }
        }
        assert_eq!(state(&mut client, &id), "CompleteCommit");
        delete(&mut client, "again");
    }
}

#[test]
fn a_topic_is_deleted_while_readers_wait_for_its_transaction() {
    let (broker, mut client) = broker();
    client.create_topic("gone", 1, &[]);
    let mut session = Session::open(&broker, "x", Protocol::Second);
    session.write("gone", 0, &["v"]);
    let mut reader = broker.client();
    let request = ask::fetch_committed("gone", 0, 0).with_max_wait_ms(100_000);
    let asked = reader.begin(FETCH, &request);
    delete(&mut client, "gone");
    let answer = reader.finish::<kafka_protocol::messages::FetchRequest>(FETCH, asked);
    let data = &answer.responses[0].partitions[0];
    assert!(data.records.as_ref().is_none_or(bytes::Bytes::is_empty), "what was not decided is never read");
    session.end(true);
}

#[test]
fn many_producers_at_once_each_see_their_own_transactions_only() {
    let (broker, mut client) = broker();
    const PRODUCERS: usize = 8;
    const ROUNDS: usize = 15;
    let expected: Vec<Vec<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PRODUCERS)
            .map(|number| {
                let protocol = BOTH[number % 2];
                let mut session = Session::open(&broker, &format!("p{number}"), protocol);
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for round in 0..ROUNDS {
                        let committed = (round + number) % 3 != 0;
                        for record in 0..3 {
                            let value = format!("{number} {round} {record}");
                            session.write("t", 0, &[&value]);
                            if committed {
                                kept.push(value);
                            }
                        }
                        session.end(committed);
                    }
                    kept
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a producer")).collect()
    });
    let values = committed_values(&mut client, "t", 0, 0);
    for (number, kept) in expected.iter().enumerate() {
        let own: Vec<&String> =
            values.iter().filter(|value| value.starts_with(&format!("{number} "))).collect();
        assert_eq!(own, kept.iter().collect::<Vec<_>>(), "producer {number}");
    }
    assert_eq!(values.len(), expected.iter().map(Vec::len).sum::<usize>());
    let all = PRODUCERS * ROUNDS * 4;
    assert_eq!(client.end_offset("t", 0), all as i64, "one marker for each transaction");
}
