//! What holds of every group, whatever its members do and whenever they do it: the members are modelled as clients that
//! follow one of the protocols, each at its own pace.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::super::assign::Partitions;
use super::super::effects::{Answer, Ticket};
use super::super::error::GroupError;
use super::super::group::Group;
use super::super::request::{Committer, ConsumerHeartbeat, JoinRequest, Joined, Leaving, SyncRequest};
use super::super::topics_view::TopicsView;
use super::classic_members::by_id;
use super::consumer_protocol::{read_assignment, read_subscription, write_assignment};
use super::testing::*;
use super::{LEFT_FOR_A_WHILE, MemberState};

const SESSION_MS: u64 = 1_000;
/// Longer than a session, so that a client that stands still is past its session before it is past this.
const REBALANCE_MS: i32 = 2_500;
/// Clients 4 and 5 are static members.
const CLIENTS: usize = 6;
const TOPICS: [&str; 4] = ["a", "b", "ab", "c"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Consumer,
    /// Classic; gives up everything before it joins.
    Eager,
    /// Classic; says what it owns when it joins, and gives up what it is not assigned.
    Cooperative,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Wait(u64),
    /// A process begins, in the place of the one before if that still ran.
    Start {
        client: usize,
        protocol: Protocol,
        topics: usize,
    },
    /// A client does what its protocol asks for next. The answer may be lost.
    Step {
        client: usize,
        is_lost: bool,
        revokes_in: u64,
    },
    /// Every client takes a step.
    StepAll,
    Kill {
        client: usize,
    },
    Leave {
        client: usize,
        for_a_while: bool,
    },
    Subscribe {
        client: usize,
        topics: usize,
    },
    /// A topic is made, or is given one more partition.
    Grow {
        topic: usize,
    },
    Delete {
        topic: usize,
    },
    Restart,
}

fn act(protocols: &'static [Protocol]) -> impl Strategy<Value = Act> {
    let client = 0..CLIENTS;
    let topics = 0..16_usize;
    prop_oneof![
        5 => (0..400_u64).prop_map(Act::Wait),
        3 => (client.clone(), proptest::sample::select(protocols), topics.clone())
            .prop_map(|(client, protocol, topics)| Act::Start { client, protocol, topics }),
        10 => (client.clone(), prop_oneof![4 => Just(false), 1 => Just(true)], 0..300_u64)
            .prop_map(|(client, is_lost, revokes_in)| Act::Step { client, is_lost, revokes_in }),
        4 => Just(Act::StepAll),
        1 => client.clone().prop_map(|client| Act::Kill { client }),
        1 => (client.clone(), any::<bool>()).prop_map(|(client, for_a_while)| Act::Leave { client, for_a_while }),
        1 => (client, topics).prop_map(|(client, topics)| Act::Subscribe { client, topics }),
        1 => (0..TOPICS.len()).prop_map(|topic| Act::Grow { topic }),
        1 => (0..TOPICS.len()).prop_map(|topic| Act::Delete { topic }),
        1 => Just(Act::Restart),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It heartbeats.
    Heartbeating,
    /// It is to send JoinGroup, or a first ConsumerGroupHeartbeat.
    ToJoin,
    Joining(Ticket),
    Syncing(Ticket),
}

#[derive(Debug, Clone)]
struct Client {
    number: usize,
    protocol: Protocol,
    id: String,
    epoch: i32,
    owned: Partitions,
    /// What it will own when it has given up the rest, and when that will be.
    told: Option<(Partitions, u64)>,
    topics: usize,
    /// It says all it has to say in its next heartbeat.
    says_all: bool,
    phase: Phase,
    /// When it last heard from the coordinator.
    heard: u64,
    /// When it sent the first request that was not answered since.
    asked: Option<u64>,
    /// Until when it may give up what it was told to.
    revokes_until: Option<u64>,
    /// It led a generation, with the topics of this version.
    led: Option<u64>,
}

impl Client {
    fn lose_all(&mut self) {
        self.owned = Partitions::default();
        self.told = None;
        self.revokes_until = None;
        self.epoch = 0;
        self.phase = Phase::ToJoin;
        self.says_all = true;
        self.led = None;
    }

    /// Whether what it owns is its own by its own reckoning.
    fn is_entitled(&self, now: u64) -> bool {
        now < self.heard + SESSION_MS && self.revokes_until.is_none_or(|until| now < until)
    }

    fn instance_id(&self) -> Option<String> {
        (self.number >= 4).then(|| format!("i{}", self.number))
    }

    fn is_told(&mut self, assignment: Partitions, now: u64, revokes_in: u64) {
        if self.owned.is_subset(&assignment) {
            self.owned = assignment;
            self.told = None;
            self.revokes_until = None;
            return;
        }
        let since = self.asked.unwrap_or(now);
        self.revokes_until.get_or_insert(since + u64::try_from(REBALANCE_MS).expect("positive"));
        let at = self.told.as_ref().map_or(now + revokes_in, |(_, at)| *at);
        self.told = Some((assignment, at));
    }

    /// The partitions given up, when it is time.
    fn give_up(&mut self, now: u64) {
        if self.told.as_ref().is_some_and(|(_, at)| *at <= now)
            && let Some((assignment, _)) = self.told.take()
        {
            self.owned = assignment;
            self.revokes_until = None;
            if self.protocol == Protocol::Cooperative {
                self.phase = Phase::ToJoin;
            }
        }
    }
}

/// The names of a selection; 15 is a subscription by expression for those that can have one.
fn selected(topics: usize) -> Vec<String> {
    let chosen = TOPICS.iter().enumerate().filter(|(index, _)| (topics + 1) >> index & 1 == 1);
    chosen.map(|(_, name)| (*name).to_owned()).collect()
}

struct World {
    tested: Tested,
    clients: BTreeMap<usize, Client>,
    processes: usize,
    epochs: i32,
    /// Ids that left or were declared gone.
    gone: BTreeSet<String>,
    /// A classic group that is stable does not look at what a static member subscribes to when it comes back (KIP-345), so
    /// that static members keep their subscription where groups may be classic.
    may_be_classic: bool,
    /// Topics that were deleted. Classic members know topics by name only, and take one that is made anew for the one they
    /// had; so that this is not done where groups may be classic.
    deleted: BTreeSet<usize>,
}

impl World {
    fn new(may_be_classic: bool) -> Self {
        let mut tested = Tested::new();
        tested.limits.members_max = 5;
        Self {
            tested,
            clients: BTreeMap::new(),
            processes: 0,
            epochs: 0,
            gone: BTreeSet::new(),
            may_be_classic,
            deleted: BTreeSet::new(),
        }
    }

    fn topics(&self, client: usize, topics: usize) -> usize {
        if client >= 4 && self.may_be_classic { 2 } else { topics }
    }

    fn now(&self) -> u64 {
        self.tested.now.ticks_ms
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Wait(millis) => self.wait(millis),
            Act::Start { client, protocol, topics } => {
                self.start(client, protocol, self.topics(client, topics));
            }
            Act::Step { client, is_lost, revokes_in } => self.step(client, is_lost, revokes_in),
            Act::StepAll => (0..CLIENTS).for_each(|client| self.step(client, false, 0)),
            Act::Kill { client } => drop(self.clients.remove(&client)),
            Act::Leave { client, for_a_while } => self.leave(client, for_a_while),
            Act::Subscribe { client, topics } => {
                let topics = self.topics(client, topics);
                if let Some(client) = self.clients.get_mut(&client) {
                    client.topics = topics;
                    client.says_all = true;
                }
            }
            Act::Grow { topic } => match self.tested.topics.by_name(TOPICS[topic]) {
                Some(found) if found.partitions < 8 => {
                    self.tested.topics.grow(TOPICS[topic], found.partitions + 1);
                }
                Some(_) => {}
                None if self.may_be_classic && self.deleted.contains(&topic) => {}
                None => {
                    self.tested.topics.create(TOPICS[topic], 3);
                }
            },
            Act::Delete { topic } => {
                self.deleted.insert(topic);
                self.tested.topics.delete(TOPICS[topic]);
            }
            Act::Restart => self.restart(),
        }
        self.check();
    }

    /// Lets time pass in small steps, so that no moment with two owners goes unseen.
    fn wait(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(20) {
            self.tested.wait(20);
            self.check();
        }
    }

    fn start(&mut self, number: usize, protocol: Protocol, topics: usize) {
        self.processes += 1;
        let id = match protocol {
            Protocol::Consumer => format!("m{}", self.processes),
            Protocol::Eager | Protocol::Cooperative => String::new(),
        };
        let now = self.now();
        let client = Client {
            number,
            protocol,
            id,
            epoch: 0,
            owned: Partitions::default(),
            told: None,
            topics,
            says_all: true,
            phase: Phase::ToJoin,
            heard: now,
            asked: None,
            revokes_until: None,
            led: None,
        };
        self.clients.insert(number, client);
    }

    fn step(&mut self, number: usize, is_lost: bool, revokes_in: u64) {
        let Some(mut client) = self.clients.remove(&number) else { return };
        let now = self.now();
        if !client.is_entitled(now) {
            client.lose_all();
            client.heard = now;
        }
        client.give_up(now);
        match client.protocol {
            Protocol::Consumer => self.step_consumer(&mut client, is_lost, revokes_in),
            Protocol::Eager | Protocol::Cooperative => self.step_classic(&mut client, revokes_in),
        }
        self.clients.insert(number, client);
        self.check();
    }

    fn step_consumer(&mut self, client: &mut Client, is_lost: bool, revokes_in: u64) {
        let now = self.now();
        let by_regex = client.topics == 15;
        let says_all = client.says_all || client.epoch == 0;
        let request = ConsumerHeartbeat {
            instance_id: client.instance_id(),
            rebalance_timeout_ms: if says_all { REBALANCE_MS } else { -1 },
            topics: says_all.then(|| if by_regex { Vec::new() } else { selected(client.topics) }),
            topic_regex: says_all.then(|| if by_regex { "a.*".to_owned() } else { String::new() }),
            // One that gives partitions up need not repeat that it owns them.
            owned: (says_all || client.told.is_none() || revokes_in.is_multiple_of(2))
                .then(|| client.owned.clone()),
            ..beat(&client.id, client.epoch)
        };
        let answer = self.tested.heartbeat(request);
        if is_lost {
            client.asked.get_or_insert(now);
            client.says_all = true;
            return;
        }
        match answer {
            Ok(answer) => {
                client.heard = now;
                client.says_all = false;
                client.phase = Phase::Heartbeating;
                client.epoch = answer.member_epoch;
                if let Some(assignment) = answer.assignment {
                    client.is_told(assignment, now, revokes_in);
                }
            }
            Err(
                GroupError::UnknownMemberId
                | GroupError::FencedMemberEpoch(_)
                | GroupError::FencedInstanceId
                | GroupError::UnreleasedInstanceId(_)
                | GroupError::GroupMaxSizeReached
                | GroupError::GroupIdNotFound(_),
            ) => client.lose_all(),
            Err(error) => panic!("{error:?}"),
        }
        client.asked = None;
    }

    fn step_classic(&mut self, client: &mut Client, revokes_in: u64) {
        let now = self.now();
        match client.phase {
            Phase::ToJoin => self.join(client),
            Phase::Heartbeating => {
                if client.says_all
                    || client.led.is_some_and(|version| version != self.tested.topics.version())
                {
                    client.phase = Phase::ToJoin;
                    return;
                }
                let mut request = classic_beat(&client.id, client.epoch);
                request.instance_id = client.instance_id();
                match self.tested.classic_heartbeat(&request) {
                    Ok(()) => client.heard = now,
                    Err(GroupError::RebalanceInProgress) => {
                        client.heard = now;
                        client.phase = Phase::ToJoin;
                    }
                    Err(error) => self.refused(client, &error),
                }
            }
            // The coordinator does not count the session while a request waits.
            Phase::Joining(ticket) => match self.tested.answers.remove(&ticket) {
                None => client.heard = now,
                Some((at, Answer::Join(answer))) => match answer.result {
                    Ok(joined) => {
                        client.heard = at;
                        self.sync(client, joined);
                    }
                    Err(GroupError::MemberIdRequired) => {
                        client.id = answer.member_id;
                        client.phase = Phase::ToJoin;
                    }
                    Err(error) => self.refused(client, &error),
                },
                Some((_, Answer::Sync(_))) => panic!("a sync's answer to a join"),
            },
            Phase::Syncing(ticket) => match self.tested.answers.remove(&ticket) {
                None => client.heard = now,
                // An answer at once does not renew the session in a classic group.
                Some((_, Answer::Sync(Ok(synced)))) => {
                    client.phase = Phase::Heartbeating;
                    let assignment = match &synced.assignment[..] {
                        [] => Partitions::default(),
                        bytes => {
                            let assignment = read_assignment(bytes).expect("what was written");
                            by_id(&assignment.partitions, &self.tested.topics)
                        }
                    };
                    client.is_told(assignment, now, revokes_in);
                }
                Some((_, Answer::Sync(Err(error)))) => self.refused(client, &error),
                Some((_, Answer::Join(_))) => panic!("a join's answer to a sync"),
            },
        }
    }

    fn refused(&mut self, client: &mut Client, error: &GroupError) {
        match error {
            GroupError::RebalanceInProgress => client.phase = Phase::ToJoin,
            GroupError::IllegalGeneration | GroupError::InconsistentGroupProtocol => client.lose_all(),
            GroupError::UnknownMemberId | GroupError::FencedInstanceId | GroupError::GroupMaxSizeReached => {
                client.lose_all();
                client.id = String::new();
            }
            error => panic!("{error:?}"),
        }
    }

    fn join(&mut self, client: &mut Client) {
        let metadata = match client.protocol {
            Protocol::Eager => {
                client.owned = Partitions::default();
                client.told = None;
                eager_subscription(&borrowed(&selected(client.topics)))
            }
            Protocol::Consumer | Protocol::Cooperative => {
                let mut owned: BTreeMap<String, Vec<i32>> = BTreeMap::new();
                for (name, partition) in self.tested.named(&client.owned) {
                    owned.entry(name).or_default().push(partition);
                }
                let owned: Vec<_> =
                    owned.iter().map(|(name, numbers)| (name.as_str(), &numbers[..])).collect();
                subscription(&borrowed(&selected(client.topics)), &owned)
            }
        };
        self.processes += 1;
        let request = JoinRequest {
            instance_id: client.instance_id(),
            new_member_id: format!("m{}", self.processes),
            rebalance_timeout_ms: REBALANCE_MS,
            ..classic_join(&client.id, metadata)
        };
        client.led = None;
        client.says_all = false;
        client.phase = Phase::Joining(self.tested.join(request));
    }

    fn sync(&mut self, client: &mut Client, joined: Joined) {
        client.id = joined.member_id.clone();
        client.epoch = joined.generation;
        let mut assignments = Vec::new();
        if joined.leader == joined.member_id {
            // One that comes back and is not to assign (KIP-814) does not know which topics the assignment was for.
            client.led = Some(if joined.skip_assignment { 0 } else { self.tested.topics.version() });
            assignments = self.lead(&joined);
        }
        let request = SyncRequest {
            instance_id: client.instance_id(),
            assignments,
            ..classic_sync(&client.id, client.epoch)
        };
        client.phase = Phase::Syncing(self.tested.sync(request));
    }

    /// Partitions in turn to those who want them, but never one that somebody else still owns.
    fn lead(&self, joined: &Joined) -> Vec<(String, bytes::Bytes)> {
        let subscriptions: Vec<_> = joined
            .members
            .iter()
            .map(|member| read_subscription(&member.metadata).expect("what was written"))
            .collect();
        let mut given: Vec<BTreeMap<&str, Vec<i32>>> = vec![BTreeMap::new(); subscriptions.len()];
        for topic in self.tested.topics.all() {
            let wanted: Vec<usize> = (0..subscriptions.len())
                .filter(|at| subscriptions[*at].topics.contains(&&*topic.name))
                .collect();
            for partition in 0..topic.partitions {
                let Some(to) = wanted.get(partition as usize % wanted.len().max(1)) else { continue };
                let owns = |at: usize| {
                    let mut owned = subscriptions[at].owned.iter();
                    owned.any(|(name, numbers)| **name == *topic.name && numbers.contains(&partition))
                };
                if (0..subscriptions.len()).any(|at| at != *to && owns(at)) {
                    continue;
                }
                given[*to].entry(&topic.name).or_default().push(partition);
            }
        }
        let members = joined.members.iter().zip(&given);
        let write = |given: &BTreeMap<&str, Vec<i32>>| {
            write_assignment(1, given.iter().map(|(name, numbers)| (*name, &numbers[..])))
        };
        members.map(|(member, given)| (member.member_id.clone(), write(given))).collect()
    }

    fn leave(&mut self, number: usize, for_a_while: bool) {
        let Some(client) = self.clients.remove(&number) else { return };
        match client.protocol {
            Protocol::Consumer => {
                let epoch = if for_a_while && client.instance_id().is_some() { LEFT_FOR_A_WHILE } else { -1 };
                let request =
                    ConsumerHeartbeat { instance_id: client.instance_id(), ..beat(&client.id, epoch) };
                if self.tested.heartbeat(request).is_ok() && epoch == -1 {
                    self.gone.insert(client.id);
                }
            }
            Protocol::Eager | Protocol::Cooperative if client.id.is_empty() => {}
            Protocol::Eager | Protocol::Cooperative => {
                let leaving = Leaving { instance_id: client.instance_id(), ..leaving(&client.id) };
                self.tested.leave(vec![leaving]);
            }
        }
    }

    /// The restored group answers every member as the one before would have.
    fn restart(&mut self) {
        if let Some(Group::Consumer(_)) = &self.tested.slot {
            for client in self.clients.values().filter(|client| client.protocol == Protocol::Consumer) {
                let request = ConsumerHeartbeat {
                    instance_id: client.instance_id(),
                    owned: Some(client.owned.clone()),
                    ..beat(&client.id, client.epoch.max(1))
                };
                let mut before = self.tested.clone();
                let mut after = self.tested.clone();
                after.restart();
                // After a restart the expressions are looked at at once.
                if let Some(Group::Consumer(group)) = &mut before.slot {
                    group.regexes_refreshed = None;
                }
                assert_eq!(before.heartbeat(request.clone()), after.heartbeat(request));
                assert_eq!(before.rows, after.rows);
            }
        }
        self.tested.restart();
        // Requests that waited went with the connections.
        for client in self.clients.values_mut() {
            if let Phase::Joining(ticket) | Phase::Syncing(ticket) = client.phase
                && !self.tested.answers.contains_key(&ticket)
            {
                client.phase = Phase::ToJoin;
            }
        }
    }

    fn check(&mut self) {
        let now = self.now();
        let mut owners: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
        for client in self.clients.values().filter(|client| client.is_entitled(now)) {
            for at in client.owned.iter().filter(|(topic, _)| self.tested.topics.by_id(*topic).is_some()) {
                if let Some(other) = owners.insert(at, &client.id) {
                    panic!("{at:?} is owned by {other} and by {}", client.id);
                }
            }
        }
        let group = match &self.tested.slot {
            None => return,
            // It begins anew when it was empty, and goes on with its generation when it was not.
            Some(Group::Classic(group)) => {
                self.epochs = if group.is_empty() { 0 } else { group.generation() };
                return;
            }
            Some(Group::Consumer(group)) => group,
        };
        assert!(group.group_epoch() >= self.epochs, "the group epoch went down");
        self.epochs = group.group_epoch();
        assert!(group.assignment_epoch() <= group.group_epoch());
        for member in group.members() {
            assert!(member.epoch() <= group.group_epoch());
            assert!(!self.gone.contains(&**member.id()), "a member that left is back");
        }
        for id in &self.gone {
            let committer =
                Committer { member_id: id.clone(), instance_id: None, generation_or_epoch: self.epochs };
            assert_eq!(group.check_commit(&committer, 9).err(), Some(GroupError::UnknownMemberId));
        }
        // Who owns a partition may commit for it. (A classic member's generation may be over without its knowing.)
        for client in self.clients.values().filter(|client| client.protocol == Protocol::Consumer) {
            if !client.is_entitled(now) || client.epoch <= 0 || group.member(&client.id).is_none() {
                continue;
            }
            let committer = Committer {
                member_id: client.id.clone(),
                instance_id: client.instance_id(),
                generation_or_epoch: client.epoch,
            };
            let right = group.check_commit(&committer, 9).expect("a member in good standing commits");
            for (topic, partition) in client.owned.iter() {
                assert_eq!(right.check(topic, partition), Ok(()), "{} may not commit", client.id);
            }
        }
    }

    /// Everybody does what is asked at once, until nothing is asked any more. Then everybody has what it is to have.
    fn settle(&mut self) {
        // A classic group that came of a consumer group without a rebalance has no member that knows it leads, and so none that
        // looks after topics, until the next rebalance (as in Kafka).
        if self.clients.values().all(|client| client.led.is_none()) {
            self.clients.values_mut().for_each(|client| client.says_all = true);
        }
        for _ in 0..70 {
            self.tested.wait(200);
            self.check();
            for client in 0..CLIENTS {
                self.step(client, false, 0);
                self.step(client, false, 0);
            }
        }
        let members: Vec<&Client> = self.clients.values().collect();
        let Some(group) = &self.tested.slot else {
            assert!(members.is_empty(), "somebody could not make the group");
            return;
        };
        if members.len() <= self.tested.limits.members_max {
            assert_eq!(group.len(), members.len(), "everybody is in, and nobody else");
        }
        if members.is_empty() {
            return assert_eq!(group.state_name(), "Empty");
        }
        assert_eq!(group.state_name(), "Stable");
        let mut wanted = BTreeSet::new();
        let mut owned = BTreeSet::new();
        for client in members.iter().filter(|client| client.phase == Phase::Heartbeating) {
            let by_regex = client.topics == 15 && client.protocol == Protocol::Consumer;
            for topic in self.tested.topics.all() {
                if if by_regex {
                    topic.name.starts_with('a')
                } else {
                    selected(client.topics).contains(&topic.name.to_string())
                } {
                    wanted.extend((0..topic.partitions).map(|partition| (topic.id, partition)));
                }
            }
            owned.extend(client.owned.iter());
            if let Group::Consumer(group) = group {
                let standing = &group.member(&client.id).expect("it heartbeats").stored().standing;
                assert_eq!(standing.state, MemberState::Stable);
                assert_eq!(standing.epoch, group.group_epoch());
                assert_eq!(standing.epoch, client.epoch);
                assert_eq!(standing.assigned.partitions(), client.owned);
            }
        }
        assert_eq!(owned, wanted, "every partition that somebody wants is owned, and no other");
    }

    fn run(acts: Vec<Act>, may_be_classic: bool) {
        let mut world = Self::new(may_be_classic);
        acts.into_iter().for_each(|act| world.act(act));
        world.settle();
    }
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

const ONE_PROTOCOL: &[Protocol] = &[Protocol::Consumer];
const ALL_PROTOCOLS: &[Protocol] =
    &[Protocol::Consumer, Protocol::Consumer, Protocol::Eager, Protocol::Cooperative];

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn consumers_share_without_two_owners_and_settle(
        acts in proptest::collection::vec(act(ONE_PROTOCOL), 1..120),
    ) {
        World::run(acts, false);
    }

    #[test]
    fn so_do_consumers_of_both_protocols(acts in proptest::collection::vec(act(ALL_PROTOCOLS), 1..120)) {
        World::run(acts, true);
    }
}
