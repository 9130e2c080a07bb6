//! One small log, damaged in every way.

use std::fs;
use std::path::Path;

use super::*;
use crate::record::{BatchBuilder, BatchHeader, EndMarker, TransactionOutcome, patch_prefix};
use crate::storage::segment::testing::{append_bytes, create, open_with, read_all};
use crate::storage::segment::{AbortedTransaction, Log, LogConfig};

const CONFIG: LogConfig = LogConfig {
    segment_bytes: 700,
    segment_ms: 1 << 40,
    index_interval_bytes: 150,
    segment_index_bytes: 1 << 20,
};

/// In memory where there is such a file system: a repair syncs much, and there are many.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn append(log: &mut Log, batch: &[u8]) -> Vec<u8> {
    let mut bytes = batch.to_vec();
    let header = BatchHeader::parse(&bytes).unwrap();
    let epoch = i32::from(log.end_offset() >= 12);
    bytes[..16].copy_from_slice(&patch_prefix(&header, log.end_offset(), epoch));
    append_bytes(log, &bytes, 0).unwrap();
    bytes
}

/// A log of some segments, with batches of several records, an aborted transaction, and two leader epochs. Returns its end
/// and its batches.
fn sample(dir: &Path) -> (i64, Vec<Vec<u8>>) {
    let mut log = create(dir, CONFIG);
    let mut batches = Vec::new();
    for number in 0..18u8 {
        let mut batch = BatchBuilder::new();
        let transactional = number % 6 == 2;
        if transactional {
            batch = batch.producer(7, 0, i32::from(number)).transactional(true);
        }
        for record in 0..=number % 2 {
            let value = vec![number; 20 + usize::from(record)];
            batch = batch.record(
                1000 + i64::from(number) * 3 - i64::from(number % 3) * 4,
                Some(&[number]),
                Some(&value),
            );
        }
        let first_offset = log.end_offset();
        batches.push(append(&mut log, &batch.build().unwrap()));
        if transactional {
            let outcome = if number == 8 { TransactionOutcome::Commit } else { TransactionOutcome::Abort };
            let marker = EndMarker { producer_id: 7, producer_epoch: 0, coordinator_epoch: 0, outcome };
            let at = log.end_offset();
            batches.push(append(&mut log, &marker.to_batch(1010)));
            if outcome == TransactionOutcome::Abort {
                log.append_aborted(AbortedTransaction {
                    producer_id: 7,
                    first_offset,
                    last_offset: at,
                    last_stable_offset: at + 1,
                });
            }
        }
    }
    let end = log.end_offset();
    log.close().unwrap();
    fs::write(dir.join(format!("{end:020}.snapshot")), b"snapshot").unwrap();
    (end, batches)
}

fn snapshot(bytes: &[u8]) -> Result<(), String> {
    if bytes == b"snapshot" { Ok(()) } else { Err("not a snapshot".to_owned()) }
}

fn facts(end: i64, is_clean: bool) -> Facts<'static> {
    Facts {
        recovery_point: end,
        log_start: 0,
        cleaned: 0,
        is_clean,
        topic_id: Some(crate::storage::segment::testing::TOPIC),
        max_unfolded: 1 << 20,
        check_snapshot: &snapshot,
    }
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = directory();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

/// Repairs until nothing is damaged.
fn mend(dir: &Path, facts: &Facts<'_>) {
    for _ in 0..4 {
        let found = inspect(dir, facts).unwrap();
        if !found.is_damaged() {
            return;
        }
        repair(dir, &found.findings, CONFIG.index_interval_bytes).unwrap();
    }
    panic!("still damaged: {:#?}", inspect(dir, facts).unwrap().findings);
}

/// What may differ after a repair of one flipped byte or one cut: at most `lost` batches are gone, all others are there as they
/// were and in order, and the log ends where it did.
fn check_repaired(dir: &Path, batches: &[Vec<u8>], end: i64, lost: usize, what: &str) {
    for clean in [true, false] {
        let copied = copy(dir);
        let (log, ..) = open_with(copied.path(), CONFIG, clean, end, 0, i64::MAX)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(log.end_offset(), end, "{what}");
        let read = read_all(&log, 0, 1 << 20);
        let mut at = 0;
        let mut found = Vec::new();
        while at < read.len() {
            let header = BatchHeader::parse(&read[at..]).unwrap();
            let size = header.size_in_bytes();
            if header.record_count > 0 {
                found.push(read[at..at + size].to_vec());
            }
            at += size;
        }
        let missing = batches.iter().filter(|batch| !found.contains(batch)).count();
        assert!(missing <= lost, "{what}: {missing} batches are gone");
        assert!(found.iter().all(|batch| batches.contains(batch)), "{what}: a batch was made up");
        assert!(found.windows(2).all(|pair| pair[0][..8] < pair[1][..8]), "{what}: out of order");
    }
}

#[test]
fn a_sound_log_has_nothing_to_find() {
    let temp = directory();
    let (end, batches) = sample(temp.path());
    for clean in [true, false] {
        let found = inspect(temp.path(), &facts(end, clean)).unwrap();
        assert_eq!(found.findings, []);
        assert_eq!((found.batches, found.segments), (batches.len() as u64, 3));
    }
}

#[test]
fn every_flipped_byte_is_found_and_repaired() {
    let temp = directory();
    let (end, batches) = sample(temp.path());
    let mut unnoticed = Vec::new();
    for entry in fs::read_dir(temp.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let whole = fs::read(temp.path().join(&name)).unwrap();
        // Headers byte by byte, payloads now and then; small files wholly.
        let step = if name.ends_with(".log") { 3 } else { 1 };
        for at in (0..whole.len()).step_by(step) {
            let bit = (at * 5 + 1) % 8;
            let dir = copy(temp.path());
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs::write(dir.path().join(&name), &bytes).unwrap();
            let what = format!("{name} byte {at} bit {bit}");
            let facts = facts(end, true);
            if !inspect(dir.path(), &facts).unwrap().is_damaged() {
                unnoticed.push(what.clone());
            }
            mend(dir.path(), &facts);
            check_repaired(dir.path(), &batches, end, usize::from(name.ends_with(".log")), &what);
        }
    }
    // What may go unnoticed changes nothing: an index entry that names a later offset of the same segment only makes a look-up
    // longer, and white space in text files has no meaning.
    let harmless = |what: &String| {
        what.contains(".index") || what.contains("checkpoint") || what.contains("partition.metadata")
    };
    assert!(unnoticed.iter().all(harmless), "{unnoticed:#?}");
    assert!(unnoticed.len() < 20, "{unnoticed:#?}");
}

#[test]
fn every_cut_is_found_and_repaired() {
    let temp = directory();
    let (end, batches) = sample(temp.path());
    for entry in fs::read_dir(temp.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let whole = fs::read(temp.path().join(&name)).unwrap();
        for length in (0..whole.len()).step_by(7) {
            let dir = copy(temp.path());
            fs::write(dir.path().join(&name), &whole[..length]).unwrap();
            let what = format!("{name} cut at {length}");
            let facts = facts(end, true);
            // A prefix of an offset index is one; the end of a segment that is not the last may be empty as after a compaction.
            let may_pass = name.ends_with(".index") || name.ends_with(".log") || name.contains("checkpoint");
            assert!(may_pass || inspect(dir.path(), &facts).unwrap().is_damaged(), "{what}");
            mend(dir.path(), &facts);
            check_repaired(dir.path(), &batches, end, batches.len(), &what);
            let cut = whole.len() - length;
            if name.ends_with(".log") {
                let kept = batches.len() - cut.div_ceil(79).min(batches.len());
                assert!(inspect(dir.path(), &facts).unwrap().batches as usize >= kept, "{what}");
            }
        }
    }
}

#[test]
fn damage_in_the_middle_costs_the_damaged_batches_alone() {
    let temp = directory();
    let (end, batches) = sample(temp.path());
    let path = temp.path().join("00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    // From within the second batch into the third.
    let (second, third) = (batches[0].len() + 5, batches[0].len() + batches[1].len() + 30);
    bytes[second..third].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let facts = facts(end, true);
    let found = inspect(temp.path(), &facts).unwrap();
    let damage = found.findings.iter().find(|finding| finding.severity == Severity::Damage).unwrap();
    assert_eq!(damage.position, Some(batches[0].len() as u64));
    assert_eq!(damage.offsets, Some((1, 3)));
    let made = repair(temp.path(), &found.findings, CONFIG.index_interval_bytes).unwrap();
    let kept = fs::read(&made[0]).unwrap();
    assert_eq!(kept.len(), batches[1].len() + batches[2].len());
    assert!(made[0].to_str().unwrap().contains(".log.damaged-"));
    mend(temp.path(), &facts);
    check_repaired(temp.path(), &batches, end, 2, "the middle");
}

#[test]
fn a_torn_tail_is_left_to_recovery_unless_the_stop_was_orderly() {
    let temp = directory();
    let (end, batches) = sample(temp.path());
    let mut logs: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    let path = logs.last().unwrap();
    let whole = fs::read(path).unwrap();
    fs::write(path, [&whole[..], &batches[0][..40]].concat()).unwrap();
    let found = inspect(temp.path(), &facts(end, false)).unwrap();
    assert!(!found.is_damaged() && found.findings.len() == 1, "{:?}", found.findings);
    assert!(inspect(temp.path(), &facts(end, true)).unwrap().is_damaged());
    mend(temp.path(), &facts(end, true));
    assert_eq!(fs::read(path).unwrap(), whole);
}

/// A record may hold a whole batch; what is inside a damaged batch is not taken for the next one.
#[test]
fn a_batch_within_a_record_is_no_batch_of_the_log() {
    let temp = directory();
    let mut log = create(temp.path(), LogConfig { segment_bytes: 1 << 20, ..CONFIG });
    let first = append(&mut log, &BatchBuilder::new().record(1, None, Some(b"a")).build().unwrap());
    let mut inner = BatchBuilder::new().record(1, None, Some(b"inner")).build().unwrap().to_vec();
    let header = BatchHeader::parse(&inner).unwrap();
    inner[..16].copy_from_slice(&patch_prefix(&header, 1, 0));
    let outer = append(&mut log, &BatchBuilder::new().record(1, None, Some(&inner)).build().unwrap());
    let last = append(&mut log, &BatchBuilder::new().record(1, None, Some(b"z")).build().unwrap());
    let end = log.end_offset();
    log.close().unwrap();
    let path = temp.path().join("00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[first.len() + 17] ^= 1;
    fs::write(&path, &bytes).unwrap();
    mend(temp.path(), &facts(end, true));
    check_repaired(temp.path(), &[first, outer, last], end, 1, "the outer one");
}
