//! Transactions that take too long, and transactional ids that nobody uses any more.

use std::time::Duration;

use kafka_protocol::messages::InitProducerIdRequest;

use super::ask::{self, Producer};
use super::code;
use super::session::{
    BOTH, INIT, Protocol, Session, added, broker_with, committed_values, described, eventually, stable_end,
    state,
};
use crate::groups::member::committed;
use crate::support::{Client, TestBroker};

/// Transactions are looked at this often, milliseconds.
const LOOKED_AT: (&str, &str) = ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "20");

/// A producer whose transactions may take this long.
fn hurried(broker: &TestBroker, id: &str, protocol: Protocol, timeout_ms: i32) -> Session {
    let mut session = Session::open(broker, id, protocol);
    let answer = session.client.call(INIT, &ask::init(id).with_transaction_timeout_ms(timeout_ms));
    assert_eq!(answer.error_code, code::NONE);
    session.take_over(Producer { id: answer.producer_id.0, epoch: answer.producer_epoch });
    session
}

fn until_aborted(client: &mut Client, id: &str) {
    eventually("it is aborted", || state(client, id) == "CompleteAbort");
}

#[test]
fn what_takes_too_long_is_aborted_and_its_producer_fenced() {
    let (broker, mut client) = broker_with(&[LOOKED_AT]);
    for protocol in BOTH {
        let id = format!("{protocol:?}");
        let mut patient = Session::open(&broker, &format!("patient{id}"), protocol);
        patient.write("t", 1, &["kept"]);
        let mut session = hurried(&broker, &id, protocol, 1);
        let of = session.of;
        let at = session.write("t", 0, &["late"]);
        until_aborted(&mut client, &id);
        assert_eq!(described(&mut client, &id).producer_epoch, of.epoch + 1);
        eventually("the marker is there", || stable_end(&mut client, "t", 0) == at + 2);
        assert_eq!(committed_values(&mut client, "t", 0, at), Vec::<String>::new());
        let records = session.batch("t", 0, &["later"]);
        assert_eq!(session.send("t", 0, records).error_code, code::INVALID_PRODUCER_EPOCH);
        let codes = added(&session.client.call(3, &ask::add(&id, of, &[("t", &[0])])));
        assert_eq!(codes, [code::PRODUCER_FENCED]);
        for (version, fenced) in [(1, code::INVALID_PRODUCER_EPOCH), (4, code::PRODUCER_FENCED)] {
            for committed in [true, false] {
                let answer = session.client.call(version, &ask::end(&id, of, committed));
                assert_eq!(answer.error_code, fenced, "v{version}");
            }
        }
        assert_eq!(session.client.call(5, &ask::end(&id, of, true)).error_code, code::INVALID_TXN_STATE);
        // Nobody else took its place, so the same producer may go on.
        let answer = session.client.call(INIT, &ask::init_again(&id, of));
        let next = Producer { id: answer.producer_id.0, epoch: answer.producer_epoch };
        assert_eq!((answer.error_code, next), (code::NONE, of.plus(1)));
        session.take_over(next);
        session.write("t", 0, &["again"]);
        session.end(true);
        assert_eq!(committed_values(&mut client, "t", 0, at), ["again"]);
        assert_eq!(state(&mut client, &patient.id), "Ongoing");
        patient.end(true);
    }
}

#[test]
fn the_second_protocol_goes_on_with_the_epoch_that_its_abort_is_answered_with() {
    let (broker, mut client) = broker_with(&[LOOKED_AT]);
    let mut session = hurried(&broker, "x", Protocol::Second, 1);
    session.write("t", 0, &["late"]);
    until_aborted(&mut client, "x");
    let before = session.of;
    session.end(false);
    assert_eq!(session.of, before.plus(1));
}

#[test]
fn offsets_of_what_takes_too_long_are_gone() {
    let (broker, mut client) = broker_with(&[LOOKED_AT]);
    for protocol in BOTH {
        let id = format!("{protocol:?}");
        let mut session = hurried(&broker, &id, protocol, 1);
        // The transaction may be over before the second of its requests.
        if protocol == Protocol::First {
            session.client.call(4, &ask::add_offsets(&id, session.of, &id));
        }
        let request = ask::commit_in(&id, session.of, &id, &[("t", 0, 5)]);
        session.client.call(protocol.commit(), &request);
        until_aborted(&mut client, &id);
        assert_eq!(committed(&mut client, &id, "t", 0), -1);
    }
}

#[test]
fn the_time_counts_from_the_beginning_and_over_restarts() {
    for crash in [false, true] {
        for protocol in BOTH {
            let (mut broker, mut client) = broker_with(&[LOOKED_AT]);
            let mut session = hurried(&broker, "x", protocol, 1_500);
            session.write("t", 0, &["a"]);
            let started = described(&mut client, "x").transaction_start_time_ms;
            drop(client);
            if crash {
                broker.crash_and_restart(|_| ());
            } else {
                broker.restart();
            }
            let mut client = broker.client();
            session.reconnect(&broker);
            let shown = described(&mut client, "x");
            if shown.transaction_state.as_str() == "Ongoing" {
                assert_eq!(shown.transaction_start_time_ms, started, "{protocol:?} crash: {crash}");
            }
            until_aborted(&mut client, "x");
            let took = crate::support::batch::now_ms() - started;
            assert!(took > 1_500, "{took} ms: too early");
            eventually("the marker is there", || {
                stable_end(&mut client, "t", 0) == client.end_offset("t", 0)
            });
            let records = session.batch("t", 0, &["late"]);
            assert_eq!(session.send("t", 0, records).error_code, code::INVALID_PRODUCER_EPOCH);
        }
    }
}

#[test]
fn ids_that_nobody_uses_are_forgotten_and_those_in_use_are_not() {
    let (broker, mut client) = broker_with(&[
        ("transactional.id.expiration.ms", "300"),
        ("transaction.remove.expired.transaction.cleanup.interval.ms", "20"),
    ]);
    let mut open = Session::open(&broker, "open", Protocol::Second);
    open.write("t", 0, &["v"]);
    let mut done = Session::open(&broker, "done", Protocol::First);
    done.write("t", 1, &["v"]);
    done.end(true);
    let forgotten = Session::open(&broker, "empty", Protocol::Second).of;
    for id in ["empty", "done"] {
        eventually("it is forgotten", || {
            described(&mut client, id).error_code == code::TRANSACTIONAL_ID_NOT_FOUND
        });
    }
    assert_eq!(state(&mut client, "open"), "Ongoing", "however old it is");
    let late = ask::produce(Some("empty"), vec![("t", 2, ask::records(forgotten, 0, &["v"]))]);
    let told = super::session::produced(&client.call(12, &late)).remove(0).error_code;
    assert_eq!(told, code::INVALID_PRODUCER_ID_MAPPING);
    let again = Session::open(&broker, "empty", Protocol::Second).of;
    assert_eq!(again.epoch, 0);
    assert_ne!(again.id, forgotten.id);
    open.end(true);
}

#[test]
fn what_was_forgotten_stays_forgotten_and_ids_age_over_restarts() {
    let (mut broker, mut client) =
        broker_with(&[("transaction.remove.expired.transaction.cleanup.interval.ms", "20")]);
    Session::open(&broker, "x", Protocol::First);
    assert_eq!(state(&mut client, "x"), "Empty");
    drop(client);
    broker.stop();
    broker.change_setting("transactional.id.expiration.ms", "200");
    std::thread::sleep(Duration::from_millis(250));
    broker.begin();
    let mut client = broker.client();
    eventually("it is forgotten", || {
        described(&mut client, "x").error_code == code::TRANSACTIONAL_ID_NOT_FOUND
    });
    drop(client);
    broker.stop();
    broker.change_setting("transactional.id.expiration.ms", "604800000");
    broker.begin();
    let mut client = broker.client();
    assert_eq!(described(&mut client, "x").error_code, code::TRANSACTIONAL_ID_NOT_FOUND);
    let answer = client.call(INIT, &InitProducerIdRequest::clone(&ask::init("x")));
    assert_eq!((answer.error_code, answer.producer_epoch), (code::NONE, 0));
}
