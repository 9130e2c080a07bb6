//! What the flusher counts.

use prometheus::{Histogram, HistogramOpts, IntCounter, Registry};

/// Upper bounds of the buckets, seconds: from a fast disk's sync to one that is in trouble.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Figures about group commits.
#[derive(Clone)]
pub struct FlushMetrics {
    seconds: Histogram,
    partitions: IntCounter,
    failed: IntCounter,
}

impl FlushMetrics {
    /// Registers the figures.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<FlushMetrics> {
        let metrics = FlushMetrics {
            seconds: Histogram::with_opts(
                HistogramOpts::new("tidelog_flush_seconds", "Duration of a round of syncs.")
                    .buckets(SECONDS.to_vec()),
            )?,
            partitions: IntCounter::new(
                "tidelog_flushed_partitions_total",
                "Partitions synced, over all rounds.",
            )?,
            failed: IntCounter::new(
                "tidelog_flush_failures_total",
                "Partitions that went offline because a sync failed.",
            )?,
        };
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.partitions.clone()))?;
        registry.register(Box::new(metrics.failed.clone()))?;
        Ok(metrics)
    }

    pub(super) fn observe_round(&self, partitions: usize, took: std::time::Duration) {
        self.seconds.observe(took.as_secs_f64());
        self.partitions.inc_by(partitions as u64);
    }

    pub(super) fn observe_failure(&self) {
        self.failed.inc();
    }
}
