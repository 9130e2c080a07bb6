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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TransactionOutcome::Abort;
    use crate::transactions::testing::{START_MS, TIMEOUT_MS, begun, ongoing, partition, producer};
    use crate::transactions::transaction::{LAST_EPOCH, Producer};

    const DEADLINE_MS: i64 = START_MS + TIMEOUT_MS as i64;

    #[test]
    fn a_transaction_is_overdue_after_its_timeout_whatever_it_does_meanwhile() {
        let mut of = ongoing(3);
        assert!(of.enlist(producer(3), &[partition(1)], START_MS + 1000).is_ok());
        assert_eq!(of.deadline_ms(), Some(DEADLINE_MS));
        assert_eq!(of.expire(None, DEADLINE_MS), Ok(None));
        let expired = of.expire(None, DEADLINE_MS + 1).expect("no id is needed").expect("it is overdue");
        let ending = expired.ending.expect("it touched something");
        assert_eq!((ending.outcome, ending.producer_epoch, ending.partitions.len()), (Abort, 4, 2));
        assert_eq!((of.state, of.producer_epoch), (State::PrepareAbort, 4));
        assert_eq!(of.expire(None, i64::MAX), Ok(None), "it is over");
        of.complete(DEADLINE_MS + 2);
        assert_eq!(of.expire(None, i64::MAX), Ok(None));
        assert_eq!(begun(3).expire(None, i64::MAX), Ok(None));
    }

    #[test]
    fn an_overdue_transaction_of_nothing_is_over_at_once() {
        let mut of = begun(3);
        assert!(of.enlist(producer(3), &[], START_MS).is_ok());
        assert_eq!(of.expire(None, DEADLINE_MS + 1), Ok(Some(Expired { ending: None })));
        assert_eq!((of.state, of.producer_epoch), (State::CompleteAbort, 4));
    }

    #[test]
    fn the_last_epoch_can_be_overdue_too() {
        let mut of = ongoing(LAST_EPOCH);
        let before = of.clone();
        assert_eq!(of.expire(None, DEADLINE_MS + 1), Err(Refused::NeedsProducerId));
        assert_eq!(of, before);
        assert!(matches!(of.expire(Some(8), DEADLINE_MS + 1), Ok(Some(_))));
        of.complete(DEADLINE_MS + 1);
        assert_eq!(of.producer(), Producer { id: 8, epoch: 0 });
    }

    #[test]
    fn an_id_is_forgotten_when_it_was_not_used_for_long() {
        let of = begun(3);
        assert!(!of.is_forgettable(100, START_MS + 99));
        assert!(of.is_forgettable(100, START_MS + 100));
        assert!(!of.is_forgettable(i64::MAX, i64::MAX - 1));
        let mut of = ongoing(3);
        assert!(!of.is_forgettable(100, i64::MAX));
        assert!(of.expire(None, DEADLINE_MS + 1).is_ok());
        assert!(!of.is_forgettable(100, i64::MAX), "its markers are not written");
        of.complete(DEADLINE_MS + 1);
        assert!(of.is_forgettable(100, DEADLINE_MS + 101) && !of.is_forgettable(100, DEADLINE_MS + 100));
    }
}
