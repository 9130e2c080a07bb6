//! InitProducerId with a transactional id: new epochs, fencing, and coming back after an error (KIP-360).

use kafka_protocol::messages::{InitProducerIdRequest, ProducerId};

use super::ask::{self, Producer};
use super::code;
use super::session::{
    BOTH, INIT, Session, broker, broker_with, described, eventually, init, stable_end, state, until_stable,
};
use crate::support::Client;

/// The last epoch that a client is given.
const LAST_EPOCH: i16 = 32_766;

fn given(client: &mut Client, version: i16, request: &InitProducerIdRequest) -> (i16, Producer) {
    let answer = client.call(version, request);
    (answer.error_code, Producer { id: answer.producer_id.0, epoch: answer.producer_epoch })
}

#[test]
fn each_producer_has_the_next_epoch_in_every_version() {
    let (_broker, mut client) = broker();
    let first = init(&mut client, "x");
    assert_eq!(first.epoch, 0);
    for version in 0..=5_i16 {
        let next = Producer { epoch: version + 1, ..first };
        assert_eq!(given(&mut client, version, &ask::init("x")), (code::NONE, next), "v{version}");
    }
    let other = init(&mut client, "y");
    assert_ne!(other.id, first.id);
    assert_eq!(other.epoch, 0);
}

#[test]
fn what_makes_no_sense_is_refused_in_every_version() {
    let (_broker, mut client) = broker();
    for version in 0..=5 {
        let mut refused = |request: &InitProducerIdRequest| {
            let (code, of) = given(&mut client, version, request);
            assert_eq!(of, Producer::NONE, "v{version}");
            code
        };
        assert_eq!(refused(&ask::init("")), code::INVALID_REQUEST, "v{version}");
        for timeout in [0, -1, i32::MIN, 900_001, i32::MAX] {
            let request = ask::init("x").with_transaction_timeout_ms(timeout);
            assert_eq!(refused(&request), code::INVALID_TRANSACTION_TIMEOUT, "v{version} {timeout}");
        }
        if version >= 3 {
            let half = ask::init("x").with_producer_id(ProducerId(5));
            assert_eq!(refused(&half), code::INVALID_REQUEST, "v{version}");
            assert_eq!(refused(&ask::init("x").with_producer_epoch(5)), code::INVALID_REQUEST, "v{version}");
        }
    }
    // None of it has made the id known.
    assert_eq!(described(&mut client, "x").error_code, code::TRANSACTIONAL_ID_NOT_FOUND);
}

#[test]
fn timeouts_are_permitted_up_to_the_setting() {
    let (_broker, mut client) = broker_with(&[("transaction.max.timeout.ms", "5000")]);
    for (timeout, expected) in
        [(1, code::NONE), (5_000, code::NONE), (5_001, code::INVALID_TRANSACTION_TIMEOUT)]
    {
        let request = ask::init("x").with_transaction_timeout_ms(timeout);
        assert_eq!(given(&mut client, INIT, &request).0, expected, "{timeout}");
    }
    assert_eq!(described(&mut client, "x").transaction_timeout_ms, 5_000);
    // Who only wants to be idempotent has no transactions that could take too long.
    for timeout in [0, -1, i32::MAX] {
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(timeout);
        assert_eq!(given(&mut client, INIT, &request).0, code::NONE, "{timeout}");
    }
}

#[test]
fn who_comes_back_after_an_error_is_told_the_same_twice_and_others_are_fenced() {
    let (_broker, mut client) = broker();
    for version in 3..=5 {
        let fenced = if version < 4 { code::INVALID_PRODUCER_EPOCH } else { code::PRODUCER_FENCED };
        let id = format!("x{version}");
        let of = init(&mut client, &id);
        let next = (code::NONE, of.plus(1));
        assert_eq!(given(&mut client, version, &ask::init_again(&id, of)), next, "v{version}");
        // The answer was lost: the same request once more.
        assert_eq!(given(&mut client, version, &ask::init_again(&id, of)), next, "v{version}");
        assert_eq!(
            given(&mut client, version, &ask::init_again(&id, of.plus(1))).1,
            of.plus(2),
            "v{version}"
        );
        // The oldest is nobody's last any more; the future and another id never were.
        for stale in [of, of.plus(7), of.stranger()] {
            let refused = given(&mut client, version, &ask::init_again(&id, stale));
            assert_eq!(refused, (fenced, Producer::NONE), "v{version} {stale:?}");
        }
        // Another takes over: whoever had the epoch before cannot come back.
        assert_eq!(init(&mut client, &id), of.plus(3));
        let refused = given(&mut client, version, &ask::init_again(&id, of.plus(2)));
        assert_eq!(refused.0, fenced, "v{version}");
        // What is not known any more is given anew.
        let (code, lost) =
            given(&mut client, version, &ask::init_again(&format!("lost{version}"), of.plus(9)));
        assert_eq!((code, lost.epoch), (code::NONE, 0), "v{version}");
        assert_ne!(lost.id, of.id);
    }
}

#[test]
fn a_new_producer_aborts_what_the_earlier_one_had_begun() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        for version in 0..=5 {
            let id = format!("{protocol:?}{version}");
            let mut zombie = Session::open(&broker, &id, protocol);
            let at = zombie.write("t", 0, &["never"]);
            assert_eq!(stable_end(&mut client, "t", 0), at);
            // Answered when the abort is decided; the epoch that fences is nobody's.
            let refused = given(&mut client, version, &ask::init(&id));
            assert_eq!(refused, (code::CONCURRENT_TRANSACTIONS, Producer::NONE), "{id}");
            assert_eq!(init(&mut client, &id), zombie.of.plus(2), "{id}");
            assert_eq!(until_stable(&mut client, "t", 0), at + 2, "the marker is there");
            let late = zombie.batch("t", 0, &["late"]);
            assert_eq!(zombie.send("t", 0, late).error_code, code::INVALID_PRODUCER_EPOCH, "{id}");
            for end in 0..=5 {
                let code = zombie.client.call(end, &ask::end(&id, zombie.of, true)).error_code;
                let fenced = if end < 2 { code::INVALID_PRODUCER_EPOCH } else { code::PRODUCER_FENCED };
                assert_eq!(code, fenced, "{id} EndTxn v{end}");
            }
            assert_eq!(state(&mut client, &id), "Empty");
        }
    }
}

#[test]
fn who_comes_back_within_a_transaction_gets_its_own_aborted() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let id = format!("{protocol:?}");
        let mut session = Session::open(&broker, &id, protocol);
        let at = session.write("t", 0, &["never"]);
        let again = ask::init_again(&id, session.of);
        assert_eq!(given(&mut client, INIT, &again).0, code::CONCURRENT_TRANSACTIONS);
        let mut next = Producer::NONE;
        eventually("the abort is complete", || {
            let (code, of) = given(&mut client, INIT, &again);
            next = of;
            code == code::NONE
        });
        assert_eq!(next, session.of.plus(1), "the epoch that fenced is its own");
        assert_eq!(until_stable(&mut client, "t", 0), at + 2);
        session.take_over(next);
        session.write("t", 0, &["again"]);
        session.end(true);
    }
}

#[test]
fn a_late_repetition_of_an_old_request_does_not_abort_the_newer_producers_transaction() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let id = format!("{protocol:?}");
        let old = init(&mut client, &id);
        let mut session = Session::open(&broker, &id, protocol);
        session.write("t", 1, &["kept"]);
        let refused = given(&mut client, INIT, &ask::init_again(&id, old));
        assert_eq!(refused, (code::PRODUCER_FENCED, Producer::NONE));
        assert_eq!(state(&mut client, &id), "Ongoing");
        session.end(true);
    }
}

#[test]
fn epochs_that_run_out_lead_to_another_producer_id() {
    let (_broker, mut client) = broker();
    let first = init(&mut client, "x");
    let request = ask::init("x");
    // Many at a time, because each waits for the disk.
    const AT_ONCE: i16 = 127;
    let mut of = first;
    for _ in 0..LAST_EPOCH / AT_ONCE {
        let asked: Vec<i32> = (0..AT_ONCE).map(|_| client.begin(INIT, &request)).collect();
        for number in asked {
            let answer = client.finish::<InitProducerIdRequest>(INIT, number);
            let given = Producer { id: answer.producer_id.0, epoch: answer.producer_epoch };
            assert_eq!((answer.error_code, given), (code::NONE, of.plus(1)));
            of = given;
        }
    }
    assert_eq!(of.epoch, LAST_EPOCH);
    // The epoch 32,767 is given to nobody: there would be none to fence it with.
    let (code, of) = given(&mut client, INIT, &request);
    assert_eq!((code, of.epoch), (code::NONE, 0));
    assert_ne!(of.id, first.id);
    let shown = described(&mut client, "x");
    assert_eq!((shown.producer_id.0, shown.producer_epoch), (of.id, 0));
    assert_eq!(given(&mut client, INIT, &ask::init_again("x", first.plus(9))).0, code::PRODUCER_FENCED);
}
