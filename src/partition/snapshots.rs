//! Producer snapshots beside the segments: when one is written, and which one an opening log starts from.
//!
//! The two newest are kept, and a log is opened from the older: a snapshot holds only the newest batch of each producer,
//! and replaying the batches between the two brings back the rest of each producer's window, so that a retry that was on
//! its way during a restart is still recognised. Beside them stays the newest at or below the recovery point: after an
//! unclean stop the aborted transactions from there on are found again by replaying the batches (see
//! [`crate::storage::segment::Replay`]), which begins with the producers as they were there.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::handle::{Inner, Partition};
use super::producer_snapshot;
use super::producers::Producers;
use crate::storage::segment::StorageError;
use crate::storage::segment::dir::sync_dir;

/// Newest snapshots kept.
const KEPT: usize = 2;
/// A log up to this size, bytes, is replayed from its start when there is no second snapshot.
const REPLAYED_WHOLE_BYTES: u64 = 64 << 20;
const EXTENSION: &str = ".snapshot";
const TEMPORARY: &str = ".snapshot.tmp";

/// Kafka's name of the producer snapshot at `offset`.
fn path(dir: &Path, offset: i64) -> PathBuf {
    dir.join(format!("{offset:020}{EXTENSION}"))
}

/// Offsets of the snapshots in `dir`, ascending.
fn offsets(dir: &Path) -> Vec<i64> {
    let mut offsets: Vec<i64> =
        names(dir).filter_map(|name| name.strip_suffix(EXTENSION)?.parse().ok()).collect();
    offsets.sort_unstable();
    offsets
}

fn names(dir: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok())
}

/// The producers to begin with, and the offset from which the log is replayed on top of them, which is at most `end`:
/// snapshots above it are not looked at. `from_newest` gives up what is known of older batches, so that as little of the log
/// as can be has to be followed.
pub(super) fn choose(dir: &Path, end: i64, from_newest: bool, now_ms: i64) -> (Producers, i64) {
    let mut usable = offsets(dir);
    usable.retain(|offset| *offset <= end);
    let two = usable.len() >= KEPT || (usable.len() == 1 && log_bytes(dir) <= REPLAYED_WHOLE_BYTES);
    if two && !from_newest {
        usable.pop();
    }
    for offset in usable.into_iter().rev() {
        let path = path(dir, offset);
        let read = fs::read(&path).map_err(|error| error.to_string());
        match read
            .and_then(|bytes| producer_snapshot::decode(&bytes, now_ms).map_err(|error| error.to_string()))
        {
            Ok(producers) => return (producers, offset),
            Err(error) => {
                warn!(path = %path.display(), error, "producer snapshot is unusable; an older one or the log is used");
            }
        }
    }
    (Producers::default(), 0)
}

fn log_bytes(dir: &Path) -> u64 {
    let logs = names(dir).filter(|name| name.ends_with(".log"));
    logs.filter_map(|name| fs::metadata(dir.join(name)).ok()).map(|metadata| metadata.len()).sum()
}

/// The snapshots of an open partition.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Ascending.
    offsets: Vec<i64>,
    /// The newest that is durable.
    synced: Option<i64>,
    /// A recovery point that the checkpoint file holds, as far as is known.
    recovery_point: i64,
}

impl Snapshots {
    /// Offset of the newest, or 0, below which there is nothing to describe.
    fn newest(&self) -> i64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// The newest at or below `offset`.
    fn floor(&self, offset: i64) -> Option<i64> {
        self.offsets.iter().rev().find(|at| **at <= offset).copied()
    }

    /// Adds one, and takes out those that are of no use any more.
    fn add(&mut self, offset: i64) -> Vec<i64> {
        self.offsets.retain(|at| *at < offset);
        self.offsets.push(offset);
        let newest = self.offsets.len().saturating_sub(KEPT);
        let needed = self.floor(self.recovery_point);
        let (old, kept): (Vec<_>, Vec<_>) =
            self.offsets.iter().enumerate().partition(|(index, at)| *index < newest && Some(**at) != needed);
        let (old, kept) =
            (old.into_iter().map(|(_, at)| *at).collect(), kept.into_iter().map(|(_, at)| *at).collect());
        self.offsets = kept;
        old
    }
}

/// Removes what must not be used after the log was opened with its end at `end`, and gives what stays.
pub(super) fn remove_above(dir: &Path, end: i64, recovery_point: i64) -> Snapshots {
    for name in names(dir).filter(|name| name.ends_with(TEMPORARY)) {
        remove(&dir.join(name));
    }
    let (above, kept): (Vec<i64>, Vec<i64>) = offsets(dir).into_iter().partition(|offset| *offset > end);
    for offset in above {
        remove(&path(dir, offset));
    }
    Snapshots { offsets: kept, synced: None, recovery_point }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        warn!(path = %path.display(), %error, "cannot remove a producer snapshot");
    }
}

impl Partition {
    /// Writes the producers' state as of `offset`. A failure costs replay time at the next open, no data.
    pub(super) fn write_producer_snapshot(&self, inner: &mut Inner, offset: i64) {
        inner.bytes_since_snapshot = 0;
        if inner.snapshots.newest() == offset {
            return;
        }
        let path = path(&self.dir, offset);
        let temporary = path.with_extension("snapshot.tmp");
        let bytes = producer_snapshot::encode(&inner.producers);
        let written = File::create(&temporary)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            warn!(partition = %self.id, %error, "cannot write a producer snapshot");
            return;
        }
        for old in inner.snapshots.add(offset) {
            remove(&self::path(&self.dir, old));
        }
    }

    /// The snapshot to make durable before the recovery point moves to `recovery_point`: without it the next start would
    /// have to replay more of the log.
    pub(super) fn unsynced_snapshot(&self, inner: &mut Inner, recovery_point: i64) -> Option<i64> {
        inner.snapshots.recovery_point = inner.recovery_point;
        let floor = inner.snapshots.floor(recovery_point);
        floor.filter(|floor| inner.snapshots.synced < Some(*floor))
    }

    /// Makes a snapshot durable. A failure costs replay time after a power cut, no data.
    pub(super) fn sync_snapshot(&self, offset: i64) {
        let path = path(&self.dir, offset);
        let synced = File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(|error| error.to_string())
            .and_then(|()| sync_dir(&self.dir).map_err(|error: StorageError| error.to_string()));
        match synced {
            Ok(()) => self.inner.lock().snapshots.synced = Some(offset),
            Err(error) => warn!(partition = %self.id, error, "cannot sync a producer snapshot"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::producers::ProducerEntry;

    fn write(dir: &Path, offset: i64) {
        let mut producers = Producers::default();
        producers.restore(offset, ProducerEntry::new(0, 0));
        fs::write(path(dir, offset), producer_snapshot::encode(&producers)).unwrap();
    }

    fn chosen(dir: &Path, end: i64) -> (Vec<i64>, i64) {
        let (producers, from) = choose(dir, end, false, 0);
        (producers.iter().map(|(id, _)| id).collect(), from)
    }

    #[test]
    fn the_older_of_two_is_used_and_none_from_above_the_end() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(chosen(dir.path(), i64::MAX), (vec![], 0));
        write(dir.path(), 10);
        assert_eq!(chosen(dir.path(), i64::MAX), (vec![], 0), "a small log is replayed from its start");
        fs::File::create(dir.path().join("0.log")).unwrap().set_len(REPLAYED_WHOLE_BYTES + 1).unwrap();
        assert_eq!(chosen(dir.path(), i64::MAX), (vec![10], 10));
        write(dir.path(), 20);
        write(dir.path(), 30);
        assert_eq!(chosen(dir.path(), i64::MAX), (vec![20], 20));
        assert_eq!(chosen(dir.path(), 29), (vec![10], 10));
        fs::write(path(dir.path(), 20), b"damaged").unwrap();
        assert_eq!(chosen(dir.path(), 30), (vec![10], 10));

        fs::write(dir.path().join("00000000000000000030.snapshot.tmp"), b"").unwrap();
        assert_eq!(remove_above(dir.path(), 19, 0).newest(), 10);
        assert_eq!(offsets(dir.path()), [10]);
        assert_eq!(names(dir.path()).filter(|name| name.ends_with("tmp")).count(), 0);
    }

    #[test]
    fn the_two_newest_stay_and_the_newest_at_or_below_the_recovery_point() {
        let mut snapshots = Snapshots::default();
        for offset in [10, 20] {
            assert!(snapshots.add(offset).is_empty());
        }
        assert_eq!(snapshots.add(30), [10]);
        snapshots.recovery_point = 25;
        assert!(snapshots.add(40).is_empty());
        assert!(snapshots.offsets == [20, 30, 40]);
        assert_eq!(snapshots.add(50), [30]);
        snapshots.recovery_point = 45;
        assert_eq!(snapshots.add(60), [20]);
        assert!(snapshots.offsets == [40, 50, 60]);
        assert_eq!((snapshots.floor(39), snapshots.floor(55), snapshots.newest()), (None, Some(50), 60));
    }
}
