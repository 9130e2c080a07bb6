//! The coordinator's settings out of the broker's.

use crate::config::BrokerConfig;
use crate::config::group::{HEARTBEAT_INTERVAL, SESSION_TIMEOUT};
use crate::groups::assign::Assignor;
use crate::groups::coordinator::Settings;
use crate::groups::limits::{ClassicLimits, ConsumerLimits};
use crate::metadata::Overrides;
use crate::storage::Durability;

/// Members of one group that may have been given an id and not come back with it: each costs a timer and its id, and a
/// client that never comes back could ask for any number of them.
const PENDING_MEMBERS_MAX: usize = 10_000;

/// How durable an acknowledged commit, or the outcome of a transaction, is. Both speak of records: where those are
/// acknowledged before they are on disk, they may be as well.
pub fn durability(config: &BrokerConfig) -> Durability {
    match config.topic_defaults.flush_messages {
        1 => Durability::Synced,
        _ => Durability::Buffered,
    }
}

/// Settings for a start after an orderly stop, or not.
pub fn settings(config: &BrokerConfig, was_clean: bool) -> Settings {
    let groups = &config.groups;
    let classic = ClassicLimits {
        session_min_ms: groups.min_session_timeout_ms,
        session_max_ms: groups.max_session_timeout_ms,
        initial_rebalance_delay_ms: groups.initial_rebalance_delay_ms,
        members_max: groups.max_size,
        pending_members_max: PENDING_MEMBERS_MAX,
    };
    let limits = ConsumerLimits {
        session_timeout_ms: groups.consumer_session_timeout_ms,
        heartbeat_interval_ms: groups.consumer_heartbeat_interval_ms,
        members_max: groups.consumer_max_size,
        assignors: groups.consumer_assignors.iter().filter_map(|name| Assignor::by_name(name)).collect(),
        migration: groups.consumer_migration,
        regex_refresh_interval_ms: groups.consumer_regex_refresh_interval_ms,
        classic,
    };
    Settings {
        limits,
        resolve,
        metadata_bytes_max: groups.offset_metadata_max_bytes,
        offsets_retention_ms: groups.offsets_retention_ms,
        was_clean,
    }
}

/// A group's own settings over the broker's. They were checked when they were set.
fn resolve(broker: &ConsumerLimits, overrides: &Overrides) -> ConsumerLimits {
    let own = |key: &str, otherwise: i32| {
        overrides.get(key).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    ConsumerLimits {
        session_timeout_ms: own(SESSION_TIMEOUT, broker.session_timeout_ms),
        heartbeat_interval_ms: own(HEARTBEAT_INTERVAL, broker.heartbeat_interval_ms),
        ..broker.clone()
    }
}
