//! Logs with flipped bits: what is served is what was written, or an error.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::super::dir::segment_path;
use super::super::error::{ReadError, StorageErrorKind};
use super::super::testing::{append, batch, create, open_with, recover, reopen};
use super::super::{Log, LogConfig, LogSlice};
use super::*;
use crate::record::BatchHeader;

/// Several segments with several index entries each.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 6_000, index_interval_bytes: 400, ..LogConfig::default() }
}

/// A closed log of `batches` batches of three records; each batch's offset and bytes.
fn written(dir: &Path, config: LogConfig, batches: usize) -> Vec<(i64, Vec<u8>)> {
    let mut log = create(dir, config);
    let written = (0..batches as i64)
        .map(|number| {
            (log.end_offset(), append(&mut log, 3, 1_000 + number, 60 + (number as usize * 37) % 90))
        })
        .collect();
    log.close().unwrap();
    written
}

fn flip(path: &Path, bit: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

fn log_files(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "log")).collect();
    logs.sort();
    logs
}

/// As a partition reads: what is in doubt is looked at, and asked for again.
fn read(log: &Log, offset: i64, max_bytes: usize) -> Result<LogSlice, StorageErrorKind> {
    let kind = |error| match error {
        ReadError::Storage(error) => error.kind(),
        error => panic!("{error}"),
    };
    for _ in 0..20 {
        let mut slice = log.read(offset, max_bytes, i64::MAX, true).map_err(kind)?;
        if slice.is_verified() {
            return Ok(slice);
        }
        match slice.verify() {
            Ok(()) if slice.len > 0 => return Ok(slice),
            Ok(()) => {}
            Err(error) if error.kind() == StorageErrorKind::Corrupt => {}
            Err(error) => return Err(error.kind()),
        }
    }
    Err(StorageErrorKind::Corrupt)
}

/// Reads the whole log. Everything that is served was written, at its place; gives the offsets of the batches that are not
/// served.
fn unreadable(log: &Log, written: &[(i64, Vec<u8>)], max_bytes: usize) -> Vec<i64> {
    let mut missing = Vec::new();
    let mut at = 0;
    while let Some((offset, _)) = written.get(at) {
        match read(log, *offset, max_bytes) {
            Err(kind) => {
                assert_eq!(kind, StorageErrorKind::Corrupt);
                missing.push(*offset);
                at += 1;
            }
            Ok(slice) => {
                let bytes = slice.read().unwrap();
                assert_eq!(slice.start_offset, *offset, "a batch was passed over");
                assert!(!bytes.is_empty(), "nothing at {offset}");
                let mut served = 0;
                while served < bytes.len() {
                    let expected = &written[at].1;
                    assert!(bytes[served..].starts_with(expected), "other bytes at offset {}", written[at].0);
                    served += expected.len();
                    at += 1;
                }
            }
        }
    }
    missing
}

#[test]
fn what_this_process_wrote_is_not_looked_at() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), config());
    for number in 0..100 {
        append(&mut log, 1, number, 200);
    }
    assert!(log.segment_count() > 3);
    for offset in 0..100 {
        assert!(log.read(offset, 1_000, i64::MAX, true).unwrap().is_verified());
    }
    // Behind a start only what was there before is looked at, once.
    log.close().unwrap();
    let (mut log, _) = reopen(temp.path(), config());
    while log.end_offset() < 110 {
        append(&mut log, 1, 100, 200);
    }
    assert!(log.read(109, 1_000, i64::MAX, true).unwrap().is_verified());
    let mut slice = log.read(0, 1_000, i64::MAX, true).unwrap();
    assert!(!slice.is_verified());
    slice.verify().unwrap();
    assert!(slice.is_verified());
    assert!(log.read(0, 1_000, i64::MAX, true).unwrap().is_verified());
    // A failed sync takes trust in the own bytes as well.
    log.distrust();
    assert!(!log.read(0, 1_000, i64::MAX, true).unwrap().is_verified());
    assert!(!log.read(100, 1_000, i64::MAX, true).unwrap().is_verified());
    read(&log, 100, 1_000).unwrap();
}

#[test]
fn what_recovery_verified_is_not_looked_at_again() {
    let temp = tempfile::tempdir().unwrap();
    written(temp.path(), config(), 60);
    let (log, _) = recover(temp.path(), config());
    for offset in 0..60 * 3 {
        assert!(log.read(offset, 1_000, i64::MAX, true).unwrap().is_verified());
    }
}

#[test]
fn only_the_damaged_batch_is_lost() {
    let temp = tempfile::tempdir().unwrap();
    let batches = written(temp.path(), config(), 200);
    let logs = log_files(temp.path());
    assert!(logs.len() >= 3);
    // The middle of a sealed segment, in the records of a batch.
    let start: usize = batches[..30].iter().map(|(_, bytes)| bytes.len()).sum();
    flip(&logs[0], (start as u64 + 70) * 8);
    let (log, _) = reopen(temp.path(), config());
    for max_bytes in [1, 500, 1 << 20] {
        assert_eq!(unreadable(&log, &batches, max_bytes), [90], "{max_bytes}");
    }
    let damage = log.dir.cache.damage();
    assert_eq!((damage.found(), damage.known()), (1, 1), "it is told of once");
    // Each offset of the batch, and none beside.
    assert!(read(&log, 89, 1).is_ok() && read(&log, 93, 1).is_ok());
    assert!((90..93).all(|offset| read(&log, offset, 1).is_err()));
    let files = log.dir.cache.clone();
    drop(log);
    assert_eq!((files.damage().found(), files.damage().known()), (1, 0));
}

#[test]
fn a_destroyed_header_costs_the_way_to_the_next_index_entry() {
    let temp = tempfile::tempdir().unwrap();
    let batches = written(temp.path(), config(), 200);
    let logs = log_files(temp.path());
    let start: usize = batches[..20].iter().map(|(_, bytes)| bytes.len()).sum();
    let file = OpenOptions::new().write(true).open(&logs[0]).unwrap();
    file.write_all_at(&[0xff; 61], start as u64).unwrap();
    let (log, _) = reopen(temp.path(), config());
    let missing = unreadable(&log, &batches, 1 << 20);
    assert_eq!(missing[0], 60);
    assert!(missing.len() < 8, "{missing:?}");
}

#[test]
fn the_end_of_a_segment_that_is_damaged_is_not_passed_over() {
    let temp = tempfile::tempdir().unwrap();
    let batches = written(temp.path(), config(), 200);
    let logs = log_files(temp.path());
    let size = fs::metadata(&logs[1]).unwrap().len();
    let in_first = fs::metadata(&logs[0]).unwrap().len();
    let mut end = 0;
    let last = batches.iter().position(|(_, bytes)| {
        end += bytes.len() as u64;
        end == in_first + size
    });
    let (offset, bytes) = &batches[last.unwrap()];
    // Its base offset goes down, and with it all that tells that there are records.
    flip(&logs[1], (size - bytes.len() as u64) * 8 + 56 + 5);
    let (log, _) = reopen(temp.path(), config());
    assert!(read(&log, *offset, 1 << 20).is_err());
    assert_eq!(unreadable(&log, &batches, 1 << 20), [*offset]);
}

#[test]
fn times_are_not_told_from_damaged_headers() {
    let temp = tempfile::tempdir().unwrap();
    let batches = written(temp.path(), config(), 60);
    let logs = log_files(temp.path());
    let start: u64 = batches[..10].iter().map(|(_, bytes)| bytes.len() as u64).sum();
    // The largest timestamp of a batch becomes a later one: nobody may take it for the first of its time.
    flip(&logs[0], (start + 35 + 6) * 8);
    let (log, _) = reopen(temp.path(), config());
    let found = log.offset_for_timestamp(1_011, 0, i64::MAX).unwrap().unwrap();
    let error = found.slice.read().unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Corrupt);
    // What needs no look at it is found.
    let found = log.offset_for_timestamp(1_003, 0, i64::MAX).unwrap().unwrap();
    assert_eq!(BatchHeader::parse(&found.slice.read().unwrap()).unwrap().max_timestamp, 1_003);
}

#[test]
fn a_marker_is_not_guessed() {
    use crate::record::{EndMarker, TransactionOutcome};
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), config());
    append(&mut log, 1, 1_000, 100);
    let marker = EndMarker {
        producer_id: 1,
        producer_epoch: 0,
        coordinator_epoch: 0,
        outcome: TransactionOutcome::Commit,
    };
    let mut header = BatchHeader::parse(&marker.to_batch(1_001)).unwrap();
    let bytes = marker.to_batch(1_001);
    header.base_offset = log.end_offset();
    header.partition_leader_epoch = 0;
    let prefix = crate::record::patch_prefix(&header, header.base_offset, 0);
    let position = log.append(prefix, &bytes[16..], &header, 0).unwrap().position;
    log.close().unwrap();
    flip(&segment_path(temp.path(), 0, ".log"), (position + 66) * 8);
    let open = |replay_from| open_with(temp.path(), config(), true, 2, 0, replay_from);
    assert_eq!(open(0).unwrap_err().kind(), StorageErrorKind::Corrupt);
    assert!(open(i64::MAX).is_ok(), "nobody needs it");
}

#[test]
fn a_reader_of_a_removed_segment_gets_its_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let batches = written(temp.path(), config(), 200);
    let (mut log, _) = reopen(temp.path(), config());
    let slice = log.read(0, 1, i64::MAX, true).unwrap();
    let idle = log.read(batches[100].0, 1, i64::MAX, true).unwrap();
    // The cache has closed the file, the segment goes, and another file takes its name.
    assert!(slice.file.close_if_clean());
    log.release_idle().unwrap();
    let removed = log.delete_segments_below(batches[150].0).unwrap();
    assert!(!removed.is_empty());
    let path = segment_path(temp.path(), 0, ".log");
    fs::write(&path, batch(0, 1, 7, 5_000)).unwrap();
    for path in removed {
        fs::remove_file(path).unwrap();
    }
    for _ in 0..50 {
        // Nor does the cache close it now.
        assert!(!slice.file.close_if_clean());
        assert_eq!(slice.read().unwrap(), batches[0].1);
    }
    assert_eq!(idle.read().unwrap(), batches[100].1);
}

#[test]
fn a_reader_of_a_deleted_topic_gets_its_bytes_or_none() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("t-0");
    let batches = written(&dir, config(), 200);
    let (mut log, _) = reopen(&dir, config());
    let slice = log.read(0, 1, i64::MAX, true).unwrap();
    assert!(slice.file.close_if_clean());
    log.leave_directory();
    fs::rename(&dir, temp.path().join("t-0.x-delete")).unwrap();
    // A topic of the same name.
    let mut later = create(&dir, config());
    append(&mut later, 1, 7, 5_000);
    assert_eq!(slice.read().unwrap(), batches[0].1);
    // What nobody had is not opened, under whatever name.
    log.release_idle().unwrap();
    assert!(log.read(batches[180].0, 1, i64::MAX, true).is_err());
}

#[test]
fn too_many_damaged_places_become_one() {
    let count = Arc::new(DamageCount::default());
    let trust = Trust::none();
    let known = trust.known(&count);
    let damage = |number: u64| Damage {
        position: number * 100,
        resume: number * 100 + 10,
        offset: number as i64 * 10,
        next_offset: number as i64 * 10 + 1,
        reason: String::new(),
    };
    for number in 0..DAMAGES_MAX as u64 + 10 {
        known.add(Path::new("x"), damage(number));
        known.add(Path::new("x"), damage(number));
    }
    assert_eq!((count.found(), count.known()), (DAMAGES_MAX as u64 + 10, DAMAGES_MAX as i64));
    for number in 0..DAMAGES_MAX as i64 + 10 {
        assert!(known.around(number * 10).is_err(), "{number}");
    }
    assert!(known.around(5).is_ok());
    assert_eq!(known.around(5).unwrap().start, Some((10, 1)));
    assert_eq!(known.around(5).unwrap().behind.unwrap().position, 100);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Wherever bits flip in the log files: nobody is served other bytes or misses a record without an error, and one flip
    /// costs little.
    #[test]
    fn flipped_bits_are_never_served(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
        max_bytes in prop::sample::select(vec![1usize, 300, 2_000, 1 << 20]),
        repeated in any::<bool>(), replayed in any::<bool>(),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let batches = written(temp.path(), config(), 120);
        let logs = log_files(temp.path());
        // The last segment is walked at the start; see the test of that.
        let sealed = &logs[..logs.len() - 1];
        for (file, bit) in &flips {
            let file = &sealed[file.index(sealed.len())];
            flip(file, bit.index(fs::metadata(file).unwrap().len() as usize * 8) as u64);
        }
        // Without a producer snapshot the headers are walked from the start on.
        let replay_from = if replayed { 0 } else { i64::MAX };
        let log = match open_with(temp.path(), config(), true, 360, 0, replay_from) {
            Ok((log, ..)) => log,
            Err(error) => {
                prop_assert!(replayed && error.kind() == StorageErrorKind::Corrupt);
                return Ok(());
            }
        };
        let missing = unreadable(&log, &batches, max_bytes);
        prop_assert!(missing.len() <= flips.len() * 12, "{missing:?}");
        if repeated {
            prop_assert_eq!(unreadable(&log, &batches, 1 << 20), missing);
        }
    }

    /// A damaged offset index costs time, not records.
    #[test]
    fn a_flip_in_the_index_hides_nothing(bit in any::<prop::sample::Index>(), max_bytes in 1..3_000usize) {
        let temp = tempfile::tempdir().unwrap();
        let batches = written(temp.path(), config(), 120);
        let index = segment_path(temp.path(), 0, ".index");
        flip(&index, bit.index(fs::metadata(&index).unwrap().len() as usize * 8) as u64);
        let (log, _) = reopen(temp.path(), config());
        prop_assert_eq!(unreadable(&log, &batches, max_bytes), Vec::<i64>::new());
    }

    /// In the last segment, which is walked at the start: the log opens without losing anything, or not at all.
    #[test]
    fn a_flip_at_the_end_is_an_error(bit in any::<prop::sample::Index>()) {
        let temp = tempfile::tempdir().unwrap();
        let batches = written(temp.path(), config(), 120);
        let end = 360;
        let last = log_files(temp.path()).pop().unwrap();
        flip(&last, bit.index(fs::metadata(&last).unwrap().len() as usize * 8) as u64);
        match open_with(temp.path(), config(), true, end, 0, i64::MAX) {
            Err(error) => prop_assert_eq!(error.kind(), StorageErrorKind::Corrupt),
            Ok((log, _, _)) => {
                prop_assert_eq!(log.end_offset(), end);
                let missing = unreadable(&log, &batches, 1 << 20);
                prop_assert!(missing.len() <= 12);
            }
        }
    }
}
