//! Who is gone because it was silent, or took too long.

use std::sync::Arc;

use super::super::effects::{Effects, Notice, Now};
use super::super::limits::ConsumerLimits;
use super::group::ConsumerGroup;
use super::member::MemberState;

impl ConsumerGroup {
    /// The earliest tick at which a member may be gone. Sometimes it will be found that the member has heartbeated since;
    /// at most once per member and session timeout.
    pub fn deadline(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The members that are gone, whose timers have run out. They are to be removed.
    pub(crate) fn take_due(&mut self, now: Now, effects: &mut Effects) -> Vec<Arc<str>> {
        let mut gone = Vec::new();
        while let Some((at, _)) = self.timers.first()
            && *at <= now.ticks_ms
            && let Some((_, id)) = self.timers.pop_first()
        {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.timer = None;
            let is_over = |ends: Option<u64>| ends.is_some_and(|ends| ends <= now.ticks_ms);
            let reason = if is_over(Some(member.session_ends)) {
                "its session ended"
            } else if is_over(member.revocation_ends) {
                "it did not give up its partitions within the rebalance timeout"
            } else if is_over(member.join_ends) {
                "it did not join within the rebalance timeout"
            } else if is_over(member.sync_ends) {
                "it did not ask for its assignment within the rebalance timeout"
            } else {
                self.set_timer(&id);
                continue;
            };
            effects.notice(Notice::MemberFenced { member: Arc::clone(&id), reason });
            gone.push(id);
        }
        gone
    }

    /// Starts a member's session anew. A later end leaves the timer where it is, so that a heartbeat costs one look-up.
    pub(super) fn start_session(&mut self, id: &str, limits: &ConsumerLimits, now: Now) {
        let Some(member) = self.members.get_mut(id) else { return };
        let timeout_ms = match &member.stored.classic {
            Some(classic) => classic.session_timeout_ms,
            None => limits.session_timeout_ms,
        };
        member.session_ends = after(now, timeout_ms);
        if member.timer.is_none_or(|at| at > member.session_ends) {
            self.set_timer(id);
        }
    }

    /// Starts or ends the time that a member has to give partitions up. Classic members have the times to join and to
    /// ask for their assignment instead.
    pub(super) fn time_revocation(&mut self, id: &str, now: Now) {
        let Some(member) = self.members.get_mut(id) else { return };
        let is_revoking = member.stored.standing.state == MemberState::UnrevokedPartitions;
        let is_timed = is_revoking && !member.is_classic() && member.epoch() >= 0;
        member.revocation_ends = is_timed.then(|| after(now, member.stored.rebalance_timeout_ms));
        self.set_timer(id);
    }

    /// A classic member that was told to join again must have joined by then. The first time it was told counts.
    pub(super) fn expect_join(&mut self, id: &str, now: Now) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.join_ends.is_none() {
            member.join_ends = Some(after(now, member.stored.rebalance_timeout_ms));
            self.set_timer(id);
        }
    }

    /// A classic member has joined, and must have asked for its assignment by then.
    pub(super) fn expect_sync(&mut self, id: &str, rebalance_timeout_ms: i32, now: Now) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.join_ends = None;
        member.sync_ends = Some(after(now, rebalance_timeout_ms));
        self.set_timer(id);
    }

    /// A classic member has asked for its assignment.
    pub(super) fn note_synced(&mut self, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.sync_ends = None;
        }
    }

    /// Sets a member's timer to the earliest that it may be gone, unless it stands earlier already.
    fn set_timer(&mut self, id: &str) {
        let Some(member) = self.members.get_mut(id) else { return };
        let at = member.next_deadline();
        match member.timer {
            Some(before) if before <= at => return,
            Some(before) => drop(self.timers.remove(&(before, Arc::clone(&member.id)))),
            None => {}
        }
        member.timer = Some(at);
        self.timers.insert((at, Arc::clone(&member.id)));
    }
}

fn after(now: Now, timeout_ms: i32) -> u64 {
    now.ticks_ms.saturating_add(u64::try_from(timeout_ms).unwrap_or(0))
}
