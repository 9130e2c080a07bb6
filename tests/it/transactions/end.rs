//! EndTxn: commits and aborts, repetitions, and what each version calls a refusal.

use kafka_protocol::messages::EndTxnRequest;

use super::ask::{self, Producer};
use super::code;
use super::session::{
    BOTH, Protocol, Session, broker, committed_values, described, init, producers, stable_end, state,
    until_stable,
};
use crate::support::Client;

/// The last epoch that a client is given.
const LAST_EPOCH: i16 = 32_766;

fn ended(client: &mut Client, version: i16, id: &str, of: Producer, committed: bool) -> (i16, Producer) {
    let answer = client.call(version, &ask::end(id, of, committed));
    (answer.error_code, Producer { id: answer.producer_id.0, epoch: answer.producer_epoch })
}

#[test]
fn what_is_committed_is_read_and_what_is_aborted_is_not() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let mut session = Session::open(&broker, &format!("{protocol:?}"), protocol);
        let begin = stable_end(&mut client, "t", 0);
        let mut expected = Vec::new();
        for number in 0..6 {
            let committed = number % 3 != 1;
            let values = [format!("{number}a"), format!("{number}b")];
            session.write("t", 0, &[&values[0]]);
            session.write("t", 0, &[&values[1]]);
            session.write("t", 3, &[&values[0]]);
            session.end(committed);
            if committed {
                expected.extend(values);
            }
        }
        assert_eq!(committed_values(&mut client, "t", 0, begin), expected, "{protocol:?}");
        assert_eq!(stable_end(&mut client, "t", 0), begin + 18, "two records and a marker each");
    }
}

#[test]
fn the_second_protocol_takes_an_epoch_with_every_end_and_the_first_takes_none() {
    let (broker, mut client) = broker();
    for version in 0..=5 {
        let id = format!("x{version}");
        let protocol = if version < 5 { Protocol::First } else { Protocol::Second };
        let mut session = Session::open(&broker, &id, protocol);
        for committed in [true, false] {
            session.write("t", 0, &["v"]);
            let before = session.of;
            let (code, next) = ended(&mut client, version, &id, before, committed);
            assert_eq!(code, code::NONE, "v{version}");
            let shown = described(&mut client, &id);
            let expected = if version < 5 { before } else { before.plus(1) };
            assert_eq!((shown.producer_id.0, shown.producer_epoch), (expected.id, expected.epoch));
            let name = if committed { "CompleteCommit" } else { "CompleteAbort" };
            assert_eq!((shown.transaction_state.as_str(), shown.topics.len()), (name, 0), "v{version}");
            let in_log = producers(&mut client, "t", 0);
            let in_log = in_log.iter().find(|known| known.producer_id.0 == before.id).expect("it wrote");
            assert_eq!(in_log.producer_epoch, i32::from(expected.epoch), "the marker's epoch");
            assert_eq!(in_log.current_txn_start_offset, -1);
            // After a bump nothing of the old epoch is left to go on from.
            assert_eq!(in_log.last_sequence == -1, version == 5, "v{version}");
            if version == 5 {
                assert_eq!(next, expected);
                session.take_over(next);
            } else {
                assert_eq!(next, Producer::NONE, "v{version} has no such fields");
            }
        }
    }
}

#[test]
fn ends_of_the_first_protocol_can_be_repeated_and_not_reversed() {
    let (broker, mut client) = broker();
    for version in 0..=4 {
        let id = format!("x{version}");
        let mut session = Session::open(&broker, &id, Protocol::First);
        let of = session.of;
        let mut end = |of: Producer, committed| ended(&mut client, version, &id, of, committed).0;
        let fenced = if version < 2 { code::INVALID_PRODUCER_EPOCH } else { code::PRODUCER_FENCED };
        assert_eq!(end(of, true), code::INVALID_TXN_STATE, "v{version} nothing has begun");
        assert_eq!(end(of, false), code::INVALID_TXN_STATE, "v{version}");
        assert_eq!(end(of.plus(1), true), fenced, "v{version}");
        assert_eq!(end(of.stranger(), true), code::INVALID_PRODUCER_ID_MAPPING, "v{version}");
        for committed in [true, false] {
            session.write("t", 0, &["v"]);
            assert_eq!(end(of.plus(1), committed), fenced, "v{version}");
            assert_eq!(end(of.plus(-1), committed), fenced, "v{version}");
            assert_eq!(end(of, committed), code::NONE, "v{version}");
            assert_eq!(end(of, committed), code::NONE, "v{version} again");
            assert_eq!(end(of, !committed), code::INVALID_TXN_STATE, "v{version} the other way");
        }
    }
    assert_eq!(ended(&mut client, 4, "", Producer { id: 1, epoch: 0 }, true).0, code::INVALID_REQUEST);
    let unknown = ended(&mut client, 4, "unknown", Producer { id: 1, epoch: 0 }, true).0;
    assert_eq!(unknown, code::INVALID_PRODUCER_ID_MAPPING);
}

#[test]
fn ends_of_the_second_protocol_are_told_apart_by_their_epochs() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::Second);
    let refused = |code| (code, Producer::NONE);
    let given = |of| (code::NONE, of);
    let of = session.of;
    assert_eq!(ended(&mut client, 5, "x", of, true), refused(code::INVALID_TXN_STATE));
    assert_eq!(ended(&mut client, 5, "x", of.stranger(), true), refused(code::INVALID_PRODUCER_ID_MAPPING));
    assert_eq!(ended(&mut client, 5, "x", of.plus(1), false), refused(code::PRODUCER_FENCED));
    assert_eq!(ended(&mut client, 5, "", of, true), refused(code::INVALID_REQUEST));
    assert_eq!(ended(&mut client, 5, "unknown", of, true), refused(code::INVALID_PRODUCER_ID_MAPPING));
    session.write("t", 0, &["v"]);
    assert_eq!(ended(&mut client, 5, "x", of, true), given(of.plus(1)));
    // The same again, whose answer was lost; then the other way, and from further back.
    assert_eq!(ended(&mut client, 5, "x", of, true), given(of.plus(1)));
    assert_eq!(ended(&mut client, 5, "x", of, false), refused(code::INVALID_TXN_STATE));
    assert_eq!(ended(&mut client, 5, "x", of.plus(1), true), refused(code::INVALID_TXN_STATE));
    assert_eq!(ended(&mut client, 5, "x", of.plus(2), true), refused(code::PRODUCER_FENCED));
    // An abort of nothing takes an epoch: something may be on its way still.
    assert_eq!(ended(&mut client, 5, "x", of.plus(1), false), given(of.plus(2)));
    assert_eq!(ended(&mut client, 5, "x", of.plus(1), false), given(of.plus(2)));
    assert_eq!(ended(&mut client, 5, "x", of.plus(1), true), refused(code::INVALID_TXN_STATE));
    assert_eq!(ended(&mut client, 5, "x", of, true), refused(code::PRODUCER_FENCED));
    assert_eq!(ended(&mut client, 5, "x", of.plus(2), false), given(of.plus(3)));
    assert_eq!(state(&mut client, "x"), "CompleteAbort");
    // Nothing was written by any of them but the first.
    assert_eq!(until_stable(&mut client, "t", 0), 2);
}

#[test]
fn a_client_may_change_the_protocol_between_transactions() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::First);
    session.write("t", 0, &["first"]);
    session.end(true);
    session.protocol = Protocol::Second;
    session.write("t", 0, &["second"]);
    session.end(true);
    assert_eq!(session.of.epoch, 1);
    session.protocol = Protocol::First;
    session.write("t", 0, &["third"]);
    session.end(false);
    session.write("t", 0, &["fourth"]);
    session.end(true);
    assert_eq!(committed_values(&mut client, "t", 0, 0), ["first", "second", "fourth"]);
}

#[test]
fn the_last_epoch_of_the_second_protocol_leads_to_another_producer_id() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::Second);
    let first = session.of;
    // Aborts of nothing are the quickest way through the epochs, many at a time because each waits for the disk.
    const AT_ONCE: i16 = 129;
    while session.of.epoch < LAST_EPOCH {
        let asked: Vec<i32> = (0..AT_ONCE)
            .map(|number| client.begin(5, &ask::end("x", session.of.plus(number), false)))
            .collect();
        for number in asked {
            let answer = client.finish::<EndTxnRequest>(5, number);
            session.of = session.of.plus(1);
            assert_eq!((answer.error_code, answer.producer_epoch), (code::NONE, session.of.epoch));
        }
    }
    assert_eq!(session.of.epoch, LAST_EPOCH);
    let at = session.write("t", 0, &["last"]);
    let (code, next) = ended(&mut client, 5, "x", session.of, true);
    assert_eq!((code, next.epoch), (code::NONE, 0));
    assert_ne!(next.id, first.id);
    assert_eq!(until_stable(&mut client, "t", 0), at + 2);
    assert_eq!(ended(&mut client, 5, "x", session.of, true), (code::NONE, next), "again");
    let old = ended(&mut client, 4, "x", session.of, true).0;
    assert_eq!(old, code::INVALID_PRODUCER_ID_MAPPING);
    let late = session.batch("t", 0, &["late"]);
    // The marker has the epoch that nobody can have.
    assert_eq!(session.send("t", 0, late).error_code, code::INVALID_PRODUCER_EPOCH);
    session.take_over(next);
    session.write("t", 0, &["goes on"]);
    session.end(true);
    assert_eq!(committed_values(&mut client, "t", 0, at), ["last", "goes on"]);
    assert_eq!(init(&mut client, "x").id, next.id);
}
