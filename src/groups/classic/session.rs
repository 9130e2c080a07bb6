//! Sessions: heartbeats renew them, and whoever lets one end is gone. All that happens by itself is here.

use std::sync::Arc;

use super::super::effects::{Effects, Notice, Now};
use super::super::error::GroupError;
use super::super::limits::ClassicLimits;
use super::super::request::HeartbeatRequest;
use super::group::{ClassicGroup, State};

impl ClassicGroup {
    /// Renews a member's session.
    ///
    /// # Errors
    /// In Kafka's order: [`GroupError::CoordinatorNotAvailable`] when the group was given up;
    /// [`GroupError::UnknownMemberId`] and [`GroupError::FencedInstanceId`]; [`GroupError::IllegalGeneration`];
    /// [`GroupError::RebalanceInProgress`], which renews the session all the same.
    pub fn heartbeat(&mut self, request: &HeartbeatRequest, now: Now) -> Result<(), GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.renew_session(&request.member_id, now);
        if self.state == State::PreparingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    /// The earliest tick at which [`tick`](Self::tick) may have something to do. Sometimes it will find that a member has
    /// heartbeated since; at most once per member and session timeout.
    pub fn deadline(&self) -> Option<u64> {
        self.next_event().map(|(at, _)| at)
    }

    /// Does what is due: sessions that ended, ids nobody joined with, rebalances that waited long enough.
    pub fn tick(&mut self, limits: &ClassicLimits, now: Now, effects: &mut Effects) {
        while let Some((at, event)) = self.next_event() {
            if at > now.ticks_ms {
                break;
            }
            match event {
                Event::Member => {
                    if let Some((_, id)) = self.timers.pop_first() {
                        self.member_is_due(id, limits, now, effects);
                    }
                }
                Event::JoinWait => self.join_wait_ended(limits, now, effects),
                Event::SyncWait => self.sync_wait_ended(limits, now, effects),
            }
        }
    }

    fn next_event(&self) -> Option<(u64, Event)> {
        let member = self.timers.first().map(|(at, _)| (*at, Event::Member));
        let join = self.join_wait.map(|wait| (wait.ends(), Event::JoinWait));
        let sync = self.sync_ends.map(|at| (at, Event::SyncWait));
        [member, join, sync].into_iter().flatten().min()
    }

    fn member_is_due(&mut self, id: Arc<str>, limits: &ClassicLimits, now: Now, effects: &mut Effects) {
        if self.pending.remove(&id).is_some() {
            let reason = "it did not join with the id it was given";
            effects.notice(Notice::MemberFenced { member: id, reason });
            return self.maybe_complete_join_at_last(now, effects);
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        member.timer = None;
        match member.session_ends {
            Some(ends) if ends > now.ticks_ms => {
                member.timer = Some(ends);
                self.timers.insert((ends, id));
            }
            // The session starts again when the request is answered.
            _ if member.is_excused() => member.session_ends = None,
            _ => {
                self.remove(&id, effects);
                let reason = format!("member {id} sent no heartbeat within its session timeout");
                effects.notice(Notice::MemberFenced { member: id, reason: "its session ended" });
                match self.state {
                    State::Stable | State::CompletingRebalance => {
                        self.prepare_rebalance(reason, limits, now, effects);
                    }
                    _ => self.maybe_complete_join_at_last(now, effects),
                }
            }
        }
    }

    /// Whoever kept the others waiting is gone. In Kafka this ends an initial delay too.
    fn maybe_complete_join_at_last(&mut self, now: Now, effects: &mut Effects) {
        if self.state == State::PreparingRebalance && self.all_joined() {
            self.complete_join(now, effects);
        }
    }

    /// Starts a member's session anew, with its own timeout.
    pub(super) fn renew_session(&mut self, id: &str, now: Now) {
        if let Some(member) = self.members.get(id) {
            let timeout_ms = member.session_timeout_ms;
            self.start_session(id, timeout_ms, now);
        }
    }

    /// Starts a member's session anew, to end after `timeout_ms`. A later end leaves the timer where it is, so a
    /// heartbeat costs one look-up.
    pub(super) fn start_session(&mut self, id: &str, timeout_ms: i32, now: Now) {
        let Some(member) = self.members.get_mut(id) else { return };
        let ends = now.ticks_ms.saturating_add(u64::try_from(timeout_ms).unwrap_or(0));
        member.session_ends = Some(ends);
        match member.timer {
            Some(at) if at <= ends => return,
            Some(at) => drop(self.timers.remove(&(at, Arc::clone(&member.id)))),
            None => {}
        }
        member.timer = Some(ends);
        self.timers.insert((ends, Arc::clone(&member.id)));
    }

    /// Gives an id out; it is to be joined with within `timeout_ms` (KIP-394).
    pub(super) fn start_pending(&mut self, id: Arc<str>, timeout_ms: i32, now: Now) {
        let ends = now.ticks_ms.saturating_add(u64::try_from(timeout_ms).unwrap_or(0));
        if let Some(before) = self.pending.insert(Arc::clone(&id), ends) {
            self.timers.remove(&(before, Arc::clone(&id)));
        }
        self.timers.insert((ends, id));
    }
}

/// What is due at one moment happens in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Member,
    JoinWait,
    SyncWait,
}
