//! One batch without the records that leave (`MemoryRecords.filterTo`).

use std::ops::Range;

use super::retention::{self, BatchRetention, RecordRetention};
use super::{Context, Figures, Progress};
use crate::record::{
    BatchHeader, Compression, DecompressError, HEADER_LEN, RecordError, Records, compress, decompress,
};
use crate::storage::superseded::Superseded;

/// What is written for a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written<'a> {
    /// The batch as it is.
    Same,
    /// Nothing.
    Nothing,
    /// These bytes, with this header.
    Other(BatchHeader, &'a [u8]),
}

/// Why a batch cannot be rewritten.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    #[error(transparent)]
    Header(#[from] crate::record::HeaderError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    #[error("the records cannot be compressed again: {0}")]
    Compress(std::io::Error),
    #[error("the batch grows beyond the format")]
    TooLarge,
}

/// Rewrites batches, one after the other, in buffers it keeps.
#[derive(Debug, Default)]
pub(super) struct Rewriter {
    /// Places of the kept records in the payload; neighbours are one.
    runs: Vec<Range<usize>>,
    payload: Vec<u8>,
    out: Vec<u8>,
}

/// Who hears of what leaves.
pub(super) struct Tally<'a> {
    pub figures: &'a mut Figures,
    pub progress: &'a mut dyn Progress,
}

/// What of a batch's records is kept, beside [`Rewriter::runs`].
#[derive(Debug, Clone, Copy)]
struct Kept {
    records: i32,
    all: bool,
    tombstones: bool,
    max_timestamp: i64,
}

impl Rewriter {
    /// Decides what is written for `batch`.
    pub fn rewrite<S: Superseded + ?Sized>(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        verdict: BatchRetention,
        context: &Context<'_>,
        superseded: &S,
        tally: &mut Tally<'_>,
    ) -> Result<Written<'_>, BatchError> {
        let count = u64::try_from(header.record_count).unwrap_or(0);
        tally.figures.records_read += count;
        if verdict.discard_records {
            return Ok(if verdict.retain_empty { self.empty(header, batch) } else { Written::Nothing });
        }
        if retention::is_settled(header, context, superseded) {
            tally.figures.records_kept += count;
            return Ok(Written::Same);
        }
        tally.figures.batches_inspected += 1;
        let codec = header.compression()?;
        let unfolded;
        let payload = match codec {
            Compression::None => &batch[HEADER_LEN..],
            _ if header.record_count == 0 && batch.len() == HEADER_LEN => &[],
            _ => {
                unfolded = decompress(codec, &batch[HEADER_LEN..], context.max_decompressed)?;
                &unfolded
            }
        };
        let kept = self.choose(header, payload, context, superseded, tally)?;
        tally.figures.records_kept += u64::try_from(kept.records).unwrap_or(0);
        if kept.records == 0 {
            return Ok(if verdict.retain_empty { self.empty(header, batch) } else { Written::Nothing });
        }
        let sets_horizon =
            (kept.tombstones || verdict.ends_empty_transaction) && !header.has_delete_horizon();
        if kept.all && !sets_horizon {
            return Ok(Written::Same);
        }
        let mut changed = *header;
        changed.record_count = kept.records;
        changed.max_timestamp =
            if header.is_log_append_time() { header.max_timestamp } else { kept.max_timestamp };
        if sets_horizon {
            changed.set_delete_horizon(context.now_ms.saturating_add(context.delete_retention_ms));
        }
        self.out.clear();
        self.out.resize(HEADER_LEN, 0);
        let target = if codec == Compression::None {
            &mut self.out
        } else {
            self.payload.clear();
            &mut self.payload
        };
        for run in &self.runs {
            if sets_horizon {
                put_rebased(&payload[run.clone()], header, changed.base_timestamp, target)?;
            } else {
                target.extend_from_slice(&payload[run.clone()]);
            }
        }
        if codec != Compression::None {
            let folded = compress(codec, None, &self.payload).map_err(BatchError::Compress)?;
            self.out.extend_from_slice(&folded);
        }
        changed.seal_in_place(&mut self.out).ok_or(BatchError::TooLarge)?;
        Ok(Written::Other(changed, &self.out))
    }

    /// Fills [`Self::runs`].
    fn choose<S: Superseded + ?Sized>(
        &mut self,
        header: &BatchHeader,
        payload: &[u8],
        context: &Context<'_>,
        superseded: &S,
        tally: &mut Tally<'_>,
    ) -> Result<Kept, BatchError> {
        self.runs.clear();
        let control = header.is_control();
        let horizon = header.delete_horizon_ms();
        let ask = !superseded.none_within(header.base_offset, header.last_offset());
        let mut kept = Kept { records: 0, all: true, tombstones: false, max_timestamp: -1 };
        let mut records = Records::new(payload, header.record_count);
        let mut start = 0;
        while let Some(record) = records.next() {
            let record = record?;
            let end = payload.len() - records.bytes_left();
            let offset = header.base_offset.saturating_add(i64::from(record.offset_delta));
            let is_tombstone = record.value.is_none();
            let fate = if control {
                RecordRetention::Keep
            } else if ask {
                retention::of_record(offset, record.key, is_tombstone, horizon, context, superseded)
            } else {
                retention::of_record(offset, record.key, is_tombstone, horizon, context, &NothingSuperseded)
            };
            match fate {
                RecordRetention::Keep => {
                    match self.runs.last_mut() {
                        Some(run) if run.end == start => run.end = end,
                        _ => self.runs.push(start..end),
                    }
                    kept.records += 1;
                    kept.tombstones |= is_tombstone;
                    let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
                    kept.max_timestamp = kept.max_timestamp.max(timestamp);
                }
                RecordRetention::Superseded => {}
                RecordRetention::Expired => {
                    tally.figures.tombstones += 1;
                    tally.progress.tombstone_dropped(offset, record.key.unwrap_or_default());
                }
                RecordRetention::Keyless => tally.figures.keyless += 1,
            }
            kept.all &= fate == RecordRetention::Keep;
            start = end;
        }
        Ok(kept)
    }

    /// The header alone (`DefaultRecordBatch.writeEmptyHeader`).
    fn empty(&mut self, header: &BatchHeader, batch: &[u8]) -> Written<'_> {
        let header = header.emptied();
        self.out.clear();
        self.out.resize(HEADER_LEN, 0);
        let mut sealed = header;
        // The size of a header alone always fits.
        let fits = sealed.seal_in_place(&mut self.out);
        debug_assert!(fits.is_some());
        if self.out == batch { Written::Same } else { Written::Other(sealed, &self.out) }
    }
}

struct NothingSuperseded;

impl Superseded for NothingSuperseded {
    fn none_within(&self, _: i64, _: i64) -> bool {
        true
    }
    fn is_superseded(&self, _: i64, _: &[u8]) -> bool {
        false
    }
}

/// Writes records with their timestamps relative to another base. All their other bytes stay.
fn put_rebased(
    mut records: &[u8],
    header: &BatchHeader,
    base: i64,
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    while !records.is_empty() {
        let length_ends = varint_len(records)?;
        let (length, _) = varint(records)?;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(length_ends))
            .filter(|end| *end <= records.len())
            .ok_or(RecordError::Truncated)?;
        let (record, rest) = records.split_at(end);
        let (attributes, body) = record[length_ends..].split_first().ok_or(RecordError::Truncated)?;
        let (delta, delta_len) = varint(body)?;
        let timestamp = if header.is_log_append_time() {
            header.max_timestamp
        } else {
            header.base_timestamp.wrapping_add(delta)
        };
        let mut encoded = [0; 10];
        let delta = encode(timestamp.wrapping_sub(base), &mut encoded);
        let body = &body[delta_len..];
        let mut encoded = [0; 10];
        // A record is shorter than its batch, whose length is 31 bits.
        let length = encode((1 + delta.len() + body.len()) as i64, &mut encoded);
        out.extend_from_slice(length);
        out.push(*attributes);
        out.extend_from_slice(delta);
        out.extend_from_slice(body);
        records = rest;
    }
    Ok(())
}

fn varint_len(bytes: &[u8]) -> Result<usize, RecordError> {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0).ok_or(RecordError::Truncated)?;
    Ok(last + 1)
}

/// A zigzag number and how many bytes it takes.
fn varint(bytes: &[u8]) -> Result<(i64, usize), RecordError> {
    let len = varint_len(bytes)?;
    if len > 10 {
        return Err(RecordError::VarintTooLong);
    }
    let raw = bytes[..len].iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Ok(((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed(), len))
}

fn encode(value: i64, out: &mut [u8; 10]) -> &[u8] {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut at = 0;
    while rest >= 0x80 {
        out[at] = (rest & 0x7f) as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    &out[..=at]
}
