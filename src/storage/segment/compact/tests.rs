//! Rewrites and swaps: what stays, what goes, and what stops them.

use std::collections::HashMap;
use std::fs;

use proptest::prelude::*;

use super::super::dir::segment_path;
use super::super::testing::{append_bytes, create, open_with, recover, reopen};
use super::super::{AbortedTransaction, LogConfig, StorageError};
use super::testing::*;
use super::*;
use crate::record::{BatchHeader, EndMarker, TransactionOutcome};

fn keys_of(log: &super::super::Log) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let named = rows(log).into_iter().filter(|row| !row.control);
    named.map(|row| (row.offset, text(&row.key.unwrap()), row.value.as_deref().map(text))).collect()
}

#[test]
fn the_latest_record_of_each_key_stays_and_tombstones_for_a_while() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    for round in 0..10i64 {
        for key in ["a", "b", "c"] {
            put_one(&mut log, round, key, Some(&format!("{key}{round}")));
        }
    }
    put_one(&mut log, 20, "b", None);
    log.roll(0).unwrap();
    put_one(&mut log, 21, "a", Some("active"));
    let (figures, heard, replaced) = clean_all(&mut log, &at(1000));
    assert_eq!((figures.records_read, figures.records_kept), (31, 3));
    assert_eq!((heard.read, heard.written), (figures.bytes_read, figures.bytes_kept));
    assert!(heard.tombstones.is_empty());
    assert_eq!(replaced.len(), 3);
    assert_eq!(log.start_offset(), 0, "offsets that are gone may still be asked for");
    let value = |offset, key: &str, value: Option<&str>| (offset, key.to_owned(), value.map(str::to_owned));
    let latest = [
        value(27, "a", Some("a9")),
        value(29, "c", Some("c9")),
        value(30, "b", None),
        value(31, "a", Some("active")),
    ];
    assert_eq!(keys_of(&log), latest);
    let horizon = |log: &super::super::Log| {
        batches(log)
            .iter()
            .find(|(header, _)| header.base_offset == 30)
            .and_then(|(header, _)| header.delete_horizon_ms())
    };
    assert_eq!(horizon(&log), Some(1100));
    check_lookups(&log);
    // The horizon stays what it was, and nothing is written while nothing changes.
    let before = files(temp.path());
    let settled = Context { first_dirty: 31, ..at(1099) };
    let (figures, _, replaced) = clean_all(&mut log, &settled);
    assert_eq!(replaced.len(), 1, "segments that became small are merged");
    assert_eq!(figures.batches_inspected, 0);
    assert_eq!(horizon(&log), Some(1100));
    let merged = files(temp.path());
    assert!(merged.len() < before.len());
    let (_, _, replaced) = clean_all(&mut log, &settled);
    assert!(replaced.is_empty());
    assert_eq!(files(temp.path()), merged);
    // Once it has passed, the tombstone goes. Its batch stays as the last one of the round.
    let (figures, heard, _) = clean_all(&mut log, &Context { first_dirty: 31, ..at(1100) });
    assert_eq!((figures.tombstones, heard.tombstones), (1, vec![(30, b"b".to_vec())]));
    assert_eq!(keys_of(&log), [latest[0].clone(), latest[1].clone(), latest[3].clone()]);
    let last = batches(&log).into_iter().find(|(header, _)| header.base_offset == 30).unwrap();
    assert_eq!((last.1.len(), last.0.delete_horizon_ms(), last.0.base_timestamp), (0, None, -1));
    check_lookups(&log);
    log.close().unwrap();
    let (log, _) = reopen(temp.path(), small());
    check_lookups(&log);
    assert_eq!(keys_of(&log).len(), 3);
}

#[test]
fn a_group_without_any_record_left_becomes_an_empty_segment() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), LogConfig { segment_bytes: 300, ..small() });
    for number in 0..20 {
        put_one(&mut log, number, "same", Some("value"));
    }
    let count = log.segment_count();
    clean_all(&mut log, &at(0));
    assert!(log.segment_count() <= count);
    assert_eq!(fs::metadata(segment_path(temp.path(), 0, ".log")).unwrap().len(), 0);
    assert_eq!((log.start_offset(), log.end_offset()), (0, 20));
    check_lookups(&log);
    // Empty segments merge with what follows.
    let (_, _, replaced) = clean_all(&mut log, &at(0));
    assert!(!replaced.is_empty());
    assert_eq!(log.segment_count(), 2);
    check_lookups(&log);
    drop(log);
    let (log, recovery) = recover(temp.path(), small());
    assert_eq!((log.start_offset(), log.end_offset(), recovery.truncated_bytes), (0, 20, 0));
    check_lookups(&log);
}

#[test]
fn transactions_leave_in_the_order_that_keeps_readers_right() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    let write = |log: &mut super::super::Log, producer: i64, sequence, key: &str| {
        put(log, |batch| {
            batch.producer(producer, 1, sequence).transactional(true).record(
                5,
                Some(key.as_bytes()),
                Some(b"v"),
            )
        })
        .base_offset
    };
    let end = |log: &mut super::super::Log, producer_id, outcome| {
        let marker = EndMarker { producer_id, producer_epoch: 1, coordinator_epoch: 0, outcome }.to_batch(6);
        let mut header = BatchHeader::parse(&marker).unwrap();
        header.base_offset = log.end_offset();
        let prefix = crate::record::patch_prefix(&header, header.base_offset, 0);
        header.partition_leader_epoch = 0;
        log.append(prefix, &marker[16..], &header, 0).unwrap();
        header.base_offset
    };
    let first = write(&mut log, 1, 0, "a");
    let kept = write(&mut log, 2, 0, "b");
    log.roll(0).unwrap();
    write(&mut log, 1, 1, "a");
    let commit = end(&mut log, 2, TransactionOutcome::Commit);
    log.roll(0).unwrap();
    let abort = end(&mut log, 1, TransactionOutcome::Abort);
    let aborted = AbortedTransaction {
        producer_id: 1,
        first_offset: first,
        last_offset: abort,
        last_stable_offset: abort + 1,
    };
    log.append_aborted(aborted);
    put_one(&mut log, 7, "z", Some("v"));
    log.roll(0).unwrap();
    let offsets = |log: &super::super::Log| {
        batches(log).iter().map(|(header, _)| header.base_offset).collect::<Vec<_>>()
    };
    let dead = Dead::default();
    // A first pass over what is in front of the marker: the data of the aborted transaction goes all the same.
    let end_of_first = commit + 1;
    clean(&mut log, end_of_first, &at(0), &dead).unwrap();
    assert_eq!(offsets(&log), [kept, commit, abort, abort + 1]);
    assert_eq!(log.aborted(0, log.end_offset()).unwrap(), [aborted]);
    // All of it: no data of the aborted transaction is left, so its marker gets its time, and its entry goes.
    let all = log.end_offset();
    clean(&mut log, all, &at(0), &dead).unwrap();
    assert_eq!(offsets(&log), [kept, commit, abort, abort + 1]);
    assert_eq!(log.aborted(0, log.end_offset()).unwrap(), []);
    let horizon = |log: &super::super::Log, offset| {
        batches(log).iter().find(|(header, _)| header.base_offset == offset).unwrap().0.delete_horizon_ms()
    };
    assert_eq!((horizon(&log, abort), horizon(&log, commit)), (Some(100), None));
    let marker = batches(&log).iter().find(|(header, _)| header.base_offset == abort).unwrap().1[0].clone();
    assert_eq!(marker.timestamp, 6);
    // The record of the committed one is superseded: the marker stays for as long.
    let dead = Dead([kept].into());
    clean(&mut log, all, &at(99), &dead).unwrap();
    assert_eq!(offsets(&log), [commit, abort, abort + 1]);
    assert_eq!(horizon(&log, commit), None, "in this pass there was still data");
    clean(&mut log, all, &at(100), &dead).unwrap();
    assert_eq!((offsets(&log), horizon(&log, commit)), (vec![commit, abort + 1], Some(200)));
    // The producer is still active, known by its marker alone.
    let active: &dyn Fn(i64) -> Option<LastRecord> =
        &|id| (id == 2).then_some(LastRecord { last_data_offset: None, epoch: 1 });
    clean(&mut log, all, &Context { last_record: active, ..at(200) }, &dead).unwrap();
    let found = batches(&log);
    assert_eq!((found[0].0.base_offset, found[0].0.record_count, found[0].0.is_control()), (commit, 0, true));
    clean(&mut log, all, &at(200), &dead).unwrap();
    assert_eq!(offsets(&log), [abort + 1]);
    log.close().unwrap();
    let (log, _) = reopen(temp.path(), small());
    assert_eq!(log.aborted(0, log.end_offset()).unwrap(), []);
}

#[test]
fn an_aborted_transaction_whose_data_is_there_stays_in_the_index() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    let abort = |log: &mut super::super::Log| {
        let first = put(log, |b| b.producer(9, 0, 0).transactional(true).record(1, Some(b"k"), Some(b"v")))
            .base_offset;
        put_one(log, 1, "x", Some("v"));
        let marker = put(log, |batch| {
            let key = [0, 0, 0, 0];
            batch.producer(9, 0, -1).transactional(true).control(true).record(1, Some(&key), Some(&[0; 6]))
        });
        let last_offset = marker.base_offset;
        let entry = AbortedTransaction {
            producer_id: 9,
            first_offset: first,
            last_offset,
            last_stable_offset: last_offset + 1,
        };
        log.append_aborted(entry);
        entry
    };
    let one = abort(&mut log);
    log.roll(0).unwrap();
    let two = abort(&mut log);
    log.roll(0).unwrap();
    // The producer's last data is that of the second transaction: its batch stays, empty.
    let last: &dyn Fn(i64) -> Option<LastRecord> =
        &|_| Some(LastRecord { last_data_offset: Some(3), epoch: 0 });
    let end = log.end_offset();
    clean(&mut log, end, &Context { last_record: last, ..at(0) }, &Dead([1].into())).unwrap();
    assert_eq!(log.segment_count(), 2);
    assert_eq!(log.aborted(0, end).unwrap(), [one, two], "their data was there when the markers were passed");
    let found = batches(&log);
    assert_eq!((found[1].0.base_offset, found[1].0.record_count, found[1].0.base_sequence), (3, 0, 0));
    clean(&mut log, end, &Context { last_record: last, ..at(0) }, &Dead::default()).unwrap();
    assert_eq!(log.aborted(0, end).unwrap(), [two]);
    log.close().unwrap();
    let (mut log, _) = reopen(temp.path(), small());
    assert_eq!(log.aborted(0, end).unwrap(), [two]);
    clean(&mut log, end, &at(0), &Dead::default()).unwrap();
    clean(&mut log, end, &at(0), &Dead::default()).unwrap();
    assert_eq!(log.aborted(0, end).unwrap(), []);
    let index = segment_path(temp.path(), 0, ".txnindex");
    assert_eq!(fs::metadata(&index).unwrap().len(), 0, "its name was taken");
    log.close().unwrap();
    let (log, _) = reopen(temp.path(), small());
    assert_eq!(log.aborted(0, end).unwrap(), []);
}

#[test]
fn damage_is_named_and_nothing_is_replaced() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    for number in 0..40 {
        put_one(&mut log, number, "k", Some("some value that takes room"));
    }
    let (position, second) = {
        let first = log.read(0, 1, i64::MAX, true).unwrap();
        (first.len as u64, log.segments().unwrap()[1].base_offset)
    };
    let path = segment_path(temp.path(), second, ".log");
    let whole = fs::read(&path).unwrap();
    let good = files(temp.path());
    for at_byte in [8, 16, 17, 25, 60, 61, 70] {
        let mut bytes = whole.clone();
        bytes[position as usize + at_byte] ^= 0x40;
        fs::write(&path, &bytes).unwrap();
        let dead = Dead((0..39).collect());
        let error = clean(&mut log, i64::MAX, &at(0), &dead).unwrap_err();
        assert!(error.is_damage());
        match error {
            CompactError::Storage(StorageError::Corrupt { path: named, position: found, .. }) => {
                assert_eq!((named, found), (path.clone(), position), "byte {at_byte}");
            }
            other => panic!("{other}"),
        }
        assert_eq!(leftovers(temp.path()), [""; 0]);
        assert_eq!(log.segments().unwrap()[1].base_offset, second);
        // The segment in front of it could be cleaned.
        assert!(
            fs::metadata(segment_path(temp.path(), 0, ".log")).unwrap().len()
                < good.values().map(|b| b.len() as u64).max().unwrap()
        );
    }
}

#[test]
fn a_cancelled_rewrite_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), LogConfig { segment_bytes: 16 << 20, ..small() });
    let value = "x".repeat(200_000);
    for number in 0..20 {
        put_one(&mut log, number, if number == 15 { "dead" } else { "k" }, Some(&value));
    }
    log.roll(0).unwrap();
    log.flush().unwrap();
    let before = files(temp.path());
    let mut calls = 0;
    loop {
        let mut round = Round::new(log.compaction_source(i64::MAX).unwrap());
        let group = round.groups(i64::MAX).unwrap().remove(0);
        let mut heard = Heard { cancel_at: Some(calls + 1), ..Heard::default() };
        // The dead record comes late: until then nothing is written, then what is in front of it is copied.
        match round.rewrite(&group, &at(0), &Dead([15].into()), &mut heard) {
            Err(CompactError::Cancelled) => assert_eq!(files(temp.path()), before),
            Err(other) => panic!("{other}"),
            Ok(rewrite) => {
                let segment = rewrite.segment.unwrap();
                assert!(segment.size_bytes() < group.size_bytes());
                assert_eq!(leftovers(temp.path()).len(), 4, "log, two indexes, and the range");
                // A second rewrite has to wait for the first.
                let mut other = Round::new(log.compaction_source(i64::MAX).unwrap());
                let busy = other.rewrite(&group, &at(0), &Dead([15].into()), &mut Heard::default());
                assert!(matches!(busy, Err(CompactError::Busy { .. })));
                drop(segment);
                assert_eq!(files(temp.path()), before);
                break;
            }
        }
        calls += 1;
    }
    assert!(calls > 10, "{calls}");
    clean(&mut log, i64::MAX, &at(0), &Dead([15].into())).unwrap();
    assert_eq!(rows(&log).len(), 19);
    check_lookups(&log);
}

type Change<'a> = &'a dyn Fn(&mut super::super::Log, &Group);

#[test]
fn a_log_that_moved_on_refuses_the_swap() {
    let prepared = |dir: &std::path::Path| {
        let mut log = create(dir, small());
        for number in 0..40 {
            put_one(&mut log, number, "k", Some("some value that takes room"));
        }
        log.flush().unwrap();
        let mut round = Round::new(log.compaction_source(i64::MAX).unwrap());
        let groups = round.groups(i64::MAX).unwrap();
        round.rewrite(&groups[0], &at(0), &Dead((0..39).collect()), &mut Heard::default()).unwrap();
        let rewrite =
            round.rewrite(&groups[1], &at(0), &Dead((0..39).collect()), &mut Heard::default()).unwrap();
        (log, groups[1].clone(), rewrite.segment.unwrap(), round)
    };
    let changes: [Change<'_>; 4] = [
        &|log, group| log.truncate_to(group.base_offset() + 1, 0).unwrap(),
        &|log, group| {
            // The same bytes again: they are not what was rewritten.
            let end = log.end_offset();
            log.truncate_to(group.base_offset(), 0).unwrap();
            while log.end_offset() < end {
                let offset = log.end_offset();
                put_one(log, offset, "k", Some("some value that takes room"));
            }
        },
        &|log, group| {
            log.delete_segments_below(group.next_offset()).unwrap();
        },
        &|log, _| log.close().unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let temp = tempfile::tempdir().unwrap();
        let (mut log, group, segment, mut round) = prepared(temp.path());
        change(&mut log, &group);
        let before: HashMap<_, _> =
            files(temp.path()).into_iter().filter(|(name, _)| !name.ends_with(".cleaned")).collect();
        match log.replace(segment) {
            Err(CompactError::Changed { .. }) if number < 3 => {}
            Err(CompactError::Storage(StorageError::Closed { .. })) if number == 3 => {}
            other => panic!("change {number}: {other:?}"),
        }
        assert_eq!(files(temp.path()).into_iter().collect::<HashMap<_, _>>(), before, "change {number}");
        if number < 2 {
            // What is read after a truncation is no damage.
            let again = round.rewrite(&group, &at(0), &Dead::default(), &mut Heard::default());
            assert!(number == 1 || matches!(again, Err(CompactError::Changed { .. })), "{again:?}");
        }
    }
    // Of another log with the same files.
    let temp = tempfile::tempdir().unwrap();
    let (mut log, _, segment, _) = prepared(temp.path());
    log.close().unwrap();
    let (mut log, _) = reopen(temp.path(), small());
    assert!(matches!(log.replace(segment), Err(CompactError::Changed { .. })));
    assert_eq!(rows(&log).len(), 40);
}

#[test]
fn only_what_is_durable_and_sealed_is_taken() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    assert_eq!(
        (log.compaction_source(i64::MAX).unwrap().begin(), log.compaction_source(i64::MAX).unwrap().end()),
        (0, 0)
    );
    for number in 0..40 {
        put_one(&mut log, number, "k", Some("some value that takes room"));
    }
    assert!(
        log.compaction_source(i64::MAX).unwrap().groups(i64::MAX).unwrap().is_empty(),
        "nothing is durable"
    );
    log.flush().unwrap();
    let source = log.compaction_source(i64::MAX).unwrap();
    assert_eq!(source.end(), log.active_base_offset());
    let second = log.segments().unwrap()[1];
    assert_eq!(log.compaction_source(second.next_offset - 1).unwrap().end(), second.base_offset);
    assert_eq!(
        source.groups(second.base_offset + 1).unwrap().len(),
        2,
        "the segment that is known in part is taken"
    );
    assert_eq!(
        source.size_bytes_from(second.next_offset - 1),
        source.size_bytes_from(0) - log.segments().unwrap()[0].size
    );
}

#[test]
fn batches_beyond_the_buffer_and_beyond_the_limit() {
    let temp = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_bytes: 64 << 20, ..small() };
    let mut log = create(temp.path(), config);
    let large: Vec<u8> = (0..3_000_000u32).map(|byte| (byte * 7 % 253) as u8).collect();
    for codec in crate::record::Compression::ALL {
        put(&mut log, |batch| {
            let batch = batch.compression(codec, None).record(1, Some(b"small"), Some(b"v"));
            batch.record(2, Some(b"large"), Some(&large)).record(3, Some(b"small"), Some(b"w"))
        });
    }
    log.roll(0).unwrap();
    let before = rows(&log);
    let dead = Dead((0..15).filter(|offset| offset % 3 == 0).collect());
    let context = Context { max_decompressed: 3_000_100, ..at(0) };
    assert!(
        matches!(clean(&mut log, 15, &at(0), &dead), Err(CompactError::TooLarge { max, .. }) if max == 1 << 20)
    );
    assert_eq!(rows(&log), before);
    clean(&mut log, 15, &context, &dead).unwrap();
    let expected: Vec<_> = before.into_iter().filter(|row| row.offset % 3 != 0).collect();
    assert_eq!(rows(&log), expected);
    let codecs: Vec<_> = batches(&log).iter().map(|(header, _)| header.compression().unwrap()).collect();
    assert_eq!(codecs, crate::record::Compression::ALL);
}

#[test]
fn records_above_what_is_known_stay_as_they_are() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    put(&mut log, |batch| batch.record(1, None, Some(b"keyless")).record(1, Some(b"k"), Some(b"v")));
    put(&mut log, |batch| batch.record(1, None, Some(b"keyless")).record(1, Some(b"k"), Some(b"v")));
    log.roll(0).unwrap();
    let (figures, ..) = clean(&mut log, 4, &Context { known_end: 2, ..at(0) }, &Dead::default()).unwrap();
    assert_eq!(figures.keyless, 1);
    assert_eq!(rows(&log).iter().map(|row| row.offset).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn retention_by_file_time_survives() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = create(temp.path(), small());
    put(&mut log, |batch| batch.record(-1, Some(b"k"), Some(b"v")).record(-1, Some(b"k"), Some(b"w")));
    log.roll(0).unwrap();
    log.flush().unwrap();
    let path = segment_path(temp.path(), 0, ".log");
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
    clean(&mut log, 2, &at(0), &Dead([0].into())).unwrap();
    let infos = log.segments().unwrap();
    assert_eq!((infos[0].max_timestamp, infos[0].modified_ms), (-1, 1_000_000_000));
}

#[derive(Debug, Clone)]
struct Record {
    key: Option<u8>,
    value: Option<u8>,
    timestamp: i64,
    header: bool,
}

#[derive(Debug, Clone)]
struct Made {
    records: Vec<Record>,
    codec: usize,
    log_append_time: bool,
    producer: Option<i64>,
    roll: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let record = (
        prop::option::weighted(0.95, 0..8u8),
        prop::option::weighted(0.7, any::<u8>()),
        -1..500i64,
        any::<bool>(),
    )
        .prop_map(|(key, value, timestamp, header)| Record { key, value, timestamp, header });
    (
        prop::collection::vec(record, 1..6),
        0..5usize,
        prop::bool::weighted(0.2),
        prop::option::of(0..3i64),
        prop::bool::weighted(0.15),
    )
        .prop_map(|(records, codec, log_append_time, producer, roll)| Made {
            records,
            codec,
            log_append_time,
            producer,
            roll,
        })
}

fn write(log: &mut super::super::Log, made: &Made, sequence: i32) {
    put(log, |mut batch| {
        batch = batch.compression(codec(made.codec), None);
        if made.log_append_time {
            batch = batch.log_append_time(made.records[0].timestamp.max(0));
        }
        if let Some(producer) = made.producer {
            batch = batch.producer(producer, 0, sequence);
        }
        for record in &made.records {
            let (key, value) = (record.key.map(|key| [key]), record.value.map(|value| [value; 20]));
            let headers: &[(&[u8], Option<&[u8]>)] =
                if record.header { &[(b"h", Some(b"1")), (b"h", None), (b"h", Some(b"1"))] } else { &[] };
            let (key, value) = (key.as_ref().map(|k| &k[..]), value.as_ref().map(|v| &v[..]));
            batch = batch.record_with_headers(record.timestamp, key, value, headers);
        }
        batch
    });
    if made.roll {
        log.roll(0).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Three cleanings with appends in between, against the plain rule: below the end, the latest record of each key stays,
    /// and tombstones until their time is over.
    #[test]
    fn what_stays_is_the_latest_of_each_key(
        parts in prop::collection::vec(prop::collection::vec(made(), 1..25), 3), whole_index in any::<bool>(),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let config = LogConfig { segment_bytes: 700, ..small() };
        let mut log = create(temp.path(), config);
        // Of each tombstone that was cleaned: when it may go.
        let mut horizons: HashMap<i64, i64> = HashMap::new();
        let mut first_dirty = 0;
        let mut model: Vec<Row> = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            for made in part {
                let end = log.end_offset();
                write(&mut log, made, end as i32);
                let fresh = rows(&log).into_iter().filter(|row| row.offset >= end);
                model.extend(fresh);
            }
            let now_ms = 1000 + 60 * number as i64;
            let end = log.active_base_offset();
            let before = batches(&log);
            let dead = dead_below(&rows(&log), end, |_| false);
            // Kafka's table knows only what is dirty; here that comes to the same.
            let first = if whole_index { first_dirty } else { 0 };
            let last_of: HashMap<i64, i64> = before.iter().filter(|(h, _)| h.has_producer()).map(|(h, _)| (h.producer_id, h.last_offset())).collect();
            let last: &dyn Fn(i64) -> Option<LastRecord> =
                &|id| last_of.get(&id).map(|offset| LastRecord { last_data_offset: Some(*offset), epoch: 0 });
            let context = Context { now_ms, first_dirty: first, last_record: last, ..at(0) };
            let (figures, heard, _) = clean(&mut log, end, &context, &dead).unwrap();
            // The model.
            let mut batch_horizon: HashMap<i64, Option<i64>> = HashMap::new();
            for (header, rows) in &before {
                for row in rows {
                    batch_horizon.insert(row.offset, header.delete_horizon_ms());
                }
            }
            let mut expired = Vec::new();
            model.retain(|row| {
                if row.offset >= end {
                    return true;
                }
                if row.key.is_none() || dead.0.contains(&row.offset) {
                    return false;
                }
                if row.value.is_none() {
                    let horizon = *horizons.entry(row.offset).or_insert_with(|| batch_horizon[&row.offset].unwrap_or(now_ms + 100));
                    if horizon <= now_ms {
                        expired.push((row.offset, row.key.clone().unwrap()));
                        return false;
                    }
                }
                true
            });
            let rows_now = rows(&log);
            prop_assert_eq!(&rows_now, &model);
            prop_assert_eq!(heard.tombstones, expired);
            prop_assert_eq!(figures.records_kept as usize, rows_now.iter().filter(|row| row.offset < end).count());
            // Each batch that is left is what it was, but for what may change.
            let old: HashMap<i64, BatchHeader> = before.iter().map(|(header, _)| (header.base_offset, *header)).collect();
            for (header, rows) in batches(&log) {
                let was = old[&header.base_offset];
                let fields = |h: &BatchHeader| (h.last_offset_delta, h.partition_leader_epoch, h.producer_id, h.producer_epoch, h.base_sequence, h.is_log_append_time());
                prop_assert_eq!(fields(&header), fields(&was));
                let needed = last_of.get(&header.producer_id) == Some(&header.last_offset()) || header.last_offset() + 1 == end;
                prop_assert!(!rows.is_empty() || needed, "an empty batch at {}", header.base_offset);
                if header.is_log_append_time() || rows.is_empty() {
                    prop_assert_eq!(header.max_timestamp, was.max_timestamp);
                } else {
                    prop_assert_eq!(header.max_timestamp, rows.iter().map(|row| row.timestamp).max().unwrap());
                }
                if !rows.is_empty() {
                    prop_assert_eq!(header.compression(), was.compression());
                }
                let horizon = header.delete_horizon_ms();
                prop_assert!(header.base_offset >= end || horizon.is_some() || rows.iter().all(|row| row.value.is_some()));
            }
            for (producer, offset) in &last_of {
                prop_assert!(batches(&log).iter().any(|(h, _)| h.producer_id == *producer && h.last_offset() == *offset));
            }
            prop_assert_eq!(leftovers(temp.path()), Vec::<String>::new());
            check_lookups(&log);
            let bytes = read_to_end(&log);
            let segments = log.segments().unwrap();
            match number {
                0 => {
                    log.close().unwrap();
                    log = reopen(temp.path(), config).0;
                }
                1 => {
                    drop(log);
                    log = recover(temp.path(), config).0;
                }
                _ => {
                    drop(log);
                    log = open_with(temp.path(), config, false, end, 0, i64::MAX).unwrap().0;
                }
            }
            prop_assert_eq!(read_to_end(&log), bytes);
            let without_times = |infos: Vec<super::super::SegmentInfo>| infos.iter().map(|s| (s.base_offset, s.next_offset, s.size, s.max_timestamp)).collect::<Vec<_>>();
            prop_assert_eq!(without_times(log.segments().unwrap()), without_times(segments));
            check_lookups(&log);
            first_dirty = end;
        }
    }

    #[test]
    fn whatever_a_batch_holds_nothing_panics(payload in prop::collection::vec(any::<u8>(), 0..200), codec in 0..8i16, count in -2..9i32, attributes in any::<i16>()) {
        let temp = tempfile::tempdir().unwrap();
        let mut log = create(temp.path(), small());
        let mut header = put(&mut log, |batch| batch.record(1, Some(b"k"), Some(b"v")));
        header.base_offset = log.end_offset();
        header.record_count = count;
        header.attributes = attributes & !7 | codec;
        let batch = header.seal(&payload).unwrap();
        append_bytes(&mut log, &batch, 0).unwrap();
        log.roll(0).unwrap();
        let before = files(temp.path());
        match clean(&mut log, i64::MAX, &at(0), &Dead([0].into())) {
            Ok(_) => prop_assert!(leftovers(temp.path()).is_empty()),
            Err(error) => {
                prop_assert!(error.is_damage(), "{error}");
                prop_assert_eq!(files(temp.path()), before);
            }
        }
    }
}
