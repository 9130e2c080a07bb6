//! The log as a whole: formats, limits, damage.

use std::fs;
use std::path::Path;

use super::dir::segment_path;
use super::testing::*;
use super::*;

fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 1000,
        segment_ms: 1 << 40,
        index_interval_bytes: 150,
        segment_index_bytes: 1 << 20,
    }
}

fn file(dir: &Path, base: i64, extension: &str) -> Vec<u8> {
    fs::read(segment_path(dir, base, extension)).unwrap()
}

#[test]
fn golden_index_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), LogConfig { segment_bytes: 1 << 20, ..small() });
    // Five batches of 100 bytes, two offsets each; an entry when more than 150 bytes passed.
    for timestamp in [50, 40, 60, 55, 70, 65] {
        append(&mut log, 2, timestamp, 39);
    }
    log.close().unwrap();
    assert_eq!(file(temp.path(), 0, ".log").len(), 600);
    assert_eq!(file(temp.path(), 0, ".index"), [0, 0, 0, 5, 0, 0, 0, 200, 0, 0, 0, 9, 0, 0, 1, 144]);
    #[rustfmt::skip]
    assert_eq!(file(temp.path(), 0, ".timeindex"), [
        0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 5,
        0, 0, 0, 0, 0, 0, 0, 70, 0, 0, 0, 9,
    ]);
    assert_eq!(fs::read_to_string(temp.path().join("leader-epoch-checkpoint")).unwrap(), "0\n1\n0 0\n");
    // A later largest timestamp gets an entry of its own when the log closes.
    let (mut log, _) = reopen(temp.path(), small());
    append(&mut log, 1, 90, 39);
    log.close().unwrap();
    assert_eq!(file(temp.path(), 0, ".timeindex")[24..], [0, 0, 0, 0, 0, 0, 0, 90, 0, 0, 0, 12]);
    assert_eq!(file(temp.path(), 0, ".index").len(), 16 + 8);
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    let mut kept = append(&mut log, 3, 1, 100);
    kept.extend(append(&mut log, 1, 2, 10));
    let last = append(&mut log, 2, 3, 120);
    log.flush().unwrap();
    drop(log);
    let path = segment_path(temp.path(), 0, ".log");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), kept.len() + last.len());
    for length in kept.len()..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (log, recovery) = recover(temp.path(), small());
        if length == whole.len() {
            assert_eq!((log.end_offset(), recovery.truncated_bytes), (6, 0));
        } else {
            assert_eq!(log.end_offset(), 4, "cut at {length}");
            assert_eq!(recovery.truncated_bytes, (length - kept.len()) as u64);
            assert_eq!(read_all(&log, 0, 1 << 20), kept);
        }
        assert!(recovery.recovered);
    }
    // The same length with each byte flipped; the leader epoch is outside the checksum.
    for position in (kept.len()..whole.len()).filter(|at| !(12..16).contains(&(at - kept.len()))) {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let (log, _) = recover(temp.path(), small());
        // A changed base offset is not covered by the checksum, but may not run backwards.
        if position - kept.len() >= 8 {
            assert_eq!(log.end_offset(), 4, "flipped at {position}");
        }
        assert!(read_all(&log, 0, 1 << 20).starts_with(&kept));
    }
}

#[test]
fn damage_below_the_recovery_point_is_an_error_and_the_file_stays() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    for _ in 0..30 {
        append(&mut log, 1, 1, 39);
    }
    let end = log.end_offset();
    drop(log);
    let path = segment_path(temp.path(), 20, ".log");
    let mut bytes = fs::read(&path).unwrap();
    // The magic byte of the batch at offset 23: nothing behind it can be found.
    bytes[316] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = open_with(temp.path(), small(), false, end, 0, i64::MAX).unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Corrupt);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    // Above the recovery point it is a torn tail, and what lies behind it goes with it.
    let (log, recovery, _) = open_with(temp.path(), small(), false, 22, 0, i64::MAX).unwrap();
    assert_eq!((log.end_offset(), recovery.truncated_bytes), (23, 700));
    assert_eq!(recovery.batches_scanned, 1, "only what is above the recovery point");
    drop(log);
    let error = open_with(temp.path(), small(), false, 24, 0, i64::MAX).unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Corrupt, "durable data is missing");
}

/// Whatever the recovery point, the log and its indexes come out as if every byte had been verified.
#[test]
fn recovery_from_any_point_gives_the_same_log_and_indexes() {
    let source = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_bytes: 5000, ..small() };
    let mut log = create(source.path(), config);
    let mut all = Vec::new();
    for number in 0..120 {
        // Timestamps that rise, fall and repeat, so that the time index is sparser than the offset index.
        all.extend(append(&mut log, 2, 1000 + [0, 7, 3, 7, 9][number % 5] + number as i64 / 10, 39));
    }
    let end = log.end_offset();
    for file in log.unflushed_indexes().unwrap() {
        file.sync().unwrap();
    }
    let expected = tempfile::tempdir().unwrap();
    copy_log(source.path(), expected.path());
    recover(expected.path(), config).0.close().unwrap();
    for point in 0..=end {
        let temp = tempfile::tempdir().unwrap();
        copy_log(source.path(), temp.path());
        let (mut log, recovery, replayed) = open_with(temp.path(), config, false, point, 0, 0).unwrap();
        assert_eq!(log.end_offset(), end);
        assert_eq!(replayed, (0..end).step_by(2).collect::<Vec<_>>(), "recovery point {point}");
        assert!(recovery.batches_scanned as i64 <= (end - point + 1) / 2, "{recovery:?} at {point}");
        assert_eq!(read_all(&log, 0, 350), all);
        log.close().unwrap();
        for base in [0, 100, 200] {
            for extension in [".index", ".timeindex"] {
                let found = file(temp.path(), base, extension);
                assert_eq!(found, file(expected.path(), base, extension), "{base}{extension} from {point}");
            }
        }
    }
}

/// An index with a hole, as a power cut can leave it, is not trusted below the recovery point either.
#[test]
fn an_unsound_index_is_built_anew_below_the_recovery_point() {
    for extension in [".index", ".timeindex"] {
        let temp = tempfile::tempdir().unwrap();
        let config = LogConfig { segment_bytes: 1 << 20, ..small() };
        let mut log = create(temp.path(), config);
        for number in 0..60 {
            append(&mut log, 1, number, 39);
        }
        let end = log.end_offset();
        log.close().unwrap();
        let whole = file(temp.path(), 0, extension);
        let mut torn = whole.clone();
        torn[24..72].fill(0);
        fs::write(segment_path(temp.path(), 0, extension), torn).unwrap();
        let (mut log, recovery, _) = open_with(temp.path(), config, false, end, 0, i64::MAX).unwrap();
        assert_eq!(recovery.batches_scanned, 60);
        log.close().unwrap();
        assert_eq!(file(temp.path(), 0, extension), whole, "{extension}");
    }
}

fn copy_log(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn damage_in_an_earlier_segment_removes_the_later_ones() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    for _ in 0..30 {
        append(&mut log, 1, 1, 39);
    }
    drop(log);
    let path = segment_path(temp.path(), 10, ".log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[999] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (mut log, recovery) = recover(temp.path(), small());
    assert_eq!((log.end_offset(), recovery.truncated_bytes), (19, 100 + 1000));
    assert_eq!(log.segment_count(), 2);
    append(&mut log, 1, 1, 39);
    assert_eq!(read_all(&log, 0, 350).len(), 2000);
}

#[test]
fn missing_or_damaged_indexes_are_rebuilt() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    let mut all = Vec::new();
    for timestamp in 0..35 {
        all.extend(append(&mut log, 2, 1000 + timestamp, 39));
    }
    log.close().unwrap();
    let names: Vec<_> =
        [0, 20, 40, 60].into_iter().flat_map(|base| [(base, ".index"), (base, ".timeindex")]).collect();
    let original: Vec<_> = names.iter().map(|(base, ext)| file(temp.path(), *base, ext)).collect();
    assert!(original.iter().all(|bytes| !bytes.is_empty()));
    for (which, (base, extension)) in names.iter().enumerate() {
        let path = segment_path(temp.path(), *base, extension);
        for garbage in [None, Some(vec![0x5a; 7]), Some(vec![0x5a; 24]), Some(vec![0; 48])] {
            match &garbage {
                None => fs::remove_file(&path).unwrap(),
                Some(bytes) => fs::write(&path, bytes).unwrap(),
            }
            let (mut log, recovery) = reopen(temp.path(), small());
            assert_eq!(read_all(&log, 0, 230), all, "{base}{extension} {garbage:?}");
            for offset in 0..70 {
                let slice = log.read(offset, 100, i64::MAX, false).unwrap();
                assert_eq!((slice.start_offset, slice.len), (offset & !1, 100));
            }
            for timestamp in 0..35 {
                let found = log.offset_for_timestamp(1000 + timestamp, 0, 70).unwrap().unwrap();
                assert_eq!(found.header.base_offset, timestamp * 2);
            }
            let newest = log.max_timestamp_batch(70).unwrap().unwrap();
            assert_eq!(newest.header.base_offset, 68);
            log.close().unwrap();
            if recovery.recovered {
                assert_eq!(file(temp.path(), *base, extension), original[which]);
            }
            fs::write(&path, &original[which]).unwrap();
        }
    }
}

#[test]
fn rolls_for_each_reason() {
    let temp = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_ms: 100, ..small() };
    let mut log = create(temp.path(), config);
    let add = |log: &mut Log, base, timestamp, payload, now| {
        append_bytes(log, &batch(base, 1, timestamp, payload), now).unwrap()
    };
    assert!(!add(&mut log, 0, 1000, 2000, 0), "an empty segment takes any batch");
    assert!(add(&mut log, 1, 1000, 39, 0), "size");
    assert!(!add(&mut log, 2, 1100, 39, 9999), "time counts between timestamps");
    assert!(add(&mut log, 3, 1101, 39, 0), "time");
    assert!(!add(&mut log, 4, -1, 39, 0));
    assert!(add(&mut log, i64::from(i32::MAX) + 4, 1101, 39, 0), "relative offset");
    assert_eq!(log.active_base_offset(), i64::from(i32::MAX) + 4);
    log.roll(0).unwrap();
    assert_eq!(log.segment_count(), 5);
    log.roll(0).unwrap();
    assert_eq!(log.segment_count(), 5, "an empty segment is not rolled");
    let far = log.end_offset() + i64::from(i32::MAX) + 1;
    assert!(add(&mut log, far, 1, 39, 0));
    assert_eq!((log.segment_count(), log.active_base_offset()), (5, far), "the empty one is replaced");
    // With equal timestamps only the offset index fills: five entries of eight bytes.
    log.update_config(LogConfig { segment_index_bytes: 40, segment_bytes: 1 << 20, ..config });
    let rolled: Vec<_> = (1..8).map(|step| add(&mut log, far + step, 1, 200, 0)).collect();
    assert_eq!(rolled, [false, false, false, false, false, false, true], "offset index full");
    // With rising ones the time index: three places, one of them kept for the last entry.
    let rolled: Vec<_> = (8..14).map(|step| add(&mut log, far + step, step, 200, 0)).collect();
    assert_eq!(rolled, [false, false, true, false, false, true], "time index full");
    drop(log);
    let (log, _) = recover(temp.path(), config);
    assert_eq!(log.end_offset(), far + 14);
}

#[test]
fn time_without_timestamps_counts_from_creation() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), LogConfig { segment_ms: 100, ..small() });
    assert!(!append_bytes(&mut log, &batch(0, 1, -1, 39), 500).unwrap());
    assert!(!append_bytes(&mut log, &batch(1, 1, -1, 39), 100).unwrap());
    assert!(append_bytes(&mut log, &batch(2, 1, -1, 39), 101).unwrap());
}

#[test]
fn batches_that_would_break_the_log_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    append(&mut log, 5, 1, 10);
    let kind = |result: Result<bool, StorageError>| result.unwrap_err().kind();
    assert_eq!(kind(append_bytes(&mut log, &batch(4, 1, 1, 10), 0)), StorageErrorKind::Corrupt);
    let mut long = batch(5, 1, 1, 10);
    long.push(0);
    assert_eq!(kind(append_bytes(&mut log, &long, 0)), StorageErrorKind::Corrupt);
    assert_eq!(kind(append_bytes(&mut log, &batch(5, 0, 1, 10), 0)), StorageErrorKind::Corrupt);
    assert_eq!((log.end_offset(), log.size_bytes()), (5, 71));
    log.close().unwrap();
    assert_eq!(kind(append_bytes(&mut log, &batch(5, 1, 1, 10), 0)), StorageErrorKind::Closed);
}

#[test]
fn a_failed_append_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    let kept = append(&mut log, 5, 1, 10);
    log.unflushed()[0].sync_failed();
    let error = append_bytes(&mut log, &batch(5, 1, 1, 10), 0).unwrap_err();
    assert!(matches!(error, StorageError::Stopped { .. }));
    assert_eq!(log.end_offset(), 5);
    assert_eq!(file(temp.path(), 0, ".log"), kept);
    assert!(log.flush().is_err(), "a log that failed to flush never says it is durable");
    assert_eq!(log.flushed_offset(), 0);
}

#[test]
fn flushing_covers_data_sealed_indexes_and_the_directory() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    log.flush().unwrap();
    assert!(log.unflushed().is_empty());
    for _ in 0..15 {
        append(&mut log, 1, 1, 39);
    }
    let names: Vec<_> = log
        .unflushed()
        .iter()
        .map(|handle| handle.path().strip_prefix(temp.path()).unwrap().display().to_string())
        .collect();
    for name in ["", "00000000000000000000.log", "00000000000000000000.index", "00000000000000000010.log"] {
        assert!(names.iter().any(|dirty| dirty == name), "{name} in {names:?}");
    }
    log.flush().unwrap();
    assert_eq!(log.flushed_offset(), 15);
    assert!(log.unflushed().is_empty());
}

#[test]
fn a_log_at_rest_holds_no_files() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    let mut all = Vec::new();
    for _ in 0..35 {
        all.extend(append(&mut log, 1, 1, 39));
    }
    log.release_idle().unwrap();
    assert!(log.open_files() > 0, "unflushed data stays open");
    log.flush().unwrap();
    log.release_idle().unwrap();
    assert_eq!(log.open_files(), 0);
    assert!(std::mem::size_of::<Log>() < 700, "{}", std::mem::size_of::<Log>());
    assert_eq!(read_all(&log, 0, 230), all);
    all.extend(append(&mut log, 1, 1, 39));
    assert_eq!(read_all(&log, 0, 230), all);
}

#[test]
fn reads_stop_at_the_end_offset_and_check_the_range() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), LogConfig { segment_bytes: 1 << 20, ..small() });
    for _ in 0..20 {
        append(&mut log, 2, 1, 39);
    }
    for end in 0..=40 {
        let slice = log.read(0, 1 << 20, end, true).unwrap();
        assert_eq!(slice.len as i64, (end + 1) / 2 * 100, "end {end}");
    }
    assert_eq!(log.read(1, 99, 40, false).unwrap().len, 0);
    assert_eq!(log.read(1, 99, 40, true).unwrap().len, 100);
    assert_eq!(log.read(40, 99, 40, true).unwrap().len, 0);
    assert_eq!(log.read(30, 99, 10, true).unwrap().len, 0);
    assert!(matches!(log.read(41, 1, 99, true), Err(ReadError::OutOfRange { start: 0, end: 40 })));
    assert!(log.set_start_offset(7).unwrap());
    assert!(!log.set_start_offset(6).unwrap());
    assert!(log.set_start_offset(41).is_err());
    assert!(matches!(log.read(6, 1, 99, true), Err(ReadError::OutOfRange { start: 7, end: 40 })));
    assert_eq!(log.read(7, 1, 99, true).unwrap().start_offset, 6);
}

#[test]
fn segments_leave_from_the_front() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    for _ in 0..35 {
        append(&mut log, 1, 1, 39);
    }
    let held = log.read(0, 1 << 20, 99, true).unwrap();
    let pinned = held.file.file().unwrap();
    assert!(log.delete_segments_below(9).unwrap().is_empty());
    let removed = log.delete_segments_below(29).unwrap();
    assert_eq!(removed.len(), 6);
    assert!(removed.iter().all(|path| path.exists() && path.extension().unwrap() == "deleted"));
    assert_eq!((log.start_offset(), log.segment_count()), (20, 2));
    assert_eq!(log.segments().unwrap()[0].base_offset, 20);
    assert_eq!(pinned.metadata().unwrap().len(), 1000, "a reader finishes");
    log.close().unwrap();
    let (log, _) = reopen(temp.path(), small());
    assert_eq!((log.start_offset(), log.end_offset()), (20, 35));
    assert!(removed.iter().all(|path| !path.exists()));
}

#[test]
fn truncating_to_any_offset_and_going_on() {
    for offset in 0..=70 {
        let temp = tempfile::tempdir().unwrap();
        let mut log = create(temp.path(), small());
        let mut all = Vec::new();
        for timestamp in 0..35 {
            if timestamp == 20 {
                log.assign_epoch(3, 40).unwrap();
            }
            all.extend(append(&mut log, 2, 100 - timestamp, 39));
        }
        log.truncate_to(offset, 0).unwrap();
        let end = offset / 2 * 2;
        assert_eq!(log.end_offset(), end);
        assert_eq!(
            log.latest_epoch(),
            match end {
                0 => None,
                1..=40 => Some(0),
                _ => Some(3),
            }
        );
        let mut expected = all[..end as usize * 50].to_vec();
        assert_eq!(read_all(&log, 0, 350), expected);
        assert_eq!(log.max_timestamp().unwrap(), if end == 0 { -1 } else { 100 });
        expected.extend(append(&mut log, 3, 200, 39));
        assert_eq!(read_all(&log, 0, 350), expected);
        drop(log);
        let (log, recovery) = recover(temp.path(), small());
        assert_eq!((log.end_offset(), recovery.truncated_bytes), (end + 3, 0));
        assert_eq!(read_all(&log, 0, 350), expected);
    }
}

#[test]
fn truncating_below_the_start_begins_anew() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    for _ in 0..35 {
        append(&mut log, 1, 1, 39);
    }
    log.delete_segments_below(20).unwrap();
    log.truncate_to(5, 0).unwrap();
    assert_eq!((log.start_offset(), log.end_offset(), log.size_bytes()), (5, 5, 0));
    append(&mut log, 1, 1, 39);
    drop(log);
    assert_eq!(recover(temp.path(), small()).0.end_offset(), 6);
}

#[test]
fn a_start_offset_beyond_the_end_begins_anew() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    append(&mut log, 5, 1, 39);
    drop(log);
    let (mut log, _, _) = open_with(temp.path(), small(), false, 5, 9, 0).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (9, 9));
    append(&mut log, 1, 1, 39);
    assert_eq!(log.topic_id(), Some(TOPIC));
}

#[test]
fn create_takes_over_an_empty_attempt_but_never_a_log() {
    let temp = tempfile::tempdir().unwrap();
    drop(create(temp.path(), small()));
    let mut log = create(temp.path(), small());
    for _ in 0..15 {
        append(&mut log, 1, 1, 39);
    }
    let again = || Log::create(temp.path(), TOPIC, small(), FileCache::new(8), 0);
    assert_eq!(again().unwrap_err().kind(), StorageErrorKind::Corrupt);
    for path in log.delete_segments_below(10).unwrap() {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(again().unwrap_err().kind(), StorageErrorKind::Corrupt);
    assert!(!segment_path(temp.path(), 0, ".log").exists());
}

#[test]
fn epochs_are_rebuilt_and_batches_replayed() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    for step in 0..35 {
        let mut bytes = batch(step, 1, 1, 39);
        bytes[12..16].copy_from_slice(&(step as i32 / 15).to_be_bytes());
        append_bytes(&mut log, &bytes, 0).unwrap();
    }
    log.close().unwrap();
    assert_eq!(log.end_offset_for_epoch(1), (1, 30));
    for clean in [true, false] {
        fs::remove_file(temp.path().join("leader-epoch-checkpoint")).unwrap();
        let recovery_point = if clean { 35 } else { 25 };
        let (log, _, replayed) = open_with(temp.path(), small(), clean, recovery_point, 0, 17).unwrap();
        assert_eq!(log.end_offset_for_epoch(0), (0, 15));
        assert_eq!((log.latest_epoch(), log.epoch_for_offset(29)), (Some(2), 1));
        assert_eq!(replayed, (17..35).collect::<Vec<_>>());
    }
}

#[test]
fn an_empty_trailing_segment_and_a_lost_log_file() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    append(&mut log, 5, 1, 39);
    log.roll(0).unwrap();
    drop(log);
    let (log, _) = recover(temp.path(), small());
    assert_eq!((log.end_offset(), log.segment_count()), (5, 2));
    drop(log);
    fs::remove_file(segment_path(temp.path(), 0, ".log")).unwrap();
    fs::remove_file(segment_path(temp.path(), 5, ".log")).unwrap();
    let error = open_with(temp.path(), small(), true, 5, 0, 0).unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Corrupt);
}

/// Without the file of epochs they are learned from the batches. Batches that contradict each other teach nothing, and are
/// served all the same.
#[test]
fn epochs_that_go_back_are_not_held_against_the_batches() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    let mut written = Vec::new();
    for (step, epoch) in [0, 0, 9, 1, 1].into_iter().enumerate() {
        let mut bytes = batch(step as i64, 1, 1, 39);
        bytes[12..16].copy_from_slice(&i32::to_be_bytes(epoch));
        append_bytes(&mut log, &bytes, 0).unwrap();
        written.extend(bytes);
    }
    log.close().unwrap();
    fs::remove_file(temp.path().join("leader-epoch-checkpoint")).unwrap();
    for _ in 0..2 {
        let (mut log, _, _) = open_with(temp.path(), small(), true, 0, 0, i64::MAX).unwrap();
        assert_eq!((log.epoch_for_offset(2), log.epoch_for_offset(3), log.latest_epoch()), (-1, 1, Some(1)));
        assert_eq!(read_all(&log, 0, 1 << 20), written);
        log.close().unwrap();
    }
}
