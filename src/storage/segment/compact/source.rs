//! What of a log can be rewritten, as it was at one moment.

use std::fs::File;
use std::sync::Arc;

use super::super::dir::segment_path;
use super::super::error::StorageError;
use super::super::files::LogDir;
use super::super::log::{Log, LogConfig};
use super::super::txn_index::AbortedTransaction;
use super::error::CompactError;
use super::group::{self, Sizes};

/// The sealed segments of a log below an offset. Holds no lock, and no file but the directory.
#[derive(Debug)]
pub struct Source {
    pub(super) dir: Arc<LogDir>,
    /// Files are opened by it, so that they are this log's even if the directory is renamed.
    pub(super) entries: Arc<File>,
    pub(super) config: LogConfig,
    pub(super) segments: Vec<SourceSegment>,
    /// The log's count of truncations.
    pub(super) truncations: u64,
    pub(super) aborted: Vec<AbortedTransaction>,
    end: i64,
}

/// One segment of a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceSegment {
    pub base: i64,
    pub next_offset: i64,
    pub size: u64,
    pub has_txn_index: bool,
}

/// Neighbours that become one segment. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub(super) segments: Vec<SourceSegment>,
}

impl Group {
    pub(super) fn first(&self) -> SourceSegment {
        self.segments[0]
    }

    /// Base offset of the first segment, which is that of the new one.
    pub fn base_offset(&self) -> i64 {
        self.first().base
    }

    /// First offset behind the last segment.
    pub fn next_offset(&self) -> i64 {
        self.segments[self.segments.len() - 1].next_offset
    }

    /// Bytes of the `.log` files.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }
}

impl Log {
    /// What can be rewritten below `end`: the sealed segments that lie wholly below it and are durable. Call it under the
    /// lock of the partition; it reads nothing but the indexes of aborted transactions, where there are any.
    pub fn compaction_source(&self, end: i64) -> Result<Source, StorageError> {
        self.check_open()?;
        self.dir.check()?;
        let end = end.min(self.flushed_offset);
        let segments: Vec<_> = self
            .sealed
            .iter()
            .enumerate()
            .map(|(index, segment)| SourceSegment {
                base: segment.base,
                next_offset: self.bound(index),
                size: segment.size,
                has_txn_index: segment.txn.is_some(),
            })
            .take_while(|segment| segment.next_offset <= end)
            .collect();
        let (first, end) = match (segments.first(), segments.last()) {
            (Some(first), Some(last)) => (first.base, last.next_offset),
            _ => (self.start_offset, self.start_offset),
        };
        Ok(Source {
            dir: self.dir.clone(),
            entries: self.entries.file()?,
            config: self.config,
            truncations: self.dir.truncations(),
            aborted: if segments.is_empty() { Vec::new() } else { self.aborted(first, end)? },
            segments,
            end,
        })
    }
}

impl Source {
    /// First offset behind the segments: nothing at or above it can be cleaned
    /// (`LogToClean.firstUncleanableOffset`).
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Base offset of the first segment; [`Self::end`] if there is none.
    pub fn begin(&self) -> i64 {
        self.segments.first().map_or(self.end, |segment| segment.base)
    }

    /// Bytes of the `.log` files from the segment with `offset` on.
    pub fn size_bytes_from(&self, offset: i64) -> u64 {
        self.segments.iter().filter(|segment| segment.next_offset > offset).map(|segment| segment.size).sum()
    }

    /// The segments that begin below `known_end`, grouped within `segment.bytes` and `segment.index.bytes`.
    pub fn groups(&self, known_end: i64) -> Result<Vec<Group>, CompactError> {
        let length = |base, extension| {
            let path = segment_path(&self.dir.path, base, extension);
            match rustix::fs::statat(
                &self.entries,
                path.file_name().unwrap_or_default(),
                rustix::fs::AtFlags::empty(),
            ) {
                Ok(stat) => Ok(u64::try_from(stat.st_size).unwrap_or(0)),
                Err(rustix::io::Errno::NOENT) => Ok(0),
                Err(error) => Err(StorageError::io("inspect", &path, error.into())),
            }
        };
        let below = self.segments.partition_point(|segment| segment.base < known_end);
        let segments = &self.segments[..below];
        let sizes = segments
            .iter()
            .map(|segment| {
                Ok(Sizes {
                    base: segment.base,
                    next_offset: segment.next_offset,
                    log: segment.size,
                    index: length(segment.base, ".index")?,
                    time: length(segment.base, ".timeindex")?,
                })
            })
            .collect::<Result<Vec<_>, StorageError>>()?;
        let log_limit = self.config.segment_bytes.min(i32::MAX as u64);
        let groups = group::group(&sizes, log_limit, u64::from(self.config.segment_index_bytes));
        Ok(groups.into_iter().map(|range| Group { segments: segments[range].to_vec() }).collect())
    }

    /// The error for a file that is not what the source says: damage, or the log moved on.
    pub(super) fn or_changed(&self, error: CompactError) -> CompactError {
        if self.dir.truncations() != self.truncations {
            return CompactError::Changed { path: self.dir.path.clone() };
        }
        error
    }
}
