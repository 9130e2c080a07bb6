//! The latest record of a key, as the control socket asks for it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::services::Services;
use crate::control::key::{FoundRecord, KeyLookup, KeyLookupError};
use crate::metadata::Topic;
use crate::partition::cleaner::Cleaner;
use crate::partition::key_index::{self, LatestError};

/// A look-up that finds so much of the log not indexed yet that it would take longer is told to come again; the work that was
/// done stays done.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks into the key index of this broker.
pub struct KeyLookups {
    services: Arc<Services>,
    cleaner: Arc<Cleaner>,
}

impl KeyLookups {
    /// Of the broker that `services` belong to, reading logs as `cleaner` does.
    pub fn new(services: Arc<Services>, cleaner: Arc<Cleaner>) -> KeyLookups {
        KeyLookups { services, cleaner }
    }

    /// The topic, if its keys are indexed.
    fn topic(&self, name: &str) -> Result<Arc<Topic>, KeyLookupError> {
        let image = self.services.image();
        let topic =
            image.topic(name).ok_or_else(|| KeyLookupError::UnknownTopic { topic: name.to_owned() })?;
        let config = self.services.topic_config(topic);
        match (config.cleanup_policy.compact, config.key_index) {
            (true, true) => Ok(topic.clone()),
            (true, false) => Err(KeyLookupError::IndexOff { topic: name.to_owned() }),
            (false, _) => Err(KeyLookupError::NotCompacted { topic: name.to_owned() }),
        }
    }
}

impl KeyLookup for KeyLookups {
    fn partitions(&self, topic: &str) -> Result<i32, KeyLookupError> {
        Ok(self.topic(topic)?.partitions)
    }

    fn latest(&self, topic: &str, partition: i32, key: &[u8]) -> Result<Option<FoundRecord>, KeyLookupError> {
        let known = self.topic(topic)?;
        let unavailable = |error: &dyn std::error::Error| {
            let reason = crate::telemetry::chain(error);
            KeyLookupError::Unavailable { topic: topic.to_owned(), partition, reason }
        };
        let open = self.services.open_partition(&known, partition).map_err(|error| unavailable(&error))?;
        let index = self.services.key_indexes.get().map_err(|error| unavailable(&error))?;
        let until = Instant::now() + PATIENCE;
        let mut go_on = |_: usize| match Instant::now() < until && !self.cleaner.is_stopping() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        let settings = self.cleaner.catch_up_settings();
        let found = match key_index::latest(&open, &*index, key, &settings, &mut go_on) {
            Ok(found) => found,
            Err(LatestError::Behind { upto }) => {
                let behind = open.indexable().end.saturating_sub(upto.max(0)).max(0);
                let retry_in = Duration::from_secs(1);
                return Err(KeyLookupError::NotReady {
                    topic: topic.to_owned(),
                    partition,
                    behind,
                    retry_in,
                });
            }
            Err(error) => return Err(unavailable(&error)),
        };
        Ok(found.map(|record| FoundRecord {
            offset: record.offset,
            timestamp: record.timestamp,
            value: record.value.map(|value| value.to_vec()),
            headers: record
                .headers
                .into_iter()
                .map(|header| {
                    let name = String::from_utf8_lossy(&header.key).into_owned();
                    (name, header.value.map(|value| value.to_vec()))
                })
                .collect(),
        }))
    }
}
