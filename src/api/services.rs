//! The components a handler may use; filled in by [`crate::broker`].

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::data::fetch_session::FetchSessions;
use super::metrics::ApiMetrics;
use crate::config::{BrokerConfig, TopicConfig, TopicOverrides};
use crate::groups::coordinator::Coordinator;
use crate::metadata::{Controller, MetadataImage, ProducerIds, Topic};
use crate::partition::checkpoints::{Checkpoints, Known};
use crate::partition::key_index::KeyIndexes;
use crate::partition::registry::{OpenError, Wanted};
use crate::partition::retention_clock::RetentionClock;
use crate::partition::{Partition, PartitionId, Registry};
use crate::storage::segment::StorageError;
use crate::transactions::coordinator::Coordinator as Transactions;

/// Handles to everything behind the API.
pub struct Services {
    /// The broker's settings.
    pub config: Arc<BrokerConfig>,
    /// The only writer of metadata, and the way to its newest image.
    pub controller: Arc<Controller>,
    /// The partitions.
    pub partitions: Arc<Registry>,
    /// Writes the checkpoint files.
    pub checkpoints: Checkpoints,
    /// Where the latest record of each key of compacted topics is.
    pub key_indexes: KeyIndexes,
    /// Producer ids from persisted blocks.
    pub producer_ids: Arc<ProducerIds>,
    /// Groups and committed offsets.
    pub groups: Coordinator,
    /// Transactional ids and their transactions.
    pub transactions: Transactions,
    /// Incremental fetch sessions.
    pub fetch_sessions: FetchSessions,
    /// Counters per API.
    pub metrics: ApiMetrics,
    /// The time that deletions go by.
    pub retention_clock: RetentionClock,
}

impl Services {
    /// Wall clock, milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    /// The newest image of the cluster.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.controller.image()
    }

    /// A topic's effective settings. Overrides were validated when they were set; a broker default that has become
    /// invalid since falls back to the broker's own.
    pub fn topic_config(&self, topic: &Topic) -> Arc<TopicConfig> {
        resolve(&self.config, topic)
    }

    /// The partition of a known topic, opened if it is not.
    ///
    /// # Errors
    /// [`OpenError`] when its files cannot be used.
    pub fn partition(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, OpenError> {
        if let Some(partition) = self.partitions.opened(topic.id, index) {
            return Ok(partition);
        }
        // Opening reads files: the runtime is told, so that other tasks of this worker move on.
        tokio::task::block_in_place(|| self.open_partition(topic, index))
    }

    /// As [`Services::partition`], on a thread that may block.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_partition(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, OpenError> {
        let id = PartitionId { topic: topic.name.clone(), topic_id: topic.id, index };
        self.partitions.get(&Wanted { id, config: self.topic_config(topic) }, self.now_ms())
    }

    /// Writes the checkpoint files. Blocks.
    ///
    /// # Errors
    /// [`StorageError`]; the former files stay.
    pub fn write_checkpoints(&self) -> Result<(), StorageError> {
        let image = self.image();
        let known = image.topics().map(|topic| Known {
            name: &topic.name,
            id: topic.id,
            partitions: topic.partitions,
        });
        self.checkpoints.write(&self.partitions, known)
    }

    /// As [`Services::write_checkpoints`], from an async task; false when that failed.
    pub async fn checkpoint(self: &Arc<Self>) -> bool {
        let services = self.clone();
        match tokio::task::spawn_blocking(move || services.write_checkpoints()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the checkpoints could not be written");
                false
            }
            Err(_) => false,
        }
    }
}

/// A topic's effective settings: its overrides over the broker's defaults.
pub fn resolve(config: &BrokerConfig, topic: &Topic) -> Arc<TopicConfig> {
    match crate::config::resolve(config, &TopicOverrides((*topic.overrides).clone())) {
        Ok(resolved) => Arc::new(resolved),
        Err(error) => {
            tracing::warn!(topic = %topic.name, %error, "a stored topic setting is no longer valid; the broker's defaults apply");
            Arc::new(config.topic_defaults.clone())
        }
    }
}
