//! Random histories of several producers of one transactional id, over logs and group offsets that a crash cuts back to
//! what is durable. What must be true of each is said in [`World::check`] and at the places that answer.
//!
//! Producers come and go as processes; each speaks one of the protocols. Requests are repeated when their answer is lost,
//! and late copies of old ones arrive at any time (in the first protocol only of those that it can tell from new ones:
//! see [`is_told_apart`]). Rows become durable one by one, records when their log is flushed; a crash can fall between any two.

mod broker;
mod client;
mod log;
mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use self::client::{Client, Known};
use self::log::{Log, Offsets, Write};
use self::message::{Answer, Asked, Message, Token, is_told_apart};
use super::store::ending::EndingRow;
use super::transaction::{LAST_EPOCH, Protocol, State, TopicPartition, Transaction};
use crate::record::TransactionOutcome::{Abort, Commit};

const PARTITIONS: usize = 3;
const CLIENTS: usize = 3;
const GROUPS: [&str; 2] = ["g1", "flights"];
const TIMEOUT_MS: i32 = 1000;

struct World {
    now_ms: i64,
    first_epoch: i16,
    transaction: Option<Transaction>,
    logs: Vec<Log>,
    offsets: Offsets,
    queue: Vec<Write>,
    /// Writes that are durable, since the beginning.
    written: u64,
    durable_row: Option<Vec<u8>>,
    durable_offsets: Offsets,
    endings: BTreeMap<u64, EndingRow>,
    clients: Vec<Client>,
    answers: Vec<Answer>,
    sent: Vec<Message>,
    /// The process that may act: of the last InitProducerId that was decided.
    owner: Option<u32>,
    durable_owner: Vec<(u64, Option<u32>)>,
    tokens: BTreeMap<Token, Known>,
    next_id: i64,
    next_process: u32,
    next_token: Token,
    epochs: BTreeMap<i64, i16>,
    /// What happened, so that a run without any of it is noticed.
    seen: BTreeMap<&'static str, usize>,
}

fn partition(at: usize) -> TopicPartition {
    TopicPartition { topic: uuid::Uuid::from_u128(1), partition: at as i32 }
}

fn group(at: usize) -> Arc<str> {
    GROUPS[at].into()
}

impl World {
    fn new(first_epoch: i16) -> World {
        let mut world = World {
            now_ms: 1_000_000,
            first_epoch,
            transaction: None,
            logs: vec![Log::default(); PARTITIONS],
            offsets: Offsets::default(),
            queue: Vec::new(),
            written: 0,
            durable_row: None,
            durable_offsets: Offsets::default(),
            endings: BTreeMap::new(),
            clients: Vec::new(),
            answers: Vec::new(),
            sent: Vec::new(),
            owner: None,
            durable_owner: Vec::new(),
            tokens: BTreeMap::new(),
            next_id: 0,
            next_process: 0,
            next_token: 0,
            epochs: BTreeMap::new(),
            seen: BTreeMap::new(),
        };
        for _ in 0..CLIENTS {
            let client = world.process(Protocol::Second);
            world.clients.push(client);
        }
        world
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn event(&mut self, (kind, a, b): (u8, u8, u8)) {
        self.now_ms += 1;
        match kind % 64 {
            0..=31 => self.act(usize::from(a) % CLIENTS, b),
            32..=41 => self.write_one(),
            42..=47 => self.flush(usize::from(a) % PARTITIONS),
            48..=55 => self.settle(),
            56 => self.crash([a, b, a.wrapping_mul(b)]),
            57 => self.expire(),
            _ => self.late_copy(usize::from(a) * 256 + usize::from(b)),
        }
        self.check();
    }

    /// Everything is on the disk.
    fn settle(&mut self) {
        while !self.queue.is_empty() {
            self.write_one();
        }
        (0..PARTITIONS).for_each(|at| self.flush(at));
    }

    fn late_copy(&mut self, at: usize) {
        let Some(message) = self.sent.get(at % self.sent.len().max(1)).copied() else { return };
        // Each of these takes the id from its producer. Too many, and nothing else ever happens.
        let is_takeover = matches!(message.asked, Asked::Init { expected: None }) && !at.is_multiple_of(8);
        if is_told_apart(&message) && !is_takeover {
            self.deliver(message, true);
        }
    }

    /// What is true at any time.
    fn check(&self) {
        let mut fates: BTreeMap<Token, BTreeSet<Option<bool>>> = BTreeMap::new();
        let mut committed: BTreeMap<Token, usize> = BTreeMap::new();
        for (at, log) in self.logs.iter().enumerate() {
            log.fates(|token, end| {
                // Until a decision is durable its markers are missing in all logs.
                fates.entry(token).or_default().insert(end.map(|end| end == Commit));
                *committed.entry(token).or_default() += usize::from(end == Some(Commit));
            });
            for (producer, _) in log.all_open() {
                let present = self.transaction.as_ref().expect("somebody wrote");
                let is_covered = present.producer_id == producer.id
                    && present.partitions.contains(&partition(at))
                    && (present.state == State::Ongoing || present.state.is_prepared());
                assert!(is_covered, "nobody will end {producer:?} in {at}: {present:?}");
            }
        }
        for (token, fates) in &fates {
            assert!(
                !fates.contains(&Some(true)) || fates.len() == 1,
                "a transaction is committed in part: {token} {fates:?}"
            );
        }
        for (token, known) in &self.tokens {
            let committed = committed.get(token).copied().unwrap_or_default();
            let offsets = self.offsets.committed.iter().filter(|(_, of)| of == token).count();
            if !known.asked_to_commit || known.acked == Some(Abort) {
                assert_eq!((committed, offsets), (0, 0), "committed without being asked to: {token}");
            }
            if known.acked == Some(Commit) {
                let acked: usize = known.acked_partitions.values().sum();
                assert!(committed >= acked, "of {token} {acked} were promised and {committed} are committed");
                assert!(offsets >= known.acked_offsets.min(1), "offsets of {token} are lost");
            }
        }
    }
}

fn play(first_epoch: i16, events: &[(u8, u8, u8)]) -> BTreeMap<&'static str, usize> {
    let mut world = World::new(first_epoch);
    events.iter().for_each(|event| world.event(*event));
    world.seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_transactions_stay_whole(
        is_near_the_end: bool,
        events in prop::collection::vec(any::<(u8, u8, u8)>(), 1..400),
    ) {
        play(if is_near_the_end { LAST_EPOCH - 3 } else { 0 }, &events);
    }
}

/// A model in which nothing happens proves nothing.
#[test]
fn the_histories_have_everything_in_them() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let histories = prop::collection::vec(any::<(u8, u8, u8)>(), 400);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for at in 0..200 {
        let events = histories.new_tree(&mut runner).expect("a history").current();
        for (what, count) in play(if at % 2 == 0 { 0 } else { LAST_EPOCH - 3 }, &events) {
            *seen.entry(what).or_default() += count;
        }
    }
    for what in [
        "end",
        "end of nothing",
        "repeated end",
        "fence",
        "recovery",
        "rotation",
        "timeout",
        "crash",
        "adoption",
        "marker again",
    ] {
        assert!(seen.get(what).is_some_and(|count| *count >= 10), "{what} is rare: {seen:?}");
    }
}
