//! A stop, or a power cut, at every step of a swap and of its completion: the log is the old one or the new one.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::super::testing::{create, open_with};
use super::super::{AbortedTransaction, Log, LogConfig};
use super::steps::{Done, WATCH};
use super::testing::*;
use super::*;
use crate::record::{BatchHeader, EndMarker, TransactionOutcome, patch_prefix};

type Snapshot = BTreeMap<String, Vec<u8>>;
/// What readers see: bytes, and what of them was aborted.
type Content = (Vec<u8>, Vec<AbortedTransaction>);

fn content(log: &Log) -> Content {
    (read_to_end(log), log.aborted(0, log.end_offset()).unwrap())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// What was done, each with the directory as it was behind it.
#[derive(Default)]
struct Recorded {
    steps: Vec<(Done, Snapshot)>,
}

fn record<T>(dir: &Path, work: impl FnOnce() -> T) -> (T, Recorded) {
    let recorded = Rc::new(RefCell::new(Recorded::default()));
    let (into, dir): (_, PathBuf) = (recorded.clone(), dir.to_path_buf());
    WATCH.set(Some(Box::new(move |done| into.borrow_mut().steps.push((done.clone(), files(&dir))))));
    let result = work();
    WATCH.set(None);
    (result, recorded.take())
}

fn apply(snapshot: &mut Snapshot, done: &Done) {
    match done {
        // What is in it may not be there yet.
        Done::Created(path) => drop(snapshot.entry(name(path)).or_default()),
        Done::Renamed(from, to) => {
            if let Some(bytes) = snapshot.remove(&name(from)) {
                snapshot.insert(name(to), bytes);
            }
        }
        Done::Removed(path) => drop(snapshot.remove(&name(path))),
        Done::Synced => {}
    }
}

/// The directories a kill can leave.
fn kills(before: &Snapshot, recorded: &Recorded) -> Vec<Snapshot> {
    std::iter::once(before).chain(recorded.steps.iter().map(|(_, snapshot)| snapshot)).cloned().collect()
}

/// The directories a power cut can leave: whatever was synced, and any part of what came after.
fn power_cuts(before: &Snapshot, recorded: &Recorded, tries: usize) -> HashSet<Snapshot> {
    let mut found = HashSet::new();
    let mut synced = before;
    let mut open: Vec<&Done> = Vec::new();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut lose = |synced: &Snapshot, open: &[&Done]| {
        let mut part = |keep: &dyn Fn(usize) -> bool| {
            let mut state = synced.clone();
            open.iter()
                .enumerate()
                .filter(|(place, _)| keep(*place))
                .for_each(|(_, done)| apply(&mut state, done));
            found.insert(state);
        };
        for place in 0..open.len() {
            part(&|other| other != place);
            part(&|other| other == place);
        }
        for _ in 0..tries {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mask = random >> 20;
            part(&|place| mask >> (place % 44) & 1 == 1);
        }
    };
    for (done, snapshot) in &recorded.steps {
        // What an earlier moment can lose, this one can too.
        if *done == Done::Synced {
            lose(synced, &open);
            synced = snapshot;
            open.clear();
        } else {
            open.push(done);
        }
    }
    lose(synced, &open);
    found
}

struct Scene {
    temp: tempfile::TempDir,
    log: Log,
    config: LogConfig,
}

/// Several groups. In the first, the segments at the end lose everything; the one whose name the new one takes has aborted
/// transactions (`first_aborted`), or one behind it has.
fn scene(first_aborted: bool) -> Scene {
    let temp = tempfile::tempdir().unwrap();
    let config = small();
    let mut log = create(temp.path(), config);
    let abort = |log: &mut Log| {
        let data =
            put(log, |batch| batch.producer(4, 0, 0).transactional(true).record(1, Some(b"t"), Some(b"v")));
        let marker = EndMarker {
            producer_id: 4,
            producer_epoch: 0,
            coordinator_epoch: 0,
            outcome: TransactionOutcome::Abort,
        };
        let marker = marker.to_batch(1);
        let mut header = BatchHeader::parse(&marker).unwrap();
        header.base_offset = log.end_offset();
        header.partition_leader_epoch = 0;
        log.append(patch_prefix(&header, header.base_offset, 0), &marker[16..], &header, 0).unwrap();
        log.append_aborted(AbortedTransaction {
            producer_id: 4,
            first_offset: data.base_offset,
            last_offset: header.base_offset,
            last_stable_offset: header.base_offset + 1,
        });
    };
    put_one(&mut log, 1, "stays", Some("v"));
    if first_aborted {
        abort(&mut log);
    }
    log.roll(0).unwrap();
    for number in 0..5 {
        put_one(&mut log, number, "k", Some("v"));
    }
    if !first_aborted {
        abort(&mut log);
    }
    for segment in 0..4 {
        log.roll(0).unwrap();
        for number in 0..3 {
            put_one(&mut log, segment * 10 + number, "k", Some("some more"));
        }
    }
    log.roll(0).unwrap();
    put_one(&mut log, 99, "active", Some("v"));
    log.flush().unwrap();
    Scene { temp, log, config }
}

fn open(dir: &Path, snapshot: &Snapshot, config: LogConfig, end: i64) -> Log {
    for entry in std::fs::read_dir(dir).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, bytes) in snapshot {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    let (log, recovery, _) = open_with(dir, config, false, end, 0, i64::MAX).unwrap();
    assert_eq!((log.start_offset(), log.end_offset(), recovery.truncated_bytes), (0, end, 0));
    assert_eq!(leftovers(dir), [""; 0]);
    log
}

/// Old or new, and which; also if the start is interrupted in its turn.
fn check(snapshot: &Snapshot, config: LogConfig, end: i64, allowed: &[&Content], deep: bool) -> usize {
    let temp = tempfile::tempdir().unwrap();
    let (log, recorded) = record(temp.path(), || open(temp.path(), snapshot, config, end));
    let found = content(&log);
    let Some(which) = allowed.iter().position(|allowed| **allowed == found) else {
        panic!(
            "neither old nor new: {:?}\n{:?}",
            snapshot.keys(),
            batches(&log).iter().map(|b| b.0.base_offset).collect::<Vec<_>>()
        );
    };
    drop(log);
    if deep {
        let again = tempfile::tempdir().unwrap();
        let stops: HashSet<_> =
            kills(snapshot, &recorded).into_iter().chain(power_cuts(snapshot, &recorded, 0)).collect();
        for state in stops {
            assert_eq!(content(&open(again.path(), &state, config, end)), found, "{:?}", state.keys());
        }
    }
    which
}

fn swaps_at_every_step(first_aborted: bool) {
    let Scene { temp, mut log, config } = scene(first_aborted);
    let end = log.end_offset();
    let sealed = log.active_base_offset();
    let dead = dead_below(&rows(&log), sealed, |row| row.transactional);
    let mut round = Round::new(log.compaction_source(sealed).unwrap());
    let groups = round.groups(i64::MAX).unwrap();
    assert!(groups.len() > 1 && groups[0].segments.len() > 2, "{groups:?}");
    let mut states = 0;
    for (number, group) in groups.iter().enumerate() {
        // Every third moment of one swap is enough for a start that is interrupted as well.
        let deep = |moment: usize| number == 0 && moment.is_multiple_of(3);
        let before = files(temp.path());
        let old = content(&log);
        let (replaced, recorded) = record(temp.path(), || {
            let rewrite = round.rewrite(group, &at(50), &dead, &mut Heard::default()).unwrap();
            log.replace(rewrite.segment.unwrap()).unwrap()
        });
        assert!(!replaced.deleted.is_empty());
        let new = content(&log);
        assert_ne!(old.0, new.0);
        check_lookups(&log);
        let allowed = [&old, &new];
        let moments = kills(&before, &recorded);
        let judge = |(moment, state)| check(state, config, end, &allowed, deep(moment));
        let found: Vec<usize> = moments.iter().enumerate().map(judge).collect();
        assert!(found.is_sorted() && found[0] == 0 && found.last() == Some(&1), "{found:?}");
        states += found.len();
        for state in power_cuts(&before, &recorded, 60) {
            check(&state, config, end, &allowed, false);
            states += 1;
        }
        // A power cut behind the last sync leaves the new one.
        let synced = recorded.steps.iter().rposition(|(done, _)| *done == Done::Synced).unwrap();
        assert_eq!(check(&recorded.steps[synced].1, config, end, &[&new], false), 0);
    }
    assert!(states > 100, "{states}");
    // A range must not be taken for replaced again when other segments stand in it.
    log.truncate_to(groups[0].base_offset() + 1, 0).unwrap();
    assert!(!log.entries.is_dirty());
}

#[test]
fn a_stop_at_any_step_leaves_the_old_or_the_new_segments() {
    swaps_at_every_step(false);
}

#[test]
fn a_stop_at_any_step_keeps_aborted_transactions_right() {
    swaps_at_every_step(true);
}

#[test]
fn a_rewrite_that_is_thrown_away_can_be_interrupted_too() {
    let Scene { temp, log, config } = scene(true);
    let (end, old) = (log.end_offset(), content(&log));
    let sealed = log.active_base_offset();
    let dead = dead_below(&rows(&log), sealed, |row| row.transactional);
    let mut round = Round::new(log.compaction_source(sealed).unwrap());
    let groups = round.groups(i64::MAX).unwrap();
    let before = files(temp.path());
    let ((), recorded) = record(temp.path(), || {
        drop(round.rewrite(&groups[0], &at(50), &dead, &mut Heard::default()).unwrap());
    });
    assert_eq!(files(temp.path()), before);
    for state in kills(&before, &recorded).into_iter().chain(power_cuts(&before, &recorded, 60)) {
        check(&state, config, end, &[&old], false);
    }
}

/// A swap that fails before it counts is taken back.
#[test]
fn a_swap_that_fails_leaves_the_old_segments() {
    let Scene { temp, mut log, config } = scene(true);
    let (end, old) = (log.end_offset(), content(&log));
    let sealed = log.active_base_offset();
    let dead = dead_below(&rows(&log), sealed, |row| row.transactional);
    let mut round = Round::new(log.compaction_source(sealed).unwrap());
    let groups = round.groups(i64::MAX).unwrap();
    let before = files(temp.path());
    let rewrite = round.rewrite(&groups[0], &at(50), &dead, &mut Heard::default()).unwrap();
    // The .log cannot take the name of a directory that has something in it.
    let obstacle = temp.path().join("00000000000000000000.log.swap");
    std::fs::create_dir(&obstacle).unwrap();
    std::fs::create_dir(obstacle.join("x")).unwrap();
    WATCH.set(None);
    let error = log.replace(rewrite.segment.unwrap()).unwrap_err();
    assert!(matches!(error, CompactError::Storage(_)), "{error}");
    std::fs::remove_dir_all(&obstacle).unwrap();
    assert_eq!(content(&log), old);
    // Removing what is there fails as well then: the log stops, and the next start has the old segments.
    let left = files(temp.path());
    check(&left, config, end, &[&old], true);
    assert!(before.iter().all(|(name, bytes)| left.get(name) == Some(bytes)));
}
