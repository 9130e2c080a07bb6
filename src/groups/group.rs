//! A group of either kind: each event goes to the machine of its protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::classic::{ClassicGroup, OffsetsExpire};
use super::effects::{Answer, Effects, Now, RowKey, Ticket};
use super::error::GroupError;
use super::limits::ConsumerLimits;
use super::request::{
    ClassicDescription, Committer, ConsumerDescription, ConsumerHeartbeat, ConsumerHeartbeatAnswer,
    HeartbeatRequest, JoinAnswer, JoinRequest, Leaving, Left, SyncRequest,
};
use super::store;
use super::topics_view::TopicsView;
use crate::storage::codec::BadRow;

/// A group.
#[derive(Debug, Clone)]
pub enum Group {
    /// Of the classic protocol.
    Classic(ClassicGroup),
}

/// What a decision may look at beside the group.
pub struct Context<'a> {
    /// The topics.
    pub topics: &'a dyn TopicsView,
    /// Settings.
    pub limits: &'a ConsumerLimits,
    /// The time.
    pub now: Now,
}

/// The answer about a group that does not exist.
pub fn not_found(id: &str) -> GroupError {
    GroupError::GroupIdNotFound(format!("Group {} not found.", id.escape_debug()))
}

impl Group {
    /// A group that is known by its offsets alone: a consumer that assigns partitions itself commits under this id.
    pub fn simple(id: &Arc<str>, now: Now) -> Group {
        Group::Classic(ClassicGroup::new(id.clone(), now))
    }

    /// The group of its stored rows. Offsets without a group are a group that is known by them alone.
    ///
    /// # Errors
    /// [`BadRow`] when the rows are not what was written.
    pub fn restored(
        id: &Arc<str>,
        rows: &BTreeMap<RowKey, Vec<u8>>,
        has_offsets: bool,
        cx: &Context<'_>,
        effects: &mut Effects,
    ) -> Result<Option<Group>, BadRow> {
        let Some(head) = rows.get(&RowKey::Head) else {
            return Ok(has_offsets.then(|| Group::simple(id, cx.now)));
        };
        let stored = store::classic_group::decode(head)?;
        let group = ClassicGroup::restored(id.clone(), stored, &cx.limits.classic, cx.now, effects);
        Ok(Some(Group::Classic(group)))
    }

    /// The earliest tick at which [`tick`] may have something to do.
    pub fn deadline(&self) -> Option<u64> {
        match self {
            Group::Classic(group) => group.deadline(),
        }
    }

    /// Whether an OffsetCommit of this version is accepted; see [`ClassicGroup::check_commit`].
    ///
    /// # Errors
    /// As there.
    pub fn check_commit(&mut self, committer: &Committer, _version: i16, now: Now) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.check_commit(committer, now),
        }
    }

    /// Whether an OffsetFetch is answered.
    ///
    /// # Errors
    /// As [`ClassicGroup::check_fetch`].
    pub fn check_fetch(&self, committer: &Committer) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.check_fetch(committer),
        }
    }

    /// Whether the group can be deleted.
    ///
    /// # Errors
    /// As [`ClassicGroup::check_delete`].
    pub fn check_delete(&self) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.check_delete(),
        }
    }

    /// Whether offsets can be deleted.
    ///
    /// # Errors
    /// As [`ClassicGroup::check_delete_offsets`].
    pub fn check_delete_offsets(&self) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.check_delete_offsets(),
        }
    }

    /// Whether some member subscribes to the topic.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
        }
    }

    /// From when committed offsets count as unused.
    pub fn offsets_expire(&self) -> OffsetsExpire {
        match self {
            Group::Classic(group) => group.offsets_expire(),
        }
    }

    /// `consumer`, `connect`, …; empty for a group that only has offsets.
    pub fn protocol_type(&self) -> &str {
        match self {
            Group::Classic(group) => group.protocol_type().unwrap_or_default(),
        }
    }

    /// The state's name in Kafka.
    pub fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state_name(),
        }
    }

    /// `classic` or `consumer` (KIP-848).
    pub fn kind(&self) -> &'static str {
        match self {
            Group::Classic(_) => "classic",
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match self {
            Group::Classic(group) => group.len(),
        }
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of one of its rows; `None` when it has no such row.
    pub fn row(&self, row: &RowKey) -> Option<Vec<u8>> {
        match (self, row) {
            (Group::Classic(group), RowKey::Head) => Some(store::classic_group::encode(group)),
            (Group::Classic(_), RowKey::Member(_)) => None,
        }
    }
}

/// JoinGroup.
pub fn join(
    slot: &mut Option<Group>,
    id: &Arc<str>,
    request: JoinRequest,
    ticket: Ticket,
    cx: &Context<'_>,
    effects: &mut Effects,
) {
    match slot {
        Some(Group::Classic(group)) => group.join(request, ticket, &cx.limits.classic, cx.now, effects),
        None => {
            if let Err(error) =
                ClassicGroup::check_session_timeout(request.session_timeout_ms, &cx.limits.classic)
            {
                let answer = JoinAnswer { member_id: request.member_id, result: Err(error) };
                return effects.answer(ticket, Answer::Join(answer));
            }
            if !request.member_id.is_empty() {
                let answer =
                    JoinAnswer { member_id: request.member_id, result: Err(GroupError::UnknownMemberId) };
                return effects.answer(ticket, Answer::Join(answer));
            }
            let mut group = ClassicGroup::new(id.clone(), cx.now);
            group.join(request, ticket, &cx.limits.classic, cx.now, effects);
            if !group.is_vacant() {
                *slot = Some(Group::Classic(group));
            }
        }
    }
}

/// SyncGroup.
pub fn sync(
    slot: &mut Option<Group>,
    request: SyncRequest,
    ticket: Ticket,
    cx: &Context<'_>,
    effects: &mut Effects,
) {
    match slot {
        Some(Group::Classic(group)) => group.sync(request, ticket, cx.now, effects),
        None => effects.answer(ticket, Answer::Sync(Err(GroupError::UnknownMemberId))),
    }
}

/// Heartbeat.
///
/// # Errors
/// As the group's machine says; [`GroupError::UnknownMemberId`] when there is no group.
pub fn heartbeat(
    slot: &mut Option<Group>,
    request: &HeartbeatRequest,
    cx: &Context<'_>,
    _effects: &mut Effects,
) -> Result<(), GroupError> {
    match slot {
        Some(Group::Classic(group)) => group.heartbeat(request, cx.now),
        None => Err(GroupError::UnknownMemberId),
    }
}

/// LeaveGroup.
///
/// # Errors
/// As the group's machine says.
pub fn leave(
    slot: &mut Option<Group>,
    _id: &Arc<str>,
    leaving: Vec<Leaving>,
    cx: &Context<'_>,
    effects: &mut Effects,
) -> Result<Vec<Left>, GroupError> {
    match slot {
        Some(Group::Classic(group)) => group.leave(leaving, &cx.limits.classic, cx.now, effects),
        None => Ok(leaving
            .into_iter()
            .map(|member| Left {
                member_id: member.member_id,
                instance_id: member.instance_id,
                result: Err(GroupError::UnknownMemberId),
            })
            .collect()),
    }
}

/// ConsumerGroupHeartbeat.
///
/// # Errors
/// As the group's machine says.
pub fn consumer_heartbeat(
    _slot: &mut Option<Group>,
    id: &Arc<str>,
    _request: ConsumerHeartbeat,
    _cx: &Context<'_>,
    _effects: &mut Effects,
) -> Result<ConsumerHeartbeatAnswer, GroupError> {
    Err(not_found(id))
}

/// Does what is due.
pub fn tick(slot: &mut Option<Group>, cx: &Context<'_>, effects: &mut Effects) {
    match slot {
        Some(Group::Classic(group)) => {
            group.tick(&cx.limits.classic, cx.now, effects);
            if group.is_vacant() {
                *slot = None;
            }
        }
        None => {}
    }
}

/// DescribeGroups.
///
/// # Errors
/// [`GroupError::GroupIdNotFound`].
pub fn describe_classic(slot: &Option<Group>, id: &Arc<str>) -> Result<ClassicDescription, GroupError> {
    match slot {
        Some(Group::Classic(group)) => Ok(group.describe()),
        None => Err(not_found(id)),
    }
}

/// ConsumerGroupDescribe.
///
/// # Errors
/// [`GroupError::GroupIdNotFound`].
pub fn describe_consumer(
    _slot: &Option<Group>,
    id: &Arc<str>,
    _cx: &Context<'_>,
) -> Result<ConsumerDescription, GroupError> {
    Err(not_found(id))
}

/// Removes a group whose deletion was accepted, with its rows.
pub fn drop_group(slot: &mut Option<Group>, effects: &mut Effects) {
    if slot.take().is_some() {
        effects.changed(RowKey::Head);
    }
}
