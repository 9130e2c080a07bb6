//! Who is in the group: members come in, go, are replaced and wait, and all that is counted of them stays true.

use std::sync::Arc;

use super::super::effects::{Answer, Effects, Notice, Now, Ticket};
use super::super::error::GroupError;
use super::super::request::{JoinAnswer, Protocol, SyncAnswer};
use super::group::ClassicGroup;
use super::member::Member;

impl ClassicGroup {
    /// Puts a member in and starts its session. The first becomes the leader.
    pub(super) fn insert(&mut self, member: Member, now: Now) {
        let id = Arc::clone(&member.id);
        if let Some(instance_id) = &member.instance_id {
            self.instances.insert(Arc::clone(instance_id), Arc::clone(&id));
        }
        if self.leader.is_none() {
            self.leader = Some(Arc::clone(&id));
        }
        if let Some(ends) = self.pending.remove(&id) {
            self.timers.remove(&(ends, Arc::clone(&id)));
        }
        self.count_support(&member.protocols, 1);
        self.waiting_joins += usize::from(member.waiting_join.is_some());
        let timeout_ms = member.session_timeout_ms;
        self.members.insert(Arc::clone(&id), member);
        self.start_session(&id, timeout_ms, now);
    }

    /// Takes a member or a pending member out, and answers what it waits for with `UNKNOWN_MEMBER_ID`, so that a client
    /// that is still there joins anew. Another member takes the lead.
    pub(super) fn remove(&mut self, id: &str, effects: &mut Effects) {
        self.refuse_waiting_join(id, "", GroupError::UnknownMemberId, effects);
        self.refuse_waiting_sync(id, GroupError::UnknownMemberId, effects);
        if let Some((id, ends)) = self.pending.remove_entry(id) {
            self.timers.remove(&(ends, id));
        }
        self.unsynced.remove(id);
        let Some(member) = self.members.remove(id) else { return };
        self.forget_support(&member.protocols);
        if let Some(instance_id) = &member.instance_id {
            self.instances.remove(instance_id);
        }
        if let Some(at) = member.timer {
            self.timers.remove(&(at, member.id));
        }
        if self.leader() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Gives a static member's place to a new member id; the old id is fenced at once (KIP-345). The caller starts the
    /// session.
    pub(super) fn replace_static(&mut self, instance_id: &str, new_id: &Arc<str>, effects: &mut Effects) {
        let Some(old_id) = self.instances.get(instance_id).cloned() else { return };
        self.refuse_waiting_join(&old_id, &old_id, GroupError::FencedInstanceId, effects);
        self.refuse_waiting_sync(&old_id, GroupError::FencedInstanceId, effects);
        let Some(mut member) = self.members.remove(&old_id) else { return };
        if let Some(at) = member.timer.take() {
            self.timers.remove(&(at, Arc::clone(&old_id)));
        }
        member.session_ends = None;
        member.is_new = false;
        member.id = Arc::clone(new_id);
        self.members.insert(Arc::clone(new_id), member);
        self.instances.insert(instance_id.into(), Arc::clone(new_id));
        if self.leader.as_ref() == Some(&old_id) {
            self.leader = Some(Arc::clone(new_id));
        }
        if self.unsynced.remove(&old_id) {
            self.unsynced.insert(Arc::clone(new_id));
        }
        effects.notice(Notice::MemberFenced {
            member: old_id,
            reason: "another member took over its group instance id",
        });
    }

    pub(super) fn set_protocols(&mut self, id: &str, protocols: Vec<Protocol>) {
        self.count_support(&protocols, 1);
        let Some(member) = self.members.get_mut(id) else {
            return self.forget_support(&protocols);
        };
        let before = std::mem::replace(&mut member.protocols, protocols);
        self.forget_support(&before);
    }

    fn count_support(&mut self, protocols: &[Protocol], members: usize) {
        for protocol in protocols {
            match self.support.get_mut(&protocol.name) {
                Some(count) => *count += members,
                None => drop(self.support.insert(protocol.name.clone(), members)),
            }
        }
    }

    fn forget_support(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            if let Some(count) = self.support.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.support.remove(&protocol.name);
                }
            }
        }
    }

    /// Lets a member wait for the generation to begin. A JoinGroup of it that waits already came over a connection the
    /// client gave up; it is told to join again, should it still be there.
    pub(super) fn wait_join(&mut self, id: &str, ticket: Ticket, effects: &mut Effects) {
        self.refuse_waiting_join(id, id, GroupError::RebalanceInProgress, effects);
        if let Some(member) = self.members.get_mut(id) {
            member.waiting_join = Some(ticket);
            self.waiting_joins += 1;
        }
    }

    /// Takes the JoinGroup that waits, to answer it.
    pub(super) fn take_waiting_join(&mut self, id: &str) -> Option<Ticket> {
        let ticket = self.members.get_mut(id)?.waiting_join.take()?;
        self.waiting_joins -= 1;
        Some(ticket)
    }

    pub(super) fn refuse_waiting_join(
        &mut self,
        id: &str,
        told_id: &str,
        error: GroupError,
        effects: &mut Effects,
    ) {
        if let Some(ticket) = self.take_waiting_join(id) {
            let answer = JoinAnswer { member_id: told_id.to_owned(), result: Err(error) };
            effects.answer(ticket, Answer::Join(answer));
        }
    }

    /// Answers the SyncGroup that waits, if one does.
    pub(super) fn refuse_waiting_sync(&mut self, id: &str, error: GroupError, effects: &mut Effects) -> bool {
        self.answer_waiting_sync(id, Err(error), effects)
    }

    pub(super) fn answer_waiting_sync(
        &mut self,
        id: &str,
        answer: SyncAnswer,
        effects: &mut Effects,
    ) -> bool {
        let ticket = self.members.get_mut(id).and_then(|member| member.waiting_sync.take());
        if let Some(ticket) = ticket {
            effects.answer(ticket, Answer::Sync(answer));
        }
        ticket.is_some()
    }
}
