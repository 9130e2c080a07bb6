//! Whole passes of the cleaner over a partition, against a list of what was written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::metrics::CleanerMetrics;
use super::progress::Progress;
use super::{Cleaner, Logs};
use crate::config::{BrokerConfig, Sources};
use crate::partition::Partition;
use crate::partition::testing::*;
use crate::record::TransactionOutcome::{Abort, Commit};
use crate::record::{BatchBuilder, BatchHeader, Batches, HEADER_LEN, Records, Validated};
use crate::storage::key_index::{KeyIndex, KeyIndexError};
use crate::storage::memory_key_index::MemoryKeyIndex;

/// Keys of a history: few, so that most records are superseded.
const KEYS: u8 = 6;
const PRODUCER: i64 = 7;

struct One {
    partition: Arc<Mutex<Arc<Partition>>>,
    index: Option<Arc<MemoryKeyIndex>>,
}

impl Logs for One {
    fn compacted(&self) -> Vec<Arc<Partition>> {
        vec![self.partition.lock().clone()]
    }

    fn key_index(&self) -> Result<Arc<dyn KeyIndex>, KeyIndexError> {
        self.index.clone().map(|index| index as Arc<dyn KeyIndex>).ok_or(KeyIndexError::Closed)
    }

    fn now_ms(&self) -> i64 {
        2_000
    }

    fn remove_later(&self, files: Vec<PathBuf>, _: Duration) {
        files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    }
}

/// A cleaner with `memory` bytes for tables; without `index` the one it asks for fails.
fn cleaner(
    bench: &Bench,
    memory: usize,
    index: Option<Arc<MemoryKeyIndex>>,
) -> (Arc<Cleaner>, Arc<Mutex<Arc<Partition>>>) {
    let mut config = BrokerConfig::load(&Sources::default()).unwrap().config.cleaner;
    config.dedupe_buffer_bytes = memory;
    let partition = Arc::new(Mutex::new(bench.partition.clone()));
    let logs = One { partition: partition.clone(), index };
    let progress = Arc::new(Progress::open(bench.dir.path()));
    let metrics = CleanerMetrics::register(&prometheus::Registry::new()).unwrap();
    (Cleaner::new(config, 1 << 20, Box::new(logs), progress, metrics), partition)
}

type Written = BTreeMap<i64, (u8, Option<u8>)>;

fn batch(builder: BatchBuilder, records: &[(u8, Option<u8>)]) -> Validated {
    let fill = |builder: BatchBuilder, (key, value): &(u8, Option<u8>)| {
        builder.record(1_000, Some(&[*key]), value.as_ref().map(std::slice::from_ref))
    };
    let bytes = records.iter().fold(builder, fill).build().unwrap();
    Validated { header: BatchHeader::parse(&bytes).unwrap(), bytes }
}

/// Offset, key and value of every record that readers get, aborted ones included.
fn stored(partition: &Partition) -> Written {
    let (mut found, mut offset) = (Written::new(), partition.log_start_offset());
    while let Some(slice) = partition.read(request(offset, 1 << 20, false), 0).unwrap().slice {
        let bytes = slice.read().unwrap();
        for batch in Batches::new(&bytes) {
            let (header, batch) = batch.unwrap();
            offset = header.last_offset() + 1;
            if header.is_control() {
                continue;
            }
            for record in Records::new(&batch[HEADER_LEN..], header.record_count) {
                let record = record.unwrap();
                let at = header.base_offset + i64::from(record.offset_delta);
                let before = found.insert(at, (record.key.unwrap()[0], record.value.map(|value| value[0])));
                assert_eq!(before, None, "offset {at} is there twice");
            }
        }
    }
    found
}

/// What Kafka's rules leave: below `end` the latest decided record of each key, above it everything.
fn expected(written: &Written, aborted: &Written, end: i64) -> Written {
    let superseded =
        |at: i64, key: u8| written.range(at + 1..end.max(at + 1)).any(|(_, (other, _))| *other == key);
    let kept = written.iter().filter(|(at, (key, _))| **at >= end || !superseded(**at, *key));
    kept.chain(aborted.range(end..)).map(|(at, record)| (*at, *record)).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<(u8, Option<u8>)>),
    Transaction { records: Vec<(u8, Option<u8>)>, rolled: bool, committed: bool },
    Roll,
    Clean,
    Reopen,
}

fn records() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
    proptest::collection::vec((0..KEYS, proptest::option::weighted(0.8, any::<u8>())), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => records().prop_map(Step::Put),
        3 => (records(), any::<bool>(), any::<bool>())
            .prop_map(|(records, rolled, committed)| Step::Transaction { records, rolled, committed }),
        3 => Just(Step::Roll),
        3 => Just(Step::Clean),
        1 => Just(Step::Reopen),
    ]
}

fn follow(steps: Vec<Step>, index: bool, memory: usize) -> Result<(), TestCaseError> {
    let enabled = if index { "true" } else { "false" };
    let mut bench = Bench::new(&[
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
        ("tidelog.key.index.enable", enabled),
    ]);
    let shared = Arc::new(MemoryKeyIndex::new());
    let (cleaner, current) = cleaner(&bench, memory, Some(shared));
    let (mut written, mut aborted) = (Written::new(), Written::new());
    let (mut sequence, mut end) = (0, 0);
    let roll = |bench: &Bench| bench.partition.inner.lock().log.roll(0).unwrap();
    for step in steps {
        match step {
            Step::Put(records) => {
                let at =
                    bench.partition.append(&batch(BatchBuilder::new(), &records), 0).unwrap().base_offset;
                written.extend((at..).zip(records));
            }
            Step::Transaction { records, rolled, committed } => {
                let builder = BatchBuilder::new().producer(PRODUCER, 0, sequence).transactional(true);
                let appended = bench.partition.append_enlisted(&batch(builder, &records), 0, false).unwrap();
                sequence += records.len() as i32;
                if rolled {
                    roll(&bench);
                }
                let outcome = if committed { Commit } else { Abort };
                bench.partition.append_marker(marker(PRODUCER, 0, outcome), 0).unwrap();
                let into = if committed { &mut written } else { &mut aborted };
                into.extend((appended.base_offset..).zip(records));
            }
            Step::Roll => roll(&bench),
            Step::Clean => {
                bench.settle();
                cleaner.pass();
                let active = bench.partition.inner.lock().log.active_base_offset();
                let log = cleaner.progress.of(TOPIC, 0);
                prop_assert!(log.is_none_or(|upto| upto == active || upto == end), "{log:?} of {active}");
                end = log.unwrap_or(0);
                prop_assert_eq!(stored(&bench.partition), expected(&written, &aborted, end));
            }
            Step::Reopen => {
                bench = bench.reopen(0, |_| ());
                *current.lock() = bench.partition.clone();
            }
        }
    }
    bench.settle();
    prop_assert_eq!(stored(&bench.partition), expected(&written, &aborted, end));
    let state = bench.partition.log_state(None, &super::access::limits(&bench.config)).unwrap();
    prop_assert!(state.is_some());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_the_key_index_calls_dead_leaves(steps in proptest::collection::vec(step(), 1..40)) {
        follow(steps, true, 1 << 20)?;
    }

    #[test]
    fn in_runs_of_a_few_keys_too(steps in proptest::collection::vec(step(), 1..40), memory in 1..400usize) {
        follow(steps, true, memory)?;
    }

    #[test]
    fn a_table_says_the_same(steps in proptest::collection::vec(step(), 1..40)) {
        follow(steps, false, 1 << 20)?;
    }

    #[test]
    fn and_so_do_several_small_ones(steps in proptest::collection::vec(step(), 1..40), memory in 1..400usize) {
        follow(steps, false, memory)?;
    }
}

/// Two segments with the same key, and the one that appends go to.
fn superseded(bench: &Bench) {
    for value in 0..3 {
        bench.partition.append(&batch(BatchBuilder::new(), &[(1, Some(value))]), 0).unwrap();
        bench.partition.inner.lock().log.roll(0).unwrap();
    }
    bench.settle();
}

#[test]
fn without_the_index_that_is_wanted_a_table_stands_in() {
    let bench = Bench::new(&[("cleanup.policy", "compact")]);
    let (cleaner, _) = cleaner(&bench, 1 << 20, None);
    superseded(&bench);
    cleaner.pass();
    assert_eq!(stored(&bench.partition), Written::from([(2, (1, Some(2)))]));
    assert_eq!(cleaner.progress.of(TOPIC, 0), Some(3));
}

#[test]
fn a_damaged_log_is_left_alone() {
    let bench = Bench::new(&[("cleanup.policy", "compact")]);
    let (cleaner, _) = cleaner(&bench, 1 << 20, Some(Arc::new(MemoryKeyIndex::new())));
    superseded(&bench);
    let path = bench.log_dir().join(format!("{:020}.log", 1));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        cleaner.pass();
        assert_eq!(cleaner.metrics.uncleanable_partitions.get(), 1);
        assert_eq!(cleaner.metrics.failures.get(), 1, "it is not tried again");
    }
    assert!(cleaner.metrics.uncleanable_bytes.get() > 0);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(cleaner.progress.of(TOPIC, 0), None);
    assert!(!std::fs::read_dir(bench.log_dir()).unwrap().any(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.ends_with(".cleaned") || name.ends_with(".swap")
    }));
}

#[test]
fn a_stopped_cleaner_changes_nothing() {
    let bench = Bench::new(&[("cleanup.policy", "compact")]);
    let (cleaner, _) = cleaner(&bench, 1 << 20, Some(Arc::new(MemoryKeyIndex::new())));
    superseded(&bench);
    cleaner.throttle.stop();
    cleaner.pass();
    assert_eq!(stored(&bench.partition).len(), 3);
}
