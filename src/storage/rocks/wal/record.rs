//! One record of a log file: a write, or a part of one that crosses blocks.

use super::BLOCK;

/// Bytes before the payload, without a log number.
pub(super) const HEADER: usize = 7;
/// Records of a recycled file have the log's number as well.
const LOG_NUMBER: usize = 4;
/// Where the bytes that the CRC covers begin: with the type.
const COVERED_FROM: usize = 6;
/// Sequence and count at the begin of each write.
const WRITE_HEADER: usize = 12;

/// What of a write a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    First,
    Middle,
    Last,
    /// No write: something RocksDB notes about the file.
    Other,
}

/// An intact record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub kind: Part,
    payload: usize,
    /// Position behind it.
    pub end: usize,
}

/// What a header claims, unchecked: kind, position of the payload, end.
fn claimed_at(bytes: &[u8], position: usize) -> Option<(Part, usize, usize)> {
    let header = bytes.get(position..position + HEADER)?;
    let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let (kind, extra) = match header[6] {
        1 => (Part::Whole, 0),
        2 => (Part::First, 0),
        3 => (Part::Middle, 0),
        4 => (Part::Last, 0),
        5 => (Part::Whole, LOG_NUMBER),
        6 => (Part::First, LOG_NUMBER),
        7 => (Part::Middle, LOG_NUMBER),
        8 => (Part::Last, LOG_NUMBER),
        9 | 10 | 130 => (Part::Other, 0),
        11 | 131 => (Part::Other, LOG_NUMBER),
        _ => return None,
    };
    let payload = position + HEADER + extra;
    let end = payload + length;
    (end <= (position / BLOCK + 1) * BLOCK).then_some((kind, payload, end))
}

/// The record at `position`, if it is whole and its CRC matches.
pub(super) fn part_at(bytes: &[u8], position: usize) -> Option<Found> {
    let (kind, payload, end) = claimed_at(bytes, position)?;
    let covered = bytes.get(position + COVERED_FROM..end)?;
    let stored = u32::from_le_bytes(bytes.get(position..position + 4)?.try_into().ok()?);
    (stored == masked(crc32c::crc32c(covered))).then_some(Found { kind, payload, end })
}

/// Whether the record at `position` may be intact as far as the file goes: it ends where the file ends, or has its end
/// beyond it.
pub(super) fn reaches_beyond(bytes: &[u8], position: usize) -> bool {
    match claimed_at(bytes, position) {
        Some((_, _, end)) => end > bytes.len(),
        None => position + HEADER > bytes.len(),
    }
}

/// RocksDB stores no bare CRC, so that the CRC of data that holds CRCs is sound (`util/crc32c.h`).
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Sequence number and count of the write whose intact first record is at `position`.
pub(super) fn sequence_at(bytes: &[u8], position: usize) -> Option<(u64, u32)> {
    let found = part_at(bytes, position)?;
    let mut header = bytes.get(found.payload..found.end)?.to_vec();
    if header.len() < WRITE_HEADER && found.kind == Part::First {
        // A few bytes at the end of a block: the rest begins the next one.
        let next = part_at(bytes, found.end.next_multiple_of(BLOCK))?;
        header.extend_from_slice(bytes.get(next.payload..next.end)?);
    }
    numbers(&header)
}

fn numbers(header: &[u8]) -> Option<(u64, u32)> {
    let sequence = u64::from_le_bytes(header.get(..8)?.try_into().ok()?);
    let count = u32::from_le_bytes(header.get(8..WRITE_HEADER)?.try_into().ok()?);
    Some((sequence, count))
}

/// The intact beginning of a write at `position`, whose sequence number is one that `may_be`: what is cheap is looked at
/// first, because this is asked at every position.
pub(super) fn beginning_at(
    bytes: &[u8],
    position: usize,
    may_be: &dyn Fn(u64) -> bool,
) -> Option<(u64, u32)> {
    let (kind, payload, end) = claimed_at(bytes, position)?;
    if !matches!(kind, Part::Whole | Part::First) || end > bytes.len() {
        return None;
    }
    if let Some((sequence, _)) = bytes.get(payload..end).and_then(numbers)
        && !may_be(sequence)
    {
        return None;
    }
    // The first part of a write goes to the end of its block.
    if kind == Part::First && end % BLOCK != 0 {
        return None;
    }
    sequence_at(bytes, position).filter(|(sequence, _)| may_be(*sequence))
}
