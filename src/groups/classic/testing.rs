//! A classic group with a clock that stands still until it is told, and the answers it has given.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::effects::{Answer, Effects, Notice, Now, RowKey, Ticket};
use super::super::error::GroupError;
use super::super::limits::ClassicLimits;
use super::super::request::{
    Client, Committer, HeartbeatRequest, JoinAnswer, JoinRequest, Joined, Leaving, Left, Protocol,
    SyncAnswer, SyncRequest,
};
use super::{ClassicGroup, State};

/// Session timeout of the members that [`member`] makes, in milliseconds.
pub(super) const SESSION_MS: i32 = 10_000;
/// Rebalance timeout of the members that [`member`] makes, in milliseconds.
pub(super) const REBALANCE_MS: i32 = 60_000;
/// `group.initial.rebalance.delay.ms`.
pub(super) const DELAY_MS: u64 = 3_000;
/// What the wall clock shows when the ticks are 0.
pub(super) const EPOCH_MS: i64 = 1_700_000_000_000;

pub(super) struct Tested {
    pub(super) group: ClassicGroup,
    pub(super) limits: ClassicLimits,
    pub(super) ticks_ms: u64,
    pub(super) answers: BTreeMap<Ticket, Answer>,
    pub(super) notices: Vec<Notice>,
    /// How often the row changed.
    pub(super) writes: usize,
    /// The row as it was when it last changed.
    pub(super) row: Vec<u8>,
    tickets: u64,
}

impl Tested {
    pub(super) fn new() -> Self {
        let limits = ClassicLimits {
            session_min_ms: 1_000,
            session_max_ms: 300_000,
            initial_rebalance_delay_ms: i32::try_from(DELAY_MS).expect("small"),
            members_max: 100,
            pending_members_max: 100,
        };
        Self {
            group: ClassicGroup::new("g".into(), now_at(0)),
            limits,
            ticks_ms: 0,
            answers: BTreeMap::new(),
            notices: Vec::new(),
            writes: 0,
            row: Vec::new(),
            tickets: 0,
        }
    }

    /// A stable group of these members; `"m@i"` is the static member `m` of the instance `i`. The first leads.
    pub(super) fn stable(members: &[&str]) -> Self {
        let mut tested = Self::completing(members);
        let generation = tested.group.generation();
        let assignments: Vec<(String, Bytes)> =
            members.iter().map(|name| (split(name).0, assignment_of(split(name).0.as_str()))).collect();
        for (position, name) in members.iter().enumerate() {
            let mut request = sync_of(name, generation);
            if position == 0 {
                request.assignments.clone_from(&assignments);
            }
            let ticket = tested.sync(request);
            assert!(tested.synced(ticket).is_ok());
        }
        assert_eq!(tested.group.state(), State::Stable);
        tested
    }

    /// A group whose generation 1 began, with nobody's SyncGroup received.
    pub(super) fn completing(members: &[&str]) -> Self {
        let mut tested = Self::new();
        let tickets: Vec<Ticket> = members.iter().map(|name| tested.join(member(name))).collect();
        tested.wait(DELAY_MS);
        // Whoever came after the first lengthens the delay.
        tested.wait(DELAY_MS);
        for ticket in tickets {
            tested.joined(ticket);
        }
        assert_eq!(tested.group.state(), State::CompletingRebalance);
        assert_eq!(tested.group.leader(), Some(split(members[0]).0.as_str()));
        tested
    }

    pub(super) fn now(&self) -> Now {
        now_at(self.ticks_ms)
    }

    pub(super) fn step<T>(&mut self, act: impl FnOnce(&mut ClassicGroup, Now, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let now = self.now();
        let outcome = act(&mut self.group, now, &mut effects);
        for (ticket, answer) in effects.answers {
            assert!(ticket.0 < self.tickets, "{ticket:?} was never given");
            assert!(self.answers.insert(ticket, answer).is_none(), "{ticket:?} is answered twice");
        }
        if effects.rows.contains(&RowKey::Head) {
            self.writes += 1;
            self.row = crate::groups::store::classic_group::encode(&self.group);
        }
        self.notices.append(&mut effects.notices);
        outcome
    }

    pub(super) fn join(&mut self, request: JoinRequest) -> Ticket {
        let (ticket, limits) = (self.ticket(), self.limits);
        self.step(|group, now, effects| group.join(request, ticket, &limits, now, effects));
        ticket
    }

    pub(super) fn sync(&mut self, request: SyncRequest) -> Ticket {
        let ticket = self.ticket();
        self.step(|group, now, effects| group.sync(request, ticket, now, effects));
        ticket
    }

    pub(super) fn heartbeat(&mut self, name: &str, generation: i32) -> Result<(), GroupError> {
        let (member_id, instance_id) = split(name);
        let now = self.now();
        self.group.heartbeat(&HeartbeatRequest { member_id, instance_id, generation }, now)
    }

    pub(super) fn commit(&mut self, name: &str, generation: i32) -> Result<(), GroupError> {
        let now = self.now();
        self.group.check_commit(&committer(name, generation), now)
    }

    pub(super) fn leave(&mut self, names: &[&str]) -> Vec<Result<(), GroupError>> {
        let limits = self.limits;
        let leaving = names
            .iter()
            .map(|name| {
                let (member_id, instance_id) = split(name);
                Leaving { member_id, instance_id, reason: None }
            })
            .collect();
        let left: Vec<Left> = self
            .step(|group, now, effects| group.leave(leaving, &limits, now, effects))
            .expect("the group lives");
        left.into_iter().map(|left| left.result).collect()
    }

    /// Lets time pass, and ticks at each deadline.
    pub(super) fn wait(&mut self, millis: u64) {
        let until = self.ticks_ms + millis;
        while let Some(deadline) = self.group.deadline().filter(|deadline| *deadline <= until) {
            self.ticks_ms = self.ticks_ms.max(deadline);
            self.tick();
        }
        self.ticks_ms = until;
    }

    pub(super) fn tick(&mut self) {
        let limits = self.limits;
        self.step(|group, now, effects| group.tick(&limits, now, effects));
    }

    pub(super) fn is_waiting(&self, ticket: Ticket) -> bool {
        !self.answers.contains_key(&ticket)
    }

    pub(super) fn join_answer(&self, ticket: Ticket) -> &JoinAnswer {
        match self.answers.get(&ticket) {
            Some(Answer::Join(answer)) => answer,
            other => panic!("{ticket:?} is answered {other:?}"),
        }
    }

    pub(super) fn joined(&self, ticket: Ticket) -> Joined {
        self.join_answer(ticket).result.clone().expect("joined")
    }

    pub(super) fn refused(&self, ticket: Ticket) -> GroupError {
        self.join_answer(ticket).result.clone().expect_err("refused")
    }

    pub(super) fn synced(&self, ticket: Ticket) -> SyncAnswer {
        match self.answers.get(&ticket) {
            Some(Answer::Sync(answer)) => answer.clone(),
            other => panic!("{ticket:?} is answered {other:?}"),
        }
    }

    pub(super) fn ids(&self) -> Vec<&str> {
        self.group.members().map(|member| &**member.id()).collect()
    }

    /// The group as it is after a restart from its row.
    pub(super) fn restart(&mut self) {
        let stored = crate::groups::store::classic_group::decode(&self.row).expect("a row");
        let limits = self.limits;
        self.step(|group, now, effects| {
            *group = ClassicGroup::restored("g".into(), stored, &limits, now, effects);
        });
    }

    /// How many requests were made that are answered through a ticket.
    pub(super) fn tickets_given(&self) -> usize {
        usize::try_from(self.tickets).expect("few")
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets - 1)
    }
}

pub(super) fn now_at(ticks_ms: u64) -> Now {
    Now { ticks_ms, wall_ms: EPOCH_MS + i64::try_from(ticks_ms).expect("small") }
}

/// Member id and instance id of `"m"` or `"m@i"`.
pub(super) fn split(name: &str) -> (String, Option<String>) {
    match name.split_once('@') {
        Some((member, instance)) => (member.to_owned(), Some(instance.to_owned())),
        None => (name.to_owned(), None),
    }
}

pub(super) fn protocols(names: &[&str]) -> Vec<Protocol> {
    let protocol = |name: &&str| Protocol {
        name: (*name).to_owned(),
        metadata: Bytes::from(format!("metadata for {name}")),
    };
    names.iter().map(protocol).collect()
}

/// A new member's JoinGroup of version 3, which gets this id at once.
pub(super) fn member(name: &str) -> JoinRequest {
    let (new_member_id, instance_id) = split(name);
    JoinRequest {
        client: Client { id: "client".to_owned(), host: "/127.0.0.1".to_owned() },
        member_id: String::new(),
        new_member_id,
        instance_id,
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range", "roundrobin"]),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        requires_known_member_id: false,
        supports_skipping_assignment: false,
        reason: None,
    }
}

/// The JoinGroup of a member that has its id.
pub(super) fn rejoin(name: &str) -> JoinRequest {
    let (member_id, instance_id) = split(name);
    JoinRequest { member_id, instance_id, new_member_id: "unused".to_owned(), ..member(name) }
}

pub(super) fn sync_of(name: &str, generation: i32) -> SyncRequest {
    let (member_id, instance_id) = split(name);
    SyncRequest {
        member_id,
        instance_id,
        generation,
        protocol_type: None,
        protocol_name: None,
        assignments: Vec::new(),
    }
}

pub(super) fn committer(name: &str, generation: i32) -> Committer {
    let (member_id, instance_id) = split(name);
    Committer { member_id, instance_id, generation_or_epoch: generation }
}

pub(super) fn assignment_of(member: &str) -> Bytes {
    Bytes::from(format!("assignment of {member}"))
}

/// A `ConsumerProtocolSubscription` of version 0.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut out = vec![0, 0];
    out.extend_from_slice(&u32::try_from(topics.len()).expect("few").to_be_bytes());
    for topic in topics {
        out.extend_from_slice(&u16::try_from(topic.len()).expect("short").to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
    }
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    out.into()
}
