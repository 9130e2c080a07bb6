//! Members that speak the classic protocol inside a consumer group: JoinGroup, SyncGroup, Heartbeat and LeaveGroup on top of
//! epochs and reconciliation (KIP-848's online migration).
//!
//! ```text
//!   JoinGroup    what a heartbeat of a full request is; the generation is the member epoch
//!   SyncGroup    tells what the member owns
//!   Heartbeat    says whether to join again: for a new epoch, to give partitions up, or to be given some
//! ```
//!
//! A member that has to give partitions up is told so by an assignment without them; it says in its next JoinGroup what it
//! still owns. One that does not say (subscriptions before version 1: eager assignors) has given up everything.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::super::assign::Partitions;
use super::super::effects::{Effects, Now, RowKey};
use super::super::error::GroupError;
use super::super::limits::{ConsumerLimits, MigrationPolicy};
use super::super::request::{
    HeartbeatRequest, JoinAnswer, JoinRequest, Joined, Leaving, Left, Protocol, SyncAnswer, SyncRequest,
    Synced,
};
use super::super::topics_view::TopicsView;
use super::consumer_protocol::{self, TopicPartitions};
use super::group::ConsumerGroup;
use super::heartbeat::{Changes, Update};
use super::member::{ClassicSide, Member, MemberState};
use super::statics::Found;

/// The protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// A JoinGroup that nothing speaks against.
pub(crate) struct Joining {
    pub(super) id: Arc<str>,
    pub(super) found: Found,
    pub(super) update: Update,
    pub(super) reported: Partitions,
    pub(super) classic: ClassicSide,
    pub(super) client: super::super::request::Client,
    pub(super) rebalance_timeout_ms: i32,
}

impl ConsumerGroup {
    /// Checks a JoinGroup (`classicGroupJoinToConsumerGroup`). A refusal comes with the id that its answer names: the one that
    /// the member is to join with, or none.
    ///
    /// # Errors
    /// In Kafka's order: [`GroupError::InconsistentGroupProtocol`] when groups may not change their protocol;
    /// [`GroupError::GroupMaxSizeReached`]; [`GroupError::InconsistentGroupProtocol`] when the protocols are not the other
    /// classic members', or cannot be read; [`GroupError::MemberIdRequired`] (KIP-394);
    /// [`GroupError::UnknownMemberId`], [`GroupError::FencedInstanceId`].
    pub(crate) fn check_join(
        &self,
        mut request: JoinRequest,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
    ) -> Result<Joining, (String, GroupError)> {
        let is_new = request.member_id.is_empty();
        // Kafka names no member in most refusals of a consumer group.
        let refuse = |error| (String::new(), error);
        if limits.migration == MigrationPolicy::Disabled {
            return Err(refuse(GroupError::InconsistentGroupProtocol));
        }
        let id: Arc<str> =
            if is_new { request.new_member_id.as_str().into() } else { request.member_id.as_str().into() };
        self.check_room(&id, limits).map_err(refuse)?;
        drop_repeated(&mut request.protocols);
        if request.protocol_type != CONSUMER || !self.supports_any(&request.protocols) {
            return Err(refuse(GroupError::InconsistentGroupProtocol));
        }
        if is_new && request.instance_id.is_none() && request.requires_known_member_id {
            return Err((id.as_ref().to_owned(), GroupError::MemberIdRequired));
        }
        let found = self.find_joining(&id, request.instance_id.as_deref(), is_new).map_err(refuse)?;
        let metadata =
            request.protocols.first().map(|protocol| protocol.metadata.clone()).unwrap_or_default();
        let Ok(subscription) = consumer_protocol::read_subscription(&metadata) else {
            return Err(refuse(GroupError::InconsistentGroupProtocol));
        };
        Ok(Joining {
            id,
            found,
            update: Update {
                instance_id: request.instance_id,
                rack_id: subscription.rack_id.filter(|rack| !rack.is_empty()).map(str::to_owned),
                rebalance_timeout_ms: (request.rebalance_timeout_ms != -1)
                    .then_some(request.rebalance_timeout_ms),
                topics: Some(subscription.topics.iter().map(|name| (*name).to_owned()).collect()),
                topic_regex: Some(String::new()),
                assignor: None,
            },
            reported: by_id(&subscription.owned, topics),
            classic: ClassicSide {
                session_timeout_ms: request.session_timeout_ms,
                protocols: copied(request.protocols),
            },
            client: request.client,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
        })
    }

    fn find_joining(&self, id: &str, instance_id: Option<&str>, is_new: bool) -> Result<Found, GroupError> {
        let by_id = || if self.members.contains_key(id) { Found::Known } else { Found::New };
        let Some(instance_id) = instance_id else { return Ok(by_id()) };
        match self.instances.get(instance_id) {
            None if is_new => Ok(by_id()),
            None => Err(GroupError::UnknownMemberId),
            Some(earlier) if is_new => Ok(Found::Replaces(Arc::clone(earlier))),
            Some(earlier) if **earlier != *id => Err(GroupError::FencedInstanceId),
            Some(_) => Ok(Found::Known),
        }
    }

    /// A member joins, or joins again. The answer is given at once: a consumer group's members do not wait for each other.
    pub(crate) fn join(
        &mut self,
        joining: Joining,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        now: Now,
        effects: &mut Effects,
    ) -> JoinAnswer {
        let rebalance_timeout_ms = joining.rebalance_timeout_ms;
        let (id, changes, reported) = self.take_in(joining, topics, limits, now, effects);
        self.settle(&id, changes, Some(&reported), topics, limits, now, effects);
        self.start_session(&id, limits, now);
        self.expect_sync(&id, rebalance_timeout_ms, now);
        joined(&self.members[&id])
    }

    /// Lets the member in, with what it says of itself. Gives its id, what changed, and what it says it owns.
    pub(super) fn take_in(
        &mut self,
        joining: Joining,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        now: Now,
        effects: &mut Effects,
    ) -> (Arc<str>, Changes, Partitions) {
        let Joining { id, found, update, reported, classic, client, .. } = joining;
        self.admit(&id, found, limits, now, effects);
        let mut changes = self.update(&id, update, None, topics, now);
        changes.stored |= self.update_client(&id, client);
        changes.stored |= self.set_classic(&id, classic);
        if changes.stored {
            effects.changed(RowKey::Member(Arc::clone(&id)));
        }
        (id, changes, reported)
    }

    /// A member asks for its assignment.
    ///
    /// # Errors
    /// In Kafka's order: [`GroupError::UnknownMemberId`], also of a member that does not speak the classic protocol;
    /// [`GroupError::FencedInstanceId`]; [`GroupError::IllegalGeneration`]; [`GroupError::InconsistentGroupProtocol`];
    /// [`GroupError::RebalanceInProgress`].
    pub fn sync(
        &mut self,
        request: SyncRequest,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        now: Now,
    ) -> SyncAnswer {
        let member = self.classic_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != member.epoch() {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |sent: &Option<String>, ours: &str| sent.as_ref().is_some_and(|sent| sent != ours);
        let protocol = first_protocol(member);
        if differs(&request.protocol_type, CONSUMER)
            || differs(
                &request.protocol_name,
                protocol.map(|protocol| protocol.name.as_str()).unwrap_or_default(),
            )
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        // One that is giving partitions up has joined already, and is to know which.
        if self.group_epoch > member.epoch()
            && member.stored.standing.state != MemberState::UnrevokedPartitions
        {
            self.expect_join(&request.member_id, now);
            return Err(GroupError::RebalanceInProgress);
        }
        let metadata = protocol.map(|protocol| &protocol.metadata[..]).unwrap_or_default();
        let assignment = encode_assignment(&member.stored.standing.assigned.partitions(), metadata, topics);
        self.note_synced(&request.member_id);
        self.start_session(&request.member_id, limits, now);
        Ok(Synced { protocol_type: request.protocol_type, protocol_name: request.protocol_name, assignment })
    }

    /// Renews a classic member's session, and says whether it is to join again.
    ///
    /// # Errors
    /// In Kafka's order: [`GroupError::UnknownMemberId`], also of a member that does not speak the classic protocol;
    /// [`GroupError::FencedInstanceId`]; [`GroupError::IllegalGeneration`]; [`GroupError::RebalanceInProgress`], which renews
    /// the session all the same.
    pub fn classic_heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        limits: &ConsumerLimits,
        now: Now,
    ) -> Result<(), GroupError> {
        let member = self.classic_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != member.epoch() {
            return Err(GroupError::IllegalGeneration);
        }
        // Kafka 4.3 compares with the epoch of the target, which a join would compute; so that the members left by others
        // join again even when nobody else makes that happen, the group's own epoch counts here.
        let is_to_join = member.epoch() < self.group_epoch
            || match member.stored.standing.state {
                MemberState::Stable => false,
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !self.waits_for_others(member),
            };
        self.start_session(&request.member_id, limits, now);
        if !is_to_join {
            return Ok(());
        }
        self.expect_join(&request.member_id, now);
        Err(GroupError::RebalanceInProgress)
    }

    /// The members that a LeaveGroup takes out, and what becomes of each entry. An administrator names a static member by
    /// its instance id alone. Members that do not speak the classic protocol can be taken out as well.
    pub(crate) fn leaving_members(&self, leaving: Vec<Leaving>) -> (Vec<Arc<str>>, Vec<Left>) {
        let mut gone: BTreeSet<Arc<str>> = BTreeSet::new();
        let left = leaving.into_iter().map(|leaving| {
            let Leaving { member_id, instance_id, .. } = leaving;
            let found = match instance_id.as_deref() {
                None => self.members.get_key_value(member_id.as_str()).map(|(id, _)| id),
                Some(instance_id) => self.instances.get(instance_id),
            };
            let result = match found {
                None => Err(GroupError::UnknownMemberId),
                Some(id) if instance_id.is_some() && !member_id.is_empty() && **id != *member_id => {
                    Err(GroupError::FencedInstanceId)
                }
                Some(id) => {
                    gone.insert(Arc::clone(id));
                    Ok(())
                }
            };
            Left { member_id, instance_id, result }
        });
        let left = left.collect();
        (gone.into_iter().collect(), left)
    }

    fn classic_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<&Member, GroupError> {
        let id = match instance_id {
            None => member_id,
            Some(instance_id) => match self.instances.get(instance_id) {
                None => return Err(GroupError::UnknownMemberId),
                Some(id) if **id != *member_id => return Err(GroupError::FencedInstanceId),
                Some(id) => id,
            },
        };
        self.members.get(id).filter(|member| member.is_classic()).ok_or(GroupError::UnknownMemberId)
    }

    /// Whether any of these protocols is one that all classic members have. Any is, when there are none yet.
    fn supports_any(&self, protocols: &[Protocol]) -> bool {
        let supporting = |protocol: &Protocol| self.classic_support.get(&protocol.name).copied().unwrap_or(0);
        protocols.iter().any(|protocol| supporting(protocol) == self.classic_members)
    }

    /// Counts a member that speaks the classic protocol, if it does.
    pub(super) fn count_classic(&mut self, classic: Option<&ClassicSide>) {
        let Some(classic) = classic else { return };
        self.classic_members += 1;
        for protocol in &classic.protocols {
            match self.classic_support.get_mut(&protocol.name) {
                Some(count) => *count += 1,
                None => drop(self.classic_support.insert(protocol.name.clone(), 1)),
            }
        }
    }

    /// Takes back what [`count_classic`](Self::count_classic) counted.
    pub(super) fn forget_classic(&mut self, classic: Option<&ClassicSide>) {
        let Some(classic) = classic else { return };
        self.classic_members -= 1;
        for protocol in &classic.protocols {
            if let Some(count) = self.classic_support.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.classic_support.remove(&protocol.name);
                }
            }
        }
    }

    /// Whether a partition of the member's target is still another's.
    fn waits_for_others(&self, member: &Member) -> bool {
        let standing = &member.stored.standing;
        member.stored.target.iter().any(|(topic, partition)| {
            !standing.assigned.contains(topic, partition)
                && self.is_held_by_another(standing, topic, partition)
        })
    }

    /// A member that sent ConsumerGroupHeartbeat speaks the consumer protocol. Says whether it spoke the other before.
    pub(super) fn end_classic(&mut self, id: &str) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        member.join_ends = None;
        member.sync_ends = None;
        let before = member.stored.classic.take();
        self.forget_classic(before.as_ref());
        before.is_some()
    }

    /// A member that sent JoinGroup speaks the classic protocol. Says whether anything of that is new.
    pub(super) fn set_classic(&mut self, id: &str, classic: ClassicSide) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        member.revocation_ends = None;
        let before = member.stored.classic.replace(classic.clone());
        let has_changed = before.as_ref() != Some(&classic);
        self.forget_classic(before.as_ref());
        self.count_classic(Some(&classic));
        has_changed
    }
}

/// The answer to a JoinGroup that succeeded. Nobody leads: the broker assigns.
pub(super) fn joined(member: &Member) -> JoinAnswer {
    JoinAnswer {
        member_id: member.id.as_ref().to_owned(),
        result: Ok(Joined {
            generation: member.epoch(),
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name: first_protocol(member).map(|protocol| protocol.name.clone()),
            leader: String::new(),
            skip_assignment: false,
            member_id: member.id.as_ref().to_owned(),
            members: Vec::new(),
        }),
    }
}

fn first_protocol(member: &Member) -> Option<&Protocol> {
    member.stored.classic.as_ref()?.protocols.first()
}

/// Partitions in the encoding of a member's own metadata; those of topics that are no more are left out.
pub(super) fn encode_assignment(partitions: &Partitions, metadata: &[u8], topics: &dyn TopicsView) -> Bytes {
    let found: Vec<_> = partitions
        .topics()
        .filter_map(|(id, numbers)| topics.by_id(id).map(|topic| (topic.name, numbers)))
        .collect();
    // Metadata was read when its member joined.
    let version = consumer_protocol::version(metadata).unwrap_or(0);
    consumer_protocol::write_assignment(version, found.iter().map(|(name, numbers)| (&**name, *numbers)))
}

/// Partitions by topic id; those of topics that are no more, and partitions that there are not, are left out.
pub(super) fn by_id(partitions: &[TopicPartitions<'_>], topics: &dyn TopicsView) -> Partitions {
    let mut found = Partitions::default();
    for (name, numbers) in partitions {
        if let Some(topic) = topics.by_name(name) {
            let exists = |number: &i32| (0..topic.partitions).contains(number);
            found.extend_topic(topic.id, numbers.iter().copied().filter(exists));
        }
    }
    found
}

/// Leaves the first protocol of each name.
fn drop_repeated(protocols: &mut Vec<Protocol>) {
    let mut seen = HashSet::with_capacity(protocols.len());
    protocols.retain(|protocol| seen.insert(protocol.name.clone()));
}

/// What the group keeps of a request's protocols: copies, so that a few bytes of metadata do not keep the whole request in
/// memory.
fn copied(mut protocols: Vec<Protocol>) -> Vec<Protocol> {
    for protocol in &mut protocols {
        protocol.metadata = Bytes::copy_from_slice(&protocol.metadata);
    }
    protocols
}
