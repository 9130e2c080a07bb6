//! Random histories of a partition, with orderly stops and kills in between, against the list of what was appended.
//!
//! The model is what the words mean: a record is decided when its transaction's marker is behind it, and delivered if that
//! says commit. It knows nothing of indexes, snapshots or recovery points.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::testing::*;
use crate::record::TransactionOutcome::{self, Abort, Commit};
use crate::storage::segment::dir::{TXN_SUMS_FILE, segment_path};

const PRODUCERS: i64 = 4;

#[derive(Debug, Clone)]
enum Step {
    /// A batch in the producer's transaction, begun if none is open.
    Write {
        producer: i64,
        records: i32,
    },
    /// A batch of nobody.
    Plain {
        records: i32,
    },
    /// The marker; `bumps` the epoch as the second protocol does.
    End {
        producer: i64,
        outcome: TransactionOutcome,
        bumps: bool,
    },
    Roll,
    Release,
    Snapshot,
    Checkpoint,
    Delete {
        parts: u8,
    },
    Reopen,
    Kill {
        damage: Damage,
        at: u16,
    },
    /// Something happens to an index, or to what was noted of it, while the broker is down.
    Harm {
        harm: Harm,
        at: u16,
        orderly: bool,
    },
}

/// What can happen to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Deleted,
    Cut,
    FlippedBit,
    GarbageBehind,
    OutOfOrder,
    NotesDamaged,
    NotesDeleted,
}

fn harm(dir: &Path, harm: Harm, at: usize) {
    let notes = dir.join(TXN_SUMS_FILE);
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut indexes: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "txnindex")).collect();
    indexes.sort();
    let path = match harm {
        Harm::NotesDamaged | Harm::NotesDeleted => notes,
        _ if indexes.is_empty() => return,
        _ => indexes.swap_remove(at % indexes.len()),
    };
    let Ok(mut bytes) = fs::read(&path) else { return };
    let place = at % bytes.len().max(1);
    match harm {
        Harm::Deleted | Harm::NotesDeleted => return fs::remove_file(path).unwrap(),
        Harm::Cut => bytes.truncate(place),
        Harm::FlippedBit | Harm::NotesDamaged => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << (at % 8);
            }
        }
        Harm::GarbageBehind => bytes.extend(std::iter::repeat_n(at as u8, 1 + at % 70)),
        Harm::OutOfOrder => bytes.rotate_left(place / 34 * 34),
    }
    fs::write(path, bytes).unwrap();
}

/// What a power cut does beyond a kill.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Nothing,
    /// The active segment loses its last bytes.
    LogTail,
    /// Entries that were not synced never reached the disk, or as garbage.
    IndexBehind,
    IndexTorn,
    /// Snapshots above the recovery point are unreadable.
    Snapshots,
    /// The recovery point that was noted is an older one.
    OldCheckpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![Just(Commit), Just(Abort), Just(Abort)];
    let damage = prop_oneof![
        Just(Damage::Nothing),
        Just(Damage::LogTail),
        Just(Damage::IndexBehind),
        Just(Damage::IndexTorn),
        Just(Damage::Snapshots),
        Just(Damage::OldCheckpoint),
    ];
    let harm = prop_oneof![
        Just(Harm::Deleted),
        Just(Harm::Cut),
        Just(Harm::FlippedBit),
        Just(Harm::GarbageBehind),
        Just(Harm::OutOfOrder),
        Just(Harm::NotesDamaged),
        Just(Harm::NotesDeleted),
    ];
    prop_oneof![
        12 => (0..PRODUCERS, 1..4i32).prop_map(|(producer, records)| Step::Write { producer, records }),
        3 => (1..4i32).prop_map(|records| Step::Plain { records }),
        8 => (0..PRODUCERS, outcome, any::<bool>())
            .prop_map(|(producer, outcome, bumps)| Step::End { producer, outcome, bumps }),
        2 => Just(Step::Roll),
        1 => Just(Step::Release),
        3 => Just(Step::Snapshot),
        2 => Just(Step::Checkpoint),
        1 => any::<u8>().prop_map(|parts| Step::Delete { parts }),
        1 => Just(Step::Reopen),
        2 => (damage, any::<u16>()).prop_map(|(damage, at)| Step::Kill { damage, at }),
        3 => (harm, any::<u16>(), any::<bool>())
            .prop_map(|(harm, at, orderly)| Step::Harm { harm, at, orderly }),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Batch {
    base: i64,
    next: i64,
    producer: Option<i64>,
    ends: Option<TransactionOutcome>,
}

#[derive(Default)]
struct Model {
    batches: Vec<Batch>,
    start: i64,
}

impl Model {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next)
    }

    fn marker_behind(&self, at: usize) -> Option<TransactionOutcome> {
        let producer = self.batches[at].producer;
        let mut behind = self.batches[at + 1..].iter().filter(|batch| batch.producer == producer);
        behind.find_map(|batch| batch.ends)
    }

    /// First offsets of the open transactions, ascending, with their producers.
    fn open(&self) -> Vec<(i64, i64)> {
        let mut open: Vec<(i64, i64)> = Vec::new();
        for (at, batch) in self.batches.iter().enumerate() {
            if let (Some(producer), None) = (batch.producer, batch.ends)
                && self.marker_behind(at).is_none()
                && open.iter().all(|(_, known)| *known != producer)
            {
                open.push((batch.base, producer));
            }
        }
        open
    }

    fn stable(&self) -> i64 {
        self.open().first().map_or(self.end(), |(first, _)| *first).max(self.start)
    }

    fn delivered(&self, from: i64) -> Vec<i64> {
        let decided = self
            .batches
            .iter()
            .enumerate()
            .filter(|(_, batch)| batch.ends.is_none() && batch.next > from && batch.base < self.stable());
        let kept =
            decided.filter(|(at, batch)| batch.producer.is_none() || self.marker_behind(*at) == Some(Commit));
        kept.map(|(_, batch)| batch.base).collect()
    }

    /// (producer, first offset, marker) of what was aborted and reaches into the offsets from `from` to below `upto`.
    fn aborted(&self, from: i64, upto: i64) -> Vec<(i64, i64, i64)> {
        let mut aborted = Vec::new();
        let mut open: Vec<(i64, i64)> = Vec::new();
        for batch in &self.batches {
            let Some(producer) = batch.producer else { continue };
            let begun = open.iter().position(|(known, _)| *known == producer);
            match (batch.ends, begun) {
                (None, None) => open.push((producer, batch.base)),
                (None, Some(_)) | (Some(_), None) => {}
                (Some(outcome), Some(at)) => {
                    let (_, first) = open.remove(at);
                    if outcome == Abort && batch.base >= from && first < upto {
                        aborted.push((producer, first, batch.base));
                    }
                }
            }
        }
        aborted
    }

    fn check(&self, bench: &Bench) {
        let partition = &bench.partition;
        assert_eq!(partition.log_end_offset(), self.end());
        let open: Vec<_> =
            partition.open_transactions().iter().map(|open| (open.first_offset, open.producer_id)).collect();
        assert_eq!(open, self.open());
        bench.settle();
        assert_eq!(partition.last_stable_offset(), self.stable());
        for from in [self.start, (self.start + self.end()) / 2, self.end()] {
            for max_bytes in [1, 400, 1 << 20] {
                assert_eq!(consume(partition, from, max_bytes).0, self.delivered(from), "from {from}");
                let read = partition.read(request(from, max_bytes, true), 0).unwrap();
                let told = read.aborted.unwrap();
                let told: Vec<_> = told
                    .iter()
                    .map(|entry| (entry.producer_id, entry.first_offset, entry.last_offset))
                    .collect();
                let expected = read.slice.map_or(vec![], |slice| self.aborted(from, slice.next_offset));
                assert_eq!(told, expected, "from {from}, {max_bytes} bytes");
            }
        }
    }
}

struct World {
    bench: Bench,
    model: Model,
    epochs: [i16; PRODUCERS as usize],
    sequences: [i32; PRODUCERS as usize],
    /// A recovery point from before the last checkpoint.
    older_point: i64,
}

impl World {
    fn take(&mut self, step: Step) {
        let partition = self.bench.partition.clone();
        match step {
            Step::Write { producer, records } => {
                let at = producer as usize;
                let batch = transactional(producer, self.epochs[at], self.sequences[at], records);
                let appended = if partition.open_transaction(producer).is_some() {
                    partition.append(&batch, 0).unwrap()
                } else {
                    assert!(partition.append(&batch, 0).is_err(), "nobody vouches for it");
                    partition.append_enlisted(&batch, 0, false).unwrap()
                };
                self.sequences[at] += records;
                self.push(appended.base_offset, appended.end_offset, Some(producer), None);
                let again = partition.append(&batch, 0).unwrap();
                assert_eq!(again.base_offset, appended.base_offset, "a repeat");
            }
            Step::Plain { records } => {
                let appended = partition.append(&plain(records), 0).unwrap();
                self.push(appended.base_offset, appended.end_offset, None, None);
            }
            Step::End { producer, outcome, bumps } => {
                let at = producer as usize;
                if bumps {
                    self.epochs[at] += 1;
                    self.sequences[at] = 0;
                }
                let appended =
                    partition.append_marker(marker(producer, self.epochs[at], outcome), 0).unwrap();
                self.push(appended.base_offset, appended.end_offset, Some(producer), Some(outcome));
            }
            Step::Roll => partition.inner.lock().log.roll(0).unwrap(),
            Step::Release => partition.inner.lock().log.release_idle().unwrap(),
            Step::Snapshot => {
                let end = partition.log_end_offset();
                partition.write_producer_snapshot(&mut partition.inner.lock(), end);
            }
            Step::Checkpoint => {
                self.bench.settle();
                self.older_point = partition.checkpointed().recovery_point;
                partition.advance_recovery_point();
            }
            Step::Delete { parts } => {
                self.bench.settle();
                // Batches that are cut in two would make the model longer than it is worth.
                let whole = self.model.batches.len() * usize::from(parts) / 1024;
                if let Some(batch) =
                    self.model.batches.get(whole).filter(|batch| batch.base > self.model.start)
                {
                    partition.delete_records(batch.base).unwrap();
                    self.model.start = batch.base;
                }
            }
            Step::Reopen => {
                let parked = std::mem::replace(&mut self.bench, Bench::new(&[]));
                self.bench = parked.reopen(0, |_| ());
                self.older_point = self.bench.partition.checkpointed().recovery_point;
            }
            Step::Kill { damage, at } => self.kill(damage, usize::from(at)),
            Step::Harm { harm: what, at, orderly: true } => {
                let parked = std::mem::replace(&mut self.bench, Bench::new(&[]));
                self.bench = parked.reopen_changed(0, |dir| harm(dir, what, usize::from(at)), |_| ());
                self.older_point = self.bench.partition.checkpointed().recovery_point;
            }
            Step::Harm { harm: what, at, orderly: false } => {
                self.bench.settle();
                let point = self.bench.partition.checkpointed().recovery_point;
                self.bench = self.bench.killed(point, |dir| harm(dir, what, usize::from(at)));
                self.older_point = self.bench.partition.checkpointed().recovery_point;
            }
        }
    }

    fn push(&mut self, base: i64, next: i64, producer: Option<i64>, ends: Option<TransactionOutcome>) {
        self.model.batches.push(Batch { base, next, producer, ends });
    }

    fn kill(&mut self, damage: Damage, at: usize) {
        self.bench.settle();
        let point = match damage {
            Damage::OldCheckpoint => self.older_point,
            _ => self.bench.partition.checkpointed().recovery_point,
        };
        let active = self.bench.partition.inner.lock().log.active_base_offset();
        let index = |dir: &Path| segment_path(dir, active, ".txnindex");
        let in_active = self.model.aborted(0, i64::MAX).into_iter().filter(|entry| entry.2 >= active);
        let durable = in_active.filter(|entry| entry.2 < point).count() * 34;
        let bench = self.bench.killed(point, |dir| match damage {
            Damage::Nothing | Damage::OldCheckpoint => {}
            Damage::LogTail => {
                let log = segment_path(dir, active, ".log");
                let length = fs::metadata(&log).unwrap().len();
                // Only what is above the recovery point and was never shown to be durable may go.
                if self.model.batches.last().is_some_and(|last| last.base >= point && last.base >= active) {
                    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
                    file.set_len(length - 1 - (at % 61) as u64).unwrap();
                }
            }
            Damage::IndexBehind | Damage::IndexTorn => {
                if let Ok(mut bytes) = fs::read(index(dir)) {
                    let keep = durable + at % (bytes.len() - durable + 1);
                    match damage {
                        Damage::IndexBehind => bytes.truncate(keep),
                        _ => bytes[keep..].fill(at as u8),
                    }
                    if bytes.is_empty() {
                        fs::remove_file(index(dir)).unwrap();
                    } else {
                        fs::write(index(dir), bytes).unwrap();
                    }
                }
            }
            Damage::Snapshots => {
                for entry in fs::read_dir(dir).unwrap() {
                    let entry = entry.unwrap();
                    let name = entry.file_name().into_string().unwrap();
                    if let Some(offset) = name.strip_suffix(".snapshot")
                        && offset.parse::<i64>().unwrap() > point
                    {
                        fs::write(entry.path(), b"torn").unwrap();
                    }
                }
            }
        });
        let lost = bench.partition.log_end_offset() < self.model.end();
        if lost
            && let Some(batch) = self.model.batches.pop()
            && let Some(producer) = batch.producer
        {
            // The client was not told of it; what it knows of its sequence follows.
            let at = producer as usize;
            let view = bench.partition.producers().into_iter().find(|view| view.producer_id == producer);
            self.epochs[at] = view.map_or(self.epochs[at], |view| i16::max(view.producer_epoch, 0));
            self.sequences[at] = view.map_or(0, |view| view.last_sequence + 1);
        }
        self.older_point = bench.partition.checkpointed().recovery_point;
        self.bench = bench;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_the_list_of_batches(steps in prop::collection::vec(step(), 1..60)) {
        let bench = Bench::new(&[("retention.ms", "-1")]);
        let (epochs, sequences) = Default::default();
        let mut world = World { bench, model: Model::default(), epochs, sequences, older_point: 0 };
        for step in steps {
            let looks = !matches!(step, Step::Write { .. } | Step::Plain { .. });
            world.take(step);
            if looks {
                world.model.check(&world.bench);
            }
        }
        world.model.check(&world.bench);
    }
}
