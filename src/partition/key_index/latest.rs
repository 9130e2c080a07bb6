//! The latest record of a key: one look-up and one read.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::access::read_into;
use super::catch_up::{CatchUp, CatchUpError, CaughtUp, catch_up};
use super::run::BatchDamage;
use crate::partition::handle::Partition;
use crate::record::{
    BatchHeader, Batches, Compression, HEADER_LEN, Record, Records, crc_matches, decompress,
};
use crate::storage::key_index::{IndexedPartition, KeyIndex, KeyIndexError};
use crate::storage::segment::{LogSlice, ReadError, StorageError};

/// How often a record is looked for that was just there, but that the cleaner or retention has taken, or its file.
const TRIES: usize = 4;

/// The latest record of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRecord {
    pub offset: i64,
    /// Milliseconds; -1 if it has none.
    pub timestamp: i64,
    /// `None`: a tombstone, the key was deleted.
    pub value: Option<Bytes>,
    pub headers: Vec<FoundHeader>,
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundHeader {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Why the latest record of a key is not known.
#[derive(Debug, thiserror::Error)]
pub enum LatestError {
    /// The end of the log could not be indexed.
    #[error(transparent)]
    CatchUp(#[from] CatchUpError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] KeyIndexError),
    /// `go_on` ended the catch-up: the index does not know the end of the log yet.
    #[error("the key index knows the log only up to offset {upto}")]
    Behind { upto: i64 },
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] ReadError),
    /// The batch that holds the record is damaged.
    #[error("the batch that holds the record at offset {offset} is damaged")]
    Damaged { offset: i64, source: BatchDamage },
    /// The record at the offset that the index knows has another key: index and log do not belong together.
    #[error("the record at offset {offset} has another key than the index says")]
    Contradiction { offset: i64 },
}

/// The latest record with `key` among those that readers at read_committed see now, which are made durable first; `None` if there is none, or no longer: retention
/// took it, or the cleaner a tombstone.
///
/// Blocks on the disk. `go_on` is asked as in [`catch_up`]: how far behind the index may be is the caller's choice.
///
/// # Errors
/// [`LatestError`].
pub fn latest(
    partition: &Partition,
    index: &dyn KeyIndex,
    key: &[u8],
    settings: &CatchUp,
    go_on: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<FoundRecord>, LatestError> {
    partition.sync_visible();
    let id = IndexedPartition::from(partition.id());
    let hash = index.hasher().hash(key);
    let CaughtUp { complete, upto, .. } = catch_up(partition, index, settings, go_on)?;
    if !complete {
        return Err(LatestError::Behind { upto });
    }
    let mut missed = (None, None);
    for _ in 0..TRIES {
        // Asked anew each time: what is no longer there may have a successor.
        let Some(offset) = index.latest(id, hash)? else { return Ok(None) };
        let (before, failed) = &mut missed;
        if *before == Some(offset) && failed.is_none() {
            return Ok(None);
        }
        *before = Some(offset);
        *failed = None;
        let Some(slice) = partition.read_batch_at(offset)? else { continue };
        match find(&slice, offset, key, settings.decompressed_max) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(Miss::Unreadable(error)) => *failed = Some(error),
            Err(Miss::Damaged(source)) => return Err(LatestError::Damaged { offset, source }),
            Err(Miss::OtherKey) => return Err(LatestError::Contradiction { offset }),
        }
    }
    match missed {
        (_, Some(error)) => Err(LatestError::Log(error.into())),
        // It moves faster than it can be read.
        (_, None) => Err(LatestError::Behind { upto }),
    }
}

enum Miss {
    Unreadable(StorageError),
    Damaged(BatchDamage),
    OtherKey,
}

impl Miss {
    fn damaged(damage: impl Into<BatchDamage>) -> Self {
        Self::Damaged(damage.into())
    }
}

/// The record at `offset` in the first batch of a slice.
fn find(
    slice: &LogSlice,
    offset: i64,
    key: &[u8],
    decompressed_max: usize,
) -> Result<Option<FoundRecord>, Miss> {
    let mut bytes = Vec::new();
    read_into(slice, &mut bytes).map_err(Miss::Unreadable)?;
    let Some(batch) = Batches::new(&bytes).next() else { return Ok(None) };
    let (header, batch) = batch.map_err(Miss::damaged)?;
    // The next one: the batch itself is gone.
    if header.base_offset > offset {
        return Ok(None);
    }
    if !crc_matches(batch) {
        return Err(Miss::Damaged(BatchDamage::Crc));
    }
    let payload = &batch[HEADER_LEN..];
    let unfolded;
    let payload = match header.compression().map_err(Miss::damaged)? {
        Compression::None => payload,
        _ if payload.is_empty() => return Ok(None),
        codec => {
            unfolded = decompress(codec, payload, decompressed_max).map_err(Miss::damaged)?;
            &unfolded[..]
        }
    };
    for record in Records::new(payload, header.record_count) {
        let record = record.map_err(Miss::damaged)?;
        if header.base_offset + i64::from(record.offset_delta) == offset {
            return if record.key == Some(key) {
                Ok(Some(found(&header, &record, offset)))
            } else {
                Err(Miss::OtherKey)
            };
        }
    }
    // The cleaner took a tombstone.
    Ok(None)
}

fn found(header: &BatchHeader, record: &Record<'_>, offset: i64) -> FoundRecord {
    let timestamp = if header.is_log_append_time() {
        header.max_timestamp
    } else {
        header.base_timestamp.saturating_add(record.timestamp_delta)
    };
    let copied = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
    let headers = record.headers_iter().flatten();
    FoundRecord {
        offset,
        timestamp,
        value: copied(record.value),
        headers: headers
            .map(|header| FoundHeader {
                key: Bytes::copy_from_slice(header.key),
                value: copied(header.value),
            })
            .collect(),
    }
}
