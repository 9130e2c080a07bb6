//! The rules one by one.

use proptest::prelude::*;

use super::*;
use crate::record::BatchBuilder;

const PRODUCER: i64 = 9;
const ENLISTED: Enlistment = Enlistment::Enlisted { begins_at_zero: false };
const SECOND_PROTOCOL: Enlistment = Enlistment::Enlisted { begins_at_zero: true };

fn built(epoch: i16, base_sequence: i32, count: i32, base_offset: i64, transactional: bool) -> BatchHeader {
    let builder = BatchBuilder::new().producer(PRODUCER, epoch, base_sequence).transactional(transactional);
    let batch = (0..count).fold(builder, |builder, _| builder.record(1_000, None, None)).build().unwrap();
    BatchHeader { base_offset, ..BatchHeader::parse(&batch).unwrap() }
}

fn batch(epoch: i16, base_sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
    built(epoch, base_sequence, count, base_offset, false)
}

fn transactional(epoch: i16, base_sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
    built(epoch, base_sequence, count, base_offset, true)
}

fn marker(producer_epoch: i16, coordinator_epoch: i32, outcome: TransactionOutcome) -> EndMarker {
    EndMarker { producer_id: PRODUCER, producer_epoch, coordinator_epoch, outcome }
}

fn plain(producers: &Producers, header: &BatchHeader) -> Result<Verdict, AppendError> {
    producers.check(header, Enlistment::Unknown)
}

fn end(producers: &mut Producers, marker: EndMarker, offset: i64) -> Option<AbortedTransaction> {
    producers.check_marker(&marker).unwrap();
    producers.end(&marker, offset, 2_000, 0)
}

#[test]
fn a_repeat_of_any_of_the_last_five_is_answered_with_its_offset() {
    let mut producers = Producers::default();
    for index in 0..8 {
        let header = batch(0, index * 3, 3, i64::from(index) * 3);
        assert_eq!(plain(&producers, &header).unwrap(), Verdict::Append);
        producers.record(&header, 0);
    }
    for index in 3..8 {
        let Verdict::Duplicate(meta) = plain(&producers, &batch(0, index * 3, 3, -1)).unwrap() else {
            panic!("batch {index} is remembered");
        };
        assert_eq!(meta.first_offset(), i64::from(index) * 3);
    }
    assert!(matches!(
        plain(&producers, &batch(0, 6, 3, -1)),
        Err(AppendError::OutOfOrderSequence { expected: 24, found: 6, .. })
    ));
}

#[test]
fn a_gap_is_refused_and_the_sequence_wraps_to_zero() {
    let mut producers = Producers::default();
    producers.record(&batch(0, i32::MAX - 1, 2, 10), 0);
    assert_eq!(plain(&producers, &batch(0, 0, 1, -1)).unwrap(), Verdict::Append);
    assert!(plain(&producers, &batch(0, 1, 1, -1)).is_err());
    // A batch across the wrap is remembered by both its ends.
    let mut producers = Producers::default();
    let across = batch(0, i32::MAX - 1, 4, 10);
    producers.record(&across, 0);
    assert!(matches!(plain(&producers, &across), Ok(Verdict::Duplicate(meta)) if meta.first_offset() == 10));
    assert_eq!(plain(&producers, &batch(0, 2, 1, -1)).unwrap(), Verdict::Append);
}

#[test]
fn a_new_epoch_starts_at_zero_and_an_old_one_is_fenced() {
    let mut producers = Producers::default();
    producers.record(&batch(4, 0, 5, 0), 0);
    assert!(matches!(
        plain(&producers, &batch(5, 3, 1, -1)),
        Err(AppendError::OutOfOrderSequence { expected: 0, .. })
    ));
    assert_eq!(plain(&producers, &batch(5, 0, 1, -1)).unwrap(), Verdict::Append);
    producers.record(&batch(5, 0, 1, 5), 0);
    assert!(matches!(
        plain(&producers, &batch(4, 5, 1, -1)),
        Err(AppendError::InvalidProducerEpoch { current: 5, found: 4, .. })
    ));
}

#[test]
fn only_a_producer_of_the_second_protocol_must_begin_at_zero_where_it_is_unknown() {
    let producers = Producers::default();
    let header = transactional(3, 7, 1, -1);
    assert_eq!(producers.check(&header, ENLISTED).unwrap(), Verdict::Append);
    assert!(matches!(
        producers.check(&header, SECOND_PROTOCOL),
        Err(AppendError::OutOfOrderSequence { expected: 0, found: 7, .. })
    ));
    assert_eq!(producers.check(&transactional(3, 0, 1, -1), SECOND_PROTOCOL).unwrap(), Verdict::Append);
    // A marker makes the producer known: what follows it begins at zero.
    let mut producers = producers;
    end(&mut producers, marker(3, 0, TransactionOutcome::Commit), 4);
    assert!(matches!(
        producers.check(&header, ENLISTED),
        Err(AppendError::OutOfOrderSequence { expected: 0, .. })
    ));
}

#[test]
fn a_transaction_is_joined_by_its_own_epoch_alone() {
    let mut producers = Producers::default();
    let first = transactional(1, 0, 2, 10);
    assert!(matches!(plain(&producers, &first), Err(AppendError::NotEnlisted { producer_id: PRODUCER })));
    assert_eq!(producers.check(&first, ENLISTED).unwrap(), Verdict::Append);
    producers.record(&first, 77);
    let open = OpenTransaction { producer_id: PRODUCER, producer_epoch: 1, first_offset: 10, began_ms: 77 };
    assert_eq!(producers.open_transaction(PRODUCER), Some(open));

    assert_eq!(plain(&producers, &transactional(1, 2, 1, -1)).unwrap(), Verdict::Append);
    assert!(matches!(plain(&producers, &batch(1, 2, 1, -1)), Err(AppendError::InvalidTxnState { .. })));
    // Another epoch's transaction must not share this one's fate, whoever vouches for it.
    let next = transactional(2, 0, 1, -1);
    assert!(matches!(plain(&producers, &next), Err(AppendError::NotEnlisted { .. })));
    assert!(matches!(producers.check(&next, ENLISTED), Err(AppendError::InvalidTxnState { .. })));
    assert!(matches!(plain(&producers, &batch(2, 0, 1, -1)), Err(AppendError::InvalidTxnState { .. })));
    // The sequence of a batch that cannot be in order is told first, as in Kafka.
    assert!(matches!(plain(&producers, &batch(1, 9, 1, -1)), Err(AppendError::OutOfOrderSequence { .. })));

    producers.record(&transactional(1, 2, 1, 12), 99);
    assert_eq!(producers.open_transactions().collect::<Vec<_>>(), [open]);
    end(&mut producers, marker(1, 0, TransactionOutcome::Commit), 13);
    assert_eq!(producers.open_transaction(PRODUCER), None);
    // A repeat is recognised after the end too, and needs nobody to vouch for it.
    assert!(matches!(plain(&producers, &first), Ok(Verdict::Duplicate(meta)) if meta.first_offset() == 10));
    assert!(matches!(plain(&producers, &transactional(1, 3, 1, -1)), Err(AppendError::NotEnlisted { .. })));
    assert_eq!(producers.check(&transactional(1, 3, 1, -1), ENLISTED).unwrap(), Verdict::Append);
    assert_eq!(plain(&producers, &batch(1, 3, 1, -1)).unwrap(), Verdict::Append);
}

#[test]
fn a_transaction_of_nobody_is_refused() {
    let header = BatchHeader { producer_id: -1, ..transactional(-1, -1, 1, -1) };
    let producers = Producers::default();
    assert!(matches!(plain(&producers, &header), Err(AppendError::NotEnlisted { .. })));
    assert!(matches!(producers.check(&header, ENLISTED), Err(AppendError::InvalidTxnState { .. })));
}

#[test]
fn a_marker_that_was_overtaken_is_refused() {
    let mut producers = Producers::default();
    producers.record(&transactional(4, 0, 1, 0), 0);
    let refused = producers.check_marker(&marker(3, 9, TransactionOutcome::Abort));
    assert!(matches!(refused, Err(AppendError::InvalidProducerEpoch { found: 3, current: 4, .. })));
    end(&mut producers, marker(4, 9, TransactionOutcome::Commit), 1);
    let refused = producers.check_marker(&marker(4, 8, TransactionOutcome::Abort));
    assert!(matches!(refused, Err(AppendError::CoordinatorFenced { found: 8, current: 9, .. })));
    assert!(producers.check_marker(&marker(4, 9, TransactionOutcome::Abort)).is_ok());
}

#[test]
fn a_marker_of_a_higher_epoch_ends_the_transaction_and_forgets_its_batches() {
    let mut producers = Producers::default();
    let header = transactional(4, 0, 3, 5);
    producers.record(&header, 0);
    let aborted = end(&mut producers, marker(5, 0, TransactionOutcome::Abort), 8);
    let expected =
        AbortedTransaction { producer_id: PRODUCER, first_offset: 5, last_offset: 8, last_stable_offset: 9 };
    assert_eq!(aborted, Some(expected));
    assert!(matches!(plain(&producers, &header), Err(AppendError::InvalidProducerEpoch { current: 5, .. })));
    assert!(matches!(
        producers.check(&transactional(5, 3, 1, -1), ENLISTED),
        Err(AppendError::OutOfOrderSequence { expected: 0, .. })
    ));
    let view = producers.views().next().unwrap();
    let expected = ProducerView {
        producer_id: PRODUCER,
        producer_epoch: 5,
        last_sequence: -1,
        last_timestamp: 2_000,
        coordinator_epoch: 0,
        current_txn_start_offset: -1,
    };
    assert_eq!(view, expected);
}

#[test]
fn a_marker_without_records_ends_nothing() {
    let mut producers = Producers::default();
    assert_eq!(end(&mut producers, marker(2, 0, TransactionOutcome::Abort), 3), None);
    assert_eq!(producers.first_unstable_offset(0), None);
    assert_eq!(producers.iter().next().unwrap().1.epoch, 2);
}

#[test]
fn readers_stop_in_front_of_what_is_open_or_ended_out_of_their_sight() {
    let mut producers = Producers::default();
    producers.record(&transactional(0, 0, 2, 10), 0);
    let other = BatchHeader { producer_id: 1, ..transactional(0, 0, 1, 12) };
    producers.record(&other, 0);
    assert_eq!(producers.first_unstable_offset(13), Some(10));
    let aborted = end(&mut producers, marker(0, 0, TransactionOutcome::Abort), 13);
    // The other one, which is still open, begins in front of this one's marker.
    assert_eq!(aborted.unwrap().last_stable_offset, 12);
    assert_eq!(producers.first_unstable_offset(13), Some(10), "the marker is out of sight");
    assert_eq!(producers.first_unstable_offset(14), Some(12));
    producers.settle(13);
    assert_eq!(producers.first_unstable_offset(13), Some(10));
    producers.settle(14);
    assert_eq!(producers.first_unstable_offset(14), Some(12));
    end(&mut producers, EndMarker { producer_id: 1, ..marker(0, 0, TransactionOutcome::Commit) }, 14);
    producers.settle(15);
    assert_eq!(producers.first_unstable_offset(15), None);
}

#[test]
fn an_idle_producer_is_forgotten_only_after_the_expiration_and_its_transaction() {
    let mut producers = Producers::default();
    producers.record(&batch(0, 0, 1, 0), 1_000);
    producers.expire(1_000 + 99, 100);
    assert_eq!(producers.len(), 1);
    producers.record(&transactional(0, 1, 1, 1), 1_000);
    producers.expire(1_000_000, 100);
    assert_eq!(producers.len(), 1, "a transaction is open");
    producers.end(&marker(0, 0, TransactionOutcome::Commit), 2, 0, 2_000);
    producers.expire(2_000 + 99, 100);
    assert_eq!(producers.len(), 1);
    producers.expire(2_000 + 100, 100);
    assert!(producers.is_empty());
}

#[test]
fn a_replayed_transaction_began_no_later_than_now() {
    for (timestamp, began_ms) in [(500, 500), (5_000, 2_000), (-1, 2_000)] {
        let mut producers = Producers::default();
        producers.replay(&BatchHeader { max_timestamp: timestamp, ..transactional(0, 0, 1, 0) }, 2_000);
        assert_eq!(producers.open_transaction(PRODUCER).unwrap().began_ms, began_ms);
    }
}

proptest! {
    /// A producer with up to five batches in flight that repeats any of them at random gets each appended once.
    #[test]
    fn retries_never_append_twice(retries in prop::collection::vec(0usize..5, 1..200)) {
        let mut producers = Producers::default();
        let mut appended: Vec<BatchHeader> = Vec::new();
        let mut next_offset = 0;
        for back in retries {
            let fresh = batch(0, (appended.len() as i32) * 2, 2, next_offset);
            prop_assert_eq!(plain(&producers, &fresh).unwrap(), Verdict::Append);
            producers.record(&fresh, 0);
            appended.push(fresh);
            next_offset += 2;
            if back < appended.len() {
                let old = appended[appended.len() - 1 - back];
                match plain(&producers, &old).unwrap() {
                    Verdict::Duplicate(meta) => prop_assert_eq!(meta.first_offset(), old.base_offset),
                    Verdict::Append => prop_assert!(false, "a repeat was taken as new"),
                }
            }
        }
    }
}
