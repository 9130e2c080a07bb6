//! Logs of records, their content, and a plain model of which records are superseded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::Path;

use super::super::testing::{append_bytes, read_all};
use super::super::{Log, LogConfig};
use super::*;
use crate::record::{BatchBuilder, BatchHeader, Batches, Compression, HEADER_LEN, Records, decompress};
use crate::storage::superseded::Superseded;

/// Small segments and dense indexes.
pub fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 1000,
        segment_ms: 1 << 40,
        index_interval_bytes: 150,
        segment_index_bytes: 1 << 20,
    }
}

/// A record as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// The encoded headers.
    pub headers: Vec<u8>,
    pub producer_id: i64,
    pub control: bool,
    pub transactional: bool,
}

/// The records in a batch.
pub fn rows_of(header: &BatchHeader, batch: &[u8]) -> Vec<Row> {
    assert!(crate::record::crc_matches(batch), "checksum of {header:?}");
    if header.record_count == 0 {
        assert_eq!(batch.len(), HEADER_LEN);
        return Vec::new();
    }
    let payload = decompress(header.compression().unwrap(), &batch[HEADER_LEN..], 1 << 30).unwrap();
    Records::new(&payload, header.record_count)
        .map(|record| {
            let record = record.unwrap();
            Row {
                offset: header.base_offset + i64::from(record.offset_delta),
                timestamp: if header.is_log_append_time() {
                    header.max_timestamp
                } else {
                    header.base_timestamp.wrapping_add(record.timestamp_delta)
                },
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.to_vec(),
                producer_id: header.producer_id,
                control: header.is_control(),
                transactional: header.is_transactional(),
            }
        })
        .collect()
}

/// Headers and records of all batches from the log start on.
pub fn batches(log: &Log) -> Vec<(BatchHeader, Vec<Row>)> {
    let bytes = read_to_end(log);
    Batches::new(&bytes)
        .map(|batch| {
            let (header, bytes) = batch.unwrap();
            (header, rows_of(&header, bytes))
        })
        .collect()
}

/// Every byte from the log start on, where the end may be empty.
pub fn read_to_end(log: &Log) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut offset = log.start_offset();
    loop {
        let slice = log.read(offset, 1 << 30, i64::MAX, true).unwrap();
        let piece = slice.read().unwrap();
        let Some((last, _)) = Batches::new(&piece).last().transpose().unwrap() else {
            return bytes;
        };
        offset = last.last_offset() + 1;
        bytes.extend(piece);
    }
}

pub fn rows(log: &Log) -> Vec<Row> {
    batches(log).into_iter().flat_map(|(_, rows)| rows).collect()
}

/// Appends what a builder makes at the log end.
pub fn put(log: &mut Log, make: impl FnOnce(BatchBuilder) -> BatchBuilder) -> BatchHeader {
    let batch = make(BatchBuilder::new().base_offset(log.end_offset()).leader_epoch(0)).build().unwrap();
    append_bytes(log, &batch, 0).unwrap();
    BatchHeader::parse(&batch).unwrap()
}

/// One record per batch: key, and value or none.
pub fn put_one(log: &mut Log, timestamp: i64, key: &str, value: Option<&str>) -> i64 {
    put(log, |batch| batch.record(timestamp, Some(key.as_bytes()), value.map(str::as_bytes))).base_offset
}

/// Offsets of superseded records.
#[derive(Debug, Default, Clone)]
pub struct Dead(pub BTreeSet<i64>);

impl Superseded for Dead {
    fn none_within(&self, first: i64, last: i64) -> bool {
        self.0.range(first..=last).next().is_none()
    }
    fn is_superseded(&self, offset: i64, _: &[u8]) -> bool {
        self.0.contains(&offset)
    }
}

/// The records below `end` that a later one below `end` with the same key replaces; what `aborted` holds counts for nothing.
pub fn dead_below(rows: &[Row], end: i64, aborted: impl Fn(&Row) -> bool) -> Dead {
    let mut latest: HashMap<&[u8], i64> = HashMap::new();
    let mut dead = Dead::default();
    for row in rows.iter().filter(|row| row.offset < end && !row.control && !aborted(row)) {
        if let Some(key) = &row.key
            && let Some(earlier) = latest.insert(key, row.offset)
        {
            dead.0.insert(earlier);
        }
    }
    dead
}

/// Notes what it hears.
#[derive(Debug, Default)]
pub struct Heard {
    pub read: u64,
    pub written: u64,
    pub calls: usize,
    /// Cancels at this call.
    pub cancel_at: Option<usize>,
    pub tombstones: Vec<(i64, Vec<u8>)>,
}

impl Progress for Heard {
    fn advance(&mut self, read: u64, written: u64) -> ControlFlow<()> {
        self.read += read;
        self.written += written;
        self.calls += 1;
        if self.cancel_at == Some(self.calls) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
    fn tombstone_dropped(&mut self, offset: i64, key: &[u8]) {
        self.tombstones.push((offset, key.to_vec()));
    }
}

pub const NOBODY: &dyn Fn(i64) -> Option<LastRecord> = &|_| None;

/// A context in which all is dirty and known.
pub fn at(now_ms: i64) -> Context<'static> {
    Context {
        now_ms,
        delete_retention_ms: 100,
        first_dirty: 0,
        known_end: i64::MAX,
        last_record: NOBODY,
        max_decompressed: 1 << 20,
    }
}

/// A whole round over everything below `end`, old files unlinked.
pub fn clean(
    log: &mut Log,
    end: i64,
    context: &Context<'_>,
    dead: &Dead,
) -> Result<(Figures, Heard, Vec<Replaced>), CompactError> {
    log.flush().unwrap();
    let mut round = Round::new(log.compaction_source(end)?);
    let mut heard = Heard::default();
    let mut figures = Figures::default();
    let mut replaced = Vec::new();
    for group in round.groups(context.known_end)? {
        let rewrite = round.rewrite(&group, context, dead, &mut heard)?;
        figures += rewrite.figures;
        if let Some(segment) = rewrite.segment {
            let swapped = log.replace(segment)?;
            for path in &swapped.deleted {
                std::fs::remove_file(path).unwrap();
            }
            replaced.push(swapped);
        }
    }
    Ok((figures, heard, replaced))
}

/// Cleans by what the log itself says.
pub fn clean_all(log: &mut Log, context: &Context<'_>) -> (Figures, Heard, Vec<Replaced>) {
    let end = log.active_base_offset();
    let dead = dead_below(&rows(log), end, |_| false);
    clean(log, end, context, &dead).unwrap()
}

/// Names and bytes of the files of a directory.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
        })
        .collect()
}

/// Whatever a rewrite has made and not moved to its place.
pub fn leftovers(dir: &Path) -> Vec<String> {
    let temporary = |name: &String| name.ends_with(".cleaned") || name.ends_with(".swap");
    files(dir).into_keys().filter(temporary).collect()
}

/// Every way to look at a log agrees with its batches, taken one by one.
pub fn check_lookups(log: &Log) {
    let all = batches(log);
    assert_eq!(
        log.max_timestamp().unwrap(),
        all.iter().map(|(header, _)| header.max_timestamp).max().unwrap_or(-1).max(-1)
    );
    for offset in log.start_offset()..=log.end_offset() {
        let slice = log.read(offset, 1, i64::MAX, true).unwrap();
        let expected = all.iter().find(|(header, _)| header.last_offset() >= offset);
        match expected {
            Some((header, _)) => {
                assert_eq!(slice.start_offset, header.base_offset, "read at {offset}");
                assert_eq!(slice.len, header.size_in_bytes());
                let parsed = BatchHeader::parse(&slice.read().unwrap()).unwrap();
                assert_eq!(parsed, *header);
            }
            None => assert_eq!(slice.len, 0),
        }
    }
    let times: BTreeSet<i64> =
        all.iter().map(|(header, _)| header.max_timestamp).filter(|time| *time >= 0).collect();
    for time in times.iter().flat_map(|time| [time - 1, *time, time + 1]) {
        for from in (log.start_offset()..=log.end_offset()).step_by(7) {
            let found = log.offset_for_timestamp(time, from, i64::MAX).unwrap().map(|found| found.header);
            let expected =
                all.iter().find(|(header, _)| header.last_offset() >= from && header.max_timestamp >= time);
            assert_eq!(found, expected.map(|(header, _)| *header), "timestamp {time} from {from}");
        }
    }
    let largest = all.iter().map(|(header, _)| header.max_timestamp).max().filter(|time| *time >= 0);
    let newest = log.max_timestamp_batch(i64::MAX).unwrap().map(|found| found.header);
    assert_eq!(
        newest,
        all.iter().map(|(header, _)| *header).find(|header| Some(header.max_timestamp) == largest)
    );
    assert_eq!(read_all_of(log), read_to_end(log));
}

/// As a reader with small fetches goes on.
fn read_all_of(log: &Log) -> Vec<u8> {
    let end = batches(log).last().map_or(log.start_offset(), |(header, _)| header.last_offset() + 1);
    if end == log.end_offset() { read_all(log, log.start_offset(), 300) } else { read_to_end(log) }
}

/// Codecs in turn.
pub fn codec(number: usize) -> Compression {
    Compression::ALL[number % Compression::ALL.len()]
}
