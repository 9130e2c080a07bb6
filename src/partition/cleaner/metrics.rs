//! What the cleaner counts.

use prometheus::{Gauge, IntCounter, IntGauge, Registry};

/// Figures about compaction, over all partitions.
#[derive(Clone)]
pub struct CleanerMetrics {
    pub(super) cleanings: IntCounter,
    pub(super) failures: IntCounter,
    pub(super) read_bytes: IntCounter,
    pub(super) written_bytes: IntCounter,
    pub(super) indexed_bytes: IntCounter,
    pub(super) read_records: IntCounter,
    pub(super) kept_records: IntCounter,
    pub(super) seconds: prometheus::Counter,
    pub(super) dirty_ratio: Gauge,
    pub(super) overdue_seconds: Gauge,
    pub(super) uncleanable_partitions: IntGauge,
    pub(super) uncleanable_bytes: IntGauge,
    pub(super) table_bytes: IntGauge,
}

impl CleanerMetrics {
    /// Registers the figures.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<CleanerMetrics> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let ratio = |name: &str, help: &str| {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let seconds =
            prometheus::Counter::new("tidelog_cleaner_seconds_total", "Time spent compacting logs.")?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(CleanerMetrics {
            cleanings: counter("tidelog_cleaner_cleanings_total", "Logs compacted.")?,
            failures: counter(
                "tidelog_cleaner_failures_total",
                "Compactions that failed; the log stays as it was.",
            )?,
            read_bytes: counter("tidelog_cleaner_read_bytes_total", "Bytes read to rewrite segments.")?,
            written_bytes: counter(
                "tidelog_cleaner_written_bytes_total",
                "Bytes written to rewritten segments.",
            )?,
            indexed_bytes: counter(
                "tidelog_cleaner_indexed_bytes_total",
                "Bytes read to find the latest record of each key.",
            )?,
            read_records: counter(
                "tidelog_cleaner_read_records_total",
                "Records of segments that were rewritten.",
            )?,
            kept_records: counter("tidelog_cleaner_kept_records_total", "Records that stayed in them.")?,
            seconds,
            dirty_ratio: ratio(
                "tidelog_cleaner_dirty_ratio_max",
                "Part of the dirtiest compacted log that was not compacted yet, from 0 to 1.",
            )?,
            overdue_seconds: ratio(
                "tidelog_cleaner_overdue_seconds_max",
                "How long the oldest record that was not compacted yet is overdue by max.compaction.lag.ms.",
            )?,
            uncleanable_partitions: gauge(
                "tidelog_cleaner_uncleanable_partitions",
                "Compacted partitions that are left alone because their data is damaged.",
            )?,
            uncleanable_bytes: gauge(
                "tidelog_cleaner_uncleanable_bytes",
                "Bytes of these partitions that wait for compaction.",
            )?,
            table_bytes: gauge("tidelog_cleaner_table_bytes", "Memory of the cleaner's tables of keys.")?,
        })
    }
}
