//! Offsets in transactions: TxnOffsetCommit, and the end of a transaction in its groups.
//!
//! The transaction coordinator calls from here on while it holds the lock of the transaction's shard: locks are taken in the
//! order transaction shard, group shards (ascending), journal queue, and nothing here calls back.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::MutexGuard;
use tracing::warn;

use super::Coordinator;
use super::held::Held;
use super::offsets::{Commit, Committed, is_longer};
use super::shard::{Entry, Shard};
use crate::groups::error::GroupError;
use crate::groups::group::{Context, Group};
use crate::groups::group_offsets::ChangedOffsets;
use crate::groups::offsets::CommittedOffset;
use crate::groups::pending::PendingOffsets;
use crate::groups::request::Committer;
use crate::groups::store::{self, pending_offset};
use crate::record::control::TransactionOutcome;
use crate::storage::WriteBatch;
use crate::storage::journal::Receipt;
use crate::storage::state_store::MAX_BATCH_BYTES;

/// Bytes of the batch that ends a transaction which its offsets may take. The rest is for the transaction's own rows.
const ENDING_BYTES_MAX: usize = MAX_BATCH_BYTES / 2;

impl Coordinator {
    /// TxnOffsetCommit: keeps offsets until the transaction of this producer (id and epoch) ends; one result per partition.
    /// Which transaction it is and whether it takes the group is for the caller to know, whose lock stays held meanwhile.
    /// `term` is the journal's in which the caller's state was loaded: offsets of a transaction that was not enlisted for want
    /// of a disk are refused.
    ///
    /// As in Kafka (`OffsetMetadataManager.validateTransactionalOffsetCommit`) the same in every version.
    ///
    /// # Errors
    /// Of all partitions: [`GroupError::InvalidGroupId`]; [`GroupError::IllegalGeneration`] when a member commits and there is no
    /// such group, or its generation or epoch is not the present one; [`GroupError::UnknownMemberId`];
    /// [`GroupError::FencedInstanceId`]; [`GroupError::CoordinatorNotAvailable`] and [`GroupError::NotCoordinator`]. Of one:
    /// [`GroupError::OffsetMetadataTooLarge`], also when the transaction has too many offsets to be ended by one write.
    pub fn commit_pending(
        &self,
        term: u64,
        group: &str,
        producer: (i64, i16),
        committer: &Committer,
        commits: Vec<Commit>,
    ) -> Held<Vec<Committed>> {
        if group.is_empty() {
            return Held::Now(Err(GroupError::InvalidGroupId));
        }
        let decided = self.decide(group, |shard, id, cx, _| {
            let mut changed = ChangedOffsets::default();
            if shard.term != term {
                return (Err(GroupError::NotCoordinator), changed);
            }
            let entry = shard.groups.entry(id.clone()).or_default();
            if let Err(error) = may_commit(entry, id, committer, &commits, cx) {
                return (Err(error), changed);
            }
            let room = ENDING_BYTES_MAX.saturating_sub(self.0.sizes.of_others(producer.0, id));
            let metadata_max = self.0.settings.metadata_bytes_max;
            let results = commits.into_iter().map(|commit| {
                let is_too_much = || bytes_with(entry.offsets.pending(), id, producer.0, &commit) > room;
                if is_longer(&commit.metadata, metadata_max) || is_too_much() {
                    return Err(GroupError::OffsetMetadataTooLarge);
                }
                let committed = CommittedOffset {
                    offset: commit.offset,
                    leader_epoch: commit.leader_epoch,
                    metadata: commit.metadata,
                    committed_at_ms: cx.now.wall_ms,
                    expires_at_ms: None,
                };
                entry.offsets.commit_pending(producer, commit.of, committed, &mut changed);
                Ok(())
            });
            let results: Vec<Committed> = results.collect();
            (Ok(results), changed)
        });
        if let Ok((Ok(results), _)) = &decided {
            self.0.metrics.observe_commits(results);
        }
        Held::decided(decided)
    }

    /// The end of a transaction in its groups, as one change with `rows`, which are the transaction's own: what the producer
    /// has pending there becomes committed, or is forgotten. Groups that have nothing pending of it, or are gone, are passed
    /// over. `term` is the journal's in which the caller's state was loaded.
    ///
    /// # Errors
    /// [`GroupError::CoordinatorNotAvailable`] when a group cannot be read, [`GroupError::NotCoordinator`] when the change was
    /// not taken: nothing has changed, and the caller gives up its state as the groups have.
    pub fn end_transaction(
        &self,
        term: u64,
        groups: &[Arc<str>],
        producer_id: i64,
        outcome: TransactionOutcome,
        rows: WriteBatch,
    ) -> Result<Receipt, GroupError> {
        let groups: BTreeSet<(u8, &Arc<str>)> =
            groups.iter().map(|group| (store::shard_of(group), group)).collect();
        let mut shards: Vec<(MutexGuard<'_, Shard>, Vec<Arc<str>>)> = Vec::new();
        let mut last = None;
        for (number, group) in groups {
            if last.replace(number) != Some(number) {
                shards.push((self.loaded(number)?, Vec::new()));
            }
            if let Some((_, groups)) = shards.last_mut() {
                groups.push(group.clone());
            }
        }
        self.end_together(term, shards, producer_id, outcome, rows)
    }

    /// A marker written to a partition of `__consumer_offsets` (WriteTxnMarkers): ends, in every group of that shard, what a
    /// producer has pending. The transaction itself is not looked at: this is how an operator is rid of what a transaction left
    /// behind that nobody knows any more.
    ///
    /// # Errors
    /// [`GroupError::InvalidProducerEpoch`] when something was sent in a later epoch than the marker's;
    /// [`GroupError::CoordinatorNotAvailable`] and [`GroupError::NotCoordinator`], the latter also for a partition that
    /// is none.
    pub fn end_in_partition(
        &self,
        partition: u8,
        (producer_id, producer_epoch): (i64, i16),
        outcome: TransactionOutcome,
    ) -> Held<()> {
        if partition >= store::SHARDS {
            return Held::Now(Err(GroupError::NotCoordinator));
        }
        let mut shard = match self.loaded(partition) {
            Ok(shard) => shard,
            Err(error) => return Held::Now(Err(error)),
        };
        let mut groups = Vec::new();
        for (id, entry) in &shard.groups {
            match entry.offsets.pending().epoch(producer_id) {
                Some(epoch) if epoch > producer_epoch => {
                    return Held::Now(Err(GroupError::InvalidProducerEpoch));
                }
                Some(_) => groups.push(id.clone()),
                None => {}
            }
        }
        let term = shard.term;
        if groups.is_empty() {
            let receipt = shard.receipt();
            return Held::decided(Ok((Ok(()), receipt)));
        }
        let ended = self.end_together(term, vec![(shard, groups)], producer_id, outcome, WriteBatch::new());
        Held::decided(ended.map(|receipt| (Ok(()), Some(receipt))))
    }

    /// Ends a transaction in groups of shards whose locks are held.
    fn end_together(
        &self,
        term: u64,
        mut shards: Vec<(MutexGuard<'_, Shard>, Vec<Arc<str>>)>,
        producer_id: i64,
        outcome: TransactionOutcome,
        mut rows: WriteBatch,
    ) -> Result<Receipt, GroupError> {
        if shards.iter().any(|(shard, _)| shard.term != term) {
            return Err(GroupError::NotCoordinator);
        }
        let image = (self.0.image)();
        for (shard, groups) in &mut shards {
            for id in groups.iter() {
                let Some(entry) = shard.groups.get_mut(id) else { continue };
                let mut changed = ChangedOffsets::default();
                let exists = |topic| image.topic_by_id(topic).is_some();
                entry.offsets.end_transaction(producer_id, outcome, exists, &mut changed);
                self.measure(id, &entry.offsets, [producer_id].into_iter());
                shard.offset_rows(id, &changed, &mut rows);
            }
        }
        match self.0.journal.append(term, rows) {
            Ok(receipt) => {
                for (shard, groups) in &mut shards {
                    shard.queued(receipt.clone());
                    groups.iter().for_each(|id| shard.set_alarm(id));
                }
                Ok(receipt)
            }
            Err(refused) => {
                warn!(producer_id, %refused, "the end of a transaction was not taken");
                shards.iter_mut().for_each(|(shard, _)| shard.give_up());
                Err(GroupError::NotCoordinator)
            }
        }
    }
}

/// Whether a TxnOffsetCommit is accepted; a group is made for one from outside any
/// (Kafka: `OffsetMetadataManager.validateTransactionalOffsetCommit`).
fn may_commit(
    entry: &mut Entry,
    id: &Arc<str>,
    committer: &Committer,
    commits: &[Commit],
    cx: &Context<'_>,
) -> Result<(), GroupError> {
    match &entry.group {
        Some(group) => group.check_transactional_commit(committer, commits.iter().map(|commit| commit.of)),
        None if committer.generation_or_epoch < 0 => {
            entry.group = Some(Group::simple(id, cx.now));
            Ok(())
        }
        None => Err(GroupError::IllegalGeneration),
    }
}

/// Bytes of the batch that ends a transaction, for what it has pending in this group and one commit more.
fn bytes_with(pending: &PendingOffsets, group: &str, producer_id: i64, commit: &Commit) -> usize {
    let (count, metadata) = pending.size(producer_id);
    let replaced = pending.get(producer_id, commit.of).map(|pending| pending.committed.metadata.len());
    let count = count + usize::from(replaced.is_none());
    let metadata = metadata + commit.metadata.len() - replaced.unwrap_or(0);
    pending_offset::ending_bytes(group, count, metadata)
}
