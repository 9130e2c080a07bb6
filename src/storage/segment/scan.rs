//! Verifies the bytes of a segment and completes its indexes (`LogSegment.recover`).

use std::sync::Arc;

use super::active::Active;
use super::error::{StorageError, StorageErrorKind};
use super::files::FileHandle;
use super::walk::{Located, Walker};
use crate::record::HEADER_LEN;

/// Read at once. A batch larger than this is checked piece by piece, so that a damaged length
/// cannot ask for gigabytes.
const CHUNK: usize = 1 << 20;
/// The CRC covers the batch from its attributes to its end.
pub(super) const CRC_START: u64 = 21;

/// What a scan found.
pub(super) struct Scan {
    pub batches: u64,
    /// What is wrong with the bytes behind `active.size`; None if the file ends there.
    pub damage: Option<StorageError>,
}

/// Scans the file of `active`, `length` bytes long, from `active.size` on: what lies below is trusted
/// and in the indexes already.
///
/// Afterwards `active` describes the valid prefix and its indexes are complete; the file itself
/// is untouched. `on_batch` sees each batch that was verified.
pub(super) fn scan(
    active: &mut Active,
    length: u64,
    index_interval: u64,
    on_batch: &mut dyn FnMut(&Located) -> Result<(), StorageError>,
) -> Result<Scan, StorageError> {
    let log = active.files.log.clone();
    let mut walker = Walker::new(&log, active.size, length);
    let mut bytes = Bytes::new(&log, CHUNK);
    let mut outcome = Scan { batches: 0, damage: None };
    loop {
        match step(&mut walker, &mut bytes, active) {
            Ok(None) => break,
            Ok(Some(batch)) => {
                active.account(batch.position, &batch.header, index_interval);
                active.size = batch.end();
                outcome.batches += 1;
                on_batch(&batch)?;
            }
            Err(error) if error.kind() == StorageErrorKind::Corrupt => {
                outcome.damage = Some(error);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    active.finish_indexes()?;
    Ok(outcome)
}

fn step(
    walker: &mut Walker<'_>,
    bytes: &mut Bytes<'_>,
    active: &Active,
) -> Result<Option<Located>, StorageError> {
    let Some(batch) = walker.next()? else {
        return Ok(None);
    };
    let corrupt = |reason| StorageError::corrupt(&bytes.file.path(), batch.position, reason);
    let relative = batch.header.last_offset().checked_sub(active.base);
    if batch.header.base_offset < active.next_offset {
        return Err(corrupt("offsets go back"));
    }
    if relative.is_none_or(|relative| relative > i64::from(i32::MAX)) {
        return Err(corrupt("an offset too far from the segment's base"));
    }
    let path = bytes.file;
    if bytes.crc(batch.position + CRC_START, batch.end())? != batch.header.crc {
        return Err(StorageError::corrupt(&path.path(), batch.position, "checksum mismatch"));
    }
    Ok(Some(batch))
}

/// The file in large pieces.
pub(super) struct Bytes<'a> {
    file: &'a Arc<FileHandle>,
    step: usize,
    chunk: Vec<u8>,
    at: u64,
}

impl<'a> Bytes<'a> {
    /// Reads `step` bytes at once, or a batch header where that is more.
    pub fn new(file: &'a Arc<FileHandle>, step: usize) -> Self {
        Self { file, step: step.max(HEADER_LEN), chunk: Vec::new(), at: 0 }
    }

    /// Copies bytes out; false if the file ends before.
    pub fn fill(&mut self, from: u64, out: &mut [u8]) -> Result<bool, StorageError> {
        let mut filled = 0;
        while filled < out.len() {
            let piece = self.piece(from + filled as u64)?;
            if piece.is_empty() {
                return Ok(false);
            }
            let count = piece.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&piece[..count]);
            filled += count;
        }
        Ok(true)
    }

    /// The CRC32C of a range.
    pub fn crc(&mut self, mut from: u64, to: u64) -> Result<u32, StorageError> {
        let mut crc = 0;
        while from < to {
            let piece = self.piece(from)?;
            if piece.is_empty() {
                return Err(StorageError::corrupt(&self.file.path(), from, "file ends early"));
            }
            let count = piece.len().min(usize::try_from(to - from).unwrap_or(usize::MAX));
            crc = crc32c::crc32c_append(crc, &piece[..count]);
            from += count as u64;
        }
        Ok(crc)
    }

    /// What is at hand from a place on; empty only at the end of the file.
    fn piece(&mut self, from: u64) -> Result<&[u8], StorageError> {
        let end = self.at + self.chunk.len() as u64;
        if from < self.at || from >= end {
            self.chunk.resize(self.step, 0);
            let filled = self.file.read_at(&mut self.chunk, from)?;
            self.chunk.truncate(filled);
            self.at = from;
        }
        Ok(&self.chunk[(from - self.at) as usize..])
    }
}
