//! One shard of the coordinator: the transactional ids that fall into it. Always behind its lock; never held across an await.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::storage::journal::Receipt;
use crate::transactions::error::TransactionError;
use crate::transactions::store::ending::EndingRow;
use crate::transactions::transaction::Transaction;

/// A decided transaction that is not done with.
#[derive(Debug, Clone)]
pub(super) struct Unsettled {
    pub(super) row: EndingRow,
    /// It was decided in this run, and its markers are in the logs that can be had: the next transaction may begin.
    pub(super) is_carried_out: bool,
    /// Some could not be written: it is tried again.
    pub(super) is_left: bool,
}

#[derive(Default)]
pub(super) struct Shard {
    /// The journal's term in which it was loaded; 0 when it was not.
    pub(super) term: u64,
    pub(super) ids: HashMap<Arc<str>, Transaction>,
    /// Decided transactions, by id and serial number, until their markers are durable in all logs.
    pub(super) unsettled: BTreeMap<(Arc<str>, u64), Unsettled>,
    /// Keys of endings that are done with, to be deleted with the next write.
    pub(super) done: Vec<Vec<u8>>,
    /// What was queued last. Answers wait for it even if they change nothing: they speak of state that it made.
    last: Option<Receipt>,
}

impl Shard {
    /// Forgets everything. What was queued is still on its way to the disk.
    pub(super) fn give_up(&mut self) {
        *self = Shard { last: self.last.take(), ..Shard::default() };
    }

    /// Returns when everything that was queued is on the disk, or has failed. Blocks.
    pub(super) fn await_queued(&mut self) {
        if let Some(receipt) = self.last.take() {
            // Should it fail, the term is over and the next look at the shard reads again.
            receipt.wait().ok();
        }
    }

    /// Notes what was queued.
    pub(super) fn wrote(&mut self, receipt: Receipt) {
        self.last = Some(receipt);
    }

    /// What has to be durable before anything may be said about the shard.
    pub(super) fn receipt(&mut self) -> Option<Receipt> {
        if self.last.as_ref().is_some_and(|receipt| receipt.outcome() == Some(Ok(()))) {
            self.last = None;
        }
        self.last.clone()
    }

    /// What is known of an id.
    ///
    /// # Errors
    /// `ConcurrentTransactions` when a crash left the end of its last transaction undone, and it is not done yet.
    pub(super) fn get_mut(
        &mut self,
        id: &str,
    ) -> Result<Option<(Arc<str>, &mut Transaction)>, TransactionError> {
        let Some((id, _)) = self.ids.get_key_value(id) else {
            return Ok(None);
        };
        let id = id.clone();
        let Some(transaction) = self.ids.get_mut(&id) else {
            return Ok(None);
        };
        // While the ending of this run is carried out the state says so itself.
        if !transaction.state.is_prepared() && is_ending(&self.unsettled, &id) {
            return Err(TransactionError::ConcurrentTransactions);
        }
        Ok(Some((id, transaction)))
    }

    /// Notes that a transaction was decided and is to be carried out.
    pub(super) fn begin_ending(&mut self, id: &Arc<str>, serial: u64, row: EndingRow) {
        self.unsettled.insert((id.clone(), serial), Unsettled { row, is_carried_out: false, is_left: false });
    }
}

fn is_ending(unsettled: &BTreeMap<(Arc<str>, u64), Unsettled>, id: &Arc<str>) -> bool {
    let of_id = unsettled.range((id.clone(), 0)..=(id.clone(), u64::MAX));
    of_id.into_iter().any(|(_, unsettled)| !unsettled.is_carried_out)
}
