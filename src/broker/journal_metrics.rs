//! Figures about the journal that groups and transactions share.

use prometheus::{Histogram, HistogramOpts, IntCounter, Registry};

use crate::storage::journal::Written;

/// Upper bounds of the buckets of a write, seconds.
const WRITE_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Counts writes. Clones count together.
#[derive(Debug, Clone)]
pub struct JournalMetrics {
    writes: Histogram,
    changes: IntCounter,
    failed_writes: IntCounter,
}

impl JournalMetrics {
    /// Registers the figures.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<JournalMetrics> {
        let writes = Histogram::with_opts(
            HistogramOpts::new(
                "tidelog_state_write_seconds",
                "Duration of a write of the state of groups and transactions.",
            )
            .buckets(WRITE_SECONDS.to_vec()),
        )?;
        let changes = IntCounter::new(
            "tidelog_state_changes_total",
            "Changes of groups, offsets and transactions that were written.",
        )?;
        let failed_writes = IntCounter::new(
            "tidelog_state_write_failures_total",
            "Writes of the state of groups and transactions that failed.",
        )?;
        registry.register(Box::new(writes.clone()))?;
        registry.register(Box::new(changes.clone()))?;
        registry.register(Box::new(failed_writes.clone()))?;
        Ok(JournalMetrics { writes, changes, failed_writes })
    }

    /// Counts one write.
    pub fn observe(&self, written: Written) {
        self.writes.observe(written.took.as_secs_f64());
        if written.succeeded {
            self.changes.inc_by(written.changes as u64);
        } else {
            self.failed_writes.inc();
        }
    }
}
