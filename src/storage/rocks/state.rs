//! [`StateStore`] on RocksDB.
//!
//! It translates calls and errors, nothing more: no key or value is interpreted here.

use std::path::Path;

use parking_lot::RwLock;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME, Error, ErrorKind, FlushOptions,
    PrefixRange, ReadOptions, WriteOptions,
};

use super::{options, wal};
use crate::storage::keyspace::KeySpace;
use crate::storage::state_store::{Durability, StateError, StateStore, VisitRow, WriteBatch, WriteOp};

/// An open database. Dropping it closes it; [`StateStore::close`] does so at a chosen moment and reports.
pub struct RocksState {
    /// `None` once closed. Calls hold the read side while they run, so closing waits for them; they take
    /// it recursively, because a scan's visitor may call back while a closer is already waiting.
    db: RwLock<Option<DB>>,
    /// Writes hold the read side while they run; [`StateStore::checkpoint`] keeps them out for a moment.
    writing: RwLock<()>,
}

/// Whether writes that nobody waited for may be in the log; then a power cut can leave a hole before what reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsyncedWrites {
    /// All that mattered was synced before the next write began.
    None,
    /// Some were left to the operating system ([`Durability::Buffered`]).
    Some,
}

impl std::fmt::Debug for RocksState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksState").finish_non_exhaustive()
    }
}

impl RocksState {
    /// Opens the database in `dir`, creating it when absent, and replays what a crash left behind.
    ///
    /// Blocks on the disk. Fails when another process has the directory open (RocksDB's lock file), when
    /// it was written by a newer version, or when it is damaged, its log included: writes behind a damaged one would be lost
    /// ([`StateError::LogDamaged`]).
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        Self::open_after(dir, UnsyncedWrites::None, "")
    }

    /// As [`RocksState::open`], where a power cut may have left a hole among writes that were not synced. What lies behind
    /// damage in the log file of the name `accepted` is given up.
    pub fn open_after(dir: &Path, unsynced: UnsyncedWrites, accepted: &str) -> Result<Self, StateError> {
        refuse_damaged_log(dir, unsynced, accepted)?;
        let database = options::database();
        refuse_unknown_families(&database, dir)?;
        let cache = options::block_cache();
        let families = KeySpace::ALL
            .iter()
            .map(|space| space.name())
            .chain([DEFAULT_COLUMN_FAMILY_NAME])
            .map(|name| ColumnFamilyDescriptor::new(name, options::family(&cache)));
        let db = DB::open_cf_descriptors(&database, dir, families).map_err(translate)?;
        Ok(Self { db: RwLock::new(Some(db)), writing: RwLock::new(()) })
    }

    /// Begins another file of the log while the former still is needed.
    #[cfg(test)]
    pub(super) fn switch_log_for_test(&self) {
        self.with(|db| {
            let mut batch = rocksdb::WriteBatch::default();
            batch.put_cf(family(db, KeySpace::Configs)?, b"any", b"");
            db.write(batch).map_err(translate)?;
            db.flush_cf(family(db, KeySpace::Configs)?).map_err(translate)
        })
        .expect("another log file");
    }

    fn with<T>(&self, call: impl FnOnce(&DB) -> Result<T, StateError>) -> Result<T, StateError> {
        match &*self.db.read_recursive() {
            Some(db) => call(db),
            None => Err(StateError::Closed),
        }
    }
}

/// RocksDB would end its replay there without a word.
fn refuse_damaged_log(dir: &Path, unsynced: UnsyncedWrites, accepted: &str) -> Result<(), StateError> {
    let unreadable = |error: std::io::Error| StateError::Unavailable {
        message: format!("cannot read the log in {}: {error}", dir.display()),
        retryable: false,
    };
    let Some(damage) = wal::damage(dir).map_err(unreadable)? else {
        return Ok(());
    };
    let file = damage.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (path, position) = (damage.file, damage.position);
    if damage.is_hole && unsynced == UnsyncedWrites::Some {
        tracing::warn!(file = %path.display(), position, "the end of the state's log has a hole, as a power cut leaves it among writes that were not synced; what is behind it is dropped");
        return Ok(());
    }
    if file == accepted {
        tracing::warn!(file = %path.display(), position, "the state's log is damaged; what was written behind the damage is given up, as asked");
        return Ok(());
    }
    let (intact, intact_position) = damage.intact;
    Err(StateError::LogDamaged { path, position, intact, intact_position, file })
}

/// RocksDB refuses by itself to leave a column family closed, but says so in words no operator expects.
fn refuse_unknown_families(database: &rocksdb::Options, dir: &Path) -> Result<(), StateError> {
    // Without this file there is no database yet, and asking for its families is an error.
    if !dir.join("CURRENT").exists() {
        return Ok(());
    }
    let known = |name: &String| {
        name == DEFAULT_COLUMN_FAMILY_NAME || KeySpace::ALL.iter().any(|space| space.name() == name)
    };
    let mut unknown = DB::list_cf(database, dir).map_err(translate)?;
    unknown.retain(|name| !known(name));
    if unknown.is_empty() {
        return Ok(());
    }
    Err(StateError::UnknownKeySpaces { names: unknown.join(", ") })
}

fn family(db: &DB, space: KeySpace) -> Result<&ColumnFamily, StateError> {
    db.cf_handle(space.name())
        .ok_or_else(|| StateError::Corrupt { message: format!("column family {} is not open", space.name()) })
}

/// Writes the rows that are in memory to tables.
fn flush_families(db: &DB) -> Result<(), StateError> {
    let families = KeySpace::ALL.iter().map(|space| family(db, *space)).collect::<Result<Vec<_>, _>>()?;
    db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(translate)
}

fn translate(error: Error) -> StateError {
    let kind = error.kind();
    let message = error.into_string();
    match kind {
        ErrorKind::Corruption => StateError::Corrupt { message },
        ErrorKind::Busy | ErrorKind::TryAgain | ErrorKind::TimedOut | ErrorKind::Incomplete => {
            StateError::Unavailable { message, retryable: true }
        }
        // A full disk heals when space is freed; RocksDB then resumes by itself.
        ErrorKind::IOError => {
            let retryable = message.contains("No space left");
            StateError::Unavailable { message, retryable }
        }
        _ => StateError::Unavailable { message, retryable: false },
    }
}

impl StateStore for RocksState {
    fn get(&self, space: KeySpace, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.with(|db| db.get_cf(family(db, space)?, key).map_err(translate))
    }

    fn scan_prefix(
        &self,
        space: KeySpace,
        prefix: &[u8],
        visit: &mut VisitRow<'_>,
    ) -> Result<(), StateError> {
        self.with(|db| {
            let mut read = ReadOptions::default();
            read.set_iterate_range(PrefixRange(prefix));
            // A scan reads each row once: it must not push the working set out of a 1 MiB cache.
            read.fill_cache(false);
            let mut rows = db.raw_iterator_cf_opt(family(db, space)?, read);
            rows.seek(prefix);
            while let Some((key, value)) = rows.item() {
                if visit(key, value).is_break() {
                    return Ok(());
                }
                rows.next();
            }
            // An iterator that met damage looks exhausted; only its status tells.
            rows.status().map_err(translate)
        })
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StateError> {
        batch.check_size()?;
        self.with(|db| {
            let mut native = rocksdb::WriteBatch::default();
            for op in batch.ops() {
                match op {
                    WriteOp::Put { space, key, value } => {
                        native.put_cf(family(db, *space)?, key, value);
                    }
                    WriteOp::Delete { space, key } => native.delete_cf(family(db, *space)?, key),
                }
            }
            let mut write = WriteOptions::default();
            write.set_sync(durability == Durability::Synced);
            let _writing = self.writing.read();
            db.write_opt(native, &write).map_err(translate)
        })
    }

    fn flush(&self) -> Result<(), StateError> {
        self.with(|db| db.flush_wal(true).map_err(translate))
    }

    fn checkpoint(&self, to: &Path, then: &mut dyn FnMut()) -> Result<(), StateError> {
        self.with(|db| {
            // Most of what a checkpoint has to write is written before anybody is kept waiting for it.
            flush_families(db)?;
            let checkpoint = Checkpoint::new(db).map_err(translate)?;
            let _no_writes = self.writing.write();
            checkpoint.create_checkpoint(to).map_err(translate)?;
            then();
            Ok(())
        })
    }

    fn close(&self) -> Result<(), StateError> {
        let mut slot = self.db.write();
        let Some(db) = slot.take() else {
            return Ok(());
        };
        // Rows are safe once the log is synced. Writing the tables as well spares the next start the
        // replay of that log.
        db.flush_wal(true).map_err(translate)?;
        flush_families(&db)?;
        db.cancel_all_background_work(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;
    use std::sync::Arc;

    #[test]
    fn conforms() {
        conformance::run(|| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            move || Arc::new(RocksState::open(dir.path()).expect("open")) as Arc<dyn StateStore>
        });
    }

    #[test]
    fn rows_survive_without_close() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let copy = tempfile::tempdir().expect("a temporary directory");
        let store = RocksState::open(dir.path()).expect("open");
        let mut batch = WriteBatch::new();
        batch.put(KeySpace::Topics, *b"t", *b"1");
        store.write(batch, Durability::Synced).expect("write");
        // What is on disk at this instant, with the writer still running, is what a crash leaves.
        for entry in std::fs::read_dir(dir.path()).expect("list") {
            let entry = entry.expect("entry");
            if entry.file_name() != "LOCK" {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copy");
            }
        }
        let reopened = RocksState::open(copy.path()).expect("open the copy");
        assert_eq!(reopened.get(KeySpace::Topics, b"t"), Ok(Some(b"1".to_vec())));
    }

    #[test]
    fn a_checkpoint_is_of_one_moment_and_no_write_is_done_before_the_look_that_follows_it() {
        use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = RocksState::open(&dir.path().join("state")).expect("open");
        let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let both = |number: u64| {
            let mut batch = WriteBatch::new();
            batch.put(KeySpace::Topics, *b"n", number.to_be_bytes());
            batch.put(KeySpace::Offsets, *b"n", number.to_be_bytes());
            batch
        };
        let row = |store: &RocksState, space| {
            let found = store.get(space, b"n").expect("read").expect("a row");
            u64::from_be_bytes(found.try_into().expect("eight bytes"))
        };
        store.write(both(0), Durability::Synced).expect("write");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1.. {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    store.write(both(number), Durability::Buffered).expect("write");
                    written.store(number, Ordering::Release);
                }
            });
            for round in 0..10 {
                let to = dir.path().join(format!("copy-{round}"));
                let mut seen = (0, 0);
                let mut then = || {
                    seen.0 = written.load(Ordering::Acquire);
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    seen.1 = written.load(Ordering::Acquire);
                };
                store.checkpoint(&to, &mut then).expect("a checkpoint");
                let copy = RocksState::open(&to).expect("open the copy");
                let number = row(&copy, KeySpace::Topics);
                assert_eq!(row(&copy, KeySpace::Offsets), number, "the copy is of one moment");
                assert!(
                    seen.1 <= number,
                    "a write that was done in time for {seen:?} is not in the copy: {number}"
                );
                assert!(seen.1 - seen.0 <= 1, "writes went on: {seen:?}");
                let again = store.checkpoint(&to, &mut || panic!("it failed"));
                assert!(matches!(again, Err(StateError::Unavailable { .. })), "{again:?}");
            }
            stop.store(true, Ordering::Release);
        });
    }

    #[test]
    fn a_second_opener_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let _first = RocksState::open(dir.path()).expect("open");
        let second = RocksState::open(dir.path());
        assert!(matches!(second, Err(StateError::Unavailable { .. })), "{second:?}");
    }

    #[test]
    fn a_newer_database_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        {
            let names = ["default", "topics", "from_the_future"];
            let _db = DB::open_cf(&options::database(), dir.path(), names).expect("open");
        }
        let refused = RocksState::open(dir.path()).expect_err("an unknown family");
        assert_eq!(refused, StateError::UnknownKeySpaces { names: "from_the_future".into() });
    }
}
