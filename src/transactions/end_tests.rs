use super::*;
use crate::record::TransactionOutcome::{Abort, Commit};
use crate::transactions::init::Init;
use crate::transactions::testing::{
    ID, START_MS, begun, group, ongoing, partition, producer, request as init_request,
};

use Protocol::{First, Second};

/// Asks, and sees that a refusal changes nothing.
fn end(
    of: &mut Transaction,
    producer: Producer,
    outcome: TransactionOutcome,
    protocol: Protocol,
) -> Result<Ended, Refused> {
    let before = of.clone();
    let answer = of.end(EndRequest { producer, outcome, protocol }, None, START_MS + 5);
    assert!(answer.is_ok() || *of == before);
    answer
}

fn refused(error: TransactionError) -> Result<Ended, Refused> {
    Err(error.into())
}

fn before(producer: Producer) -> Result<Ended, Refused> {
    Ok(Ended { producer, ending: None, row: Row::Unchanged })
}

/// Ended so, and complete.
fn ended(mut of: Transaction, outcome: TransactionOutcome, protocol: Protocol) -> Transaction {
    let producer = of.producer();
    assert!(end(&mut of, producer, outcome, protocol).is_ok());
    of.complete(START_MS + 6);
    of
}

#[test]
fn an_end_reaches_everything_and_the_row_says_so_already() {
    for (protocol, epoch) in [(First, 3), (Second, 4)] {
        for (outcome, prepared, complete) in [
            (Commit, State::PrepareCommit, State::CompleteCommit),
            (Abort, State::PrepareAbort, State::CompleteAbort),
        ] {
            let mut of = ongoing(3);
            assert!(of.enlist(producer(3), &[partition(1)], START_MS).is_ok());
            assert!(of.enlist_offsets(producer(3), &group("g"), START_MS).is_ok());
            let done = end(&mut of, producer(3), outcome, protocol).expect("an end");
            assert_eq!((done.producer, done.row), (producer(epoch), Row::Changed));
            let ending = done.ending.expect("it touched something");
            assert_eq!((ending.serial, ending.producer_id, ending.producer_epoch), (0, ID, epoch));
            assert_eq!((ending.outcome, of.state), (outcome, prepared));
            assert_eq!((&ending.partitions, &ending.groups), (&of.partitions, &of.groups));
            assert_eq!((ending.partitions.len(), ending.groups.len()), (2, 1));

            let stored = of.stored().into_owned();
            assert_eq!((stored.state, stored.producer_epoch, stored.serial), (complete, epoch, 1));
            assert!(stored.partitions.is_empty() && stored.groups.is_empty());
            of.complete(START_MS + 5);
            assert_eq!(of, stored);
            of.complete(START_MS + 9);
            assert_eq!(of, stored, "it is complete");
        }
    }
}

#[test]
fn while_it_is_completed_everything_waits() {
    for (protocol, asks) in [(First, 3), (Second, 3)] {
        let mut of = ongoing(3);
        assert!(end(&mut of, producer(3), Commit, protocol).is_ok());
        let waits = refused(TransactionError::ConcurrentTransactions);
        assert_eq!(end(&mut of, producer(asks), Commit, protocol), waits);
        assert_eq!(end(&mut of, producer(asks), Abort, protocol), refused(TransactionError::InvalidTxnState));
        let present = of.producer();
        let waits = Err(TransactionError::ConcurrentTransactions);
        assert_eq!(of.clone().enlist(present, &[partition(0)], START_MS), waits);
        assert_eq!(of.verify(present, partition(0)), Err(TransactionError::ConcurrentTransactions));
        assert_eq!(of.clone().verify_offsets(present, &group("g"), START_MS), waits);
    }
}

#[test]
fn the_first_protocol_cannot_tell_a_repetition_from_the_end_of_nothing() {
    let mut of = ended(ongoing(3), Commit, First);
    assert_eq!(end(&mut of, producer(3), Commit, First), before(producer(3)));
    assert_eq!(end(&mut of, producer(3), Abort, First), refused(TransactionError::InvalidTxnState));
    let mut of = ended(ongoing(3), Abort, First);
    assert_eq!(end(&mut of, producer(3), Abort, First), before(producer(3)));
    assert_eq!(end(&mut of, producer(3), Commit, First), refused(TransactionError::InvalidTxnState));
    for outcome in [Commit, Abort] {
        let refusal = refused(TransactionError::InvalidTxnState);
        assert_eq!(end(&mut begun(3), producer(3), outcome, First), refusal);
    }
}

#[test]
fn strangers_end_nothing() {
    let stranger = Producer { id: 99, epoch: 3 };
    for protocol in [First, Second] {
        for of in [begun(3), ongoing(3), ended(ongoing(2), Commit, Second), ended(ongoing(3), Abort, First)] {
            for outcome in [Commit, Abort] {
                let mut of = of.clone();
                let refusal = refused(TransactionError::InvalidProducerIdMapping);
                assert_eq!(end(&mut of, stranger, outcome, protocol), refusal);
                for epoch in [0, 1, 4, 5, -1, i16::MIN, i16::MAX] {
                    let refusal = refused(TransactionError::ProducerFenced);
                    assert_eq!(end(&mut of, producer(epoch), outcome, protocol), refusal, "{epoch} {of:?}");
                }
            }
        }
    }
}

/// The table in the module's documentation.
#[test]
fn the_second_protocol_tells_repetitions_by_their_epoch() {
    let invalid = || refused(TransactionError::InvalidTxnState);
    let fenced = || refused(TransactionError::ProducerFenced);
    for (of, repeated_abort, repeated_commit) in [
        (begun(4), fenced(), fenced()),
        (ended(ongoing(3), Abort, Second), before(producer(4)), invalid()),
        (ended(ongoing(3), Commit, Second), invalid(), before(producer(4))),
    ] {
        assert_eq!(end(&mut of.clone(), producer(3), Abort, Second), repeated_abort, "{of:?}");
        assert_eq!(end(&mut of.clone(), producer(3), Commit, Second), repeated_commit, "{of:?}");
        assert_eq!(end(&mut of.clone(), producer(4), Commit, Second), invalid(), "{of:?}");
        // An abort of nothing takes an epoch, and can be asked for again.
        let mut of = of;
        let done = Ended { producer: producer(5), ending: None, row: Row::Changed };
        let serial = of.serial;
        assert_eq!(end(&mut of, producer(4), Abort, Second), Ok(done));
        assert_eq!((of.state, of.started_at_ms), (State::CompleteAbort, START_MS + 5));
        assert_eq!(of.serial, serial + 1);
        assert_eq!(end(&mut of, producer(4), Abort, Second), before(producer(5)));
        assert_eq!(end(&mut of, producer(3), Abort, Second), fenced());
    }
}

#[test]
fn nothing_of_an_ended_transaction_counts_for_the_next_one() {
    let mut of = ended(ongoing(3), Commit, Second);
    assert!(of.enlist(producer(4), &[partition(0)], START_MS).is_ok());
    for outcome in [Commit, Abort] {
        assert_eq!(end(&mut of, producer(3), outcome, Second), refused(TransactionError::ProducerFenced));
    }
    assert_eq!(of.verify(producer(3), partition(0)), Err(TransactionError::ProducerFenced));
}

/// What Kafka 4.3.1 takes for a repetition: it looks at the numbers alone.
#[test]
fn a_fenced_producer_is_not_taken_for_one_that_asks_again() {
    // Taken over, and ended by the first protocol: the epochs follow each other by chance.
    let mut of = begun(3);
    assert_eq!(of.init(init_request(None), None, START_MS), Ok(Init::Ready(producer(4))));
    assert!(of.enlist(producer(4), &[partition(0)], START_MS).is_ok());
    let mut of = ended(of, Commit, First);
    assert_eq!(end(&mut of, producer(3), Commit, Second), refused(TransactionError::ProducerFenced));
    // As before, after an end by the second protocol.
    let mut of = ended(ongoing(3), Commit, Second);
    assert_eq!(of.init(init_request(None), None, START_MS), Ok(Init::Ready(producer(5))));
    assert!(of.enlist(producer(5), &[partition(0)], START_MS).is_ok());
    let mut of = ended(of, Commit, First);
    assert_eq!(end(&mut of, producer(4), Commit, Second), refused(TransactionError::ProducerFenced));
}

#[test]
fn the_last_epoch_ends_with_a_new_producer_id() {
    let last = producer(LAST_EPOCH);
    let request = EndRequest { producer: last, outcome: Commit, protocol: Second };
    let mut of = ongoing(LAST_EPOCH);
    assert_eq!(of.end(request, None, START_MS), Err(Refused::NeedsProducerId));
    let done = of.end(request, Some(8), START_MS).expect("an end");
    let next = Producer { id: 8, epoch: 0 };
    assert_eq!(done.producer, next);
    let ending = done.ending.expect("it touched something");
    assert_eq!((ending.producer_id, ending.producer_epoch), (ID, i16::MAX));
    // While the markers are written the id is the old one.
    assert_eq!(end(&mut of, last, Commit, Second), refused(TransactionError::ConcurrentTransactions));
    assert_eq!(of.stored().producer(), next);
    of.complete(START_MS);
    assert_eq!(end(&mut of, last, Commit, Second), before(next));
    assert_eq!(end(&mut of, last, Abort, Second), refused(TransactionError::InvalidTxnState));
    assert_eq!(
        end(&mut of, producer(LAST_EPOCH - 1), Commit, Second),
        refused(TransactionError::InvalidProducerIdMapping)
    );
    assert_eq!(end(&mut of, last, Commit, First), refused(TransactionError::InvalidProducerIdMapping));
    // The first protocol takes no epoch, and needs none.
    let mut of = ongoing(LAST_EPOCH);
    assert!(end(&mut of, last, Commit, First).is_ok());
    assert_eq!(of.producer(), last);
}

#[test]
fn an_abort_of_nothing_needs_an_id_as_well() {
    let mut of = begun(LAST_EPOCH);
    let request = EndRequest { producer: producer(LAST_EPOCH), outcome: Abort, protocol: Second };
    assert_eq!(of.end(request, None, START_MS), Err(Refused::NeedsProducerId));
    let next = Producer { id: 8, epoch: 0 };
    assert_eq!(of.end(request, Some(8), START_MS).map(|done| done.producer), Ok(next));
    assert_eq!(end(&mut of, producer(LAST_EPOCH), Abort, Second), before(next));
}
