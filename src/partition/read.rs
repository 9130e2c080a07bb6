//! What readers may see.

use super::error::{OffsetError, ReadError};
use super::handle::{Inner, Partition};
use super::transactions::stable_below;
use crate::record::{BatchHeader, Compression, HEADER_LEN, Records, crc_matches, decompress};
use crate::storage::segment::{
    AbortedTransaction, LogSlice, ReadError as LogReadError, StorageError, StorageErrorKind,
};

/// A read of one partition.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest {
    /// First offset wanted.
    pub offset: i64,
    /// Most bytes to return.
    pub max_bytes: usize,
    /// Whether the first batch is returned even if it is larger than `max_bytes` (KIP-74).
    pub min_one_batch: bool,
    /// Leader epoch that the client knows, or -1.
    pub current_leader_epoch: i32,
    /// Epoch of the record before `offset` as the client saw it, or -1 (KIP-595).
    pub last_fetched_epoch: i32,
    /// Whether the read ends at the last stable offset (`isolation.level`).
    pub read_committed: bool,
}

/// What a read found.
#[derive(Debug)]
pub struct ReadOutcome {
    /// Whole batches; the first may begin before the offset asked for. `None` when there is nothing yet. Not to be used
    /// unless [`ReadOutcome::is_verified`].
    pub slice: Option<LogSlice>,
    /// High watermark at the time of the read.
    pub high_watermark: i64,
    /// Last stable offset at the time of the read.
    pub last_stable_offset: i64,
    /// Log start offset at the time of the read.
    pub log_start_offset: i64,
    /// The aborted transactions that reach into what was read, in the order of their markers; `None` unless the read was at
    /// read_committed.
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// Epoch and end offset where the client's log and ours part, when they do.
    pub diverging: Option<(i32, i64)>,
}

impl ReadOutcome {
    /// Whether what was found is known to be what was written: see [`Partition::read_verified`].
    pub fn is_verified(&self) -> bool {
        self.slice.as_ref().is_none_or(LogSlice::is_verified)
    }
}

/// A position in time: KIP-79, with the leader epoch of the offset itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOffset {
    /// Offset of the record, or -1.
    pub offset: i64,
    /// Its timestamp in milliseconds, or -1.
    pub timestamp: i64,
    /// Leader epoch in which it was appended, or -1.
    pub leader_epoch: i32,
}

/// Largest decompressed batch that a look-up by timestamp unpacks, bytes.
const LOOKUP_DECOMPRESSED_MAX: usize = 128 << 20;
/// So many damaged places one read finds before it gives up; the next one goes on from there.
const DAMAGES_PER_READ: usize = 16;

impl Partition {
    /// Finds whole batches from an offset, bounded by the high watermark, or at read_committed by the last stable offset.
    ///
    /// Never waits for the disk to read records: where these were not written by this process and nobody has looked at them
    /// yet, the outcome is not verified, and [`Partition::read_verified`] is to be asked where waiting is allowed.
    ///
    /// # Errors
    /// [`ReadError`] as Kafka's fetch has them.
    pub fn read(&self, request: ReadRequest, now_ms: i64) -> Result<ReadOutcome, ReadError> {
        let high_watermark = self.high_watermark();
        let mut inner = self.inner.lock();
        check_epoch(&inner, request.current_leader_epoch)?;
        inner.last_used_ms = now_ms;
        let (start, end) = (inner.log.start_offset(), inner.log.end_offset());
        let last_stable_offset = stable_below(&mut inner, high_watermark);
        if request.last_fetched_epoch >= 0
            && let Some(diverging) = diverging(&inner, request.last_fetched_epoch, request.offset)
        {
            return Ok(ReadOutcome {
                slice: None,
                high_watermark,
                last_stable_offset,
                log_start_offset: start,
                aborted: None,
                diverging: Some(diverging),
            });
        }
        if request.offset < start || end < request.offset {
            return Err(ReadError::OutOfRange { offset: request.offset, start, end });
        }
        let bound = if request.read_committed { last_stable_offset } else { high_watermark };
        let slice = if request.offset >= bound {
            None
        } else {
            let found = inner.log.read(request.offset, request.max_bytes, bound, request.min_one_batch);
            Some(found.map_err(|error| match error {
                LogReadError::OutOfRange { .. } => {
                    ReadError::OutOfRange { offset: request.offset, start, end }
                }
                LogReadError::Storage(error) => ReadError::from(error),
            })?)
        };
        let slice = slice.filter(|slice| slice.len > 0 || !slice.is_verified());
        let aborted = match &slice {
            Some(slice) if request.read_committed => {
                let found = inner.log.aborted(request.offset, slice.next_offset);
                Some(found?)
            }
            _ => request.read_committed.then(Vec::new),
        };
        Ok(ReadOutcome {
            slice,
            high_watermark,
            last_stable_offset,
            log_start_offset: start,
            aborted,
            diverging: None,
        })
    }

    /// As [`Partition::read`], and looks at what nobody has looked at. What lies before damage is found as if the log ended
    /// there. Blocks on the disk.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Damaged`] when the batch at the offset is not what was written.
    pub fn read_verified(&self, request: ReadRequest, now_ms: i64) -> Result<ReadOutcome, ReadError> {
        let mut last = None;
        for _ in 0..DAMAGES_PER_READ {
            let mut outcome = self.read(request, now_ms)?;
            let Some(slice) = outcome.slice.as_mut().filter(|slice| !slice.is_verified()) else {
                return Ok(outcome);
            };
            match slice.verify() {
                Ok(()) if slice.len > 0 => return Ok(outcome),
                // Now it is known where the batch is, or that there is none in this segment.
                Ok(()) => {}
                Err(error) if error.kind() == StorageErrorKind::Corrupt => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(ReadError::Damaged(last.map_or_else(|| "the bytes change".to_owned(), |error| error.to_string())))
    }

    /// Checks a client's leader epoch against ours; -1 always passes.
    ///
    /// # Errors
    /// [`ReadError::FencedEpoch`] or [`ReadError::UnknownEpoch`].
    pub fn check_leader_epoch(&self, epoch: i32) -> Result<(), ReadError> {
        check_epoch(&self.inner.lock(), epoch)
    }

    /// End offset of the largest epoch ≤ `epoch`, with that epoch; (-1, -1) when none is known (KIP-101, KIP-279).
    pub fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        self.inner.lock().log.end_offset_for_epoch(epoch)
    }

    /// The first offset, with its leader epoch.
    pub fn earliest(&self) -> TimedOffset {
        let inner = self.inner.lock();
        let offset = inner.log.start_offset();
        TimedOffset { offset, timestamp: -1, leader_epoch: inner.log.epoch_for_offset(offset) }
    }

    /// The high watermark, or at read_committed the last stable offset, with the leader epoch of the offset: the epoch an
    /// append there would carry.
    pub fn latest(&self, read_committed: bool) -> TimedOffset {
        let high_watermark = self.high_watermark();
        let mut inner = self.inner.lock();
        let offset = if read_committed { stable_below(&mut inner, high_watermark) } else { high_watermark };
        TimedOffset { offset, timestamp: -1, leader_epoch: inner.log.epoch_for_offset(offset) }
    }

    /// The offset that a reader sees up to.
    fn visible_end(&self, read_committed: bool) -> i64 {
        if read_committed { self.last_stable_offset() } else { self.high_watermark() }
    }

    /// The first record with a timestamp ≥ `timestamp` that a reader sees.
    ///
    /// # Errors
    /// [`OffsetError`] when a segment cannot be read.
    pub fn offset_for_timestamp(
        &self,
        timestamp: i64,
        read_committed: bool,
    ) -> Result<Option<TimedOffset>, OffsetError> {
        let end = self.visible_end(read_committed);
        let mut from = self.log_start_offset();
        loop {
            let batch = self.inner.lock().log.offset_for_timestamp(timestamp, from, end).map_err(damaged)?;
            let Some(batch) = batch else { return Ok(None) };
            // The log start may lie inside the batch: its earlier records are gone for readers.
            let found = first_record(&batch.slice, |_, offset, at| at >= timestamp && offset >= from)?;
            if found.is_some() {
                return Ok(found);
            }
            from = batch.header.last_offset() + 1;
        }
    }

    /// When the batch that holds the committed record at `offset` begins, in milliseconds since the epoch by its records'
    /// own clock; `None` when there is no such record. Reads a header, not the batch, if the batch is known to be good.
    ///
    /// # Errors
    /// [`OffsetError`] when a segment cannot be read.
    pub fn timestamp_at(&self, offset: i64) -> Result<Option<i64>, OffsetError> {
        let high_watermark = self.high_watermark();
        let mut slice = {
            let inner = self.inner.lock();
            let from = offset.max(inner.log.start_offset());
            if from >= high_watermark {
                return Ok(None);
            }
            inner.log.read(from, 1, high_watermark, true).map_err(not_found)?
        };
        slice.verify().map_err(damaged)?;
        if slice.len < HEADER_LEN {
            return Ok(None);
        }
        let mut header = [0; HEADER_LEN];
        slice.file.read_at(&mut header, slice.position).map_err(damaged)?;
        let header = BatchHeader::parse(&header).map_err(malformed)?;
        let timestamp =
            if header.is_log_append_time() { header.max_timestamp } else { header.base_timestamp };
        Ok(Some(timestamp).filter(|timestamp| *timestamp >= 0))
    }

    /// The committed record with the largest timestamp, the first of them if several (KIP-734). At read_committed none, if
    /// it is not decided yet: another is not looked for (`ReplicaManager.fetchOffset`).
    ///
    /// # Errors
    /// [`OffsetError`] when a segment cannot be read.
    pub fn max_timestamp(&self, read_committed: bool) -> Result<Option<TimedOffset>, OffsetError> {
        let end = self.visible_end(read_committed);
        let high_watermark = self.high_watermark();
        let batch = self.inner.lock().log.max_timestamp_batch(high_watermark).map_err(damaged)?;
        let Some(batch) = batch else { return Ok(None) };
        let found = first_record(&batch.slice, |header, _, timestamp| timestamp == header.max_timestamp)?;
        Ok(found.filter(|found| found.offset < end))
    }
}

/// The bytes of a batch are not those of a batch.
fn malformed(error: impl std::fmt::Display) -> OffsetError {
    OffsetError::Read(ReadError::Damaged(error.to_string()))
}

fn damaged(error: StorageError) -> OffsetError {
    OffsetError::Read(error.into())
}

fn not_found(error: LogReadError) -> OffsetError {
    match error {
        LogReadError::Storage(error) => damaged(error),
        error => OffsetError::Read(ReadError::Storage(error.to_string())),
    }
}

fn check_epoch(inner: &Inner, epoch: i32) -> Result<(), ReadError> {
    if inner.closed {
        return Err(ReadError::Closed);
    }
    let current = inner.leader_epoch;
    if epoch < 0 || epoch == current {
        Ok(())
    } else if epoch < current {
        Err(ReadError::FencedEpoch { found: epoch, current })
    } else {
        Err(ReadError::UnknownEpoch { found: epoch, current })
    }
}

/// Where a client that last saw `epoch` before `offset` leaves our history (`Partition.readRecords`).
fn diverging(inner: &Inner, epoch: i32, offset: i64) -> Option<(i32, i64)> {
    let (known_epoch, end_offset) = inner.log.end_offset_for_epoch(epoch);
    (known_epoch != epoch || end_offset < offset).then_some((known_epoch, end_offset))
}

/// The first record of the first batch of `slice` that satisfies `wanted`.
fn first_record(
    slice: &LogSlice,
    wanted: impl Fn(&BatchHeader, i64, i64) -> bool,
) -> Result<Option<TimedOffset>, OffsetError> {
    let bytes = slice.read().map_err(damaged)?;
    let header = BatchHeader::parse(&bytes).map_err(malformed)?;
    let batch = bytes.get(..header.size_in_bytes()).ok_or_else(|| malformed("a batch is cut short"))?;
    if !crc_matches(batch) {
        return Err(malformed(format!("checksum mismatch in the batch at offset {}", header.base_offset)));
    }
    let at =
        |offset, timestamp| TimedOffset { offset, timestamp, leader_epoch: header.partition_leader_epoch };
    if header.is_log_append_time() {
        let timestamp = header.max_timestamp;
        return Ok(
            wanted(&header, header.last_offset(), timestamp).then(|| at(header.base_offset, timestamp))
        );
    }
    let codec = header.compression().map_err(malformed)?;
    let unpacked;
    let payload = if codec == Compression::None {
        &batch[HEADER_LEN..]
    } else {
        unpacked = decompress(codec, &batch[HEADER_LEN..], LOOKUP_DECOMPRESSED_MAX).map_err(malformed)?;
        &unpacked[..]
    };
    for record in Records::new(payload, header.record_count) {
        let record = record.map_err(malformed)?;
        let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
        let offset = header.base_offset + i64::from(record.offset_delta);
        if wanted(&header, offset, timestamp) {
            return Ok(Some(at(offset, timestamp)));
        }
    }
    Ok(None)
}
