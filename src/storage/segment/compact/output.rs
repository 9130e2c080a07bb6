//! The `.cleaned` files of a new segment.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::super::dir::{CLEANED_SUFFIX, FileKind, replaced_path, segment_path};
use super::super::error::StorageError;
use super::super::files::LogDir;
use super::super::index::Entry;
use super::super::log::LogConfig;
use super::super::offset_index::OffsetEntry;
use super::super::sealed::index_capacity;
use super::super::time_index::TimeEntry;
use super::super::txn_index::AbortedTransaction;
use super::super::txn_sums::Sum;
use super::error::CompactError;
use super::reader::read_at;
use super::steps;
use crate::record::BatchHeader;

/// Bytes collected before they are written.
const BUFFER: usize = 1 << 20;
/// Bytes after which what was written is made durable: less at once, so that the flushes of appends wait less for it.
const SYNC_EVERY: u64 = 32 << 20;
/// Largest position in an index, and with it size of a segment.
const MAX_SEGMENT_BYTES: u64 = i32::MAX as u64;

/// The names of a segment's files that a rewrite made. What is not swapped in is removed when this is dropped.
#[derive(Debug)]
pub(super) struct CleanedFiles {
    pub dir: Arc<LogDir>,
    pub entries: Arc<File>,
    pub base: i64,
    /// First offset behind what the segment takes the place of.
    pub end: i64,
    /// Kinds of the files that exist under a `.cleaned` name.
    pub made: Vec<FileKind>,
    /// What its `.txnindex` file holds.
    pub aborted: Sum,
    /// They are no longer `.cleaned`, and no longer this one's to remove.
    pub given_up: bool,
}

impl CleanedFiles {
    /// Begins a rewrite to the segment `base`.
    fn begin(dir: &Arc<LogDir>, entries: &Arc<File>, base: i64, end: i64) -> Result<Self, CompactError> {
        if !dir.begin_rewrite() {
            return Err(CompactError::Busy { path: dir.path.clone() });
        }
        let (dir, entries) = (dir.clone(), entries.clone());
        Ok(Self { dir, entries, base, end, made: Vec::new(), aborted: Sum::default(), given_up: false })
    }

    /// Path of the `.cleaned` file of a kind. The directory's is the empty file whose name tells the range.
    pub fn path(&self, kind: FileKind) -> PathBuf {
        self.path_with(kind, CLEANED_SUFFIX)
    }

    /// The same with another suffix.
    pub fn path_with(&self, kind: FileKind, suffix: &str) -> PathBuf {
        match kind {
            FileKind::Directory => replaced_path(&self.dir.path, self.base, self.end, suffix),
            kind => segment_path(&self.dir.path, self.base, &format!("{}{suffix}", kind.extension())),
        }
    }

    fn create(&mut self, kind: FileKind) -> Result<File, StorageError> {
        let path = self.path(kind);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let name = path.file_name().unwrap_or_default();
        let file = rustix::fs::openat(&self.entries, name, flags, Mode::from_raw_mode(0o644))
            .map_err(|error| StorageError::io("create", &path, error.into()))?;
        self.made.push(kind);
        steps::created(&path);
        Ok(File::from(file))
    }
}

impl Drop for CleanedFiles {
    fn drop(&mut self) {
        let mut removed = true;
        if !self.given_up {
            for kind in &self.made {
                let path = self.path(*kind);
                let name = path.file_name().unwrap_or_default();
                match rustix::fs::unlinkat(&self.entries, name, AtFlags::empty()) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => steps::removed(&path),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "a rewritten segment stays until the log is opened again");
                        removed = false;
                    }
                }
            }
        }
        // A name that is left could be taken for a part of the next rewrite.
        if removed {
            self.dir.end_rewrite();
        }
    }
}

/// The indexes of a new segment, in memory: at most `segment.index.bytes` each.
#[derive(Debug)]
pub(super) struct Indexes {
    base: i64,
    interval: u64,
    capacity: (usize, usize),
    offsets: Vec<u8>,
    times: Vec<u8>,
    last_time: i64,
    since_entry: u64,
    /// Largest timestamp and the end of its batch; timestamp -1 for none.
    pub newest: TimeEntry,
    pub aborted: Vec<AbortedTransaction>,
}

impl Indexes {
    pub fn new(base: i64, config: &LogConfig) -> Self {
        // The last place of the time index is for the entry written at the end.
        let times = index_capacity::<TimeEntry>(config.segment_index_bytes).saturating_sub(1);
        Self {
            base,
            interval: u64::from(config.index_interval_bytes),
            capacity: (index_capacity::<OffsetEntry>(config.segment_index_bytes), times),
            offsets: Vec::new(),
            times: Vec::new(),
            last_time: -1,
            since_entry: 0,
            newest: TimeEntry { timestamp: -1, offset: base },
            aborted: Vec::new(),
        }
    }

    /// Takes in a batch at `position` of the new file, as an append does.
    pub fn account(&mut self, position: u64, header: &BatchHeader) {
        let last_offset = header.last_offset();
        if header.max_timestamp > self.newest.timestamp {
            self.newest = TimeEntry { timestamp: header.max_timestamp, offset: last_offset };
        }
        if self.since_entry > self.interval {
            if self.offsets.len() < self.capacity.0 * OffsetEntry::SIZE {
                OffsetEntry { offset: last_offset, position }.encode(self.base, &mut self.offsets);
            }
            if self.times.len() < self.capacity.1 * TimeEntry::SIZE {
                self.put_newest();
            }
            self.since_entry = 0;
        }
        self.since_entry += header.size_in_bytes() as u64;
    }

    fn put_newest(&mut self) {
        if self.newest.timestamp > self.last_time {
            self.newest.encode(self.base, &mut self.times);
            self.last_time = self.newest.timestamp;
        }
    }
}

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct Output {
    pub files: CleanedFiles,
    log: File,
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
}

impl Output {
    pub fn create(
        dir: &Arc<LogDir>,
        entries: &Arc<File>,
        (base, end): (i64, i64),
        buffer: Vec<u8>,
    ) -> Result<Self, CompactError> {
        let mut files = CleanedFiles::begin(dir, entries, base, end)?;
        let log = files.create(FileKind::Log)?;
        Ok(Self { files, log, buffer, written: 0, synced: 0 })
    }

    fn check_room(&self, more: u64) -> Result<(), CompactError> {
        if self.written + self.buffer.len() as u64 + more > MAX_SEGMENT_BYTES {
            return Err(CompactError::SegmentFull { path: self.files.path(FileKind::Log) });
        }
        Ok(())
    }

    /// Appends a batch; returns its position.
    pub fn append(&mut self, batch: &[u8]) -> Result<u64, CompactError> {
        self.check_room(batch.len() as u64)?;
        if self.buffer.len() + batch.len() > BUFFER {
            self.write_buffer()?;
        }
        let position = self.written + self.buffer.len() as u64;
        if batch.len() >= BUFFER {
            self.write(batch)?;
        } else {
            self.buffer.extend_from_slice(batch);
        }
        Ok(position)
    }

    fn write_buffer(&mut self) -> Result<(), CompactError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CompactError> {
        let path = self.files.path(FileKind::Log);
        self.log
            .write_all_at(bytes, self.written)
            .map_err(|source| StorageError::io("write", &path, source))?;
        self.written += bytes.len() as u64;
        if self.written - self.synced >= SYNC_EVERY {
            self.log.sync_data().map_err(|source| StorageError::io("sync", &path, source))?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Begins the file with the bytes of another from its start on, at most 1 MiB each time; true if there are more below
    /// `end`.
    pub fn copy_from(&mut self, source: &File, end: u64) -> Result<bool, CompactError> {
        debug_assert!(self.buffer.is_empty());
        let count = (end - self.written).min(BUFFER as u64) as usize;
        let path = self.files.path(FileKind::Log);
        let (mut from, mut to) = (self.written, self.written);
        let copied = rustix::fs::copy_file_range(source, Some(&mut from), &self.log, Some(&mut to), count);
        match copied {
            Ok(copied) if copied > 0 => {
                self.written += copied as u64;
                // Also counts for the syncs in between.
                self.write(&[])?;
            }
            // Not every file system can.
            _ => {
                let mut bytes = std::mem::take(&mut self.buffer);
                bytes.resize(count, 0);
                let filled = read_at(source, &path, &mut bytes, self.written)?;
                if filled < count {
                    return Err(CompactError::corrupt(&path, self.written, "the source ends early"));
                }
                self.write(&bytes)?;
                bytes.clear();
                self.buffer = bytes;
            }
        }
        Ok(self.written < end)
    }

    /// Completes the files and makes them durable. Gives the buffer back.
    pub fn finish(
        mut self,
        mut indexes: Indexes,
        with_txn_index: bool,
        modified: std::time::SystemTime,
    ) -> Result<(CleanedFiles, u64, Vec<u8>), CompactError> {
        self.write_buffer()?;
        indexes.put_newest();
        let mut aborted = Vec::new();
        indexes.aborted.iter().for_each(|entry| entry.encode(&mut aborted));
        self.files.aborted = Sum { entries: indexes.aborted.len(), crc: crc32c::crc32c(&aborted) };
        let mut contents =
            vec![(FileKind::OffsetIndex, &indexes.offsets), (FileKind::TimeIndex, &indexes.times)];
        if with_txn_index || !aborted.is_empty() {
            contents.push((FileKind::TxnIndex, &aborted));
        }
        for (kind, bytes) in contents {
            let file = self.files.create(kind)?;
            let path = self.files.path(kind);
            file.write_all_at(bytes, 0)
                .and_then(|()| file.sync_all())
                .map_err(|source| StorageError::io("write", &path, source))?;
        }
        self.files.create(FileKind::Directory)?;
        let path = self.files.path(FileKind::Log);
        // Retention by time goes by it where records have no timestamps.
        self.log
            .set_modified(modified)
            .and_then(|()| self.log.sync_all())
            .map_err(|source| StorageError::io("sync", &path, source))?;
        self.files
            .entries
            .sync_all()
            .map_err(|source| StorageError::io("sync directory", &self.files.dir.path, source))?;
        steps::synced();
        Ok((self.files, self.written, self.buffer))
    }
}
