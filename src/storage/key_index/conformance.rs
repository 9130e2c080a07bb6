//! The contract of [`KeyIndex`] as tests. Every implementation runs [`run`] over a function that makes a fresh place for one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// Where an index is.
pub(crate) trait Place {
    /// How many random histories are tried: a file system takes its time.
    const CASES: u32;
    /// The open index.
    fn index(&self) -> Arc<dyn KeyIndex>;
    /// Closes the index and opens it again. `false` if it lives only as long as it is open.
    fn reopen(&mut self) -> bool;
    /// Opens what a kill would leave now. `false` if it lives only as long as it is open.
    fn crash(&mut self) -> bool;
}

/// Runs the whole suite.
pub(crate) fn run<P: Place>(place: impl Fn() -> P) {
    nothing_is_known_at_first(&*place().index());
    previous_offsets_become_dead(&*place().index());
    a_run_that_begins_elsewhere_changes_nothing(&*place().index());
    an_older_offset_does_not_win(&*place().index());
    dead_offsets_come_by_range_and_within_bounds(&*place().index());
    only_keys_at_that_offset_are_removed(&*place().index());
    keys_below_the_log_start_go(&*place().index());
    large_runs_merge_as_small_ones(&*place().index());
    closed_answers_closed(&*place().index());
    behaves_as_maps(&place);
}

pub(crate) const P: IndexedPartition = IndexedPartition { topic_id: [7; 16], partition: 3 };

const NONE: [i64; 0] = [];

/// A run made of the records (key, offset) of a stretch that ends at `upto`.
pub(crate) fn run_of(
    index: &dyn KeyIndex,
    after: Option<Position>,
    records: impl IntoIterator<Item = (u32, i64)>,
    upto: i64,
) -> Run {
    let mut map = OffsetMap::new(index.hasher(), 64 << 20, 0.9);
    let mut dead = DeadOffsets::new();
    for (key, offset) in records {
        if let Inserted::Supersedes(older) = map.insert_key(&key.to_be_bytes(), offset) {
            dead.insert(older);
        }
    }
    Run { after, to: Position { upto, leader_epoch: 5 }, entries: map.into_sorted(), dead }
}

/// Adds a run behind what is there.
pub(crate) fn add(index: &dyn KeyIndex, records: impl IntoIterator<Item = (u32, i64)>, upto: i64) {
    let after = index.position(P).expect("position");
    assert!(index.add_run(P, run_of(index, after, records, upto)).expect("add"));
}

pub(crate) fn latest(index: &dyn KeyIndex, key: u32) -> Option<i64> {
    index.latest(P, index.hasher().hash(&key.to_be_bytes())).expect("latest")
}

fn dead(index: &dyn KeyIndex, partition: IndexedPartition, end: i64) -> Vec<i64> {
    let dead = index.dead_upto(partition, end, 0..i64::MAX, usize::MAX).expect("dead offsets");
    assert_eq!(dead.complete_below, i64::MAX);
    dead.offsets.iter().collect()
}

fn remove(index: &dyn KeyIndex, keys: &[(u32, i64)]) -> u64 {
    let hasher = index.hasher();
    let mut keys = keys.iter().map(|(key, offset)| (hasher.hash(&key.to_be_bytes()), *offset));
    index.remove_keys(P, &mut keys).expect("remove")
}

fn nothing_is_known_at_first(index: &dyn KeyIndex) {
    assert_eq!(index.position(P), Ok(None));
    assert_eq!(latest(index, 1), None);
    assert_eq!(dead(index, P, i64::MAX), NONE);
    index.forget_dead(P, 10).expect("forget");
    index.drop_partition(P).expect("drop");
    assert_eq!(remove(index, &[(1, 1)]), 0);
    assert_eq!(index.remove_below(P, 10, &mut || ControlFlow::Continue(())), Ok(0));
    assert_eq!(index.drop_except(&HashSet::new()), Ok(0));
    index.flush().expect("flush");
    index.sizes().expect("sizes");
}

fn previous_offsets_become_dead(index: &dyn KeyIndex) {
    add(index, [(1, 0), (2, 1), (1, 2)], 3);
    assert_eq!(index.position(P), Ok(Some(Position { upto: 3, leader_epoch: 5 })));
    assert_eq!((latest(index, 1), latest(index, 2), latest(index, 3)), (Some(2), Some(1), None));
    assert_eq!(dead(index, P, 3), [0]);
    add(index, [(2, 5), (3, 6)], 10);
    assert_eq!((latest(index, 1), latest(index, 2), latest(index, 3)), (Some(2), Some(5), Some(6)));
    // What the second run superseded holds only where that run lies in the cleanable part.
    assert_eq!(dead(index, P, 2), NONE);
    assert_eq!(dead(index, P, 9), [0]);
    assert_eq!(dead(index, P, 10), [0, 1]);
    // A stretch without keys.
    add(index, [], 20);
    assert_eq!(index.position(P), Ok(Some(Position { upto: 20, leader_epoch: 5 })));
    assert_eq!(dead(index, P, 20), [0, 1]);
    index.forget_dead(P, 9).expect("forget");
    assert_eq!(dead(index, P, 20), [1]);
    index.forget_dead(P, i64::MAX).expect("forget");
    assert_eq!(dead(index, P, 20), NONE);
    assert_eq!(latest(index, 2), Some(5));
    index.drop_partition(P).expect("drop");
    assert_eq!((index.position(P), latest(index, 2)), (Ok(None), None));
}

fn a_run_that_begins_elsewhere_changes_nothing(index: &dyn KeyIndex) {
    let stale = run_of(index, Some(Position { upto: 1, leader_epoch: 5 }), [(1, 2)], 3);
    assert_eq!(index.add_run(P, stale), Ok(false));
    add(index, [(1, 0)], 3);
    let of_another_epoch = Some(Position { upto: 3, leader_epoch: 4 });
    let at_three = Some(Position { upto: 3, leader_epoch: 5 });
    for (after, upto) in [(None, 9), (of_another_epoch, 9), (at_three, 3), (at_three, 2)] {
        assert_eq!(index.add_run(P, run_of(index, after, [(1, 1), (9, 2)], upto)), Ok(false));
    }
    assert_eq!(index.position(P), Ok(at_three));
    assert_eq!((latest(index, 1), latest(index, 9)), (Some(0), None));
    assert_eq!(dead(index, P, i64::MAX), NONE);
}

fn an_older_offset_does_not_win(index: &dyn KeyIndex) {
    add(index, [(1, 8), (2, 9)], 10);
    add(index, [(1, 4), (2, 9)], 12);
    assert_eq!((latest(index, 1), latest(index, 2)), (Some(8), Some(9)));
    assert_eq!(dead(index, P, 12), [4]);
}

fn dead_offsets_come_by_range_and_within_bounds(index: &dyn KeyIndex) {
    let end = 5 * CHUNK_OFFSETS;
    // Every other offset is superseded in the run itself, the rest by the next one.
    add(index, (0..1_000).flat_map(|i| [(i, i64::from(i) * 300), (i, i64::from(i) * 300 + 1)]), end);
    add(index, (0..1_000).map(|i| (i, end + i64::from(i))), 6 * CHUNK_OFFSETS);
    let every: Vec<i64> = (0..1_000).flat_map(|i| [i * 300, i * 300 + 1]).collect();
    assert!(dead(index, P, i64::MAX) == every);
    assert!(dead(index, P, end).into_iter().eq(every.iter().copied().step_by(2)));
    for range in [0..0, 1..2, 100..CHUNK_OFFSETS, 70_000..200_000, 10..i64::MAX] {
        let found = index.dead_upto(P, i64::MAX, range.clone(), usize::MAX).expect("dead offsets");
        assert_eq!(found.complete_below, range.end);
        let expected = every.iter().copied().filter(|offset| range.contains(offset));
        assert!(found.offsets.iter().eq(expected), "{range:?}");
    }
    // With little memory it takes several calls, but no fewer offsets.
    let (mut from, mut calls, mut found) = (0, 0, Vec::new());
    while from < end {
        let part = index.dead_upto(P, i64::MAX, from..end, 2_000).expect("dead offsets");
        assert!(part.complete_below > from);
        assert!(part.offsets.iter().all(|offset| (from..part.complete_below).contains(&offset)));
        found.extend(part.offsets.iter());
        (from, calls) = (part.complete_below, calls + 1);
    }
    assert!(found == every && calls > 2, "{calls} calls found {} of {}", found.len(), every.len());
}

fn only_keys_at_that_offset_are_removed(index: &dyn KeyIndex) {
    add(index, (0..10).map(|key| (key, i64::from(key))), 10);
    add(index, [(3, 10)], 11);
    assert_eq!(remove(index, &[(5, 5), (3, 3), (2, 1), (77, 7), (0, 0), (5, 5)]), 2);
    assert_eq!((latest(index, 5), latest(index, 0)), (None, None));
    assert_eq!((latest(index, 3), latest(index, 2)), (Some(10), Some(2)));
    assert_eq!(dead(index, P, 11), [3]);
    // It may come back.
    add(index, [(5, 11)], 12);
    assert_eq!(latest(index, 5), Some(11));
    assert_eq!(dead(index, P, 12), [3]);
}

fn keys_below_the_log_start_go(index: &dyn KeyIndex) {
    let keys = 30_000u32;
    add(index, (0..keys).map(|key| (key, i64::from(key))), i64::from(keys));
    let start = 10_000;
    assert_eq!(index.remove_below(P, start, &mut || ControlFlow::Break(())), Ok(0));
    assert_eq!(latest(index, 0), Some(0));
    assert_eq!(index.remove_below(P, start, &mut || ControlFlow::Continue(())), Ok(10_000));
    for key in (0..keys).step_by(100) {
        let offset = i64::from(key);
        assert_eq!(latest(index, key), (offset >= start).then_some(offset));
    }
    assert_eq!(index.remove_below(P, start, &mut || ControlFlow::Continue(())), Ok(0));
    assert_eq!(index.position(P), Ok(Some(Position { upto: i64::from(keys), leader_epoch: 5 })));
}

/// Runs beyond what goes into one batch, and runs whose keys are near or far from each other in the order of hashes.
fn large_runs_merge_as_small_ones(index: &dyn KeyIndex) {
    let mut model = BTreeMap::new();
    let mut superseded = BTreeSet::new();
    let mut offset = 0;
    for (first, last, step) in
        [(0, 40_000, 1), (0, 80_000, 2), (5, 80_000, 777), (0, 40_000, 1), (1, 2, 1), (0, 90_000, 40)]
    {
        let records: Vec<_> = (first..last).step_by(step).zip(offset..).collect();
        offset += records.len() as i64;
        add(index, records.iter().copied(), offset);
        superseded.extend(records.iter().filter_map(|(key, offset)| model.insert(*key, *offset)));
        assert!(dead(index, P, offset).iter().eq(&superseded), "up to {offset}");
    }
    for key in (0..90_000).step_by(7) {
        assert_eq!(latest(index, key), model.get(&key).copied(), "key {key}");
    }
    assert!(index.sizes().expect("sizes").rows >= model.len() as u64);
}

fn closed_answers_closed(index: &dyn KeyIndex) {
    add(index, [(1, 0)], 1);
    index.close().expect("close");
    index.close().expect("close again");
    let closed = KeyIndexError::Closed;
    assert_eq!(index.position(P), Err(closed.clone()));
    assert_eq!(index.add_run(P, run_of(index, None, [], 1)), Err(closed.clone()));
    assert_eq!(index.latest(P, KeyHash::default()), Err(closed.clone()));
    assert_eq!(index.dead_upto(P, 1, 0..1, 1).expect_err("closed"), closed);
    assert_eq!(index.forget_dead(P, 1), Err(closed.clone()));
    let one = &mut std::iter::once((KeyHash::default(), 1));
    assert_eq!(index.remove_keys(P, one), Err(closed.clone()));
    assert_eq!(index.remove_below(P, 1, &mut || ControlFlow::Continue(())), Err(closed.clone()));
    assert_eq!(index.drop_partition(P), Err(closed.clone()));
    assert_eq!(index.drop_except(&HashSet::new()), Err(closed.clone()));
    assert_eq!(index.sizes(), Err(closed.clone()));
    assert_eq!(index.flush(), Err(closed));
}

const KEYS: u32 = 24;

/// What is known of one partition, worked out record by record.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    position: Option<Position>,
    keys: BTreeMap<u32, i64>,
    dead: BTreeMap<i64, BTreeSet<i64>>,
}

/// All that can be asked about one partition.
#[derive(Debug, PartialEq)]
struct Seen {
    position: Option<Position>,
    latest: Vec<Option<i64>>,
    /// By the end asked for.
    dead: Vec<Vec<i64>>,
}

impl Model {
    fn add(&mut self, records: &[(u32, i64)], to: Position) {
        for (key, offset) in records {
            if let Some(older) = self.keys.insert(*key, *offset) {
                self.dead.entry(to.upto).or_default().insert(older);
            }
        }
        self.position = Some(to);
    }

    fn seen(&self, ends: &[i64]) -> Seen {
        let upto = |end: i64| {
            let all: BTreeSet<i64> =
                self.dead.range(..=end).flat_map(|(_, dead)| dead.iter().copied()).collect();
            all.into_iter().collect()
        };
        Seen {
            position: self.position,
            latest: (0..KEYS).map(|key| self.keys.get(&key).copied()).collect(),
            dead: ends.iter().map(|end| upto(*end)).collect(),
        }
    }
}

fn seen(index: &dyn KeyIndex, partition: IndexedPartition, ends: &[i64]) -> Seen {
    let latest = |key: u32| index.latest(partition, index.hasher().hash(&key.to_be_bytes())).expect("latest");
    Seen {
        position: index.position(partition).expect("position"),
        latest: (0..KEYS).map(latest).collect(),
        dead: ends.iter().map(|end| dead(index, partition, *end)).collect(),
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A run of records with these keys, offsets apart by a gap.
    Add(usize, Vec<u32>, i64),
    /// At a part of the log.
    ForgetDead(usize, f64),
    /// A key, at its offset or at another.
    Remove(usize, u32, bool),
    RemoveBelow(usize, f64),
    Drop(usize),
    KeepOnly(usize),
    Flush,
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..3usize;
    prop_oneof![
        12 => (which.clone(), prop::collection::vec(0..KEYS, 0..12), 1..40_000i64)
            .prop_map(|(which, keys, gap)| Step::Add(which, keys, gap)),
        2 => (which.clone(), 0.0..1.1f64).prop_map(|(which, part)| Step::ForgetDead(which, part)),
        3 => (which.clone(), 0..KEYS, any::<bool>()).prop_map(|(which, key, at)| Step::Remove(which, key, at)),
        1 => (which.clone(), 0.0..1.1f64).prop_map(|(which, part)| Step::RemoveBelow(which, part)),
        1 => which.clone().prop_map(Step::Drop),
        1 => which.prop_map(Step::KeepOnly),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ]
}

/// Two partitions of one topic, and one of another.
fn partitions() -> [IndexedPartition; 3] {
    [([1; 16], 0), ([1; 16], 1), ([2; 16], 0)]
        .map(|(topic_id, partition)| IndexedPartition { topic_id, partition })
}

fn part_of(model: &Model, part: f64) -> i64 {
    (model.position.map_or(10.0, |position| position.upto as f64) * part) as i64
}

/// Random calls, restarts and crashes against maps. After a crash each partition is as it was after one of the calls since the
/// last flush, and goes on from there.
fn behaves_as_maps<P: Place>(place: &impl Fn() -> P) {
    let config = Config { cases: P::CASES, ..Config::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..40), |steps| {
            let mut place = place();
            let mut index = place.index();
            // Per partition, the states since the last flush, the present one last.
            let mut histories = partitions().map(|_| vec![Model::default()]);
            for step in steps {
                let mut models = histories.each_ref().map(|states| states.last().expect("a state").clone());
                let mut crashed = false;
                match step {
                    Step::Add(which, keys, gap) => {
                        let model = &mut models[which];
                        let from = model.position.map_or(0, |position| position.upto);
                        let records: Vec<_> =
                            keys.iter().zip(0..).map(|(key, nth)| (*key, from + nth * gap)).collect();
                        let upto = from + keys.len() as i64 * gap + 1;
                        let run = run_of(&*index, model.position, records.iter().copied(), upto);
                        model.add(&records, run.to);
                        prop_assert_eq!(index.add_run(partitions()[which], run), Ok(true));
                    }
                    Step::ForgetDead(which, part) => {
                        let end = part_of(&models[which], part);
                        index.forget_dead(partitions()[which], end).expect("forget");
                        models[which].dead.retain(|run_end, _| *run_end > end);
                    }
                    Step::Remove(which, key, there) => {
                        let known = models[which].keys.get(&key).copied();
                        let offset = known.unwrap_or(0) + i64::from(!there);
                        let hash = index.hasher().hash(&key.to_be_bytes());
                        let removed = known.is_some() && there;
                        let one = &mut std::iter::once((hash, offset));
                        let answer = index.remove_keys(partitions()[which], one);
                        prop_assert_eq!(answer, Ok(u64::from(removed)));
                        if removed {
                            models[which].keys.remove(&key);
                        }
                    }
                    Step::RemoveBelow(which, part) => {
                        let start = part_of(&models[which], part);
                        let keys = &mut models[which].keys;
                        let before = keys.len();
                        keys.retain(|_, offset| *offset >= start);
                        let gone = (before - keys.len()) as u64;
                        let go_on = &mut || ControlFlow::Continue(());
                        prop_assert_eq!(index.remove_below(partitions()[which], start, go_on), Ok(gone));
                    }
                    Step::Drop(which) => {
                        index.drop_partition(partitions()[which]).expect("drop");
                        models[which] = Model::default();
                    }
                    Step::KeepOnly(which) => {
                        let topic_id = partitions()[which].topic_id;
                        index.drop_except(&HashSet::from([topic_id])).expect("drop");
                        for (partition, model) in partitions().iter().zip(&mut models) {
                            if partition.topic_id != topic_id {
                                *model = Model::default();
                            }
                        }
                    }
                    Step::Flush => {
                        index.flush().expect("flush");
                        histories.iter_mut().for_each(|states| drop(states.drain(..states.len() - 1)));
                    }
                    Step::Reopen => {
                        drop(index);
                        if place.reopen() {
                            histories.iter_mut().for_each(|states| drop(states.drain(..states.len() - 1)));
                        }
                        index = place.index();
                    }
                    Step::Crash => {
                        drop(index);
                        crashed = place.crash();
                        index = place.index();
                    }
                }
                for ((partition, states), model) in partitions().iter().zip(&mut histories).zip(models) {
                    let ends: Vec<i64> = states.iter().flat_map(|model| model.dead.keys().copied()).collect();
                    let ends =
                        [&ends[..], &model.dead.keys().copied().collect::<Vec<_>>(), &[i64::MAX]].concat();
                    let now = seen(&*index, *partition, &ends);
                    if !crashed {
                        prop_assert_eq!(&now, &model.seen(&ends));
                        states.push(model);
                        continue;
                    }
                    let survived = states.iter().rposition(|state| state.seen(&ends) == now);
                    prop_assert!(survived.is_some(), "{:?} is none of {:?}", now, states);
                    let state = states[survived.unwrap_or(0)].clone();
                    *states = vec![state];
                }
            }
            Ok(())
        })
        .expect("the index and the maps agree");
}
