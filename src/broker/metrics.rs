//! Gauges that are read when Prometheus scrapes.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use crate::api::dispatch::Dispatcher;
use crate::api::services::Services;
use crate::server::listener::Shared;

/// Partitions whose offsets are shown one by one; beyond it only totals are, to bound a scrape.
const PARTITIONS_SHOWN_MAX: usize = 10_000;

struct BrokerCollector {
    services: Arc<Services>,
    server: Arc<Shared<Dispatcher>>,
    connections: IntGauge,
    held: IntGauge,
    topics: IntGauge,
    partitions: IntGauge,
    sessions: IntGauge,
    disk_total: IntGauge,
    disk_usable: IntGauge,
    corrupt_known: IntGauge,
    clock_jump: IntGauge,
    corrupt_found: IntCounter,
    current: IntGaugeVec,
    oldest: IntGaugeVec,
}

/// Registers the gauges.
///
/// # Errors
/// When a metric of the same name is registered already.
pub fn register(
    registry: &Registry,
    services: &Arc<Services>,
    server: &Arc<Shared<Dispatcher>>,
) -> prometheus::Result<()> {
    let labels = &["topic", "partition"];
    let collector = BrokerCollector {
        services: services.clone(),
        server: server.clone(),
        connections: IntGauge::new("tidelog_connections", "Client connections.")?,
        held: IntGauge::new("tidelog_inflight_bytes", "Bytes of requests and replies held.")?,
        topics: IntGauge::new("tidelog_topics", "Topics.")?,
        partitions: IntGauge::new("tidelog_partitions", "Partitions.")?,
        sessions: IntGauge::new("tidelog_fetch_sessions", "Incremental fetch sessions.")?,
        disk_total: IntGauge::new("tidelog_disk_total_bytes", "Size of the data directory's file system.")?,
        disk_usable: IntGauge::new(
            "tidelog_disk_usable_bytes",
            "What is free on it; appends leave a reserve.",
        )?,
        corrupt_known: IntGauge::new(
            "tidelog_storage_corrupt_ranges",
            "Damaged places in the logs that are open: their records cannot be read.",
        )?,
        clock_jump: IntGauge::new(
            "tidelog_clock_jump_seconds",
            "How far the wall clock jumped ahead without being believed by retention.",
        )?,
        corrupt_found: IntCounter::new(
            "tidelog_storage_corrupt_ranges_total",
            "Damaged places that reads have found in logs.",
        )?,
        // The names that kafka_exporter gives these series: its dashboards read them.
        current: IntGaugeVec::new(
            Opts::new("kafka_topic_partition_current_offset", "High watermark of a partition in use."),
            labels,
        )?,
        oldest: IntGaugeVec::new(
            Opts::new("kafka_topic_partition_oldest_offset", "Log start offset of a partition in use."),
            labels,
        )?,
    };
    registry.register(Box::new(collector))
}

impl BrokerCollector {
    /// The gauges without labels.
    fn single(&self) -> [&IntGauge; 9] {
        [
            &self.connections,
            &self.held,
            &self.topics,
            &self.partitions,
            &self.sessions,
            &self.disk_total,
            &self.disk_usable,
            &self.corrupt_known,
            &self.clock_jump,
        ]
    }
}

impl Collector for BrokerCollector {
    fn desc(&self) -> Vec<&Desc> {
        let mut all: Vec<&Desc> = self.single().into_iter().flat_map(Collector::desc).collect();
        all.extend(self.corrupt_found.desc());
        all.extend(self.current.desc());
        all.extend(self.oldest.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let image = self.services.image();
        self.connections.set(self.server.connections.count() as i64);
        self.held.set(self.server.budget.held() as i64);
        self.topics.set(image.topic_count() as i64);
        self.partitions.set(i64::try_from(image.partition_count()).unwrap_or(i64::MAX));
        self.sessions.set(self.services.fetch_sessions.len() as i64);
        if let Ok(room) = self.services.partitions.disk().room() {
            let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            self.disk_total.set(bytes(room.total));
            self.disk_usable.set(bytes(room.usable));
        }
        let damage = self.services.partitions.damage();
        self.corrupt_known.set(damage.known());
        self.corrupt_found.inc_by(damage.found().saturating_sub(self.corrupt_found.get()));
        self.clock_jump.set(self.services.retention_clock.jump().as_secs() as i64);
        self.current.reset();
        self.oldest.reset();
        for partition in self.services.partitions.all_open().iter().take(PARTITIONS_SHOWN_MAX) {
            let index = partition.id().index.to_string();
            let labels = &[&*partition.id().topic, index.as_str()];
            self.current.with_label_values(labels).set(partition.high_watermark());
            self.oldest.with_label_values(labels).set(partition.log_start_offset());
        }
        let mut families = Vec::new();
        for gauge in self.single() {
            families.extend(gauge.collect());
        }
        families.extend(self.corrupt_found.collect());
        families.extend(self.current.collect());
        families.extend(self.oldest.collect());
        families
    }
}
