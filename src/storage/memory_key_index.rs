//! [`KeyIndex`] in memory: for tests, and the model of what the one on RocksDB does.

use std::collections::{BTreeMap, HashSet};
use std::ops::{ControlFlow, Range};

use parking_lot::Mutex;

use super::key_index::{
    Dead, DeadOffsets, IndexedPartition, KeyHash, KeyHasher, KeyIndex, KeyIndexError, KeyIndexSizes,
    Position, Run, merge,
};

/// An index in ordered maps.
#[derive(Debug)]
pub struct MemoryKeyIndex {
    hasher: KeyHasher,
    /// `None` once closed.
    partitions: Mutex<Option<BTreeMap<IndexedPartition, Indexed>>>,
}

/// What is known of one partition.
#[derive(Debug)]
struct Indexed {
    position: Position,
    keys: BTreeMap<KeyHash, i64>,
    /// By run end.
    dead: BTreeMap<i64, DeadOffsets>,
}

impl MemoryKeyIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self { hasher: KeyHasher::random(), partitions: Mutex::new(Some(BTreeMap::new())) }
    }

    fn with<T>(
        &self,
        call: impl FnOnce(&mut BTreeMap<IndexedPartition, Indexed>) -> T,
    ) -> Result<T, KeyIndexError> {
        self.partitions.lock().as_mut().map(call).ok_or(KeyIndexError::Closed)
    }
}

impl Default for MemoryKeyIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyIndex for MemoryKeyIndex {
    fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    fn position(&self, partition: IndexedPartition) -> Result<Option<Position>, KeyIndexError> {
        self.with(|partitions| partitions.get(&partition).map(|indexed| indexed.position))
    }

    fn add_run(&self, partition: IndexedPartition, run: Run) -> Result<bool, KeyIndexError> {
        self.with(|partitions| {
            if partitions.get(&partition).map(|indexed| indexed.position) != run.after || !run.goes_further()
            {
                return false;
            }
            let indexed = partitions.entry(partition).or_insert_with(|| Indexed {
                position: run.to,
                keys: BTreeMap::new(),
                dead: BTreeMap::new(),
            });
            indexed.position = run.to;
            let mut dead = run.dead;
            for (hash, offset) in run.entries.iter() {
                let merged = merge(indexed.keys.get(&hash).copied(), offset);
                indexed.keys.insert(hash, merged.latest);
                merged.dead.into_iter().for_each(|offset| dead.insert(offset));
            }
            if !dead.is_empty() {
                indexed.dead.entry(run.to.upto).or_default().union(&dead);
            }
            true
        })
    }

    fn latest(&self, partition: IndexedPartition, hash: KeyHash) -> Result<Option<i64>, KeyIndexError> {
        self.with(|partitions| partitions.get(&partition)?.keys.get(&hash).copied())
    }

    fn dead_upto(
        &self,
        partition: IndexedPartition,
        end: i64,
        range: Range<i64>,
        max_bytes: usize,
    ) -> Result<Dead, KeyIndexError> {
        self.with(|partitions| {
            let mut found = Dead { offsets: DeadOffsets::new(), complete_below: range.end };
            let Some(indexed) = partitions.get(&partition) else { return found };
            for (_, dead) in indexed.dead.range(..=end) {
                let wanted = dead.iter().filter(|offset| range.contains(offset));
                wanted.for_each(|offset| found.offsets.insert(offset));
            }
            if let Some(cut) = found.offsets.shrink_to(max_bytes) {
                found.complete_below = cut;
            }
            found
        })
    }

    fn forget_dead(&self, partition: IndexedPartition, end: i64) -> Result<(), KeyIndexError> {
        self.with(|partitions| {
            if let Some(indexed) = partitions.get_mut(&partition) {
                indexed.dead.retain(|run_end, _| *run_end > end);
            }
        })
    }

    fn remove_keys(
        &self,
        partition: IndexedPartition,
        keys: &mut dyn Iterator<Item = (KeyHash, i64)>,
    ) -> Result<u64, KeyIndexError> {
        self.with(|partitions| {
            let Some(indexed) = partitions.get_mut(&partition) else { return 0 };
            let before = indexed.keys.len();
            for (hash, offset) in keys {
                if indexed.keys.get(&hash) == Some(&offset) {
                    indexed.keys.remove(&hash);
                }
            }
            (before - indexed.keys.len()) as u64
        })
    }

    fn remove_below(
        &self,
        partition: IndexedPartition,
        log_start: i64,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<u64, KeyIndexError> {
        self.with(|partitions| {
            let Some(indexed) = partitions.get_mut(&partition) else { return 0 };
            if go_on().is_break() {
                return 0;
            }
            let before = indexed.keys.len();
            indexed.keys.retain(|_, offset| *offset >= log_start);
            (before - indexed.keys.len()) as u64
        })
    }

    fn drop_partition(&self, partition: IndexedPartition) -> Result<(), KeyIndexError> {
        self.with(|partitions| {
            partitions.remove(&partition);
        })
    }

    fn drop_except(&self, live: &HashSet<[u8; 16]>) -> Result<u64, KeyIndexError> {
        self.with(|partitions| {
            let mut gone = HashSet::new();
            partitions.retain(|partition, _| {
                let stays = live.contains(&partition.topic_id);
                if !stays {
                    gone.insert(partition.topic_id);
                }
                stays
            });
            gone.len() as u64
        })
    }

    fn sizes(&self) -> Result<KeyIndexSizes, KeyIndexError> {
        self.with(|partitions| {
            let rows = partitions.values().map(|indexed| indexed.keys.len() + indexed.dead.len() + 1);
            let rows = rows.sum::<usize>() as u64;
            KeyIndexSizes { rows, disk_bytes: 0, memory_bytes: rows * 24 }
        })
    }

    fn flush(&self) -> Result<(), KeyIndexError> {
        self.with(|_| ())
    }

    fn close(&self) -> Result<(), KeyIndexError> {
        *self.partitions.lock() = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::key_index::conformance;

    struct InMemory(Arc<MemoryKeyIndex>);

    impl conformance::Place for InMemory {
        const CASES: u32 = 64;

        fn index(&self) -> Arc<dyn KeyIndex> {
            self.0.clone()
        }

        fn reopen(&mut self) -> bool {
            false
        }

        fn crash(&mut self) -> bool {
            false
        }
    }

    #[test]
    fn conforms() {
        conformance::run(|| InMemory(Arc::new(MemoryKeyIndex::new())));
    }
}
