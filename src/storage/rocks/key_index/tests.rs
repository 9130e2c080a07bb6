//! The key index on RocksDB: the suite, crashes, damage.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::storage::key_index::conformance::{self, P, Place, add, latest};

/// A directory with an open index.
struct OnDisk {
    dir: tempfile::TempDir,
    index: Option<Arc<RocksKeyIndex>>,
    small_run_keys: usize,
}

impl OnDisk {
    fn new(small_run_keys: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let index = RocksKeyIndex::open_with(dir.path(), small_run_keys).expect("open");
        Self { dir, index: Some(Arc::new(index)), small_run_keys }
    }

    /// A file that is merged away while the directory is copied would be missing from the copy, as it never is after a kill.
    fn wait_for_background_work(&self) {
        let index = self.index.as_ref().expect("open");
        let busy = |db: &DB| {
            [
                properties::NUM_RUNNING_COMPACTIONS,
                properties::NUM_RUNNING_FLUSHES,
                properties::COMPACTION_PENDING,
                properties::MEM_TABLE_FLUSH_PENDING,
            ]
            .into_iter()
            .any(|name| db.property_int_value(name).unwrap() != Some(0))
        };
        while index.with(|db| Ok(busy(db))).unwrap() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// What is on disk at this instant, with the writer still running, is what a kill leaves.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a temporary directory");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        if entry.file_name() != "LOCK" && entry.path().is_file() {
            fs::copy(entry.path(), to.path().join(entry.file_name())).expect("copy");
        }
    }
    to
}

impl Place for OnDisk {
    const CASES: u32 = 8;

    fn index(&self) -> Arc<dyn KeyIndex> {
        self.index.clone().expect("open")
    }

    fn reopen(&mut self) -> bool {
        self.index.take().expect("open").close().expect("close");
        let index = RocksKeyIndex::open_with(self.dir.path(), self.small_run_keys).expect("open");
        self.index = Some(Arc::new(index));
        true
    }

    fn crash(&mut self) -> bool {
        self.wait_for_background_work();
        let left = copy(self.dir.path());
        self.index = None;
        let index = RocksKeyIndex::open_with(left.path(), self.small_run_keys).expect("open the copy");
        (self.dir, self.index) = (left, Some(Arc::new(index)));
        true
    }
}

#[test]
fn conforms() {
    conformance::run(|| OnDisk::new(SMALL_RUN_KEYS));
}

#[test]
fn conforms_with_every_run_in_a_file_of_its_own() {
    conformance::run(|| OnDisk::new(0));
}

#[test]
fn conforms_with_both_kinds_of_runs() {
    conformance::run(|| OnDisk::new(4));
}

#[test]
fn a_crash_takes_small_runs_with_their_position_and_keeps_large_ones() {
    let mut place = OnDisk::new(3);
    let index = place.index();
    add(&*index, [(1, 0), (2, 1)], 2);
    add(&*index, [(1, 2), (2, 3), (3, 4), (4, 5)], 6);
    add(&*index, [(1, 6)], 7);
    drop(index);
    assert!(place.crash());
    let index = place.index();
    assert_eq!(index.position(P).unwrap().unwrap().upto, 6);
    assert_eq!((latest(&*index, 1), latest(&*index, 2)), (Some(2), Some(3)));
    let dead = index.dead_upto(P, i64::MAX, 0..i64::MAX, usize::MAX).unwrap();
    assert_eq!(dead.offsets.iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn the_hash_survives_and_is_another_in_every_database() {
    let mut place = OnDisk::new(SMALL_RUN_KEYS);
    let secret = place.index().hasher().secret();
    assert!(place.crash(), "it is durable from the beginning");
    assert_eq!(place.index().hasher().secret(), secret);
    assert_ne!(OnDisk::new(SMALL_RUN_KEYS).index().hasher().secret(), secret);
}

#[test]
fn a_second_opener_is_refused_and_deletes_nothing() {
    let mut place = OnDisk::new(SMALL_RUN_KEYS);
    add(&*place.index(), [(1, 0)], 1);
    let second = RocksKeyIndex::open(place.dir.path());
    assert!(matches!(second, Err(KeyIndexError::Unavailable { .. })), "{second:?}");
    assert!(place.reopen());
    assert_eq!(latest(&*place.index(), 1), Some(0));
}

#[test]
fn what_an_interrupted_run_left_is_cleared_away() {
    let mut place = OnDisk::new(0);
    let left = open::ingest_dir(place.dir.path()).join("run.sst");
    fs::write(&left, b"half a file").unwrap();
    add(&*place.index(), [(1, 0)], 1);
    assert!(!left.exists());
    fs::write(&left, b"half a file").unwrap();
    assert!(place.reopen());
    assert!(!left.exists());
    assert_eq!(latest(&*place.index(), 1), Some(0));
}

#[test]
fn an_unknown_format_or_another_database_is_begun_anew() {
    let with = |change: &dyn Fn(&DB)| {
        let place = OnDisk::new(SMALL_RUN_KEYS);
        add(&*place.index(), [(1, 0)], 1);
        place.index().close().unwrap();
        {
            let db = DB::open(&options::database(), place.dir.path()).unwrap();
            change(&db);
            db.flush().unwrap();
        }
        let index = RocksKeyIndex::open(place.dir.path()).unwrap();
        (index.position(P).unwrap().map(|position| position.upto), place, index)
    };
    assert_eq!(with(&|_| {}).0, Some(1));
    let mut newer = rows::encode_format([1; 16]);
    newer[3] = 2;
    assert_eq!(with(&|db| db.put(rows::FORMAT, newer).unwrap()).0, None);
    assert_eq!(with(&|db| db.delete(rows::FORMAT).unwrap()).0, None);
    let other = tempfile::tempdir().unwrap();
    {
        let mut options = options::database();
        options.create_missing_column_families(true);
        drop(DB::open_cf(&options, other.path(), ["default", "more"]).unwrap());
    }
    let index = RocksKeyIndex::open(other.path()).unwrap();
    add(&index, [(1, 0)], 1);
    assert_eq!(latest(&index, 1), Some(0));
}

/// Asks everything, and adds a run. What is answered must be right; damage may be found at any time, and is then gone.
fn usable_and_right(dir: &Path, keys: u32, what: &str) {
    let index = RocksKeyIndex::open_with(dir, 100).expect(what);
    let asked = || -> Result<(), KeyIndexError> {
        let Some(position) = index.position(P)? else { return Ok(()) };
        assert_eq!(position.upto, i64::from(keys) * 2, "{what}");
        for key in 0..keys {
            let found = index.latest(P, index.hasher().hash(&key.to_be_bytes()))?;
            assert_eq!(found, Some(i64::from(keys + key)), "{what}: key {key}");
        }
        let dead = index.dead_upto(P, i64::MAX, 0..i64::MAX, usize::MAX)?;
        assert!(dead.offsets.iter().eq(0..i64::from(keys)), "{what}");
        Ok(())
    };
    let added = || -> Result<i64, KeyIndexError> {
        let after = index.position(P)?;
        let upto = after.map_or(0, |position| position.upto);
        let run = conformance::run_of(&index, after, (0..keys).zip(upto..), upto + i64::from(keys));
        assert!(index.add_run(P, run)?, "{what}");
        Ok(upto)
    };
    let anew = |error: KeyIndexError| {
        assert!(matches!(error, KeyIndexError::Damaged { .. }), "{what}: {error}");
        assert_eq!(index.position(P), Ok(None), "{what}: begun anew");
        assert_eq!(latest(&index, 1), None, "{what}: begun anew");
    };
    asked().unwrap_or_else(anew);
    let upto = added().unwrap_or_else(|error| {
        anew(error);
        added().expect(what)
    });
    assert_eq!(latest(&index, 3), Some(upto + 3), "{what}");
    index.close().expect(what);
}

#[test]
fn damage_to_any_file_is_found_and_the_index_begun_anew() {
    let place = OnDisk::new(100);
    let keys = 3_000;
    add(&*place.index(), (0..keys).zip(0..), i64::from(keys));
    add(&*place.index(), (0..keys).zip(i64::from(keys)..), i64::from(keys) * 2);
    place.index().close().unwrap();
    usable_and_right(copy(place.dir.path()).path(), keys, "intact");
    let files = fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap());
    let files: Vec<_> = files.filter(|entry| entry.path().is_file()).map(|entry| entry.file_name()).collect();
    assert!(files.len() >= 5, "{files:?}");
    for name in files.iter().filter(|name| *name != "LOCK") {
        let whole = fs::read(place.dir.path().join(name)).unwrap();
        let changed = |what: &str, bytes: Option<Vec<u8>>| {
            let dir = copy(place.dir.path());
            let path = dir.path().join(name);
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            usable_and_right(dir.path(), keys, &format!("{name:?} {what}"));
        };
        changed("gone", None);
        changed("empty", Some(Vec::new()));
        changed("cut in half", Some(whole[..whole.len() / 2].to_vec()));
        for part in 0..5 {
            let mut bytes = whole.clone();
            if let Some(byte) = bytes.get_mut(whole.len() * part / 5) {
                *byte ^= 0x10;
                changed(&format!("flipped at {part}/5"), Some(bytes));
            }
        }
    }
}
