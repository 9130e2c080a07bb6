//! The group: its epochs, its members, and what keeps both consistent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::super::effects::{Effects, Notice, Now, RowKey};
use super::super::limits::ConsumerLimits;
use super::member::{Member, Standing, StoredMember};
use super::owned::Owned;
use super::subscription::Subscriptions;
use super::topic_regex::Refreshed;

/// The group epoch of a group that has just been made (`ModernGroup` in Kafka 4.3).
const FIRST_EPOCH: i32 = 1;

/// Where a consumer group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It has no members.
    Empty,
    /// Something changed since the target assignment was computed.
    Assigning,
    /// Some members do not have their target assignment yet.
    Reconciling,
    /// Every member has its target assignment.
    Stable,
}

impl State {
    /// The name Kafka gives it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Assigning => "Assigning",
            State::Reconciling => "Reconciling",
            State::Stable => "Stable",
        }
    }
}

/// A consumer group (KIP-848).
///
/// Bounds: members by `group.consumer.max.size`, expressions and timers by the members, what members send by the size of a
/// request, what an expression takes when it is compiled by a limit of its own; what it matches is by the topics there are.
#[derive(Debug, Clone)]
pub struct ConsumerGroup {
    pub(super) id: Arc<str>,
    /// Goes up whenever the target assignment is to be computed anew.
    pub(super) group_epoch: i32,
    /// The group epoch that the target assignment is of.
    pub(super) assignment_epoch: i32,
    /// Of the subscribed topics, when they were last looked at: see [`Subscriptions::metadata_hash`].
    pub(super) metadata_hash: u64,
    /// By id, so that the same history gives the same assignments.
    pub(super) members: BTreeMap<Arc<str>, Member>,
    /// The member of each `group.instance.id`.
    pub(super) instances: HashMap<Arc<str>, Arc<str>>,
    pub(super) subscriptions: Subscriptions,
    /// How many members own a partition or are still to give it up: one, unless a classic group's leader gave it to
    /// several. Not stored: the members say it.
    pub(super) holders: HashMap<(Uuid, i32), usize>,
    /// How many members do not have their target assignment.
    pub(super) unreconciled: usize,
    /// How many members speak the classic protocol.
    pub(super) classic_members: usize,
    /// How many of these support each classic protocol.
    pub(super) classic_support: HashMap<String, usize>,
    /// The version of the topics that `metadata_hash` is of; none after a restart.
    pub(super) topics_version: Option<u64>,
    pub(super) regexes_refreshed: Option<Refreshed>,
    /// When to look at which member, in ticks. One entry each; early for a member that has heartbeated since, so that a
    /// heartbeat need not touch this set.
    pub(super) timers: BTreeSet<(u64, Arc<str>)>,
    /// When the present rebalance began, in ticks; none when there is none.
    pub(super) rebalance_began: Option<u64>,
}

/// What is stored of a group as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHead {
    /// The group epoch.
    pub group_epoch: i32,
    /// The epoch of the target assignment.
    pub assignment_epoch: i32,
    /// Of the subscribed topics.
    pub metadata_hash: u64,
    /// Each expression that members subscribe by, with the topics it matched.
    pub regexes: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl ConsumerGroup {
    /// A group without members, of which nothing is stored yet.
    pub fn new(id: Arc<str>) -> Self {
        Self::with_epoch(id, FIRST_EPOCH, 0)
    }

    pub(super) fn with_epoch(id: Arc<str>, group_epoch: i32, assignment_epoch: i32) -> Self {
        Self {
            id,
            group_epoch,
            assignment_epoch,
            metadata_hash: 0,
            members: BTreeMap::new(),
            instances: HashMap::new(),
            subscriptions: Subscriptions::default(),
            holders: HashMap::new(),
            unreconciled: 0,
            classic_members: 0,
            classic_support: HashMap::new(),
            topics_version: None,
            regexes_refreshed: None,
            timers: BTreeSet::new(),
            rebalance_began: None,
        }
    }

    /// The group of its stored rows, after a restart. The members keep their ids, epochs and assignments; their sessions
    /// start anew, and so does the time that a member may take to give partitions up. Changes of topics that happened in
    /// between are noticed at the first heartbeat.
    pub fn restored(
        id: Arc<str>,
        head: StoredHead,
        members: impl IntoIterator<Item = (Arc<str>, StoredMember)>,
        limits: &ConsumerLimits,
        now: Now,
    ) -> Self {
        let mut group = Self::with_epoch(id, head.group_epoch, head.assignment_epoch);
        group.metadata_hash = head.metadata_hash;
        for (id, stored) in members {
            group.insert(id, stored, limits, now);
        }
        for (regex, topics) in head.regexes {
            group.subscriptions.set_resolved(&regex, topics);
        }
        if group.state() > State::Empty && group.state() < State::Stable {
            group.rebalance_began = Some(now.ticks_ms);
        }
        group
    }

    /// What is to be stored of the group as a whole.
    pub fn stored_head(&self) -> StoredHead {
        let regexes = self.subscriptions.regexes();
        StoredHead {
            group_epoch: self.group_epoch,
            assignment_epoch: self.assignment_epoch,
            metadata_hash: self.metadata_hash,
            regexes: regexes.map(|(regex, shared)| (Arc::clone(regex), shared.topics.clone())).collect(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Goes up whenever the target assignment is to be computed anew.
    pub fn group_epoch(&self) -> i32 {
        self.group_epoch
    }

    /// The group epoch that the target assignment is of.
    pub fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    /// The members, by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// The member of this id.
    pub fn member(&self, member_id: &str) -> Option<&Member> {
        self.members.get(member_id)
    }

    /// The id of the member that uses this `group.instance.id`.
    pub fn static_member(&self, instance_id: &str) -> Option<&Arc<str>> {
        self.instances.get(instance_id)
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        if self.members.is_empty() {
            State::Empty
        } else if self.group_epoch > self.assignment_epoch {
            State::Assigning
        } else if self.unreconciled > 0 {
            State::Reconciling
        } else {
            State::Stable
        }
    }

    /// The name Kafka gives its state.
    pub fn state_name(&self) -> &'static str {
        self.state().name()
    }

    /// Whether a member subscribes to this topic, by name or by expression.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscriptions.contains(topic)
    }

    /// Puts a member in and starts its timers.
    pub(super) fn insert(&mut self, id: Arc<str>, stored: StoredMember, limits: &ConsumerLimits, now: Now) {
        if let Some(instance_id) = &stored.instance_id {
            self.instances.insert(Arc::clone(instance_id), Arc::clone(&id));
        }
        let member = Member::new(Arc::clone(&id), stored);
        self.subscriptions.add(&member);
        self.hold(&member.stored.standing.assigned);
        self.hold(&member.stored.standing.pending_revocation);
        self.count_classic(member.stored.classic.as_ref());
        self.unreconciled += usize::from(!member.stored.standing.is_reconciled_to(self.assignment_epoch));
        self.members.insert(Arc::clone(&id), member);
        self.start_session(&id, limits, now);
        self.time_revocation(&id, now);
    }

    /// Takes a member out, and with it all that is counted of it.
    pub(super) fn take(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        if let Some(at) = member.timer {
            self.timers.remove(&(at, Arc::clone(&member.id)));
        }
        if let Some(instance_id) = &member.stored.instance_id
            && self.instances.get(instance_id) == Some(&member.id)
        {
            self.instances.remove(instance_id);
        }
        self.subscriptions.remove(&member);
        self.release(&member.stored.standing.assigned);
        self.release(&member.stored.standing.pending_revocation);
        self.forget_classic(member.stored.classic.as_ref());
        self.unreconciled -= usize::from(!member.stored.standing.is_reconciled_to(self.assignment_epoch));
        Some(member)
    }

    /// Moves a member to where it stands from now on.
    pub(super) fn set_standing(&mut self, id: &str, standing: Standing, effects: &mut Effects) {
        let Some(member) = self.members.get_mut(id) else { return };
        let before = std::mem::replace(&mut member.stored.standing, standing.clone());
        effects.changed(RowKey::Member(Arc::clone(&member.id)));
        self.unreconciled -= usize::from(!before.is_reconciled_to(self.assignment_epoch));
        self.unreconciled += usize::from(!standing.is_reconciled_to(self.assignment_epoch));
        self.release(&before.assigned);
        self.release(&before.pending_revocation);
        self.hold(&standing.assigned);
        self.hold(&standing.pending_revocation);
    }

    fn hold(&mut self, owned: &Owned) {
        for (topic, partition, _) in owned.iter() {
            *self.holders.entry((topic, partition)).or_default() += 1;
        }
    }

    fn release(&mut self, owned: &Owned) {
        for (topic, partition, _) in owned.iter() {
            if let Some(count) = self.holders.get_mut(&(topic, partition)) {
                *count -= 1;
                if *count == 0 {
                    self.holders.remove(&(topic, partition));
                }
            }
        }
    }

    /// Whether a member other than this one owns a partition, or has not said that it gave it up.
    pub(super) fn is_held_by_another(&self, standing: &Standing, topic: Uuid, partition: i32) -> bool {
        let mine = usize::from(standing.assigned.contains(topic, partition))
            + usize::from(standing.pending_revocation.contains(topic, partition));
        self.holders.get(&(topic, partition)).copied().unwrap_or(0) > mine
    }

    /// Begins a rebalance.
    pub(super) fn bump_epoch(&mut self, reason: String, now: Now, effects: &mut Effects) {
        self.group_epoch = self.group_epoch.saturating_add(1);
        self.rebalance_began.get_or_insert(now.ticks_ms);
        effects.changed(RowKey::Head);
        effects.notice(Notice::RebalanceBegan(reason));
    }

    /// Tells of the end of a rebalance when it is there.
    pub(super) fn note_progress(&mut self, now: Now, effects: &mut Effects) {
        match (self.state(), self.rebalance_began) {
            (State::Stable, Some(began)) => {
                let millis = now.ticks_ms.saturating_sub(began);
                effects.notice(Notice::RebalanceEnded { millis, generation: self.group_epoch });
                self.rebalance_began = None;
            }
            (State::Empty, _) => self.rebalance_began = None,
            _ => {}
        }
    }
}
