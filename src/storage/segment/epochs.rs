//! Leader epochs of one log (`LeaderEpochFileCache`, KIP-101 and KIP-279).

use std::path::{Path, PathBuf};

use super::dir;
use super::error::StorageError;

const FILE: &str = "leader-epoch-checkpoint";
/// Far above any real history (an entry takes some 16 bytes); bounds what a damaged file costs.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Kafka's "no epoch" and "no offset".
pub const UNDEFINED: i32 = -1;

/// One line of the checkpoint: `epoch` began at `start_offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: i32,
    pub start_offset: i64,
}

/// The epochs of a log, ascending in epoch and in start offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochs {
    /// Records that `epoch` began at `start_offset`; true if that changed anything.
    ///
    /// Entries that contradict the new one (same or later epoch or offset) give way to it.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 {
            return false;
        }
        if let Some(last) = self.entries.last()
            && last.epoch == epoch
            && start_offset >= last.start_offset
        {
            return false;
        }
        while self.entries.last().is_some_and(|last| last.start_offset >= start_offset || last.epoch >= epoch)
        {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// All entries, ascending.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// The epoch an offset was written in, or -1 if it is older than every known epoch.
    pub fn epoch_for(&self, offset: i64) -> i32 {
        let next = self.entries.partition_point(|entry| entry.start_offset <= offset);
        next.checked_sub(1).map_or(UNDEFINED, |index| self.entries[index].epoch)
    }

    /// `LeaderEpochFileCache.endOffsetFor`: the largest epoch not above `epoch`, and where it
    /// ended (exclusive). `(-1, -1)` if the log cannot know.
    pub fn end_offset_for(&self, epoch: i32, log_end: i64) -> (i32, i64) {
        if epoch < 0 {
            return (UNDEFINED, i64::from(UNDEFINED));
        }
        if self.latest() == Some(epoch) {
            return (epoch, log_end);
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= epoch);
        match self.entries.get(higher) {
            None => (UNDEFINED, i64::from(UNDEFINED)),
            Some(next) => {
                let floor = higher.checked_sub(1).map_or(epoch, |index| self.entries[index].epoch);
                (floor, next.start_offset)
            }
        }
    }

    /// Forgets epochs that began at or after `end`; true if there were any.
    pub fn truncate_from_end(&mut self, end: i64) -> bool {
        let keep = self.entries.partition_point(|entry| entry.start_offset < end);
        let changed = keep < self.entries.len();
        self.entries.truncate(keep);
        changed
    }

    /// Forgets epochs that ended before `start`; the one in force there now begins there.
    pub fn truncate_from_start(&mut self, start: i64) -> bool {
        let gone = self.entries.partition_point(|entry| entry.start_offset <= start);
        match gone.checked_sub(1) {
            None => false,
            Some(last) => {
                let changed = last > 0 || self.entries[last].start_offset != start;
                self.entries[last].start_offset = start;
                self.entries.drain(..last);
                changed
            }
        }
    }

    /// Reads `leader-epoch-checkpoint`; None if it does not exist.
    pub fn load(directory: &Path) -> Result<Option<Self>, StorageError> {
        let path = path(directory);
        let Some(text) = dir::read_text(&path, MAX_FILE_BYTES)? else {
            return Ok(None);
        };
        parse(&text)
            .map(Some)
            .ok_or_else(|| StorageError::corrupt(&path, 0, "not a version 0 epoch checkpoint"))
    }

    /// Writes `leader-epoch-checkpoint` atomically and durably.
    pub fn store(&self, directory: &Path) -> Result<(), StorageError> {
        dir::write_atomically(&path(directory), self.text().as_bytes())
    }

    /// Writes `leader-epoch-checkpoint` into a new directory, which the caller syncs. Should it be lost, it is rebuilt from
    /// the batches.
    pub fn store_new(&self, directory: &Path) -> Result<(), StorageError> {
        let path = path(directory);
        std::fs::write(&path, self.text()).map_err(|source| StorageError::io("write", &path, source))
    }

    fn text(&self) -> String {
        use std::fmt::Write;
        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &self.entries {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {}", entry.epoch, entry.start_offset);
        }
        text
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

fn parse(text: &str) -> Option<LeaderEpochs> {
    let mut lines = text.lines();
    if lines.next()?.trim() != "0" {
        return None;
    }
    let count: usize = lines.next()?.trim().parse().ok()?;
    let mut entries: Vec<EpochEntry> = Vec::new();
    for line in lines {
        let (epoch, start_offset) = line.trim().split_once(' ')?;
        let entry = EpochEntry { epoch: epoch.parse().ok()?, start_offset: start_offset.parse().ok()? };
        let ascends = entries
            .last()
            .is_none_or(|last| last.epoch < entry.epoch && last.start_offset <= entry.start_offset);
        if entry.epoch < 0 || entry.start_offset < 0 || !ascends {
            return None;
        }
        entries.push(entry);
    }
    (entries.len() == count).then_some(LeaderEpochs { entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        assert!(epochs.assign(1, 0));
        assert!(epochs.assign(3, 10));
        assert!(epochs.assign(5, 20));
        epochs
    }

    #[test]
    fn end_offsets_follow_kafka() {
        let epochs = sample();
        assert_eq!(epochs.end_offset_for(-1, 30), (-1, -1));
        assert_eq!(epochs.end_offset_for(0, 30), (0, 0));
        assert_eq!(epochs.end_offset_for(1, 30), (1, 10));
        assert_eq!(epochs.end_offset_for(2, 30), (1, 10));
        assert_eq!(epochs.end_offset_for(4, 30), (3, 20));
        assert_eq!(epochs.end_offset_for(5, 30), (5, 30));
        assert_eq!(epochs.end_offset_for(6, 30), (-1, -1));
        assert_eq!(LeaderEpochs::default().end_offset_for(0, 30), (-1, -1));
    }

    #[test]
    fn epoch_of_an_offset() {
        let mut epochs = sample();
        assert_eq!([0, 9, 10, 25].map(|offset| epochs.epoch_for(offset)), [1, 1, 3, 5]);
        assert!(epochs.truncate_from_start(12));
        assert_eq!(epochs.epoch_for(11), -1);
        assert_eq!(epochs.entries()[0], EpochEntry { epoch: 3, start_offset: 12 });
        assert!(!epochs.truncate_from_start(12));
        assert!(epochs.truncate_from_end(20));
        assert_eq!(epochs.latest(), Some(3));
        assert!(!epochs.assign(3, 15));
        assert!(epochs.assign(2, 14));
        assert_eq!(epochs.latest(), Some(2));
    }

    #[test]
    fn file_is_kafkas_text_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LeaderEpochs::load(dir.path()).unwrap(), None);
        sample().store(dir.path()).unwrap();
        let text = std::fs::read_to_string(path(dir.path())).unwrap();
        assert_eq!(text, "0\n3\n1 0\n3 10\n5 20\n");
        assert_eq!(LeaderEpochs::load(dir.path()).unwrap(), Some(sample()));
        for bad in ["", "1\n0\n", "0\n2\n1 0\n", "0\n2\n3 0\n1 5\n", "0\n1\n1 x\n", "0\n1\n-4 1\n"] {
            std::fs::write(path(dir.path()), bad).unwrap();
            assert!(LeaderEpochs::load(dir.path()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_history_stays_sorted_and_round_trips(
            steps in proptest::collection::vec((0..20i32, 0..100i64, 0..3u8), 0..40)
        ) {
            let mut epochs = LeaderEpochs::default();
            for (epoch, offset, action) in steps {
                match action {
                    0 => { epochs.assign(epoch, offset); prop_assert_eq!(epochs.latest(), Some(epoch)); }
                    1 => { epochs.truncate_from_end(offset); prop_assert!(epochs.entries().iter().all(|e| e.start_offset < offset)); }
                    _ => { epochs.truncate_from_start(offset); prop_assert!(epochs.entries().iter().all(|e| e.start_offset >= offset)); }
                }
                prop_assert!(epochs.entries().is_sorted_by(|a, b| a.epoch < b.epoch && a.start_offset < b.start_offset));
            }
            let dir = tempfile::tempdir().unwrap();
            epochs.store(dir.path()).unwrap();
            prop_assert_eq!(LeaderEpochs::load(dir.path()).unwrap(), Some(epochs));
        }
    }
}
