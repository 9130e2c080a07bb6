//! [`KeyIndex`] on RocksDB: a database of its own, without a write-ahead log.
//!
//! ```text
//!   small runs ─▶ one write batch ─▶ write buffer ─▶ file ─┐
//!   large runs ─▶ one sorted file ─────────── ingested ───┴▶ levels, compacted in the background
//! ```
//!
//! Both are atomic. A crash takes what is in the write buffer, from its end: all rows share one buffer, so position, keys and
//! superseded offsets go back together, and are read from the log again. A file is ingested behind everything that was
//! written before, which is flushed first.
//!
//! Damage that a call finds is answered with [`KeyIndexError::Damaged`], once the database was begun anew.

mod merge;
mod open;
mod options;
mod rows;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use rocksdb::{
    DB, Error, ErrorKind, IngestExternalFileOptions, Options, ReadOptions, SstFileWriter, WriteBatch,
    properties,
};
use tracing::{error, warn};

use crate::storage::key_index::{
    Dead, DeadOffsets, IndexedPartition, KeyHash, KeyHasher, KeyIndex, KeyIndexError, KeyIndexSizes,
    Position, Run,
};

/// Keys up to which a run is small. Twice as many fill the write buffer.
const SMALL_RUN_KEYS: usize = 16 * 1024;
/// Rows that are looked at, or keys that are removed, before other writers get their turn.
const STEP_ROWS: usize = 8 * 1024;

/// An open key index.
pub struct RocksKeyIndex {
    dir: PathBuf,
    options: Options,
    hasher: KeyHasher,
    small_run_keys: usize,
    /// `None` once closed. Calls hold the read side while they run.
    open: RwLock<Option<Open>>,
    /// Held by whoever reads rows in order to change them.
    writing: Mutex<()>,
}

struct Open {
    db: DB,
    /// Counts how often the database was begun anew.
    generation: u64,
}

impl std::fmt::Debug for RocksKeyIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksKeyIndex").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl RocksKeyIndex {
    /// Opens the index in `dir`, which is its own: creates it when absent, deletes it and begins anew when it is damaged or
    /// of a format that is not known.
    ///
    /// # Errors
    /// [`KeyIndexError::Unavailable`] when another process has it open, or the disk refuses.
    pub fn open(dir: &Path) -> Result<Self, KeyIndexError> {
        Self::open_with(dir, SMALL_RUN_KEYS)
    }

    fn open_with(dir: &Path, small_run_keys: usize) -> Result<Self, KeyIndexError> {
        let options = options::database();
        let (db, hasher) = open::open(dir, &options)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            options,
            hasher,
            small_run_keys,
            open: RwLock::new(Some(Open { db, generation: 0 })),
            writing: Mutex::new(()),
        })
    }

    fn with<T>(&self, call: impl FnOnce(&DB) -> Result<T, KeyIndexError>) -> Result<T, KeyIndexError> {
        let (outcome, generation) = match &*self.open.read() {
            Some(open) => (call(&open.db), open.generation),
            None => return Err(KeyIndexError::Closed),
        };
        if let Err(KeyIndexError::Damaged { message }) = &outcome {
            self.begin_anew(generation, message);
        }
        outcome
    }

    /// Deletes a database that was found damaged, unless another did.
    fn begin_anew(&self, generation: u64, message: &str) {
        let mut slot = self.open.write();
        if slot.as_ref().is_none_or(|open| open.generation != generation) {
            return;
        }
        *slot = None;
        warn!(dir = %self.dir.display(), message, "the key index is damaged and is built anew from the logs");
        // The hash stays: runs that were collected by it may still be on their way.
        match open::create(&self.dir, &self.options, self.hasher) {
            Ok((db, _)) => *slot = Some(Open { db, generation: generation + 1 }),
            Err(error) => error!(dir = %self.dir.display(), %error, "the key index cannot be created"),
        }
    }

    /// Writes a run as one sorted file and makes it part of the database.
    fn ingest(&self, db: &DB, partition: IndexedPartition, run: Run) -> Result<(), KeyIndexError> {
        let path = open::ingest_dir(&self.dir).join("run.sst");
        // Only a crash or an error leaves one behind.
        let _ = fs::remove_file(&path);
        let mut file = SstFileWriter::create(&self.options);
        file.open(&path).map_err(translate)?;
        merge::merge_run(db, partition, run, true, &mut |key, value| file.put(key, value))?;
        file.finish().map_err(translate)?;
        // What is still in the write buffer was written before, and must not be lost when this is not.
        db.flush().map_err(translate)?;
        let mut how = IngestExternalFileOptions::default();
        how.set_move_files(true);
        db.ingest_external_file_opts(&how, vec![&path]).map_err(translate)
    }

    /// Removes the keys of one step, which are sorted.
    fn remove_step(
        &self,
        partition: IndexedPartition,
        keys: &[(KeyHash, i64)],
    ) -> Result<u64, KeyIndexError> {
        let _writing = self.writing.lock();
        self.with(|db| {
            let mut known = merge::Keys::new(db, partition, false);
            let mut batch = WriteBatch::default();
            for (hash, offset) in keys {
                if known.find(*hash)? == Some(*offset) {
                    batch.delete(rows::key(partition, *hash));
                }
            }
            let removed = batch.len() as u64;
            db.write_opt(batch, &options::write()).map_err(translate)?;
            Ok(removed)
        })
    }

    /// Looks at the keys of one step from a row on. Returns how many went, and the row to go on from.
    fn remove_step_below(
        &self,
        range: Range<Vec<u8>>,
        log_start: i64,
    ) -> Result<(u64, Option<Vec<u8>>), KeyIndexError> {
        let _writing = self.writing.lock();
        self.with(|db| {
            let mut read = ReadOptions::default();
            read.set_iterate_range(range);
            read.fill_cache(false);
            let mut rows = db.raw_iterator_opt(read);
            rows.seek_to_first();
            let mut batch = WriteBatch::default();
            for _ in 0..STEP_ROWS {
                let Some((row, value)) = rows.item() else { break };
                let offset = rows::decode_offset(value);
                if offset.ok_or_else(|| damaged("a key's offset cannot be read"))? < log_start {
                    batch.delete(row);
                }
                rows.next();
            }
            rows.status().map_err(translate)?;
            let next = rows.key().map(<[u8]>::to_vec);
            let removed = batch.len() as u64;
            db.write_opt(batch, &options::write()).map_err(translate)?;
            Ok((removed, next))
        })
    }

    fn delete_range(&self, range: Range<Vec<u8>>) -> Result<(), KeyIndexError> {
        let _writing = self.writing.lock();
        self.with(|db| {
            let mut batch = WriteBatch::default();
            batch.delete_range(range.start, range.end);
            db.write_opt(batch, &options::write()).map_err(translate)
        })
    }
}

fn damaged(message: impl Into<String>) -> KeyIndexError {
    KeyIndexError::Damaged { message: message.into() }
}

fn translate(error: Error) -> KeyIndexError {
    let kind = error.kind();
    let message = error.into_string();
    match kind {
        ErrorKind::Corruption => KeyIndexError::Damaged { message },
        ErrorKind::IOError if message.contains("No such file") => KeyIndexError::Damaged { message },
        ErrorKind::IOError => {
            // A full disk heals when space is freed; RocksDB then resumes by itself.
            let retryable = message.contains("No space left");
            KeyIndexError::Unavailable { message, retryable }
        }
        ErrorKind::Busy | ErrorKind::TryAgain | ErrorKind::TimedOut | ErrorKind::Incomplete => {
            KeyIndexError::Unavailable { message, retryable: true }
        }
        _ => KeyIndexError::Unavailable { message, retryable: false },
    }
}

fn position_of(db: &DB, partition: IndexedPartition) -> Result<Option<Position>, KeyIndexError> {
    let Some(value) = db.get_pinned(rows::position(partition)).map_err(translate)? else { return Ok(None) };
    rows::decode_position(&value).map(Some).ok_or_else(|| damaged("a position cannot be read"))
}

impl KeyIndex for RocksKeyIndex {
    fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    fn position(&self, partition: IndexedPartition) -> Result<Option<Position>, KeyIndexError> {
        self.with(|db| position_of(db, partition))
    }

    fn add_run(&self, partition: IndexedPartition, run: Run) -> Result<bool, KeyIndexError> {
        let _writing = self.writing.lock();
        self.with(|db| {
            if position_of(db, partition)? != run.after || !run.goes_further() {
                return Ok(false);
            }
            if run.entries.len() > self.small_run_keys {
                self.ingest(db, partition, run)?;
                return Ok(true);
            }
            let mut batch = WriteBatch::default();
            merge::merge_run(db, partition, run, false, &mut |key, value| {
                batch.put(key, value);
                Ok(())
            })?;
            db.write_opt(batch, &options::write()).map_err(translate)?;
            Ok(true)
        })
    }

    fn latest(&self, partition: IndexedPartition, hash: KeyHash) -> Result<Option<i64>, KeyIndexError> {
        self.with(|db| {
            let Some(value) = db.get_pinned(rows::key(partition, hash)).map_err(translate)? else {
                return Ok(None);
            };
            rows::decode_offset(&value).map(Some).ok_or_else(|| damaged("a key's offset cannot be read"))
        })
    }

    fn dead_upto(
        &self,
        partition: IndexedPartition,
        end: i64,
        range: Range<i64>,
        max_bytes: usize,
    ) -> Result<Dead, KeyIndexError> {
        self.with(|db| {
            let mut wanted = range.clone();
            let mut offsets = DeadOffsets::new();
            let mut read = ReadOptions::default();
            read.set_iterate_range(rows::superseded_upto(partition, end));
            read.fill_cache(false);
            let mut rows = db.raw_iterator_opt(read);
            rows.seek_to_first();
            while let Some((row, value)) = rows.item() {
                rows::chunk_of(row)
                    .and_then(|chunk| offsets.add_encoded(chunk, value, &wanted))
                    .ok_or_else(|| damaged("superseded offsets cannot be read"))?;
                if let Some(cut) = offsets.shrink_to(max_bytes) {
                    wanted.end = cut;
                }
                rows.next();
            }
            rows.status().map_err(translate)?;
            Ok(Dead { offsets, complete_below: wanted.end })
        })
    }

    fn forget_dead(&self, partition: IndexedPartition, end: i64) -> Result<(), KeyIndexError> {
        self.delete_range(rows::superseded_upto(partition, end))
    }

    fn remove_keys(
        &self,
        partition: IndexedPartition,
        keys: &mut dyn Iterator<Item = (KeyHash, i64)>,
    ) -> Result<u64, KeyIndexError> {
        let mut removed = 0;
        loop {
            let mut step: Vec<_> = keys.take(STEP_ROWS).collect();
            if step.is_empty() {
                return Ok(removed);
            }
            step.sort_unstable();
            step.dedup();
            removed += self.remove_step(partition, &step)?;
        }
    }

    fn remove_below(
        &self,
        partition: IndexedPartition,
        log_start: i64,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<u64, KeyIndexError> {
        let Range { start, end } = rows::keys(partition);
        let (mut removed, mut from) = (0, Some(start));
        while let Some(start) = from
            && go_on().is_continue()
        {
            let (step, next) = self.remove_step_below(start..end.clone(), log_start)?;
            removed += step;
            from = next;
        }
        Ok(removed)
    }

    fn drop_partition(&self, partition: IndexedPartition) -> Result<(), KeyIndexError> {
        self.delete_range(rows::of_partition(partition))
    }

    fn drop_except(&self, live: &HashSet<[u8; 16]>) -> Result<u64, KeyIndexError> {
        let dropped = self.with(|db| {
            let mut read = ReadOptions::default();
            read.fill_cache(false);
            let mut rows = db.raw_iterator_opt(read);
            let mut gone = Vec::new();
            rows.seek([0; 16]);
            while let Some(topic_id) = rows.key().and_then(rows::topic_of) {
                if !live.contains(&topic_id) {
                    gone.push(topic_id);
                }
                rows.seek(rows::of_topic(topic_id).end);
            }
            rows.status().map_err(translate)?;
            Ok(gone)
        })?;
        for topic_id in &dropped {
            self.delete_range(rows::of_topic(*topic_id))?;
        }
        Ok(dropped.len() as u64)
    }

    fn sizes(&self) -> Result<KeyIndexSizes, KeyIndexError> {
        self.with(|db| {
            let number = |name| Ok(db.property_int_value(name).map_err(translate)?.unwrap_or(0));
            let memory = [
                properties::CUR_SIZE_ALL_MEM_TABLES,
                properties::ESTIMATE_TABLE_READERS_MEM,
                properties::BLOCK_CACHE_USAGE,
            ];
            Ok(KeyIndexSizes {
                rows: number(properties::ESTIMATE_NUM_KEYS)?,
                disk_bytes: number(properties::TOTAL_SST_FILES_SIZE)?,
                memory_bytes: memory.into_iter().map(number).sum::<Result<u64, _>>()?,
            })
        })
    }

    fn flush(&self) -> Result<(), KeyIndexError> {
        self.with(|db| db.flush().map_err(translate))
    }

    fn close(&self) -> Result<(), KeyIndexError> {
        let Some(open) = self.open.write().take() else { return Ok(()) };
        let flushed = open.db.flush().map_err(translate);
        open.db.cancel_all_background_work(true);
        flushed
    }
}
