//! What the cleaner asks of a partition and does to it, each under its lock for a moment.

use std::sync::Arc;

use tracing::{debug, warn};

use super::choose::{self, Limits, LogState};
use crate::config::TopicConfig;
use crate::partition::Partition;
use crate::partition::transactions::stable_below;
use crate::storage::segment::StorageError;

/// What the topic's settings say of compaction.
pub(super) fn limits(config: &TopicConfig) -> Limits {
    Limits {
        min_lag_ms: config.min_compaction_lag_ms,
        max_lag_ms: config.max_compaction_lag_ms,
        min_dirty_ratio: config.min_cleanable_dirty_ratio,
    }
}

impl Partition {
    /// The log as the choice of what to compact sees it, and the timestamps of the first batches of what was not compacted
    /// yet, if the topic bounds how long that may take. `None` for a log that cannot be compacted now.
    ///
    /// Only what is durable counts: a record must not go because of a later one that a power cut takes back.
    pub(super) fn log_state(
        self: &Arc<Self>,
        checkpoint: Option<i64>,
        limits: &Limits,
    ) -> Result<Option<(LogState, Vec<i64>)>, StorageError> {
        let high_watermark = self.high_watermark();
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        if inner.closed || inner.failed.is_some() {
            return Ok(None);
        }
        let durable = inner.log.flushed_offset();
        let stable = stable_below(inner, high_watermark).min(durable);
        let log = &inner.log;
        let state = LogState {
            segments: log.segments()?,
            log_start_offset: log.start_offset(),
            log_end_offset: log.end_offset(),
            last_stable_offset: stable,
            checkpoint,
        };
        let first_dirty = checkpoint.unwrap_or(0);
        let timestamps =
            if limits.max_lag_ms == i64::MAX { Vec::new() } else { log.first_timestamps(first_dirty)? };
        let unsynced = durable < log.active_base_offset();
        if unsynced && !std::mem::replace(&mut inner.queued, true) {
            drop(guard);
            // With flush.messages above 1 nobody else may do it for long.
            self.flusher.enqueue(self.clone());
        }
        Ok(Some((state, timestamps)))
    }

    /// Begins a new segment when the records of the active one have waited for compaction long enough, and nobody appends.
    pub(super) fn close_quiet_segment(self: &Arc<Self>, now_ms: i64) {
        let config = self.config();
        let mut inner = self.inner.lock();
        if inner.closed || inner.failed.is_some() {
            return;
        }
        let Some(since) = inner.log.active_since_ms() else { return };
        if !choose::must_close_active(since, config.segment_ms, config.max_compaction_lag_ms, now_ms) {
            return;
        }
        match inner.log.roll(now_ms) {
            Ok(()) => {
                debug!(partition = %self.id(), base = inner.log.active_base_offset(), "a quiet segment was closed");
                if !std::mem::replace(&mut inner.queued, true) {
                    drop(inner);
                    self.flusher.enqueue(self.clone());
                }
            }
            Err(error) => warn!(partition = %self.id(), %error, "cannot begin a new segment"),
        }
    }
}
