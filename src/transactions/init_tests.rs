use super::*;
use crate::record::TransactionOutcome::{Abort, Commit};
use crate::transactions::end::EndRequest;
use crate::transactions::testing::{
    ID, START_MS, TIMEOUT_MS, begun, group, ongoing, partition, producer, request,
};
use crate::transactions::transaction::TopicPartition;

const OTHER: Producer = Producer { id: 99, epoch: 0 };

fn refused(error: TransactionError) -> Result<Init, Refused> {
    Err(error.into())
}

/// Asks, and sees that a refusal changes nothing.
fn ask(of: &mut Transaction, expected: Option<Producer>, spare: Option<i64>) -> Result<Init, Refused> {
    let before = of.clone();
    let answer = of.init(request(expected), spare, START_MS + 5);
    assert!(answer.is_ok() || *of == before);
    answer
}

#[test]
fn requests_are_checked_before_anything_is_looked_up() {
    let new = |timeout, id, epoch| InitRequest::new(timeout, id, epoch, 900_000);
    for timeout in [0, -1, i32::MIN, 900_001, i32::MAX] {
        assert_eq!(new(timeout, -1, -1), Err(TransactionError::InvalidTransactionTimeout));
    }
    assert_eq!(new(1, -1, -1), Ok(InitRequest { timeout_ms: 1, expected: None }));
    assert_eq!(new(900_000, 7, 3).map(|request| request.expected), Ok(Some(producer(3))));
    for (id, epoch) in [(7, -1), (-1, 0)] {
        assert_eq!(new(1, id, epoch), Err(TransactionError::InvalidRequest));
    }
}

#[test]
fn a_new_id_is_empty_and_has_the_first_epoch() {
    let created = Transaction::create(request(Some(OTHER)), ID, START_MS);
    assert_eq!((created.state, created.producer()), (State::Empty, producer(0)));
    assert_eq!((created.last_producer_epoch, created.started_at_ms, created.serial), (NO_EPOCH, -1, 0));
}

#[test]
fn a_takeover_takes_the_epoch_away_for_good() {
    let mut of = begun(3);
    assert_eq!(ask(&mut of, None, None), Ok(Init::Ready(producer(4))));
    assert_eq!((of.last_producer_epoch, of.updated_at_ms), (NO_EPOCH, START_MS + 5));
    for epoch in [2, 3, 5, -2] {
        assert_eq!(ask(&mut of, Some(producer(epoch)), None), refused(TransactionError::ProducerFenced));
    }
    assert_eq!(ask(&mut of, Some(OTHER), None), refused(TransactionError::ProducerFenced));
}

#[test]
fn a_producer_that_goes_on_may_lose_the_answer_as_often_as_it_likes() {
    let mut of = begun(3);
    for _ in 0..3 {
        assert_eq!(ask(&mut of, Some(producer(3)), None), Ok(Init::Ready(producer(4))));
    }
    assert_eq!(ask(&mut of, Some(producer(4)), None), Ok(Init::Ready(producer(5))));
    assert_eq!(ask(&mut of, Some(producer(3)), None), refused(TransactionError::ProducerFenced));
}

#[test]
fn the_new_timeout_counts() {
    let mut of = begun(3);
    assert!(of.init(InitRequest { timeout_ms: 5, expected: None }, None, START_MS).is_ok());
    assert_eq!(of.timeout_ms, 5);
}

#[test]
fn an_open_transaction_is_aborted_and_its_epoch_is_taken_once() {
    let mut of = ongoing(3);
    let enlisted = of.enlist_offsets(producer(3), &group("g"), START_MS);
    assert!(enlisted.is_ok());
    of.init(InitRequest { timeout_ms: 5, expected: None }, None, START_MS + 9).map_or_else(
        |refused| panic!("{refused}"),
        |init| {
            let Init::Fenced(Some(ending)) = init else { panic!("{init:?}") };
            assert_eq!((ending.serial, ending.producer_id, ending.producer_epoch), (0, ID, 4));
            assert_eq!(ending.outcome, Abort);
            assert_eq!(ending.partitions.into_iter().collect::<Vec<TopicPartition>>(), [partition(0)]);
            assert_eq!(ending.groups.into_iter().collect::<Vec<_>>(), [group("g")]);
        },
    );
    assert_eq!((of.state, of.timeout_ms), (State::PrepareAbort, TIMEOUT_MS));
    assert_eq!(ask(&mut of, None, None), refused(TransactionError::ConcurrentTransactions));
    of.complete(START_MS + 10);
    // The fence's epoch is nobody's.
    assert_eq!(ask(&mut of, None, None), Ok(Init::Ready(producer(5))));
    assert_eq!(ask(&mut of, Some(producer(3)), None), refused(TransactionError::ProducerFenced));
}

#[test]
fn a_producer_that_aborts_itself_gets_the_epoch_of_the_fence() {
    let mut of = ongoing(3);
    assert!(matches!(ask(&mut of, Some(producer(3)), None), Ok(Init::Fenced(Some(_)))));
    of.complete(START_MS);
    assert_eq!(ask(&mut of, Some(producer(3)), None), Ok(Init::Ready(producer(4))));
    assert_eq!(of.state, State::Empty);
}

#[test]
fn a_transaction_that_touched_nothing_is_aborted_at_once() {
    let mut of = begun(3);
    assert!(of.enlist(producer(3), &[], START_MS).is_ok());
    assert_eq!(of.state, State::Ongoing);
    assert_eq!(ask(&mut of, None, None), Ok(Init::Fenced(None)));
    assert_eq!((of.state, of.producer_epoch, of.serial), (State::CompleteAbort, 4, 1));
}

#[test]
fn nobody_but_its_producer_ends_a_transaction_by_what_it_expects() {
    let mut of = ongoing(3);
    for expected in [producer(2), producer(4), OTHER] {
        assert_eq!(ask(&mut of, Some(expected), None), refused(TransactionError::ProducerFenced));
    }
}

#[test]
fn exhausted_epochs_give_a_new_producer_id() {
    let mut of = begun(LAST_EPOCH);
    assert_eq!(ask(&mut of, None, None), Err(Refused::NeedsProducerId));
    assert_eq!(ask(&mut of, None, Some(8)), Ok(Init::Ready(Producer { id: 8, epoch: 0 })));
    // Taken over: the one before is a stranger.
    assert_eq!(ask(&mut of, Some(producer(LAST_EPOCH)), None), refused(TransactionError::ProducerFenced));

    let mut of = begun(LAST_EPOCH);
    for _ in 0..3 {
        // It goes on, and asks again and again.
        let given = ask(&mut of, Some(producer(LAST_EPOCH)), Some(8));
        assert_eq!(given, Ok(Init::Ready(Producer { id: 8, epoch: 0 })));
    }
    assert_eq!(ask(&mut of, Some(producer(LAST_EPOCH - 1)), None), refused(TransactionError::ProducerFenced));
    // With the first thing it does under the new id it has shown that it knows of it.
    assert!(of.enlist(Producer { id: 8, epoch: 0 }, &[partition(0)], START_MS).is_ok());
    assert_eq!(ask(&mut of, Some(producer(LAST_EPOCH)), None), refused(TransactionError::ProducerFenced));
}

#[test]
fn an_expectation_from_before_the_last_epoch_needs_no_id() {
    let mut of = begun(LAST_EPOCH - 1);
    let last = Ok(Init::Ready(producer(LAST_EPOCH)));
    assert_eq!(ask(&mut of, Some(producer(LAST_EPOCH - 1)), None), last);
    assert_eq!(ask(&mut of, Some(producer(LAST_EPOCH - 1)), None), last);
    assert_eq!(ask(&mut of, Some(producer(LAST_EPOCH - 2)), None), refused(TransactionError::ProducerFenced));
}

#[test]
fn fencing_the_last_epoch_needs_an_id() {
    let mut of = ongoing(LAST_EPOCH);
    assert_eq!(ask(&mut of, None, None), Err(Refused::NeedsProducerId));
    let Ok(Init::Fenced(Some(ending))) = ask(&mut of, None, Some(8)) else { panic!("{of:?}") };
    assert_eq!((ending.producer_id, ending.producer_epoch), (ID, i16::MAX));
    of.complete(START_MS);
    assert_eq!(of.producer(), Producer { id: 8, epoch: 0 });
    assert_eq!(ask(&mut of, None, None), Ok(Init::Ready(Producer { id: 8, epoch: 1 })));
}

#[test]
fn after_an_end_either_epoch_may_be_expected() {
    let mut of = ongoing(3);
    let request = EndRequest { producer: producer(3), outcome: Commit, protocol: Protocol::Second };
    assert!(of.end(request, None, START_MS).is_ok());
    of.complete(START_MS);
    assert_eq!(ask(&mut of.clone(), Some(producer(3)), None), Ok(Init::Ready(producer(4))));
    assert_eq!(ask(&mut of, Some(producer(4)), None), Ok(Init::Ready(producer(5))));
}
