//! A log that was opened has an open transaction: whose is it?
//!
//! In the second protocol a partition is enlisted by the write itself, and a crash may leave the batch on the disk but not
//! the row that enlists it. Nobody was told of either, but nobody else knows of the batch any more.

use super::transaction::{Producer, Row, State, TopicPartition, Transaction};

/// What becomes of an open transaction that was found in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// It is the present one of the id, and ends with it. The row tells whether it had to be enlisted now.
    Mine(Row),
    /// The end that is being carried out reaches this partition too.
    Ending,
    /// It belongs to a transaction that has ended, or to a producer that is gone: nobody will ever end it, so it needs the
    /// marker of an abort.
    NotMine,
}

impl Transaction {
    /// Takes in an open transaction of this producer that was found in the log of a partition. Endings that a crash left
    /// undone must be carried out before.
    pub fn adopt(&mut self, producer: Producer, partition: TopicPartition, now_ms: i64) -> Adoption {
        if self.state.is_prepared() {
            let is_known = self.partitions.contains(&partition) && self.producer_id == producer.id;
            return if is_known { Adoption::Ending } else { Adoption::NotMine };
        }
        if producer != self.producer() {
            return Adoption::NotMine;
        }
        if self.state == State::Ongoing && self.partitions.contains(&partition) {
            return Adoption::Mine(Row::Unchanged);
        }
        self.go_on(now_ms);
        self.partitions.insert(partition);
        Adoption::Mine(Row::Changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TransactionOutcome::Commit;
    use crate::transactions::end::EndRequest;
    use crate::transactions::testing::{START_MS, begun, ongoing, partition, producer};
    use crate::transactions::transaction::Protocol;

    #[test]
    fn what_the_present_producer_left_is_taken_in() {
        let mut of = begun(3);
        assert_eq!(of.adopt(producer(3), partition(0), START_MS + 1), Adoption::Mine(Row::Changed));
        assert_eq!((of.state, of.started_at_ms), (State::Ongoing, START_MS + 1));
        assert_eq!(of.adopt(producer(3), partition(0), START_MS + 2), Adoption::Mine(Row::Unchanged));
        assert_eq!(of.adopt(producer(3), partition(1), START_MS + 2), Adoption::Mine(Row::Changed));
        assert_eq!((of.partitions.len(), of.started_at_ms), (2, START_MS + 1));
    }

    #[test]
    fn what_others_left_is_not() {
        for of in [begun(3), ongoing(3)] {
            for stranger in [producer(2), producer(4), Producer { id: 99, epoch: 3 }] {
                let mut asked = of.clone();
                assert_eq!(asked.adopt(stranger, partition(0), START_MS), Adoption::NotMine);
                assert_eq!(asked, of);
            }
        }
    }

    #[test]
    fn what_is_being_ended_is_left_to_that() {
        for protocol in [Protocol::First, Protocol::Second] {
            let mut of = ongoing(3);
            let request = EndRequest { producer: producer(3), outcome: Commit, protocol };
            assert!(of.end(request, None, START_MS).is_ok());
            let before = of.clone();
            assert_eq!(of.adopt(producer(3), partition(0), START_MS), Adoption::Ending);
            assert_eq!(of.adopt(producer(3), partition(1), START_MS), Adoption::NotMine);
            assert_eq!(of, before);
        }
    }
}
