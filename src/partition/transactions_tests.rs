//! Transactions in a partition: what readers see of them, and what a restart finds.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::error::AppendError;
use super::producers::{OpenTransaction, ProducerView};
use super::testing::*;
use crate::record::TransactionOutcome::{Abort, Commit};
use crate::storage::segment::AbortedTransaction;
use crate::storage::segment::dir::{TXN_SUMS_FILE, segment_path};

fn aborted(producer_id: i64, first_offset: i64, last_offset: i64, stable: i64) -> AbortedTransaction {
    AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset: stable }
}

/// Three transactions of two producers, and a record of nobody between them: 1 aborted (0, 3), 2 committed (2, 5),
/// 1 aborted (6, 8).
fn scripted(bench: &Bench) {
    let partition = &bench.partition;
    partition.append_enlisted(&transactional(1, 0, 0, 2), 10, false).unwrap();
    partition.append_enlisted(&transactional(2, 0, 0, 1), 11, false).unwrap();
    partition.append_marker(marker(1, 0, Abort), 12).unwrap();
    partition.append(&plain(1), 13).unwrap();
    partition.append_marker(marker(2, 0, Commit), 14).unwrap();
    partition.append_enlisted(&transactional(1, 0, 2, 1), 15, false).unwrap();
    partition.append(&transactional(1, 0, 3, 1), 16).unwrap();
    partition.append_marker(marker(1, 0, Abort), 17).unwrap();
}

fn scripted_entries() -> Vec<AbortedTransaction> {
    vec![aborted(1, 0, 3, 2), aborted(1, 6, 8, 9)]
}

#[test]
fn readers_at_read_committed_stop_in_front_of_the_oldest_open_transaction() {
    let bench = Bench::new(&[]);
    let partition = &bench.partition;
    partition.append(&plain(2), 0).unwrap();
    let refused = partition.append(&transactional(1, 0, 0, 1), 0);
    assert!(matches!(refused, Err(AppendError::NotEnlisted { producer_id: 1 })));
    assert_eq!(partition.append_enlisted(&transactional(1, 0, 0, 1), 5, false).unwrap().base_offset, 2);
    partition.append(&plain(1), 0).unwrap();
    bench.settle();
    assert_eq!((partition.high_watermark(), partition.last_stable_offset()), (4, 2));
    let open = OpenTransaction { producer_id: 1, producer_epoch: 0, first_offset: 2, began_ms: 5 };
    assert_eq!((partition.open_transaction(1), partition.open_transaction(2)), (Some(open), None));
    assert_eq!(partition.open_transactions(), [open]);

    let read = |offset, read_committed| partition.read(request(offset, 1 << 20, read_committed), 0).unwrap();
    let committed = read(0, true);
    assert_eq!((committed.slice.unwrap().next_offset, committed.aborted), (2, Some(vec![])));
    assert_eq!((committed.high_watermark, committed.last_stable_offset), (4, 2));
    for offset in 2..=4 {
        let nothing = read(offset, true);
        assert!(nothing.slice.is_none(), "offset {offset}");
        assert_eq!(nothing.aborted, Some(vec![]));
    }
    let uncommitted = read(0, false);
    assert_eq!((uncommitted.slice.unwrap().next_offset, uncommitted.aborted), (4, None));

    assert_eq!((partition.latest(true).offset, partition.latest(false).offset), (2, 4));
    assert_eq!(partition.offset_for_timestamp(1_000, true).unwrap().unwrap().offset, 0);
    let view = ProducerView {
        producer_id: 1,
        producer_epoch: 0,
        last_sequence: 0,
        last_timestamp: 1_000,
        coordinator_epoch: -1,
        current_txn_start_offset: 2,
    };
    assert_eq!(partition.producers(), [view]);

    partition.append_marker(marker(1, 1, Commit), 2_000).unwrap();
    bench.settle();
    assert_eq!((partition.last_stable_offset(), partition.open_transactions()), (5, vec![]));
    assert_eq!(consume(partition, 0, 1 << 20), (vec![0, 2, 3], vec![]));
    let view = ProducerView {
        producer_epoch: 1,
        last_sequence: -1,
        last_timestamp: 2_000,
        coordinator_epoch: 0,
        current_txn_start_offset: -1,
        ..view
    };
    assert_eq!(partition.producers(), [view]);
    assert!(!segment_path(bench.log_dir(), 0, ".txnindex").exists(), "nothing was aborted");
}

#[test]
fn look_ups_by_time_see_what_is_decided() {
    let bench = Bench::new(&[]);
    let partition = &bench.partition;
    partition.append(&plain(1), 0).unwrap();
    partition.append_enlisted(&transactional(1, 0, 0, 1), 0, false).unwrap();
    partition.append_marker(marker(2, 0, Commit), 5_000).unwrap();
    bench.settle();
    let found = |timestamp, committed| {
        partition.offset_for_timestamp(timestamp, committed).unwrap().map(|found| found.offset)
    };
    assert_eq!((found(1_000, true), found(1_000, false)), (Some(0), Some(0)));
    assert_eq!((found(1_001, true), found(1_001, false)), (None, Some(2)));
    let newest = |committed| partition.max_timestamp(committed).unwrap().map(|found| found.offset);
    // The newest is not decided yet, and Kafka looks for no other.
    assert_eq!((newest(true), newest(false)), (None, Some(2)));
    partition.append_marker(marker(1, 0, Commit), 0).unwrap();
    bench.settle();
    assert_eq!((found(1_001, true), newest(true)), (Some(2), Some(2)));
}

#[test]
fn each_fetch_is_told_of_the_aborted_transactions_in_its_way_only() {
    let bench = Bench::new(&[]);
    let partition = &bench.partition;
    scripted(&bench);
    bench.settle();
    assert_eq!(partition.last_stable_offset(), 9);
    let told =
        |offset, max_bytes| partition.read(request(offset, max_bytes, true), 0).unwrap().aborted.unwrap();
    let all = scripted_entries();
    assert_eq!(told(0, 1 << 20), all);
    // One batch at a time.
    let each: Vec<usize> = (0..9).map(|offset| told(offset, 1).len()).collect();
    assert_eq!(each, [1, 1, 1, 1, 0, 0, 1, 1, 1]);
    for max_bytes in [1, 100, 200, 300, 1 << 20] {
        assert_eq!(consume(partition, 0, max_bytes).0, [2, 4], "{max_bytes} bytes");
    }
    let bytes = fs::read(segment_path(bench.log_dir(), 0, ".txnindex")).unwrap();
    #[rustfmt::skip]
    assert_eq!(bytes[..34], [
        0, 0,
        0, 0, 0, 0, 0, 0, 0, 1,
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 3,
        0, 0, 0, 0, 0, 0, 0, 2,
    ]);
    assert_eq!(bytes.len(), 68);
}

#[test]
fn an_orderly_stop_keeps_open_transactions_and_tells_of_them_first() {
    let bench = Bench::new(&[]);
    scripted(&bench);
    bench.partition.append_enlisted(&transactional(3, 4, 0, 2), 500, true).unwrap();
    let seen: Arc<Mutex<Vec<OpenTransaction>>> = Arc::default();
    let told = seen.clone();
    let bench =
        bench.reopen(700, move |partition| told.lock().unwrap().extend(partition.open_transactions()));
    let open = OpenTransaction { producer_id: 3, producer_epoch: 4, first_offset: 9, began_ms: 700 };
    assert_eq!(*seen.lock().unwrap(), [open]);
    assert_eq!((bench.partition.last_stable_offset(), bench.partition.high_watermark()), (9, 11));
    assert_eq!(consume(&bench.partition, 0, 1).0, [2, 4]);
    bench.partition.append(&transactional(3, 4, 2, 1), 800).unwrap();
    // Whoever is told may end it there and then.
    let bench = bench.reopen(900, |partition| {
        partition.append_marker(marker(3, 4, Abort), 900).unwrap();
    });
    bench.settle();
    assert_eq!(bench.partition.last_stable_offset(), 13);
    assert_eq!(consume(&bench.partition, 9, 1 << 20), (vec![], vec![aborted(3, 9, 12, 13)]));
    let bench = bench.reopen(950, |_| panic!("nothing is open"));
    assert_eq!(bench.partition.last_stable_offset(), 13);
}

#[test]
fn markers_take_the_reserve_of_a_full_disk() {
    let bench = Bench::new(&[]);
    bench.partition.append_enlisted(&transactional(1, 0, 0, 1), 0, false).unwrap();
    // The same files under a disk whose reserve nothing is left beside.
    let full = Bench::with_reserve(&[], Some(u64::MAX));
    assert!(matches!(full.partition.append(&plain(1), 0), Err(AppendError::DiskFull)));
    assert_eq!(full.partition.append_marker(marker(1, 0, Abort), 0).unwrap().base_offset, 0);
}

#[test]
fn a_marker_is_as_durable_as_appends_are() {
    let bench = Bench::new(&[("flush.messages", "1000")]);
    let partition = &bench.partition;
    partition.append_enlisted(&transactional(1, 0, 0, 1), 0, false).unwrap();
    assert_eq!((partition.high_watermark(), partition.last_stable_offset()), (1, 0));
    partition.append_marker(marker(1, 0, Commit), 0).unwrap();
    // Where appends count from the page cache on, so does their marker, and no sync is asked for.
    assert_eq!((partition.high_watermark(), partition.last_stable_offset()), (2, 2));
    assert!(!partition.inner.lock().queued);
}

#[test]
fn markers_that_were_overtaken_leave_nothing() {
    let bench = Bench::new(&[]);
    let partition = &bench.partition;
    partition.append_enlisted(&transactional(1, 5, 0, 1), 0, false).unwrap();
    let stale = partition.append_marker(marker(1, 4, Abort), 0);
    assert!(matches!(stale, Err(AppendError::InvalidProducerEpoch { found: 4, current: 5, .. })));
    assert_eq!((partition.log_end_offset(), partition.open_transactions().len()), (1, 1));
}

#[test]
fn deleted_records_take_their_transactions_along() {
    let bench = Bench::new(&[("segment.bytes", "1048576"), ("segment.ms", "1"), ("retention.ms", "-1")]);
    let partition = &bench.partition;
    scripted(&bench);
    partition.append_enlisted(&transactional(3, 0, 0, 2), 0, false).unwrap();
    partition.append(&plain(1), 0).unwrap();
    bench.settle();
    assert_eq!(partition.last_stable_offset(), 9);
    // The start lies in the open transaction: below it there is nothing to wait for.
    assert_eq!(partition.delete_records(10).unwrap(), 10);
    assert_eq!((partition.last_stable_offset(), partition.high_watermark()), (10, 12));
    assert!(partition.read(request(9, 1, true), 0).is_err());
    assert_eq!(partition.delete_records(-1).unwrap(), 12);
    assert_eq!(partition.last_stable_offset(), 12);
    let files = partition.apply_retention(0);
    let gone = |extension: &str| files.iter().any(|file| file.to_str().unwrap().ends_with(extension));
    assert!(gone(".log.deleted") && gone(".txnindex.deleted"), "{files:?}");
    // Its marker still finds it, and it is remembered for readers from its first offset on.
    partition.append_marker(marker(3, 0, Abort), 0).unwrap();
    bench.settle();
    assert_eq!(partition.last_stable_offset(), 13);
    assert_eq!(consume(partition, 12, 1), (vec![], vec![aborted(3, 9, 12, 13)]));
}

#[test]
fn a_transaction_over_many_segments_is_passed_over_in_all_of_them() {
    let bench = Bench::new(&[("segment.bytes", "1048576"), ("retention.ms", "-1")]);
    let partition = &bench.partition;
    let roll = || partition.inner.lock().log.roll(0).unwrap();
    partition.append_enlisted(&transactional(1, 0, 0, 1), 0, false).unwrap();
    for number in 0..5 {
        roll();
        partition.append(&plain(1), 0).unwrap();
        partition.append_enlisted(&transactional(2, 0, number, 1), 0, false).unwrap();
        partition.append_marker(marker(2, 0, if number % 2 == 0 { Abort } else { Commit }), 0).unwrap();
    }
    roll();
    partition.append(&transactional(1, 0, 1, 1), 0).unwrap();
    partition.append_marker(marker(1, 0, Abort), 0).unwrap();
    bench.settle();
    let expected = [1, 4, 5, 7, 10, 11, 13];
    for max_bytes in [1, 200, 1 << 20] {
        assert_eq!(consume(partition, 0, max_bytes).0, expected, "{max_bytes} bytes");
    }
    // A fetch from the middle is told of the one that spans it, whose marker lies four segments further.
    let told = partition.read(request(4, 1, true), 0).unwrap().aborted.unwrap();
    assert_eq!(told, [aborted(1, 0, 17, 18)]);
    partition.inner.lock().log.release_idle().unwrap();
    let bench = bench.reopen(0, |_| ());
    assert_eq!(consume(&bench.partition, 0, 1).0, expected);
}

/// What a power cut can do to the file of aborted transactions, at every length and above any recovery point.
#[test]
fn aborted_transactions_are_found_again_whatever_is_left_of_their_file() {
    let bench = Bench::new(&[]);
    scripted(&bench);
    bench.settle();
    let index = |dir: &Path| segment_path(dir, 0, ".txnindex");
    let whole = fs::read(index(bench.log_dir())).unwrap();
    let expected = consume(&bench.partition, 0, 1);
    let check = |recovery_point: i64, what: &str, change: &dyn Fn(&Path)| {
        let found = bench.killed(recovery_point, change);
        assert_eq!(consume(&found.partition, 0, 1), expected, "{what}, recovery point {recovery_point}");
        found.settle();
        assert_eq!(
            fs::read(index(found.log_dir())).unwrap(),
            whole,
            "{what}, recovery point {recovery_point}"
        );
        assert_eq!(found.partition.last_stable_offset(), 9);
    };
    for recovery_point in [0, 3, 4, 8, 9] {
        // What is below the recovery point was synced.
        let durable =
            scripted_entries().iter().filter(|entry| entry.last_offset < recovery_point).count() * 34;
        for length in (durable..=whole.len()).step_by(11) {
            check(recovery_point, "cut", &|dir| fs::write(index(dir), &whole[..length]).unwrap());
            let mut torn = whole.clone();
            torn[length..].fill(0);
            check(recovery_point, "empty pages", &|dir| fs::write(index(dir), &torn).unwrap());
            torn[length..].fill(0x5a);
            check(recovery_point, "stale pages", &|dir| fs::write(index(dir), &torn).unwrap());
        }
        if durable == 0 {
            check(recovery_point, "gone", &|dir| fs::remove_file(index(dir)).unwrap());
        }
        // Damage that is seen below the recovery point.
        for (at, value) in [(1, 9), (34 + 1, 9), (26 - 1, 200), (18, 0x80), (34 + 25, 0)] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            check(recovery_point, "damaged", &|dir| fs::write(index(dir), &damaged).unwrap());
        }
        let ahead = [&whole[..], &whole[34..]].concat();
        check(recovery_point, "ahead of the log", &|dir| fs::write(index(dir), &ahead).unwrap());
    }
}

/// Below the recovery point nothing can happen to the file, or to what was noted of it, that readers would notice.
#[test]
fn whatever_happens_to_their_file_is_noticed() {
    let bench = Bench::new(&[]);
    scripted(&bench);
    bench.settle();
    let notes = |dir: &Path| dir.join(TXN_SUMS_FILE);
    assert!(!notes(bench.log_dir()).exists(), "nothing was promised yet");
    bench.partition.advance_recovery_point();
    let index = |dir: &Path| segment_path(dir, 0, ".txnindex");
    let (whole, noted) =
        (fs::read(index(bench.log_dir())).unwrap(), fs::read(notes(bench.log_dir())).unwrap());
    let expected = consume(&bench.partition, 0, 1);
    let check = |what: &str, change: &dyn Fn(&Path)| {
        let found = bench.killed(9, change);
        assert_eq!(consume(&found.partition, 0, 1), expected, "{what}");
        assert_eq!(fs::read(index(found.log_dir())).unwrap(), whole, "{what}");
        assert_eq!(fs::read(notes(found.log_dir())).unwrap(), noted, "{what}");
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        check("flipped", &|dir| fs::write(index(dir), &flipped).unwrap());
        check("cut", &|dir| fs::write(index(dir), &whole[..at]).unwrap());
    }
    check("gone", &|dir| fs::remove_file(index(dir)).unwrap());
    check("twice", &|dir| fs::write(index(dir), [&whole[..], &whole].concat()).unwrap());
    check("out of order", &|dir| fs::write(index(dir), [&whole[34..], &whole[..34]].concat()).unwrap());
    for at in (0..noted.len()).step_by(3) {
        let mut flipped = noted.clone();
        flipped[at] ^= 1;
        check("notes flipped", &|dir| fs::write(notes(dir), &flipped).unwrap());
        check("notes flipped, index gone", &|dir| {
            fs::write(notes(dir), &flipped).unwrap();
            fs::remove_file(index(dir)).unwrap();
        });
    }
    // As in a log that Kafka wrote.
    check("notes gone", &|dir| fs::remove_file(notes(dir)).unwrap());
    for (at, what) in [(9, "another producer"), (17, "another first offset"), (25, "another marker")] {
        let mut other = whole.clone();
        other[at] ^= 4;
        check(what, &|dir| {
            fs::remove_file(notes(dir)).unwrap();
            fs::write(index(dir), &other).unwrap();
        });
    }
}

/// A torn log takes the ends of its transactions back, and their entries with them.
#[test]
fn a_transaction_whose_marker_was_cut_off_is_open_again() {
    let bench = Bench::new(&[]);
    scripted(&bench);
    bench.settle();
    let found = bench.killed(0, |dir| {
        let log = segment_path(dir, 0, ".log");
        let length = fs::metadata(&log).unwrap().len();
        fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(length - 1).unwrap();
    });
    let partition = &found.partition;
    assert_eq!((partition.high_watermark(), partition.last_stable_offset()), (8, 6));
    assert_eq!(partition.open_transactions()[0].first_offset, 6);
    assert_eq!(fs::metadata(segment_path(found.log_dir(), 0, ".txnindex")).unwrap().len(), 34);
    partition.append_marker(marker(1, 0, Commit), 0).unwrap();
    found.settle();
    assert_eq!(consume(partition, 0, 1 << 20), (vec![2, 4, 6, 7], vec![scripted_entries()[0]]));
}

#[test]
fn waiting_fetches_wake_when_the_last_stable_offset_moves() {
    let bench = Bench::new(&[]);
    let partition = &bench.partition;
    partition.append_enlisted(&transactional(1, 0, 0, 2), 0, false).unwrap();
    bench.settle();
    let notify = Arc::new(tokio::sync::Notify::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A wake-up may be for an earlier move: each is a reason to look, as it is for a fetch.
    let stable = |expected: i64| {
        let wait = async {
            while partition.last_stable_offset() != expected {
                notify.notified().await;
            }
        };
        let limit = std::time::Duration::from_secs(30);
        runtime.block_on(async { tokio::time::timeout(limit, wait).await }).expect("woken");
    };
    let _watch = partition.watch_for_fetch(notify.clone());
    partition.append_marker(marker(1, 0, Commit), 0).unwrap();
    stable(3);
    partition.append_enlisted(&transactional(1, 0, 2, 2), 0, false).unwrap();
    bench.settle();
    partition.delete_records(4).unwrap();
    stable(4);
}

/// Cutting a log takes back the ends of transactions: the index follows through all its segments.
#[test]
fn a_truncated_log_forgets_what_was_aborted_above() {
    let bench = Bench::new(&[]);
    let partition = &bench.partition;
    for number in 0..4 {
        partition.append_enlisted(&transactional(1, 0, number, 1), 0, false).unwrap();
        partition.append_marker(marker(1, 0, Abort), 0).unwrap();
        if number % 2 == 1 {
            partition.inner.lock().log.roll(0).unwrap();
        }
    }
    bench.settle();
    let mut inner = partition.inner.lock();
    let ends = |log: &crate::storage::segment::Log| {
        log.aborted(0, i64::MAX).unwrap().iter().map(|entry| entry.last_offset).collect::<Vec<_>>()
    };
    assert_eq!(ends(&inner.log), [1, 3, 5, 7]);
    inner.log.truncate_to(6, 0).unwrap();
    assert_eq!(ends(&inner.log), [1, 3, 5]);
    inner.log.truncate_to(3, 0).unwrap();
    assert_eq!(ends(&inner.log), [1]);
    inner.log.append_aborted(aborted(7, 0, 3, 4));
    assert_eq!(ends(&inner.log), [1, 3]);
    assert_eq!(fs::metadata(segment_path(bench.log_dir(), 0, ".txnindex")).unwrap().len(), 68);
    inner.log.truncate_to(0, 0).unwrap();
    assert_eq!(ends(&inner.log), [0i64; 0]);
}

/// Snapshots above the recovery point know nothing of the transactions that ended below them.
#[test]
fn replay_begins_where_the_index_is_no_longer_trusted() {
    let bench = Bench::new(&[]);
    let snapshot = || {
        let partition = &bench.partition;
        let end = partition.log_end_offset();
        partition.write_producer_snapshot(&mut partition.inner.lock(), end);
    };
    scripted(&bench);
    snapshot();
    for sequence in 0..3 {
        bench.partition.append_enlisted(&transactional(5, 0, sequence, 1), 0, false).unwrap();
        snapshot();
    }
    bench.settle();
    for recovery_point in [0, 2, 5, 7, 9, 11, 12] {
        let found = bench.killed(recovery_point, |dir| {
            let index = segment_path(dir, 0, ".txnindex");
            let synced = scripted_entries().iter().filter(|entry| entry.last_offset < recovery_point).count();
            fs::OpenOptions::new().write(true).open(index).unwrap().set_len(synced as u64 * 34).unwrap();
        });
        let aborted = found.partition.inner.lock().log.aborted(0, i64::MAX).unwrap();
        assert_eq!(aborted, scripted_entries(), "recovery point {recovery_point}");
        assert_eq!(found.partition.open_transactions()[0].first_offset, 9);
    }
}
