//! Batches and logs for the tests of this folder.

use std::path::Path;

use super::{AbortedTransaction, FileCache, Log, LogConfig, OpenOptions, Recovery, Replay, StorageError};
use crate::record::{BatchHeader, EndMarker};

/// Topic id of every test log.
pub const TOPIC: [u8; 16] = [7; 16];

/// A batch of `records` offsets with `payload` bytes that no reader decodes.
pub fn batch(base_offset: i64, records: i32, timestamp: i64, payload: usize) -> Vec<u8> {
    let mut header = BatchHeader {
        base_offset,
        batch_length: 0,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: records - 1,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: records,
    };
    let bytes: Vec<u8> = (0..payload).map(|index| (index % 251) as u8).collect();
    header.seal(&bytes).unwrap().to_vec()
}

/// Appends a batch at the log end; returns its bytes.
pub fn append(log: &mut Log, records: i32, timestamp: i64, payload: usize) -> Vec<u8> {
    let bytes = batch(log.end_offset(), records, timestamp, payload);
    append_bytes(log, &bytes, 0).unwrap();
    bytes
}

/// Appends a batch as it is.
pub fn append_bytes(log: &mut Log, bytes: &[u8], now_ms: i64) -> Result<bool, StorageError> {
    let header = BatchHeader::parse(bytes).unwrap();
    let prefix = *bytes.first_chunk().unwrap();
    log.append(prefix, &bytes[16..], &header, now_ms).map(|appended| appended.rolled)
}

pub fn create(dir: &Path, config: LogConfig) -> Log {
    Log::create(dir, TOPIC, config, FileCache::new(8), 0).unwrap()
}

/// Notes what is replayed.
pub struct Replayed {
    pub from: i64,
    pub bases: Vec<i64>,
}

impl Replay for Replayed {
    fn begin(&mut self, _needed: i64) -> i64 {
        self.from
    }

    fn batch(&mut self, header: &BatchHeader, _marker: Option<&EndMarker>) -> Option<AbortedTransaction> {
        self.bases.push(header.base_offset);
        None
    }
}

/// Opens a log; also returns the base offsets that were replayed.
pub fn open_with(
    dir: &Path,
    config: LogConfig,
    clean: bool,
    recovery_point: i64,
    log_start_offset: i64,
    replay_from: i64,
) -> Result<(Log, Recovery, Vec<i64>), StorageError> {
    let mut replayed = Replayed { from: replay_from, bases: Vec::new() };
    let (log, recovery) = Log::open(
        dir,
        OpenOptions {
            config,
            files: FileCache::new(8),
            clean,
            recovery_point,
            log_start_offset,
            now_ms: 0,
            replay: &mut replayed,
        },
    )?;
    Ok((log, recovery, replayed.bases))
}

/// Opens after an unclean stop with nothing known to be durable.
pub fn recover(dir: &Path, config: LogConfig) -> (Log, Recovery) {
    let (log, recovery, _) = open_with(dir, config, false, 0, 0, i64::MAX).unwrap();
    (log, recovery)
}

/// Opens after a clean stop.
pub fn reopen(dir: &Path, config: LogConfig) -> (Log, Recovery) {
    let (log, recovery, _) = open_with(dir, config, true, 0, 0, i64::MAX).unwrap();
    (log, recovery)
}

/// Every byte a reader sees from `offset` to the end.
pub fn read_all(log: &Log, mut offset: i64, max_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while offset < log.end_offset() {
        let slice = log.read(offset, max_bytes, i64::MAX, true).unwrap();
        let piece = slice.read().unwrap();
        assert!(!piece.is_empty(), "nothing at {offset} below the end");
        let mut at = 0;
        while at < piece.len() {
            let header = BatchHeader::parse(&piece[at..]).unwrap();
            at += header.size_in_bytes();
            offset = header.last_offset() + 1;
        }
        assert_eq!(at, piece.len(), "a batch was cut");
        bytes.extend(piece);
    }
    bytes
}
