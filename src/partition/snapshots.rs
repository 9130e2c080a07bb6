//! Producer snapshots beside the segments: when one is written, and which one an opening log starts from.
//!
//! The two newest are kept, and a log is opened from the older: a snapshot holds only the newest batch of each producer,
//! and replaying the batches between the two brings back the rest of each producer's window, so that a retry that was on
//! its way during a restart is still recognised.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::handle::{Inner, Partition};
use super::producer_snapshot;
use super::producers::Producers;

/// Snapshots kept.
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

/// The producers to begin with, and the offset from which the log is replayed on top of them. Snapshots above `end` are
/// not looked at: they describe batches that a power cut took back.
pub(super) fn choose(dir: &Path, end: i64, now_ms: i64) -> (Producers, i64) {
    let mut usable = offsets(dir);
    usable.retain(|offset| *offset <= end);
    if usable.len() >= KEPT || (usable.len() == 1 && log_bytes(dir) <= REPLAYED_WHOLE_BYTES) {
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

/// Removes what must not be used after the log was opened with its end at `end`. Returns the offset of the newest snapshot
/// that stays, or 0, below which there is nothing to describe.
pub(super) fn remove_above(dir: &Path, end: i64) -> i64 {
    for name in names(dir).filter(|name| name.ends_with(TEMPORARY)) {
        remove(&dir.join(name));
    }
    let (above, kept): (Vec<i64>, Vec<i64>) = offsets(dir).into_iter().partition(|offset| *offset > end);
    for offset in above {
        remove(&path(dir, offset));
    }
    kept.last().copied().unwrap_or(0)
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
        if inner.snapshot_offset == offset {
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
        inner.snapshot_offset = offset;
        let kept = offsets(&self.dir);
        for old in &kept[..kept.len().saturating_sub(KEPT)] {
            remove(&self::path(&self.dir, *old));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::producers::ProducerEntry;

    fn write(dir: &Path, offset: i64) {
        let mut producers = Producers::default();
        let entry = ProducerEntry { epoch: 0, batches: Default::default(), last_seen_ms: 0 };
        producers.restore(offset, entry);
        fs::write(path(dir, offset), producer_snapshot::encode(&producers)).unwrap();
    }

    fn chosen(dir: &Path, end: i64) -> (Vec<i64>, i64) {
        let (producers, from) = choose(dir, end, 0);
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
        assert_eq!(remove_above(dir.path(), 19), 10);
        assert_eq!(offsets(dir.path()), [10]);
        assert_eq!(names(dir.path()).filter(|name| name.ends_with("tmp")).count(), 0);
    }
}
