//! The batches of a sealed segment's file, checked, in a bounded buffer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::error::StorageError;
use super::error::CompactError;
use super::source::SourceSegment;
use crate::record::{BatchHeader, HEADER_LEN};

/// Bytes read at once. A larger batch makes the buffer grow for as long as it is looked at, once its checksum has shown that
/// the length in its header is no damage.
const BUFFER: usize = 1 << 20;
/// The CRC covers the batch from its attributes to its end.
const CRC_START: usize = 21;

/// A batch of the file.
pub(super) struct Batch<'a> {
    pub position: u64,
    pub header: BatchHeader,
    /// All of it, header included.
    pub bytes: &'a [u8],
}

/// Reads a segment from its first batch to its last. Every checksum is verified, and that offsets rise within the segment.
pub(super) struct Reader<'a> {
    file: &'a File,
    path: &'a Path,
    segment: SourceSegment,
    buffer: &'a mut Vec<u8>,
    /// What of the buffer is filled and not passed yet.
    start: usize,
    filled: usize,
    position: u64,
    next_offset: i64,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a File, path: &'a PathBuf, segment: SourceSegment, buffer: &'a mut Vec<u8>) -> Self {
        if buffer.len() != BUFFER {
            *buffer = vec![0; BUFFER];
        }
        Self { file, path, segment, buffer, start: 0, filled: 0, position: 0, next_offset: segment.base }
    }

    /// The next batch; `None` at the end of the segment.
    pub fn next(&mut self) -> Result<Option<Batch<'_>>, CompactError> {
        let position = self.position;
        let left = self.segment.size - position;
        if left == 0 {
            return Ok(None);
        }
        let corrupt = |reason: String| CompactError::corrupt(self.path, position, reason);
        if left < HEADER_LEN as u64 {
            return Err(corrupt("the last batch header is cut".into()));
        }
        self.fill(HEADER_LEN)?;
        let header = BatchHeader::parse(&self.buffer[self.start..self.filled])
            .map_err(|error| CompactError::corrupt(self.path, position, error.to_string()))?;
        let size = header.size_in_bytes();
        self.check(&header)?;
        let mut verified = false;
        if size > self.buffer.len() {
            if self.crc_of(position + CRC_START as u64, position + size as u64)? != header.crc {
                return Err(CompactError::corrupt(self.path, position, "checksum mismatch"));
            }
            // What was read to compute it took the place of the header.
            (self.start, self.filled) = (0, 0);
            self.buffer.resize(size, 0);
            verified = true;
        }
        self.fill(size)?;
        let bytes = &self.buffer[self.start..self.start + size];
        if !verified && crc32c::crc32c(&bytes[CRC_START..]) != header.crc {
            return Err(CompactError::corrupt(self.path, position, "checksum mismatch"));
        }
        self.start += size;
        self.position += size as u64;
        self.next_offset = header.last_offset() + 1;
        Ok(Some(Batch { position, header, bytes }))
    }

    fn check(&self, header: &BatchHeader) -> Result<(), CompactError> {
        let reason = if header.base_offset < self.next_offset {
            "offsets go back"
        } else if header.last_offset_delta < 0 || header.last_offset() >= self.segment.next_offset {
            "reaches into the next segment"
        } else if header.size_in_bytes() as u64 > self.segment.size - self.position {
            "the last batch is cut"
        } else {
            return Ok(());
        };
        Err(CompactError::corrupt(self.path, self.position, reason))
    }

    /// Sees that the next `need` bytes are in the buffer, which holds as many.
    fn fill(&mut self, need: usize) -> Result<(), CompactError> {
        if self.filled - self.start >= need {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        let left = self.segment.size - self.position - self.filled as u64;
        let room = self.buffer.len() - self.filled;
        let wanted = self.filled + usize::try_from(left).unwrap_or(usize::MAX).min(room);
        let from = self.position + self.filled as u64;
        let read = read_at(self.file, self.path, &mut self.buffer[self.filled..wanted], from)?;
        self.filled += read;
        if self.filled < need {
            return Err(CompactError::corrupt(self.path, from + read as u64, "file ends early"));
        }
        Ok(())
    }

    /// The checksum of a part of the file, which passes through the buffer.
    fn crc_of(&mut self, mut from: u64, to: u64) -> Result<u32, CompactError> {
        let mut crc = 0;
        while from < to {
            let count = usize::try_from(to - from).unwrap_or(usize::MAX).min(self.buffer.len());
            let chunk = &mut self.buffer[..count];
            if read_at(self.file, self.path, chunk, from)? < count {
                return Err(CompactError::corrupt(self.path, from, "file ends early"));
            }
            crc = crc32c::crc32c_append(crc, chunk);
            from += count as u64;
        }
        Ok(crc)
    }
}

/// Fills `buffer` from `position`; fewer bytes only at the end of the file.
pub(super) fn read_at(
    file: &File,
    path: &Path,
    buffer: &mut [u8],
    position: u64,
) -> Result<usize, StorageError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(StorageError::io("read", path, source)),
        }
    }
    Ok(filled)
}
