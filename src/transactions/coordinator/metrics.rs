//! What the coordinator counts.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::record::TransactionOutcome;

/// Figures about transactions.
#[derive(Clone)]
pub struct TransactionMetrics {
    committed: IntCounter,
    aborted: IntCounter,
    overdue: IntCounter,
}

impl TransactionMetrics {
    /// Registers the figures.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<TransactionMetrics> {
        let decided = IntCounterVec::new(
            Opts::new("tidelog_transactions_total", "Transactions whose outcome was decided, by outcome."),
            &["outcome"],
        )?;
        let overdue = IntCounter::new(
            "tidelog_transactions_overdue_total",
            "Transactions that were aborted because they took longer than their timeout.",
        )?;
        registry.register(Box::new(decided.clone()))?;
        registry.register(Box::new(overdue.clone()))?;
        Ok(TransactionMetrics {
            committed: decided.with_label_values(&["commit"]),
            aborted: decided.with_label_values(&["abort"]),
            overdue,
        })
    }

    pub(super) fn observe_decided(&self, outcome: TransactionOutcome) {
        match outcome {
            TransactionOutcome::Commit => self.committed.inc(),
            TransactionOutcome::Abort => self.aborted.inc(),
        }
    }

    pub(super) fn observe_overdue(&self) {
        self.overdue.inc();
    }
}
