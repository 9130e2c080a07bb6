//! The last step of a transaction: what was decided is in all logs (Kafka `TransactionMetadata.prepareComplete`).

use super::transaction::Transaction;

impl Transaction {
    /// All markers of the decided transaction are in the logs, and the pending offsets are dealt with. In a state that is
    /// not prepared it does nothing. The row needs not be written: it says this already.
    pub fn complete(&mut self, now_ms: i64) {
        if !self.state.is_prepared() {
            return;
        }
        self.touch(now_ms);
        self.state = self.state.completed();
        self.partitions.clear();
        self.groups.clear();
        if let Some(next) = self.next_producer_id.take() {
            // The producer id before and its last epoch stay known, for a producer that asks again.
            self.producer_id = next;
            self.producer_epoch = 0;
        }
    }
}
