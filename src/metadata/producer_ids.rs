//! Producer ids, each given out once in the life of a cluster.
//!
//! A block of ids is reserved durably before the first of it is given out (as Kafka's
//! `ProducerIdControlManager` does), so a crash wastes the rest of a block and repeats nothing.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::BadRow;
use super::store::producer_block;
use crate::storage::rocks::blocking::{Blocking, Interrupted};
use crate::storage::{Durability, KeySpace, StateError, StateStore, WriteBatch};

/// Ids per durable reservation, as in Kafka (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub const BLOCK_SIZE: i64 = 1000;

/// Why there is no producer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProducerIdError {
    /// The store refused; nothing was given out.
    #[error(transparent)]
    State(#[from] StateError),
    /// The reservation's row makes no sense; guessing could repeat an id.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// The process is stopping.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// All of the ids below 2^63 were given out.
    #[error("all producer ids have been given out")]
    Exhausted,
}

/// Gives out producer ids. A clone gives out of the same block.
#[derive(Debug, Clone)]
pub struct ProducerIds {
    blocking: Blocking,
    block: Arc<Mutex<Range<i64>>>,
    /// Held while a block is being reserved, so that many waiters cause one reservation.
    reserving: Arc<tokio::sync::Mutex<()>>,
}

impl ProducerIds {
    /// Reads and writes nothing until the first id is asked for.
    pub fn new(blocking: Blocking) -> Self {
        Self { blocking, block: Arc::new(Mutex::new(0..0)), reserving: Arc::new(tokio::sync::Mutex::new(())) }
    }

    /// The next id, at least 0. Waits for the disk once in [`BLOCK_SIZE`] calls.
    pub async fn next(&self) -> Result<i64, ProducerIdError> {
        loop {
            if let Some(id) = self.take() {
                return Ok(id);
            }
            let reserving = Arc::clone(&self.reserving).lock_owned().await;
            if let Some(id) = self.take() {
                return Ok(id);
            }
            let block = Arc::clone(&self.block);
            // The reservation is finished by the blocking thread also when this caller goes away.
            let reserve = move |store: &dyn StateStore| {
                let reserved = reserve(store)?;
                *block.lock() = reserved;
                drop(reserving);
                Ok::<(), ProducerIdError>(())
            };
            self.blocking.call(reserve).await??;
        }
    }

    fn take(&self) -> Option<i64> {
        self.block.lock().next()
    }
}

fn reserve(store: &dyn StateStore) -> Result<Range<i64>, ProducerIdError> {
    let first = match store.get(KeySpace::ProducerIds, producer_block::KEY)? {
        Some(value) => producer_block::read_value(&value)?,
        None => 0,
    };
    let end = first.checked_add(BLOCK_SIZE).ok_or(ProducerIdError::Exhausted)?;
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::ProducerIds, producer_block::KEY, producer_block::value(end));
    store.write(batch, Durability::Synced)?;
    Ok(first..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryState;
    use std::collections::HashSet;

    fn ids_on(store: MemoryState) -> ProducerIds {
        ProducerIds::new(Blocking::new(Arc::new(store), 2))
    }

    #[tokio::test]
    async fn never_repeated_across_crashes() {
        let store = MemoryState::new();
        let mut given = HashSet::new();
        for calls in [1, 999, 1000, 1001, 2500, 1] {
            // A crash: the former allocator is forgotten without a word.
            let ids = ids_on(store.reopen());
            for _ in 0..calls {
                let id = ids.next().await.expect("an id");
                assert!(id >= 0 && given.insert(id), "{id} was given before");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn never_repeated_between_concurrent_callers() {
        let ids = ids_on(MemoryState::new());
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let ids = ids.clone();
                tokio::spawn(async move {
                    let mut given = Vec::new();
                    for _ in 0..700 {
                        given.push(ids.next().await.expect("an id"));
                    }
                    given
                })
            })
            .collect();
        let mut given = HashSet::new();
        for caller in callers {
            given.extend(caller.await.expect("task"));
        }
        assert_eq!(given.len(), 5600);
        // One reservation per block, not one per waiter.
        assert!(given.into_iter().all(|id| id < 6000));
    }

    #[tokio::test]
    async fn a_refused_or_damaged_reservation_gives_nothing() {
        let store = MemoryState::new();
        store.close().expect("close");
        let refused = ids_on(store).next().await;
        assert_eq!(refused, Err(ProducerIdError::State(StateError::Closed)));

        for (value, exhausted) in
            [(vec![1, 2], false), (producer_block::value(i64::MAX - BLOCK_SIZE + 1), true)]
        {
            let store = MemoryState::new();
            let mut batch = WriteBatch::new();
            batch.put(KeySpace::ProducerIds, producer_block::KEY, value);
            store.write(batch, Durability::Synced).expect("write");
            let refused = ids_on(store).next().await.expect_err("no id");
            assert_eq!(refused == ProducerIdError::Exhausted, exhausted, "{refused:?}");
        }
    }
}
