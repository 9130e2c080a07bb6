//! The settings of groups, typed.

use std::collections::BTreeMap;

use super::ConfigError;
use super::broker::Reader;
use super::validate::types;

/// Which way groups may change between the classic and the consumer protocol (`group.consumer.migration.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migration {
    /// Both ways.
    Bidirectional,
    /// Classic to consumer.
    Upgrade,
    /// Consumer to classic.
    Downgrade,
    /// Neither.
    Disabled,
}

impl Migration {
    /// Whether a classic group may become a consumer group.
    pub fn permits_upgrade(self) -> bool {
        matches!(self, Migration::Bidirectional | Migration::Upgrade)
    }

    /// Whether a consumer group may become a classic group.
    pub fn permits_downgrade(self) -> bool {
        matches!(self, Migration::Bidirectional | Migration::Downgrade)
    }
}

/// Settings of groups. Names follow Kafka's keys; units are in the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`.
    pub max_size: usize,
    /// Whether `group.coordinator.rebalance.protocols` offers `consumer`.
    pub consumer_protocol: bool,
    /// `group.consumer.session.timeout.ms`.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`.
    pub consumer_max_size: usize,
    /// `group.consumer.assignors`: names, never none.
    pub consumer_assignors: Vec<String>,
    /// `group.consumer.migration.policy`.
    pub consumer_migration: Migration,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub consumer_regex_refresh_interval_ms: u64,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: u64,
}

/// Kafka's own assignors by their names here: its configuration may name classes instead.
const ASSIGNORS: [(&str, &str); 4] = [
    ("uniform", "uniform"),
    ("range", "range"),
    ("org.apache.kafka.coordinator.group.assignor.UniformAssignor", "uniform"),
    ("org.apache.kafka.coordinator.group.assignor.RangeAssignor", "range"),
];

pub(super) fn read(raw: &BTreeMap<String, String>) -> Result<GroupConfig, ConfigError> {
    let read = Reader(raw);
    let config = GroupConfig {
        min_session_timeout_ms: read.number("group.min.session.timeout.ms")?,
        max_session_timeout_ms: read.number("group.max.session.timeout.ms")?,
        initial_rebalance_delay_ms: read.number("group.initial.rebalance.delay.ms")?,
        max_size: read.number("group.max.size")?,
        consumer_protocol: types::list(read.text("group.coordinator.rebalance.protocols"))
            .contains(&"consumer"),
        consumer_session_timeout_ms: read.number("group.consumer.session.timeout.ms")?,
        consumer_heartbeat_interval_ms: read.number("group.consumer.heartbeat.interval.ms")?,
        consumer_max_size: read.number("group.consumer.max.size")?,
        consumer_assignors: assignors(&read)?,
        consumer_migration: migration(&read),
        consumer_regex_refresh_interval_ms: read.number("group.consumer.regex.refresh.interval.ms")?,
        offset_metadata_max_bytes: read.number("offset.metadata.max.bytes")?,
        offsets_retention_ms: read.number::<i64>("offsets.retention.minutes")?.saturating_mul(60_000),
        offsets_retention_check_interval_ms: read.number("offsets.retention.check.interval.ms")?,
    };
    check_range(
        &read,
        "group.consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    )?;
    check_range(
        &read,
        "group.consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
    )?;
    if config.consumer_heartbeat_interval_ms >= config.consumer_session_timeout_ms {
        return Err(ConfigError::Conflict(
            "group.consumer.heartbeat.interval.ms must be less than group.consumer.session.timeout.ms"
                .to_owned(),
        ));
    }
    Ok(config)
}

/// Kafka refuses to start with a default outside the range that groups may choose from (`GroupCoordinatorConfig`).
fn check_range(read: &Reader<'_>, key: &str, low: &str, high: &str) -> Result<(), ConfigError> {
    let (value, lowest, highest): (i64, i64, i64) =
        (read.number(key)?, read.number(low)?, read.number(high)?);
    if value < lowest {
        return Err(ConfigError::Conflict(format!("{key} must be greater than or equal to {low}")));
    }
    if value > highest {
        return Err(ConfigError::Conflict(format!("{key} must be less than or equal to {high}")));
    }
    Ok(())
}

fn assignors(read: &Reader<'_>) -> Result<Vec<String>, ConfigError> {
    let key = "group.consumer.assignors";
    let text = read.text(key);
    let mut names: Vec<String> = Vec::new();
    for wanted in types::list(text) {
        let Some((_, name)) = ASSIGNORS.iter().find(|(known, _)| *known == wanted) else {
            let reason = "only uniform and range are offered: Java classes cannot be loaded";
            return Err(ConfigError::invalid(key, wanted, reason));
        };
        if !names.iter().any(|present| present == name) {
            names.push((*name).to_owned());
        }
    }
    if names.is_empty() {
        return Err(ConfigError::invalid(key, text, "at least one assignor is needed"));
    }
    Ok(names)
}

fn migration(read: &Reader<'_>) -> Migration {
    let text = read.text("group.consumer.migration.policy");
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    match () {
        () if is("disabled") => Migration::Disabled,
        () if is("upgrade") => Migration::Upgrade,
        () if is("downgrade") => Migration::Downgrade,
        () => Migration::Bidirectional,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(pairs: &[(&str, &str)]) -> Result<GroupConfig, String> {
        read(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_kafkas() {
        let config = read_text(&[]).expect("valid");
        assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (6000, 1_800_000));
        assert_eq!(config.initial_rebalance_delay_ms, 3000);
        assert_eq!(
            (config.consumer_session_timeout_ms, config.consumer_heartbeat_interval_ms),
            (45_000, 5000)
        );
        assert_eq!(config.consumer_assignors, ["uniform", "range"]);
        assert_eq!(config.consumer_migration, Migration::Bidirectional);
        assert_eq!((config.offset_metadata_max_bytes, config.offsets_retention_ms), (4096, 604_800_000));
    }

    #[test]
    fn contradictions_are_named() {
        for (pairs, message) in [
            (
                &[("group.consumer.session.timeout.ms", "1000")][..],
                "group.consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
            ),
            (
                &[("group.consumer.assignors", "com.example.Mine")],
                "Invalid value com.example.Mine for configuration group.consumer.assignors: only uniform and range are offered: Java classes cannot be loaded",
            ),
        ] {
            assert_eq!(read_text(pairs).expect_err("refused"), message);
        }
        let classes = "org.apache.kafka.coordinator.group.assignor.RangeAssignor,range,uniform";
        let config = read_text(&[
            ("group.consumer.assignors", classes),
            ("group.consumer.migration.policy", "UPGRADE"),
        ]);
        let config = config.expect("valid");
        assert_eq!(config.consumer_assignors, ["range", "uniform"]);
        assert_eq!(config.consumer_migration, Migration::Upgrade);
    }
}
