//! The `.txnindex` file of a segment: the aborted transactions whose marker lies in it (`TransactionIndex`, `AbortedTxn`).
//!
//! ```text
//!   version i16 = 0 | producer id i64 | first offset i64 | last offset i64 | last stable offset i64
//! ```
//!
//! The file is made with the first entry: most segments have none, and then nothing here touches the disk. Entries stand
//! in the order of their markers, so that their last offsets rise. All of it is derived from the batches; what an unclean
//! stop left is dropped from the recovery point on and completed again by whoever replays them. Below that point the
//! file is synced, with its name, and what it holds is written down in another (see `txn_sums`), by which damage is noticed
//! when the log is opened (see `txn_check`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::dir::{FileKind, segment_path};
use super::error::StorageError;
use super::files::{FileHandle, LogDir};
use super::txn_sums::Sum;

/// Bytes of one entry.
pub(super) const ENTRY_LEN: usize = 34;
/// The only version of the format.
const VERSION: i16 = 0;
/// Entries read at once: first as few as one look-up usually needs, then more.
const FIRST_READ: usize = 64;
const MOST_READ: usize = 1024;

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    /// Offset of its first record in this partition.
    pub first_offset: i64,
    /// Offset of its marker.
    pub last_offset: i64,
    /// First offset of the oldest transaction that was still open behind it, or the offset after the marker: no
    /// transaction that ends later begins below.
    pub last_stable_offset: i64,
}

impl AbortedTransaction {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_be_bytes());
        for number in [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }

    /// `None` for bytes that are no entry of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<AbortedTransaction> {
        let (version, numbers) = bytes.split_first_chunk()?;
        let mut numbers =
            numbers.chunks_exact(8).filter_map(|bytes| Some(i64::from_be_bytes(bytes.try_into().ok()?)));
        (i16::from_be_bytes(*version) == VERSION).then_some(())?;
        Some(AbortedTransaction {
            producer_id: numbers.next()?,
            first_offset: numbers.next()?,
            last_offset: numbers.next()?,
            last_stable_offset: numbers.next()?,
        })
    }

    /// Whether an entry can be so: its marker follows a record, and nothing above the marker was known when it was made.
    pub(super) fn is_plausible(&self) -> bool {
        self.producer_id >= 0
            && (0..self.last_offset).contains(&self.first_offset)
            && (0..=self.last_offset.saturating_add(1)).contains(&self.last_stable_offset)
    }
}

/// What a check of a file found.
#[derive(Debug)]
pub(super) struct Checked {
    /// The entries in front of the first unsound one.
    pub index: TxnIndex,
    /// Offset from which the file has to be made anew; `None` if it is sound.
    pub lost_from: Option<i64>,
    /// How many entries the file holds or begins with that the caller knew of, if it does at all.
    pub agreed: Option<usize>,
    /// How many of the entries ended below the recovery point.
    pub durable: usize,
}

/// The aborted transactions of one segment.
#[derive(Debug)]
pub(super) struct TxnIndex {
    file: Arc<FileHandle>,
    created: bool,
    /// Entries in the file.
    written: usize,
    /// CRC-32C of their bytes.
    crc: u32,
    /// Entries that could not be written yet: none may be left out.
    pending: Vec<AbortedTransaction>,
    last_offset: i64,
    /// Where the last look-up ended: the next one of the same reader begins there. Checked before it is used.
    hint: AtomicUsize,
}

impl TxnIndex {
    /// The index of a segment without aborted transactions. Makes no file.
    pub fn empty(dir: &Arc<LogDir>, base: i64) -> TxnIndex {
        let file = FileHandle::new(dir, base, FileKind::TxnIndex);
        TxnIndex {
            file,
            created: false,
            written: 0,
            crc: 0,
            pending: Vec::new(),
            last_offset: -1,
            hint: AtomicUsize::new(0),
        }
    }

    /// Reads the file of the segment that holds the offsets from `base` to below `bound`, and keeps its sound part. The
    /// file is not changed: see [`Self::truncate_to`]. `known` is what it may hold, and what ended below `durable` counts as
    /// such.
    pub fn open(
        dir: &Arc<LogDir>,
        base: i64,
        bound: i64,
        durable: i64,
        known: &[Sum],
    ) -> Result<Checked, StorageError> {
        let mut index = TxnIndex { created: true, ..TxnIndex::empty(dir, base) };
        let length = index.file.len()?;
        let whole = usize::try_from(length).unwrap_or(usize::MAX) / ENTRY_LEN;
        let mut sound = length % ENTRY_LEN as u64 == 0;
        let mut last = base - 1;
        let mut entries = Entries { file: &index.file, at: 0, end: whole, step: MOST_READ };
        let (mut written, mut crc, mut below) = (0, 0, 0);
        let mut agreed = known.contains(&Sum::default()).then_some(0);
        'file: while let Some(chunk) = entries.next_bytes()? {
            for bytes in chunk.chunks(ENTRY_LEN) {
                let fits = |entry: &AbortedTransaction| {
                    entry.is_plausible() && entry.last_offset > last && entry.last_offset < bound
                };
                let Some(entry) = AbortedTransaction::decode(bytes).filter(fits) else {
                    sound = false;
                    break 'file;
                };
                last = entry.last_offset;
                written += 1;
                below += usize::from(last < durable);
                crc = crc32c::crc32c_append(crc, bytes);
                if known.contains(&Sum { entries: written, crc }) {
                    agreed = Some(written);
                }
            }
        }
        index.written = written;
        index.crc = crc;
        index.last_offset = last;
        Ok(Checked { index, lost_from: (!sound).then_some(last + 1), agreed, durable: below })
    }

    /// Everything in the file.
    pub fn entries(&self) -> Entries<'_> {
        Entries { file: &self.file, at: 0, end: self.written, step: MOST_READ }
    }

    /// Whether the segment has a file.
    pub fn exists(dir: &Path, base: i64) -> bool {
        segment_path(dir, base, FileKind::TxnIndex.extension()).exists()
    }

    pub fn file(&self) -> &Arc<FileHandle> {
        &self.file
    }

    /// What the file holds.
    pub fn sum(&self) -> Sum {
        Sum { entries: self.written, crc: self.crc }
    }

    /// Offset of the last marker, or below the segment if there is none.
    pub fn last_offset(&self) -> i64 {
        self.last_offset
    }

    /// Adds a transaction that ended behind all others. `entries` is the directory, dirty when the file was made now.
    ///
    /// An entry that cannot be written stays in memory, is found there, and goes with the next.
    pub fn append(&mut self, entry: AbortedTransaction, entries: &FileHandle) {
        self.last_offset = entry.last_offset;
        self.pending.push(entry);
        if let Err(error) = self.write_pending(entries) {
            tracing::warn!(%error, "aborted transactions stay in memory");
        }
    }

    /// Writes what is still in memory.
    pub fn write_pending(&mut self, entries: &FileHandle) -> Result<(), StorageError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if !self.created {
            self.file.create()?;
            self.created = true;
            entries.mark_written();
        }
        let mut bytes = Vec::with_capacity(self.pending.len() * ENTRY_LEN);
        self.pending.iter().for_each(|entry| entry.encode(&mut bytes));
        self.file.write_at(&bytes, &[], (self.written * ENTRY_LEN) as u64)?;
        self.written += self.pending.len();
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        self.pending = Vec::new();
        Ok(())
    }

    /// Drops the transactions that ended at or above `offset`, and whatever stands behind the last entry.
    pub fn truncate_to(&mut self, offset: i64) -> Result<(), StorageError> {
        self.pending.retain(|entry| entry.last_offset < offset);
        let kept = self.first_written(offset)?;
        if kept < self.written {
            let mut entries = Entries { file: &self.file, at: 0, end: kept, step: MOST_READ };
            self.crc = 0;
            while let Some(bytes) = entries.next_bytes()? {
                self.crc = crc32c::crc32c_append(self.crc, &bytes);
            }
        }
        self.written = kept;
        self.last_offset = match (self.pending.last(), self.written.checked_sub(1)) {
            (Some(last), _) => last.last_offset,
            (None, Some(at)) => self.get(at)?.last_offset,
            (None, None) => -1,
        };
        if self.created && self.file.len()? != (self.written * ENTRY_LEN) as u64 {
            self.file.truncate((self.written * ENTRY_LEN) as u64)?;
        }
        Ok(())
    }

    /// Adds to `found` the transactions with records or a marker from `from` to below `upto`. True if none that ended in
    /// a later segment can have any (`TransactionIndex.collectAbortedTxns`).
    pub fn collect(
        &self,
        from: i64,
        upto: i64,
        found: &mut Vec<AbortedTransaction>,
    ) -> Result<bool, StorageError> {
        if self.last_offset < from {
            // All of it ended below, where nothing was known of what comes later.
            return Ok(false);
        }
        let at = self.first_written(from)?;
        let mut below = at;
        let mut take = |entry: &AbortedTransaction| {
            if entry.last_offset >= from && entry.first_offset < upto {
                found.push(*entry);
            }
            if entry.last_offset < upto {
                below += 1;
                // A reader goes on where it stopped.
                self.hint.store(below, Ordering::Relaxed);
            }
            entry.last_stable_offset >= upto
        };
        let mut entries = Entries { file: &self.file, at, end: self.written, step: FIRST_READ };
        while let Some(chunk) = entries.next()? {
            for entry in chunk {
                let entry = entry.ok_or_else(|| self.damaged(0))?;
                if take(&entry) {
                    return Ok(true);
                }
            }
        }
        Ok(self.pending.iter().any(take))
    }

    /// How many entries in the file ended below `offset`.
    fn first_written(&self, offset: i64) -> Result<usize, StorageError> {
        let hint = self.hint.load(Ordering::Relaxed).min(self.written);
        if (hint == 0 || self.get(hint - 1)?.last_offset < offset)
            && (hint == self.written || self.get(hint)?.last_offset >= offset)
        {
            return Ok(hint);
        }
        let (mut low, mut high) = (0, self.written);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle)?.last_offset < offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn get(&self, at: usize) -> Result<AbortedTransaction, StorageError> {
        let mut bytes = [0; ENTRY_LEN];
        let position = (at * ENTRY_LEN) as u64;
        let filled = self.file.read_at(&mut bytes, position)?;
        AbortedTransaction::decode(&bytes[..filled]).ok_or_else(|| self.damaged(position))
    }

    fn damaged(&self, position: u64) -> StorageError {
        StorageError::corrupt(&self.file.path(), position, "an aborted transaction is missing")
    }
}

/// Entries of a file in pieces that grow.
pub(super) struct Entries<'a> {
    file: &'a Arc<FileHandle>,
    at: usize,
    end: usize,
    step: usize,
}

impl Entries<'_> {
    /// The next piece; `None` in the place of bytes that are no entry.
    pub fn next(&mut self) -> Result<Option<Vec<Option<AbortedTransaction>>>, StorageError> {
        let count = self.step.min(self.end - self.at);
        let bytes = self.next_bytes()?;
        Ok(bytes.map(|bytes| {
            let mut entries: Vec<_> = bytes.chunks_exact(ENTRY_LEN).map(AbortedTransaction::decode).collect();
            entries.resize(count, None);
            entries
        }))
    }

    /// The bytes of the next entries; fewer only where the file ends early.
    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        let count = self.step.min(self.end - self.at);
        if count == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; count * ENTRY_LEN];
        let filled = self.file.read_at(&mut bytes, (self.at * ENTRY_LEN) as u64)?;
        bytes.truncate(filled);
        self.at += count;
        self.step = (self.step * 4).min(MOST_READ);
        Ok(Some(bytes))
    }
}

#[cfg(test)]
#[path = "txn_index_tests.rs"]
mod tests;
