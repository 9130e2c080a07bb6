//! From a classic group to a consumer group and back, with the members that are there (KIP-848's online migration).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::assign::Partitions;
use super::super::classic::{ClassicGroup, State, StoredMember as StoredClassicMember};
use super::super::effects::{Effects, Notice, Now, RowKey};
use super::super::error::GroupError;
use super::super::limits::ConsumerLimits;
use super::super::request::JoinAnswer;
use super::super::topics_view::TopicsView;
use super::classic_members::{Joining, by_id, encode_assignment, joined};
use super::consumer_protocol::{self, Malformed};
use super::group::ConsumerGroup;
use super::member::{ClassicSide, Member, MemberState, Standing, StoredMember};
use super::owned::Owned;

/// Whether a classic group that has members may become a consumer group.
///
/// # Errors
/// [`GroupError::GroupIdNotFound`], with Kafka's words.
pub(crate) fn check_upgrade(group: &ClassicGroup, limits: &ConsumerLimits) -> Result<(), GroupError> {
    let why = if !limits.migration.permits_upgrade() {
        "online upgrade is disabled"
    } else if !group.uses_consumer_protocol() {
        "the group does not use the consumer embedded protocol"
    } else if group.len() > limits.members_max {
        "the group size exceeds the consumer group maximum size"
    } else {
        return Ok(());
    };
    Err(cannot_upgrade(group, why))
}

fn cannot_upgrade(group: &ClassicGroup, why: &str) -> GroupError {
    let message = format!("Cannot upgrade classic group {} to consumer group because {why}.", group.id());
    GroupError::GroupIdNotFound(message)
}

impl ConsumerGroup {
    /// The consumer group of a classic group's members. They own what the leader last gave them, which is their target as
    /// well; whoever waits for an answer is to join again. The classic group stays as it is.
    ///
    /// # Errors
    /// [`GroupError::GroupIdNotFound`] when the members' metadata or assignments cannot be read, or when an assignor added
    /// something to them that would be lost.
    pub(crate) fn of_classic(
        classic: &ClassicGroup,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        now: Now,
    ) -> Result<Self, GroupError> {
        let generation = classic.generation();
        let mut group = Self::with_epoch(Arc::clone(classic.id()), generation, generation);
        let mut given = Partitions::default();
        for member in classic.members() {
            let malformed =
                |_: Malformed| cannot_upgrade(classic, "the embedded consumer protocol is malformed");
            // Before the first generation no protocol is chosen yet.
            let protocol = classic.protocol_name().map(str::to_owned);
            let protocol = protocol.or_else(|| member.protocols().first().map(|first| first.name.clone()));
            let metadata = member.metadata(&protocol.unwrap_or_default());
            let subscription = consumer_protocol::read_subscription(&metadata).map_err(malformed)?;
            let mut assigned = Partitions::default();
            if !member.assignment().is_empty() {
                let assignment =
                    consumer_protocol::read_assignment(member.assignment()).map_err(malformed)?;
                if assignment.has_user_data {
                    let why = "an unsupported custom assignor is in use. Please refer to the documentation or switch to a \
                               default assignor before re-attempting the upgrade";
                    return Err(cannot_upgrade(classic, why));
                }
                assigned = by_id(&assignment.partitions, topics);
            }
            // What it owned when it last joined and has not said that it gave up: cooperative members give up after the
            // generation began. Kafka forgets it, and lets another have it at the same time.
            let kept = by_id(&subscription.owned, topics).difference(&assigned);
            // What a leader gave to two members is the target of the first only.
            let target = assigned.difference(&given);
            given.extend(target.iter());
            let stored = StoredMember {
                instance_id: member.instance_id().cloned(),
                rack_id: subscription.rack_id.filter(|rack| !rack.is_empty()).map(Arc::from),
                client: member.client().clone(),
                rebalance_timeout_ms: member.rebalance_timeout_ms(),
                topics: subscription.topics.iter().map(|name| group.subscriptions.share(name)).collect(),
                topic_regex: None,
                assignor: None,
                standing: Standing {
                    state: if kept.is_empty() {
                        MemberState::Stable
                    } else {
                        MemberState::UnrevokedPartitions
                    },
                    epoch: generation,
                    previous_epoch: generation,
                    assigned: Owned::since(&assigned, generation),
                    pending_revocation: Owned::since(&kept, generation),
                },
                target,
                classic: Some(ClassicSide {
                    session_timeout_ms: member.session_timeout_ms(),
                    protocols: member.protocols().to_vec(),
                }),
            };
            group.insert(Arc::clone(member.id()), stored, limits, now);
        }
        let hash = group.subscriptions.metadata_hash(topics);
        // A new member begins a new epoch. A static member that takes its own place does not, so that a group in the middle
        // of a rebalance, or with partitions that nobody was given, would stay so (as in Kafka): another number than that of
        // the topics makes one begin.
        let is_complete = classic.state() == State::Stable
            && group
                .subscriptions
                .topics(topics)
                .all(|topic| (0..topic.partitions).all(|partition| given.contains(&topic.id, partition)));
        group.metadata_hash = if is_complete { hash } else { !hash };
        Ok(group)
    }

    /// Marks every row as changed: the group is of another kind than what is stored.
    pub(crate) fn all_changed(&self, effects: &mut Effects) {
        effects.changed(RowKey::Head);
        self.members.keys().for_each(|id| effects.changed(RowKey::Member(Arc::clone(id))));
    }

    /// Whether the group speaks the classic protocol when these members are gone: all others do, there are some, and the
    /// settings permit it (`validateOnlineDowngradeWithFencedMembers`).
    pub(crate) fn is_downgraded_without(&self, gone: &[Arc<str>], limits: &ConsumerLimits) -> bool {
        let gone: BTreeSet<&Arc<str>> = gone.iter().filter(|id| self.members.contains_key(*id)).collect();
        let gone_classic = gone.iter().filter(|id| self.members[**id].is_classic()).count();
        let left = self.members.len() - gone.len();
        !gone.is_empty()
            && left > 0
            && self.classic_members - gone_classic == left
            && limits.migration.permits_downgrade()
            && left <= limits.classic.members_max
    }

    /// Whether the group speaks the classic protocol when this static member does
    /// (`validateOnlineDowngradeWithReplacedMember`).
    pub(crate) fn is_downgraded_by(&self, replaced: &Member, limits: &ConsumerLimits) -> bool {
        !replaced.is_classic()
            && self.classic_members == self.members.len() - 1
            && limits.migration.permits_downgrade()
            && self.members.len() <= limits.classic.members_max
    }

    /// Takes these members out and makes a classic group of the others, who are to join again.
    pub(crate) fn downgrade_without(
        mut self,
        gone: &[Arc<str>],
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        now: Now,
        effects: &mut Effects,
    ) -> ClassicGroup {
        self.all_changed(effects);
        for id in gone {
            self.take(id);
        }
        let mut classic = self.into_classic(topics, now, effects);
        let reason = format!("Downgrade group {} from consumer to classic for member leaving.", classic.id());
        classic.rebalance(reason, &limits.classic, now, effects);
        classic
    }

    /// A static member comes back with the classic protocol and takes the last place of a member that spoke the other one:
    /// the group becomes a classic one. The members go on with their assignments, unless these are out of date.
    pub(crate) fn downgrade_by(
        mut self,
        joining: Joining,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        now: Now,
        effects: &mut Effects,
    ) -> (JoinAnswer, ClassicGroup) {
        self.all_changed(effects);
        let (id, changes, reported) = self.take_in(joining, topics, limits, now, effects);
        self.update_epoch(&id, changes, topics, limits, now, effects);
        let mut is_stale = self.assignment_epoch < self.group_epoch;
        if !is_stale {
            self.reconcile(&id, changes, Some(&reported), topics, now, effects);
            // Kafka leaves members that wait for partitions without them until the next rebalance.
            is_stale = self.unreconciled > 0;
        }
        let answer = joined(&self.members[&id]);
        let mut classic = self.into_classic(topics, now, effects);
        if is_stale {
            let reason =
                format!("Downgrade group {} from consumer to classic with stale assignment.", classic.id());
            classic.rebalance(reason, &limits.classic, now, effects);
        }
        (answer, classic)
    }

    /// The classic group of the members, all of whom speak the classic protocol: stable, with the group epoch as its
    /// generation, and with what they own as their assignments. Kafka takes the target assignment, which is the same for
    /// members that have it; another's partitions are not yet theirs.
    pub(crate) fn into_classic(
        self,
        topics: &dyn TopicsView,
        now: Now,
        effects: &mut Effects,
    ) -> ClassicGroup {
        self.all_changed(effects);
        let mut owned = Vec::with_capacity(self.members.len());
        let mut members = Vec::with_capacity(self.members.len());
        for (id, member) in self.members {
            let Some(classic) = member.stored.classic else { continue };
            let standing = &member.stored.standing;
            let held = standing.assigned.partitions().union(&standing.pending_revocation.partitions());
            owned.push((Arc::clone(&id), held));
            members.push(StoredClassicMember {
                id,
                instance_id: member.stored.instance_id,
                client: member.stored.client,
                rebalance_timeout_ms: member.stored.rebalance_timeout_ms,
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic.protocols,
                assignment: bytes::Bytes::new(),
            });
        }
        let mut classic = ClassicGroup::converted(self.id, self.group_epoch, members, now, effects);
        let protocol = classic.protocol_name().unwrap_or_default().to_owned();
        for (id, held) in owned {
            let metadata = classic.member(&id).map(|member| member.metadata(&protocol)).unwrap_or_default();
            classic.set_assignment(&id, encode_assignment(&held, &metadata, topics));
        }
        effects.notice(Notice::Converted { to: "classic" });
        classic
    }
}
