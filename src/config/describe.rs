//! What DescribeConfigs shows: each key with its value, whence it is, and what else it could have come from.

use std::collections::BTreeMap;

use super::broker_keys::{self, KeyDef};
use super::topic::{self, TopicOverrides};
use super::topic_keys::{self, TopicKey};
use super::validate::types::ValueType;
use super::{BrokerConfig, ConfigError};

/// Whence a value is (KIP-226, `DescribeConfigsResponse.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Set on the topic.
    DynamicTopic,
    /// Set on the group.
    DynamicGroup,
    /// Set when the broker was started.
    StaticBroker,
    /// Nobody set it.
    Default,
}

impl Source {
    /// Its number in DescribeConfigs replies.
    pub const fn code(self) -> i8 {
        match self {
            Self::DynamicTopic => 1,
            Self::DynamicGroup => 8,
            Self::StaticBroker => 4,
            Self::Default => 5,
        }
    }
}

/// One setting that takes part in a key's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    /// The key it was set under.
    pub name: String,
    /// Its value in that key's own unit; `None` for secrets.
    pub value: Option<String>,
    /// Whence it is.
    pub source: Source,
}

/// One key as DescribeConfigs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// Its value; `None` for secrets and for what nobody set and has no default.
    pub value: Option<String>,
    /// Whence the value is.
    pub source: Source,
    /// The type of the value.
    pub kind: ValueType,
    /// The value is a secret and never shown.
    pub is_sensitive: bool,
    /// It cannot be altered while the broker runs.
    pub read_only: bool,
    /// What it means, and that it has no effect where that is so.
    pub documentation: String,
    /// Everything that sets it, the winner first.
    pub synonyms: Vec<Synonym>,
}

/// Every key of a topic, by name.
///
/// # Errors
/// An override or a broker setting cannot be converted; neither can pass [`topic::resolve`].
pub fn describe_topic(
    broker: &BrokerConfig,
    overrides: &TopicOverrides,
) -> Result<Vec<ConfigEntry>, ConfigError> {
    let mut entries = Vec::with_capacity(topic_keys::KEYS.len());
    for key in topic_keys::KEYS {
        let Some(effective) = topic::effective(&broker.raw, overrides, key)? else {
            continue;
        };
        entries.push(ConfigEntry {
            name: key.def.name.to_owned(),
            value: Some(effective.value),
            source: effective.source,
            kind: key.def.kind,
            is_sensitive: false,
            read_only: false,
            documentation: key.def.documentation(),
            synonyms: topic_synonyms(&broker.raw, overrides, key),
        });
    }
    Ok(entries)
}

fn topic_synonyms(
    raw: &BTreeMap<String, String>,
    overrides: &TopicOverrides,
    key: &TopicKey,
) -> Vec<Synonym> {
    let own = overrides.0.get(key.def.name).map(|value| Synonym {
        name: key.def.name.to_owned(),
        value: Some(value.clone()),
        source: Source::DynamicTopic,
    });
    let set = key.synonyms.iter().filter_map(|synonym| {
        let value = raw.get(synonym.key)?.clone();
        Some(Synonym { name: synonym.key.to_owned(), value: Some(value), source: Source::StaticBroker })
    });
    // As in Kafka, only the first synonym's default is listed: where that has none, no default is.
    let default = key.synonyms.first().and_then(|synonym| {
        let value = broker_keys::find(synonym.key)?.default?.to_owned();
        Some(Synonym { name: synonym.key.to_owned(), value: Some(value), source: Source::Default })
    });
    own.into_iter().chain(set).chain(default).collect()
}

/// Every key of the broker, by name. All are fixed until the next start.
pub fn describe_broker(broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let known = broker_keys::all()
        .filter(|key| !key.hidden || broker.raw.contains_key(key.name))
        .map(|key| known_entry(broker, key));
    let free = broker.raw.keys().filter(|name| broker_keys::find(name).is_none()).map(|name| ConfigEntry {
        name: name.clone(),
        value: None,
        source: Source::StaticBroker,
        // The type of a key with a free name is not known, so its value may be a password.
        kind: ValueType::Password,
        is_sensitive: true,
        read_only: true,
        documentation: "A key with a free name. Accepted without effect.".to_owned(),
        synonyms: vec![Synonym { name: name.clone(), value: None, source: Source::StaticBroker }],
    });
    let mut entries: Vec<ConfigEntry> = known.chain(free).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn known_entry(broker: &BrokerConfig, key: &KeyDef) -> ConfigEntry {
    let is_sensitive = key.kind == ValueType::Password;
    let shown = |value: Option<String>| value.filter(|_| !is_sensitive);
    let synonym =
        |value: String, source| Synonym { name: key.name.to_owned(), value: shown(Some(value)), source };
    let set = broker.raw.get(key.name);
    let default = derived_default(broker, key);
    let synonyms = set
        .map(|value| synonym(value.clone(), Source::StaticBroker))
        .into_iter()
        .chain(default.clone().map(|value| synonym(value, Source::Default)))
        .collect();
    ConfigEntry {
        name: key.name.to_owned(),
        value: shown(set.cloned().or(default)),
        source: if set.is_some() { Source::StaticBroker } else { Source::Default },
        kind: key.kind,
        is_sensitive,
        read_only: true,
        documentation: key.documentation(),
        synonyms,
    }
}

/// A key's default, which for some follows other settings. What is shown must be what holds.
fn derived_default(broker: &BrokerConfig, key: &KeyDef) -> Option<String> {
    let derived = match key.name {
        _ if broker.raw.contains_key(key.name) => None,
        "tidelog.max.inflight.bytes" => Some(broker.max_inflight_bytes.to_string()),
        "tidelog.max.inflight.bytes.per.connection" => {
            Some(broker.max_inflight_bytes_per_connection.to_string())
        }
        "node.id" => Some(broker.node_id.to_string()),
        "log.dirs" => {
            Some(broker.log_dirs.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(","))
        }
        _ => None,
    };
    derived.or_else(|| key.default.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn broker(properties: &str) -> BrokerConfig {
        let sources = Sources { properties: Some(properties.to_owned()), ..Sources::default() };
        BrokerConfig::load(&sources).expect("valid").config
    }

    fn entry(entries: &[ConfigEntry], name: &str) -> ConfigEntry {
        entries.iter().find(|entry| entry.name == name).expect("described").clone()
    }

    fn synonyms(entry: &ConfigEntry) -> Vec<(&str, &str, Source)> {
        entry
            .synonyms
            .iter()
            .map(|s| (s.name.as_str(), s.value.as_deref().unwrap_or("-"), s.source))
            .collect()
    }

    #[test]
    fn a_topic_value_tells_whence_it_is() {
        let broker = broker("log.retention.hours=1\nlog.segment.bytes=2097152");
        let own = TopicOverrides([("segment.bytes".to_owned(), "4194304".to_owned())].into());
        let entries = describe_topic(&broker, &own).expect("valid");
        assert_eq!(entries.len(), 34, "Kafka describes 33 topic configs, one is our own");
        let segment = entry(&entries, "segment.bytes");
        assert_eq!((segment.value.as_deref(), segment.source), (Some("4194304"), Source::DynamicTopic));
        assert_eq!(
            synonyms(&segment),
            [
                ("segment.bytes", "4194304", Source::DynamicTopic),
                ("log.segment.bytes", "2097152", Source::StaticBroker),
                ("log.segment.bytes", "1073741824", Source::Default),
            ]
        );
        let retention = entry(&entries, "retention.ms");
        assert_eq!((retention.value.as_deref(), retention.source), (Some("3600000"), Source::StaticBroker));
        assert_eq!(synonyms(&retention), [("log.retention.hours", "1", Source::StaticBroker)]);
        let flush = entry(&entries, "flush.ms");
        assert_eq!((flush.source, flush.synonyms.len()), (Source::Default, 0));
        assert!(entry(&entries, "preallocate").documentation.contains("without effect"));
    }

    #[test]
    fn the_broker_shows_all_but_secrets() {
        let broker = broker(
            "ssl.key.password=hunter2\nlistener.name.x.sasl.jaas.config=hunter2\nnum.partitions=3\nbroker.id=7",
        );
        let entries = describe_broker(&broker);
        assert!(entries.is_sorted_by(|a, b| a.name < b.name));
        assert!(!format!("{entries:?}").contains("hunter2"));
        let partitions = entry(&entries, "num.partitions");
        assert_eq!(
            synonyms(&partitions),
            [("num.partitions", "3", Source::StaticBroker), ("num.partitions", "1", Source::Default)]
        );
        assert!(partitions.read_only);
        assert_eq!(entry(&entries, "node.id").value.as_deref(), Some("7"));
        assert!(!entries.iter().any(|entry| entry.name == "unstable.api.versions.enable"));
    }
}
