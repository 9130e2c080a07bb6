//! A file read at explicit positions, with bounded memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::record::{BatchHeader, HEADER_LEN};
use crate::storage::segment::error::StorageError;

/// Read at once.
const CHUNK: usize = 1 << 20;
/// The CRC covers a batch from its attributes on.
pub(super) const CRC_FROM: u64 = 21;

/// An open file and the part of it that was read last.
pub(super) struct FileBytes {
    file: File,
    pub path: PathBuf,
    pub len: u64,
    chunk: Vec<u8>,
    at: u64,
}

impl FileBytes {
    pub fn open(path: &Path) -> Result<FileBytes, StorageError> {
        let fail = |source| StorageError::io("read", path, source);
        let file = File::open(path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        Ok(FileBytes { file, path: path.to_path_buf(), len, chunk: Vec::new(), at: 0 })
    }

    /// At least `least` bytes from `position` on, or what there is up to the end of the file.
    pub fn from(&mut self, position: u64, least: usize) -> Result<&[u8], StorageError> {
        let wanted = (self.len.saturating_sub(position)).min(least as u64);
        let held = (self.at + self.chunk.len() as u64).saturating_sub(position);
        if position < self.at || held < wanted {
            let length = self.len.saturating_sub(position).min(CHUNK.max(least) as u64) as usize;
            self.chunk.resize(length, 0);
            self.at = position;
            self.file
                .read_exact_at(&mut self.chunk, position)
                .map_err(|source| StorageError::io("read", &self.path, source))?;
        }
        let start = (position - self.at) as usize;
        Ok(self.chunk.get(start..).unwrap_or_default())
    }

    /// The 61 bytes of a header, or fewer at the end of the file.
    pub fn head(&mut self, position: u64) -> Result<&[u8], StorageError> {
        let bytes = self.from(position, HEADER_LEN)?;
        Ok(&bytes[..bytes.len().min(HEADER_LEN)])
    }

    /// CRC32C of the bytes from `from` to before `to`, both within the file.
    pub fn crc(&mut self, mut from: u64, to: u64) -> Result<u32, StorageError> {
        let mut crc = 0;
        while from < to {
            let bytes = self.from(from, 1)?;
            let count = (bytes.len() as u64).min(to - from) as usize;
            if count == 0 {
                return Err(StorageError::corrupt(&self.path, from, "file ends early"));
            }
            crc = crc32c::crc32c_append(crc, &bytes[..count]);
            from += count as u64;
        }
        Ok(crc)
    }

    /// The header at `position` if a whole batch with the right checksum is there.
    pub fn batch(&mut self, position: u64) -> Result<Result<BatchHeader, String>, StorageError> {
        let header = match BatchHeader::parse(self.head(position)?) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let end = position + header.size_in_bytes() as u64;
        if header.base_offset < 0 || header.last_offset_delta < 0 {
            return Ok(Err("a negative offset".to_owned()));
        }
        if end > self.len {
            return Ok(Err("the batch is cut".to_owned()));
        }
        if self.crc(position + CRC_FROM, end)? != header.crc {
            return Ok(Err("checksum mismatch".to_owned()));
        }
        Ok(Ok(header))
    }

    /// Copies the bytes from `from` to before `to`.
    pub fn copy(
        &mut self,
        mut from: u64,
        to: u64,
        out: &mut impl std::io::Write,
    ) -> Result<(), StorageError> {
        let path = self.path.clone();
        while from < to {
            let bytes = self.from(from, 1)?;
            let count = (bytes.len() as u64).min(to - from) as usize;
            if count == 0 {
                return Err(StorageError::corrupt(&path, from, "file ends early"));
            }
            out.write_all(&bytes[..count]).map_err(|source| StorageError::io("copy", &path, source))?;
            from += count as u64;
        }
        Ok(())
    }
}
