//! A log that is written to, cut at both ends, compacted, closed and torn, against a list of batches.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::dir::segment_path;
use super::super::testing::{append_bytes, create};
use super::super::{AbortedTransaction, FileCache, Log, LogConfig, OpenOptions, Recovery, Replay};
use super::testing::*;
use super::*;
use crate::record::{BatchHeader, EndMarker, TransactionOutcome};

#[derive(Debug, Clone)]
enum Act {
    Append {
        producer: Option<i64>,
        transactional: bool,
        records: Vec<(Option<u8>, bool)>,
        timestamp: i64,
        codec: usize,
    },
    End {
        producer: i64,
        commit: bool,
    },
    Roll,
    Flush,
    Truncate {
        back: i64,
    },
    DeleteFront {
        segments: usize,
    },
    Compact {
        seed: u64,
        pass: i64,
    },
    Reopen,
    Torn {
        cut: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let records =
        prop::collection::vec((prop::option::weighted(0.9, 0..6u8), prop::bool::weighted(0.7)), 1..5);
    let append = (prop::option::weighted(0.7, 0..3i64), any::<bool>(), records, -1..300i64, 0..5usize);
    prop_oneof![
        14 => append.prop_map(|(producer, transactional, records, timestamp, codec)| Act::Append { producer, transactional, records, timestamp, codec }),
        5 => (0..3i64, any::<bool>()).prop_map(|(producer, commit)| Act::End { producer, commit }),
        2 => Just(Act::Roll),
        1 => Just(Act::Flush),
        1 => (0..12i64).prop_map(|back| Act::Truncate { back }),
        1 => (0..2usize).prop_map(|segments| Act::DeleteFront { segments }),
        5 => (any::<u64>(), 0..80i64).prop_map(|(seed, pass)| Act::Compact { seed, pass }),
        1 => Just(Act::Reopen),
        1 => (0..2000usize).prop_map(|cut| Act::Torn { cut }),
    ]
}

#[derive(Debug, Clone)]
struct Batch {
    header: BatchHeader,
    rows: Vec<Row>,
    /// First offset of the transaction it belongs to.
    transaction: Option<i64>,
}

/// A transaction, by the offset of its first record.
#[derive(Debug, Clone)]
struct Transaction {
    producer: i64,
    /// Offset of its marker, the last stable offset behind it, and whether it committed.
    ended: Option<(i64, i64, bool)>,
}

#[derive(Default)]
struct Model {
    batches: Vec<Batch>,
    transactions: BTreeMap<i64, Transaction>,
    /// Markers of aborted transactions that the index tells of.
    indexed: BTreeSet<i64>,
    now_ms: i64,
}

impl Model {
    fn open(&self, producer: i64) -> Option<i64> {
        let mut open = self.transactions.iter().filter(|(_, t)| t.producer == producer && t.ended.is_none());
        open.next().map(|(first, _)| *first)
    }

    fn last_stable(&self, end: i64) -> i64 {
        self.transactions.iter().find(|(_, t)| t.ended.is_none()).map_or(end, |(first, _)| *first)
    }

    fn aborted(&self) -> Vec<AbortedTransaction> {
        let mut found: Vec<_> = self
            .transactions
            .iter()
            .filter_map(|(first, t)| {
                let (marker, last_stable_offset, commit) = t.ended?;
                (!commit && self.indexed.contains(&marker)).then_some(AbortedTransaction {
                    producer_id: t.producer,
                    first_offset: *first,
                    last_offset: marker,
                    last_stable_offset,
                })
            })
            .collect();
        found.sort_by_key(|t| t.last_offset);
        found
    }

    /// The log lost everything from `end` on.
    fn cut(&mut self, end: i64) {
        self.batches.retain(|batch| batch.header.last_offset() < end);
        self.transactions.retain(|first, _| *first < end);
        for transaction in self.transactions.values_mut() {
            transaction.ended = transaction.ended.filter(|(marker, ..)| *marker < end);
        }
        self.indexed.retain(|marker| *marker < end);
        // One whose marker was cut off and whose data is gone is none any more.
        let batches = &self.batches;
        self.transactions
            .retain(|first, t| t.ended.is_some() || batches.iter().any(|b| b.transaction == Some(*first)));
    }

    fn delete_below(&mut self, start: i64) {
        self.batches.retain(|batch| batch.header.base_offset >= start);
        self.indexed.retain(|marker| *marker >= start);
    }

    fn last_of(&self, producer: i64) -> Option<LastRecord> {
        let own = |batch: &&Batch| batch.header.producer_id == producer;
        let epoch = self.batches.iter().rfind(own)?.header.producer_epoch;
        let data = self.batches.iter().rfind(|batch| own(batch) && !batch.header.is_control());
        Some(LastRecord { last_data_offset: data.map(|batch| batch.header.last_offset()), epoch })
    }

    /// Kafka's rules, over the list.
    fn compact(&mut self, end: i64, dead: &BTreeSet<i64>) {
        let old = std::mem::take(&mut self.batches);
        let has_data: BTreeSet<i64> =
            old.iter().filter(|b| !b.header.is_control()).filter_map(|b| b.transaction).collect();
        self.batches = old.clone();
        let last: BTreeMap<i64, Option<LastRecord>> = (0..3).map(|id| (id, self.last_of(id))).collect();
        self.batches.clear();
        let horizon_ms = self.now_ms + 100;
        for mut batch in old {
            let header = &mut batch.header;
            if header.last_offset() >= end {
                self.batches.push(batch);
                continue;
            }
            let outcome = batch.transaction.and_then(|first| self.transactions[&first].ended);
            let horizon = header.delete_horizon_ms();
            let passed = horizon.is_some_and(|horizon| horizon <= self.now_ms);
            let control = header.is_control();
            let of_no_use = match (control, outcome) {
                (true, _) => {
                    header.record_count == 0
                        || !batch.transaction.is_some_and(|first| has_data.contains(&first))
                }
                (false, Some((_, _, commit))) => !commit,
                (false, None) => false,
            };
            if control && of_no_use {
                self.indexed.remove(&header.base_offset);
            }
            batch.rows.retain(|row| {
                if control {
                    return !(of_no_use && passed);
                }
                let gone = of_no_use || row.key.is_none() || dead.contains(&row.offset);
                let expired = row.value.is_none() && passed;
                !gone && !expired
            });
            let newest = last.get(&header.producer_id).copied().flatten().is_some_and(|last| {
                match last.last_data_offset {
                    Some(offset) => offset == header.last_offset(),
                    None => control && last.epoch == header.producer_epoch,
                }
            });
            if batch.rows.is_empty() && !newest && header.last_offset() + 1 != end {
                continue;
            }
            if batch.rows.is_empty() {
                *header = header.emptied();
            } else if horizon.is_none()
                && (batch.rows.iter().any(|row| row.value.is_none()) || control && of_no_use)
            {
                header.set_delete_horizon(horizon_ms);
            }
            header.record_count = batch.rows.len() as i32;
            self.batches.push(batch);
        }
    }
}

/// Gives back the aborted transactions that the model knows.
struct Known<'a>(&'a Model);

impl Replay for Known<'_> {
    fn begin(&mut self, needed: i64) -> i64 {
        needed
    }
    fn batch(&mut self, header: &BatchHeader, marker: Option<&EndMarker>) -> Option<AbortedTransaction> {
        marker?;
        self.0.aborted().into_iter().find(|aborted| aborted.last_offset == header.base_offset)
    }
}

fn reopened(
    dir: &std::path::Path,
    config: LogConfig,
    model: &Model,
    clean: bool,
    point: i64,
    start: i64,
) -> (Log, Recovery) {
    let options = OpenOptions {
        config,
        files: FileCache::new(4),
        clean,
        recovery_point: point,
        log_start_offset: start,
        now_ms: 0,
        replay: &mut Known(model),
    };
    Log::open(dir, options).unwrap()
}

fn same(log: &Log, model: &Model) -> Result<(), TestCaseError> {
    let found = batches(log);
    let shape = |header: &BatchHeader| {
        (
            header.base_offset,
            header.last_offset_delta,
            header.record_count,
            header.delete_horizon_ms(),
            header.producer_id,
            header.base_sequence,
        )
    };
    let visible: Vec<_> =
        model.batches.iter().filter(|batch| batch.header.last_offset() >= log.start_offset()).collect();
    prop_assert_eq!(
        found.iter().map(|(header, _)| shape(header)).collect::<Vec<_>>(),
        visible.iter().map(|batch| shape(&batch.header)).collect::<Vec<_>>()
    );
    for ((_, rows), batch) in found.iter().zip(visible) {
        prop_assert_eq!(rows, &batch.rows);
    }
    prop_assert_eq!(log.aborted(log.start_offset(), log.end_offset()).unwrap(), model.aborted());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_compacted_log_is_a_list_of_batches(acts in prop::collection::vec(act(), 1..70)) {
        let temp = tempfile::tempdir().unwrap();
        let config = LogConfig { segment_bytes: 600, ..small() };
        let mut log = create(temp.path(), config);
        let mut model = Model { now_ms: 1000, ..Model::default() };
        for act in acts {
            let end = log.end_offset();
            match act {
                Act::Append { producer, transactional, records, timestamp, codec: number } => {
                    let transactional = transactional && producer.is_some();
                    let open = producer.and_then(|producer| model.open(producer));
                    // What a producer sends in between belongs to its transaction.
                    let transactional = transactional || open.is_some();
                    let header = put(&mut log, |mut batch| {
                        batch = batch.compression(codec(number), None).transactional(transactional);
                        if let Some(producer) = producer {
                            batch = batch.producer(producer, 0, end as i32);
                        }
                        for (place, (key, value)) in records.iter().enumerate() {
                            let key = key.map(|key| [key]);
                            let value = value.then_some([end as u8; 12]);
                            batch = batch.record(timestamp + place as i64, key.as_ref().map(|k| &k[..]), value.as_ref().map(|v| &v[..]));
                        }
                        batch
                    });
                    let transaction = transactional.then(|| open.unwrap_or(end));
                    if let (Some(first), Some(producer)) = (transaction, producer) {
                        model.transactions.entry(first).or_insert(Transaction { producer, ended: None });
                    }
                    let rows = rows(&log).into_iter().filter(|row| row.offset >= end).collect();
                    model.batches.push(Batch { header, rows, transaction });
                }
                Act::End { producer, commit } => {
                    let Some(first) = model.open(producer) else { continue };
                    let outcome = if commit { TransactionOutcome::Commit } else { TransactionOutcome::Abort };
                    let marker = EndMarker { producer_id: producer, producer_epoch: 0, coordinator_epoch: 0, outcome }.to_batch(5);
                    let mut header = BatchHeader::parse(&marker).unwrap();
                    (header.base_offset, header.partition_leader_epoch) = (end, 0);
                    let mut bytes = marker.to_vec();
                    bytes[..16].copy_from_slice(&crate::record::patch_prefix(&header, end, 0));
                    append_bytes(&mut log, &bytes, 0).unwrap();
                    model.transactions.get_mut(&first).unwrap().ended = Some((end, 0, commit));
                    let stable = model.last_stable(end + 1);
                    model.transactions.get_mut(&first).unwrap().ended = Some((end, stable, commit));
                    if !commit {
                        model.indexed.insert(end);
                        log.append_aborted(AbortedTransaction { producer_id: producer, first_offset: first, last_offset: end, last_stable_offset: stable });
                    }
                    let rows = rows_of(&header, &bytes);
                    model.batches.push(Batch { header, rows, transaction: Some(first) });
                }
                Act::Roll => log.roll(0).unwrap(),
                Act::Flush => log.flush().unwrap(),
                Act::Truncate { back } => {
                    let offset = (end - back).max(log.start_offset());
                    log.truncate_to(offset, 0).unwrap();
                    model.cut(offset.min(log.end_offset()));
                    let last = model.batches.last().map_or(log.start_offset(), |batch| batch.header.last_offset() + 1);
                    prop_assert!((last..=offset).contains(&log.end_offset()));
                }
                Act::DeleteFront { segments } => {
                    let infos = log.segments().unwrap();
                    let upto = infos[segments.min(infos.len() - 1)].base_offset;
                    // Kafka, too, deletes nothing above the high watermark, and here nothing that is open.
                    let upto = upto.min(model.last_stable(end));
                    log.delete_segments_below(upto).unwrap();
                    model.delete_below(log.segments().unwrap()[0].base_offset);
                }
                Act::Compact { seed, pass } => {
                    log.flush().unwrap();
                    model.now_ms += pass;
                    let stable = model.last_stable(end);
                    let source_end = log.compaction_source(stable).unwrap().end();
                    let mut random = seed | 1;
                    let dead: BTreeSet<i64> = (log.start_offset()..source_end).filter(|_| {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        random >> 62 == 0
                    }).collect();
                    let last = |id: i64| model.last_of(id);
                    let context = Context { last_record: &last, ..at(model.now_ms) };
                    clean(&mut log, stable, &context, &Dead(dead.clone())).unwrap();
                    model.compact(source_end, &dead);
                    prop_assert_eq!(leftovers(temp.path()), Vec::<String>::new());
                    prop_assert_eq!(log.end_offset(), end);
                }
                Act::Reopen => {
                    log.close().unwrap();
                    let (opened, recovery) = reopened(temp.path(), config, &model, true, 0, log.start_offset());
                    prop_assert!(!recovery.recovered);
                    log = opened;
                    prop_assert_eq!(log.end_offset(), end);
                }
                Act::Torn { cut } => {
                    let (point, start, base) = (log.flushed_offset(), log.start_offset(), log.active_base_offset());
                    let path = segment_path(temp.path(), base, ".log");
                    let bytes = std::fs::read(&path).unwrap();
                    drop(log);
                    // The file loses what was not durable, from some byte on.
                    let mut at_byte = 0;
                    let mut kept = base;
                    let durable = crate::record::Batches::new(&bytes).map(Result::unwrap).take_while(|(header, _)| header.base_offset < point);
                    let durable: usize = durable.map(|(header, _)| header.size_in_bytes()).sum();
                    let length = (durable + cut).min(bytes.len());
                    std::fs::File::options().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
                    for (header, _) in crate::record::Batches::new(&bytes).map(Result::unwrap) {
                        at_byte += header.size_in_bytes();
                        if at_byte <= length {
                            kept = header.last_offset() + 1;
                        }
                    }
                    model.cut(kept);
                    let (opened, recovery) = reopened(temp.path(), config, &model, false, point, start);
                    prop_assert!(recovery.recovered);
                    log = opened;
                    prop_assert_eq!(log.end_offset(), kept);
                }
            }
            same(&log, &model)?;
        }
        if log.start_offset() == log.segments().unwrap()[0].base_offset {
            check_lookups(&log);
        }
    }
}
