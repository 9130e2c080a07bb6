//! SyncGroup: the leader's assignments reach the members.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::super::effects::{Answer, Effects, Notice, Now, Ticket};
use super::super::error::GroupError;
use super::super::limits::ClassicLimits;
use super::super::request::{SyncRequest, Synced};
use super::group::{ClassicGroup, State};

impl ClassicGroup {
    /// A member asks for its assignment. The leader brings those of all: with them the group is stable, and everybody who
    /// waits is answered.
    ///
    /// Refusals, in Kafka's order: [`GroupError::UnknownMemberId`] from an empty group;
    /// [`GroupError::CoordinatorNotAvailable`] when the group was given up; [`GroupError::UnknownMemberId`] and
    /// [`GroupError::FencedInstanceId`]; [`GroupError::IllegalGeneration`];
    /// [`GroupError::InconsistentGroupProtocol`] (KIP-559); [`GroupError::RebalanceInProgress`].
    pub fn sync(&mut self, request: SyncRequest, ticket: Ticket, now: Now, effects: &mut Effects) {
        if let Err(error) = self.check_sync(&request) {
            return effects.answer(ticket, Answer::Sync(Err(error)));
        }
        self.unsynced.remove(request.member_id.as_str());
        if self.unsynced.is_empty() {
            self.sync_ends = None;
        }
        if self.state == State::Stable {
            let assignment = self.members.get(request.member_id.as_str()).map(|m| m.assignment.clone());
            return effects.answer(ticket, Answer::Sync(Ok(self.synced(assignment.unwrap_or_default()))));
        }
        // One that waits already came over a connection the client gave up.
        self.refuse_waiting_sync(&request.member_id, GroupError::RebalanceInProgress, effects);
        if let Some(member) = self.members.get_mut(request.member_id.as_str()) {
            member.waiting_sync = Some(ticket);
        }
        if self.leader() == Some(&request.member_id) {
            self.assign(request.assignments, now, effects);
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        match self.state {
            State::Empty => return Err(GroupError::UnknownMemberId),
            State::Dead => return Err(GroupError::CoordinatorNotAvailable),
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {}
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs =
            |sent: Option<&str>, ours: Option<&str>| sent.is_some() && ours.is_some() && sent != ours;
        if differs(request.protocol_type.as_deref(), self.protocol_type())
            || differs(request.protocol_name.as_deref(), self.protocol_name())
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        if self.state == State::PreparingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    /// A member that the leader forgot has an empty assignment; one that the leader made up is passed over.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>, now: Now, effects: &mut Effects) {
        let mut assignments: HashMap<String, Bytes> = assignments.into_iter().collect();
        for member in self.members.values_mut() {
            let assignment = assignments.remove(&*member.id).unwrap_or_default();
            // A copy, so that what the request holds beside it does not stay in memory.
            member.assignment = Bytes::copy_from_slice(&assignment);
        }
        self.enter(State::Stable, now);
        self.changed(effects);
        let ids: Vec<(Arc<str>, Bytes)> =
            self.members.values().map(|member| (Arc::clone(&member.id), member.assignment.clone())).collect();
        for (id, assignment) in ids {
            let answer = Ok(self.synced(assignment));
            if self.answer_waiting_sync(&id, answer, effects) {
                // Its session was not counted while it waited.
                self.renew_session(&id, now);
            }
        }
        effects.notice(Notice::RebalanceEnded {
            millis: now.ticks_ms.saturating_sub(self.rebalance_began),
            generation: self.generation,
        });
    }

    fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            protocol_type: self.protocol_type().map(str::to_owned),
            protocol_name: self.protocol_name().map(str::to_owned),
            assignment,
        }
    }

    /// Members that did not ask for their assignment within the rebalance timeout are gone.
    pub(super) fn sync_wait_ended(&mut self, limits: &ClassicLimits, now: Now, effects: &mut Effects) {
        self.sync_ends = None;
        let late = std::mem::take(&mut self.unsynced);
        if late.is_empty() {
            return;
        }
        let reason = format!("{} members did not ask for their assignments", late.len());
        for id in late {
            self.remove(&id, effects);
            let reason = "it did not ask for its assignment within the rebalance timeout";
            effects.notice(Notice::MemberFenced { member: id, reason });
        }
        self.prepare_rebalance(reason, limits, now, effects);
    }
}
