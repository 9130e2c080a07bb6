//! How far each log is compacted: Kafka's `cleaner-offset-checkpoint` in the data directory.

use std::ops::Range;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tracing::warn;

use crate::storage::segment::checkpoint::{self, CLEANER_OFFSET_FILE, Offsets};

/// The only writer of the file.
#[derive(Debug)]
pub struct Progress {
    path: PathBuf,
    offsets: Mutex<Offsets>,
}

impl Progress {
    /// What the file in `data_dir` holds. A damaged one costs work, no data: all logs count as not compacted.
    pub fn open(data_dir: &Path) -> Progress {
        let path = data_dir.join(CLEANER_OFFSET_FILE);
        let offsets = checkpoint::read_offsets(&path).unwrap_or_else(|error| {
            warn!(%error, "how far the logs were compacted is not known; it is found out again");
            Offsets::new()
        });
        Progress { path, offsets: Mutex::new(offsets) }
    }

    /// Everything below is compacted; `None` for a log that never was.
    pub fn of(&self, topic: &str, index: i32) -> Option<i64> {
        self.offsets.lock().get(&(topic.to_owned(), index)).copied()
    }

    /// Notes that a log is compacted below `offset`, and writes the file.
    pub fn advance(&self, topic: &str, index: i32, offset: i64) {
        let mut offsets = self.offsets.lock();
        if offsets.insert((topic.to_owned(), index), offset) != Some(offset) {
            self.write(&offsets);
        }
    }

    /// Forgets partitions of a topic: another of its name begins anew.
    pub fn forget(&self, topic: &str, range: Range<i32>) {
        let mut offsets = self.offsets.lock();
        let before = offsets.len();
        if before > 0 {
            offsets.retain(|(name, index), _| name != topic || !range.contains(index));
        }
        if offsets.len() != before {
            self.write(&offsets);
        }
    }

    fn write(&self, offsets: &Offsets) {
        if let Err(error) = checkpoint::write_offsets(&self.path, offsets) {
            warn!(%error, "how far the logs are compacted could not be written down; some of it is done again after a restart");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_and_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let progress = Progress::open(dir.path());
        assert_eq!(progress.of("a", 0), None);
        progress.forget("a", 0..9);
        assert!(!dir.path().join(CLEANER_OFFSET_FILE).exists());
        progress.advance("a", 0, 10);
        progress.advance("a", 1, 11);
        progress.advance("b", 0, 12);
        progress.forget("a", 1..9);
        let again = Progress::open(dir.path());
        assert_eq!((again.of("a", 0), again.of("a", 1), again.of("b", 0)), (Some(10), None, Some(12)));
        std::fs::write(dir.path().join(CLEANER_OFFSET_FILE), "nonsense").unwrap();
        assert_eq!(Progress::open(dir.path()).of("a", 0), None);
    }
}
