//! Groups and their lag, read when Prometheus scrapes. The series that kafka_exporter has carry its names, so that
//! dashboards made for it work.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::api::services::Services;
use crate::groups::offsets::OffsetKey;

/// Groups that are shown one by one; beyond it only their number is.
const GROUPS_SHOWN_MAX: usize = 10_000;

struct LagCollector {
    services: Arc<Services>,
    groups: IntGaugeVec,
    skipped: IntGauge,
    members: IntGaugeVec,
    current: IntGaugeVec,
    lag: IntGaugeVec,
    lag_sum: IntGaugeVec,
    lag_seconds: GaugeVec,
}

/// One partition of a group.
struct Position {
    group: Arc<str>,
    of: OffsetKey,
    offset: i64,
}

/// Registers the gauges.
///
/// # Errors
/// When a metric of the same name is registered already.
pub fn register(registry: &Registry, services: &Arc<Services>) -> prometheus::Result<()> {
    let of_group = &["consumergroup"];
    let of_partition = &["consumergroup", "topic", "partition"];
    let gauge = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
    registry.register(Box::new(LagCollector {
        services: services.clone(),
        groups: gauge("tidelog_groups", "Groups, by type and state.", &["type", "state"])?,
        skipped: IntGauge::new(
            "tidelog_group_partitions_not_shown",
            "Partitions of groups beyond tidelog.metrics.group.partitions.max.",
        )?,
        members: gauge("kafka_consumergroup_members", "Members of a group.", of_group)?,
        current: gauge(
            "kafka_consumergroup_current_offset",
            "Committed offset of a partition.",
            of_partition,
        )?,
        lag: gauge(
            "kafka_consumergroup_lag",
            "Records between the committed offset and the high watermark.",
            of_partition,
        )?,
        lag_sum: gauge(
            "kafka_consumergroup_lag_sum",
            "Lag over all partitions of a topic.",
            &of_partition[..2],
        )?,
        lag_seconds: GaugeVec::new(
            Opts::new(
                "tidelog_consumergroup_lag_seconds",
                "Age of the batch with the next record to read, by its own timestamp; 0 when there is none.",
            ),
            of_partition,
        )?,
    }))
}

impl LagCollector {
    /// Every position that is shown, and how many are not. Shards are locked one at a time, and no log is looked at
    /// meanwhile.
    fn positions(&self) -> Vec<Position> {
        let shown_max = self.services.config.metrics_group_partitions_max;
        let mut positions = Vec::new();
        let mut skipped = 0;
        let mut groups: BTreeMap<(&'static str, &'static str), i64> = BTreeMap::new();
        let mut shown = 0;
        self.services.groups.each_group(|id, group, offsets| {
            if let Some(group) = group {
                *groups.entry((group.kind(), group.state_name())).or_default() += 1;
                if shown < GROUPS_SHOWN_MAX {
                    shown += 1;
                    let members = i64::try_from(group.len()).unwrap_or(i64::MAX);
                    self.members.with_label_values(&[&**id]).set(members);
                }
            }
            for (of, committed) in offsets.iter() {
                if positions.len() < shown_max {
                    positions.push(Position { group: id.clone(), of, offset: committed.offset });
                } else {
                    skipped += 1;
                }
            }
        });
        for ((kind, state), count) in groups {
            self.groups.with_label_values(&[kind, state]).set(count);
        }
        self.skipped.set(skipped);
        positions
    }

    fn show(&self, position: &Position) {
        let image = self.services.image();
        let Some(topic) = image.topic_by_id(position.of.topic) else {
            return;
        };
        if !(0..topic.partitions).contains(&position.of.partition) {
            return;
        }
        // A partition that nobody has used since the start is opened: its lag counts too.
        let Ok(partition) = self.services.open_partition(topic, position.of.partition) else {
            return;
        };
        let lag = partition.high_watermark().saturating_sub(position.offset).max(0);
        let index = position.of.partition.to_string();
        let labels = [&*position.group, &*topic.name, index.as_str()];
        self.current.with_label_values(&labels).set(position.offset);
        self.lag.with_label_values(&labels).set(lag);
        self.lag_sum.with_label_values(&labels[..2]).add(lag);
        let since = if lag > 0 { partition.timestamp_at(position.offset).ok().flatten() } else { None };
        let millis = since.map_or(0, |since| self.services.now_ms().saturating_sub(since).max(0));
        self.lag_seconds.with_label_values(&labels).set(millis as f64 / 1000.0);
    }
}

impl Collector for LagCollector {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.skipped.desc();
        for gauge in [&self.groups, &self.members, &self.current, &self.lag, &self.lag_sum] {
            all.extend(gauge.desc());
        }
        all.extend(self.lag_seconds.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for gauge in [&self.groups, &self.members, &self.current, &self.lag, &self.lag_sum] {
            gauge.reset();
        }
        self.lag_seconds.reset();
        for position in self.positions() {
            self.show(&position);
        }
        let mut families = self.skipped.collect();
        for gauge in [&self.groups, &self.members, &self.current, &self.lag, &self.lag_sum] {
            families.extend(gauge.collect());
        }
        families.extend(self.lag_seconds.collect());
        families
    }
}
