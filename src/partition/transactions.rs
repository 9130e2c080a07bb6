//! What a partition tells of its producers and their transactions.

use super::handle::{Inner, Partition};
use super::producers::{OpenTransaction, ProducerView};

impl Partition {
    /// The open transaction of a producer.
    pub fn open_transaction(&self, producer_id: i64) -> Option<OpenTransaction> {
        self.inner.lock().producers.open_transaction(producer_id)
    }

    /// All open transactions, the oldest first.
    pub fn open_transactions(&self) -> Vec<OpenTransaction> {
        self.inner.lock().producers.open_transactions().collect()
    }

    /// The open transaction that began first, which is what holds readers at read_committed back.
    pub fn oldest_open_transaction(&self) -> Option<OpenTransaction> {
        self.inner.lock().producers.open_transactions().next()
    }

    /// Whether a transaction is open.
    pub fn has_open_transactions(&self) -> bool {
        self.inner.lock().producers.has_open_transactions()
    }

    /// Every record below is committed, and decided: it belongs to no transaction, or to one that ended. Readers at
    /// read_committed see no further.
    pub fn last_stable_offset(&self) -> i64 {
        let high_watermark = self.high_watermark();
        stable_below(&mut self.inner.lock(), high_watermark)
    }

    /// What DescribeProducers tells (KIP-664), by producer id.
    pub fn producers(&self) -> Vec<ProducerView> {
        let mut views: Vec<_> = self.inner.lock().producers.views().collect();
        views.sort_unstable_by_key(|view| view.producer_id);
        views
    }
}

/// The last stable offset where readers may look up to `high_watermark` (`UnifiedLog.lastStableOffset`).
pub(super) fn stable_below(inner: &mut Inner, high_watermark: i64) -> i64 {
    inner.producers.settle(high_watermark);
    match inner.producers.first_unstable_offset(high_watermark) {
        Some(unstable) => unstable.max(inner.log.start_offset()).min(high_watermark),
        None => high_watermark,
    }
}
