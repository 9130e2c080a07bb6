//! Transactions as they are when Prometheus scrapes: a transaction that hangs is to be seen before its readers are missed.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::api::services::Services;
use crate::transactions::State;

/// Partitions with open transactions that are shown one by one: it bounds a scrape.
const PARTITIONS_SHOWN_MAX: usize = 1_000;

struct TransactionCollector {
    services: Arc<Services>,
    ids: IntGaugeVec,
    open: IntGauge,
    oldest: GaugeVec,
    lag: IntGaugeVec,
    not_shown: IntGauge,
}

/// Registers the gauges.
///
/// # Errors
/// When a metric of the same name is registered already.
pub fn register(registry: &Registry, services: &Arc<Services>) -> prometheus::Result<()> {
    let of_partition = &["topic", "partition"];
    registry.register(Box::new(TransactionCollector {
        services: services.clone(),
        ids: IntGaugeVec::new(
            Opts::new("tidelog_transactional_ids", "Transactional ids, by the state of their transaction."),
            &["state"],
        )?,
        open: IntGauge::new(
            "tidelog_partition_transactions_open",
            "Transactions that are open in partitions; one that is open in several counts in each.",
        )?,
        oldest: GaugeVec::new(
            Opts::new(
                "tidelog_partition_transaction_oldest_seconds",
                "How long ago the oldest transaction that is open in a partition began there.",
            ),
            of_partition,
        )?,
        lag: IntGaugeVec::new(
            Opts::new(
                "tidelog_partition_last_stable_offset_lag",
                "Offsets between the last stable offset and the high watermark of a partition with open transactions.",
            ),
            of_partition,
        )?,
        not_shown: IntGauge::new(
            "tidelog_partitions_with_transactions_not_shown",
            "Partitions with open transactions beyond the thousand that are shown.",
        )?,
    }))
}

impl TransactionCollector {
    fn look(&self) {
        let mut states: BTreeMap<&'static str, i64> =
            State::ALL.into_iter().map(|state| (state.name(), 0)).collect();
        self.services.transactions.each(|_, known| *states.entry(known.state.name()).or_default() += 1);
        for (state, count) in states {
            self.ids.with_label_values(&[state]).set(count);
        }
        let now_ms = self.services.now_ms();
        let (mut open, mut shown, mut not_shown) = (0, 0, 0);
        for partition in self.services.partitions.all_open() {
            let transactions = partition.open_transactions();
            let Some(oldest_ms) = transactions.iter().map(|open| open.began_ms).min() else {
                continue;
            };
            open += transactions.len();
            if shown == PARTITIONS_SHOWN_MAX {
                not_shown += 1;
                continue;
            }
            shown += 1;
            let index = partition.id().index.to_string();
            let labels = &[&*partition.id().topic, index.as_str()];
            let age_ms = now_ms.saturating_sub(oldest_ms).max(0);
            self.oldest.with_label_values(labels).set(age_ms as f64 / 1000.0);
            let lag = partition.high_watermark().saturating_sub(partition.last_stable_offset());
            self.lag.with_label_values(labels).set(lag);
        }
        self.open.set(i64::try_from(open).unwrap_or(i64::MAX));
        self.not_shown.set(not_shown);
    }
}

impl Collector for TransactionCollector {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.ids.desc();
        all.extend(self.open.desc());
        all.extend(self.oldest.desc());
        all.extend(self.lag.desc());
        all.extend(self.not_shown.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.oldest.reset();
        self.lag.reset();
        self.look();
        let mut families = self.ids.collect();
        families.extend(self.open.collect());
        families.extend(self.oldest.collect());
        families.extend(self.lag.collect());
        families.extend(self.not_shown.collect());
        families
    }
}
