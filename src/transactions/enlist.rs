//! What a transaction touches: enlisted by AddPartitionsToTxn and AddOffsetsToTxn, or by the first write itself in the second
//! protocol; or verified to be enlisted, before the first write in the first one (KIP-98, KIP-890; Kafka
//! `handleAddPartitionsToTransaction`, `handleVerifyPartitionsInTransaction`).

use std::sync::Arc;

use super::error::TransactionError;
use super::transaction::{Producer, Row, State, TopicPartition, Transaction};
use crate::groups::store::shard_of;

/// The most bytes of group ids in one transaction. The row has all of them and is written anew with each, so that a client
/// could otherwise make every write as large as it likes. Kafka notes partitions of `__consumer_offsets` only, of which
/// there are few. Clients commit the offsets of one group.
pub const GROUP_BYTES_MAX: usize = 256 * 1024;

impl Transaction {
    /// Enlists partitions: AddPartitionsToTxn, or Produce from version 12 on. Without any, the transaction begins all the
    /// same, as in Kafka.
    ///
    /// # Errors
    /// `InvalidProducerIdMapping`, `ProducerFenced`, `ConcurrentTransactions`: see [`Transaction::check`].
    pub fn enlist(
        &mut self,
        producer: Producer,
        partitions: &[TopicPartition],
        now_ms: i64,
    ) -> Result<Row, TransactionError> {
        self.check(producer)?;
        let is_known = |partition| self.partitions.contains(partition);
        if self.state == State::Ongoing && partitions.iter().all(is_known) {
            return Ok(Row::Unchanged);
        }
        self.go_on(now_ms);
        self.partitions.extend(partitions);
        Ok(Row::Changed)
    }

    /// Enlists a group whose offsets will follow: AddOffsetsToTxn. A group is enlisted when another one of its coordinator
    /// shard is, as Kafka enlists the partition of `__consumer_offsets`.
    ///
    /// # Errors
    /// Those of [`Transaction::check`]; `InvalidRequest` when the transaction has too many groups ([`GROUP_BYTES_MAX`]).
    pub fn enlist_group(
        &mut self,
        producer: Producer,
        group: &Arc<str>,
        now_ms: i64,
    ) -> Result<Row, TransactionError> {
        self.check(producer)?;
        if self.state == State::Ongoing && self.has_shard_of(group) {
            return Ok(Row::Unchanged);
        }
        self.note_group(group, now_ms)
    }

    /// Enlists a group whose offsets are being committed: TxnOffsetCommit from version 5 on.
    ///
    /// # Errors
    /// Those of [`Transaction::check`]; `InvalidRequest` when the transaction has too many groups ([`GROUP_BYTES_MAX`]).
    pub fn enlist_offsets(
        &mut self,
        producer: Producer,
        group: &Arc<str>,
        now_ms: i64,
    ) -> Result<Row, TransactionError> {
        self.check(producer)?;
        self.note_group(group, now_ms)
    }

    /// Checks that a partition is enlisted: Produce up to version 11.
    ///
    /// # Errors
    /// Those of [`Transaction::check`]; `TransactionAbortable` when it is not. What older versions are told instead is up to
    /// their handlers.
    pub fn verify(&self, producer: Producer, partition: TopicPartition) -> Result<(), TransactionError> {
        self.check(producer)?;
        // In other states there are no partitions.
        if self.partitions.contains(&partition) {
            Ok(())
        } else {
            Err(TransactionError::TransactionAbortable)
        }
    }

    /// Checks that a group is enlisted, and notes that the transaction has offsets of it: TxnOffsetCommit up to version 4.
    ///
    /// # Errors
    /// Those of [`Transaction::check`]; `TransactionAbortable` when it is not enlisted; `InvalidRequest` when the transaction
    /// has too many groups ([`GROUP_BYTES_MAX`]).
    pub fn verify_offsets(
        &mut self,
        producer: Producer,
        group: &Arc<str>,
        now_ms: i64,
    ) -> Result<Row, TransactionError> {
        self.check(producer)?;
        if !self.has_shard_of(group) {
            return Err(TransactionError::TransactionAbortable);
        }
        self.note_group(group, now_ms)
    }

    /// Whether the producer may go on with the present transaction, or begin one.
    ///
    /// # Errors
    /// `InvalidProducerIdMapping` for another producer id, `ProducerFenced` for another epoch (a later one too: it was never
    /// given out), `ConcurrentTransactions` while the transaction before is being completed.
    pub fn check(&self, producer: Producer) -> Result<(), TransactionError> {
        if producer.id != self.producer_id {
            return Err(TransactionError::InvalidProducerIdMapping);
        }
        if producer.epoch != self.producer_epoch {
            return Err(TransactionError::ProducerFenced);
        }
        if self.state.is_prepared() {
            return Err(TransactionError::ConcurrentTransactions);
        }
        Ok(())
    }

    fn has_shard_of(&self, group: &str) -> bool {
        let shard = shard_of(group);
        self.groups.iter().any(|enlisted| shard_of(enlisted) == shard)
    }

    fn note_group(&mut self, group: &Arc<str>, now_ms: i64) -> Result<Row, TransactionError> {
        if self.state == State::Ongoing && self.groups.contains(group) {
            return Ok(Row::Unchanged);
        }
        let noted: usize = self.groups.iter().map(|group| group.len()).sum();
        if noted + group.len() > GROUP_BYTES_MAX {
            return Err(TransactionError::InvalidRequest);
        }
        self.go_on(now_ms);
        self.groups.insert(Arc::clone(group));
        Ok(Row::Changed)
    }

    /// The transaction is under way, and begins now unless it was before.
    pub(super) fn go_on(&mut self, now_ms: i64) {
        self.touch(now_ms);
        if self.state != State::Ongoing {
            self.state = State::Ongoing;
            self.started_at_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TransactionOutcome::Commit;
    use crate::transactions::end::EndRequest;
    use crate::transactions::testing::{START_MS, begun, group, ongoing, partition, producer};
    use crate::transactions::transaction::Protocol;

    #[test]
    fn the_first_partition_begins_the_transaction_and_the_same_again_changes_nothing() {
        let mut of = begun(3);
        assert_eq!(of.enlist(producer(3), &[partition(0)], START_MS + 1), Ok(Row::Changed));
        assert_eq!((of.state, of.started_at_ms), (State::Ongoing, START_MS + 1));
        let before = of.clone();
        assert_eq!(of.enlist(producer(3), &[partition(0)], START_MS + 2), Ok(Row::Unchanged));
        assert_eq!(of.enlist(producer(3), &[], START_MS + 2), Ok(Row::Unchanged));
        assert_eq!(of, before);
        assert_eq!(of.enlist(producer(3), &[partition(0), partition(1)], START_MS + 3), Ok(Row::Changed));
        assert_eq!(
            (of.partitions.len(), of.started_at_ms, of.updated_at_ms),
            (2, START_MS + 1, START_MS + 3)
        );
    }

    #[test]
    fn the_next_transaction_begins_with_nothing() {
        let mut of = ongoing(3);
        let request = EndRequest { producer: producer(3), outcome: Commit, protocol: Protocol::First };
        assert!(of.end(request, None, START_MS).is_ok());
        of.complete(START_MS);
        assert_eq!(of.verify(producer(3), partition(0)), Err(TransactionError::TransactionAbortable));
        assert_eq!(of.enlist(producer(3), &[], START_MS + 7), Ok(Row::Changed), "it begins");
        assert_eq!((of.state, of.started_at_ms, of.partitions.len()), (State::Ongoing, START_MS + 7, 0));
    }

    #[test]
    fn only_the_present_producer_is_taken() {
        let of = ongoing(3);
        let errors = [
            (Producer { id: 99, epoch: 3 }, TransactionError::InvalidProducerIdMapping),
            (Producer { id: 99, epoch: 9 }, TransactionError::InvalidProducerIdMapping),
            (producer(2), TransactionError::ProducerFenced),
            (producer(4), TransactionError::ProducerFenced),
            (producer(-1), TransactionError::ProducerFenced),
        ];
        for (stranger, error) in errors {
            let mut asked = of.clone();
            assert_eq!(asked.enlist(stranger, &[partition(0)], START_MS), Err(error.clone()));
            assert_eq!(asked.enlist_group(stranger, &group("g"), START_MS), Err(error.clone()));
            assert_eq!(asked.enlist_offsets(stranger, &group("g"), START_MS), Err(error.clone()));
            assert_eq!(asked.verify_offsets(stranger, &group("g"), START_MS), Err(error.clone()));
            assert_eq!(asked.verify(stranger, partition(0)), Err(error));
            assert_eq!(asked, of);
        }
    }

    #[test]
    fn a_partition_must_be_enlisted_itself() {
        let of = ongoing(3);
        assert_eq!(of.verify(producer(3), partition(0)), Ok(()));
        assert_eq!(of.verify(producer(3), partition(1)), Err(TransactionError::TransactionAbortable));
        let other_topic = TopicPartition { topic: uuid::Uuid::from_u128(2), partition: 0 };
        assert_eq!(of.verify(producer(3), other_topic), Err(TransactionError::TransactionAbortable));
        assert_eq!(begun(3).verify(producer(3), partition(0)), Err(TransactionError::TransactionAbortable));
    }

    #[test]
    fn a_group_is_enlisted_with_its_shard_and_noted_when_it_has_offsets() {
        // "Aa" and "BB" have one hash.
        let (one, two, far) = (group("g.Aa"), group("g.BB"), group("elsewhere"));
        assert_eq!(shard_of(&one), shard_of(&two));
        assert_ne!(shard_of(&one), shard_of(&far));
        let mut of = begun(3);
        assert_eq!(
            of.verify_offsets(producer(3), &one, START_MS),
            Err(TransactionError::TransactionAbortable)
        );
        assert_eq!(of.enlist_group(producer(3), &one, START_MS), Ok(Row::Changed));
        assert_eq!(of.state, State::Ongoing);
        assert_eq!(of.enlist_group(producer(3), &two, START_MS), Ok(Row::Unchanged));
        assert_eq!(of.groups.len(), 1);
        assert_eq!(of.verify_offsets(producer(3), &two, START_MS), Ok(Row::Changed));
        assert_eq!(of.verify_offsets(producer(3), &two, START_MS), Ok(Row::Unchanged));
        assert_eq!(of.groups.len(), 2);
        assert_eq!(
            of.verify_offsets(producer(3), &far, START_MS),
            Err(TransactionError::TransactionAbortable)
        );
        assert_eq!(of.enlist_offsets(producer(3), &far, START_MS), Ok(Row::Changed));
        assert_eq!(of.enlist_offsets(producer(3), &far, START_MS), Ok(Row::Unchanged));
    }

    #[test]
    fn the_groups_of_a_transaction_are_bounded() {
        let mut of = begun(3);
        let long = "x".repeat(30_000);
        let mut taken = 0;
        while of.enlist_offsets(producer(3), &group(&format!("{long}{taken}")), START_MS).is_ok() {
            taken += 1;
            assert!(taken < 100);
        }
        assert_eq!(taken, 8);
        let before = of.clone();
        let more = of.enlist_offsets(producer(3), &group(&long), START_MS);
        assert_eq!((more, &of), (Err(TransactionError::InvalidRequest), &before));
        assert_eq!(of.enlist_offsets(producer(3), &group(&format!("{long}0")), START_MS), Ok(Row::Unchanged));
    }
}
