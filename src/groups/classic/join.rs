//! JoinGroup: who is let in, and with what id.

use std::sync::Arc;

use bytes::Bytes;

use super::super::effects::{Answer, Effects, Notice, Now, Ticket};
use super::super::error::GroupError;
use super::super::limits::ClassicLimits;
use super::super::request::{JoinAnswer, JoinRequest, Joined, JoinedMember, Protocol};
use super::group::{ClassicGroup, State};
use super::member::{Member, StoredMember, drop_repeated, owned};

/// Milliseconds that a member that has never been answered may wait for the generation to begin
/// (`group.new.member.join.timeout.ms`, which Kafka does not let anyone set).
pub(super) const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1000;

impl ClassicGroup {
    /// Whether a JoinGroup's session timeout is permitted. The coordinator asks before it looks for the group, so that a
    /// refused request makes none; [`join`](Self::join) asks again.
    ///
    /// # Errors
    /// [`GroupError::InvalidSessionTimeout`].
    pub fn check_session_timeout(session_timeout_ms: i32, limits: &ClassicLimits) -> Result<(), GroupError> {
        let permitted = (limits.session_min_ms..=limits.session_max_ms).contains(&session_timeout_ms);
        if permitted { Ok(()) } else { Err(GroupError::InvalidSessionTimeout) }
    }

    /// A member joins, or joins again. The answer comes at once, or when the generation begins.
    ///
    /// Refusals, in Kafka's order: [`GroupError::InvalidSessionTimeout`]; [`GroupError::GroupMaxSizeReached`];
    /// [`GroupError::CoordinatorNotAvailable`] when the group was given up;
    /// [`GroupError::InconsistentGroupProtocol`]; then for a new member [`GroupError::MemberIdRequired`] with its id
    /// (KIP-394), and for others [`GroupError::UnknownMemberId`] and [`GroupError::FencedInstanceId`] (KIP-345).
    pub fn join(
        &mut self,
        mut request: JoinRequest,
        ticket: Ticket,
        limits: &ClassicLimits,
        now: Now,
        effects: &mut Effects,
    ) {
        drop_repeated(&mut request.protocols);
        if let Err(error) = Self::check_session_timeout(request.session_timeout_ms, limits) {
            return refuse(ticket, request.member_id, error, effects);
        }
        let is_new = request.member_id.is_empty();
        if !self.has_room_for(&request.member_id, limits) {
            // As Kafka does: a member that is one too many in this rebalance has no place to come back to.
            if let Some((id, _)) = self.members.get_key_value(request.member_id.as_str()) {
                let member = Arc::clone(id);
                effects.notice(Notice::MemberFenced { member, reason: "the group is full" });
            }
            self.remove(&request.member_id, effects);
            refuse(ticket, String::new(), GroupError::GroupMaxSizeReached, effects);
        } else if self.state == State::Dead {
            refuse(ticket, request.member_id, GroupError::CoordinatorNotAvailable, effects);
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            refuse(ticket, request.member_id, GroupError::InconsistentGroupProtocol, effects);
        } else if is_new {
            self.join_new(request, ticket, limits, now, effects);
        } else {
            self.join_known(request, ticket, limits, now, effects);
        }
        // Kafka stores a group when it begins to exist, before it has a generation.
        let exists = !self.members.is_empty() || !self.pending.is_empty();
        if exists && !self.stored {
            self.changed(effects);
        }
    }

    /// `group.max.size`, as Kafka counts: during a rebalance by those who have joined so that the last to come are the
    /// ones without a place; else by the members.
    fn has_room_for(&self, member_id: &str, limits: &ClassicLimits) -> bool {
        let member = self.members.get(member_id);
        match self.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => {
                member.is_some_and(|member| member.waiting_join.is_some())
                    || self.waiting_joins < limits.members_max
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || self.members.len() < limits.members_max
            }
        }
    }

    /// An empty group takes any protocol type and protocols. Others need the same type, and one protocol that all support.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let by_all = |protocol: &Protocol| {
            self.support.get(&protocol.name).copied().unwrap_or(0) == self.members.len()
        };
        self.protocol_type() == Some(protocol_type) && protocols.iter().any(by_all)
    }

    fn join_new(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        limits: &ClassicLimits,
        now: Now,
        effects: &mut Effects,
    ) {
        let new_id: Arc<str> = request.new_member_id.as_str().into();
        let known = request.instance_id.as_deref().is_some_and(|id| self.instances.contains_key(id));
        if known {
            self.take_over(request, new_id, ticket, limits, now, effects);
        } else if request.instance_id.is_some() || !request.requires_known_member_id {
            self.add(request, new_id, ticket, limits, now, effects);
        } else if self.pending.len() >= limits.pending_members_max {
            // Kafka has no such bound. The client tries again, and ids that nobody joined with go by then.
            refuse(ticket, String::new(), GroupError::CoordinatorNotAvailable, effects);
        } else {
            self.start_pending(new_id, request.session_timeout_ms, now);
            refuse(ticket, request.new_member_id, GroupError::MemberIdRequired, effects);
        }
    }

    fn join_known(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        limits: &ClassicLimits,
        now: Now,
        effects: &mut Effects,
    ) {
        let id: Arc<str> = request.member_id.as_str().into();
        // An id is given out to dynamic members only; one that comes back with an instance id is nobody's.
        if self.pending.contains_key(&id) && request.instance_id.is_none() {
            return self.add(request, id, ticket, limits, now, effects);
        }
        if let Err(error) = self.check_member(&id, request.instance_id.as_deref()) {
            return refuse(ticket, request.member_id, error, effects);
        }
        let Some(member) = self.members.get(&id) else {
            return refuse(ticket, request.member_id, GroupError::UnknownMemberId, effects);
        };
        let is_leader = self.leader.as_ref() == Some(&id);
        let unchanged = member.protocols == request.protocols;
        let reason = match self.state {
            State::PreparingRebalance => format!("member {id} joins"),
            // It may not have received the answer to its last JoinGroup.
            State::CompletingRebalance if unchanged => {
                return self.answer_join(&id, ticket, is_leader, effects);
            }
            State::Stable if unchanged && !is_leader => return self.answer_join(&id, ticket, false, effects),
            // The leader joins again when the assignment is to change for a reason of its own, such as more partitions.
            State::Stable if is_leader => format!("leader {id} joins again"),
            State::CompletingRebalance | State::Stable => format!("member {id} changed its metadata"),
            State::Empty | State::Dead => {
                return refuse(ticket, request.member_id, GroupError::UnknownMemberId, effects);
            }
        };
        let reason = with_client_reason(reason, request.reason.as_deref());
        self.update(&id, request, ticket, effects);
        self.rebalance(reason, limits, now, effects);
    }

    /// A new member, with an id of its own from now on.
    fn add(
        &mut self,
        request: JoinRequest,
        id: Arc<str>,
        ticket: Ticket,
        limits: &ClassicLimits,
        now: Now,
        effects: &mut Effects,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.as_str().into());
        }
        if self.is_initial() {
            self.member_added = true;
        }
        let instance = request.instance_id.as_deref().map_or(String::new(), |id| format!(" ({id})"));
        let reason = format!("member {id}{instance} came");
        let mut member = Member::new(StoredMember {
            id: Arc::clone(&id),
            instance_id: request.instance_id.as_deref().map(Arc::from),
            client: request.client,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: owned(request.protocols),
            assignment: Bytes::new(),
        });
        member.is_new = true;
        member.waiting_join = Some(ticket);
        self.insert(member, now);
        self.start_session(&id, NEW_MEMBER_JOIN_TIMEOUT_MS, now);
        effects.notice(Notice::MemberJoined(id));
        self.rebalance(with_client_reason(reason, request.reason.as_deref()), limits, now, effects);
    }

    /// A static member comes back without its member id: it gets a new one, and the old one is fenced. In a stable group
    /// this is no rebalance, unless the group would choose another protocol (KIP-345).
    fn take_over(
        &mut self,
        request: JoinRequest,
        id: Arc<str>,
        ticket: Ticket,
        limits: &ClassicLimits,
        now: Now,
        effects: &mut Effects,
    ) {
        let Some(instance_id) = request.instance_id.clone() else { return };
        let leader_before = self.leader.clone();
        let skips = request.supports_skipping_assignment;
        let reason =
            with_client_reason(format!("static member {instance_id} came back"), request.reason.as_deref());
        self.replace_static(&instance_id, &id, effects);
        effects.notice(Notice::MemberJoined(Arc::clone(&id)));
        // With the session timeout it had; the new one counts from its first heartbeat.
        let session_ms = self.members.get(&id).map_or(0, |member| member.session_timeout_ms);
        self.start_session(&id, session_ms, now);
        self.update(&id, request, ticket, effects);
        match self.state {
            State::Stable if self.select_protocol() == self.protocol_name => {
                self.subscribed = self.compute_subscribed();
                self.changed(effects);
                self.answer_take_over(&id, leader_before, skips, effects);
            }
            // In CompletingRebalance the leader may have been told the old id already, and would assign to it.
            State::Stable | State::CompletingRebalance => {
                self.prepare_rebalance(reason, limits, now, effects)
            }
            State::PreparingRebalance => self.maybe_complete_join(now, effects),
            State::Empty | State::Dead => {}
        }
    }

    /// Takes over what a JoinGroup of a member says, and lets it wait.
    fn update(&mut self, id: &Arc<str>, request: JoinRequest, ticket: Ticket, effects: &mut Effects) {
        self.set_protocols(id, owned(request.protocols));
        if let Some(member) = self.members.get_mut(id) {
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
            member.session_timeout_ms = request.session_timeout_ms;
        }
        self.wait_join(id, ticket, effects);
    }

    /// Tells a member the present generation, and the leader who its members are.
    pub(super) fn answer_join(&self, id: &str, ticket: Ticket, to_leader: bool, effects: &mut Effects) {
        let members = if to_leader { self.joined_members() } else { Vec::new() };
        let leader = self.leader().unwrap_or_default().to_owned();
        self.answer_joined(id, ticket, leader, false, members, effects);
    }

    /// A client that cannot be told to skip the assignment is told that its old id leads, so that it does not assign
    /// anew what it could not know (KIP-814).
    fn answer_take_over(
        &mut self,
        id: &str,
        leader_before: Option<Arc<str>>,
        skips: bool,
        effects: &mut Effects,
    ) {
        let Some(ticket) = self.take_waiting_join(id) else { return };
        if skips {
            let is_leader = self.leader() == Some(id);
            let members = if is_leader { self.joined_members() } else { Vec::new() };
            let leader = self.leader().unwrap_or_default().to_owned();
            self.answer_joined(id, ticket, leader, is_leader, members, effects);
        } else {
            let leader = leader_before.as_deref().unwrap_or_default().to_owned();
            self.answer_joined(id, ticket, leader, false, Vec::new(), effects);
        }
    }

    fn answer_joined(
        &self,
        id: &str,
        ticket: Ticket,
        leader: String,
        skip_assignment: bool,
        members: Vec<JoinedMember>,
        effects: &mut Effects,
    ) {
        let joined = Joined {
            generation: self.generation,
            protocol_type: self.protocol_type().map(str::to_owned),
            protocol_name: self.protocol_name().map(str::to_owned),
            leader,
            skip_assignment,
            member_id: id.to_owned(),
            members,
        };
        effects.answer(ticket, Answer::Join(JoinAnswer { member_id: id.to_owned(), result: Ok(joined) }));
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol_name().unwrap_or_default();
        let joined = |member: &Member| JoinedMember {
            member_id: member.id.to_string(),
            instance_id: member.instance_id.as_deref().map(str::to_owned),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(joined).collect()
    }
}

fn with_client_reason(reason: String, client_reason: Option<&str>) -> String {
    format!("{reason}; client reason: {}", client_reason.unwrap_or("not provided"))
}

fn refuse(ticket: Ticket, member_id: String, error: GroupError, effects: &mut Effects) {
    effects.answer(ticket, Answer::Join(JoinAnswer { member_id, result: Err(error) }));
}
