//! Whose data counts, and which markers are still needed (`CleanedTransactionMetadata`).

use std::collections::{HashMap, HashSet};

use super::super::txn_index::AbortedTransaction;
use crate::record::{BatchHeader, EndMarker, TransactionOutcome};

/// What the batches passed so far say of transactions. Follows the batches of a log in order, over all groups of a round.
#[derive(Debug, Default)]
pub struct Transactions {
    /// By first offset, last first: the next to begin is at the end.
    waiting: Vec<AbortedTransaction>,
    /// Aborted transactions that batches may belong to, by producer.
    aborted: HashMap<i64, Ongoing>,
    /// Producers with batches of a transaction that was not aborted.
    committed: HashSet<i64>,
}

#[derive(Debug)]
struct Ongoing {
    transaction: AbortedTransaction,
    /// A batch of it was passed in this round.
    seen: bool,
}

/// What a batch is in the light of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The batch is of no more use: data of an aborted transaction, or a marker of which no data is left.
    pub discardable: bool,
    /// The batch aborts this transaction, of which there was data: the index of the rewritten segment needs it.
    pub aborts: Option<AbortedTransaction>,
}

impl Transactions {
    /// Begins a round; `aborted` are all that have data where it goes, in any order.
    pub fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self { waiting: aborted, ..Self::default() }
    }

    fn begin_up_to(&mut self, offset: i64) {
        while let Some(transaction) = self.waiting.pop_if(|next| next.first_offset <= offset) {
            self.aborted.entry(transaction.producer_id).or_insert(Ongoing { transaction, seen: false });
        }
    }

    /// Passes the next batch. `batch` is all of it; only control batches are looked into.
    pub fn pass(&mut self, header: &BatchHeader, batch: &[u8]) -> Standing {
        self.begin_up_to(header.last_offset());
        if header.is_control() {
            return self.pass_control(header, batch);
        }
        let mut discardable = false;
        if header.is_transactional() {
            match self.aborted.get_mut(&header.producer_id) {
                Some(ongoing) => {
                    ongoing.seen = true;
                    discardable = true;
                }
                None => {
                    self.committed.insert(header.producer_id);
                }
            }
        }
        Standing { discardable, aborts: None }
    }

    fn pass_control(&mut self, header: &BatchHeader, batch: &[u8]) -> Standing {
        let keep = Standing { discardable: false, aborts: None };
        let discard = Standing { discardable: true, aborts: None };
        // An empty control batch was cleaned before.
        if header.record_count == 0 {
            return discard;
        }
        match EndMarker::parse(header, batch).map(|marker| marker.outcome) {
            Some(TransactionOutcome::Abort) => match self.aborted.remove(&header.producer_id) {
                Some(ongoing) if ongoing.seen => Standing { aborts: Some(ongoing.transaction), ..keep },
                _ => discard,
            },
            Some(TransactionOutcome::Commit) if self.committed.remove(&header.producer_id) => keep,
            Some(TransactionOutcome::Commit) => discard,
            None => keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    fn data(transactions: &mut Transactions, offset: i64, producer: i64, transactional: bool) -> bool {
        let batch =
            BatchBuilder::new().base_offset(offset).producer(producer, 0, 0).transactional(transactional);
        let batch = batch.record(0, Some(b"k"), None).build().unwrap();
        transactions.pass(&BatchHeader::parse(&batch).unwrap(), &batch).discardable
    }

    fn marker(
        transactions: &mut Transactions,
        offset: i64,
        producer_id: i64,
        outcome: TransactionOutcome,
    ) -> Standing {
        let batch = EndMarker { producer_id, producer_epoch: 0, coordinator_epoch: 0, outcome }.to_batch(0);
        let header = BatchHeader { base_offset: offset, ..BatchHeader::parse(&batch).unwrap() };
        transactions.pass(&header, &batch)
    }

    #[test]
    fn data_between_the_first_record_and_the_marker_of_an_aborted_transaction_goes() {
        let transaction = |producer_id, first_offset, last_offset| AbortedTransaction {
            producer_id,
            first_offset,
            last_offset,
            last_stable_offset: 0,
        };
        let (early, late, open) = (transaction(7, 2, 5), transaction(7, 9, 12), transaction(8, 3, 99));
        let mut all = Transactions::new(vec![late, open, early]);
        assert!(!data(&mut all, 0, 7, true), "an earlier transaction, which committed");
        assert!(!marker(&mut all, 1, 7, TransactionOutcome::Commit).discardable);
        assert!(data(&mut all, 2, 7, true));
        assert!(!data(&mut all, 3, 9, true), "another producer's");
        assert!(data(&mut all, 4, 8, true));
        let aborts = marker(&mut all, 5, 7, TransactionOutcome::Abort);
        assert_eq!((aborts.discardable, aborts.aborts), (false, Some(early)));
        assert!(!data(&mut all, 6, 7, true));
        assert!(!data(&mut all, 7, 7, false), "no transaction at all");
        assert!(!marker(&mut all, 8, 7, TransactionOutcome::Commit).discardable);
        // Its data is all gone: the marker is of no more use, nor is the index entry.
        assert_eq!(
            marker(&mut all, 12, 7, TransactionOutcome::Abort),
            Standing { discardable: true, aborts: None }
        );
        assert!(marker(&mut all, 13, 6, TransactionOutcome::Commit).discardable);
        assert!(!marker(&mut all, 14, 9, TransactionOutcome::Commit).discardable);
        assert!(
            marker(&mut all, 15, 9, TransactionOutcome::Commit).discardable,
            "each marker has data of its own"
        );
        assert!(data(&mut all, 50, 8, true), "begun before, and not ended yet");
    }

    #[test]
    fn other_control_batches_stay_and_empty_ones_go() {
        let mut none = Transactions::default();
        let other = BatchBuilder::new().producer(7, 3, -1).transactional(true).control(true);
        let other = other.record(1, Some(&[0, 0, 0, 2]), Some(&[0, 0])).build().unwrap();
        assert!(!none.pass(&BatchHeader::parse(&other).unwrap(), &other).discardable);
        let empty =
            BatchBuilder::new().producer(7, 3, -1).transactional(true).control(true).last_offset_delta(0);
        let empty = empty.build().unwrap();
        assert!(none.pass(&BatchHeader::parse(&empty).unwrap(), &empty).discardable);
    }
}
