//! One shard of the coordinator: the groups whose ids fall into it, and everything that waits on them. Always behind its
//! lock; never held across an await.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::held::Delivered;
use crate::groups::effects::{Answer, Effects, Ticket};
use crate::groups::group::Group;
use crate::groups::group_offsets::{ChangedOffsets, GroupOffsets};
use crate::groups::request::{JoinAnswer, SyncAnswer};
use crate::groups::store::{self, committed_offset, pending_offset};
use crate::storage::journal::{Journal, Receipt, Refused};
use crate::storage::{KeySpace, WriteBatch};

/// A group and its offsets. There is always one or the other.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) group: Option<Group>,
    pub(super) offsets: GroupOffsets,
    /// When the shard looks at the group, in ticks. May be too early, as a heartbeat does not move it, never too late.
    alarm: Option<u64>,
}

/// A request that waits for its answer.
pub(super) enum Waiter {
    Join(oneshot::Sender<Delivered<JoinAnswer>>),
    Sync(oneshot::Sender<Delivered<SyncAnswer>>),
}

#[derive(Default)]
pub(super) struct Shard {
    /// The journal's term in which it was loaded; 0 when it was not.
    pub(super) term: u64,
    /// It was, in some term.
    pub(super) was_loaded: bool,
    pub(super) groups: HashMap<Arc<str>, Entry>,
    pub(super) waiting: HashMap<Ticket, Waiter>,
    alarms: BTreeSet<(u64, Arc<str>)>,
    /// What was queued last. Answers wait for it even if they change nothing: they speak of state that it made.
    last: Option<Receipt>,
}

impl Shard {
    /// Forgets the groups; who waits is told to look for the coordinator again. What was queued is still on its way to the
    /// disk.
    pub(super) fn give_up(&mut self) {
        *self = Shard { last: self.last.take(), was_loaded: self.was_loaded, ..Shard::default() };
    }

    /// Returns when everything that was queued is on the disk, or has failed. Blocks.
    pub(super) fn await_queued(&mut self) {
        if let Some(receipt) = self.last.take() {
            // Should it fail, the term is over and the next look at the shard reads again.
            receipt.wait().ok();
        }
    }

    /// What has to be durable before anything may be said about the shard's groups.
    pub(super) fn receipt(&mut self) -> Option<Receipt> {
        if self.last.as_ref().is_some_and(|receipt| receipt.outcome() == Some(Ok(()))) {
            self.last = None;
        }
        self.last.clone()
    }

    /// Notes what was queued last of what it decided.
    pub(super) fn queued(&mut self, receipt: Receipt) {
        self.last = Some(receipt);
    }

    /// Queues what a decision changed, hands out its answers, and sets the group's alarm.
    ///
    /// # Errors
    /// When the changes were not taken: the shard is empty then, and is loaded again before it decides again.
    pub(super) fn settle(
        &mut self,
        id: &Arc<str>,
        effects: &mut Effects,
        changed: &ChangedOffsets,
        journal: &Journal,
    ) -> Result<Option<Receipt>, Refused> {
        let mut batch = WriteBatch::new();
        self.group_rows(id, effects, &mut batch);
        self.offset_rows(id, changed, &mut batch);
        if !batch.is_empty() {
            match journal.append(self.term, batch) {
                Ok(receipt) => self.queued(receipt),
                Err(refused) => {
                    self.give_up();
                    return Err(refused);
                }
            }
        }
        let receipt = self.receipt();
        for (ticket, answer) in effects.answers.drain(..) {
            // A waiter that is gone belonged to a connection that is gone.
            match (self.waiting.remove(&ticket), answer) {
                (Some(Waiter::Join(waiter)), Answer::Join(answer)) => {
                    drop(waiter.send((answer, receipt.clone())));
                }
                (Some(Waiter::Sync(waiter)), Answer::Sync(answer)) => {
                    drop(waiter.send((answer, receipt.clone())));
                }
                _ => {}
            }
        }
        self.set_alarm(id);
        Ok(receipt)
    }

    fn group_rows(&self, id: &Arc<str>, effects: &Effects, batch: &mut WriteBatch) {
        let group = self.groups.get(id).and_then(|entry| entry.group.as_ref());
        for row in &effects.rows {
            let key = store::key(id, row);
            match group.and_then(|group| group.row(row)) {
                Some(value) => batch.put(KeySpace::Groups, key, value),
                None => batch.delete(KeySpace::Groups, key),
            }
        }
    }

    /// Writes the rows of offsets that changed, as they now are.
    pub(super) fn offset_rows(&self, id: &Arc<str>, changed: &ChangedOffsets, batch: &mut WriteBatch) {
        let offsets = self.groups.get(id).map(|entry| &entry.offsets);
        for of in &changed.committed {
            let key = committed_offset::key(id, *of);
            let committed = offsets.map(GroupOffsets::committed);
            match committed.and_then(|committed| Some((committed.get(*of)?, committed.order(*of)?))) {
                Some((commit, order)) => {
                    batch.put(KeySpace::Offsets, key, committed_offset::value(commit, order));
                }
                None => batch.delete(KeySpace::Offsets, key),
            }
        }
        for (producer_id, of) in &changed.pending {
            let key = pending_offset::key(id, *producer_id, *of);
            match offsets.and_then(|offsets| offsets.pending().get(*producer_id, *of)) {
                Some(pending) => batch.put(KeySpace::PendingOffsets, key, pending_offset::value(pending)),
                None => batch.delete(KeySpace::PendingOffsets, key),
            }
        }
    }

    /// Moves the group's alarm to its deadline, or forgets the group when nothing is left of it.
    pub(super) fn set_alarm(&mut self, id: &Arc<str>) {
        let Some(entry) = self.groups.get_mut(id) else {
            return;
        };
        let deadline = entry.group.as_ref().and_then(Group::deadline);
        // An alarm that is too early costs one look; moving it would cost every heartbeat.
        let is_early_enough = match (entry.alarm, deadline) {
            (Some(alarm), Some(deadline)) => alarm <= deadline,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_early_enough {
            if let Some(alarm) = entry.alarm.take() {
                self.alarms.remove(&(alarm, id.clone()));
            }
            if let Some(deadline) = deadline {
                self.alarms.insert((deadline, id.clone()));
                entry.alarm = Some(deadline);
            }
        }
        let is_vacant = match &entry.group {
            None => true,
            // Made for a JoinGroup that came to nothing.
            Some(Group::Classic(group)) => group.is_vacant(),
            Some(Group::Consumer(_)) => false,
        };
        if is_vacant && entry.offsets.is_empty() {
            self.groups.remove(id);
        }
    }

    /// Takes the next group whose alarm went off by `ticks_ms`.
    pub(super) fn take_due(&mut self, ticks_ms: u64) -> Option<Arc<str>> {
        let (at, _) = self.alarms.first()?;
        if *at > ticks_ms {
            return None;
        }
        let (_, id) = self.alarms.pop_first()?;
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.alarm = None;
        }
        Some(id)
    }

    /// When the next alarm goes off, in ticks.
    pub(super) fn next_alarm(&self) -> Option<u64> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Takes in a loaded group.
    pub(super) fn insert(&mut self, id: &Arc<str>, group: Option<Group>, offsets: GroupOffsets) {
        self.groups.insert(id.clone(), Entry { group, offsets, alarm: None });
        self.set_alarm(id);
    }
}
