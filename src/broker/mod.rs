//! Composition root: the only place that knows every component. Builds them in dependency order and stops them in
//! reverse.

pub mod cleaner;
pub mod data_dir;
pub mod group_settings;
pub mod journal_metrics;
pub mod key_lookup;
pub mod lag;
pub mod maintenance;
pub mod metrics;
pub mod topic_logs;
pub mod transaction_metrics;
pub mod transactions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::api::data::fetch_session::FetchSessions;
use crate::api::dispatch::Dispatcher;
use crate::api::metrics::ApiMetrics;
use crate::api::services::Services;
use crate::config::BrokerConfig;
use crate::control::{self, server::Operations};
use crate::groups::coordinator::Coordinator;
use crate::groups::coordinator::metrics::GroupMetrics;
use crate::metadata::store::{cluster_id, deleted_topic};
use crate::metadata::{Controller, ControllerOptions, PartitionLimit, ProducerIds};
use crate::partition::Registry;
use crate::partition::checkpoints::Checkpoints;
use crate::partition::cleaner::metrics::CleanerMetrics;
use crate::partition::cleaner::progress::Progress;
use crate::partition::cleaner::{Cleaner, CleanerThreads};
use crate::partition::flusher::{Flusher, FlusherThread};
use crate::partition::key_index::KeyIndexes;
use crate::partition::metrics::FlushMetrics;
use crate::server::budget::Budget;
use crate::server::listener::{Connections, Shared};
use crate::server::{Limits, listener};
use crate::storage::journal::{Journal, JournalThread};
use crate::storage::rocks::blocking::Blocking;
use crate::storage::rocks::{RocksState, UnsyncedWrites};
use crate::storage::segment::FileCache;
use crate::storage::segment::space::Disk;
use crate::storage::{Durability, StateStore};
use crate::telemetry::http::{self, Exposed};
use crate::transactions::coordinator::metrics::TransactionMetrics;

use crate::partition::retention_clock::RetentionClock;
use cleaner::CompactedLogs;
use data_dir::DataDir;
use journal_metrics::JournalMetrics;
use key_lookup::KeyLookups;
use topic_logs::TopicLogs;

/// Log files kept open when idle; files that are being written stay open beyond it.
const OPEN_FILES_MAX: usize = 512;
/// Requests of one connection under way at a time.
const PIPELINE_MAX: usize = 1024;
/// How long a stop waits for requests under way.
const DRAIN: Duration = Duration::from_secs(5);
/// "Never", for settings whose absence means no limit.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A running broker.
pub struct Broker {
    services: Arc<Services>,
    exposed: Arc<Exposed>,
    stop: watch::Sender<bool>,
    /// Decided transactions are carried out until no request is under way any more.
    stop_endings: watch::Sender<bool>,
    listeners: JoinSet<()>,
    background: JoinSet<()>,
    cleaner: CleanerThreads,
    flusher: FlusherThread,
    journal: JournalThread,
    state: Arc<dyn StateStore>,
    data_dir: DataDir,
    addresses: Vec<(String, SocketAddr)>,
}

impl Broker {
    /// Opens the data directory, recovers what must be recovered, and serves.
    ///
    /// # Errors
    /// When the data directory cannot be used or a listener cannot be bound.
    pub async fn start(config: BrokerConfig) -> anyhow::Result<Broker> {
        let config = Arc::new(config);
        let data_dir = DataDir::open(&config.log_dirs).context("the data directory cannot be used")?;
        let unsynced = match group_settings::durability(&config) {
            Durability::Synced => UnsyncedWrites::None,
            Durability::Buffered => UnsyncedWrites::Some,
        };
        let state: Arc<dyn StateStore> = Arc::new(
            RocksState::open_after(&data_dir.state_path(), unsynced, &config.state_accept_loss)
                .context("the state store cannot be opened")?,
        );
        let identity = data_dir.identity(&*state, config.node_id)?;
        let metrics = prometheus::Registry::new();
        let flusher = Flusher::start(data_dir.path(), FlushMetrics::register(&metrics)?)?;
        let checkpoints = Checkpoints::new(data_dir.path());
        let registry = Arc::new(Registry::new(
            data_dir.path(),
            FileCache::new(OPEN_FILES_MAX),
            flusher.queue(),
            Arc::new(Disk::new(data_dir.path(), config.disk_reserve_bytes)?),
            data_dir.was_clean(),
            checkpoints.read()?,
        ));
        let blocking = Blocking::new(state.clone(), Blocking::DEFAULT_CALLS_MAX);
        let compacted = Arc::new(Progress::open(data_dir.path()));
        let logs = Box::new(TopicLogs::new(registry.clone(), compacted.clone(), config.clone()));
        let options = ControllerOptions {
            limit: PartitionLimit { per_broker: u32::try_from(config.max_partitions).unwrap_or(u32::MAX) },
            new_topic_id: Arc::new(cluster_id::random_uuid),
        };
        let controller = Arc::new(Controller::open(state.clone(), identity, logs, options).await?);
        let image = controller.image();
        registry.remove_leftovers(|name| data_dir::is_known(&image, name), deleted_topic::load(&*state)?)?;
        let watched = controller.clone();
        let settings = group_settings::settings(&config, data_dir.was_clean());
        let group_metrics = GroupMetrics::register(&metrics)?;
        let journal_metrics = JournalMetrics::register(&metrics)?;
        let (journal, journal_thread) =
            Journal::start(state.clone(), group_settings::durability(&config), move |written| {
                journal_metrics.observe(written);
            })?;
        let groups = Coordinator::new(
            state.clone(),
            journal.clone(),
            move || watched.image(),
            settings,
            group_metrics,
        );
        let producer_ids = Arc::new(ProducerIds::new(blocking));
        let parts = transactions::Composed {
            store: state.clone(),
            journal,
            partitions: registry.clone(),
            controller: controller.clone(),
            groups: groups.clone(),
            producer_ids: producer_ids.clone(),
            config: config.clone(),
        };
        let (transactions, endings) =
            transactions::coordinator(parts, TransactionMetrics::register(&metrics)?);
        let services = Arc::new(Services {
            fetch_sessions: FetchSessions::new(config.max_incremental_fetch_session_cache_slots),
            metrics: ApiMetrics::register(&metrics)?,
            producer_ids,
            groups,
            transactions,
            partitions: registry,
            checkpoints,
            key_indexes: KeyIndexes::new(data_dir.key_index_path()),
            controller,
            config,
            retention_clock: RetentionClock::default(),
        });
        let cleaner = Cleaner::new(
            services.config.cleaner.clone(),
            services.config.max_decompressed_bytes,
            Box::new(CompactedLogs::new(&services)),
            compacted,
            CleanerMetrics::register(&metrics)?,
        );
        let exposed = Arc::new(Exposed { registry: metrics, ready: AtomicBool::new(false) });
        let mut broker = Broker {
            services,
            exposed,
            stop: watch::Sender::new(false),
            stop_endings: watch::Sender::new(false),
            listeners: JoinSet::new(),
            background: JoinSet::new(),
            cleaner: cleaner.start()?,
            flusher,
            journal: journal_thread,
            state,
            data_dir,
            addresses: Vec::new(),
        };
        broker.listen().await?;
        broker.listen_to_operators();
        let maintained =
            maintenance::run(broker.services.clone(), broker.state.clone(), broker.stop.subscribe());
        broker.background.spawn(maintained);
        let alarms = broker.services.groups.clone().run_alarms(broker.stop.subscribe());
        broker.background.spawn(alarms);
        broker.background.spawn(maintenance::load_groups(broker.services.clone()));
        broker.background.spawn(endings.run(broker.stop_endings.subscribe()));
        broker.background.spawn(transactions::run(broker.services.clone(), broker.stop.subscribe()));
        broker.exposed.ready.store(true, Ordering::Release);
        Ok(broker)
    }

    async fn listen(&mut self) -> anyhow::Result<()> {
        let config = self.services.config.clone();
        let shared = Arc::new(Shared {
            service: Arc::new(Dispatcher::new(self.services.clone())),
            limits: Arc::new(Limits {
                frame_max_bytes: config.socket_request_max_bytes,
                pipeline_max: PIPELINE_MAX,
                connection_max_bytes: config.max_inflight_bytes_per_connection,
                idle: config.connections_max_idle_ms.map_or(NEVER, Duration::from_millis),
                connections_max: config.max_connections,
                connections_per_ip_max: config.max_connections_per_ip,
            }),
            budget: Arc::new(Budget::new(config.max_inflight_bytes)),
            connections: Arc::new(Connections::default()),
        });
        metrics::register(&self.exposed.registry, &self.services, &shared)?;
        lag::register(&self.exposed.registry, &self.services)?;
        transaction_metrics::register(&self.exposed.registry, &self.services)?;
        for wanted in &config.listeners {
            let address = wanted.bind_address();
            let socket = bind(address, &config)
                .await
                .with_context(|| format!("cannot listen on {}:{}", address.0, address.1))?;
            let bound = socket.local_addr()?;
            info!(listener = wanted.name, address = %bound, "serving Kafka clients");
            self.addresses.push((wanted.name.clone(), bound));
            let name: Arc<str> = wanted.name.as_str().into();
            self.listeners.spawn(listener::run(socket, name, shared.clone(), self.stop.subscribe(), DRAIN));
        }
        if let Some(wanted) = &config.metrics_listener {
            match TcpListener::bind((wanted.host.as_str(), wanted.port)).await {
                Ok(socket) => {
                    info!(address = %socket.local_addr()?, "serving /metrics, /livez and /readyz");
                    self.background.spawn(http::run(socket, self.exposed.clone(), self.stop.subscribe()));
                }
                // Two brokers on one machine are ordinary in development; data matters more than this port.
                Err(error) => {
                    warn!(host = wanted.host, port = wanted.port, %error, "metrics and health are not served");
                }
            }
        }
        Ok(())
    }

    /// Serves the control socket in the data directory. Without it a broker is of use as well.
    fn listen_to_operators(&mut self) {
        let path = self.data_dir.path();
        let listening = control::socket::listen(path).and_then(|listener| {
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        });
        match listening {
            Ok(listener) => {
                let operations = Arc::new(Operations {
                    services: self.services.clone(),
                    state: self.state.clone(),
                    keys: Arc::new(KeyLookups::new(self.services.clone(), self.cleaner.cleaner().clone())),
                    stopping: self.stop.subscribe(),
                    snapshot: Arc::default(),
                });
                self.background.spawn(control::server::run(listener, operations));
            }
            Err(error) => {
                warn!(dir = %path.display(), %error, "there is no control socket: no snapshot can be taken while this broker runs");
            }
        }
    }

    /// Names and bound addresses of the listeners.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Stops accepting, finishes what is under way, flushes and closes everything.
    pub async fn stop(mut self) {
        self.exposed.ready.store(false, Ordering::Release);
        self.stop.send_replace(true);
        // Who waits for a rebalance would hold its connection open for as long.
        self.services.groups.release_waiting();
        while self.listeners.join_next().await.is_some() {}
        self.stop_endings.send_replace(true);
        while self.background.join_next().await.is_some() {}
        if let Err(error) = control::socket::remove(self.data_dir.path()) {
            warn!(%error, "the control socket's name stays; the next start replaces it");
        }
        let closing = tokio::task::spawn_blocking(move || {
            self.cleaner.stop();
            self.services.transactions.tidy();
            self.journal.stop();
            let orderly = self.services.partitions.close();
            self.flusher.stop();
            // After an unclean start every log must have been opened, and so verified, before the next start may trust it.
            let open = self.services.partitions.all_open().len() as u64;
            let verified = self.data_dir.was_clean() || open >= self.services.image().partition_count();
            let closed = self.services.write_checkpoints().and_then(|()| match orderly && verified {
                true => self.data_dir.mark_clean().map(|()| true),
                false => Ok(false),
            });
            match closed {
                Ok(true) => {}
                Ok(false) => warn!("no mark of an orderly stop is left: the next start verifies the logs"),
                Err(error) => warn!(%error, "the stop was not orderly: the next start verifies the logs"),
            }
            self.services.key_indexes.close();
            if let Err(error) = self.state.close() {
                warn!(%error, "the state store did not close in order");
            }
        });
        if closing.await.is_err() {
            warn!("closing failed; the next start verifies the logs");
        }
    }
}

/// A listening socket; what it accepts inherits its buffer sizes.
async fn bind(address: (&str, u16), config: &BrokerConfig) -> std::io::Result<TcpListener> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for resolved in tokio::net::lookup_host(address).await? {
        let listening = || {
            let socket = if resolved.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
            if let Some(bytes) = config.socket_send_buffer_bytes {
                socket.set_send_buffer_size(size(bytes))?;
            }
            if let Some(bytes) = config.socket_receive_buffer_bytes {
                socket.set_recv_buffer_size(size(bytes))?;
            }
            socket.bind(resolved)?;
            socket.listen(config.socket_listen_backlog)
        };
        match listening() {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}
