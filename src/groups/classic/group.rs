//! The group: its state, its members, and what keeps both consistent.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::super::effects::{Effects, Now, RowKey};
use super::super::error::GroupError;
use super::super::limits::ClassicLimits;
use super::member::{Member, StoredMember};
use crate::groups::store::classic_group::StoredGroup;

/// The protocol type whose metadata and assignments the broker understands.
pub(super) const CONSUMER: &str = "consumer";

/// Where a classic group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It has no members. It may have offsets.
    Empty,
    /// The members are to join; those that have are waiting for the rest.
    PreparingRebalance,
    /// The generation began; the leader is to assign.
    CompletingRebalance,
    /// The members have their assignments.
    Stable,
    /// The coordinator gave the group up.
    Dead,
}

impl State {
    /// The name Kafka gives it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

/// When a group stops waiting for its members to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JoinWait {
    /// A group that was empty gives members time to come (`group.initial.rebalance.delay.ms`).
    Initial {
        /// The end of this delay, in ticks.
        ends: u64,
        /// How long this delay is.
        delay_ms: u64,
        /// How much longer the group may go on waiting after it.
        remaining_ms: u64,
    },
    /// The longest rebalance timeout of the members ends then, in ticks.
    Rebalance {
        /// In ticks.
        ends: u64,
    },
}

impl JoinWait {
    pub(super) fn ends(self) -> u64 {
        match self {
            JoinWait::Initial { ends, .. } | JoinWait::Rebalance { ends } => ends,
        }
    }
}

/// A classic group.
///
/// Bounds: members by `group.max.size` (as Kafka counts them), members that were given an id by
/// [`ClassicLimits::pending_members_max`], timers by both together, what members send by the size of a request.
#[derive(Debug, Clone)]
pub struct ClassicGroup {
    pub(super) id: Arc<str>,
    pub(super) state: State,
    /// Milliseconds since the epoch when `state` began.
    pub(super) state_since_ms: i64,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol_name: Option<Arc<str>>,
    /// One of the members, when there are any.
    pub(super) leader: Option<Arc<str>>,
    /// By id, so that the same history chooses the same leader.
    pub(super) members: BTreeMap<Arc<str>, Member>,
    /// The member of each `group.instance.id`.
    pub(super) instances: HashMap<Arc<str>, Arc<str>>,
    /// Members that were given an id and are to join with it (KIP-394), and until when they may, in ticks.
    pub(super) pending: BTreeMap<Arc<str>, u64>,
    /// Members of this generation that have not asked for their assignment.
    pub(super) unsynced: BTreeSet<Arc<str>>,
    /// How many members wait for the generation to begin.
    pub(super) waiting_joins: usize,
    /// How many members support each protocol.
    pub(super) support: HashMap<String, usize>,
    /// The topics of all members' subscriptions; None when not known.
    pub(super) subscribed: Option<HashSet<Box<str>>>,
    /// When to look at which member or pending member, in ticks. One entry each; early for a member that has
    /// heartbeated since, so that a heartbeat need not touch this set.
    pub(super) timers: BTreeSet<(u64, Arc<str>)>,
    pub(super) join_wait: Option<JoinWait>,
    /// When members of this generation that did not ask for their assignment are gone, in ticks.
    pub(super) sync_ends: Option<u64>,
    /// A member came during the initial delay.
    pub(super) member_added: bool,
    /// When the present rebalance began, in ticks.
    pub(super) rebalance_began: u64,
    /// A row of the group was written, or is being.
    pub(super) stored: bool,
}

impl ClassicGroup {
    /// An empty group of generation 0, of which nothing is stored yet.
    pub fn new(id: Arc<str>, now: Now) -> Self {
        Self {
            id,
            state: State::Empty,
            state_since_ms: now.wall_ms,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            instances: HashMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            waiting_joins: 0,
            support: HashMap::new(),
            subscribed: None,
            timers: BTreeSet::new(),
            join_wait: None,
            sync_ends: None,
            member_added: false,
            rebalance_began: now.ticks_ms,
            stored: false,
        }
    }

    /// The group of a stored row, after a restart. Its members keep their ids, the generation and their assignments, and
    /// each session starts anew. A rebalance that was under way is forgotten: the row is from before it, and the members
    /// join again when they are told `ILLEGAL_GENERATION` or `UNKNOWN_MEMBER_ID`.
    ///
    /// A group larger than `group.max.size` begins a rebalance, so that the members can commit before some are refused.
    pub fn restored(
        id: Arc<str>,
        stored: StoredGroup,
        limits: &ClassicLimits,
        now: Now,
        effects: &mut Effects,
    ) -> Self {
        let mut group = Self::new(id, now);
        group.stored = true;
        group.state = if stored.members.is_empty() { State::Empty } else { State::Stable };
        group.state_since_ms = stored.state_since_ms;
        group.generation = stored.generation;
        group.protocol_type = stored.protocol_type;
        group.protocol_name = stored.protocol_name;
        group.leader = stored.leader;
        for member in stored.members {
            group.insert(Member::new(member), now);
        }
        group.subscribed = group.compute_subscribed();
        if group.members.len() > limits.members_max {
            let reason = format!("the group has {} members, more than may be", group.members.len());
            group.prepare_rebalance(reason, limits, now, effects);
        }
        group
    }

    /// A group made of a consumer group whose members all speak the classic protocol from now on: stable, with the group
    /// epoch as its generation. The assignments are set afterwards ([`set_assignment`](Self::set_assignment)), because
    /// their encoding depends on the protocol that is chosen here. Its row changed.
    pub fn converted(
        id: Arc<str>,
        generation: i32,
        members: Vec<StoredMember>,
        now: Now,
        effects: &mut Effects,
    ) -> Self {
        let mut group = Self::new(id, now);
        group.state = if members.is_empty() { State::Empty } else { State::Stable };
        group.generation = generation;
        group.protocol_type = Some(CONSUMER.into());
        for member in members {
            group.insert(Member::new(member), now);
        }
        group.protocol_name = group.select_protocol();
        group.subscribed = group.compute_subscribed();
        group.changed(effects);
        group
    }

    /// Sets a member's assignment during a conversion.
    pub fn set_assignment(&mut self, member_id: &str, assignment: bytes::Bytes) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.assignment = assignment;
        }
    }

    /// Its id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The name Kafka gives its state.
    pub fn state_name(&self) -> &'static str {
        self.state.name()
    }

    /// Milliseconds since the epoch when its state began.
    pub fn state_since_ms(&self) -> i64 {
        self.state_since_ms
    }

    /// The generation; 0 before the first.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// `consumer`, `connect`, …; none before the first member came.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The protocol of this generation.
    pub fn protocol_name(&self) -> Option<&str> {
        self.protocol_name.as_deref()
    }

    /// The leader's member id.
    pub fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
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

    /// Whether this id was given to a member that has not joined with it yet (KIP-394).
    pub fn is_pending(&self, member_id: &str) -> bool {
        self.pending.contains_key(member_id)
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether its state is Empty.
    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Whether it is only a name to commit offsets under: nobody has joined, nor is about to.
    pub fn is_simple(&self) -> bool {
        self.protocol_type.is_none() && self.is_empty() && self.pending.is_empty()
    }

    /// Whether its members' metadata and assignments are in the consumer's encoding.
    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type() == Some(CONSUMER)
    }

    /// Whether nothing would be lost with it: it is empty, nobody is about to join, and no row of it was written. Such
    /// a group was made for a JoinGroup that was then refused, and is to be dropped.
    pub fn is_vacant(&self) -> bool {
        self.is_empty() && self.pending.is_empty() && !self.stored
    }

    /// Answers every waiting request with this error; the group is of no use afterwards. The coordinator stops, loads the
    /// group again after a failed write, or converts it to a consumer group.
    pub fn give_up(&mut self, error: GroupError, effects: &mut Effects) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.refuse_waiting_join(&id, &id, error.clone(), effects);
            self.refuse_waiting_sync(&id, error.clone(), effects);
        }
        self.state = State::Dead;
        self.timers.clear();
        self.join_wait = None;
        self.sync_ends = None;
    }

    /// Kafka's rule for who speaks (`ClassicGroup.validateMember`): an instance id must be known, and then belong to this
    /// member id; and the member id must be known.
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`], [`GroupError::FencedInstanceId`].
    pub(super) fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.instances.get(instance_id) {
                None => return Err(GroupError::UnknownMemberId),
                Some(owner) if **owner != *member_id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// Marks the row as changed.
    pub(super) fn changed(&mut self, effects: &mut Effects) {
        self.stored = true;
        effects.changed(RowKey::Head);
    }

    pub(super) fn enter(&mut self, state: State, now: Now) {
        self.state = state;
        self.state_since_ms = now.wall_ms;
    }

    /// Whether every member waits for the generation, and nobody is about to join.
    pub(super) fn all_joined(&self) -> bool {
        self.waiting_joins == self.members.len() && self.pending.is_empty()
    }

    /// Milliseconds that a rebalance waits: the longest that a member asks for.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0);
        u64::try_from(longest).unwrap_or(0)
    }
}
