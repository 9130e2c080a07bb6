//! What a transaction touches: partitions and groups, and the writes that are let in.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Coordinator, Decided, check_id, now_ms};
use crate::groups::coordinator::{Coordinator as Groups, Held};
use crate::storage::journal::Receipt;
use crate::transactions::error::TransactionError;
use crate::transactions::transaction::{Producer, Protocol, Row, TopicPartition, Transaction};

impl Coordinator {
    /// AddPartitionsToTxn.
    pub fn add_partitions(
        &self,
        id: &str,
        producer: Producer,
        partitions: BTreeSet<TopicPartition>,
    ) -> Decided<()> {
        let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
        self.enlist(id, |transaction| transaction.enlist(producer, &partitions, now_ms()))
    }

    /// AddOffsetsToTxn.
    pub fn add_offsets(&self, id: &str, producer: Producer, group: &str) -> Decided<()> {
        let group: Arc<str> = Arc::from(group);
        self.enlist(id, |transaction| transaction.enlist_group(producer, &group, now_ms()))
    }

    /// Which of these partitions are not part of the transaction (AddPartitionsToTxn with `verifyOnly`).
    ///
    /// # Errors
    /// Those of [`Transaction::check`].
    pub fn verify_partitions(
        &self,
        id: &str,
        producer: Producer,
        partitions: BTreeSet<TopicPartition>,
    ) -> Result<BTreeSet<TopicPartition>, TransactionError> {
        check_id(id)?;
        let mut shard = self.shard(id)?;
        let (_, transaction) = shard.get_mut(id)?.ok_or(TransactionError::InvalidProducerIdMapping)?;
        transaction.check(producer)?;
        Ok(partitions.into_iter().filter(|of| !transaction.partitions.contains(of)).collect())
    }

    /// Lets a batch into a partition that has no open transaction of its producer yet: `append` runs when the partition is
    /// part of the transaction, and before anything can end it. With the second protocol the partition is enlisted by this.
    /// What was appended may be acknowledged when the receipt, if there is one, is durable.
    ///
    /// # Errors
    /// [`TransactionError`]; `append` was not run.
    pub fn append<T>(
        &self,
        id: &str,
        producer: Producer,
        protocol: Protocol,
        partition: TopicPartition,
        append: impl FnOnce() -> T,
    ) -> Result<(T, Option<Receipt>), TransactionError> {
        if protocol == Protocol::First && !self.0.settings.verifies {
            return Ok((append(), None));
        }
        check_id(id)?;
        let mut shard = self.shard(id)?;
        let (id, transaction) = shard.get_mut(id)?.ok_or(TransactionError::InvalidProducerIdMapping)?;
        let row = match protocol {
            Protocol::First => {
                transaction.verify(producer, partition)?;
                Row::Unchanged
            }
            Protocol::Second => transaction.enlist(producer, &[partition], now_ms())?,
        };
        let receipt = match row {
            Row::Changed => Some(self.write(&mut shard, &id)?),
            Row::Unchanged => shard.receipt(),
        };
        // Under the shard's lock: the marker that ends the transaction can only come behind it.
        Ok((append(), receipt))
    }

    /// What of a transaction is on its way to the disk: a repeated batch is as durable as its first copy only behind it.
    ///
    /// # Errors
    /// [`TransactionError`] when the state cannot be had.
    pub fn queued(&self, id: &str) -> Result<Option<Receipt>, TransactionError> {
        check_id(id)?;
        Ok(self.shard(id)?.receipt())
    }

    /// Lets the offsets of a group into a transaction: `take` runs when the group is part of it, and before anything can end
    /// it. With the second protocol the group is enlisted by this. `take` is told the term of the journal that this holds in.
    ///
    /// # Errors
    /// [`TransactionError`]; `take` was not run.
    pub fn commit_offsets<T>(
        &self,
        id: &str,
        producer: Producer,
        protocol: Protocol,
        group: &str,
        take: impl FnOnce(&Groups, u64) -> Held<T>,
    ) -> Result<Held<T>, TransactionError> {
        check_id(id)?;
        let mut shard = self.shard(id)?;
        let (id, transaction) = shard.get_mut(id)?.ok_or(TransactionError::InvalidProducerIdMapping)?;
        let group: Arc<str> = Arc::from(group);
        let row = match protocol {
            Protocol::First => transaction.verify_offsets(producer, &group, now_ms())?,
            Protocol::Second => transaction.enlist_offsets(producer, &group, now_ms())?,
        };
        // The group's own change is queued behind this one: when it is durable, so is this.
        if row == Row::Changed {
            self.write(&mut shard, &id)?;
        }
        Ok(take(&self.0.parts.groups, shard.term))
    }

    fn enlist(
        &self,
        id: &str,
        step: impl FnOnce(&mut Transaction) -> Result<Row, TransactionError>,
    ) -> Decided<()> {
        let decide = || {
            check_id(id)?;
            let mut shard = self.shard(id)?;
            let (id, transaction) = shard.get_mut(id)?.ok_or(TransactionError::InvalidProducerIdMapping)?;
            match step(transaction) {
                Ok(Row::Changed) => {
                    let receipt = self.write(&mut shard, &id)?;
                    Ok(Decided::when(Ok(()), Some(receipt)))
                }
                Ok(Row::Unchanged) => Ok(Decided::when(Ok(()), shard.receipt())),
                Err(error) => Ok(Decided::when(Err(error), shard.receipt())),
            }
        };
        decide().unwrap_or_else(|error| Decided::Now(Err(error)))
    }
}
