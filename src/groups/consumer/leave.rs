//! Members leave, for good or for a while, and are taken out.

use std::sync::Arc;

use super::super::effects::{Effects, Notice, Now, RowKey};
use super::super::error::GroupError;
use super::super::request::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use super::super::topics_view::TopicsView;
use super::group::ConsumerGroup;
use super::member::LEFT_FOR_A_WHILE;
use super::owned::Owned;

impl ConsumerGroup {
    /// The member that a heartbeat of a negative epoch takes out, for good or for a while.
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`]; [`GroupError::FencedInstanceId`] for a static member whose place another has.
    pub(crate) fn leaving_member(&self, request: &ConsumerHeartbeat) -> Result<Arc<str>, GroupError> {
        let id = match request.instance_id.as_deref() {
            None => self.members.get_key_value(request.member_id.as_str()).map(|(id, _)| id),
            Some(instance_id) => self.instances.get(instance_id),
        };
        match id {
            None => Err(GroupError::UnknownMemberId),
            Some(id) if **id != *request.member_id => Err(GroupError::FencedInstanceId),
            Some(id) => Ok(Arc::clone(id)),
        }
    }

    /// A heartbeat of a negative epoch.
    pub(super) fn leave_by_heartbeat(
        &mut self,
        request: ConsumerHeartbeat,
        topics: &dyn TopicsView,
        now: Now,
        effects: &mut Effects,
    ) -> Result<ConsumerHeartbeatAnswer, GroupError> {
        let id = self.leaving_member(&request)?;
        if request.member_epoch == LEFT_FOR_A_WHILE && request.instance_id.is_some() {
            self.leave_for_a_while(&id, now, effects);
        } else {
            effects.notice(Notice::MemberLeft(Arc::clone(&id)));
            self.remove_members(&[id], topics, now, effects);
        }
        Ok(farewell(request))
    }

    /// A static member goes and is expected back before its session ends. What it was giving up is free; what it owns
    /// stays its own, for whoever comes in its place.
    fn leave_for_a_while(&mut self, id: &Arc<str>, now: Now, effects: &mut Effects) {
        let Some(member) = self.members.get(id) else { return };
        let mut standing = member.stored.standing.clone();
        standing.epoch = LEFT_FOR_A_WHILE;
        standing.pending_revocation = Owned::default();
        standing.assigned.reset_epochs();
        self.set_standing(id, standing, effects);
        self.time_revocation(id, now);
        effects.notice(Notice::MemberLeft(Arc::clone(id)));
    }

    /// Takes members out; the others share what they had (`consumerGroupFenceMembers`).
    pub(crate) fn remove_members(
        &mut self,
        ids: &[Arc<str>],
        topics: &dyn TopicsView,
        now: Now,
        effects: &mut Effects,
    ) {
        let mut first = None;
        for id in ids {
            if self.take(id).is_some() {
                effects.changed(RowKey::Member(Arc::clone(id)));
                first = first.or(Some(id));
            }
        }
        let Some(first) = first else { return };
        self.metadata_hash = self.subscriptions.metadata_hash(topics);
        self.topics_version = Some(topics.version());
        self.bump_epoch(format!("member {first} is gone"), now, effects);
        self.note_progress(now, effects);
    }
}

/// The answer to who leaves: its own id and epoch.
pub(crate) fn farewell(request: ConsumerHeartbeat) -> ConsumerHeartbeatAnswer {
    ConsumerHeartbeatAnswer {
        member_id: Some(request.member_id),
        member_epoch: request.member_epoch,
        heartbeat_interval_ms: 0,
        assignment: None,
    }
}
