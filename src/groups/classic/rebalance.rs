//! A rebalance from its beginning to the new generation.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::super::effects::{Effects, Notice, Now};
use super::super::error::GroupError;
use super::super::limits::ClassicLimits;
use super::group::{ClassicGroup, JoinWait, State};

impl ClassicGroup {
    /// Begins a rebalance, or, when one is under way, ends its first half if everybody has joined.
    pub fn rebalance(&mut self, reason: String, limits: &ClassicLimits, now: Now, effects: &mut Effects) {
        match self.state {
            State::Empty | State::CompletingRebalance | State::Stable => {
                self.prepare_rebalance(reason, limits, now, effects);
            }
            State::PreparingRebalance => self.maybe_complete_join(now, effects),
            State::Dead => {}
        }
    }

    /// Whether the group was empty when this rebalance began. Then it waits for its delay to end, even when all members
    /// have joined.
    pub(super) fn is_initial(&self) -> bool {
        matches!(self.join_wait, Some(JoinWait::Initial { .. }))
    }

    /// Begins a rebalance. Whoever waits for an assignment is to join again.
    pub(super) fn prepare_rebalance(
        &mut self,
        reason: String,
        limits: &ClassicLimits,
        now: Now,
        effects: &mut Effects,
    ) {
        effects.notice(Notice::RebalanceBegan(reason));
        if self.state == State::CompletingRebalance {
            self.discard_assignments(now, effects);
        } else {
            self.rebalance_began = now.ticks_ms;
        }
        self.unsynced.clear();
        self.sync_ends = None;
        let is_initial = self.state == State::Empty;
        self.enter(State::PreparingRebalance, now);
        if is_initial {
            let delay_ms = u64::try_from(limits.initial_rebalance_delay_ms).unwrap_or(0);
            let ends = now.ticks_ms.saturating_add(delay_ms);
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.member_added = false;
            self.join_wait = Some(JoinWait::Initial { ends, delay_ms, remaining_ms });
        } else if self.all_joined() {
            self.complete_join(now, effects);
        } else {
            let ends = now.ticks_ms.saturating_add(self.rebalance_timeout_ms());
            self.join_wait = Some(JoinWait::Rebalance { ends });
        }
    }

    fn discard_assignments(&mut self, now: Now, effects: &mut Effects) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = Bytes::new();
            }
            if self.refuse_waiting_sync(&id, GroupError::RebalanceInProgress, effects) {
                self.renew_session(&id, now);
            }
        }
    }

    /// Begins the generation if everybody has joined and the group need not wait for more to come.
    pub(super) fn maybe_complete_join(&mut self, now: Now, effects: &mut Effects) {
        if self.state == State::PreparingRebalance && !self.is_initial() && self.all_joined() {
            self.complete_join(now, effects);
        }
    }

    /// The delay or the rebalance timeout has ended.
    pub(super) fn join_wait_ended(&mut self, limits: &ClassicLimits, now: Now, effects: &mut Effects) {
        match self.join_wait {
            // Members still come: wait as long again, but no longer than the rebalance timeout in all.
            Some(JoinWait::Initial { delay_ms, remaining_ms, .. })
                if self.member_added && remaining_ms != 0 =>
            {
                self.member_added = false;
                let most = u64::try_from(limits.initial_rebalance_delay_ms).unwrap_or(0);
                let next_ms = remaining_ms.min(most);
                self.join_wait = Some(JoinWait::Initial {
                    ends: now.ticks_ms.saturating_add(next_ms),
                    delay_ms: next_ms,
                    remaining_ms: remaining_ms.saturating_sub(delay_ms),
                });
            }
            _ => self.complete_join(now, effects),
        }
    }

    /// Begins the next generation with whoever has joined. Dynamic members that have not are gone; static members keep
    /// their place until their session ends (KIP-345).
    pub(super) fn complete_join(&mut self, now: Now, effects: &mut Effects) {
        self.join_wait = None;
        let late: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|member| member.waiting_join.is_none() && member.instance_id.is_none())
            .map(|member| Arc::clone(&member.id))
            .collect();
        for id in late {
            self.remove(&id, effects);
            let reason = "it did not join within the rebalance timeout";
            effects.notice(Notice::MemberFenced { member: id, reason });
        }
        if self.members.is_empty() {
            return self.become_empty(now, effects);
        }
        if !self.elect_leader() {
            // Nobody is there to lead. Wait for somebody to join, or for the sessions of all to end. At least a
            // millisecond, so that time passes between one attempt and the next.
            let ends = now.ticks_ms.saturating_add(self.rebalance_timeout_ms().max(1));
            self.join_wait = Some(JoinWait::Rebalance { ends });
            return;
        }
        self.begin_generation(now, effects);
    }

    fn become_empty(&mut self, now: Now, effects: &mut Effects) {
        self.generation = self.generation.saturating_add(1);
        self.protocol_name = None;
        self.subscribed = self.compute_subscribed();
        self.unsynced.clear();
        self.enter(State::Empty, now);
        self.changed(effects);
        effects.notice(Notice::RebalanceEnded {
            millis: now.ticks_ms.saturating_sub(self.rebalance_began),
            generation: self.generation,
        });
    }

    fn begin_generation(&mut self, now: Now, effects: &mut Effects) {
        self.generation = self.generation.saturating_add(1);
        self.protocol_name = self.select_protocol();
        self.subscribed = self.compute_subscribed();
        self.enter(State::CompletingRebalance, now);
        self.unsynced = self.members.keys().cloned().collect();
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(ticket) = self.take_waiting_join(&id) {
                self.answer_join(&id, ticket, self.leader.as_ref() == Some(&id), effects);
            }
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.renew_session(&id, now);
        }
        self.sync_ends = Some(now.ticks_ms.saturating_add(self.rebalance_timeout_ms()));
    }

    /// Passes the lead to a member that has joined, when the leader has not. Says whether anybody has.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &Arc<str>| self.members.get(id).is_some_and(|m| m.waiting_join.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let Some(first) = self.members.values().find(|member| member.waiting_join.is_some()) else {
            return false;
        };
        self.leader = Some(Arc::clone(&first.id));
        true
    }

    /// The protocol most members prefer among those that all support; of several, the first by name. There is one in
    /// every group with members, because whoever joins must support one that all others do.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let by_all = |name: &str| self.support.get(name).copied() == Some(self.members.len());
        let mut votes: HashMap<&str, usize> = HashMap::new();
        for member in self.members.values() {
            if let Some(vote) = member.protocols.iter().find(|protocol| by_all(&protocol.name)) {
                *votes.entry(&vote.name).or_default() += 1;
            }
        }
        let most = votes.into_iter().max_by(|(a, x), (b, y)| x.cmp(y).then_with(|| b.cmp(a)));
        most.map(|(name, _)| Arc::from(name))
    }
}
