//! What the cleaner asks of a partition and does to it, each under its lock for a moment.

use std::sync::Arc;

use tracing::{debug, warn};

use super::choose::{self, Limits, LogState};
use super::clean::{CleanError, LastRecords};
use crate::config::TopicConfig;
use crate::partition::Partition;
use crate::partition::producers::ProducerEntry;
use crate::partition::transactions::stable_below;
use crate::storage::segment::StorageError;
use crate::storage::segment::compact::{CompactError, LastRecord, Replaced, Rewritten, Source};

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

    /// What a rewrite of the segments below `end` begins with, and the last record of each active producer, which must stay
    /// as long as its sequence is remembered.
    pub(super) fn begin_cleaning(&self, end: i64) -> Result<(Source, LastRecords), CleanError> {
        let inner = self.inner.lock();
        if inner.closed || inner.failed.is_some() {
            return Err(CleanError::Stopped);
        }
        let source = inner.log.compaction_source(end).map_err(CompactError::from)?;
        let last = |(id, entry): (i64, &ProducerEntry)| {
            let last_data_offset = entry.batches.back().map(|batch| batch.last_offset);
            (id, LastRecord { last_data_offset, epoch: entry.epoch })
        };
        Ok((source, inner.producers.iter().map(last).collect()))
    }

    /// Puts a rewritten segment into the place of those it was made of.
    pub(super) fn swap_in(&self, segment: Rewritten) -> Result<Replaced, CompactError> {
        self.inner.lock().log.replace(segment)
    }
}
