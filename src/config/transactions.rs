//! The settings of transactions, typed.

use std::collections::BTreeMap;

use super::ConfigError;
use super::broker::Reader;

/// Settings of transactions. Names follow Kafka's keys; units are in the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`.
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub abort_timed_out_interval_ms: u64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub remove_expired_interval_ms: u64,
    /// `transaction.partition.verification.enable`.
    pub partition_verification: bool,
    /// `tidelog.max.transactional.ids`.
    pub max_ids: usize,
}

pub(super) fn read(raw: &BTreeMap<String, String>) -> Result<TransactionConfig, ConfigError> {
    let read = Reader(raw);
    Ok(TransactionConfig {
        max_timeout_ms: read.number("transaction.max.timeout.ms")?,
        id_expiration_ms: read.number("transactional.id.expiration.ms")?,
        abort_timed_out_interval_ms: read
            .number("transaction.abort.timed.out.transaction.cleanup.interval.ms")?,
        remove_expired_interval_ms: read
            .number("transaction.remove.expired.transaction.cleanup.interval.ms")?,
        partition_verification: read.flag("transaction.partition.verification.enable")?,
        max_ids: read.number("tidelog.max.transactional.ids")?,
    })
}
