//! Composes the transaction coordinator, and runs what it does from time to time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::warn;

use crate::api::services::{Services, resolve};
use crate::config::BrokerConfig;
use crate::groups::coordinator::Coordinator as Groups;
use crate::metadata::{Controller, ProducerIds};
use crate::partition::registry::Wanted;
use crate::partition::{PartitionId, Registry};
use crate::storage::StateStore;
use crate::storage::journal::Journal;
use crate::transactions::TopicPartition;
use crate::transactions::coordinator::metrics::TransactionMetrics;
use crate::transactions::coordinator::{Coordinator, Endings, OpenPartition, Parts, Settings};

/// How often what could not be carried out is tried again, and what is done with is cleared away.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// What the coordinator is composed of.
pub struct Composed {
    /// Holds the rows.
    pub store: Arc<dyn StateStore>,
    /// Makes changes durable; the groups' as well.
    pub journal: Journal,
    /// The logs.
    pub partitions: Arc<Registry>,
    /// Knows the topics.
    pub controller: Arc<Controller>,
    /// The groups.
    pub groups: Groups,
    /// Gives out producer ids.
    pub producer_ids: Arc<ProducerIds>,
    /// Settings.
    pub config: Arc<BrokerConfig>,
}

/// The coordinator, and what carries out its decisions. Logs that are opened from now on ask it whose their open transactions
/// are.
pub fn coordinator(composed: Composed, metrics: TransactionMetrics) -> (Coordinator, Endings) {
    let Composed { store, journal, partitions, controller, groups, producer_ids, config } = composed;
    let settings = Settings {
        max_timeout_ms: config.transactions.max_timeout_ms,
        id_expiration_ms: config.transactions.id_expiration_ms,
        verifies: config.transactions.partition_verification,
        max_ids: config.transactions.max_ids,
    };
    let open = opener(partitions.clone(), controller, config);
    let parts = Parts { store, journal, partitions: partitions.clone(), open, groups, producer_ids };
    let (coordinator, endings) = Coordinator::new(parts, settings, metrics);
    partitions.on_open_transactions(coordinator.claimer());
    (coordinator, endings)
}

fn opener(
    partitions: Arc<Registry>,
    controller: Arc<Controller>,
    config: Arc<BrokerConfig>,
) -> Box<OpenPartition> {
    Box::new(move |of: TopicPartition| {
        let image = controller.image();
        let topic = image.topic_by_id(of.topic)?;
        let id = PartitionId { topic: topic.name.clone(), topic_id: topic.id, index: of.partition };
        let wanted = Wanted { id, config: resolve(&config, topic) };
        let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Some(partitions.get(&wanted, now_ms.map_or(0, |since| since.as_millis() as i64)))
    })
}

/// Reads all transactional ids, then looks after them until `stopping` turns true.
pub async fn run(services: Arc<Services>, mut stopping: watch::Receiver<bool>) {
    let reading = services.clone();
    let read = tokio::task::spawn_blocking(move || {
        reading.transactions.load_all();
        reading.transactions.open_logs();
    });
    if read.await.is_err() {
        warn!("transactions could not all be read beforehand; each is read when it is asked for");
    }
    let config = &services.config.transactions;
    let mut overdue = every(Duration::from_millis(config.abort_timed_out_interval_ms));
    let mut idle = every(Duration::from_millis(config.remove_expired_interval_ms));
    let mut tidy = every(TIDY_EVERY);
    loop {
        tokio::select! {
            _ = overdue.tick() => services.transactions.abort_overdue().await,
            _ = idle.tick() => services.transactions.forget_idle(),
            _ = tidy.tick() => services.transactions.tidy(),
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => return,
        }
    }
}

fn every(interval: Duration) -> tokio::time::Interval {
    let mut every = interval_at(Instant::now() + interval, interval);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}
