use super::*;
use crate::storage::keyspace::KeySpace;
use crate::storage::rocks::{RocksState, UnsyncedWrites};
use crate::storage::{Durability, StateError, StateStore, WriteBatch};
use proptest::prelude::*;
use tempfile::TempDir;

/// A write as it was done: the file it went to, and how long that was afterwards.
#[derive(Debug, Clone)]
struct Written {
    file: PathBuf,
    begin: u64,
    end: u64,
}

/// The last file of the log, and its size.
fn last_log(dir: &Path) -> (PathBuf, u64) {
    let last = read_logs(dir).expect("logs").pop().expect("a log");
    (PathBuf::from(last.path.file_name().expect("a name")), last.bytes.len() as u64)
}

fn key(number: usize) -> [u8; 8] {
    (number as u64).to_be_bytes()
}

/// A database with a synced write per element: so large, and before it a new log file if `rolls`. What is on disk while it
/// still runs is what a crash leaves.
fn written(writes: &[(usize, bool)]) -> (TempDir, Vec<Written>) {
    let (dir, copy) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let store = RocksState::open(dir.path()).expect("open");
    let mut all = Vec::new();
    for (number, (size, rolls)) in writes.iter().enumerate() {
        if *rolls {
            store.switch_log_for_test();
        }
        let (_, before) = last_log(dir.path());
        let mut batch = WriteBatch::new();
        // Bytes that look like headers and like anything else.
        let value: Vec<u8> = (0..*size).map(|at| (at * number % 251) as u8 & 0x83).collect();
        batch.put(KeySpace::Offsets, key(number), value);
        batch.put(KeySpace::Groups, key(number), vec![1]);
        store.write(batch, Durability::Synced).expect("write");
        let (file, end) = last_log(dir.path());
        all.push(Written { file, begin: before, end });
    }
    copy_database(dir.path(), copy.path());
    (copy, all)
}

fn copy_database(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        if entry.file_name() != "LOCK" {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
        }
    }
}

fn there(store: &RocksState, count: usize) -> Vec<bool> {
    (0..count)
        .map(|number| {
            let rows = [KeySpace::Offsets, KeySpace::Groups]
                .map(|space| store.get(space, &key(number)).expect("get"));
            assert_eq!(rows[0].is_some(), rows[1].is_some(), "half of write {number} is there");
            rows[0].is_some()
        })
        .collect()
}

#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip { bit: u8 },
    Cut,
    Zeros { bytes: usize },
}

fn harm() -> impl Strategy<Value = (Harm, prop::sample::Index)> {
    let kind = prop_oneof![
        4 => (0_u8..8).prop_map(|bit| Harm::Flip { bit }),
        3 => Just(Harm::Cut),
        1 => (1_usize..5000).prop_map(|bytes| Harm::Zeros { bytes }),
    ];
    (kind, any::<prop::sample::Index>())
}

fn write_sizes() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let size = prop_oneof![4 => 0_usize..300, 2 => 32_000_usize..33_000, 1 => 60_000_usize..140_000];
    prop::collection::vec((size, prop::bool::weighted(0.15)), 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_damaged_log_is_refused_or_only_its_torn_end_is_missing(
        writes in write_sizes(),
        harms in prop::collection::vec(harm(), 8),
    ) {
        let (dir, all) = written(&writes);
        prop_assert_eq!(damage(dir.path()).expect("read"), None);
        for (harm, place) in harms {
            let copy = tempfile::tempdir().expect("a directory");
            copy_database(dir.path(), copy.path());
            let struck = place.get(&all);
            let path = copy.path().join(&struck.file);
            let mut bytes = fs::read(&path).expect("read");
            let at = place.index((struck.end - struck.begin) as usize) + struck.begin as usize;
            // A file without a single byte left looks like one that nothing was written to.
            let is_emptied = at == 0 && matches!(harm, Harm::Cut);
            if is_emptied && all.last().is_some_and(|last| last.file != struck.file) {
                continue;
            }
            // The writes that are hit, or gone.
            let hit: Vec<usize> = {
                let until = match harm {
                    Harm::Flip { bit } => { bytes[at] ^= 1 << bit; at + 1 }
                    Harm::Cut => { let end = bytes.len(); bytes.truncate(at); end }
                    Harm::Zeros { bytes: count } => {
                        let until = bytes.len().min(at + count);
                        bytes[at..until].fill(0);
                        until
                    }
                };
                let is_hit = |write: &Written| {
                    write.file == struck.file && write.begin < until as u64 && write.end > at as u64
                };
                (0..all.len()).filter(|number| is_hit(&all[*number])).collect()
            };
            fs::write(&path, bytes).expect("write");
            let found = damage(copy.path()).expect("read");
            match RocksState::open(copy.path()) {
                Err(error) => {
                    prop_assert!(matches!(error, StateError::LogDamaged { .. }), "{error}");
                    prop_assert!(!hit.contains(&(all.len() - 1)), "{harm:?} at {at} tore the end only: {found:?}");
                }
                Ok(store) => {
                    let there = there(&store, all.len());
                    let missing: Vec<usize> = (0..all.len()).filter(|number| !there[*number]).collect();
                    prop_assert!(missing.iter().all(|number| hit.contains(number)), "{harm:?} at {at}: {missing:?} are missing, {hit:?} were hit");
                    prop_assert!(missing.is_empty() || missing.last() == Some(&(all.len() - 1)), "{missing:?} of {}", all.len());
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_looked_at_without_panic(logs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100_000), 1..3)) {
        let dir = tempfile::tempdir().expect("a directory");
        for (number, bytes) in logs.iter().enumerate() {
            fs::write(dir.path().join(format!("{number:06}.log")), bytes).expect("write");
        }
        damage(dir.path()).expect("read");
    }
}

#[test]
fn damage_before_intact_writes_is_named_and_can_be_accepted_for_that_file_alone() {
    let (dir, all) = written(&[(100, false), (100, false), (100, false)]);
    let path = dir.path().join(&all[1].file);
    let mut bytes = fs::read(&path).expect("read");
    bytes[all[1].begin as usize + 30] ^= 4;
    fs::write(&path, bytes).expect("write");
    let refused = RocksState::open_after(dir.path(), UnsyncedWrites::Some, "000000.log").expect_err("damage");
    let text = refused.to_string();
    let name = all[1].file.to_string_lossy().into_owned();
    for word in [
        path.display().to_string(),
        format!("byte {}", all[1].begin),
        format!("byte {}", all[2].begin),
        format!("tidelog.state.accept.loss={name}"),
    ] {
        assert!(text.contains(&word), "{word} in: {text}");
    }
    assert_eq!(RocksState::open(dir.path()).expect_err("damage"), refused, "nothing was changed");
    let store = RocksState::open_after(dir.path(), UnsyncedWrites::None, &name).expect("accepted");
    assert_eq!(there(&store, 3), [true, false, false]);
    // What is written next follows on what was kept.
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::Topics, *b"t", *b"1");
    store.write(batch, Durability::Synced).expect("write");
    drop(store);
    let store = RocksState::open(dir.path()).expect("not damaged any more");
    assert_eq!(there(&store, 3), [true, false, false]);
    assert_eq!(store.get(KeySpace::Topics, b"t"), Ok(Some(b"1".to_vec())));
}

#[test]
fn a_hole_is_a_power_cut_only_where_not_all_is_synced() {
    let (dir, all) = written(&[(100, false), (5000, false), (100, false)]);
    let path = dir.path().join(&all[1].file);
    let mut bytes = fs::read(&path).expect("read");
    bytes[1024..4096].fill(0);
    fs::write(&path, bytes).expect("write");
    assert!(matches!(RocksState::open(dir.path()), Err(StateError::LogDamaged { .. })));
    let store = RocksState::open_after(dir.path(), UnsyncedWrites::Some, "").expect("a hole");
    assert_eq!(there(&store, 3), [true, false, false]);
}

#[test]
fn a_torn_end_that_an_earlier_start_has_cut_off_is_no_damage() {
    // The old file comes back: its removal did not reach the disk.
    let (dir, all) = written(&[(100, false), (100, false)]);
    let path = dir.path().join(&all[1].file);
    let bytes = fs::read(&path).expect("read");
    fs::write(&path, &bytes[..bytes.len() - 20]).expect("write");
    let torn = fs::read(&path).expect("read");
    let store = RocksState::open(dir.path()).expect("a torn end");
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::Topics, *b"t", *b"1");
    store.write(batch, Durability::Synced).expect("write");
    drop(store);
    fs::write(&path, torn).expect("write");
    let store = RocksState::open(dir.path()).expect("nothing is missing between them");
    assert_eq!(store.get(KeySpace::Topics, b"t"), Ok(Some(b"1".to_vec())));
    assert_eq!(there(&store, 2), [true, false]);
}
