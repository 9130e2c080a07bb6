//! From batch to batch of a segment, also behind damage: which bytes are sound, and which header field is to blame.
//!
//! A header's first 17 bytes (base offset, length, leader epoch, magic) are outside the checksum. When a batch does not fit,
//! they are suspected first: if the checksum holds with another length, or an offset that fits, the records are intact.
//! Behind what cannot be explained the walk goes on at the next place where a whole batch with a right checksum and an
//! offset that can follow begins.

use super::bytes::{CRC_FROM, FileBytes};
use crate::record::{BatchHeader, Compression, DecompressError, HEADER_LEN, Records, decompress};
use crate::storage::segment::error::StorageError;

/// Batches up to this size are unfolded and their records looked at; of larger ones the checksum has to do.
const LOOKED_INTO_MAX: usize = 64 << 20;
const MAGIC_V2: u8 = 2;

/// What stands in a segment, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A sound batch. `mended` is why its header had to be corrected; `header` is as corrected.
    Batch { position: u64, header: BatchHeader, mended: Option<String> },
    /// Bytes that are no batch.
    Damage { from: u64, to: u64, reason: String },
}

/// Where a segment lies among the offsets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub base: i64,
    /// No offset in the segment is at or above this.
    pub bound: i64,
    /// Bytes to which records are unfolded.
    pub max_unfolded: usize,
}

/// A batch that is not handed on yet, since the next one may show that its offset is wrong.
struct Held {
    position: u64,
    header: BatchHeader,
    mended: Option<String>,
    /// Where it could have begun at the earliest.
    earliest: i64,
}

/// The walk.
pub(super) struct Walk<'a> {
    file: &'a mut FileBytes,
    place: Place,
    position: u64,
    /// The offset that comes next at the earliest.
    expected: i64,
    held: Option<Held>,
    /// No offset was left out so far, as in a log that was never compacted.
    is_dense: bool,
}

impl<'a> Walk<'a> {
    pub fn new(file: &'a mut FileBytes, place: Place) -> Walk<'a> {
        Walk { file, place, position: 0, expected: place.base, held: None, is_dense: true }
    }

    /// Hands each piece to `visit`, with the file.
    pub fn run(
        mut self,
        visit: &mut dyn FnMut(&mut FileBytes, Piece) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        while self.position < self.file.len {
            match self.file.batch(self.position)? {
                Ok(header) => self.checked(header, visit)?,
                Err(reason) => self.broken(reason, visit)?,
            }
        }
        self.release(visit)
    }

    fn fits(&self, header: &BatchHeader) -> bool {
        header.base_offset >= self.expected && header.last_offset() < self.place.bound
    }

    /// A batch whose checksum is right.
    fn checked(
        &mut self,
        header: BatchHeader,
        visit: &mut dyn FnMut(&mut FileBytes, Piece) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let end = self.position + header.size_in_bytes() as u64;
        if let Some(reason) = self.unreadable(&header)? {
            return self.damage(end, reason, visit);
        }
        if self.fits(&header) {
            return self.take(header, None, visit);
        }
        if header.base_offset < self.expected
            && let Some(held) = &self.held
            && held.mended.is_none()
            && held.header.base_offset > held.earliest
            && header.base_offset > held.earliest.saturating_add(i64::from(held.header.last_offset_delta))
        {
            // The batch before claims offsets of this one, and could lie lower: it is the one that is wrong.
            let next = header.base_offset;
            self.blame_held(next, visit)?;
            return Ok(());
        }
        let length = i64::from(header.last_offset_delta) + 1;
        let behind = match end < self.file.len {
            true => self.file.batch(end)?.ok().map(|next| next.base_offset),
            false => None,
        };
        let is_exact = behind == Some(self.expected.saturating_add(length));
        if is_exact || (behind.is_none() && self.is_dense) {
            let reason = format!("the base offset is {}, which cannot be", header.base_offset);
            let header = BatchHeader { base_offset: self.expected, ..header };
            if self.fits(&header) {
                return self.take(header, Some(reason), visit);
            }
        }
        self.damage(end, format!("the base offset {} does not fit here", header.base_offset), visit)
    }

    /// Gives the held batch the only offset it can have, or gives it up.
    fn blame_held(
        &mut self,
        next: i64,
        visit: &mut dyn FnMut(&mut FileBytes, Piece) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let length = i64::from(held.header.last_offset_delta) + 1;
        let reason = format!("the base offset is {}, which cannot be", held.header.base_offset);
        if held.earliest + length == next {
            held.header.base_offset = held.earliest;
            held.mended = Some(reason);
            self.expected = next;
            return Ok(());
        }
        let (from, to) = (held.position, held.position + held.header.size_in_bytes() as u64);
        self.expected = held.earliest;
        self.held = None;
        visit(self.file, Piece::Damage { from, to, reason })
    }

    /// No batch with a right checksum is here.
    fn broken(
        &mut self,
        reason: String,
        visit: &mut dyn FnMut(&mut FileBytes, Piece) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let (to, next) = self.resume()?;
        if let Some(header) = self.with_length(to)? {
            let length = i64::from(header.last_offset_delta) + 1;
            let last = next.unwrap_or(self.place.bound);
            let is_placed = self.fits(&header) && header.last_offset() < last;
            let fits_exactly = next == Some(self.expected.saturating_add(length));
            let base_offset = if is_placed { header.base_offset } else { self.expected };
            let header = BatchHeader { base_offset, ..header };
            if (is_placed || fits_exactly || (next.is_none() && self.is_dense))
                && self.fits(&header)
                && self.unreadable(&header)?.is_none()
            {
                return self.take(header, Some(format!("the header is wrong: {reason}")), visit);
            }
        }
        self.damage(to, reason, visit)
    }

    /// Where the walk can go on behind damage, and the offset there; the end of the file if nowhere.
    fn resume(&mut self) -> Result<(u64, Option<i64>), StorageError> {
        let claimed = self.claimed()?;
        let Some((found, next)) = self.search(self.position + 1)? else {
            return Ok(claimed.unwrap_or((self.file.len, None)));
        };
        // Where the length leads is as good as what was found in front of it, unless batches lie one behind the other from
        // there on: the value of a record may hold a whole batch, but something of the record follows it.
        if let Some((end, after)) = claimed
            && found < end
            && !self.is_chain(found, end)?
        {
            return Ok((end, after));
        }
        Ok((found, Some(next)))
    }

    /// Where the next batch begins if the length is right, when one does, and its offset.
    fn claimed(&mut self) -> Result<Option<(u64, Option<i64>)>, StorageError> {
        let Ok(header) = BatchHeader::parse(self.file.head(self.position)?) else { return Ok(None) };
        let end = self.position + header.size_in_bytes() as u64;
        if end == self.file.len {
            return Ok(Some((end, None)));
        }
        if end > self.file.len {
            return Ok(None);
        }
        let next = self.file.batch(end)?.ok().filter(|next| self.fits(next));
        Ok(next.map(|next| (end, Some(next.base_offset))))
    }

    /// The first place from `at` on where a batch begins that can follow, and its offset.
    fn search(&mut self, mut at: u64) -> Result<Option<(u64, i64)>, StorageError> {
        while at + HEADER_LEN as u64 <= self.file.len {
            if let Some(skip) = self.unlikely(at)? {
                at += skip;
                continue;
            }
            if let Ok(next) = self.file.batch(at)?
                && self.fits(&next)
            {
                return Ok(Some((at, next.base_offset)));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Whether batches lie one behind the other from `at` to `end` or beyond.
    fn is_chain(&mut self, mut at: u64, end: u64) -> Result<bool, StorageError> {
        while at < end {
            match self.file.batch(at)? {
                Ok(header) => at += header.size_in_bytes() as u64,
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// How many places from `at` on are surely no beginning of a batch; none if this one may be.
    fn unlikely(&mut self, at: u64) -> Result<Option<u64>, StorageError> {
        let (expected, bound, len) = (self.expected, self.place.bound, self.file.len);
        let bytes = self.file.from(at, HEADER_LEN)?;
        let last = bytes.len() - HEADER_LEN;
        for skip in 0..=last {
            let here = &bytes[skip..];
            if here[16] != MAGIC_V2 {
                continue;
            }
            let Ok(header) = BatchHeader::parse(here) else { continue };
            let ends = at + skip as u64 + header.size_in_bytes() as u64;
            let fits = header.base_offset >= expected && header.last_offset() < bound;
            if fits && header.last_offset_delta >= 0 && ends <= len {
                return Ok((skip > 0).then_some(skip as u64));
            }
        }
        Ok(Some(last as u64 + 1))
    }

    /// The header here with the length that reaches to `to`, if the checksum then holds.
    fn with_length(&mut self, to: u64) -> Result<Option<BatchHeader>, StorageError> {
        let mut head = self.file.head(self.position)?.to_vec();
        let Ok(length) = i32::try_from((to - self.position).saturating_sub(12)) else { return Ok(None) };
        if head.len() < HEADER_LEN {
            return Ok(None);
        }
        head[8..12].copy_from_slice(&length.to_be_bytes());
        head[16] = MAGIC_V2;
        let Ok(header) = BatchHeader::parse(&head) else { return Ok(None) };
        if header.last_offset_delta < 0 || header.base_offset < 0 && !self.is_dense {
            return Ok(None);
        }
        let is_right = self.file.crc(self.position + CRC_FROM, to)? == header.crc;
        Ok(is_right.then_some(header))
    }

    /// Why the records of the batch here are not what its header says, if they are not.
    fn unreadable(&mut self, header: &BatchHeader) -> Result<Option<String>, StorageError> {
        let size = header.size_in_bytes();
        if size > LOOKED_INTO_MAX {
            return Ok(None);
        }
        let bytes = self.file.from(self.position, size)?;
        Ok(records_fault(header, bytes.get(HEADER_LEN..size).unwrap_or_default(), self.place.max_unfolded))
    }

    fn take(
        &mut self,
        header: BatchHeader,
        mended: Option<String>,
        visit: &mut dyn FnMut(&mut FileBytes, Piece) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.release(visit)?;
        let position = self.position;
        self.held = Some(Held { position, header, mended, earliest: self.expected });
        self.expected = header.last_offset().saturating_add(1);
        self.position += header.size_in_bytes() as u64;
        Ok(())
    }

    fn release(
        &mut self,
        visit: &mut dyn FnMut(&mut FileBytes, Piece) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let Some(held) = self.held.take() else { return Ok(()) };
        self.is_dense &= held.header.base_offset == held.earliest;
        let Held { position, mut header, mended, .. } = held;
        // Read anew with its own length and magic, which a correction may have changed.
        header.magic = MAGIC_V2 as i8;
        visit(self.file, Piece::Batch { position, header, mended })
    }

    fn damage(
        &mut self,
        to: u64,
        reason: String,
        visit: &mut dyn FnMut(&mut FileBytes, Piece) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.release(visit)?;
        let from = self.position;
        self.position = to;
        // What was here had offsets.
        self.is_dense = false;
        visit(self.file, Piece::Damage { from, to, reason })
    }
}

/// Why `payload` is not the records that `header` announces.
fn records_fault(header: &BatchHeader, payload: &[u8], max_unfolded: usize) -> Option<String> {
    let codec = match header.compression() {
        Ok(codec) => codec,
        Err(error) => return Some(error.to_string()),
    };
    let unfolded;
    let records = if codec == Compression::None || header.record_count == 0 && payload.is_empty() {
        payload
    } else {
        match decompress(codec, payload, max_unfolded) {
            Ok(bytes) => {
                unfolded = bytes;
                &unfolded
            }
            Err(DecompressError::TooLarge { .. }) => return None,
            Err(error) => return Some(error.to_string()),
        }
    };
    let mut last = -1;
    for record in Records::new(records, header.record_count) {
        match record {
            Ok(record) if record.offset_delta <= last || record.offset_delta > header.last_offset_delta => {
                return Some("the offsets of its records do not rise".to_owned());
            }
            Ok(record) => last = record.offset_delta,
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}
