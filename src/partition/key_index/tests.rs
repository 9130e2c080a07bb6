//! The index of partitions: what is in it, when it is not, and that a log that lost its end is indexed anew.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;
use crate::partition::testing::*;
use crate::record::TransactionOutcome::{Abort, Commit};
use crate::record::{BatchBuilder, BatchHeader, Compression, Validated};
use crate::storage::key_index::{IndexedPartition, KeyIndex, Position};
use crate::storage::memory_key_index::MemoryKeyIndex;
use crate::storage::segment::dir::segment_path;

fn validated(builder: BatchBuilder) -> Validated {
    let bytes = builder.build().unwrap();
    Validated { header: BatchHeader::parse(&bytes).unwrap(), bytes }
}

fn keyed(records: &[(&str, Option<&str>)]) -> Validated {
    validated(with(BatchBuilder::new(), records))
}

fn in_transaction(producer_id: i64, sequence: i32, records: &[(&str, Option<&str>)]) -> Validated {
    validated(with(BatchBuilder::new().producer(producer_id, 0, sequence).transactional(true), records))
}

fn with(builder: BatchBuilder, records: &[(&str, Option<&str>)]) -> BatchBuilder {
    records.iter().fold(builder, |builder, (key, value)| {
        builder.record(1_000, Some(key.as_bytes()), value.map(str::as_bytes))
    })
}

/// Begins another segment.
fn roll(bench: &Bench) {
    bench.partition.inner.lock().log.roll(0).unwrap();
}

fn always(_: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn caught_up(bench: &Bench, index: &dyn KeyIndex, settings: &CatchUp) -> CaughtUp {
    bench.settle();
    let done = catch_up(&bench.partition, index, settings, &mut always).unwrap();
    assert!(done.complete);
    done
}

fn position(bench: &Bench, index: &dyn KeyIndex) -> Option<Position> {
    index.position(bench.partition.id().into()).unwrap()
}

fn dead(bench: &Bench, index: &dyn KeyIndex, end: i64) -> Vec<i64> {
    let id = bench.partition.id().into();
    index.dead_upto(id, end, 0..i64::MAX, usize::MAX).unwrap().offsets.iter().collect()
}

/// Offset and value of the latest record of a key.
fn found(bench: &Bench, index: &dyn KeyIndex, key: &str) -> Option<(i64, Option<String>)> {
    bench.settle();
    let found = latest(&bench.partition, index, key.as_bytes(), &CatchUp::default(), &mut always).unwrap();
    found.map(|found| (found.offset, found.value.map(|value| String::from_utf8(value.to_vec()).unwrap())))
}

fn some(offset: i64, value: &str) -> Option<(i64, Option<String>)> {
    Some((offset, Some(value.to_owned())))
}

#[test]
fn the_latest_record_of_a_key_is_found_with_all_it_has() {
    let bench = Bench::new(&[]);
    let index = MemoryKeyIndex::new();
    assert_eq!(found(&bench, &index, "a"), None);
    for (codec, round) in Compression::ALL.into_iter().zip(0..) {
        let builder = BatchBuilder::new()
            .compression(codec, None)
            .record(5, Some(b"other"), None)
            .record(6, None, Some(b"no key"))
            .record_with_headers(7 + round, Some(b"a"), Some(b"v"), &[(b"h", Some(b"1")), (b"h", None)])
            .record(9, Some(b"z"), Some(b""));
        bench.partition.append(&validated(builder), 0).unwrap();
        bench.settle();
        let settings = CatchUp::default();
        let look_up = |key: &[u8]| latest(&bench.partition, &index, key, &settings, &mut always).unwrap();
        let header = |value: Option<&'static [u8]>| FoundHeader {
            key: bytes::Bytes::from_static(b"h"),
            value: value.map(bytes::Bytes::from_static),
        };
        let expected = FoundRecord {
            offset: 4 * round + 2,
            timestamp: 7 + round,
            value: Some(bytes::Bytes::from_static(b"v")),
            headers: vec![header(Some(b"1")), header(None)],
        };
        assert_eq!(look_up(b"a"), Some(expected));
        // A tombstone, and an empty value, which is none.
        assert_eq!(look_up(b"other").map(|found| found.value), Some(None));
        assert_eq!(look_up(b"z").map(|found| found.value.map(|value| value.len())), Some(Some(0)));
        assert_eq!((look_up(b""), look_up(b"b")), (None, None));
    }
    let append_time = with(BatchBuilder::new(), &[("a", Some("w"))]).log_append_time(77);
    bench.partition.append(&validated(append_time), 0).unwrap();
    bench.settle();
    let settings = CatchUp::default();
    let found = latest(&bench.partition, &index, b"a", &settings, &mut always).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp), (20, 77));
}

#[test]
fn aborted_records_are_not_the_latest_and_open_ones_are_not_seen() {
    let bench = Bench::new(&[]);
    let partition = &bench.partition;
    let index = MemoryKeyIndex::new();
    partition.append(&keyed(&[("a", Some("0")), ("b", Some("1"))]), 0).unwrap();
    partition.append_enlisted(&in_transaction(1, 0, &[("a", Some("aborted"))]), 0, false).unwrap();
    partition.append_enlisted(&in_transaction(2, 0, &[("b", Some("3"))]), 0, false).unwrap();
    partition.append(&keyed(&[("c", Some("4"))]), 0).unwrap();
    // All from offset 2 on is undecided, also what belongs to no transaction.
    assert_eq!(found(&bench, &index, "a"), some(0, "0"));
    assert_eq!((found(&bench, &index, "b"), found(&bench, &index, "c")), (some(1, "1"), None));
    assert_eq!(position(&bench, &index).unwrap().upto, 2);
    partition.append_marker(marker(1, 0, Abort), 0).unwrap();
    assert_eq!(found(&bench, &index, "a"), some(0, "0"));
    assert_eq!(position(&bench, &index).unwrap().upto, 3);
    partition.append_marker(marker(2, 0, Commit), 0).unwrap();
    assert_eq!(found(&bench, &index, "a"), some(0, "0"));
    assert_eq!((found(&bench, &index, "b"), found(&bench, &index, "c")), (some(3, "3"), some(4, "4")));
    assert_eq!(position(&bench, &index).unwrap().upto, 7);
    assert_eq!(dead(&bench, &index, i64::MAX), [1]);
}

#[test]
fn a_run_ends_with_its_segment() {
    let bench = Bench::new(&[]);
    let index = MemoryKeyIndex::new();
    for nth in 0..30 {
        bench.partition.append(&keyed(&[("a", Some("v")), ("b", Some("v"))]), 0).unwrap();
        if nth % 4 == 0 {
            roll(&bench);
        }
    }
    let done = caught_up(&bench, &index, &CatchUp::default());
    let bases: Vec<i64> = {
        let segments = bench.partition.inner.lock().log.segments().unwrap();
        segments.iter().map(|segment| segment.base_offset).collect()
    };
    assert!(bases.len() > 5, "{bases:?}");
    assert_eq!((done.runs, done.records, done.upto), (bases.len() as u64, 60, 60));
    for base in bases.into_iter().skip(1) {
        // Up to the segment's end every record but the last of each key is superfluous, and nothing because of what is above.
        assert_eq!(dead(&bench, &index, base), (0..base - 2).collect::<Vec<_>>());
    }
    let again = caught_up(&bench, &index, &CatchUp::default());
    assert_eq!((again.runs, again.bytes, again.upto), (0, 0, 60));
}

#[test]
fn segments_that_are_compacted_at_once_share_a_run() {
    let bench = Bench::new(&[]);
    for _ in 0..10 {
        bench.partition.append(&keyed(&[("a", Some("v")), ("b", Some("v"))]), 0).unwrap();
        roll(&bench);
    }
    bench.partition.append(&keyed(&[("a", Some("v"))]), 0).unwrap();
    for (together_below, runs) in [(0, 11), (2, 11), (4, 10), (12, 6), (20, 2), (i64::MAX, 1)] {
        let index = MemoryKeyIndex::new();
        let done = caught_up(&bench, &index, &CatchUp { together_below, ..CatchUp::default() });
        assert_eq!((done.runs, done.records, done.upto), (runs, 21, 21), "below {together_below}");
        if together_below <= 20 {
            // What may be compacted is known without what is above: key b's last offset there and key a's.
            assert_eq!(dead(&bench, &index, together_below), (0..together_below - 2).collect::<Vec<_>>());
        }
        assert_eq!(dead(&bench, &index, i64::MAX), (0..=18).collect::<Vec<_>>());
        assert_eq!(found(&bench, &index, "a"), some(20, "v"));
    }
}

#[test]
fn it_stops_when_told_and_goes_on_later() {
    let bench = Bench::new(&[]);
    let index = MemoryKeyIndex::new();
    for nth in 0..20 {
        bench.partition.append(&keyed(&[(&nth.to_string(), Some("value"))]), 0).unwrap();
        if nth % 5 == 4 {
            roll(&bench);
        }
    }
    bench.settle();
    let settings = CatchUp { read_bytes: 1, ..CatchUp::default() };
    let mut left = 12;
    let mut told = 0;
    let stopped = catch_up(&bench.partition, &index, &settings, &mut |bytes| {
        told += bytes as u64;
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!((stopped.complete, stopped.upto, stopped.runs), (false, 10, 2));
    assert_eq!(stopped.bytes, told);
    let behind = latest(&bench.partition, &index, b"19", &settings, &mut |_| ControlFlow::Break(()));
    assert!(matches!(behind, Err(LatestError::Behind { upto }) if upto == stopped.upto));
    let done = caught_up(&bench, &index, &settings);
    assert_eq!((done.upto, done.records), (20, 20 - stopped.upto as u64));
    assert_eq!(found(&bench, &index, "19"), some(19, "value"));
}

#[test]
fn a_log_that_lost_its_tail_is_indexed_anew() {
    let bench = Bench::new(&[]);
    let index = MemoryKeyIndex::new();
    bench.partition.append(&keyed(&[("a", Some("0"))]), 0).unwrap();
    bench.partition.append(&keyed(&[("a", Some("1")), ("b", Some("2"))]), 0).unwrap();
    assert_eq!(caught_up(&bench, &index, &CatchUp::default()).upto, 3);
    assert_eq!(dead(&bench, &index, i64::MAX), [0]);
    let cut = |dir: &std::path::Path| {
        let log = segment_path(dir, 0, ".log");
        let length = fs::metadata(&log).unwrap().len();
        fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(length - 1).unwrap();
    };
    // Found at once, and found after the log has grown beyond what it was.
    for appends in [0, 1, 4] {
        let index = MemoryKeyIndex::new();
        caught_up(&bench, &index, &CatchUp::default());
        let lost = bench.killed(0, cut);
        for _ in 0..appends {
            lost.partition.append(&keyed(&[("b", Some("new"))]), 0).unwrap();
        }
        lost.settle();
        assert_eq!(lost.partition.log_end_offset(), 1 + appends);
        let done = caught_up(&lost, &index, &CatchUp::default());
        assert_eq!((done.rebuilt, done.upto), (true, 1 + appends), "{appends} appends");
        assert_eq!(found(&lost, &index, "a"), some(0, "0"));
        let expected = if appends > 0 { some(appends, "new") } else { None };
        assert_eq!(found(&lost, &index, "b"), expected);
        assert_eq!(dead(&lost, &index, i64::MAX), (1..appends).collect::<Vec<_>>());
        assert!(!caught_up(&lost, &index, &CatchUp::default()).rebuilt);
    }
    // A kill that takes nothing leaves the index as it is, through the epoch that begins after it.
    let kept = bench.killed(0, |_| {});
    assert!(kept.partition.leader_epoch() > bench.partition.leader_epoch());
    kept.partition.append(&keyed(&[("b", Some("3"))]), 0).unwrap();
    let done = caught_up(&kept, &index, &CatchUp::default());
    assert_eq!((done.rebuilt, done.records, done.upto), (false, 1, 4));
    assert_eq!(position(&kept, &index).unwrap().leader_epoch, kept.partition.leader_epoch());
}

#[test]
fn a_log_whose_beginning_went_is_indexed_from_where_it_begins() {
    let bench = Bench::new(&[]);
    let index = MemoryKeyIndex::new();
    for nth in 0..4 {
        bench
            .partition
            .append(&keyed(&[("a", Some(&nth.to_string())), (&nth.to_string(), None)]), 0)
            .unwrap();
    }
    bench.settle();
    assert_eq!(bench.partition.delete_records(3).unwrap(), 3);
    assert_eq!(caught_up(&bench, &index, &CatchUp::default()).records, 5);
    assert_eq!((found(&bench, &index, "0"), found(&bench, &index, "1")), (None, Some((3, None))));
    // What the index still knows of is gone from the log.
    assert_eq!(bench.partition.delete_records(7).unwrap(), 7);
    assert_eq!((found(&bench, &index, "a"), found(&bench, &index, "1")), (None, None));
    assert_eq!(found(&bench, &index, "3"), Some((7, None)));
    // The beginning moves over the position.
    bench.partition.append(&keyed(&[("b", None), ("b", Some("9")), ("c", None)]), 0).unwrap();
    bench.settle();
    assert_eq!(bench.partition.delete_records(10).unwrap(), 10);
    let done = caught_up(&bench, &index, &CatchUp::default());
    assert_eq!((done.rebuilt, done.records, done.upto), (false, 1, 11));
    assert_eq!((found(&bench, &index, "b"), found(&bench, &index, "c")), (None, Some((10, None))));
    assert_eq!(bench.partition.delete_records(-1).unwrap(), 11);
    assert_eq!(found(&bench, &index, "c"), None);
    assert!(!caught_up(&bench, &index, &CatchUp::default()).rebuilt);
}

#[test]
fn a_damaged_batch_ends_the_catch_up_and_is_named() {
    let bench = Bench::new(&[]);
    let index = MemoryKeyIndex::new();
    let mut ends = Vec::new();
    for value in ["0", "1", "2"] {
        bench.partition.append(&keyed(&[("a", Some(value))]), 0).unwrap();
        ends.push(bench.partition.size_bytes());
    }
    bench.settle();
    let path = segment_path(bench.log_dir(), 0, ".log");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"!", ends[1] - 2).unwrap();
    for _ in 0..2 {
        let failed = catch_up(&bench.partition, &index, &CatchUp::default(), &mut always).unwrap_err();
        let CatchUpError::Damaged { offset, path: named, position, source: BatchDamage::Crc } = failed else {
            panic!("{failed}");
        };
        assert_eq!((offset, named, position), (1, path.clone(), ends[0]));
        assert_eq!(self::position(&bench, &index).unwrap().upto, 1);
    }
    let refused = latest(&bench.partition, &index, b"a", &CatchUp::default(), &mut always);
    assert!(matches!(refused, Err(LatestError::CatchUp(_))));
    // Repaired, it goes on; damaged afterwards, the record is not handed out.
    file.write_all_at(b"1", ends[1] - 2).unwrap();
    assert_eq!(found(&bench, &index, "a"), some(2, "2"));
    file.write_all_at(b"!", ends[2] - 2).unwrap();
    let refused = latest(&bench.partition, &index, b"a", &CatchUp::default(), &mut always);
    assert!(matches!(refused, Err(LatestError::Damaged { offset: 2, source: BatchDamage::Crc })));
}

#[test]
fn an_index_that_does_not_belong_to_the_log_is_found_out() {
    let bench = Bench::new(&[]);
    let index = MemoryKeyIndex::new();
    bench.partition.append(&keyed(&[("a", None), ("b", None)]), 0).unwrap();
    bench.settle();
    let mut builder = RunBuilder::new(index.hasher(), 1 << 20, 0.9, 1 << 20);
    let wrong = keyed(&[("b", None), ("a", None)]);
    builder.feed(&wrong.header, &wrong.bytes, 0, &AbortedRanges::default()).unwrap();
    let run = builder.finish(None, Position { upto: 2, leader_epoch: 0 });
    assert!(index.add_run(bench.partition.id().into(), run).unwrap());
    let refused = latest(&bench.partition, &index, b"a", &CatchUp::default(), &mut always);
    assert!(matches!(refused, Err(LatestError::Contradiction { offset: 1 })));
}

#[test]
fn one_that_is_overtaken_leaves_the_work_to_the_other() {
    let bench = Bench::new(&[]);
    let index = MemoryKeyIndex::new();
    for nth in 0..20 {
        bench.partition.append(&keyed(&[("a", Some(&nth.to_string()))]), 0).unwrap();
        roll(&bench);
    }
    bench.settle();
    // Another comes in the middle and does all of it.
    let mut overtaken = false;
    let done = catch_up(&bench.partition, &index, &CatchUp::default(), &mut |_| {
        if !std::mem::replace(&mut overtaken, true) {
            assert_eq!(caught_up(&bench, &index, &CatchUp::default()).upto, 20);
        }
        ControlFlow::Continue(())
    });
    let done = done.unwrap();
    assert_eq!((done.complete, done.runs, done.upto), (true, 0, 20));
    assert_eq!(dead(&bench, &index, i64::MAX), (0..19).collect::<Vec<_>>());
}

/// One append.
#[derive(Debug, Clone)]
enum Append {
    Plain(Vec<u8>),
    Transactional(i64, Vec<u8>),
    End(i64, bool),
}

fn append() -> impl Strategy<Value = Append> {
    let keys = prop::collection::vec(0..12u8, 1..6);
    prop_oneof![
        4 => keys.clone().prop_map(Append::Plain),
        3 => (1..3i64, keys).prop_map(|(producer_id, keys)| Append::Transactional(producer_id, keys)),
        2 => (1..3i64, any::<bool>()).prop_map(|(producer_id, commit)| Append::End(producer_id, commit)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is appended, however small runs and reads are: each key's latest record is the last that a consumer at
    /// read_committed gets, and dead is every other record of those that it got.
    #[test]
    fn agrees_with_a_reader_at_read_committed(
        appends in prop::collection::vec((append(), any::<bool>()), 1..30),
        run_bytes in prop::sample::select(vec![0, 300, 1 << 20]),
        read_bytes in prop::sample::select(vec![1, 500, 1 << 20]),
        rolls in any::<bool>(),
        together_below in prop::sample::select(vec![0, 20, i64::MAX]),
    ) {
        let bench = Bench::new(&[]);
        let partition = &bench.partition;
        let index = MemoryKeyIndex::new();
        let settings = CatchUp { run_bytes, read_bytes, together_below, ..CatchUp::default() };
        let mut sequences = BTreeMap::<i64, i32>::new();
        // Base offset → keys.
        let mut batches = BTreeMap::<i64, Vec<u8>>::new();
        for (append, look) in appends {
            let fold = |builder: BatchBuilder, keys: &[u8]| {
                validated(keys.iter().fold(builder, |batch, key| batch.record(0, Some(&[*key]), Some(b"v"))))
            };
            match append {
                Append::Plain(keys) => {
                    let appended = partition.append(&fold(BatchBuilder::new(), &keys), 0).unwrap();
                    batches.insert(appended.base_offset, keys);
                }
                Append::Transactional(producer_id, keys) => {
                    let sequence = sequences.entry(producer_id).or_default();
                    let builder = BatchBuilder::new().producer(producer_id, 0, *sequence).transactional(true);
                    *sequence += keys.len() as i32;
                    let appended = partition.append_enlisted(&fold(builder, &keys), 0, false).unwrap();
                    batches.insert(appended.base_offset, keys);
                }
                Append::End(producer_id, commit) => {
                    if partition.open_transaction(producer_id).is_some() {
                        let outcome = if commit { Commit } else { Abort };
                        partition.append_marker(marker(producer_id, 0, outcome), 0).unwrap();
                    }
                }
            }
            if !look {
                continue;
            }
            if rolls {
                roll(&bench);
            }
            let done = caught_up(&bench, &index, &settings);
            let stable = partition.last_stable_offset();
            prop_assert_eq!(done.upto, if stable > 0 { stable } else { -1 });
            let (mut latest, mut superseded) = (BTreeMap::new(), Vec::new());
            for base in consume(partition, 0, 1 << 20).0 {
                for (key, offset) in batches[&base].iter().zip(base..) {
                    superseded.extend(latest.insert(*key, offset));
                }
            }
            superseded.sort_unstable();
            prop_assert_eq!(dead(&bench, &index, i64::MAX), superseded);
            for key in 0..12u8 {
                let id = IndexedPartition::from(partition.id());
                let known = index.latest(id, index.hasher().hash(&[key])).unwrap();
                prop_assert_eq!(known, latest.get(&key).copied(), "key {}", key);
            }
        }
    }
}

#[test]
fn what_readers_see_is_found_though_nobody_synced_it() {
    let bench = Bench::new(&[("flush.messages", "1000000")]);
    let index = MemoryKeyIndex::new();
    for value in ["1", "2"] {
        bench.partition.append(&keyed(&[("a", Some(value))]), 0).unwrap();
    }
    assert_eq!(bench.partition.indexable().end, 0, "nothing is durable");
    assert_eq!(found(&bench, &index, "a"), some(1, "2"));
}
