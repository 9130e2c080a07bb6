//! A topic's configuration: its own values over the broker's over the defaults, checked and typed.

use std::collections::BTreeMap;

use super::broker_keys::Effect;
use super::describe::Source;
use super::topic_keys::{self, TopicKey};
use super::validate::types::{self, ValueType};
use super::{BrokerConfig, ConfigError, suggest, validate};

/// What a topic itself sets: text by key, as its creator wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicOverrides(pub BTreeMap<String, String>);

/// `cleanup.policy`. Neither: segments are kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are deleted by age and size.
    pub delete: bool,
    /// Only the latest record of each key is kept.
    pub compact: bool,
}

/// `message.timestamp.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// `compression.type`, with the level of the codec where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Batches stay as their producer compressed them.
    Producer,
    Uncompressed,
    /// -1 is the codec's own default.
    Gzip(i32),
    Snappy,
    Lz4(i32),
    Zstd(i32),
}

/// A topic's configuration, resolved. Names follow Kafka's keys; units are in the names.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type` and the level that goes with it.
    pub compression: Compression,
    /// `retention.ms`; `None` keeps records for ever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`, per partition; `None` for no bound.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: a batch as it was sent.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub message_timestamp_after_max_ms: i64,
    /// `flush.messages`; 1 forces every write to disk before it is acknowledged.
    pub flush_messages: i64,
    /// `flush.ms`.
    pub flush_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: u64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `min.cleanable.dirty.ratio`, from 0 to 1.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `tidelog.key.index.enable`.
    pub key_index: bool,
}

impl TopicConfig {
    /// Checks one value a topic wants to set.
    ///
    /// # Errors
    /// The key is unknown, the value is not permitted, or what it asks for is not served.
    pub fn validate(name: &str, value: &str) -> Result<(), ConfigError> {
        let key = topic_keys::find(name).ok_or_else(|| ConfigError::UnknownTopicKey {
            key: name.to_owned(),
            suggestion: suggest::nearest(name, topic_keys::KEYS.iter().map(|key| key.def.name))
                .map(str::to_owned),
        })?;
        check(key, name, value)?;
        match key.def.effect {
            Effect::Refused(reason) => Err(not_served(name, reason)),
            Effect::Acts | Effect::Inert(_) => Ok(()),
        }
    }
}

/// Resolves a topic's configuration.
///
/// # Errors
/// As [`TopicConfig::validate`], for the first override that is refused, and when values contradict each other.
pub fn resolve(broker: &BrokerConfig, overrides: &TopicOverrides) -> Result<TopicConfig, ConfigError> {
    resolve_with(&broker.raw, overrides)
}

/// Resolves over the broker's explicit settings `raw`.
pub(super) fn resolve_with(
    raw: &BTreeMap<String, String>,
    overrides: &TopicOverrides,
) -> Result<TopicConfig, ConfigError> {
    for (name, value) in &overrides.0 {
        TopicConfig::validate(name, value)?;
    }
    let mut values = BTreeMap::new();
    for key in topic_keys::KEYS {
        let Some(effective) = effective(raw, overrides, key)? else {
            continue;
        };
        check(key, &effective.set_as, &effective.value)?;
        values.insert(key.def.name, effective.value);
    }
    typed(&Values(values))
}

/// The value a topic key has, and whence.
#[derive(Debug)]
pub(super) struct Effective {
    pub value: String,
    pub source: Source,
    /// The key under which it was set.
    set_as: String,
}

/// The topic's own value, or the first broker synonym that is set, or the default.
pub(super) fn effective(
    raw: &BTreeMap<String, String>,
    overrides: &TopicOverrides,
    key: &TopicKey,
) -> Result<Option<Effective>, ConfigError> {
    let name = key.def.name;
    if let Some(value) = overrides.0.get(name) {
        let value = value.trim().to_owned();
        return Ok(Some(Effective { value, source: Source::DynamicTopic, set_as: name.to_owned() }));
    }
    for synonym in key.synonyms {
        if let Some(text) = raw.get(synonym.key) {
            let value = converted(name, synonym.key, text, synonym.factor)?;
            return Ok(Some(Effective {
                value,
                source: Source::StaticBroker,
                set_as: synonym.key.to_owned(),
            }));
        }
    }
    let default = key.def.default.map(|default| Effective {
        value: default.to_owned(),
        source: Source::Default,
        set_as: name.to_owned(),
    });
    Ok(default)
}

/// A broker key's value in the unit of the topic key.
fn converted(topic_key: &str, broker_key: &str, text: &str, factor: i64) -> Result<String, ConfigError> {
    let is_retention = topic_key == "retention.ms";
    if factor == 1 && !is_retention {
        return Ok(text.to_owned());
    }
    let number = types::integer(ValueType::Long, text)
        .ok_or_else(|| ConfigError::invalid(broker_key, text, "Not a number of type LONG"))?;
    if is_retention && number == 0 {
        // A node that keeps nothing by default is a slip of the pen; a topic may still ask for it.
        let reason = "retention must be unlimited (-1) or, equal or greater than 1";
        return Err(ConfigError::invalid(broker_key, text, reason));
    }
    if is_retention && number < 0 {
        return Ok("-1".to_owned());
    }
    Ok(number.saturating_mul(factor).to_string())
}

/// Checks a value and what only some values of a key ask for. `set_as` names the key in the message.
fn check(key: &TopicKey, set_as: &str, value: &str) -> Result<(), ConfigError> {
    let value = value.trim();
    validate::value(set_as, key.def.kind, &key.def.check, value)?;
    match key.def.name {
        "remote.storage.enable" if types::boolean(value) == Some(true) => {
            Err(not_served(set_as, "tiered storage is not served"))
        }
        _ => Ok(()),
    }
}

fn not_served(key: &str, reason: &str) -> ConfigError {
    ConfigError::NotServed { key: key.to_owned(), reason: reason.to_owned() }
}

/// Checked values by topic key.
struct Values(BTreeMap<&'static str, String>);

impl Values {
    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn number<N: TryFrom<i64>>(&self, key: &str) -> Result<N, ConfigError> {
        let text = self.text(key);
        types::integer(ValueType::Long, text)
            .and_then(|number| N::try_from(number).ok())
            .ok_or_else(|| ConfigError::invalid(key, text, "out of range"))
    }
}

fn typed(values: &Values) -> Result<TopicConfig, ConfigError> {
    let policy = types::list(values.text("cleanup.policy"));
    let ratio = values.text("min.cleanable.dirty.ratio");
    let config = TopicConfig {
        cleanup_policy: CleanupPolicy {
            delete: policy.contains(&"delete"),
            compact: policy.contains(&"compact"),
        },
        compression: compression(values)?,
        retention_ms: Some(values.number::<i64>("retention.ms")?).filter(|ms| *ms >= 0),
        retention_bytes: u64::try_from(values.number::<i64>("retention.bytes")?).ok(),
        segment_bytes: values.number("segment.bytes")?,
        segment_ms: values.number("segment.ms")?,
        segment_index_bytes: values.number("segment.index.bytes")?,
        index_interval_bytes: values.number("index.interval.bytes")?,
        max_message_bytes: values.number("max.message.bytes")?,
        message_timestamp_type: match values.text("message.timestamp.type") {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        message_timestamp_before_max_ms: values.number("message.timestamp.before.max.ms")?,
        message_timestamp_after_max_ms: values.number("message.timestamp.after.max.ms")?,
        flush_messages: values.number("flush.messages")?,
        flush_ms: values.number("flush.ms")?,
        min_insync_replicas: values.number("min.insync.replicas")?,
        file_delete_delay_ms: values.number("file.delete.delay.ms")?,
        delete_retention_ms: values.number("delete.retention.ms")?,
        min_cleanable_dirty_ratio: types::double(ratio).ok_or_else(|| {
            ConfigError::invalid("min.cleanable.dirty.ratio", ratio, "Not a number of type DOUBLE")
        })?,
        min_compaction_lag_ms: values.number("min.compaction.lag.ms")?,
        max_compaction_lag_ms: values.number("max.compaction.lag.ms")?,
        key_index: types::boolean(values.text("tidelog.key.index.enable")) == Some(true),
    };
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms {
        return Err(ConfigError::Conflict(format!(
            "conflict topic config setting min.compaction.lag.ms ({}) > max.compaction.lag.ms ({})",
            config.min_compaction_lag_ms, config.max_compaction_lag_ms
        )));
    }
    Ok(config)
}

fn compression(values: &Values) -> Result<Compression, ConfigError> {
    let name = values.text("compression.type");
    match name {
        "producer" => Ok(Compression::Producer),
        "uncompressed" => Ok(Compression::Uncompressed),
        "snappy" => Ok(Compression::Snappy),
        "gzip" => Ok(Compression::Gzip(values.number("compression.gzip.level")?)),
        "lz4" => Ok(Compression::Lz4(values.number("compression.lz4.level")?)),
        "zstd" => Ok(Compression::Zstd(values.number("compression.zstd.level")?)),
        _ => Err(ConfigError::invalid("compression.type", name, "no such codec")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn broker(properties: &str) -> BrokerConfig {
        let sources = Sources { properties: Some(properties.to_owned()), ..Sources::default() };
        BrokerConfig::load(&sources).expect("valid").config
    }

    fn overrides(pairs: &[(&str, &str)]) -> TopicOverrides {
        TopicOverrides(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn topic_over_broker_over_default() {
        let plain = broker("");
        assert_eq!(resolve(&plain, &overrides(&[])).map(|c| c.retention_ms), Ok(Some(604_800_000)));
        let hours = broker("log.retention.hours=2");
        assert_eq!(hours.topic_defaults.retention_ms, Some(7_200_000));
        let minutes = broker("log.retention.hours=2\nlog.retention.minutes=3");
        assert_eq!(minutes.topic_defaults.retention_ms, Some(180_000));
        let ms = broker("log.retention.hours=2\nlog.retention.minutes=3\nlog.retention.ms=5");
        assert_eq!(ms.topic_defaults.retention_ms, Some(5));
        assert_eq!(resolve(&ms, &overrides(&[("retention.ms", "9")])).map(|c| c.retention_ms), Ok(Some(9)));
        assert_eq!(broker("log.retention.hours=-1").topic_defaults.retention_ms, None);
    }

    #[test]
    fn ships_durable_and_can_be_told_otherwise() {
        assert_eq!(broker("").topic_defaults.flush_messages, 1);
        let kafka = broker("log.flush.interval.messages=9223372036854775807");
        assert_eq!(kafka.topic_defaults.flush_messages, i64::MAX);
        assert_eq!(broker("log.flush.scheduler.interval.ms=7").topic_defaults.flush_ms, 7);
    }

    #[test]
    fn a_codec_takes_its_own_level() {
        let set = overrides(&[("compression.type", "zstd"), ("compression.zstd.level", "7")]);
        assert_eq!(resolve(&broker(""), &set).map(|c| c.compression), Ok(Compression::Zstd(7)));
        let other = overrides(&[("compression.type", "gzip"), ("compression.zstd.level", "7")]);
        assert_eq!(resolve(&broker(""), &other).map(|c| c.compression), Ok(Compression::Gzip(-1)));
    }

    #[test]
    fn refuses_bad_values_in_kafkas_words() {
        for (key, value, message) in [
            (
                "segment.bytes",
                "5",
                "Invalid value 5 for configuration segment.bytes: Value must be at least 1048576",
            ),
            (
                "retention.ms",
                "-2",
                "Invalid value -2 for configuration retention.ms: Value must be at least -1",
            ),
            (
                "max.compaction.lag.ms",
                "0",
                "Invalid value 0 for configuration max.compaction.lag.ms: Value must be at least 1",
            ),
            (
                "cleanup.policy",
                "foo",
                "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            ("unknown.key", "1", "Unknown topic config name: unknown.key"),
            ("retention.mss", "1", "Unknown topic config name: retention.mss; did you mean retention.ms?"),
        ] {
            assert_eq!(TopicConfig::validate(key, value).map_err(|e| e.to_string()), Err(message.to_owned()));
        }
    }

    #[test]
    fn what_compaction_is_told() {
        let set = overrides(&[
            ("cleanup.policy", "compact,delete"),
            ("min.cleanable.dirty.ratio", "0.1"),
            ("min.compaction.lag.ms", "1"),
            ("max.compaction.lag.ms", "2"),
            ("delete.retention.ms", "3"),
        ]);
        let config = resolve(&broker("tidelog.key.index.enable=false"), &set).expect("valid");
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: true });
        assert_eq!((config.min_cleanable_dirty_ratio, config.key_index), (0.1, false));
        assert_eq!((config.min_compaction_lag_ms, config.max_compaction_lag_ms), (1, 2));
        assert_eq!(config.delete_retention_ms, 3);
        let lags = overrides(&[("min.compaction.lag.ms", "2"), ("max.compaction.lag.ms", "1")]);
        assert!(matches!(resolve(&broker(""), &lags), Err(ConfigError::Conflict(_))));
        assert_eq!(TopicConfig::validate("cleanup.policy", ""), Ok(()));
        assert_eq!(TopicConfig::validate("cleanup.policy", "delete"), Ok(()));
    }

    #[test]
    fn single_node_keys_are_taken_and_tiering_is_not() {
        for (key, value) in [
            ("unclean.leader.election.enable", "true"),
            ("preallocate", "true"),
            ("segment.jitter.ms", "5"),
            ("local.retention.ms", "-2"),
            ("leader.replication.throttled.replicas", "0:1"),
            ("remote.storage.enable", "false"),
        ] {
            assert_eq!(TopicConfig::validate(key, value), Ok(()), "{key}");
        }
        assert!(matches!(
            TopicConfig::validate("remote.storage.enable", "true"),
            Err(ConfigError::NotServed { .. })
        ));
    }
}
