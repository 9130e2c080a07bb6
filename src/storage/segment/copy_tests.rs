use std::os::unix::fs::MetadataExt;

use super::super::testing::*;
use super::super::{LogConfig, StorageErrorKind};
use super::*;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 1000, segment_ms: 1 << 40, index_interval_bytes: 150, ..LogConfig::default() }
}

/// A log of several segments in `dir/log`, and what was appended.
fn log_in(dir: &Path) -> (Log, Vec<u8>) {
    let mut log = create(&dir.join("log"), small());
    let mut written = Vec::new();
    for number in 0..20 {
        written.extend(append(&mut log, 2, number, 200));
    }
    assert!(log.segment_count() > 3 && log.active.size > 0);
    (log, written)
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// Everything in the copy, opened as after a crash.
fn opened(dir: &Path, pinned: &Pinned) -> Log {
    let (log, recovery, _) = open_with(dir, small(), false, pinned.last, 0, i64::MAX).unwrap();
    assert_eq!(recovery.truncated_bytes, 0);
    log
}

#[test]
fn a_copy_is_what_the_log_was_at_the_cut_whatever_becomes_of_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let (mut log, mut written) = log_in(temp.path());
    let to = temp.path().join("copy");
    let pinned = log.pin(&to).unwrap();
    assert!(
        pin_closed(&to, &temp.path().join("other")).unwrap().last < pinned.last,
        "the last segment is not there yet"
    );
    // A bit more before the cut, and a lot between the cut and the end of copying.
    written.extend(append(&mut log, 1, 50, 20));
    let (cut, end) = (log.active.size, log.end_offset());
    assert_eq!(log.active_base_offset(), pinned.last);
    for number in 0..30 {
        append(&mut log, 1, 100 + number, 200);
    }
    for removed in log.delete_segments_below(log.active_base_offset()).unwrap() {
        fs::remove_file(removed).unwrap();
    }
    let copied = pinned.finish(cut, i64::MAX).unwrap();
    assert_eq!(copied.shared_bytes + cut, written.len() as u64);
    assert_eq!(copied.copied_bytes, pinned.to_be_copied(cut));

    let mut copy = opened(&to, &pinned);
    assert_eq!((copy.start_offset(), copy.end_offset(), copy.topic_id()), (0, end, Some(TOPIC)));
    assert_eq!(read_all(&copy, 0, 300), written);
    // Both go on by themselves.
    written.extend(append(&mut copy, 3, 900, 100));
    copy.truncate_to(copy.end_offset() - 3, 0).unwrap();
    copy.close().unwrap();
    append(&mut log, 1, 901, 10);
    log.close().unwrap();
    let (copy, _) = reopen(&to, small());
    assert_eq!(copy.end_offset(), end);
    let (log, recovery) = recover(&temp.path().join("log"), small());
    assert_eq!((recovery.truncated_bytes, log.end_offset()), (0, end + 31));
}

#[test]
fn sealed_segments_are_shared_and_nothing_that_is_written_in_place_is() {
    let temp = tempfile::tempdir().unwrap();
    let (mut log, written) = log_in(temp.path());
    let (from, to) = (temp.path().join("log"), temp.path().join("copy"));
    let pinned = log.pin(&to).unwrap();
    pinned.finish(log.active.size, i64::MAX).unwrap();
    for base in &pinned.sealed {
        let shared = |extension| {
            inode(&segment_path(&from, *base, extension)) == inode(&segment_path(&to, *base, extension))
        };
        assert!(shared(".log") && !shared(".index") && !shared(".timeindex"), "{base}");
        for extension in [".log", ".index", ".timeindex"] {
            let read = |dir| fs::read(segment_path(dir, *base, extension)).unwrap();
            assert_eq!(read(&from), read(&to), "{base}{extension}");
        }
    }
    assert_ne!(
        inode(&segment_path(&from, pinned.last, ".log")),
        inode(&segment_path(&to, pinned.last, ".log"))
    );
    let names = names(&to).unwrap();
    assert!(names.iter().all(|name| !name.contains("pinned") && !name.ends_with(".copy")), "{names:?}");

    // Recovery may cut what lies above the recovery point: it is not shared then.
    let to = temp.path().join("unverified");
    drop(log);
    let pinned = pin_closed(&from, &to).unwrap();
    let middle = pinned.sealed[2];
    let copied = pinned.finish(pinned.last_bytes, middle).unwrap();
    for base in &pinned.sealed {
        let shared = inode(&segment_path(&from, *base, ".log")) == inode(&segment_path(&to, *base, ".log"));
        assert_eq!(shared, *base < middle, "{base}");
    }
    assert_eq!(copied.shared_bytes + copied.copied_bytes, written.len() as u64 + pinned.index_bytes);
    let (copy, _, _) = open_with(&to, small(), false, middle, 0, i64::MAX).unwrap();
    assert_eq!(read_all(&copy, 0, 300), written);
}

#[test]
fn damage_in_what_is_shared_is_told_and_not_cut_off() {
    let temp = tempfile::tempdir().unwrap();
    let (mut log, _) = log_in(temp.path());
    let to = temp.path().join("copy");
    let pinned = log.pin(&to).unwrap();
    pinned.finish(log.active.size, i64::MAX).unwrap();
    let shared = segment_path(&to, pinned.sealed[1], ".log");
    let mut bytes = fs::read(&shared).unwrap();
    // The magic byte of its first batch.
    bytes[16] ^= 0xff;
    fs::write(&shared, &bytes).unwrap();
    // With its index gone the segment is looked at as a whole.
    fs::remove_file(segment_path(&to, pinned.sealed[1], ".index")).unwrap();
    let refused = open_with(&to, small(), false, pinned.last, 0, i64::MAX).map(drop).unwrap_err();
    assert_eq!(refused.kind(), StorageErrorKind::Corrupt);
    assert_eq!(fs::read(&shared).unwrap(), bytes, "the log still has all of it");
}

#[test]
fn an_empty_log_and_a_second_pin() {
    let temp = tempfile::tempdir().unwrap();
    let to = temp.path().join("copy");
    let mut log = create(&temp.path().join("log"), small());
    log.pin(&to).unwrap();
    append(&mut log, 2, 1, 10);
    log.roll(0).unwrap();
    let pinned = log.pin(&to).unwrap();
    assert_eq!((pinned.last, pinned.last_bytes, pinned.sealed.as_slice()), (2, 0, [0].as_slice()));
    pinned.finish(0, i64::MAX).unwrap();
    let copy = opened(&to, &pinned);
    assert_eq!((copy.end_offset(), copy.segment_count()), (2, 2));
    pinned.discard().unwrap();
    assert!(!to.exists());
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(pin_closed(nothing.path(), &to).unwrap_err().kind(), StorageErrorKind::Corrupt);
}

#[test]
fn a_log_that_lost_bytes_since_the_cut_is_noticed() {
    let temp = tempfile::tempdir().unwrap();
    let (mut log, _) = log_in(temp.path());
    let pinned = log.pin(&temp.path().join("copy")).unwrap();
    let refused = pinned.finish(log.active.size + 1, i64::MAX).unwrap_err();
    assert_eq!(refused.kind(), StorageErrorKind::Corrupt);
}
