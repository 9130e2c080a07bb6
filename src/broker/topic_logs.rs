//! What a change of the topics means for the partitions on disk.

use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::api::services::resolve;
use crate::config::BrokerConfig;
use crate::metadata::{Logs, Topic};
use crate::partition::Registry;
use crate::partition::cleaner::progress::Progress;

/// Makes and removes partition directories for the controller. Called on blocking threads.
pub struct TopicLogs {
    partitions: Arc<Registry>,
    compacted: Arc<Progress>,
    config: Arc<BrokerConfig>,
}

impl TopicLogs {
    /// Over the registry, with the broker's defaults; `compacted` is how far logs are compacted.
    pub fn new(partitions: Arc<Registry>, compacted: Arc<Progress>, config: Arc<BrokerConfig>) -> TopicLogs {
        TopicLogs { partitions, compacted, config }
    }
}

impl Logs for TopicLogs {
    fn prepare(&self, topic: &Topic, partitions: Range<i32>) -> Result<(), String> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        self.compacted.forget(&topic.name, partitions.clone());
        self.partitions
            .create(&topic.name, topic.id, partitions, &resolve(&self.config, topic), now_ms)
            .map_err(|error| error.to_string())
    }

    fn discard(&self, topic: &Topic, partitions: Range<i32>) {
        self.partitions.discard(&topic.name, topic.id, partitions.clone());
        self.compacted.forget(&topic.name, partitions);
    }
}
