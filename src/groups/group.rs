//! A group of either kind, and the requests that may find one, the other, or none: what is made, replaced or converted, and
//! what is answered when there is nothing.
//!
//! A slot is a group id's place: `None` is an id that nobody uses. A refused request leaves it as it was.
//!
//! ```text
//!              JoinGroup                        ConsumerGroupHeartbeat, epoch 0
//!    none ───────────────────▶ classic ◀──┐   ┌──▶ consumer ◀────────────── none
//!                                 │       └───┼── when it is empty, or only classic members are left
//!                                 └───────────┘ when it is empty, or its members are consumers
//! ```

use std::sync::Arc;

use super::classic::{ClassicGroup, OffsetsExpire, State};
use super::consumer::{self, ConsumerGroup, StoredHead, StoredMember};
use super::effects::{Answer, Effects, Notice, Now, RowKey, Ticket};
use super::error::GroupError;
use super::limits::ConsumerLimits;
use super::request::{
    ConsumerHeartbeat, ConsumerHeartbeatAnswer, HeartbeatRequest, JoinAnswer, JoinRequest, Leaving, Left,
    SyncRequest,
};
use super::store;
use super::topics_view::TopicsView;
use crate::storage::codec::BadRow;

/// A group of either kind.
#[derive(Debug, Clone)]
pub enum Group {
    /// The members agree on an assignment among themselves.
    Classic(ClassicGroup),
    /// The broker assigns (KIP-848).
    Consumer(ConsumerGroup),
}

/// What every decision is given.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The topics.
    pub topics: &'a dyn TopicsView,
    /// The settings that apply to the group.
    pub limits: &'a ConsumerLimits,
    /// When it is.
    pub now: Now,
}

/// Says of a stored head row which kind of group it is of.
const CLASSIC: u8 = 1;
const CONSUMER: u8 = 2;
/// Length of a UUID as text.
const UUID_LEN: usize = 36;
/// A classic group that had begun to rebalance when the row was written. It does so again after a restart: a group that was
/// just converted may have no member who would make it.
const CLASSIC_REBALANCING: u8 = 3;

impl Group {
    /// Kafka's name of its kind (KIP-848).
    pub fn kind(&self) -> &'static str {
        match self {
            Group::Classic(_) => "classic",
            Group::Consumer(_) => "consumer",
        }
    }

    /// The protocol type that ListGroups shows.
    pub fn protocol_type(&self) -> &str {
        match self {
            Group::Classic(group) => group.protocol_type().unwrap_or_default(),
            Group::Consumer(_) => "consumer",
        }
    }

    /// The name Kafka gives its state.
    pub fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state_name(),
            Group::Consumer(group) => group.state_name(),
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match self {
            Group::Classic(group) => group.len(),
            Group::Consumer(group) => group.len(),
        }
    }

    /// Whether its state is Empty.
    pub fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_empty(),
            Group::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether a member may be reading this topic.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
            Group::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// From when its committed offsets count as unused.
    pub fn offsets_expire(&self) -> OffsetsExpire {
        match self {
            Group::Classic(group) => group.offsets_expire(),
            Group::Consumer(group) => group.offsets_expire(),
        }
    }

    /// Whether it can be deleted (DeleteGroups).
    ///
    /// # Errors
    /// [`GroupError::NonEmptyGroup`], [`GroupError::GroupIdNotFound`].
    pub fn check_delete(&self) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.check_delete(),
            Group::Consumer(group) => group.check_delete(),
        }
    }

    /// Whether offsets can be deleted (OffsetDelete), except those of topics that it is subscribed to.
    ///
    /// # Errors
    /// [`GroupError::NonEmptyGroup`], [`GroupError::GroupIdNotFound`].
    pub fn check_delete_offsets(&self) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.check_delete_offsets(),
            Group::Consumer(group) => group.check_delete_offsets(),
        }
    }

    /// The earliest tick at which [`tick`] may have something to do.
    pub fn deadline(&self) -> Option<u64> {
        match self {
            Group::Classic(group) => group.deadline(),
            Group::Consumer(group) => group.deadline(),
        }
    }

    /// The bytes of a row as the group is now; none when it has no such row.
    pub fn row(&self, key: &RowKey) -> Option<Vec<u8>> {
        match (self, key) {
            (Group::Classic(group), RowKey::Head) => {
                let mut row = store::classic_group::encode(group);
                let is_rebalancing =
                    group.state() == State::PreparingRebalance && group.members().next().is_some();
                row.insert(0, if is_rebalancing { CLASSIC_REBALANCING } else { CLASSIC });
                Some(row)
            }
            (Group::Consumer(group), RowKey::Head) => {
                let mut row = store::consumer_group::encode_head(&group.stored_head());
                row.insert(0, CONSUMER);
                Some(row)
            }
            (Group::Classic(_), RowKey::Member(_)) => None,
            (Group::Consumer(group), RowKey::Member(id)) => {
                group.member(id).map(|member| store::consumer_group::encode_member(member.stored()))
            }
        }
    }

    /// The group of its stored rows, after a restart.
    ///
    /// # Errors
    /// [`BadRow`] when a row cannot be what [`row`](Self::row) gave.
    pub fn restored<'a>(
        id: Arc<str>,
        head: &[u8],
        members: impl IntoIterator<Item = (Arc<str>, &'a [u8])>,
        limits: &ConsumerLimits,
        now: Now,
        effects: &mut Effects,
    ) -> Result<Self, BadRow> {
        let bad = |reason| BadRow { kind: "group", reason };
        match head.split_first() {
            Some((&kind @ (CLASSIC | CLASSIC_REBALANCING), head)) => {
                let stored = store::classic_group::decode(head)?;
                let mut group = ClassicGroup::restored(id, stored, &limits.classic, now, effects);
                if kind == CLASSIC_REBALANCING && group.state() == State::Stable {
                    group.rebalance("it was rebalancing".to_owned(), &limits.classic, now, effects);
                }
                Ok(Group::Classic(group))
            }
            Some((&CONSUMER, head)) => {
                let head: StoredHead = store::consumer_group::decode_head(head)?;
                let members = members.into_iter().map(|(id, row)| {
                    store::consumer_group::decode_member(row).map(|member: StoredMember| (id, member))
                });
                let members: Vec<_> = members.collect::<Result<_, _>>()?;
                Ok(Group::Consumer(ConsumerGroup::restored(id, head, members, limits, now)))
            }
            Some(_) => Err(bad("its kind is unknown")),
            None => Err(bad("it is cut short")),
        }
    }
}

/// JoinGroup. The answer comes with the effects, at once or later.
///
/// Refusals beside those of the group: [`GroupError::InvalidSessionTimeout`] before the group is looked for;
/// [`GroupError::UnknownMemberId`] to a member of a group that is not there.
pub fn join(
    slot: &mut Option<Group>,
    id: &Arc<str>,
    request: JoinRequest,
    ticket: Ticket,
    cx: &Context<'_>,
    effects: &mut Effects,
) {
    let refuse = |request: JoinRequest, error, effects: &mut Effects| {
        effects.answer(ticket, Answer::Join(JoinAnswer { member_id: request.member_id, result: Err(error) }));
    };
    let limits = &cx.limits.classic;
    if let Err(error) = ClassicGroup::check_session_timeout(request.session_timeout_ms, limits) {
        return refuse(request, error, effects);
    }
    match slot {
        Some(Group::Classic(group)) => return group.join(request, ticket, limits, cx.now, effects),
        Some(Group::Consumer(group)) if !group.is_empty() => {
            return join_consumer(slot, request, ticket, cx, effects);
        }
        // A consumer group without members counts as none.
        Some(Group::Consumer(_)) | None => {}
    }
    if !request.member_id.is_empty() {
        let has_protocols = !request.protocol_type.is_empty() && !request.protocols.is_empty();
        let error =
            if has_protocols { GroupError::UnknownMemberId } else { GroupError::InconsistentGroupProtocol };
        return refuse(request, error, effects);
    }
    let mut group = ClassicGroup::new(Arc::clone(id), cx.now);
    group.join(request, ticket, limits, cx.now, effects);
    if !group.is_vacant() {
        if slot.is_some() {
            effects.notice(Notice::Converted { to: "classic" });
        }
        *slot = Some(Group::Classic(group));
    }
}

/// JoinGroup to a consumer group that has members. It becomes a classic group when the last static member that speaks the
/// consumer protocol comes back with the classic one.
fn join_consumer(
    slot: &mut Option<Group>,
    mut request: JoinRequest,
    ticket: Ticket,
    cx: &Context<'_>,
    effects: &mut Effects,
) {
    let Some(Group::Consumer(group)) = slot else { return };
    // In a consumer group an id is a UUID alone.
    if let Some(at) = request.new_member_id.len().checked_sub(UUID_LEN).filter(|at| *at > 0) {
        request.new_member_id = request.new_member_id.get(at..).unwrap_or_default().to_owned();
    }
    let instance_id = request.instance_id.clone();
    let joining = match group.check_join(request, cx.topics, cx.limits) {
        Ok(joining) => joining,
        Err((member_id, error)) => {
            return effects.answer(ticket, Answer::Join(JoinAnswer { member_id, result: Err(error) }));
        }
    };
    let replaced = instance_id.and_then(|instance_id| group.static_member(&instance_id));
    let replaced = replaced.and_then(|id| group.member(id));
    if !replaced.is_some_and(|replaced| group.is_downgraded_by(replaced, cx.limits)) {
        let answer = group.join(joining, cx.topics, cx.limits, cx.now, effects);
        return effects.answer(ticket, Answer::Join(answer));
    }
    let Some(Group::Consumer(group)) = slot.take() else { return };
    let (answer, group) = group.downgrade_by(joining, cx.topics, cx.limits, cx.now, effects);
    *slot = Some(Group::Classic(group));
    effects.answer(ticket, Answer::Join(answer));
}

/// SyncGroup. The answer comes with the effects, at once or later.
///
/// Refusals beside those of the group: [`GroupError::UnknownMemberId`] when it is not there or empty.
pub fn sync(
    slot: &mut Option<Group>,
    request: SyncRequest,
    ticket: Ticket,
    cx: &Context<'_>,
    effects: &mut Effects,
) {
    let answer = match slot {
        Some(Group::Classic(group)) => return group.sync(request, ticket, cx.now, effects),
        Some(Group::Consumer(group)) => group.sync(request, cx.topics, cx.limits, cx.now),
        None => Err(GroupError::UnknownMemberId),
    };
    effects.answer(ticket, Answer::Sync(answer));
}

/// Heartbeat of the classic protocol.
///
/// # Errors
/// Those of the group; [`GroupError::UnknownMemberId`] when it is not there.
pub fn heartbeat(
    slot: &mut Option<Group>,
    request: &HeartbeatRequest,
    cx: &Context<'_>,
) -> Result<(), GroupError> {
    match slot {
        Some(Group::Classic(group)) => group.heartbeat(request, cx.now),
        Some(Group::Consumer(group)) => group.classic_heartbeat(request, cx.limits, cx.now),
        None => Err(GroupError::UnknownMemberId),
    }
}

/// LeaveGroup. A consumer group becomes a classic group when only members that speak the classic protocol are left.
///
/// # Errors
/// [`GroupError::CoordinatorNotAvailable`] when the group was given up. Each entry has a result of its own:
/// [`GroupError::UnknownMemberId`], also when there is no group, or [`GroupError::FencedInstanceId`].
pub fn leave(
    slot: &mut Option<Group>,
    leaving: Vec<Leaving>,
    cx: &Context<'_>,
    effects: &mut Effects,
) -> Result<Vec<Left>, GroupError> {
    match slot {
        Some(Group::Classic(group)) => group.leave(leaving, &cx.limits.classic, cx.now, effects),
        Some(Group::Consumer(group)) => {
            let (gone, left) = group.leaving_members(leaving);
            gone.iter().for_each(|id| effects.notice(Notice::MemberLeft(Arc::clone(id))));
            remove_members(slot, &gone, cx, effects);
            Ok(left)
        }
        None => {
            let unknown = |leaving: Leaving| Left {
                member_id: leaving.member_id,
                instance_id: leaving.instance_id,
                result: Err(GroupError::UnknownMemberId),
            };
            Ok(leaving.into_iter().map(unknown).collect())
        }
    }
}

/// ConsumerGroupHeartbeat. Joining makes the group, or makes a consumer group of a classic one.
///
/// # Errors
/// In Kafka's order: those of [`consumer::validate`]; [`GroupError::GroupIdNotFound`] when there is no group, or one that is
/// not and cannot become a consumer group; those of [`ConsumerGroup::heartbeat`].
pub fn consumer_heartbeat(
    slot: &mut Option<Group>,
    id: &Arc<str>,
    request: ConsumerHeartbeat,
    cx: &Context<'_>,
    effects: &mut Effects,
) -> Result<ConsumerHeartbeatAnswer, GroupError> {
    let Context { topics, limits, now } = *cx;
    consumer::validate(id, &request, limits)?;
    let not_found = |message: String| Err(GroupError::GroupIdNotFound(message));
    let is_joining = request.member_epoch == 0;
    match slot {
        Some(Group::Consumer(group)) => {
            if request.member_epoch == -1 {
                let member = group.leaving_member(&request)?;
                effects.notice(Notice::MemberLeft(Arc::clone(&member)));
                remove_members(slot, &[member], cx, effects);
                return Ok(consumer::farewell(request));
            }
            group.heartbeat(request, topics, limits, now, effects)
        }
        None if is_joining => {
            let mut group = ConsumerGroup::new(Arc::clone(id));
            let answer = group.heartbeat(request, topics, limits, now, effects)?;
            *slot = Some(Group::Consumer(group));
            Ok(answer)
        }
        None if request.member_epoch < 0 => not_found(format!("Group {id} not found.")),
        None => not_found(format!("Consumer group {id} not found.")),
        Some(Group::Classic(_)) if !is_joining => not_found(format!("Group {id} is not a consumer group.")),
        Some(Group::Classic(classic)) => {
            let mut group = if classic.is_empty() {
                ConsumerGroup::new(Arc::clone(id))
            } else {
                consumer::check_upgrade(classic, limits)?;
                ConsumerGroup::of_classic(classic, topics, limits, now)?
            };
            let answer = group.heartbeat(request, topics, limits, now, effects)?;
            classic.give_up(GroupError::RebalanceInProgress, effects);
            group.all_changed(effects);
            effects.notice(Notice::Converted { to: "consumer" });
            *slot = Some(Group::Consumer(group));
            Ok(answer)
        }
    }
}

/// Does what is due.
pub fn tick(slot: &mut Option<Group>, cx: &Context<'_>, effects: &mut Effects) {
    match slot {
        Some(Group::Classic(group)) => group.tick(&cx.limits.classic, cx.now, effects),
        Some(Group::Consumer(group)) => {
            let gone = group.take_due(cx.now, effects);
            remove_members(slot, &gone, cx, effects);
        }
        None => {}
    }
}

/// Takes members out of a consumer group, which becomes a classic group when only such members are left.
fn remove_members(slot: &mut Option<Group>, gone: &[Arc<str>], cx: &Context<'_>, effects: &mut Effects) {
    let Some(Group::Consumer(group)) = slot else { return };
    if !group.is_downgraded_without(gone, cx.limits) {
        return group.remove_members(gone, cx.topics, cx.now, effects);
    }
    let Some(Group::Consumer(group)) = slot.take() else { return };
    let classic = group.downgrade_without(gone, cx.topics, cx.limits, cx.now, effects);
    *slot = Some(Group::Classic(classic));
}
