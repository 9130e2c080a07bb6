//! The append step: inline on the caller's task, under one short mutex, without waiting.

use std::sync::Arc;
use std::time::Duration;

use super::ack::{self, Commit};
use super::error::AppendError;
use super::handle::Partition;
use super::producers::Verdict;
use crate::record::Validated;
use crate::record::patch_prefix;
use crate::storage::segment::{StorageError, StorageErrorKind};

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset after the last record: acks=all waits until the high watermark reaches it.
    pub end_offset: i64,
    /// Timestamp given to the records by LogAppendTime, or -1.
    pub log_append_time_ms: i64,
    /// Log start offset at that time.
    pub log_start_offset: i64,
}

impl Partition {
    /// Appends a validated batch at the log end, or recognises it as a repeat of a recent one.
    ///
    /// # Errors
    /// [`AppendError`]; nothing of the batch is then in the log.
    pub fn append(self: &Arc<Self>, batch: &Validated, now_ms: i64) -> Result<Appended, AppendError> {
        let mut header = batch.header;
        if header.is_transactional() {
            return Err(AppendError::Transactional);
        }
        if !self.disk.admits(batch.bytes.len()) {
            return Err(AppendError::DiskFull);
        }
        let config = self.config.load();
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        if inner.closed {
            return Err(AppendError::Closed);
        }
        if let Some(reason) = &inner.failed {
            return Err(AppendError::Storage(reason.clone()));
        }
        let log_append_time_ms = if header.is_log_append_time() { header.max_timestamp } else { -1 };
        if let Verdict::Duplicate(earlier) = inner.producers.check(&header)? {
            return Ok(Appended {
                base_offset: earlier.first_offset(),
                end_offset: earlier.last_offset + 1,
                log_append_time_ms: if log_append_time_ms >= 0 { earlier.timestamp } else { -1 },
                log_start_offset: inner.log.start_offset(),
            });
        }
        header.base_offset = inner.log.end_offset();
        header.partition_leader_epoch = inner.leader_epoch;
        let prefix = patch_prefix(&header, header.base_offset, header.partition_leader_epoch);
        let appended = match inner.log.append(prefix, &batch.bytes[prefix.len()..], &header, now_ms) {
            Ok(appended) => appended,
            Err(error) => return Err(self.append_failed(inner, error)),
        };
        if appended.rolled {
            // The snapshot describes the producers below the new segment's first batch, as in Kafka.
            self.write_producer_snapshot(inner, header.base_offset);
        }
        inner.producers.record(&header, now_ms);
        inner.bytes_since_checkpoint += batch.bytes.len() as u64;
        inner.bytes_since_snapshot += batch.bytes.len() as u64;
        inner.unflushed_messages += i64::from(header.record_count);
        inner.dirty_since_ms.get_or_insert(now_ms);
        inner.last_used_ms = now_ms;
        let end_offset = header.last_offset() + 1;
        let log_start_offset = inner.log.start_offset();
        let commit = ack::commit(&config, inner.unflushed_messages);
        // A full segment is synced whatever the settings, as in Kafka: recovery must not have to verify all of a log.
        let flush = appended.rolled || !matches!(commit, Commit::AtOnce { flush_now: false });
        let enqueue = flush && !std::mem::replace(&mut inner.queued, true);
        drop(guard);
        if enqueue {
            self.flusher.enqueue(self.clone());
        }
        if matches!(commit, Commit::AtOnce { .. }) {
            self.advance_high_watermark(end_offset);
        }
        Ok(Appended { base_offset: header.base_offset, end_offset, log_append_time_ms, log_start_offset })
    }

    fn append_failed(&self, inner: &mut super::handle::Inner, error: StorageError) -> AppendError {
        match error.kind() {
            // The log took the partial write back: reads go on, and writes resume once there is space.
            StorageErrorKind::Full => AppendError::DiskFull,
            StorageErrorKind::Closed => AppendError::Closed,
            StorageErrorKind::Corrupt | StorageErrorKind::Unavailable => {
                let reason = error.to_string();
                self.fail(inner, reason.clone());
                AppendError::Storage(reason)
            }
        }
    }

    /// Waits until every offset below `end_offset` is committed.
    ///
    /// # Errors
    /// [`AppendError::TimedOut`] after `timeout`; [`AppendError::Storage`] or [`AppendError::Closed`] when it will
    /// never be.
    pub async fn committed(&self, end_offset: i64, timeout: Duration) -> Result<(), AppendError> {
        if self.high_watermark() >= end_offset {
            return Ok(());
        }
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.high_watermark >= end_offset || progress.ended);
        match tokio::time::timeout(timeout, reached).await {
            Err(_) => Err(AppendError::TimedOut),
            Ok(Ok(progress)) if progress.high_watermark >= end_offset => Ok(()),
            Ok(_) => {
                let failed = self.inner.lock().failed.clone();
                Err(failed.map_or(AppendError::Closed, AppendError::Storage))
            }
        }
    }
}
