//! Reads a shard from the state store: at start, and after a failed write.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use tracing::error;

use super::endings::Work;
use super::shard::Shard;
use super::{Coordinator, now_ms};
use crate::storage::codec::BadRow;
use crate::storage::{KeySpace, StateError};
use crate::transactions::adopt::Adoption;
use crate::transactions::error::TransactionError;
use crate::transactions::store;
use crate::transactions::transaction::{Producer, Row, TopicPartition};

/// Why a shard could not be read.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    State(#[from] StateError),
    /// To go on without the row would let a fenced producer in, or leave a transaction open for ever.
    #[error(transparent)]
    Row(#[from] BadRow),
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl Coordinator {
    /// Reads every shard that was not read yet. What cannot be read is logged. Blocks; for a thread that may.
    pub fn load_all(&self) {
        for number in 0..store::SHARDS {
            self.loaded(number).ok();
        }
    }

    /// Opens the logs that open transactions have touched, so that their ends find them. Blocks.
    pub fn open_logs(&self) {
        for number in 0..store::SHARDS {
            let touched: Vec<TopicPartition> = match self.loaded(number) {
                Ok(shard) => shard.ids.values().flat_map(|known| known.partitions.iter().copied()).collect(),
                Err(_) => continue,
            };
            for of in touched {
                if let Some(Err(error)) = (self.0.parts.open)(of) {
                    error!(topic = %of.topic, partition = of.partition, %error, "a log with an open transaction cannot be opened");
                }
            }
        }
    }

    /// Has a shard read again after a failed write.
    pub(super) fn reload(&self, id: &str) {
        self.loaded(store::shard_of(id)).ok();
    }

    /// A shard as the state store has it.
    pub(super) fn loaded(&self, number: u8) -> Result<MutexGuard<'_, Shard>, TransactionError> {
        let mut shard = self.0.shards[usize::from(number)].lock();
        let term = self.0.parts.journal.term();
        if shard.term == term {
            return Ok(shard);
        }
        self.give_up(&mut shard);
        // Reading waits for the disk: the runtime is told, so that other tasks of this worker move on.
        match crate::storage::blocking(|| self.load(&mut shard, number, term)) {
            Ok(()) => Ok(shard),
            Err(error) => {
                error!(%error, shard = number, "transactions could not be read from the state store");
                self.give_up(&mut shard);
                Err(TransactionError::CoordinatorNotAvailable)
            }
        }
    }

    fn load(&self, shard: &mut Shard, number: u8, term: u64) -> Result<(), LoadError> {
        // A shard that was given up may have rows on their way to the disk: to read before they are there would be to
        // read the past. Should they fail, the term is over and the next look reads again.
        shard.await_queued();
        self.each_row(KeySpace::Transactions, number, |key, value| {
            let id = store::transaction::read_key(key)?;
            shard.ids.insert(Arc::from(id), store::transaction::read_value(value)?);
            Ok(())
        })?;
        self.0.known.fetch_add(shard.ids.len(), Ordering::Relaxed);
        self.each_row(KeySpace::TransactionEndings, number, |key, value| {
            let (id, serial) = store::ending::read_key(key)?;
            let id = shard.ids.get_key_value(id).map_or_else(|| Arc::from(id), |(id, _)| id.clone());
            shard.begin_ending(&id, serial, store::ending::read_value(value)?);
            Ok(())
        })?;
        shard.term = term;
        for (id, serial) in shard.unsettled.keys() {
            let work = Work { id: id.clone(), serial: *serial, receipt: None, answer: None };
            self.carry_out_later(work);
        }
        Ok(self.adopt_open(shard)?)
    }

    /// After a failed write, logs may hold batches of transactions whose row went with it. At start no log is open yet.
    fn adopt_open(&self, shard: &mut Shard) -> Result<(), TransactionError> {
        let ids: HashMap<Producer, Arc<str>> =
            shard.ids.iter().map(|(id, known)| (known.producer(), id.clone())).collect();
        let ending: HashSet<(i64, TopicPartition)> = shard
            .unsettled
            .values()
            .flat_map(|unsettled| unsettled.row.partitions.keys().map(|of| (unsettled.row.producer_id, *of)))
            .collect();
        let mut changed = BTreeSet::new();
        for partition in self.0.parts.partitions.all_open() {
            let of = TopicPartition { topic: partition.id().topic_id, partition: partition.id().index };
            for open in partition.open_transactions() {
                let producer = Producer { id: open.producer_id, epoch: open.producer_epoch };
                let owner = ids.get(&producer).filter(|_| !ending.contains(&(producer.id, of)));
                if let Some(id) = owner
                    && let Some(transaction) = shard.ids.get_mut(id)
                    && transaction.adopt(producer, of, now_ms()) == Adoption::Mine(Row::Changed)
                {
                    changed.insert(id.clone());
                }
            }
        }
        for id in changed {
            self.write(shard, &id)?;
        }
        Ok(())
    }

    fn each_row(
        &self,
        space: KeySpace,
        shard: u8,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), BadRow>,
    ) -> Result<(), LoadError> {
        let mut outcome = Ok(());
        self.0.parts.store.scan_prefix(space, &[shard], &mut |key, value| {
            outcome = visit(key, value);
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(outcome?)
    }
}
