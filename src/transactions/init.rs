//! InitProducerId of a transactional producer: a producer id and an epoch that nobody else has (KIP-98, KIP-360; Kafka
//! `TransactionCoordinator.handleInitProducerId`).

use super::error::TransactionError;
use super::transaction::{
    Ending, LAST_EPOCH, NO_EPOCH, NO_PRODUCER_ID, Producer, Protocol, Refused, State, Transaction,
};

/// What a producer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitRequest {
    /// Its transaction timeout, milliseconds.
    pub timeout_ms: i32,
    /// What it has already, if it goes on after an error (KIP-360). Both or neither: one alone is an invalid request.
    pub expected: Option<Producer>,
}

impl InitRequest {
    /// A request with these fields, -1 being none.
    ///
    /// # Errors
    /// `InvalidRequest` for a producer id without an epoch or the reverse; `InvalidTransactionTimeout` unless the timeout is
    /// from 1 to `max_timeout_ms` (`transaction.max.timeout.ms`).
    pub fn new(
        timeout_ms: i32,
        producer_id: i64,
        producer_epoch: i16,
        max_timeout_ms: i32,
    ) -> Result<InitRequest, TransactionError> {
        let expected = match (producer_id, producer_epoch) {
            (NO_PRODUCER_ID, NO_EPOCH) => None,
            (NO_PRODUCER_ID, _) | (_, NO_EPOCH) => return Err(TransactionError::InvalidRequest),
            (id, epoch) => Some(Producer { id, epoch }),
        };
        if timeout_ms <= 0 || timeout_ms > max_timeout_ms {
            return Err(TransactionError::InvalidTransactionTimeout);
        }
        Ok(InitRequest { timeout_ms, expected })
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Init {
    /// The row is to be written; when it is durable, the client is told this.
    Ready(Producer),
    /// A transaction was under way and is aborted now. The client is told CONCURRENT_TRANSACTIONS as soon as that is
    /// durable, and asks again; the epoch that fences is given to nobody by this.
    Fenced(Option<Ending>),
}

impl Transaction {
    /// A transactional id that was not known. What the producer expects does not count: it may be known no more.
    pub fn create(request: InitRequest, producer_id: i64, now_ms: i64) -> Transaction {
        Transaction {
            producer_id,
            previous_producer_id: producer_id,
            producer_epoch: 0,
            last_producer_epoch: NO_EPOCH,
            next_producer_id: None,
            timeout_ms: request.timeout_ms,
            state: State::Empty,
            partitions: Default::default(),
            groups: Default::default(),
            started_at_ms: -1,
            updated_at_ms: now_ms,
            ended_with: Protocol::First,
            serial: 0,
        }
    }

    /// Gives the transactional id to the producer that asks.
    ///
    /// # Errors
    /// `NeedsProducerId` without `spare` when the epochs have run out. `ProducerFenced` when another producer took over since
    /// the producer got what it expects to have. `ConcurrentTransactions` while a transaction is being completed.
    pub fn init(&mut self, request: InitRequest, spare: Option<i64>, now_ms: i64) -> Result<Init, Refused> {
        if let Some(expected) = request.expected
            && !self.may_expect(expected)
        {
            return Err(TransactionError::ProducerFenced.into());
        }
        match self.state {
            State::PrepareCommit | State::PrepareAbort => {
                Err(TransactionError::ConcurrentTransactions.into())
            }
            State::Ongoing => {
                // Kafka does not look at the epoch here, so that there a late repetition of an old request aborts the
                // transaction of whoever came after it.
                if request.expected.is_some_and(|expected| expected != self.producer()) {
                    return Err(TransactionError::ProducerFenced.into());
                }
                Ok(Init::Fenced(self.fence(spare, now_ms)?))
            }
            State::Empty | State::CompleteCommit | State::CompleteAbort => {
                self.next_epoch(request, spare, now_ms)
            }
        }
    }

    /// The producer id is the present one, or the one before if the producer may have missed the answer that gave it
    /// another because its epochs had run out. The epoch is looked at later.
    fn may_expect(&self, expected: Producer) -> bool {
        expected.id == self.producer_id
            || (expected.id == self.previous_producer_id && expected.epoch >= LAST_EPOCH)
    }

    fn next_epoch(&mut self, request: InitRequest, spare: Option<i64>, now_ms: i64) -> Result<Init, Refused> {
        let is_present = |epoch| epoch == self.producer_epoch;
        let expected_epoch = request.expected.map(|expected| expected.epoch);
        if expected_epoch.is_none_or(is_present) {
            let next = if self.is_exhausted() {
                Producer { id: spare.ok_or(Refused::NeedsProducerId)?, epoch: 0 }
            } else {
                Producer { id: self.producer_id, epoch: self.producer_epoch + 1 }
            };
            // Whoever had the present epoch has lost it, unless it is the one that asks.
            self.last_producer_epoch = if expected_epoch.is_some() { self.producer_epoch } else { NO_EPOCH };
            self.touch(now_ms);
            self.producer_id = next.id;
            self.producer_epoch = next.epoch;
        } else if expected_epoch == Some(self.last_producer_epoch) {
            // Asked again, because the answer was lost. No other producer has asked since: it would have made the last
            // epoch forgotten. The producer id before stays known, so that this can be lost and asked again as well.
            self.updated_at_ms = now_ms;
        } else {
            return Err(TransactionError::ProducerFenced.into());
        }
        self.timeout_ms = request.timeout_ms;
        self.state = State::Empty;
        self.started_at_ms = -1;
        Ok(Init::Ready(self.producer()))
    }
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
