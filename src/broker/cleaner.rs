//! What the log cleaner works on.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::warn;
use uuid::Uuid;

use crate::api::services::Services;
use crate::partition::Partition;
use crate::partition::cleaner::Logs;
use crate::storage::key_index::{KeyIndex, KeyIndexError};

/// A partition that could not be opened is tried again by the cleaner after so long; a client's request does it at once.
const REOPEN_AFTER: Duration = Duration::from_secs(600);

/// The compacted logs of a broker.
pub struct CompactedLogs {
    services: Weak<Services>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    image_version: u64,
    unusable: Vec<((Uuid, i32), Instant)>,
}

impl CompactedLogs {
    /// Of the broker that `services` belong to.
    pub fn new(services: &Arc<Services>) -> CompactedLogs {
        CompactedLogs { services: Arc::downgrade(services), known: Mutex::default() }
    }

    /// Drops what the index knows of topics that are gone, or whose keys are no longer indexed.
    fn tidy_index(services: &Services, version: u64, known: &mut Known) {
        if version == known.image_version || !services.key_indexes.exists() {
            return;
        }
        let image = services.image();
        let indexed = |topic: &&Arc<crate::metadata::Topic>| {
            let config = services.topic_config(topic);
            config.cleanup_policy.compact && config.key_index
        };
        let live: HashSet<[u8; 16]> =
            image.topics().filter(indexed).map(|topic| *topic.id.as_bytes()).collect();
        match services.key_indexes.get().and_then(|index| index.drop_except(&live)) {
            Ok(_) => known.image_version = version,
            Err(error) => warn!(%error, "the key index keeps what it knows of deleted topics"),
        }
    }
}

impl Logs for CompactedLogs {
    fn compacted(&self) -> Vec<Arc<Partition>> {
        let Some(services) = self.services.upgrade() else { return Vec::new() };
        let image = services.image();
        let mut known = self.known.lock();
        Self::tidy_index(&services, image.version, &mut known);
        let now = Instant::now();
        known.unusable.retain(|(_, until)| now < *until);
        let mut partitions = Vec::new();
        for topic in image.topics() {
            if !services.topic_config(topic).cleanup_policy.compact {
                continue;
            }
            for index in 0..topic.partitions {
                let key = (topic.id, index);
                if known.unusable.iter().any(|(unusable, _)| *unusable == key) {
                    continue;
                }
                match services.open_partition(topic, index) {
                    Ok(partition) => partitions.push(partition),
                    // Said where it failed.
                    Err(_) => known.unusable.push((key, now + REOPEN_AFTER)),
                }
            }
        }
        partitions
    }

    fn key_index(&self) -> Result<Arc<dyn KeyIndex>, KeyIndexError> {
        self.services.upgrade().ok_or(KeyIndexError::Closed)?.key_indexes.get()
    }

    fn now_ms(&self) -> i64 {
        self.services.upgrade().map_or(0, |services| services.retention_clock.now_ms())
    }

    fn remove_later(&self, files: Vec<PathBuf>, after: Duration) {
        if let Some(services) = self.services.upgrade() {
            services.partitions.doomed().add(files, Instant::now(), after);
        }
    }
}
