//! Random histories of several producers of one transactional id, over logs and group offsets that a crash cuts back to
//! what is durable. What must be true of each is said in [`World::check`] and at the places that answer.
//!
//! Producers come and go as processes; each speaks one of the protocols. Requests are repeated when their answer is lost,
//! and late copies of old ones arrive at any time (in the first protocol only of those that it can tell from new ones:
//! see [`is_told_apart`]). Rows become durable one by one, records when their log is flushed; a crash can fall between any two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::adopt::Adoption;
use super::end::EndRequest;
use super::error::TransactionError;
use super::init::{Init, InitRequest};
use super::store::{self, ending::EndingRow, ending::OpenFrom};
use super::transaction::{
    Ending, LAST_EPOCH, Producer, Protocol, Refused, Row, State, TopicPartition, Transaction,
};
use crate::record::TransactionOutcome::{self, Abort, Commit};

const PARTITIONS: usize = 3;
const CLIENTS: usize = 3;
const GROUPS: [&str; 2] = ["g1", "flights"];
const TIMEOUT_MS: i32 = 1000;

/// A transaction as its client counts it.
type Token = u32;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Init { expected: Option<Producer> },
    Add { partition: usize },
    Produce { partition: usize, sequence: u32, token: Token },
    AddGroup { group: usize },
    CommitOffset { group: usize, token: Token },
    End { outcome: TransactionOutcome, token: Token },
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Message {
    client: usize,
    process: u32,
    protocol: Protocol,
    producer: Producer,
    asked: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    Coordinator(TransactionErrorKind),
    StaleEpoch,
    OutOfOrder,
}

/// What a client does about it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum TransactionErrorKind {
    Retriable,
    Abortable,
    Fatal,
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Failure {
        Failure::Coordinator(match error {
            TransactionError::ConcurrentTransactions => TransactionErrorKind::Retriable,
            TransactionError::TransactionAbortable => TransactionErrorKind::Abortable,
            TransactionError::ProducerFenced
            | TransactionError::InvalidProducerIdMapping
            | TransactionError::InvalidTxnState => TransactionErrorKind::Fatal,
            other => panic!("not expected here: {other:?}"),
        })
    }
}

/// In the first protocol all transactions of an epoch look alike, so a late copy of these would count for the present one.
fn is_told_apart(message: &Message) -> bool {
    message.protocol == Protocol::Second
        || !matches!(message.asked, Asked::End { .. } | Asked::CommitOffset { .. })
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Record { producer: Producer, sequence: u32, token: Token },
    Marker { producer: Producer, outcome: TransactionOutcome },
}

#[derive(Debug, Clone, Default)]
struct Log {
    entries: Vec<Entry>,
    durable: usize,
}

impl Log {
    /// The open transaction of a producer id: its epoch and first offset.
    fn open(&self, id: i64) -> Option<(i16, usize)> {
        let mut open = None;
        for (offset, entry) in self.entries.iter().enumerate() {
            match entry {
                Entry::Record { producer, .. } if producer.id == id => {
                    open = open.or(Some((producer.epoch, offset)));
                }
                Entry::Marker { producer, .. } if producer.id == id => open = None,
                _ => {}
            }
        }
        open
    }

    fn all_open(&self) -> Vec<(Producer, usize)> {
        let ids: BTreeSet<i64> = self.entries.iter().map(|entry| entry.producer().id).collect();
        let open = ids.into_iter().filter_map(|id| self.open(id).map(|open| (id, open)));
        open.map(|(id, (epoch, first))| (Producer { id, epoch }, first)).collect()
    }

    fn last_of(&self, id: i64) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.producer().id == id)
    }

    /// How the records of each token ended here; `None` while they are open.
    fn fates(&self, mut each: impl FnMut(Token, Option<TransactionOutcome>)) {
        for (offset, entry) in self.entries.iter().enumerate() {
            if let Entry::Record { producer: of, token, .. } = entry {
                let end = self.entries[offset..].iter().find_map(|entry| match entry {
                    Entry::Marker { producer, outcome } if producer.id == of.id => Some(*outcome),
                    _ => None,
                });
                each(*token, end);
            }
        }
    }
}

impl Entry {
    fn producer(&self) -> Producer {
        match self {
            Entry::Record { producer, .. } | Entry::Marker { producer, .. } => *producer,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Offsets {
    pending: Vec<(i64, usize, Token)>,
    committed: Vec<(usize, Token)>,
}

/// What one write to the store holds.
#[derive(Debug, Clone)]
struct Write {
    row: Vec<u8>,
    ending: Option<(u64, EndingRow)>,
    offsets: Offsets,
}

#[derive(Debug)]
struct Answer {
    message: Message,
    is_late_copy: bool,
    outcome: Result<Producer, Failure>,
    /// Rows that must be durable first.
    writes: u64,
    log: Option<(usize, usize)>,
}

#[derive(Debug)]
struct Client {
    process: u32,
    protocol: Protocol,
    producer: Option<Producer>,
    token: Token,
    /// What the client knows to be in its transaction.
    added: BTreeSet<usize>,
    added_groups: BTreeSet<usize>,
    is_open: bool,
    must_abort: bool,
    must_init: bool,
    is_fenced: bool,
    sequences: [u32; PARTITIONS],
    waits_for: Option<Message>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    acked_partitions: BTreeMap<usize, usize>,
    acked_offsets: usize,
    asked_to_commit: bool,
    acked: Option<TransactionOutcome>,
}

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

    fn process(&mut self, protocol: Protocol) -> Client {
        self.next_process += 1;
        Client {
            process: self.next_process,
            protocol,
            producer: None,
            token: self.token(),
            added: BTreeSet::new(),
            added_groups: BTreeSet::new(),
            is_open: false,
            must_abort: false,
            must_init: false,
            is_fenced: false,
            sequences: [0; PARTITIONS],
            waits_for: None,
        }
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        self.tokens.insert(self.next_token, Known::default());
        self.next_token
    }

    /// Takes a step that may need a producer id, and sees that a refusal changes nothing.
    fn step<T>(
        &mut self,
        step: impl Fn(&mut Transaction, Option<i64>) -> Result<T, Refused>,
    ) -> Result<T, TransactionError> {
        let mut spare = None;
        loop {
            let transaction = self.transaction.as_mut().expect("known");
            let before = transaction.clone();
            match step(transaction, spare) {
                Ok(done) => return Ok(done),
                Err(refused) => {
                    assert_eq!(*transaction, before, "a refusal changes nothing");
                    match refused {
                        Refused::Error(error) => return Err(error),
                        Refused::NeedsProducerId => {
                            assert_eq!(spare, None, "it has one now");
                            assert!(before.is_exhausted());
                            self.next_id += 1;
                            spare = Some(self.next_id);
                            self.saw("rotation");
                        }
                    }
                }
            }
        }
    }

    fn queue(&mut self, ending: Option<&Ending>) {
        let transaction = self.transaction.as_ref().expect("known");
        let row = store::transaction::value(transaction);
        let ending = ending.map(|ending| {
            let row = EndingRow::new(ending, |of| {
                match self.logs[of.partition as usize].open(ending.producer_id) {
                    Some((_, first)) => OpenFrom::Offset(first as i64),
                    None => OpenFrom::Nothing,
                }
            });
            (ending.serial, row)
        });
        self.queue.push(Write { row, ending, offsets: self.offsets.clone() });
    }

    /// An end was decided: the offsets move with the row.
    fn decided(&mut self, ending: Option<Ending>) {
        if let Some(ending) = &ending {
            let groups: Vec<usize> =
                (0..GROUPS.len()).filter(|at| ending.groups.contains(&group(*at))).collect();
            let is_of_it =
                |(id, at, _): &(i64, usize, Token)| *id == ending.producer_id && groups.contains(at);
            let moved: Vec<_> =
                self.offsets.pending.iter().filter(|of| is_of_it(of)).map(|of| (of.1, of.2)).collect();
            self.offsets.pending.retain(|of| !is_of_it(of));
            if ending.outcome == Commit {
                self.offsets.committed.extend(moved);
            }
            let left = self.offsets.pending.iter().find(|of| of.0 == ending.producer_id);
            assert_eq!(left, None, "an ending reaches every group of its transaction");
            for (at, log) in self.logs.iter().enumerate() {
                let is_open = log.open(ending.producer_id).is_some();
                assert!(
                    !is_open || ending.partitions.contains(&partition(at)),
                    "an ending reaches every partition"
                );
            }
        }
        self.queue(ending.as_ref());
    }

    /// The broker takes a request. An answer that does not come at once comes when what it says is durable.
    fn deliver(&mut self, message: Message, is_late_copy: bool) {
        let mut log = None;
        let outcome = self.handle(message, is_late_copy, &mut log);
        if outcome.is_ok() && !matches!(message.asked, Asked::Init { .. }) {
            assert_eq!(self.owner, Some(message.process), "a fenced producer changes nothing: {message:?}");
        }
        let writes = self.written + self.queue.len() as u64;
        self.answers.push(Answer { message, is_late_copy, outcome, writes, log });
    }

    fn handle(
        &mut self,
        message: Message,
        is_late_copy: bool,
        log: &mut Option<(usize, usize)>,
    ) -> Result<Producer, Failure> {
        let Message { producer, protocol, .. } = message;
        let now_ms = self.now_ms;
        if let Asked::Init { expected } = message.asked {
            return self.init(message, expected, is_late_copy);
        }
        if self.transaction.is_none() {
            return Err(TransactionError::InvalidProducerIdMapping.into());
        }
        match message.asked {
            Asked::Init { .. } => unreachable!("handled above"),
            Asked::Add { partition: at } => {
                if self.step(|of, _| Ok(of.enlist(producer, &[partition(at)], now_ms)?))? == Row::Changed {
                    self.queue(None);
                }
            }
            Asked::AddGroup { group: at } => {
                if self.step(|of, _| Ok(of.enlist_group(producer, &group(at), now_ms)?))? == Row::Changed {
                    self.queue(None);
                }
            }
            Asked::CommitOffset { group: at, token } => {
                let row = self.step(|of, _| {
                    Ok(match protocol {
                        Protocol::First => of.verify_offsets(producer, &group(at), now_ms)?,
                        Protocol::Second => of.enlist_offsets(producer, &group(at), now_ms)?,
                    })
                })?;
                let offsets = (producer.id, at, token);
                if !self.offsets.pending.contains(&offsets) {
                    self.offsets.pending.push(offsets);
                }
                // The pending offset is a row, so that there is a write whatever the step says.
                let _ = row;
                self.queue(None);
            }
            Asked::Produce { partition: at, sequence, token } => {
                *log = Some((at, self.produce(message, at, sequence, token)?));
            }
            Asked::End { outcome, token } => {
                if outcome == Commit {
                    self.tokens.get_mut(&token).expect("known").asked_to_commit = true;
                }
                let request = EndRequest { producer, outcome, protocol };
                let ended = self.step(|of, spare| of.end(request, spare, now_ms))?;
                if ended.row == Row::Changed {
                    self.saw(if ended.ending.is_some() { "end" } else { "end of nothing" });
                    self.decided(ended.ending);
                } else {
                    assert_eq!(ended.ending, None);
                    self.saw("repeated end");
                }
                return Ok(ended.producer);
            }
        }
        Ok(producer)
    }

    fn init(
        &mut self,
        message: Message,
        expected: Option<Producer>,
        is_late_copy: bool,
    ) -> Result<Producer, Failure> {
        let request = InitRequest { timeout_ms: TIMEOUT_MS, expected };
        let now_ms = self.now_ms;
        let given = if self.transaction.is_none() {
            self.next_id += 1;
            let mut created = Transaction::create(request, self.next_id, now_ms);
            created.producer_epoch = self.first_epoch;
            let given = created.producer();
            self.transaction = Some(created);
            given
        } else {
            match self.step(|of, spare| of.init(request, spare, now_ms))? {
                Init::Ready(given) => given,
                Init::Fenced(ending) => {
                    self.saw("fence");
                    assert!(expected.is_none() || self.owner == Some(message.process), "a stranger aborts");
                    self.decided(ending);
                    return Err(TransactionError::ConcurrentTransactions.into());
                }
            }
        };
        match expected {
            Some(_) => {
                let is_new = self.durable_row.is_none();
                assert!(
                    is_new || self.owner == Some(message.process),
                    "a fenced producer goes on: {message:?}"
                );
                self.saw("recovery");
                self.owner = Some(message.process);
            }
            // A late copy of what a process asked first takes the id from whoever has it, and nobody gets the answer.
            None => self.owner = Some(message.process).filter(|_| !is_late_copy),
        }
        self.queue(None);
        self.durable_owner.push((self.written + self.queue.len() as u64, self.owner));
        Ok(given)
    }

    fn produce(
        &mut self,
        message: Message,
        at: usize,
        sequence: u32,
        token: Token,
    ) -> Result<usize, Failure> {
        let Message { producer, protocol, .. } = message;
        let last = self.logs[at].last_of(producer.id).copied();
        if last.is_some_and(|last| last.producer().epoch > producer.epoch) {
            return Err(Failure::StaleEpoch);
        }
        let records = self.logs[at].entries.iter().filter_map(|entry| match entry {
            Entry::Record { producer: of, sequence, .. } if *of == producer => Some(*sequence),
            _ => None,
        });
        let last_sequence = records.last();
        let next = last_sequence.map_or(0, |last| last + 1);
        if sequence < next {
            // A repetition, but of a fenced producer it is not answered: its epoch is stale.
            return match self.transaction.as_ref().is_some_and(|of| of.producer() == producer) {
                true => Ok(self.logs[at].entries.len()),
                false => Err(Failure::StaleEpoch),
            };
        }
        if sequence > next {
            return Err(Failure::OutOfOrder);
        }
        if self.logs[at].open(producer.id).is_none() {
            let now_ms = self.now_ms;
            let row = self.step(|of, _| {
                Ok(match protocol {
                    Protocol::First => of.verify(producer, partition(at)).map(|()| Row::Unchanged)?,
                    Protocol::Second => of.enlist(producer, &[partition(at)], now_ms)?,
                })
            })?;
            if row == Row::Changed {
                self.queue(None);
            }
        }
        self.logs[at].entries.push(Entry::Record { producer, sequence, token });
        Ok(self.logs[at].entries.len())
    }

    /// The oldest write is durable.
    fn write_one(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let write = self.queue.remove(0);
        self.written += 1;
        let row = store::transaction::read_value(&write.row).expect("readable");
        let before = self.epochs.insert(row.producer_id, row.producer_epoch);
        assert!(before.is_none_or(|before| before <= row.producer_epoch), "an epoch goes back");
        assert_eq!(
            self.epochs.keys().next_back(),
            Some(&row.producer_id),
            "a producer id comes back that was given up"
        );
        assert!(row.producer_epoch <= LAST_EPOCH, "an epoch is given out that cannot be fenced");
        self.durable_row = Some(write.row);
        self.durable_offsets = write.offsets;
        if let Some((serial, ending)) = write.ending {
            for (of, _) in &ending.partitions {
                self.mark(of.partition as usize, &ending);
            }
            assert_eq!(self.endings.insert(serial, ending), None, "a serial number comes twice");
            let now_ms = self.now_ms;
            self.transaction.as_mut().expect("known").complete(now_ms);
        }
        self.answer();
    }

    fn mark(&mut self, at: usize, ending: &EndingRow) {
        let producer = Producer { id: ending.producer_id, epoch: ending.producer_epoch };
        self.logs[at].entries.push(Entry::Marker { producer, outcome: ending.outcome });
    }

    fn flush(&mut self, at: usize) {
        self.logs[at].durable = self.logs[at].entries.len();
        if self.logs.iter().all(|log| log.durable == log.entries.len()) {
            self.endings.clear();
        }
        self.answer();
    }

    /// The process ends without warning. Of each log some of what was not flushed is left.
    fn crash(&mut self, kept: [u8; PARTITIONS]) {
        self.saw("crash");
        self.queue.clear();
        self.answers.clear();
        self.offsets = self.durable_offsets.clone();
        let durable = self.written;
        self.durable_owner.retain(|(at, _)| *at <= durable);
        self.owner = self.durable_owner.last().and_then(|(_, owner)| *owner);
        let row = self.durable_row.as_ref();
        self.transaction = row.map(|row| store::transaction::read_value(row).expect("readable"));
        for (log, kept) in self.logs.iter_mut().zip(kept) {
            let unsure = log.entries.len() - log.durable;
            log.entries.truncate(log.durable + usize::from(kept) % (unsure + 1));
        }
        self.carry_out_again();
        for at in 0..PARTITIONS {
            for (producer, _) in self.logs[at].all_open() {
                let now_ms = self.now_ms;
                let adoption = match &mut self.transaction {
                    Some(of) => of.adopt(producer, partition(at), now_ms),
                    None => Adoption::NotMine,
                };
                match adoption {
                    Adoption::Mine(Row::Unchanged) => {}
                    Adoption::Mine(Row::Changed) => {
                        self.saw("adoption");
                        self.queue(None);
                    }
                    Adoption::Ending => panic!("nothing is prepared after a start"),
                    // Rows become durable in their order, so a transaction that was left has a row or an ending.
                    Adoption::NotMine => panic!("nobody knows of {producer:?}"),
                }
            }
        }
    }

    fn carry_out_again(&mut self) {
        for ending in self.endings.clone().into_values() {
            for (of, from) in &ending.partitions {
                let at = of.partition as usize;
                let open = self.logs[at].open(ending.producer_id);
                if open.is_some_and(|(_, first)| *from == OpenFrom::Offset(first as i64)) {
                    self.saw("marker again");
                    self.mark(at, &ending);
                }
            }
        }
        // Before anybody is served: an offset that was lost may be taken by another transaction.
        self.logs.iter_mut().for_each(|log| log.durable = log.entries.len());
        self.endings.clear();
    }

    /// Gives the answers whose ground is durable.
    fn answer(&mut self) {
        let written = self.written;
        let logs: Vec<usize> = self.logs.iter().map(|log| log.durable).collect();
        let is_ready = |answer: &mut Answer| {
            answer.writes <= written && answer.log.is_none_or(|(at, end)| end <= logs[at])
        };
        let ready: Vec<Answer> = self.answers.extract_if(.., is_ready).collect();
        for answer in ready {
            self.receive(answer);
        }
    }

    fn receive(&mut self, answer: Answer) {
        let Answer { message, is_late_copy, outcome, .. } = answer;
        if is_late_copy || self.clients[message.client].waits_for != Some(message) {
            return;
        }
        let new_token = self.next_token + 1;
        let client = &mut self.clients[message.client];
        match outcome {
            Ok(given) => {
                client.waits_for = None;
                match message.asked {
                    Asked::Init { .. } => {
                        if client.producer != Some(given) {
                            client.sequences = [0; PARTITIONS];
                        }
                        client.producer = Some(given);
                        client.must_init = false;
                    }
                    Asked::Add { partition } => {
                        client.added.insert(partition);
                    }
                    Asked::AddGroup { group } => {
                        client.added_groups.insert(group);
                    }
                    Asked::Produce { partition, token, .. } => {
                        client.sequences[partition] += 1;
                        let known = self.tokens.get_mut(&token).expect("known");
                        *known.acked_partitions.entry(partition).or_default() += 1;
                    }
                    Asked::CommitOffset { token, .. } => {
                        self.tokens.get_mut(&token).expect("known").acked_offsets += 1;
                    }
                    Asked::End { outcome, token } => {
                        self.tokens.get_mut(&token).expect("known").acked = Some(outcome);
                        if client.producer != Some(given) {
                            client.sequences = [0; PARTITIONS];
                        }
                        client.producer = Some(given);
                        client.added.clear();
                        client.added_groups.clear();
                        client.is_open = false;
                        client.must_abort = false;
                        client.token = new_token;
                        self.token();
                    }
                }
            }
            Err(Failure::Coordinator(TransactionErrorKind::Retriable)) => {}
            Err(Failure::Coordinator(TransactionErrorKind::Abortable) | Failure::OutOfOrder) => {
                client.waits_for = None;
                client.must_abort = true;
                client.must_init = client.protocol == Protocol::First;
            }
            Err(Failure::Coordinator(TransactionErrorKind::Fatal) | Failure::StaleEpoch) => {
                client.waits_for = None;
                client.is_fenced = true;
            }
        }
    }

    fn send(&mut self, client: usize, asked: Asked) {
        let of = &mut self.clients[client];
        let producer = of.producer.unwrap_or(Producer { id: -1, epoch: -1 });
        let message = Message { client, process: of.process, protocol: of.protocol, producer, asked };
        of.waits_for = Some(message);
        self.sent.push(message);
        self.deliver(message, false);
    }

    /// A client goes on with what it was doing.
    fn act(&mut self, at: usize, choice: u8) {
        let client = &mut self.clients[at];
        if let Some(message) = client.waits_for {
            let is_produce = matches!(message.asked, Asked::Produce { .. } | Asked::CommitOffset { .. });
            if choice.is_multiple_of(4) && is_produce {
                // It gives up, not knowing whether it was heard.
                client.waits_for = None;
                client.must_abort = true;
                client.must_init = client.protocol == Protocol::First;
                return;
            }
            return self.deliver(message, false);
        }
        let Some(producer) = client.producer.filter(|_| !client.is_fenced) else {
            // It takes the id from whoever has it, so it seldom does when somebody has.
            if !(choice / 2).is_multiple_of(16) && self.owner.is_some() {
                return;
            }
            let protocol = if choice.is_multiple_of(2) { Protocol::First } else { Protocol::Second };
            self.clients[at] = self.process(protocol);
            return self.send(at, Asked::Init { expected: None });
        };
        let token = client.token;
        if client.must_abort {
            // Nothing of a transaction may have been heard, and then the first protocol has nothing to abort.
            client.must_abort = false;
            if client.protocol == Protocol::Second
                || !client.added.is_empty()
                || !client.added_groups.is_empty()
            {
                client.must_abort = true;
                return self.send(at, Asked::End { outcome: Abort, token });
            }
        }
        if client.must_init {
            return self.send(at, Asked::Init { expected: Some(producer) });
        }
        let partition = usize::from(choice / 16) % PARTITIONS;
        let group = usize::from(choice / 16) % GROUPS.len();
        let is_first = client.protocol == Protocol::First;
        let asked = match choice % 16 {
            0..=6 if is_first && !client.added.contains(&partition) => Asked::Add { partition },
            0..=6 => Asked::Produce { partition, sequence: client.sequences[partition], token },
            7..=8 if is_first && !client.added_groups.contains(&group) => Asked::AddGroup { group },
            7..=8 => Asked::CommitOffset { group, token },
            9..=12 if client.is_open => Asked::End { outcome: Commit, token },
            13 if client.is_open || !is_first => Asked::End { outcome: Abort, token },
            14 if !client.is_open => Asked::Init { expected: Some(producer) },
            15 if choice / 16 < 4 => {
                // The process is replaced, and perhaps goes on all the same.
                let next = (at + 1) % CLIENTS;
                let protocol = if choice / 16 % 2 == 0 { Protocol::First } else { Protocol::Second };
                self.clients[next] = self.process(protocol);
                return self.send(next, Asked::Init { expected: None });
            }
            _ => return,
        };
        self.clients[at].is_open |= !matches!(asked, Asked::Init { .. });
        self.send(at, asked);
    }

    fn expire(&mut self) {
        self.now_ms += i64::from(TIMEOUT_MS) + 1;
        let now_ms = self.now_ms;
        if self.transaction.is_some() {
            let expired = self.step(|of, spare| of.expire(spare, now_ms)).expect("never refused");
            if let Some(expired) = expired {
                self.saw("timeout");
                self.decided(expired.ending);
            }
        }
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
