//! Whether the offset and the time index of a segment lead to where they say, checked as the batches pass.

use std::path::PathBuf;

use super::bytes::FileBytes;
use crate::record::BatchHeader;
use crate::storage::segment::error::StorageError;
use crate::storage::segment::index::Entry;
use crate::storage::segment::offset_index::OffsetEntry;
use crate::storage::segment::time_index::TimeEntry;

/// One index file, read entry by entry.
struct Entries<E> {
    base: i64,
    file: FileBytes,
    next: u64,
    current: Option<E>,
    earlier: Option<E>,
    fault: Option<(u64, String)>,
}

impl<E: Entry> Entries<E> {
    /// `None` if there is no file.
    fn open(path: PathBuf, base: i64) -> Result<Option<Entries<E>>, StorageError> {
        if !path.exists() {
            return Ok(None);
        }
        let mut entries = Entries {
            base,
            file: FileBytes::open(&path)?,
            next: 0,
            current: None,
            earlier: None,
            fault: None,
        };
        if entries.file.len % E::SIZE as u64 != 0 {
            entries.fault = Some((entries.file.len, "the last entry is cut".to_owned()));
        }
        entries.advance()?;
        Ok(Some(entries))
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        self.earlier = self.current.take().or(self.earlier);
        if self.next + E::SIZE as u64 > self.file.len || self.fault.is_some() {
            return Ok(());
        }
        let bytes = self.file.from(self.next, E::SIZE)?;
        let entry = E::decode(self.base, &bytes[..E::SIZE]);
        if self.earlier.is_some_and(|earlier| !entry.follows(&earlier)) {
            return self.fail("the entries do not rise");
        }
        self.current = Some(entry);
        self.next += E::SIZE as u64;
        Ok(())
    }

    fn fail(&mut self, what: &str) -> Result<(), StorageError> {
        let at = if self.current.is_some() { self.next - E::SIZE as u64 } else { self.next };
        self.fault.get_or_insert_with(|| (at, what.to_owned()));
        self.current = None;
        Ok(())
    }
}

/// Both indexes of a segment.
pub(super) struct Indexes {
    offsets: Option<Entries<OffsetEntry>>,
    times: Option<Entries<TimeEntry>>,
    newest: i64,
    last_offset: i64,
}

impl Indexes {
    pub fn open(offsets: PathBuf, times: PathBuf, base: i64) -> Result<Indexes, StorageError> {
        Ok(Indexes {
            offsets: Entries::open(offsets, base)?,
            times: Entries::open(times, base)?,
            newest: -1,
            last_offset: base - 1,
        })
    }

    /// A sound batch passes.
    pub fn batch(&mut self, position: u64, header: &BatchHeader) -> Result<(), StorageError> {
        if let Some(entries) = &mut self.offsets {
            while let Some(entry) = entries.current.filter(|entry| entry.position <= position) {
                if entry.position < position {
                    entries.fail("an entry leads into the middle of a batch")?;
                } else if entry.offset < header.base_offset {
                    entries.fail("an entry names an offset below its batch")?;
                } else {
                    entries.advance()?;
                }
            }
        }
        let before = self.newest;
        self.newest = before.max(header.max_timestamp);
        self.last_offset = header.last_offset();
        if let Some(entries) = &mut self.times {
            while let Some(entry) = entries.current.filter(|entry| entry.offset <= header.last_offset()) {
                if entry.offset < header.base_offset {
                    entries.fail("an entry names an offset that no batch has")?;
                } else if entry.timestamp != header.max_timestamp || before > entry.timestamp {
                    entries.fail("an entry names another time than its batch")?;
                } else {
                    entries.advance()?;
                }
            }
        }
        Ok(())
    }

    /// What is wrong: which file (0 offset, 1 time), where, and how. With `is_complete` the time index must end with the
    /// largest timestamp, as in a segment that was closed.
    pub fn finish(mut self, is_complete: bool) -> Result<Vec<(usize, Option<u64>, String)>, StorageError> {
        let mut faults = Vec::new();
        let missing = || "it is missing".to_owned();
        let (last_offset, newest) = (self.last_offset, self.newest);
        match &mut self.offsets {
            None => faults.push((0, None, missing())),
            Some(entries) => {
                if entries.current.is_some() {
                    entries.fail("an entry leads behind the end")?;
                }
                if entries.earlier.is_some_and(|entry| entry.offset > last_offset) {
                    entries.next = entries.file.len;
                    entries.fail("an entry names an offset behind the end")?;
                }
                faults.extend(entries.fault.take().map(|(at, what)| (0, Some(at), what)));
            }
        }
        match &mut self.times {
            None => faults.push((1, None, missing())),
            Some(entries) => {
                if entries.current.is_some() {
                    entries.fail("an entry names an offset behind the end")?;
                }
                let last = entries.earlier.map_or(-1, |entry| entry.timestamp);
                if is_complete && last != newest && entries.fault.is_none() {
                    entries.fail("the largest timestamp is missing at its end")?;
                }
                faults.extend(entries.fault.take().map(|(at, what)| (1, Some(at), what)));
            }
        }
        Ok(faults)
    }
}

/// The bytes of both indexes, built as batches pass (`LogSegment.recover`).
pub(super) struct Built {
    base: i64,
    interval: u64,
    since: u64,
    newest: TimeEntry,
    last_time: i64,
    pub offsets: Vec<u8>,
    pub times: Vec<u8>,
}

impl Built {
    pub fn new(base: i64, interval: u64) -> Built {
        let newest = TimeEntry { timestamp: -1, offset: base };
        Built { base, interval, since: 0, newest, last_time: -1, offsets: Vec::new(), times: Vec::new() }
    }

    pub fn batch(&mut self, position: u64, header: &BatchHeader) {
        let offset = header.last_offset();
        if header.max_timestamp > self.newest.timestamp {
            self.newest = TimeEntry { timestamp: header.max_timestamp, offset };
        }
        if self.since > self.interval {
            OffsetEntry { offset, position }.encode(self.base, &mut self.offsets);
            self.add_time();
            self.since = 0;
        }
        self.since += header.size_in_bytes() as u64;
    }

    fn add_time(&mut self) {
        if self.newest.timestamp > self.last_time {
            self.newest.encode(self.base, &mut self.times);
            self.last_time = self.newest.timestamp;
        }
    }

    pub fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        self.add_time();
        (self.offsets, self.times)
    }
}
