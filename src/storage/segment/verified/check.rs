//! Looks at batches before they are served.
//!
//! From a place that is known to be the start of a batch the check steps from batch to batch up to the end of what is to
//! be served. A batch is sound if its CRC is right, its offsets do not overlap those around it, and its leader epoch is
//! the one that the log has for them, or that of a neighbour. The CRC covers neither the base offset nor the leader epoch: a base offset that was
//! changed downwards overlaps the batch before, one that was changed upwards overlaps the batch behind, or leaves the
//! segment. Only where compaction left a gap as wide as the change it cannot be told.

use std::sync::Arc;

use super::super::epochs::LeaderEpochs;
use super::super::error::{StorageError, StorageErrorKind};
use super::super::files::FileHandle;
use super::super::index::Entry;
use super::super::offset_index::OffsetEntry;
use super::super::scan::{Bytes, CRC_START};
use super::super::walk::Located;
use super::{Damage, Known};
use crate::record::{BatchHeader, HEADER_LEN};

/// Read at once behind damage, where most of what is read is of no use.
const PROBE_BYTES: usize = 16 << 10;

/// A place from which batches can be followed, and what is known of the first batch there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The start of the segment: no offset below its base.
    Start { base: i64 },
    /// A batch that the offset index has: it ends with `last_offset`.
    Indexed { position: u64, last_offset: i64 },
    /// The first sound batch behind damage: it begins with `offset`.
    Resumed { position: u64, offset: i64 },
}

impl Anchor {
    /// Where it is.
    pub fn position(self) -> u64 {
        match self {
            Self::Start { .. } => 0,
            Self::Indexed { position, .. } | Self::Resumed { position, .. } => position,
        }
    }

    fn admits(self, header: &BatchHeader) -> bool {
        match self {
            Self::Start { base } => header.base_offset >= base,
            Self::Indexed { last_offset, .. } => header.last_offset() == last_offset,
            Self::Resumed { offset, .. } => header.base_offset == offset,
        }
    }
}

/// Bytes that must be looked at before they, or what was concluded from their headers, may be used.
#[derive(Debug, Clone)]
pub struct Doubt {
    pub known: Arc<Known>,
    pub log: Arc<FileHandle>,
    /// The `.index` file: where to go on behind damage.
    pub index: Arc<FileHandle>,
    /// Base offset of the segment.
    pub base: i64,
    /// Bytes of the segment, and an offset that no batch in it reaches.
    pub size: u64,
    pub next_offset: i64,
    pub epochs: LeaderEpochs,
    pub anchor: Anchor,
    /// Look up to here.
    pub to: u64,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Whether a batch begins where the caller said.
    pub begins: bool,
    /// The last batch boundary that is not above `to`.
    pub ends: u64,
}

impl Doubt {
    /// Whether all of it was found good before.
    pub fn is_settled(&self) -> bool {
        self.known.is_good(self.anchor.position(), self.to)
    }

    /// Looks at all of it, and remembers what was found. `begins` is where the caller believes a batch to begin. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// `Corrupt` at the first damage; it is known then, and reads before and behind it go on.
    pub fn settle(&self, begins: u64) -> Result<Checked, StorageError> {
        let from = self.anchor.position();
        let mut bytes = Bytes::new(&self.log, (self.to.saturating_sub(from)).min(1 << 20) as usize);
        let mut at = Place { position: from, next: self.base, epoch: None };
        // The batch before, while a gap in the offsets before it is not confirmed by the batch behind.
        let mut leap: Option<Place> = None;
        let mut checked = Checked { begins: from == begins, ends: from };
        let to = self.to.min(self.size);
        while at.position < to {
            checked.begins |= at.position == begins;
            let batch = match self.batch(&mut bytes, at) {
                Ok(batch) => batch,
                Err(Refused::Storage(error)) => return Err(error),
                Err(Refused::Overlap) => return self.damaged(from, leap.unwrap_or(at), "offsets overlap"),
                Err(Refused::Damaged(reason)) => return self.damaged(from, at, reason),
            };
            if at.position == from && !self.anchor.admits(&batch.header) {
                if let Anchor::Indexed { .. } = self.anchor {
                    // The index or the base offset: the batches before tell.
                    let anchor = Anchor::Start { base: self.base };
                    return Self { anchor, ..self.clone() }.settle(begins);
                }
                return self.damaged(from, at, "another base offset");
            }
            let witnessed = at.position == from && !matches!(self.anchor, Anchor::Start { .. });
            leap = (batch.header.base_offset > at.next && !witnessed).then_some(at);
            let epoch = Some(batch.header.partition_leader_epoch);
            at = Place { position: batch.end(), next: batch.next_offset(), epoch };
            if at.position <= self.to {
                checked.ends = at.position;
            }
        }
        if let Some(leap) = leap
            && at.position < self.size
            && self.header(&mut bytes, at.position)?.is_ok_and(|behind| behind.base_offset < at.next)
        {
            return self.damaged(from, leap, "offsets overlap");
        }
        checked.begins |= at.position == begins;
        self.known.mark_good(from, at.position);
        Ok(checked)
    }

    fn header(
        &self,
        bytes: &mut Bytes<'_>,
        position: u64,
    ) -> Result<Result<BatchHeader, String>, StorageError> {
        let mut header = [0; HEADER_LEN];
        if self.size - position < HEADER_LEN as u64 || !bytes.fill(position, &mut header)? {
            return Ok(Err("a batch header is cut".to_owned()));
        }
        Ok(BatchHeader::parse(&header).map_err(|error| error.to_string()))
    }

    /// The batch at a place, if it is sound.
    fn batch(&self, bytes: &mut Bytes<'_>, at: Place) -> Result<Located, Refused> {
        let header = self.header(bytes, at.position)?.map_err(Refused::Damaged)?;
        let damaged = |reason: &str| Err(Refused::Damaged(reason.to_owned()));
        let last_offset = header.base_offset.checked_add(i64::from(header.last_offset_delta));
        if header.last_offset_delta < 0 || last_offset.is_none_or(|last| last >= self.next_offset) {
            return damaged("offsets that are not of this segment");
        }
        let batch = Located { position: at.position, header };
        if batch.end() > self.size {
            return damaged("a batch is cut");
        }
        let crc = match bytes.crc(at.position + CRC_START, batch.end()) {
            Err(error) if error.kind() == StorageErrorKind::Corrupt => return damaged("the file ends early"),
            crc => crc?,
        };
        if crc != header.crc {
            return damaged("checksum mismatch");
        }
        if header.base_offset < at.next {
            return Err(Refused::Overlap);
        }
        let epoch = self.epochs.epoch_for(header.last_offset());
        if epoch >= 0 && epoch != header.partition_leader_epoch {
            // One of the two is wrong. A neighbour tells which: sound records must not go with a damaged file of epochs.
            let found = header.partition_leader_epoch;
            let agrees = at.epoch == Some(found)
                || batch.end() < self.size
                    && self
                        .header(bytes, batch.end())?
                        .is_ok_and(|behind| behind.partition_leader_epoch == found);
            if !agrees {
                return damaged("another leader epoch than the log has");
            }
        }
        Ok(batch)
    }

    fn damaged(&self, from: u64, at: Place, reason: impl Into<String>) -> Result<Checked, StorageError> {
        let reason = reason.into();
        let path = self.log.path();
        self.known.mark_good(from, at.position);
        let (resume, next_offset) = self.behind(at)?;
        let error = StorageError::corrupt(&path, at.position, reason.as_str());
        let offset = at.next;
        self.known.add(&path, Damage { position: at.position, resume, offset, next_offset, reason });
        Err(error)
    }

    /// Where a sound batch follows, and its first offset; else the end of the segment.
    fn behind(&self, at: Place) -> Result<(u64, i64), StorageError> {
        let mut bytes = Bytes::new(&self.log, PROBE_BYTES);
        let mut sound = |position: u64| match self
            .batch(&mut bytes, Place { position, next: at.next, epoch: at.epoch })
        {
            Ok(batch) => Ok(Some(batch.header)),
            Err(Refused::Storage(error)) => Err(error),
            Err(_) => Ok(None),
        };
        // As long as the header is whole, it tells where the next batch is.
        let mut probe = Bytes::new(&self.log, PROBE_BYTES);
        if let Ok(header) = self.header(&mut probe, at.position)? {
            let end = at.position + header.size_in_bytes() as u64;
            if end == self.size {
                return Ok((self.size, self.next_offset));
            }
            if end < self.size
                && let Some(next) = sound(end)?
            {
                return Ok((end, next.base_offset));
            }
        }
        let own = Some(self.known.own_from).filter(|own| (at.position + 1..self.size).contains(own));
        for entry in self.indexed_behind(at.position) {
            if entry.position >= own.unwrap_or(self.size) {
                break;
            }
            if let Some(header) = sound(entry.position)?.filter(|found| found.last_offset() == entry.offset) {
                return Ok((entry.position, header.base_offset));
            }
        }
        if let Some(own) = own
            && let Some(header) = sound(own)?
        {
            return Ok((own, header.base_offset));
        }
        Ok((self.size, self.next_offset))
    }

    /// The entries of the index file behind a position. Without the file there are none.
    fn indexed_behind(&self, position: u64) -> Vec<OffsetEntry> {
        let length = self.index.len().unwrap_or(0);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let filled = self.index.read_at(&mut bytes, 0).unwrap_or(0);
        let entries = bytes[..filled].chunks_exact(OffsetEntry::SIZE);
        entries
            .map(|entry| OffsetEntry::decode(self.base, entry))
            .filter(|entry| entry.position > position)
            .collect()
    }
}

/// A place in the file, and the lowest offset that may be there.
#[derive(Debug, Clone, Copy)]
struct Place {
    position: u64,
    next: i64,
    /// Leader epoch of the batch before, if that was looked at.
    epoch: Option<i32>,
}

/// Why a batch is not sound.
enum Refused {
    /// It begins below the end of the one before: one of them is wrong.
    Overlap,
    Damaged(String),
    Storage(StorageError),
}

impl From<StorageError> for Refused {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
