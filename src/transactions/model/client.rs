//! The producers: each does what it may, repeats what was not answered, and knows what it was promised.

use std::collections::{BTreeMap, BTreeSet};

use super::super::transaction::{Producer, Protocol};
use super::message::{Answer, Asked, Failure, Message, Token, TransactionErrorKind};
use super::{CLIENTS, GROUPS, PARTITIONS, World};
use crate::record::TransactionOutcome::{self, Abort, Commit};

#[derive(Debug)]
pub(super) struct Client {
    pub(super) process: u32,
    pub(super) protocol: Protocol,
    pub(super) producer: Option<Producer>,
    pub(super) token: Token,
    /// What the client knows to be in its transaction.
    pub(super) added: BTreeSet<usize>,
    pub(super) added_groups: BTreeSet<usize>,
    pub(super) is_open: bool,
    pub(super) must_abort: bool,
    pub(super) must_init: bool,
    pub(super) is_fenced: bool,
    pub(super) sequences: [u32; PARTITIONS],
    pub(super) waits_for: Option<Message>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Known {
    pub(super) acked_partitions: BTreeMap<usize, usize>,
    pub(super) acked_offsets: usize,
    pub(super) asked_to_commit: bool,
    pub(super) acked: Option<TransactionOutcome>,
}

impl World {
    pub(super) fn process(&mut self, protocol: Protocol) -> Client {
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

    pub(super) fn token(&mut self) -> Token {
        self.next_token += 1;
        self.tokens.insert(self.next_token, Known::default());
        self.next_token
    }

    /// Gives the answers whose ground is durable.
    pub(super) fn answer(&mut self) {
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

    pub(super) fn receive(&mut self, answer: Answer) {
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

    pub(super) fn send(&mut self, client: usize, asked: Asked) {
        let of = &mut self.clients[client];
        let producer = of.producer.unwrap_or(Producer { id: -1, epoch: -1 });
        let message = Message { client, process: of.process, protocol: of.protocol, producer, asked };
        of.waits_for = Some(message);
        self.sent.push(message);
        self.deliver(message, false);
    }

    /// A client goes on with what it was doing.
    pub(super) fn act(&mut self, at: usize, choice: u8) {
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
                let protocol =
                    if (choice / 16).is_multiple_of(2) { Protocol::First } else { Protocol::Second };
                self.clients[next] = self.process(protocol);
                return self.send(next, Asked::Init { expected: None });
            }
            _ => return,
        };
        self.clients[at].is_open |= !matches!(asked, Asked::Init { .. });
        self.send(at, asked);
    }
}
