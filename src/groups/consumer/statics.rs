//! Which member a heartbeat is of: known, new, or a static member in the place of an earlier one.

use std::sync::Arc;

use super::super::assign::Partitions;
use super::super::effects::{Effects, Now, RowKey};
use super::super::error::GroupError;
use super::super::limits::ConsumerLimits;
use super::super::request::ConsumerHeartbeat;
use super::group::ConsumerGroup;
use super::member::{LEFT_FOR_A_WHILE, Member};

/// What a request's member is to the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A member.
    Known,
    /// To become one.
    New,
    /// To become one in the place of this one, with what it has.
    Replaces(Arc<str>),
}

impl ConsumerGroup {
    /// Finds a heartbeat's member.
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`], [`GroupError::FencedInstanceId`], [`GroupError::UnreleasedInstanceId`] while the
    /// earlier static member has not left, [`GroupError::FencedMemberEpoch`].
    pub(super) fn find(&self, request: &ConsumerHeartbeat) -> Result<Found, GroupError> {
        let is_joining = request.member_epoch == 0;
        let Some(instance_id) = request.instance_id.as_deref() else {
            return match self.members.get(request.member_id.as_str()) {
                Some(member) => check_epoch(member, request.member_epoch, request.owned.as_ref()),
                None if is_joining => Ok(Found::New),
                None => Err(GroupError::UnknownMemberId),
            };
        };
        let earlier = self.instances.get(instance_id).and_then(|id| self.members.get(id));
        match earlier {
            None if !is_joining => Err(GroupError::UnknownMemberId),
            None if self.members.contains_key(request.member_id.as_str()) => Ok(Found::Known),
            None => Ok(Found::New),
            Some(earlier) if is_joining => {
                if earlier.is_classic() || earlier.epoch() == LEFT_FOR_A_WHILE {
                    return Ok(Found::Replaces(Arc::clone(&earlier.id)));
                }
                Err(GroupError::UnreleasedInstanceId(format!(
                    "Static member {} with instance id {instance_id} cannot join the group because the instance id is \
                     owned by {} member.",
                    request.member_id, earlier.id
                )))
            }
            Some(member) if *member.id != *request.member_id => Err(GroupError::FencedInstanceId),
            Some(member) => check_epoch(member, request.member_epoch, request.owned.as_ref()),
        }
    }

    /// Gives a static member's place to a new member id, with its assignment and its subscription. It begins at epoch 0.
    pub(super) fn replace(
        &mut self,
        old_id: &Arc<str>,
        new_id: &Arc<str>,
        limits: &ConsumerLimits,
        now: Now,
        effects: &mut Effects,
    ) {
        // Held in between, so that what the expression matches is not forgotten.
        let regex = self.members.get(old_id).and_then(|member| member.stored.topic_regex.clone());
        if let Some(regex) = &regex {
            self.subscriptions.add_regex(regex);
        }
        let Some(mut member) = self.take(old_id) else { return };
        self.take(new_id);
        member.stored.standing.epoch = 0;
        member.stored.standing.previous_epoch = 0;
        self.insert(Arc::clone(new_id), member.stored, limits, now);
        if let Some(regex) = &regex {
            self.subscriptions.remove_regex(regex);
        }
        effects.changed(RowKey::Member(Arc::clone(old_id)));
        effects.changed(RowKey::Member(Arc::clone(new_id)));
    }

    /// Makes a member static. Says whether that is something new.
    pub(super) fn set_instance_id(&mut self, id: &str, instance_id: &str) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        if member.stored.instance_id.as_deref() == Some(instance_id) {
            return false;
        }
        let instance_id: Arc<str> = instance_id.into();
        if let Some(before) = member.stored.instance_id.replace(Arc::clone(&instance_id)) {
            self.instances.remove(&before);
        }
        self.instances.insert(instance_id, Arc::clone(&member.id));
        true
    }
}

/// A member must come with its epoch. It may come with the one before when all it owns is in its assignment: then the
/// answer with the new epoch may have been lost. Epoch 0 is somebody who joins again, having given up everything.
fn check_epoch(member: &Member, epoch: i32, owned: Option<&Partitions>) -> Result<Found, GroupError> {
    let standing = &member.stored.standing;
    let is_greater = epoch > standing.epoch;
    let missed_an_answer =
        epoch == standing.previous_epoch && owned.is_some_and(|owned| standing.assigned.contains_all(owned));
    if epoch == 0 || epoch == standing.epoch || (!is_greater && missed_an_answer) {
        return Ok(Found::Known);
    }
    Err(GroupError::FencedMemberEpoch(format!(
        "The consumer group member has a {} member epoch ({epoch}) than the one known by the group coordinator ({}). The \
         member must abandon all its partitions and rejoin.",
        if is_greater { "greater" } else { "smaller" },
        standing.epoch
    )))
}
