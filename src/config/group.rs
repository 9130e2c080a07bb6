//! A group's configuration (KIP-848, KIP-932): its own values over the broker's. A group need not exist to have some.

use std::collections::{BTreeMap, BTreeSet};

use super::alter::{AlterKind, AlterOp};
use super::broker_keys::{Effect, KeyDef};
use super::describe::{ConfigEntry, Source, Synonym};
use super::validate::Check::{self, Any, AtLeast, Between, OneOf};
use super::validate::types::ValueType::{self, Boolean, Int, String as Text};
use super::{BrokerConfig, ConfigError, broker_keys, suggest, validate};

/// What a group itself sets: text by key.
pub type GroupOverrides = BTreeMap<String, String>;

/// One group key.
#[derive(Debug)]
pub struct GroupKey {
    /// The key. Its default holds where it has no broker key.
    pub def: KeyDef,
    /// The broker key that gives groups without a value of their own theirs.
    pub synonym: Option<&'static str>,
    /// Broker keys with the lowest and the highest value a group may choose.
    pub bounds: Option<(&'static str, &'static str)>,
}

const SHARE: Effect = Effect::Inert("share groups are not served yet");
const STREAMS: Effect = Effect::Inert("streams groups are not served yet");
const PACE: Effect = Effect::Inert("assignments are computed when they are needed, not in intervals");

const fn key(
    name: &'static str,
    kind: ValueType,
    default: &'static str,
    check: Check,
    effect: Effect,
    synonym: Option<&'static str>,
    doc: &'static str,
) -> GroupKey {
    let def = KeyDef { name, kind, default: Some(default), check, effect, hidden: false, doc };
    GroupKey { def, synonym, bounds: None }
}

const fn bounded(key: GroupKey, low: &'static str, high: &'static str) -> GroupKey {
    GroupKey { bounds: Some((low, high)), ..key }
}

/// Every group key of Apache Kafka 4.3 (`GroupConfig`), by name.
#[rustfmt::skip]
pub static KEYS: &[GroupKey] = &[
    key("consumer.assignment.interval.ms", Int, "1000", AtLeast(0), PACE, Some("group.consumer.assignment.interval.ms"),
        "The shortest time between two assignments of the group, in milliseconds."),
    bounded(key(HEARTBEAT_INTERVAL, Int, "5000", AtLeast(1), Effect::Acts, Some("group.consumer.heartbeat.interval.ms"),
        "How often members of the group report, in milliseconds."),
        "group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    bounded(key(SESSION_TIMEOUT, Int, "45000", AtLeast(1), Effect::Acts, Some("group.consumer.session.timeout.ms"),
        "How long a silent member stays in the group, in milliseconds."),
        "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    key("share.assignment.interval.ms", Int, "1000", AtLeast(0), SHARE, Some("group.share.assignment.interval.ms"),
        "The shortest time between two assignments of the group, in milliseconds."),
    key("share.auto.offset.reset", Text, "latest", Any, SHARE, None,
        "Where a share group without a position begins."),
    key("share.delivery.count.limit", Int, "5", AtLeast(2), SHARE, Some("group.share.delivery.count.limit"),
        "How often a record is handed out before it counts as undeliverable."),
    key("share.heartbeat.interval.ms", Int, "5000", AtLeast(1), SHARE, Some("group.share.heartbeat.interval.ms"),
        "How often members of the group report, in milliseconds."),
    key("share.isolation.level", Text, "read_uncommitted", OneOf(&["read_committed", "read_uncommitted"]), SHARE, None,
        "Whether the group is given records of transactions that have not ended."),
    key("share.partition.max.record.locks", Int, "2000", Between(100, 10000), SHARE, Some("group.share.partition.max.record.locks"),
        "How many records of a partition may be handed out at a time."),
    key("share.record.lock.duration.ms", Int, "30000", AtLeast(1000), SHARE, Some("group.share.record.lock.duration.ms"),
        "How long a record is handed out before another member may have it, in milliseconds."),
    key("share.renew.acknowledge.enable", Boolean, "true", Any, SHARE, None,
        "Permits members to ask for more time with a record."),
    key("share.session.timeout.ms", Int, "45000", AtLeast(1), SHARE, Some("group.share.session.timeout.ms"),
        "How long a silent member stays in the group, in milliseconds."),
    key("streams.assignment.interval.ms", Int, "1000", AtLeast(0), STREAMS, Some("group.streams.assignment.interval.ms"),
        "The shortest time between two assignments of the group, in milliseconds."),
    key("streams.heartbeat.interval.ms", Int, "5000", AtLeast(1), STREAMS, Some("group.streams.heartbeat.interval.ms"),
        "How often members of the group report, in milliseconds."),
    key("streams.initial.rebalance.delay.ms", Int, "3000", AtLeast(0), STREAMS, Some("group.streams.initial.rebalance.delay.ms"),
        "How long a new streams group waits for more members, in milliseconds."),
    key("streams.num.standby.replicas", Int, "0", AtLeast(0), STREAMS, Some("group.streams.num.standby.replicas"),
        "How many standby copies of each task there are."),
    key("streams.session.timeout.ms", Int, "45000", AtLeast(1), STREAMS, Some("group.streams.session.timeout.ms"),
        "How long a silent member stays in the group, in milliseconds."),
];

/// How often members of a consumer group report.
pub const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
/// How long a silent member stays in a consumer group.
pub const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";

fn find(name: &str) -> Option<&'static GroupKey> {
    KEYS.iter().find(|key| key.def.name == name)
}

/// The value of a group key: the group's own, or the broker's, or the default.
fn effective(broker: &BrokerConfig, overrides: &GroupOverrides, key: &GroupKey) -> (String, Source) {
    if let Some(value) = overrides.get(key.def.name) {
        return (value.clone(), Source::DynamicGroup);
    }
    if let Some(value) = key.synonym.and_then(|synonym| broker.raw.get(synonym)) {
        return (value.clone(), Source::StaticBroker);
    }
    let broker_default = key.synonym.and_then(broker_keys::find).and_then(|row| row.default);
    (broker_default.or(key.def.default).unwrap_or_default().to_owned(), Source::Default)
}

/// A group's overrides after all changes, or none of them (IncrementalAlterConfigs; from `present`, or from nothing).
///
/// # Errors
/// A key altered twice, unknown, without a value or out of range; appending and subtracting, since no key is a list; a
/// session timeout that is not longer than the heartbeat interval.
pub fn alter_group(
    broker: &BrokerConfig,
    present: &GroupOverrides,
    ops: &[AlterOp],
) -> Result<GroupOverrides, ConfigError> {
    let mut seen = BTreeSet::new();
    if !ops.iter().all(|op| seen.insert(op.name.as_str())) {
        return Err(ConfigError::DuplicateKeys);
    }
    let mut altered = present.clone();
    for op in ops {
        let key = find(&op.name).ok_or_else(|| ConfigError::UnknownGroupKey {
            key: op.name.clone(),
            suggestion: suggest::nearest(&op.name, KEYS.iter().map(|key| key.def.name)).map(str::to_owned),
        });
        match op.op {
            AlterKind::Delete => {
                altered.remove(&op.name);
            }
            AlterKind::Append => {
                return Err(ConfigError::NotAList { operation: "APPEND", key: key?.def.name.to_owned() });
            }
            AlterKind::Subtract => {
                return Err(ConfigError::NotAList { operation: "SUBTRACT", key: key?.def.name.to_owned() });
            }
            AlterKind::Set => {
                let value =
                    op.value.as_deref().ok_or_else(|| ConfigError::NullValue(op.name.clone()))?.trim();
                let key = key?;
                validate::value(key.def.name, key.def.kind, &key.def.check, value)?;
                altered.insert(op.name.clone(), value.to_owned());
            }
        }
    }
    check_together(broker, &altered)?;
    Ok(altered)
}

fn check_together(broker: &BrokerConfig, overrides: &GroupOverrides) -> Result<(), ConfigError> {
    for key in KEYS {
        let (Some(value), Some((low, high))) = (overrides.get(key.def.name), key.bounds) else {
            continue;
        };
        let bound = |name| broker.effective(name).and_then(|text| text.parse::<i64>().ok());
        let number = value.parse::<i64>().unwrap_or(i64::MIN);
        let refuse = |words: &str, name: &str| {
            Err(ConfigError::Conflict(format!("{} must be {words} {name}", key.def.name)))
        };
        if bound(low).is_some_and(|low| number < low) {
            return refuse("greater than or equal to", low);
        }
        if bound(high).is_some_and(|high| number > high) {
            return refuse("less than or equal to", high);
        }
    }
    let session = number(broker, overrides, SESSION_TIMEOUT);
    let heartbeat = number(broker, overrides, HEARTBEAT_INTERVAL);
    if session <= heartbeat {
        return Err(ConfigError::Conflict(format!(
            "{SESSION_TIMEOUT} must be greater than {HEARTBEAT_INTERVAL}"
        )));
    }
    Ok(())
}

fn number(broker: &BrokerConfig, overrides: &GroupOverrides, name: &str) -> i64 {
    find(name).and_then(|key| effective(broker, overrides, key).0.parse().ok()).unwrap_or_default()
}

/// Every group key with its value and whence it is, as DescribeConfigs shows it.
pub fn describe_group(broker: &BrokerConfig, overrides: &GroupOverrides) -> Vec<ConfigEntry> {
    let entries = KEYS.iter().map(|key| {
        let (value, source) = effective(broker, overrides, key);
        ConfigEntry {
            name: key.def.name.to_owned(),
            value: Some(value),
            source,
            kind: key.def.kind,
            is_sensitive: false,
            read_only: false,
            documentation: key.def.documentation(),
            synonyms: synonyms(broker, overrides, key),
        }
    });
    entries.collect()
}

fn synonyms(broker: &BrokerConfig, overrides: &GroupOverrides, key: &GroupKey) -> Vec<Synonym> {
    let synonym = |name: &str, value: &str, source| Synonym {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        source,
    };
    let own = overrides.get(key.def.name).map(|value| synonym(key.def.name, value, Source::DynamicGroup));
    let name = key.synonym.unwrap_or(key.def.name);
    let set = key.synonym.and_then(|name| Some(synonym(name, broker.raw.get(name)?, Source::StaticBroker)));
    let default = key.synonym.and_then(broker_keys::find).and_then(|row| row.default).or(key.def.default);
    let default = default.map(|value| synonym(name, value, Source::Default));
    own.into_iter().chain(set).chain(default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn broker(properties: &str) -> BrokerConfig {
        let sources = Sources { properties: Some(properties.to_owned()), ..Sources::default() };
        BrokerConfig::load(&sources).expect("valid").config
    }

    fn set(name: &str, value: &str) -> AlterOp {
        AlterOp { name: name.to_owned(), op: AlterKind::Set, value: Some(value.to_owned()) }
    }

    #[test]
    fn describes_kafkas_17_keys_with_their_source() {
        let broker = broker("group.consumer.session.timeout.ms=50000");
        let own = GroupOverrides::from([(HEARTBEAT_INTERVAL.to_owned(), "6000".to_owned())]);
        let entries = describe_group(&broker, &own);
        assert_eq!(entries.len(), 17);
        assert!(entries.is_sorted_by(|a, b| a.name < b.name));
        let entry = |name: &str| entries.iter().find(|entry| entry.name == name).expect("described");
        let heartbeat = entry(HEARTBEAT_INTERVAL);
        assert_eq!((heartbeat.value.as_deref(), heartbeat.source), (Some("6000"), Source::DynamicGroup));
        assert_eq!(heartbeat.synonyms.len(), 2);
        let session = entry(SESSION_TIMEOUT);
        assert_eq!((session.value.as_deref(), session.source), (Some("50000"), Source::StaticBroker));
        let lock = entry("share.record.lock.duration.ms");
        assert_eq!((lock.value.as_deref(), lock.source), (Some("30000"), Source::Default));
        assert!(lock.documentation.contains("without effect"));
        for key in KEYS {
            assert!(key.synonym.is_none_or(|name| broker_keys::find(name).is_some()), "{}", key.def.name);
        }
    }

    #[test]
    fn changes_are_checked_alone_against_the_broker_and_together() {
        let broker = broker("");
        let none = GroupOverrides::new();
        let one = alter_group(&broker, &none, &[set(SESSION_TIMEOUT, "50000")]).expect("valid");
        assert_eq!(one, GroupOverrides::from([(SESSION_TIMEOUT.to_owned(), "50000".to_owned())]));
        let back = AlterOp { name: SESSION_TIMEOUT.to_owned(), op: AlterKind::Delete, value: None };
        assert_eq!(alter_group(&broker, &one, &[back]), Ok(none.clone()));
        for (ops, message) in [
            (vec![set("no.such", "1")], "Unknown group config name: no.such"),
            (
                vec![set(SESSION_TIMEOUT, "1000")],
                "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
            ),
            (
                vec![set(HEARTBEAT_INTERVAL, "20000")],
                "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
            ),
            (
                vec![set(SESSION_TIMEOUT, "x")],
                "Invalid value x for configuration consumer.session.timeout.ms: Not a number of type INT",
            ),
            (
                vec![AlterOp { op: AlterKind::Append, ..set(SESSION_TIMEOUT, "1") }],
                "Can't APPEND to key consumer.session.timeout.ms because its type is not LIST.",
            ),
            (
                vec![set(SESSION_TIMEOUT, "1"), set(SESSION_TIMEOUT, "1")],
                "Error due to duplicate config keys",
            ),
        ] {
            assert_eq!(alter_group(&broker, &none, &ops).expect_err("refused").to_string(), message);
        }
    }
}
