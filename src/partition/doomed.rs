//! Files that have left their log and stay for a while for readers that still use them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::warn;

/// Files of one removal, and when they may go.
#[derive(Debug)]
struct Batch {
    at: Instant,
    files: Vec<PathBuf>,
}

/// The files of removed and replaced segments, until `file.delete.delay.ms` has passed. What a stop leaves is removed when
/// its log is opened.
#[derive(Debug, Default)]
pub struct Doomed {
    batches: Mutex<Vec<Batch>>,
}

impl Doomed {
    /// Removes `files` once `after` has passed since `now`.
    pub fn add(&self, files: Vec<PathBuf>, now: Instant, after: Duration) {
        if !files.is_empty() {
            // A delay beyond the clock's range is for ever: until the next start.
            let at = now.checked_add(after).unwrap_or(now + Duration::from_secs(365 * 24 * 3600));
            self.batches.lock().push(Batch { at, files });
        }
    }

    /// Removes what is due at `now`. Readers that have a file open go on reading it.
    pub fn remove_due(&self, now: Instant) {
        let due: Vec<Batch> = {
            let mut batches = self.batches.lock();
            batches.extract_if(.., |batch| batch.at <= now).collect()
        };
        for file in due.into_iter().flat_map(|batch| batch.files) {
            if let Err(error) = std::fs::remove_file(&file)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                warn!(file = %file.display(), %error, "cannot remove a file of a removed segment");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_when_their_time_has_come() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, b"").unwrap();
            path
        };
        let (doomed, now) = (Doomed::default(), Instant::now());
        let (early, late, gone) = (file("early"), file("late"), dir.path().join("gone"));
        doomed.add(vec![early.clone(), gone], now, Duration::from_secs(1));
        doomed.add(vec![late.clone()], now, Duration::MAX);
        doomed.remove_due(now);
        assert!(early.exists());
        doomed.remove_due(now + Duration::from_secs(1));
        assert!(!early.exists() && late.exists());
    }
}
