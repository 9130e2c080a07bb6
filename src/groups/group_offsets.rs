//! Everything that a group has committed, for good or in transactions that are open, and what a change of it touches. Pure.
//!
//! Each commit of a group has a number, its *order*, that is higher than those of all commits the group then has; it is
//! stored with the commit. When a transaction is committed, a pending offset takes effect unless the partition has a commit
//! of a higher order: one that was made, or sent in another transaction, after it. So the commit that was sent last wins,
//! as in Kafka, which compares places in its log of commits (`OffsetMetadataManager.replayEndTransactionMarker`); and
//! it is the same one after a restart, whatever the clock did.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::offsets::{CommittedOffset, OffsetKey, Offsets};
use super::pending::{PendingOffset, PendingOffsets};
use crate::record::control::TransactionOutcome;

/// The offsets of a group.
#[derive(Debug, Clone, Default)]
pub struct GroupOffsets {
    committed: Offsets,
    pending: PendingOffsets,
    /// At least the order of every commit there is.
    last_order: u64,
}

/// Rows that changed: each is written as the offsets then are, or removed when they have it no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedOffsets {
    /// Committed offsets.
    pub committed: BTreeSet<OffsetKey>,
    /// Pending offsets, by producer id and partition.
    pub pending: BTreeSet<(i64, OffsetKey)>,
}

impl GroupOffsets {
    /// The committed ones.
    pub fn committed(&self) -> &Offsets {
        &self.committed
    }

    /// Those of open transactions.
    pub fn pending(&self) -> &PendingOffsets {
        &self.pending
    }

    /// Whether there are none of either kind.
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    /// Takes in a stored commit; `unverified` when its log may have lost records since.
    pub fn restore(&mut self, of: OffsetKey, committed: CommittedOffset, order: u64, unverified: bool) {
        self.last_order = self.last_order.max(order);
        self.committed.keep(of, committed, order, unverified);
    }

    /// Takes in a stored pending offset.
    pub fn restore_pending(&mut self, producer_id: i64, of: OffsetKey, pending: PendingOffset) {
        self.last_order = self.last_order.max(pending.order);
        self.pending.keep(producer_id, of, pending);
    }

    /// A damaged row may hold the highest number: then later commits are as late as that one.
    fn next_order(&mut self) -> u64 {
        self.last_order = self.last_order.saturating_add(1);
        self.last_order
    }

    /// OffsetCommit of one partition.
    pub fn commit(&mut self, of: OffsetKey, committed: CommittedOffset, changed: &mut ChangedOffsets) {
        let order = self.next_order();
        self.committed.keep(of, committed, order, false);
        changed.committed.insert(of);
    }

    /// TxnOffsetCommit of one partition, by a producer id and epoch.
    pub fn commit_pending(
        &mut self,
        (producer_id, producer_epoch): (i64, i16),
        of: OffsetKey,
        committed: CommittedOffset,
        changed: &mut ChangedOffsets,
    ) {
        let order = self.next_order();
        let pending = PendingOffset { committed, producer_epoch, order, unverified: false };
        self.pending.keep(producer_id, of, pending);
        changed.pending.insert((producer_id, of));
    }

    /// The transaction of a producer ends. What it has pending is forgotten; if it is committed, each offset takes effect of
    /// which no later one was committed meanwhile, and whose topic still `exists`.
    pub fn end_transaction(
        &mut self,
        producer_id: i64,
        outcome: TransactionOutcome,
        mut exists: impl FnMut(Uuid) -> bool,
        changed: &mut ChangedOffsets,
    ) {
        for (of, pending) in self.pending.take(producer_id) {
            changed.pending.insert((producer_id, of));
            let is_later = self.committed.order(of).is_none_or(|order| pending.order > order);
            if outcome == TransactionOutcome::Commit && is_later && exists(of.topic) {
                self.committed.keep(of, pending.committed, pending.order, pending.unverified);
                changed.committed.insert(of);
            }
        }
    }

    /// Forgets what is committed for a partition, and what is pending for it, as Kafka's tombstone does. Whether there was
    /// anything.
    pub fn remove(&mut self, of: OffsetKey, changed: &mut ChangedOffsets) -> bool {
        let was_committed = self.committed.remove(of);
        if was_committed {
            changed.committed.insert(of);
        }
        let producers = self.pending.remove(of);
        let was_pending = !producers.is_empty();
        changed.pending.extend(producers.into_iter().map(|producer_id| (producer_id, of)));
        was_committed || was_pending
    }

    /// The partitions for which something is committed or pending; those of both kinds come twice.
    pub fn partitions(&self) -> impl Iterator<Item = OffsetKey> {
        self.committed.iter().map(|(of, _)| of).chain(self.pending.partitions())
    }

    /// As [`Offsets::verify`].
    pub fn verify(&mut self, of: OffsetKey, log_end: i64, changed: &mut ChangedOffsets) -> bool {
        let was_moved = self.committed.verify(of, log_end);
        if was_moved {
            changed.committed.insert(of);
        }
        was_moved
    }
}

#[cfg(test)]
#[path = "group_offsets_tests.rs"]
mod tests;
