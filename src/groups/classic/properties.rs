//! What holds of every group, whatever its members do and whenever they do it.

use proptest::prelude::*;

use super::super::effects::{Answer, Ticket};
use super::super::error::GroupError;
use super::super::request::{JoinRequest, Protocol, SyncRequest};
use super::State;
use super::invariants::*;
use super::testing::*;

const SESSION_MAX: u64 = 300;
const REBALANCE_MAX: u64 = 200;
const DELAY: u64 = 40;

/// Clients 0 to 3 are dynamic members, 4 and 5 static ones.
const CLIENTS: usize = 6;

#[derive(Debug, Clone, Copy)]
enum Act {
    Wait(u64),
    /// Joins without an id.
    Come {
        client: usize,
        first_gets_id: bool,
        skips: bool,
        preference: usize,
    },
    /// Joins with the id it has.
    Rejoin {
        client: usize,
        preference: usize,
    },
    Sync {
        client: usize,
        generation_off: i32,
        forgets: bool,
    },
    Heartbeat {
        client: usize,
        generation_off: i32,
    },
    Commit {
        client: usize,
        generation_off: i32,
    },
    Leave {
        client: usize,
        by_instance: bool,
    },
    /// A member that is gone does all it can.
    Haunt {
        which: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let client = 0..CLIENTS;
    let off = prop_oneof![9 => Just(0), 1 => -1..=1];
    prop_oneof![
        4 => (0..60_u64).prop_map(Act::Wait),
        3 => (client.clone(), any::<bool>(), any::<bool>(), 0..4_usize).prop_map(
            |(client, first_gets_id, skips, preference)| Act::Come { client, first_gets_id, skips, preference }
        ),
        5 => (client.clone(), prop_oneof![4 => Just(0_usize), 1 => 0..4_usize])
            .prop_map(|(client, preference)| Act::Rejoin { client, preference }),
        5 => (client.clone(), off.clone(), any::<bool>())
            .prop_map(|(client, generation_off, forgets)| Act::Sync { client, generation_off, forgets }),
        4 => (client.clone(), off.clone())
            .prop_map(|(client, generation_off)| Act::Heartbeat { client, generation_off }),
        2 => (client.clone(), off).prop_map(|(client, generation_off)| Act::Commit { client, generation_off }),
        2 => (client, any::<bool>()).prop_map(|(client, by_instance)| Act::Leave { client, by_instance }),
        1 => any::<usize>().prop_map(|which| Act::Haunt { which }),
    ]
}

#[derive(Debug, Clone, Default)]
struct Known {
    id: String,
    generation: i32,
    /// Its last JoinGroup, until the answer was read.
    join: Option<Ticket>,
}

/// How time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ticking {
    AtDeadlines,
    EveryMillisecond,
}

struct World {
    tested: Tested,
    ticking: Ticking,
    clients: Vec<Known>,
    ids: Vec<String>,
    /// Each answer with the time it was given, and each other outcome.
    history: Vec<String>,
    generation: i32,
    read: usize,
    notices: usize,
}

impl World {
    fn new(ticking: Ticking) -> Self {
        let mut tested = Tested::new();
        tested.limits.session_min_ms = 1;
        tested.limits.initial_rebalance_delay_ms = i32::try_from(DELAY).expect("small");
        tested.limits.members_max = 4;
        tested.limits.pending_members_max = 2;
        Self {
            tested,
            ticking,
            clients: vec![Known::default(); CLIENTS],
            ids: Vec::new(),
            history: Vec::new(),
            generation: 0,
            read: 0,
            notices: 0,
        }
    }

    fn request(&mut self, client: usize, preference: usize) -> JoinRequest {
        let mut protocols = protocols(&["x", "y"]);
        match preference {
            1 => protocols.reverse(),
            2 => drop(protocols.pop()),
            3 => protocols.push(Protocol { name: "z".to_owned(), metadata: subscription(&["t"]) }),
            _ => {}
        }
        let offset = u64::try_from(client).expect("few");
        JoinRequest {
            instance_id: (client >= 4).then(|| format!("i{client}")),
            protocols,
            session_timeout_ms: i32::try_from(SESSION_MAX - 40 * offset).expect("small"),
            rebalance_timeout_ms: i32::try_from(REBALANCE_MAX - 30 * offset).expect("small"),
            ..member("")
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Wait(millis) => self.wait(millis),
            Act::Come { client, first_gets_id, skips, preference } => {
                let new_member_id = format!("m{:03}-{client}", self.ids.len());
                self.ids.push(new_member_id.clone());
                let request = JoinRequest {
                    new_member_id,
                    requires_known_member_id: first_gets_id,
                    supports_skipping_assignment: skips,
                    ..self.request(client, preference)
                };
                let ticket = self.tested.join(request);
                self.clients[client].join = Some(ticket);
            }
            Act::Rejoin { client, preference } if !self.clients[client].id.is_empty() => {
                let member_id = self.clients[client].id.clone();
                let request = JoinRequest { member_id, ..self.request(client, preference) };
                let ticket = self.tested.join(request);
                self.clients[client].join = Some(ticket);
            }
            Act::Sync { client, generation_off, forgets } => {
                let name = self.name(client);
                let ids: Vec<String> = self.tested.ids().into_iter().map(str::to_owned).collect();
                let assigned = ids.iter().skip(usize::from(forgets));
                let request = SyncRequest {
                    assignments: assigned.map(|id| (id.clone(), assignment_of(id))).collect(),
                    ..sync_of(&name, self.clients[client].generation + generation_off)
                };
                self.tested.sync(request);
            }
            Act::Heartbeat { client, generation_off } => {
                let name = self.name(client);
                let outcome = self.tested.heartbeat(&name, self.clients[client].generation + generation_off);
                self.history.push(format!("{} heartbeat of {name}: {outcome:?}", self.tested.ticks_ms));
            }
            Act::Commit { client, generation_off } => {
                let name = self.name(client);
                let outcome = self.tested.commit(&name, self.clients[client].generation + generation_off);
                if outcome.is_ok() && self.tested.group.state() != State::Empty {
                    let (id, instance) = split(&name);
                    assert_eq!(self.tested.group.check_member(&id, instance.as_deref()), Ok(()));
                }
                self.history.push(format!("{} commit of {name}: {outcome:?}", self.tested.ticks_ms));
            }
            Act::Leave { client, by_instance } => {
                let name = self.name(client);
                let name = if by_instance && client >= 4 { format!("@i{client}") } else { name };
                let outcome = self.tested.leave(&[&name]);
                self.history.push(format!("{} {name} leaves: {outcome:?}", self.tested.ticks_ms));
            }
            Act::Haunt { which } => self.haunt(which),
            Act::Rejoin { .. } => {}
        }
        self.read();
        self.check();
    }

    fn name(&self, client: usize) -> String {
        let id = &self.clients[client].id;
        if client >= 4 { format!("{id}@i{client}") } else { id.clone() }
    }

    fn wait(&mut self, millis: u64) {
        if self.ticking == Ticking::AtDeadlines {
            let until = self.tested.ticks_ms + millis;
            while let Some(at) = self.tested.group.deadline().filter(|at| *at <= until) {
                self.tested.ticks_ms = self.tested.ticks_ms.max(at);
                self.tested.tick();
                self.read();
            }
            self.tested.ticks_ms = until;
        } else {
            self.tested.tick();
            self.read();
            for _ in 0..millis {
                self.tested.ticks_ms += 1;
                self.tested.tick();
                self.read();
            }
        }
    }

    /// Reads new answers: a client learns its id and generation, and one generation has one leader.
    fn read(&mut self) {
        let all: Vec<(Ticket, Answer)> =
            self.tested.answers.iter().map(|(ticket, answer)| (*ticket, answer.clone())).collect();
        if all.len() != self.read {
            self.read = all.len();
            for client in &mut self.clients {
                let Some(ticket) = client.join else { continue };
                let Some(Answer::Join(answer)) = self.tested.answers.get(&ticket) else { continue };
                client.join = None;
                match &answer.result {
                    Ok(joined) => {
                        client.id.clone_from(&answer.member_id);
                        client.generation = joined.generation;
                    }
                    Err(GroupError::MemberIdRequired) => client.id.clone_from(&answer.member_id),
                    Err(GroupError::UnknownMemberId | GroupError::FencedInstanceId) => {
                        *client = Known::default();
                    }
                    Err(_) => {}
                }
            }
            self.history.push(format!("{} {all:?}", self.tested.ticks_ms));
        }
        if self.tested.notices.len() != self.notices {
            let news = &self.tested.notices[self.notices..];
            self.history.push(format!("{} {news:?} {:?}", self.tested.ticks_ms, self.tested.group.state()));
            self.notices = self.tested.notices.len();
        }
    }

    /// A member that is gone is refused everything, and nothing changes.
    fn haunt(&mut self, which: usize) {
        let group = &self.tested.group;
        let gone: Vec<&String> =
            self.ids.iter().filter(|id| group.member(id).is_none() && !group.is_pending(id)).collect();
        if gone.is_empty() {
            return;
        }
        let ghost = gone[which % gone.len()].clone();
        let generation = group.generation();
        let before = format!("{group:?}");
        for name in [ghost.clone(), format!("{ghost}@i4")] {
            assert!(self.tested.heartbeat(&name, generation).is_err());
            assert!(self.tested.commit(&name, generation).is_err());
            assert!(self.tested.group.check_transactional_commit(&committer(&name, generation)).is_err());
            let sync = self.tested.sync(sync_of(&name, generation));
            assert!(self.tested.synced(sync).is_err());
            assert!(self.tested.leave(&[&name])[0].is_err());
            let (member_id, instance_id) = split(&name);
            let request = JoinRequest { member_id, instance_id, ..self.request(0, 0) };
            let join = self.tested.join(request);
            self.tested.refused(join);
        }
        assert_eq!(format!("{:?}", self.tested.group), before);
    }

    fn check(&mut self) {
        let group = &self.tested.group;
        assert!(group.generation() >= self.generation, "the generation went back");
        self.generation = group.generation();
        check_structure(group);
        // All that can be waited for, one after the other.
        check_rebalance_ends(&self.tested, REBALANCE_MAX + SESSION_MAX + DELAY);
        if matches!(group.state(), State::Stable | State::Empty) && self.tested.writes > 0 {
            check_store(&self.tested);
        }
    }
}

fn history(acts: &[Act], ticking: Ticking) -> World {
    let mut world = World::new(ticking);
    for act in acts {
        world.act(*act);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Every request is answered exactly once, every rebalance ends, and a group left alone is empty in the end.
    #[test]
    fn groups_keep_their_promises(acts in prop::collection::vec(act(), 1..80)) {
        let mut world = history(&acts, Ticking::AtDeadlines);
        world.wait(10 * u64::from(super::join::NEW_MEMBER_JOIN_TIMEOUT_MS.unsigned_abs()));
        world.check();
        prop_assert_eq!(world.tested.group.state(), State::Empty);
        prop_assert_eq!(world.tested.group.deadline(), None);
        prop_assert_eq!(world.tested.answers.len(), world.tested.tickets_given());
    }

    /// To tick at the deadlines is enough.
    #[test]
    fn ticking_at_deadlines_is_ticking_always(acts in prop::collection::vec(act(), 1..40)) {
        let at_deadlines = history(&acts, Ticking::AtDeadlines);
        let always = history(&acts, Ticking::EveryMillisecond);
        prop_assert_eq!(&at_deadlines.history, &always.history);
        prop_assert_eq!(at_deadlines.tested.row, always.tested.row);
        prop_assert_eq!(at_deadlines.tested.writes, always.tested.writes);
    }

    /// A coordinator that stops answers whoever waits, and a restart leaves a group that works.
    #[test]
    fn a_group_survives_a_restart(acts in prop::collection::vec(act(), 1..60), more in prop::collection::vec(act(), 1..40)) {
        let mut world = history(&acts, Ticking::AtDeadlines);
        world.tested.step(|group, _, effects| group.give_up(GroupError::NotCoordinator, effects));
        prop_assert_eq!(world.tested.answers.len(), world.tested.tickets_given());
        world.read();
        if world.tested.writes == 0 {
            return Ok(());
        }
        world.tested.restart();
        world.generation = 0;
        world.check();
        for act in more {
            world.act(act);
        }
    }
}
