//! The end of a transaction: EndTxn in both protocols, and the abort that fences a producer (KIP-98, KIP-890; Kafka
//! `TransactionCoordinator.endTransaction`, `endTransactionWithTV1`).
//!
//! In the second protocol every end takes the next epoch, so that nothing of an ended transaction can be taken for a part of
//! the next one. What it answers, by the epoch of the request (F: fenced, S: invalid state, R: what was answered before,
//! A: an abort of nothing, which takes an epoch too):
//!
//! | state | abort, epoch before | abort, present | commit, epoch before | commit, present |
//! |---|---|---|---|---|
//! | Empty | F | A | F | S |
//! | CompleteAbort | R | A | S | S |
//! | CompleteCommit | S | A | R | S |

use super::error::TransactionError;
use super::transaction::{Ending, LAST_EPOCH, Producer, Protocol, Refused, Row, State, Transaction};
use crate::record::TransactionOutcome;

/// What a producer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndRequest {
    /// Who asks.
    pub producer: Producer,
    /// How its transaction is to end.
    pub outcome: TransactionOutcome,
    /// The first one up to version 4 of EndTxn.
    pub protocol: Protocol,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What the client goes on with; from version 5 on it is told so.
    pub producer: Producer,
    /// What is to be done when the decision is durable. `None` when nothing is: the transaction ended before, or it had
    /// touched nothing. The steps of a transaction with an ending are over with [`Transaction::complete`].
    pub ending: Option<Ending>,
    /// Whether the row is to be written.
    pub row: Row,
}

impl Transaction {
    /// Ends the present transaction.
    ///
    /// # Errors
    /// `NeedsProducerId` without `spare` when the epochs have run out (second protocol). `InvalidProducerIdMapping` for
    /// another producer id, `ProducerFenced` for another epoch, `ConcurrentTransactions` while the same end is being
    /// completed, `InvalidTxnState` when there is nothing to commit, or the transaction ended the other way.
    pub fn end(&mut self, request: EndRequest, spare: Option<i64>, now_ms: i64) -> Result<Ended, Refused> {
        match request.protocol {
            Protocol::First => self.end_first(request, now_ms),
            Protocol::Second => self.end_second(request, spare, now_ms),
        }
    }

    /// Aborts an ongoing transaction and takes its epoch away, whatever protocol its producer speaks. In another state it
    /// does nothing.
    ///
    /// # Errors
    /// `NeedsProducerId` without `spare` when the epochs have run out.
    pub fn fence(&mut self, spare: Option<i64>, now_ms: i64) -> Result<Option<Ending>, Refused> {
        if self.state != State::Ongoing {
            return Ok(None);
        }
        Ok(self.decide(TransactionOutcome::Abort, Protocol::Second, spare, now_ms)?.ending)
    }

    fn end_first(&mut self, request: EndRequest, now_ms: i64) -> Result<Ended, Refused> {
        if request.producer.id != self.producer_id {
            return Err(TransactionError::InvalidProducerIdMapping.into());
        }
        if request.producer.epoch != self.producer_epoch {
            return Err(TransactionError::ProducerFenced.into());
        }
        match (self.state, request.outcome) {
            (State::Ongoing, outcome) => self.decide(outcome, Protocol::First, None, now_ms),
            // Nothing tells a repetition from the end of another transaction that touched nothing. Neither does harm.
            (State::CompleteCommit, TransactionOutcome::Commit)
            | (State::CompleteAbort, TransactionOutcome::Abort) => Ok(self.ended_before()),
            (state, outcome) => Err(refusal(state, outcome)),
        }
    }

    fn end_second(&mut self, request: EndRequest, spare: Option<i64>, now_ms: i64) -> Result<Ended, Refused> {
        let is_present = request.producer == self.producer();
        let is_repeated = self.was_ended_by(request.producer);
        if request.producer.id != self.producer_id && !is_repeated {
            return Err(TransactionError::InvalidProducerIdMapping.into());
        }
        let is_valid = match self.state {
            State::Empty | State::Ongoing => is_present,
            State::PrepareCommit | State::PrepareAbort => is_repeated,
            State::CompleteCommit | State::CompleteAbort => is_present || is_repeated,
        };
        if !is_valid {
            return Err(TransactionError::ProducerFenced.into());
        }
        match (self.state, request.outcome) {
            (State::Ongoing, outcome) => self.decide(outcome, Protocol::Second, spare, now_ms),
            (State::CompleteCommit, TransactionOutcome::Commit)
            | (State::CompleteAbort, TransactionOutcome::Abort)
                if is_repeated =>
            {
                Ok(self.ended_before())
            }
            // The client may not know whether anything of its transaction has arrived, and wants a new epoch in case that
            // something still does.
            (
                State::Empty | State::CompleteCommit | State::CompleteAbort,
                outcome @ TransactionOutcome::Abort,
            ) if !is_repeated => self.decide(outcome, Protocol::Second, spare, now_ms),
            (state, outcome) => Err(refusal(state, outcome)),
        }
    }

    /// Whether this producer's request, by the second protocol, made the last transaction end. Kafka looks at the numbers
    /// alone, and so takes a producer that was fenced for this one where the first protocol is spoken as well.
    fn was_ended_by(&self, producer: Producer) -> bool {
        let next = if self.producer_id == self.previous_producer_id || self.next_producer_id.is_some() {
            producer.id == self.producer_id && producer.epoch.checked_add(1) == Some(self.producer_epoch)
        } else {
            producer.id == self.previous_producer_id
                && producer.epoch == LAST_EPOCH
                && self.producer_epoch == 0
        };
        next && self.ended_with == Protocol::Second && self.last_producer_epoch == producer.epoch
    }

    fn ended_before(&self) -> Ended {
        Ended { producer: self.producer(), ending: None, row: Row::Unchanged }
    }

    /// Decides the outcome. What touched nothing is complete at once.
    fn decide(
        &mut self,
        outcome: TransactionOutcome,
        protocol: Protocol,
        spare: Option<i64>,
        now_ms: i64,
    ) -> Result<Ended, Refused> {
        let next_producer_id = match protocol {
            Protocol::Second if self.is_exhausted() => Some(spare.ok_or(Refused::NeedsProducerId)?),
            _ => None,
        };
        self.touch(now_ms);
        if self.state != State::Ongoing {
            self.started_at_ms = now_ms;
        }
        if protocol == Protocol::Second {
            self.last_producer_epoch = self.producer_epoch;
            // The very last epoch is never a client's, so it can only be fenced once.
            self.producer_epoch = self.producer_epoch.saturating_add(1);
        }
        self.next_producer_id = next_producer_id;
        self.ended_with = protocol;
        self.state = match outcome {
            TransactionOutcome::Commit => State::PrepareCommit,
            TransactionOutcome::Abort => State::PrepareAbort,
        };
        let ending = Ending {
            serial: self.serial,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            outcome,
            partitions: self.partitions.clone(),
            groups: self.groups.clone(),
        };
        self.serial += 1;
        let is_complete = ending.partitions.is_empty() && ending.groups.is_empty();
        if is_complete {
            self.complete(now_ms);
        }
        let producer = self.stored().producer();
        Ok(Ended { producer, ending: Some(ending).filter(|_| !is_complete), row: Row::Changed })
    }
}

/// Why a valid producer may not end a transaction in this state.
fn refusal(state: State, outcome: TransactionOutcome) -> Refused {
    let error = match (state, outcome) {
        (State::PrepareCommit, TransactionOutcome::Commit)
        | (State::PrepareAbort, TransactionOutcome::Abort) => TransactionError::ConcurrentTransactions,
        _ => TransactionError::InvalidTxnState,
    };
    error.into()
}

#[cfg(test)]
#[path = "end_tests.rs"]
mod tests;
