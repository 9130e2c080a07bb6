//! A partition directory of any content, as a power cut or a bad disk may leave it. After an unclean stop exactly the
//! sound batches in front of the first damage are served. What is said to be durable, by a clean stop or a recovery point,
//! is trusted where it is not looked at; nothing panics even so, and a sound log is served in full.
//!
//! An input is 16 bytes of instructions, then index entries, then the log: see [`Input`]. The directory is made anew for
//! each of them, so point TMPDIR at memory.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidelog::record::{BatchHeader, EndMarker, crc_matches};
use tidelog::storage::segment::{
    AbortedTransaction, FileCache, Log, LogConfig, OpenOptions, Recovery, Replay, StorageError,
    StorageErrorKind,
};

#[path = "../allocation_limit.rs"]
mod allocation_limit;
#[path = "../checksums.rs"]
mod checksums;

const CLEAN: u8 = 1;
const TWO_SEGMENTS: u8 = 2;
const RECOVERY_POINT: u8 = 4;

/// A small directory for one log.
struct Input {
    /// Whether the last stop is said to have been orderly.
    clean: bool,
    /// Offset below which everything is said to be durable, 0 for none.
    recovery_point: i64,
    /// Base offset and bytes of each segment.
    segments: Vec<(i64, Vec<u8>)>,
    /// Content of the first segment's offset index.
    index: Vec<u8>,
    /// Content of the first segment's time index.
    time_index: Vec<u8>,
}

impl Input {
    /// flags, which batches get a right checksum (a bit each), base offset (6), distance of the second segment's base
    /// (2), where it begins in the log (2), entries of the indexes (1 and 1), distance of the recovery point (2).
    fn parse(data: &[u8]) -> Option<Input> {
        let (instructions, rest) = data.split_first_chunk::<16>()?;
        let [
            flags,
            sound,
            b0,
            b1,
            b2,
            b3,
            b4,
            b5,
            d0,
            d1,
            s0,
            s1,
            entries,
            times,
            r0,
            r1,
        ] = *instructions;
        // 48 bits: a log gets nowhere near the end of the 64, and the file's name says where it is.
        let base = i64::from_be_bytes([0, 0, b0, b1, b2, b3, b4, b5]);
        let (index, rest) = rest.split_at(rest.len().min(usize::from(entries) * 8));
        let (time_index, log) = rest.split_at(rest.len().min(usize::from(times) * 12));
        let split = if flags & TWO_SEGMENTS == 0 {
            log.len()
        } else {
            usize::from(u16::from_be_bytes([s0, s1])).min(log.len())
        };
        let (mut first, mut second) = (log[..split].to_vec(), log[split..].to_vec());
        checksums::repair(&mut first, sound);
        checksums::repair(&mut second, sound);
        let mut segments = vec![(base, first)];
        if flags & TWO_SEGMENTS != 0 {
            segments.push((base + 1 + i64::from(u16::from_be_bytes([d0, d1])), second));
        }
        Some(Input {
            clean: flags & CLEAN != 0,
            recovery_point: if flags & RECOVERY_POINT == 0 {
                0
            } else {
                base + i64::from(u16::from_be_bytes([r0, r1]))
            },
            segments,
            index: index.to_vec(),
            time_index: time_index.to_vec(),
        })
    }

    fn write(&self, dir: &Path) {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).expect("a directory for the log");
        let file = |base: i64, extension: &str, content: &[u8]| {
            fs::write(dir.join(format!("{base:020}{extension}")), content).expect("a file of the log");
        };
        for (base, log) in &self.segments {
            file(*base, ".log", log);
        }
        file(self.segments[0].0, ".index", &self.index);
        file(self.segments[0].0, ".timeindex", &self.time_index);
    }
}

/// Follows no batches.
struct Nobody;

impl Replay for Nobody {
    fn begin(&mut self, _needed: i64) -> i64 {
        i64::MAX
    }

    fn batch(&mut self, _: &BatchHeader, _: Option<&EndMarker>) -> Option<AbortedTransaction> {
        None
    }
}

fn open(dir: &Path, clean: bool, recovery_point: i64) -> Result<(Log, Recovery), StorageError> {
    let options = OpenOptions {
        // Entries so dense that a few hundred bytes have some.
        config: LogConfig {
            index_interval_bytes: 100,
            ..LogConfig::default()
        },
        files: FileCache::new(8),
        clean,
        recovery_point,
        log_start_offset: 0,
        now_ms: 0,
        replay: &mut Nobody,
    };
    Log::open(dir, options)
}

/// What the format calls sound, read without the code under test: the prefix's batches, and the offset behind them.
fn sound_prefix(base: i64, log: &[u8]) -> (Vec<(BatchHeader, Vec<u8>)>, i64) {
    let (mut batches, mut next, mut rest) = (Vec::new(), base, log);
    while let Ok(header) = BatchHeader::parse(rest) {
        let last = header
            .base_offset
            .checked_add(i64::from(header.last_offset_delta));
        let Some(last) =
            last.filter(|last| header.base_offset >= next && *last - base <= i64::from(i32::MAX))
        else {
            break;
        };
        let Some(batch) = rest.get(..header.size_in_bytes()) else {
            break;
        };
        if header.last_offset_delta < 0 || !crc_matches(batch) {
            break;
        }
        batches.push((header, batch.to_vec()));
        next = last + 1;
        rest = &rest[batch.len()..];
    }
    (batches, next)
}

/// Every batch a reader gets from the log start on, or where reading failed.
fn served(log: &Log) -> Result<Vec<u8>, String> {
    let (mut bytes, mut offset) = (Vec::new(), log.start_offset());
    while offset < log.end_offset() {
        let slice = log
            .read(offset, 300, i64::MAX, true)
            .map_err(|error| error.to_string())?;
        let piece = slice.read().map_err(|error| error.to_string())?;
        let mut at = 0;
        while at < piece.len() {
            let header = BatchHeader::parse(&piece[at..]).map_err(|error| error.to_string())?;
            if header.last_offset() < offset {
                return Err(format!(
                    "offset {offset} was answered with a batch that ends at {}",
                    header.last_offset()
                ));
            }
            at += header.size_in_bytes();
            offset = header.last_offset().saturating_add(1);
        }
        if piece.is_empty() {
            break;
        }
        bytes.extend(piece);
    }
    Ok(bytes)
}

fn check_recovered(input: &Input, dir: &Path) {
    let (mut expected, mut end, mut intact) = (Vec::new(), 0, true);
    for (place, (base, log)) in input.segments.iter().enumerate() {
        let (batches, next) = sound_prefix(*base, log);
        if input
            .segments
            .get(place + 1)
            .is_some_and(|(following, _)| next > *following)
        {
            // It reaches into the next one, and no order of the two would be right.
            let refused = open(dir, false, 0).err().map(|error| error.kind());
            assert_eq!(refused, Some(StorageErrorKind::Corrupt));
            return;
        }
        intact = batches.iter().map(|(_, batch)| batch.len()).sum::<usize>() == log.len();
        expected.extend(batches);
        end = next;
        if !intact {
            break;
        }
    }
    let (mut log, recovery) = open(dir, false, 0).expect("a log of which nothing was durable opens");
    assert_eq!(log.end_offset(), end);
    assert_eq!(recovery.truncated_bytes == 0, intact);
    let bytes: Vec<u8> = expected.iter().flat_map(|(_, batch)| batch.clone()).collect();
    assert_eq!(served(&log).as_deref(), Ok(&bytes[..]));
    check_times(&log, &expected);
    log.close().expect("a sound log closes");
    for clean in [true, false] {
        let (log, recovery) = open(dir, clean, 0).expect("a recovered log opens");
        assert_eq!((log.end_offset(), recovery.truncated_bytes), (end, 0));
        assert_eq!(served(&log).as_deref(), Ok(&bytes[..]));
        check_times(&log, &expected);
    }
}

/// What is trusted may be wrong, and then so may be the answer. Indexes that are missing are no reason for a wrong one.
fn check_trusting(input: &Input, dir: &Path) {
    let opened = open(dir, input.clean, input.recovery_point);
    let (batches, end) = sound_prefix(input.segments[0].0, &input.segments[0].1);
    let bytes: Vec<u8> = batches.iter().flat_map(|(_, batch)| batch.clone()).collect();
    let sound = input.segments.len() == 1 && bytes == input.segments[0].1 && input.recovery_point <= end;
    // A log that was closed in order ends where it was closed.
    let closed_elsewhere = input.clean && 0 < input.recovery_point && input.recovery_point < end;
    if sound && closed_elsewhere {
        let refused = opened.err().map(|error| error.kind());
        assert_eq!(refused, Some(StorageErrorKind::Corrupt));
    } else if sound && input.index.is_empty() && input.time_index.is_empty() {
        let (log, _) = opened.expect("a sound log opens");
        assert_eq!(log.end_offset(), end);
        assert_eq!(served(&log).as_deref(), Ok(&bytes[..]));
        check_times(&log, &batches);
    } else if let Ok((mut log, _)) = opened {
        let _ = served(&log);
        let _ = log.max_timestamp_batch(i64::MAX);
        let _ = log.offset_for_timestamp(i64::MAX / 2, 0, i64::MAX);
        let _ = log.close();
    }
}

/// Look-ups by time find what a walk over all batches finds.
fn check_times(log: &Log, batches: &[(BatchHeader, Vec<u8>)]) {
    let largest = batches
        .iter()
        .map(|(header, _)| header.max_timestamp)
        .max()
        .filter(|largest| *largest >= 0);
    let find = |wanted: i64| {
        batches
            .iter()
            .find(|(header, _)| header.max_timestamp >= wanted)
            .map(|found| found.0)
    };
    let newest = log
        .max_timestamp_batch(i64::MAX)
        .expect("a sound log has readable times");
    assert_eq!(newest.map(|found| found.header), largest.and_then(find));
    for (header, _) in batches
        .iter()
        .take(8)
        .filter(|(header, _)| header.max_timestamp >= 0)
    {
        let wanted = header.max_timestamp;
        let found = log
            .offset_for_timestamp(wanted, 0, i64::MAX)
            .expect("a sound log has readable times");
        assert_eq!(found.map(|found| found.header), find(wanted));
    }
}

static DIRECTORY: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("tidelog-fuzz-{}-0", std::process::id())));

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::parse(data) else { return };
    input.write(&DIRECTORY);
    if !input.clean && input.recovery_point == 0 {
        check_recovered(&input, &DIRECTORY);
    } else {
        check_trusting(&input, &DIRECTORY);
    }
});
