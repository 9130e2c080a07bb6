//! The broker's side: steps under the lock, rows that become durable in their order, and the start after a crash.

use super::super::adopt::Adoption;
use super::super::end::EndRequest;
use super::super::error::TransactionError;
use super::super::init::{Init, InitRequest};
use super::super::store::{self, ending::EndingRow, ending::OpenFrom};
use super::super::transaction::{Ending, LAST_EPOCH, Producer, Protocol, Refused, Row, Transaction};
use super::log::{Entry, Write};
use super::message::{Answer, Asked, Failure, Message, Token};
use super::{GROUPS, PARTITIONS, TIMEOUT_MS, World, group, partition};
use crate::record::TransactionOutcome::Commit;

impl World {
    /// Takes a step that may need a producer id, and sees that a refusal changes nothing.
    pub(super) fn step<T>(
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

    pub(super) fn queue(&mut self, ending: Option<&Ending>) {
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
    pub(super) fn decided(&mut self, ending: Option<Ending>) {
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
    pub(super) fn deliver(&mut self, message: Message, is_late_copy: bool) {
        let mut log = None;
        let outcome = self.handle(message, is_late_copy, &mut log);
        if outcome.is_ok() && !matches!(message.asked, Asked::Init { .. }) {
            assert_eq!(self.owner, Some(message.process), "a fenced producer changes nothing: {message:?}");
        }
        let writes = self.written + self.queue.len() as u64;
        self.answers.push(Answer { message, is_late_copy, outcome, writes, log });
    }

    pub(super) fn handle(
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

    pub(super) fn init(
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

    pub(super) fn produce(
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
        let last_sequence = records.max();
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
    pub(super) fn write_one(&mut self) {
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
            for of in ending.partitions.keys() {
                self.mark(of.partition as usize, &ending);
            }
            assert_eq!(self.endings.insert(serial, ending), None, "a serial number comes twice");
            let now_ms = self.now_ms;
            self.transaction.as_mut().expect("known").complete(now_ms);
        }
        self.answer();
    }

    pub(super) fn mark(&mut self, at: usize, ending: &EndingRow) {
        let producer = Producer { id: ending.producer_id, epoch: ending.producer_epoch };
        self.logs[at].entries.push(Entry::Marker { producer, outcome: ending.outcome });
    }

    pub(super) fn flush(&mut self, at: usize) {
        self.logs[at].durable = self.logs[at].entries.len();
        if self.logs.iter().all(|log| log.durable == log.entries.len()) {
            self.endings.clear();
        }
        self.answer();
    }

    /// The process ends without warning. Of each log some of what was not flushed is left.
    pub(super) fn crash(&mut self, kept: [u8; PARTITIONS]) {
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

    pub(super) fn carry_out_again(&mut self) {
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

    pub(super) fn expire(&mut self) {
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
}
