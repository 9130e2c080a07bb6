//! Steps from batch to batch of a `.log` file, reading headers only.

use std::sync::Arc;

use super::error::StorageError;
use super::files::FileHandle;
use super::verified::Anchor;
use crate::record::{BatchHeader, HEADER_LEN};

/// Read at once: as far apart as index entries usually are, so one read finds most batches.
const CHUNK: usize = 4096;

/// A batch and where it starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Located {
    pub position: u64,
    pub header: BatchHeader,
}

impl Located {
    /// First byte after the batch.
    pub fn end(&self) -> u64 {
        self.position + self.header.size_in_bytes() as u64
    }

    pub fn next_offset(&self) -> i64 {
        self.header.last_offset().saturating_add(1)
    }
}

/// Walks the batches of one file from a batch boundary up to `end`.
pub(super) struct Walker<'a> {
    /// Where the walk began, for a look at the batches that were passed.
    pub anchor: Anchor,
    file: &'a Arc<FileHandle>,
    position: u64,
    end: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> Walker<'a> {
    pub fn new(file: &'a Arc<FileHandle>, position: u64, end: u64) -> Self {
        let anchor = Anchor::Resumed { position, offset: i64::MIN };
        Self { anchor, file, position, end, chunk: Vec::new(), chunk_at: 0 }
    }

    /// Walks from an anchor.
    pub fn from_anchor(file: &'a Arc<FileHandle>, anchor: Anchor, end: u64) -> Self {
        Self { anchor, ..Self::new(file, anchor.position(), end) }
    }

    /// Where the next batch starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes back to a batch boundary that was passed.
    pub fn rewind(&mut self, position: u64) {
        self.position = position;
    }

    /// The next batch; None at the end.
    ///
    /// # Errors
    /// `Corrupt` if no whole batch is there: the walk cannot go on from that.
    pub fn next(&mut self) -> Result<Option<Located>, StorageError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let corrupt = |reason: String| StorageError::corrupt(&self.file.path(), self.position, reason);
        if self.end - self.position < HEADER_LEN as u64 {
            return Err(corrupt("the last batch header is cut".into()));
        }
        let chunk_end = self.chunk_at + self.chunk.len() as u64;
        if self.position < self.chunk_at || self.position + HEADER_LEN as u64 > chunk_end {
            let length = (self.end - self.position).min(CHUNK as u64) as usize;
            self.chunk.resize(length, 0);
            let filled = self.file.read_at(&mut self.chunk, self.position)?;
            self.chunk.truncate(filled);
            self.chunk_at = self.position;
        }
        let start = (self.position - self.chunk_at) as usize;
        let bytes = self.chunk.get(start..).unwrap_or(&[]);
        let header = BatchHeader::parse(bytes).map_err(|error| corrupt(error.to_string()))?;
        if header.base_offset < 0 || header.last_offset_delta < 0 {
            return Err(corrupt("negative offset".into()));
        }
        let located = Located { position: self.position, header };
        if located.end() > self.end {
            return Err(corrupt("the last batch is cut".into()));
        }
        self.position = located.end();
        Ok(Some(located))
    }
}
