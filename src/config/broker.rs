//! The broker's configuration: gathered from its sources, checked, and typed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::broker_keys::{self, Effect};
use super::cleaner::{self, CleanerConfig};
use super::group_limits::{self, GroupConfig};
use super::listeners::{self, Advertised, HostPort, Listener, ListenerKeys};
use super::topic::{self, TopicConfig, TopicOverrides};
use super::transactions::{self, TransactionConfig};
use super::validate::types::{self, ValueType};
use super::{ConfigError, environment, properties, suggest, validate};

/// Room beside the largest request for what is already in work on the same connection, in bytes.
const INFLIGHT_HEADROOM: usize = 64 * 1024;

/// Where settings come from. Later ones win: file, then environment, then command line.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The text of `server.properties`.
    pub properties: Option<String>,
    /// The process environment; only `KAFKA_*` is looked at.
    pub environment: Vec<(String, String)>,
    /// `key=value` pairs of the command line.
    pub overrides: Vec<(String, String)>,
}

/// A configuration that can be started with.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: BrokerConfig,
    /// One line for each key that was set and does nothing, with the reason; to be logged once at start.
    pub inert_named: Vec<String>,
}

/// Everything that is decided at start. Names follow Kafka's keys; units are in the names.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    /// `node.id`.
    pub node_id: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `listeners`, without those of the controller.
    pub listeners: Vec<Listener>,
    /// `advertised.listeners`: one for each listener, in the same order.
    pub advertised: Vec<Advertised>,
    /// `log.dirs`, never empty.
    pub log_dirs: Vec<PathBuf>,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// `socket.request.max.bytes`.
    pub socket_request_max_bytes: usize,
    /// `socket.send.buffer.bytes`; `None` leaves the system's choice.
    pub socket_send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` leaves the system's choice.
    pub socket_receive_buffer_bytes: Option<usize>,
    /// `socket.listen.backlog.size`.
    pub socket_listen_backlog: u32,
    /// `connections.max.idle.ms`; `None` never closes an idle connection.
    pub connections_max_idle_ms: Option<u64>,
    /// `max.connections`.
    pub max_connections: usize,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: usize,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub max_incremental_fetch_session_cache_slots: usize,
    /// `max.request.partition.size.limit`.
    pub max_request_partition_size_limit: usize,
    /// `log.retention.check.interval.ms`.
    pub log_retention_check_interval_ms: u64,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub log_flush_offset_checkpoint_interval_ms: u64,
    /// `num.recovery.threads.per.data.dir`.
    pub num_recovery_threads_per_data_dir: usize,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// Groups and committed offsets.
    pub groups: GroupConfig,
    /// Transactions.
    pub transactions: TransactionConfig,
    /// The log cleaner.
    pub cleaner: CleanerConfig,
    /// `tidelog.metrics.listener`; `None` switches it off.
    pub metrics_listener: Option<HostPort>,
    /// `tidelog.metrics.group.partitions.max`.
    pub metrics_group_partitions_max: usize,
    /// `tidelog.max.inflight.bytes`: requests in work on all connections.
    pub max_inflight_bytes: usize,
    /// `tidelog.max.inflight.bytes.per.connection`: never less than one request of the largest size.
    pub max_inflight_bytes_per_connection: usize,
    /// `tidelog.disk.reserve.bytes`; `None` goes by the size of the disk.
    pub disk_reserve_bytes: Option<u64>,
    /// `tidelog.max.partitions`.
    pub max_partitions: usize,
    /// `tidelog.state.accept.loss`: name of the state's log file whose loss behind damage is accepted; empty for none.
    pub state_accept_loss: String,
    /// `tidelog.max.decompressed.bytes`: one batch.
    pub max_decompressed_bytes: usize,
    /// What a topic without configs of its own gets.
    pub topic_defaults: TopicConfig,
    /// The values that were set, as text, by key.
    pub raw: BTreeMap<String, String>,
}

impl BrokerConfig {
    /// Gathers, checks and types the settings.
    ///
    /// # Errors
    /// The first setting that is unknown, malformed, out of range, contradictory, or would promise a
    /// protection that is not served.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let raw = gather(sources)?;
        refuse_unserved(&raw)?;
        let inert_named = raw
            .keys()
            .filter_map(|key| match broker_keys::find(key).map(|row| row.effect) {
                Some(Effect::Inert(reason) | Effect::Refused(reason)) => {
                    Some(format!("{key} has no effect: {reason}"))
                }
                Some(Effect::Acts) => None,
                None => Some(format!("{key} has no effect: keys with free names are not read")),
            })
            .collect();
        Ok(Loaded { config: typed(raw)?, inert_named })
    }

    /// The value of a broker key as text: what was set, or else its default.
    pub fn effective(&self, key: &str) -> Option<&str> {
        effective(&self.raw, key)
    }
}

/// The value of `key` in `raw`, or else its default.
pub(super) fn effective<'a>(raw: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    raw.get(key).map(String::as_str).or_else(|| broker_keys::find(key)?.default)
}

/// Merges the sources and checks each value by itself.
fn gather(sources: &Sources) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut raw = BTreeMap::new();
    let file = sources.properties.as_deref().map(properties::parse).transpose()?.unwrap_or_default();
    let file = file.into_iter().map(|(key, value)| (key, value, "properties file".to_owned()));
    let environment = sources.environment.iter().filter_map(|(variable, value)| {
        let key = environment::key_of(variable, value)?;
        Some((key, value.clone(), format!("environment variable {variable}")))
    });
    let overrides =
        sources.overrides.iter().map(|(key, value)| (key.clone(), value.clone(), "command line".to_owned()));
    for (key, value, origin) in file.chain(environment).chain(overrides) {
        match broker_keys::find(&key) {
            Some(row) => {
                // Kafka's parser drops blanks around every value but a password.
                let value = if row.kind == ValueType::Password { value } else { value.trim().to_owned() };
                validate::value(row.name, row.kind, &row.check, &value)?;
                raw.insert(key, value);
            }
            None if broker_keys::is_free_form(&key) => {
                raw.insert(key, value);
            }
            None => {
                let suggestion = suggest::nearest(&key, broker_keys::all().map(|row| row.name));
                return Err(ConfigError::UnknownKey {
                    key,
                    origin,
                    suggestion: suggestion.map(str::to_owned),
                });
            }
        }
    }
    Ok(raw)
}

/// Refuses settings whose absence the user would only notice when it is too late.
fn refuse_unserved(raw: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let refuse = |key: &str, reason: &str| {
        Err(ConfigError::NotServed { key: key.to_owned(), reason: reason.to_owned() })
    };
    if raw.get("authorizer.class.name").is_some_and(|value| !value.is_empty()) {
        return refuse(
            "authorizer.class.name",
            "authorization is not served yet, and everybody would be let in",
        );
    }
    if raw.get("process.roles").is_some_and(|value| !types::list(value).contains(&"broker")) {
        return refuse("process.roles", "this process is always a broker; the list must contain broker");
    }
    Ok(())
}

/// Reads typed values out of checked text.
pub(super) struct Reader<'a>(pub(super) &'a BTreeMap<String, String>);

impl Reader<'_> {
    pub(super) fn text(&self, key: &str) -> &str {
        effective(self.0, key).unwrap_or("")
    }

    pub(super) fn number<N: TryFrom<i64>>(&self, key: &str) -> Result<N, ConfigError> {
        let text = self.text(key);
        let kind = broker_keys::find(key).map_or(ValueType::Long, |row| row.kind);
        types::integer(kind, text)
            .and_then(|number| N::try_from(number).ok())
            .ok_or_else(|| ConfigError::invalid(key, text, "out of range"))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        let text = self.text(key);
        types::boolean(text)
            .ok_or_else(|| ConfigError::invalid(key, text, "Expected value to be either true or false"))
    }

    pub(super) fn double(&self, key: &str) -> Result<f64, ConfigError> {
        let text = self.text(key);
        types::double(text).ok_or_else(|| ConfigError::invalid(key, text, "Not a number of type DOUBLE"))
    }

    /// A number whose negative values mean "none".
    fn unless_negative<N: TryFrom<i64>>(&self, key: &str) -> Result<Option<N>, ConfigError> {
        Ok(N::try_from(self.number::<i64>(key)?).ok())
    }
}

fn typed(raw: BTreeMap<String, String>) -> Result<BrokerConfig, ConfigError> {
    let read = Reader(&raw);
    let (listeners, advertised) = listeners::read(&ListenerKeys {
        listeners: read.text("listeners"),
        advertised: effective(&raw, "advertised.listeners"),
        protocol_map: read.text("listener.security.protocol.map"),
        controller_names: read.text("controller.listener.names"),
    })?;
    let socket_request_max_bytes = read.number("socket.request.max.bytes")?;
    let (max_inflight_bytes, max_inflight_bytes_per_connection) =
        inflight_bounds(&read, socket_request_max_bytes)?;
    Ok(BrokerConfig {
        node_id: node_id(&read)?,
        rack: effective(&raw, "broker.rack").filter(|rack| !rack.is_empty()).map(str::to_owned),
        listeners,
        advertised,
        log_dirs: log_dirs(&read)?,
        num_partitions: read.number("num.partitions")?,
        auto_create_topics: read.flag("auto.create.topics.enable")?,
        default_replication_factor: read.number("default.replication.factor")?,
        delete_topic_enable: read.flag("delete.topic.enable")?,
        socket_request_max_bytes,
        socket_send_buffer_bytes: read.unless_negative("socket.send.buffer.bytes")?,
        socket_receive_buffer_bytes: read.unless_negative("socket.receive.buffer.bytes")?,
        socket_listen_backlog: read.number("socket.listen.backlog.size")?,
        connections_max_idle_ms: read.unless_negative("connections.max.idle.ms")?,
        max_connections: read.number("max.connections")?,
        max_connections_per_ip: read.number("max.connections.per.ip")?,
        fetch_max_bytes: read.number("fetch.max.bytes")?,
        max_incremental_fetch_session_cache_slots: read
            .number("max.incremental.fetch.session.cache.slots")?,
        max_request_partition_size_limit: read.number("max.request.partition.size.limit")?,
        log_retention_check_interval_ms: read.number("log.retention.check.interval.ms")?,
        log_flush_offset_checkpoint_interval_ms: read.number("log.flush.offset.checkpoint.interval.ms")?,
        num_recovery_threads_per_data_dir: read.number("num.recovery.threads.per.data.dir")?,
        producer_id_expiration_ms: read.number("producer.id.expiration.ms")?,
        groups: group_limits::read(&raw)?,
        transactions: transactions::read(&raw)?,
        cleaner: cleaner::read(&raw)?,
        metrics_listener: metrics_listener(&read)?,
        metrics_group_partitions_max: read.number("tidelog.metrics.group.partitions.max")?,
        max_inflight_bytes,
        max_inflight_bytes_per_connection,
        disk_reserve_bytes: read.unless_negative("tidelog.disk.reserve.bytes")?,
        max_partitions: read.number("tidelog.max.partitions")?,
        state_accept_loss: read.text("tidelog.state.accept.loss").to_owned(),
        max_decompressed_bytes: read.number("tidelog.max.decompressed.bytes")?,
        topic_defaults: topic::resolve_with(&raw, &TopicOverrides::default())?,
        raw,
    })
}

/// `node.id`, or its older name.
fn node_id(read: &Reader<'_>) -> Result<i32, ConfigError> {
    let new: i32 = read.number("node.id")?;
    let old: i32 = read.number("broker.id")?;
    match (read.0.contains_key("node.id"), old >= 0) {
        (true, true) if new != old => {
            Err(ConfigError::Conflict(format!("node.id is {new} but broker.id is {old}; set node.id only")))
        }
        (false, true) => Ok(old),
        _ => Ok(new),
    }
}

/// `log.dirs` over `log.dir` over the default.
fn log_dirs(read: &Reader<'_>) -> Result<Vec<PathBuf>, ConfigError> {
    let text = match (read.0.get("log.dirs"), read.0.get("log.dir")) {
        (None, Some(one)) => one,
        _ => read.text("log.dirs"),
    };
    let names = types::list(text);
    if names.is_empty() || names.contains(&"") {
        return Err(ConfigError::invalid("log.dirs", text, "every data directory needs a name"));
    }
    let dirs: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    let repeated =
        dirs.iter().enumerate().any(|(at, dir)| dirs.iter().skip(at + 1).any(|later| later == dir));
    if repeated {
        return Err(ConfigError::invalid("log.dirs", text, "a data directory is listed twice"));
    }
    Ok(dirs)
}

fn metrics_listener(read: &Reader<'_>) -> Result<Option<HostPort>, ConfigError> {
    let key = "tidelog.metrics.listener";
    let text = read.text(key);
    if text.trim().is_empty() {
        return Ok(None);
    }
    listeners::host_port(text)
        .map(Some)
        .ok_or_else(|| ConfigError::invalid(key, text, "expected host:port, or nothing"))
}

/// The bounds on requests in work: in all, and per connection. Where they are not set they grow with the
/// largest request, because a bound that one permitted request exceeds would stall its connection for ever.
fn inflight_bounds(read: &Reader<'_>, largest: usize) -> Result<(usize, usize), ConfigError> {
    let bound = |key: &str, at_least: usize, grown: usize| {
        let value: usize = read.number(key)?;
        if !read.0.contains_key(key) {
            return Ok(value.max(grown));
        }
        if value < at_least {
            return Err(ConfigError::invalid(
                key,
                read.text(key),
                format!("Value must be at least {at_least}"),
            ));
        }
        Ok(value)
    };
    let one = bound(
        "tidelog.max.inflight.bytes.per.connection",
        largest,
        largest.saturating_add(INFLIGHT_HEADROOM),
    )?;
    let all = bound("tidelog.max.inflight.bytes", one, one)?;
    Ok((all, one))
}

#[cfg(test)]
#[path = "broker_tests.rs"]
mod tests;
