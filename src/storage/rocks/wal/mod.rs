//! Looks at the write-ahead log before RocksDB replays it.
//!
//! RocksDB ends replay at the first record that does not check, and says nothing: the normal trace of a power cut looks the
//! same as a flipped bit in the midst of synced records, and what lies behind the bit would be gone. The difference is
//! what is behind: behind a torn write there is no later one.
//!
//! ```text
//!   file    blocks of 32 KiB; fewer than 7 bytes at the end of a block are zero
//!   record  masked CRC-32C u32 | length u16 | type u8 | [log number u32] | payload      (little endian)
//!   type    1 whole, 2 first, 3 middle, 4 last part of a write; 5–8 the same with the log number
//!   write   sequence u64 | count u32 | its operations
//! ```
//!
//! (RocksDB's `db/log_format.h`, `db/log_reader.cc`, `db/write_batch.cc`.) Each write takes `count` sequence numbers, and the
//! next one begins behind them, in the next file as well: so two writes show whether one is missing between them. What cannot be
//! told: damage to the very last write, and an oldest file that was emptied to the last byte.

mod record;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use record::{Part, part_at, sequence_at};

const BLOCK: usize = 32 * 1024;
/// What a disk writes as a whole: what a power cut kept from it is a hole of zeros of such a size.
const SECTOR: usize = 512;
/// Operations that can be missing at most: each has bytes of its own in a log of some mebibytes.
const MISSING_MAX: u64 = 1 << 28;

/// Writes are missing from the log though later ones are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    /// The file with the first record that does not check.
    pub file: PathBuf,
    /// Where that record begins, in bytes.
    pub position: u64,
    /// Where the next intact write is.
    pub intact: (PathBuf, u64),
    /// Something in between was never written, instead of written and changed.
    pub is_hole: bool,
}

/// One file of the log.
struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// The first place in the logs of the database in `dir` behind which intact writes would not be replayed; `None` also for a
/// torn end. Reads all of them: some mebibytes.
///
/// # Errors
/// When they cannot be read.
pub(super) fn damage(dir: &Path) -> io::Result<Option<Damage>> {
    let files = read_logs(dir)?;
    let mut expected = None;
    for (index, file) in files.iter().enumerate() {
        let broken = walk(file, &mut expected);
        let Some(next) = expected else {
            // Not one intact write yet: any write that is found is behind damage, if there are bytes before it.
            if broken < file.bytes.len()
                && let Some(intact) = first_write(&files[index..], broken, 0)
            {
                return Ok(Some(describe(&files, index, broken, intact)));
            }
            continue;
        };
        if let Some(intact) = first_write(&files[index..], broken, next)
            // One that follows directly shows that nothing is missing: an earlier start had cut off a torn end there.
            && intact.2 > next
        {
            return Ok(Some(describe(&files, index, broken, intact)));
        }
    }
    Ok(None)
}

fn describe(files: &[File], index: usize, broken: usize, (ahead, found, _): (usize, usize, u64)) -> Damage {
    let file = &files[index];
    let end = if ahead == 0 { found } else { file.bytes.len() };
    Damage {
        file: file.path.clone(),
        position: broken as u64,
        intact: (files[index + ahead].path.clone(), found as u64),
        // Lost in the midst, or cut off at the end while a later file is there.
        is_hole: has_empty_sector(&file.bytes, broken, end) || ahead > 0 && is_cut_off(&file.bytes, broken),
    }
}

/// All logs of the database, oldest first.
fn read_logs(dir: &Path) -> io::Result<Vec<File>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbered = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".log"));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            numbered.push((number, path));
        }
    }
    numbered.sort();
    numbered.into_iter().map(|(_, path)| Ok(File { bytes: fs::read(&path)?, path })).collect()
}

/// Follows the writes of a file as RocksDB does. The position of the first write that does not check, or of the end of the
/// file; `expected` becomes the sequence number behind the last one that does.
fn walk(file: &File, expected: &mut Option<u64>) -> usize {
    let bytes = &file.bytes;
    let (mut position, mut begun) = (0, None);
    loop {
        let rest = BLOCK - position % BLOCK;
        if rest < record::HEADER {
            position += rest;
            continue;
        }
        let Some(part) = part_at(bytes, position) else {
            return begun.unwrap_or(position.min(bytes.len()));
        };
        match (part.kind, begun) {
            (Part::Whole, None) => *expected = after(bytes, position).or(*expected),
            (Part::First, None) => begun = Some(position),
            (Part::Middle, Some(_)) | (Part::Other, _) => {}
            (Part::Last, Some(first)) => {
                *expected = after(bytes, first).or(*expected);
                begun = None;
            }
            (Part::Whole | Part::First, Some(first)) => return first,
            (Part::Middle | Part::Last, None) => return position,
        }
        position = part.end;
    }
}

/// The sequence number behind the write at `position`.
fn after(bytes: &[u8], position: usize) -> Option<u64> {
    let (sequence, count) = sequence_at(bytes, position)?;
    Some(sequence + u64::from(count))
}

/// The first intact beginning of a write of sequence number `least` or later: in the first of `files` behind `from`, at whatever
/// position, and in the others. Which file, where, and its number.
fn first_write(files: &[File], from: usize, least: u64) -> Option<(usize, usize, u64)> {
    for (index, file) in files.iter().enumerate() {
        let begin = if index == 0 { from } else { 0 };
        // The write at `from` itself is the one that does not check, unless its file ends there.
        for position in begin..file.bytes.len() {
            if index == 0 && position == from {
                continue;
            }
            let Some((sequence, _)) = record::beginning_at(&file.bytes, position, &|sequence| {
                // A number far beyond is no number, and its CRC is not worth the time.
                least == 0 || sequence >= least && sequence - least <= MISSING_MAX
            }) else {
                continue;
            };
            return Some((index, position, sequence));
        }
    }
    None
}

fn has_empty_sector(bytes: &[u8], from: usize, to: usize) -> bool {
    let sectors = bytes.get(from.next_multiple_of(SECTOR)..to).unwrap_or_default();
    sectors.chunks_exact(SECTOR).any(|sector| sector.iter().all(|byte| *byte == 0))
}

/// The write at `position` is not damaged as far as it is there.
fn is_cut_off(bytes: &[u8], mut position: usize) -> bool {
    loop {
        let rest = BLOCK - position % BLOCK;
        if rest < record::HEADER {
            position += rest;
        } else if let Some(part) = part_at(bytes, position) {
            position = part.end;
        } else {
            return record::reaches_beyond(bytes, position);
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
