//! The append step: inline on the caller's task, under one short mutex, without waiting.

use std::sync::Arc;
use std::time::Duration;

use super::ack::{self, Commit};
use parking_lot::MutexGuard;

use super::error::AppendError;
use super::handle::{Inner, Partition};
use super::producers::{Enlistment, Verdict};
use crate::record::{BatchHeader, EndMarker, Validated, patch_prefix};
use crate::storage::segment::{StorageError, StorageErrorKind};

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset after the last record: acks=all waits until the high watermark reaches it.
    pub end_offset: i64,
    /// Timestamp given to the records by LogAppendTime, or -1. Of a repeat, as in Kafka, that of its batch.
    pub log_append_time_ms: i64,
    /// Log start offset at that time.
    pub log_start_offset: i64,
    /// It was in the log already.
    pub is_repeat: bool,
}

impl Partition {
    /// Appends a validated batch at the log end, or recognises it as a repeat of a recent one. A transactional batch goes
    /// into a transaction of its producer and epoch that is open here.
    ///
    /// # Errors
    /// [`AppendError`]; nothing of the batch is then in the log. [`AppendError::NotEnlisted`] when such a transaction is
    /// not open here: ask the coordinator, and use [`Partition::append_enlisted`].
    pub fn append(self: &Arc<Self>, batch: &Validated, now_ms: i64) -> Result<Appended, AppendError> {
        self.append_batch(batch, now_ms, Enlistment::Unknown)
    }

    /// Appends a transactional batch to a partition that is part of the transaction. The caller holds the transaction's
    /// lock, so that its marker cannot be appended before this returns. `begins_at_zero`: the producer speaks the second
    /// protocol (KIP-890).
    ///
    /// # Errors
    /// As [`Partition::append`], without [`AppendError::NotEnlisted`]. [`AppendError::InvalidTxnState`] while a
    /// transaction of an earlier epoch is open here: its marker must be appended first.
    pub fn append_enlisted(
        self: &Arc<Self>,
        batch: &Validated,
        now_ms: i64,
        begins_at_zero: bool,
    ) -> Result<Appended, AppendError> {
        self.append_batch(batch, now_ms, Enlistment::Enlisted { begins_at_zero })
    }

    /// Appends the marker that ends the open transaction of a producer, if there is one. A marker takes the disk's last
    /// reserve: it lets readers go on, and retention with them.
    ///
    /// # Errors
    /// [`AppendError::InvalidProducerEpoch`] and [`AppendError::CoordinatorFenced`] for a marker that another has
    /// overtaken; [`AppendError::DiskFull`], [`AppendError::Storage`], [`AppendError::Closed`].
    pub fn append_marker(self: &Arc<Self>, marker: EndMarker, now_ms: i64) -> Result<Appended, AppendError> {
        let inner = self.writable()?;
        self.append_end(inner, marker, now_ms)
    }

    /// As [`Partition::append_marker`], unless the transaction that is open for the producer is another one than the one that
    /// began at `began`, or than none: then nothing is appended. So a marker can be sent twice, and never ends a later
    /// transaction.
    ///
    /// # Errors
    /// Those of [`Partition::append_marker`].
    pub fn append_marker_once(
        self: &Arc<Self>,
        marker: EndMarker,
        began: Option<i64>,
        now_ms: i64,
    ) -> Result<Option<Appended>, AppendError> {
        let inner = self.writable()?;
        let open = inner.producers.open_transaction(marker.producer_id).map(|open| open.first_offset);
        if open != began {
            return Ok(None);
        }
        self.append_end(inner, marker, now_ms).map(Some)
    }

    fn append_end(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        marker: EndMarker,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let bytes = marker.to_batch(now_ms);
        let mut header =
            BatchHeader::parse(&bytes).map_err(|error| AppendError::Storage(error.to_string()))?;
        inner.producers.check_marker(&marker)?;
        let rolled = self.write(&mut inner, &mut header, &bytes, now_ms)?;
        inner.producers.settle(self.high_watermark());
        if let Some(aborted) = inner.producers.end(&marker, header.base_offset, header.max_timestamp, now_ms)
        {
            inner.log.append_aborted(aborted);
        }
        Ok(self.commit(inner, &header, rolled, now_ms))
    }

    fn append_batch(
        self: &Arc<Self>,
        batch: &Validated,
        now_ms: i64,
        enlistment: Enlistment,
    ) -> Result<Appended, AppendError> {
        let mut header = batch.header;
        if !self.disk.admits(batch.bytes.len()) {
            return Err(AppendError::DiskFull);
        }
        let mut inner = self.writable()?;
        if let Verdict::Duplicate(earlier) = inner.producers.check(&header, enlistment)? {
            return Ok(Appended {
                base_offset: earlier.first_offset(),
                end_offset: earlier.last_offset + 1,
                log_append_time_ms: earlier.timestamp,
                log_start_offset: inner.log.start_offset(),
                is_repeat: true,
            });
        }
        let rolled = self.write(&mut inner, &mut header, &batch.bytes, now_ms)?;
        inner.producers.record(&header, now_ms);
        Ok(self.commit(inner, &header, rolled, now_ms))
    }

    /// The lock, if the log takes appends.
    pub(super) fn writable(&self) -> Result<MutexGuard<'_, Inner>, AppendError> {
        let inner = self.inner.lock();
        if inner.closed {
            return Err(AppendError::Closed);
        }
        match &inner.failed {
            Some(reason) => Err(AppendError::Storage(reason.clone())),
            None => Ok(inner),
        }
    }

    /// Writes a batch at the log end. `header` gets its final offset and leader epoch. True if a segment was begun for it.
    fn write(
        &self,
        inner: &mut Inner,
        header: &mut BatchHeader,
        batch: &[u8],
        now_ms: i64,
    ) -> Result<bool, AppendError> {
        header.base_offset = inner.log.end_offset();
        header.partition_leader_epoch = inner.leader_epoch;
        let prefix = patch_prefix(header, header.base_offset, header.partition_leader_epoch);
        let appended = match inner.log.append(prefix, &batch[prefix.len()..], header, now_ms) {
            Ok(appended) => appended,
            Err(error) => return Err(self.append_failed(inner, error)),
        };
        if appended.rolled {
            // The snapshot describes the producers below the new segment's first batch, as in Kafka.
            self.write_producer_snapshot(inner, header.base_offset);
        }
        Ok(appended.rolled)
    }

    /// Accounts for an append, and sees to its durability. `flush_now` asks for that whatever the settings are.
    fn commit(
        self: &Arc<Self>,
        mut guard: MutexGuard<'_, Inner>,
        header: &BatchHeader,
        flush_now: bool,
        now_ms: i64,
    ) -> Appended {
        let inner = &mut *guard;
        let size = header.size_in_bytes() as u64;
        inner.bytes_since_checkpoint += size;
        inner.bytes_since_snapshot += size;
        inner.unflushed_messages += i64::from(header.record_count);
        inner.dirty_since_ms.get_or_insert(now_ms);
        inner.last_used_ms = now_ms;
        let end_offset = header.last_offset() + 1;
        let log_start_offset = inner.log.start_offset();
        let commit = ack::commit(&self.config.load(), inner.unflushed_messages);
        // A full segment is synced whatever the settings, as in Kafka: recovery must not have to verify all of a log.
        let flush = flush_now || !matches!(commit, Commit::AtOnce { flush_now: false });
        let enqueue = flush && !std::mem::replace(&mut inner.queued, true);
        drop(guard);
        if enqueue {
            self.flusher.enqueue(self.clone());
        }
        if matches!(commit, Commit::AtOnce { .. }) {
            self.advance_high_watermark(end_offset);
        }
        Appended {
            base_offset: header.base_offset,
            end_offset,
            log_append_time_ms: if header.is_log_append_time() { header.max_timestamp } else { -1 },
            log_start_offset,
            is_repeat: false,
        }
    }

    fn append_failed(&self, inner: &mut Inner, error: StorageError) -> AppendError {
        match error.kind() {
            // The log took the partial write back: reads go on, and writes resume once there is space.
            StorageErrorKind::Full => AppendError::DiskFull,
            // Nothing was written: writes resume once there are descriptors.
            StorageErrorKind::OutOfFiles => AppendError::OutOfFiles,
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
