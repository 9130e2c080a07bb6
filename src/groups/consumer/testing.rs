//! A group with all that surrounds it, for tests: topics, a clock, stored rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::super::assign::{Assignor, Partitions};
use super::super::effects::{Answer, Effects, Notice, Now, RowKey, Ticket};
use super::super::error::GroupError;
use super::super::group::{self, Context, Group};
use super::super::limits::{ClassicLimits, ConsumerLimits, MigrationPolicy};
use super::super::request::{
    Client, ConsumerHeartbeat, ConsumerHeartbeatAnswer, HeartbeatRequest, JoinAnswer, JoinRequest, Leaving,
    Left, Protocol, SyncAnswer, SyncRequest,
};
use super::super::topics_view::{TopicInfo, TopicsView};
use super::{ConsumerGroup, Member, MemberState};

pub(crate) const SESSION: i32 = 1_000;
pub(crate) const REBALANCE: i32 = 400;

/// Topics by name, each with an id that says when it was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topics {
    version: u64,
    made: u128,
    by_name: BTreeMap<Arc<str>, TopicInfo>,
}

impl Topics {
    pub(crate) fn create(&mut self, name: &str, partitions: i32) -> Uuid {
        self.made += 1;
        self.version += 1;
        let id = Uuid::from_u128(self.made);
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), TopicInfo { name, id, partitions });
        id
    }

    pub(crate) fn grow(&mut self, name: &str, partitions: i32) {
        self.version += 1;
        self.by_name.get_mut(name).expect("the topic is there").partitions = partitions;
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.version += 1;
        self.by_name.remove(name);
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &TopicInfo> {
        self.by_name.values()
    }
}

impl TopicsView for Topics {
    fn version(&self) -> u64 {
        self.version
    }

    fn by_name(&self, name: &str) -> Option<TopicInfo> {
        self.by_name.get(name).cloned()
    }

    fn by_id(&self, id: Uuid) -> Option<TopicInfo> {
        self.by_name.values().find(|topic| topic.id == id).cloned()
    }

    fn each_name(&self, visit: &mut dyn FnMut(&Arc<str>)) {
        self.by_name.keys().for_each(visit);
    }
}

pub(crate) fn limits() -> ConsumerLimits {
    ConsumerLimits {
        session_timeout_ms: SESSION,
        heartbeat_interval_ms: 100,
        members_max: 100,
        assignors: Assignor::ALL.to_vec(),
        migration: MigrationPolicy::Bidirectional,
        regex_refresh_interval_ms: 600_000,
        classic: ClassicLimits {
            session_min_ms: 1,
            session_max_ms: 30_000,
            initial_rebalance_delay_ms: 0,
            members_max: 100,
            pending_members_max: 100,
        },
    }
}

/// A slot, what is around it, and what it has brought about.
#[derive(Debug, Clone)]
pub(crate) struct Tested {
    pub(crate) slot: Option<Group>,
    pub(crate) topics: Topics,
    pub(crate) limits: ConsumerLimits,
    pub(crate) now: Now,
    pub(crate) rows: BTreeMap<RowKey, Vec<u8>>,
    pub(crate) notices: Vec<Notice>,
    /// Each with the tick at which it was given.
    pub(crate) answers: HashMap<Ticket, (u64, Answer)>,
    tickets: u64,
}

impl Tested {
    /// No group; a topic `a` of 4 partitions and a topic `b` of 2.
    pub(crate) fn new() -> Self {
        let mut topics = Topics::default();
        topics.create("a", 4);
        topics.create("b", 2);
        Self {
            slot: None,
            topics,
            limits: limits(),
            now: Now { ticks_ms: 5_000, wall_ms: 1_700_000_000_000 },
            rows: BTreeMap::new(),
            notices: Vec::new(),
            answers: HashMap::new(),
            tickets: 0,
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Option<Group>, &Context<'_>, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let cx = Context { topics: &self.topics, limits: &self.limits, now: self.now };
        let result = act(&mut self.slot, &cx, &mut effects);
        for key in effects.rows {
            match self.slot.as_ref().and_then(|group| group.row(&key)) {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
        self.notices.extend(effects.notices);
        let at = self.now.ticks_ms;
        self.answers.extend(effects.answers.into_iter().map(|(ticket, answer)| (ticket, (at, answer))));
        self.check();
        result
    }

    pub(crate) fn heartbeat(
        &mut self,
        request: ConsumerHeartbeat,
    ) -> Result<ConsumerHeartbeatAnswer, GroupError> {
        self.with(|slot, cx, effects| group::consumer_heartbeat(slot, &"g".into(), request, cx, effects))
    }

    pub(crate) fn join(&mut self, request: JoinRequest) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.with(|slot, cx, effects| group::join(slot, &"g".into(), request, ticket, cx, effects));
        ticket
    }

    /// Joins, and the answer comes at once.
    pub(crate) fn joined(&mut self, request: JoinRequest) -> JoinAnswer {
        let ticket = self.join(request);
        self.wait(0);
        match self.answers.remove(&ticket) {
            Some((_, Answer::Join(answer))) => answer,
            other => panic!("no answer to the join, but {other:?}"),
        }
    }

    pub(crate) fn sync(&mut self, request: SyncRequest) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.with(|slot, cx, effects| group::sync(slot, request, ticket, cx, effects));
        ticket
    }

    /// Syncs, and the answer comes at once.
    pub(crate) fn synced(&mut self, request: SyncRequest) -> SyncAnswer {
        let ticket = self.sync(request);
        match self.answers.remove(&ticket) {
            Some((_, Answer::Sync(answer))) => answer,
            other => panic!("no answer to the sync, but {other:?}"),
        }
    }

    pub(crate) fn classic_heartbeat(&mut self, request: &HeartbeatRequest) -> Result<(), GroupError> {
        self.with(|slot, cx, _| group::heartbeat(slot, request, cx))
    }

    pub(crate) fn leave(&mut self, leaving: Vec<Leaving>) -> Vec<Left> {
        self.with(|slot, cx, effects| group::leave(slot, leaving, cx, effects)).expect("the group is alive")
    }

    /// Lets time pass, and does what is due at the moments the group asks for.
    pub(crate) fn wait(&mut self, millis: u64) {
        let until = self.now.ticks_ms + millis;
        while let Some(at) = self.slot.as_ref().and_then(Group::deadline).filter(|at| *at <= until) {
            self.pass(at.saturating_sub(self.now.ticks_ms));
            self.with(group::tick);
        }
        self.pass(until.saturating_sub(self.now.ticks_ms));
    }

    fn pass(&mut self, millis: u64) {
        self.now.ticks_ms += millis;
        self.now.wall_ms += i64::try_from(millis).expect("short");
    }

    /// What a restart makes of the group.
    pub(crate) fn restart(&mut self) {
        self.slot = self.restored();
        self.check();
    }

    pub(crate) fn restored(&self) -> Option<Group> {
        let head = self.rows.get(&RowKey::Head)?;
        let members = self.rows.iter().filter_map(|(key, row)| match key {
            RowKey::Head => None,
            RowKey::Member(id) => Some((Arc::clone(id), row.as_slice())),
        });
        let mut effects = Effects::default();
        let group = Group::restored("g".into(), head, members, &self.limits, self.now, &mut effects);
        Some(group.expect("rows are readable"))
    }

    pub(crate) fn group(&self) -> &ConsumerGroup {
        match &self.slot {
            Some(Group::Consumer(group)) => group,
            other => panic!("no consumer group, but {other:?}"),
        }
    }

    pub(crate) fn member(&self, id: &str) -> &Member {
        self.group().member(id).expect("the member is there")
    }

    /// What the member owns, as `topic name` and partition.
    pub(crate) fn owns(&self, id: &str) -> Vec<(String, i32)> {
        self.named(&self.member(id).stored.standing.assigned.partitions())
    }

    pub(crate) fn named(&self, partitions: &Partitions) -> Vec<(String, i32)> {
        let name = |id| self.topics.by_id(id).map_or("?".to_owned(), |topic| topic.name.to_string());
        partitions.iter().map(|(topic, partition)| (name(topic), partition)).collect()
    }

    /// The id of a topic.
    pub(crate) fn id(&self, name: &str) -> Uuid {
        self.topics.by_name(name).expect("the topic is there").id
    }

    /// Partitions of a topic.
    pub(crate) fn of(&self, name: &str, partitions: &[i32]) -> Partitions {
        partitions.iter().map(|partition| (self.id(name), *partition)).collect()
    }

    /// State, epoch and number of partitions of a member.
    pub(crate) fn standing(&self, id: &str) -> (MemberState, i32, usize) {
        let standing = &self.member(id).stored.standing;
        (standing.state, standing.epoch, standing.assigned.iter().count())
    }

    /// A member follows the protocol until it has what it is to have; the others do nothing.
    pub(crate) fn catch_up(&mut self, id: &str) {
        for _ in 0..3 {
            let member = self.member(id);
            let owned = member.stored.standing.assigned.partitions();
            let request = ConsumerHeartbeat { owned: Some(owned), ..beat(id, member.epoch()) };
            self.heartbeat(request).expect("a member in good standing");
        }
    }

    /// What must hold after every event: the rows say what the group is, and its counts are right.
    pub(crate) fn check(&self) {
        let Some(Group::Consumer(group)) = &self.slot else {
            assert!(
                !self.rows.keys().any(|key| matches!(key, RowKey::Member(_))),
                "only consumer groups have members' rows"
            );
            return;
        };
        let keys =
            std::iter::once(RowKey::Head).chain(group.members().map(|m| RowKey::Member(Arc::clone(m.id()))));
        let wanted: BTreeMap<RowKey, Vec<u8>> = keys
            .map(|key| (key.clone(), Group::Consumer(group.clone()).row(&key).expect("it has this row")))
            .collect();
        assert!(wanted == self.rows, "a changed row was not marked: {:?}", differing(&wanted, &self.rows));
        group.check_counts();
    }
}

fn differing(wanted: &BTreeMap<RowKey, Vec<u8>>, stored: &BTreeMap<RowKey, Vec<u8>>) -> Vec<RowKey> {
    wanted.keys().chain(stored.keys()).filter(|key| wanted.get(*key) != stored.get(*key)).cloned().collect()
}

impl ConsumerGroup {
    /// Counts anew what is kept counted.
    fn check_counts(&self) {
        let mut holders: HashMap<(Uuid, i32), usize> = HashMap::new();
        for member in self.members.values() {
            let standing = &member.stored.standing;
            for (topic, partition, _) in standing.assigned.iter().chain(standing.pending_revocation.iter()) {
                *holders.entry((topic, partition)).or_default() += 1;
            }
            let at = member.timer.expect("every member has a timer");
            assert!(at <= member.next_deadline(), "a timer stands too late");
            assert!(self.timers.contains(&(at, Arc::clone(&member.id))));
        }
        assert_eq!(holders, self.holders);
        assert_eq!(self.timers.len(), self.members.len());
        let is_reconciled = |member: &&Member| member.stored.standing.is_reconciled_to(self.assignment_epoch);
        assert_eq!(
            self.unreconciled,
            self.members.len() - self.members.values().filter(is_reconciled).count()
        );
        assert_eq!(self.classic_members, self.members.values().filter(|member| member.is_classic()).count());
        let mut support: HashMap<String, usize> = HashMap::new();
        for classic in self.members.values().filter_map(|member| member.stored.classic.as_ref()) {
            for protocol in &classic.protocols {
                *support.entry(protocol.name.clone()).or_default() += 1;
            }
        }
        assert_eq!(self.classic_support, support);
        let statics =
            self.members.values().filter_map(|m| Some((m.stored.instance_id.clone()?, Arc::clone(&m.id))));
        assert_eq!(self.instances, statics.collect());
        let mut fresh = super::subscription::Subscriptions::default();
        self.members.values().for_each(|member| fresh.add(member));
        for (pattern, shared) in self.subscriptions.regexes() {
            fresh.set_resolved(pattern, shared.topics.clone());
        }
        assert_eq!(fresh, self.subscriptions);
    }
}

/// A first request: full, of version 1.
pub(crate) fn joining(id: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        client: Client { id: format!("client {id}"), host: "/127.0.0.1".to_owned() },
        rebalance_timeout_ms: REBALANCE,
        topics: Some(names(topics)),
        owned: Some(Partitions::default()),
        ..beat(id, 0)
    }
}

/// A request that says nothing new.
pub(crate) fn beat(id: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        client: Client { id: format!("client {id}"), host: "/127.0.0.1".to_owned() },
        member_id: id.to_owned(),
        new_member_id: "given".to_owned(),
        member_epoch: epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: -1,
        topics: None,
        topic_regex: None,
        assignor: None,
        owned: None,
        version: 1,
    }
}

pub(crate) fn of_instance(instance_id: &str, request: ConsumerHeartbeat) -> ConsumerHeartbeat {
    ConsumerHeartbeat { instance_id: Some(instance_id.to_owned()), ..request }
}

pub(crate) fn names(topics: &[&str]) -> Vec<String> {
    topics.iter().map(|name| (*name).to_owned()).collect()
}

/// A subscription in the consumers' encoding: version 1, with the partitions that the member owns.
pub(crate) fn subscription(topics: &[&str], owned: &[(&str, &[i32])]) -> bytes::Bytes {
    let mut out = Vec::new();
    out.extend_from_slice(&1_i16.to_be_bytes());
    put_len(&mut out, topics.len());
    topics.iter().for_each(|name| put_name(&mut out, name));
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    put_len(&mut out, owned.len());
    for (name, partitions) in owned {
        put_name(&mut out, name);
        put_len(&mut out, partitions.len());
        partitions.iter().for_each(|partition| out.extend_from_slice(&partition.to_be_bytes()));
    }
    out.into()
}

/// A subscription of version 0, as eager assignors send it.
pub(crate) fn eager_subscription(topics: &[&str]) -> bytes::Bytes {
    let mut out = vec![0, 0];
    put_len(&mut out, topics.len());
    topics.iter().for_each(|name| put_name(&mut out, name));
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    out.into()
}

fn put_len(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&i32::try_from(length).expect("few").to_be_bytes());
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(&i16::try_from(name.len()).expect("short").to_be_bytes());
    out.extend_from_slice(name.as_bytes());
}

/// A classic JoinGroup of a consumer.
pub(crate) fn classic_join(id: &str, metadata: bytes::Bytes) -> JoinRequest {
    JoinRequest {
        client: Client { id: format!("client {id}"), host: "/127.0.0.1".to_owned() },
        member_id: id.to_owned(),
        new_member_id: "given".to_owned(),
        instance_id: None,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol { name: "range".to_owned(), metadata }],
        session_timeout_ms: SESSION,
        rebalance_timeout_ms: REBALANCE,
        requires_known_member_id: true,
        supports_skipping_assignment: true,
        reason: None,
    }
}

pub(crate) fn classic_sync(id: &str, generation: i32) -> SyncRequest {
    SyncRequest {
        member_id: id.to_owned(),
        instance_id: None,
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: Vec::new(),
    }
}

pub(crate) fn classic_beat(id: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest { member_id: id.to_owned(), instance_id: None, generation }
}

pub(crate) fn leaving(id: &str) -> Leaving {
    Leaving { member_id: id.to_owned(), instance_id: None, reason: None }
}
