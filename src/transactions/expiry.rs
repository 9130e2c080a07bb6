//! What time does to a transactional id: an overdue transaction is aborted and its producer fenced, and an id that nobody
//! has used for long is forgotten (Kafka `timedOutTransactions`, `removeExpiredTransactionalIds`).

use super::transaction::{Ending, Refused, State, Transaction};

impl Transaction {
    /// After this moment, milliseconds since the epoch, the ongoing transaction is overdue.
    pub fn deadline_ms(&self) -> Option<i64> {
        (self.state == State::Ongoing).then(|| self.started_at_ms.saturating_add(self.timeout_ms.into()))
    }

    /// The ongoing transaction has taken longer than its timeout.
    pub fn is_overdue(&self, now_ms: i64) -> bool {
        self.deadline_ms().is_some_and(|deadline| deadline < now_ms)
    }

    /// Aborts an overdue transaction, and takes the epoch away from its producer. `None` when it is not overdue.
    ///
    /// # Errors
    /// `NeedsProducerId` without `spare` when the epochs have run out.
    pub fn expire(&mut self, spare: Option<i64>, now_ms: i64) -> Result<Option<Expired>, Refused> {
        if !self.is_overdue(now_ms) {
            return Ok(None);
        }
        let ending = self.fence(spare, now_ms)?;
        Ok(Some(Expired { ending }))
    }

    /// From this moment on, milliseconds since the epoch, the id may be forgotten: it was not used for `expiration_ms`
    /// (`transactional.id.expiration.ms`), and has no transaction that is not complete.
    pub fn idle_until_ms(&self, expiration_ms: i64) -> Option<i64> {
        match self.state {
            State::Empty | State::CompleteCommit | State::CompleteAbort => {
                Some(self.updated_at_ms.saturating_add(expiration_ms))
            }
            State::Ongoing | State::PrepareCommit | State::PrepareAbort => None,
        }
    }

    /// The id may be forgotten: see [`Transaction::idle_until_ms`].
    pub fn is_forgettable(&self, expiration_ms: i64, now_ms: i64) -> bool {
        self.idle_until_ms(expiration_ms).is_some_and(|until| until <= now_ms)
    }
}

/// A transaction that took too long. Its row is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// What is to be done when that is durable; `None` when it had touched nothing.
    pub ending: Option<Ending>,
}
