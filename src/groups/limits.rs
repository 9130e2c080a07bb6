//! The settings that bound and time groups.

use super::assign::Assignor;
pub use crate::config::Migration as MigrationPolicy;

/// Settings of classic groups. All times are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassicLimits {
    /// `group.min.session.timeout.ms`.
    pub session_min_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub session_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`.
    pub members_max: usize,
    /// Members of one group that were given an id and have not joined with it yet (KIP-394). Kafka has no bound.
    pub pending_members_max: usize,
}

/// Settings of consumer groups, those of the group applied over those of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerLimits {
    /// `group.consumer.session.timeout.ms`, or the group's `consumer.session.timeout.ms`.
    pub session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`, or the group's `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`.
    pub members_max: usize,
    /// `group.consumer.assignors`, never empty; the first is the default.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub regex_refresh_interval_ms: u64,
    /// The settings of the classic side, for members that speak it.
    pub classic: ClassicLimits,
}
