//! The settings of the log cleaner, typed.

use std::collections::BTreeMap;

use super::ConfigError;
use super::broker::Reader;

/// Fewest bytes of the table of keys that a thread can work with (`KafkaConfig.validateValues`).
const BUFFER_BYTES_MIN: usize = 1 << 20;

/// Settings of the log cleaner. Names follow Kafka's keys; units are in the names.
#[derive(Debug, Clone, PartialEq)]
pub struct CleanerConfig {
    /// `log.cleaner.threads`, or none when `log.cleaner.enable` is false.
    pub threads: usize,
    /// `log.cleaner.backoff.ms`.
    pub backoff_ms: u64,
    /// `log.cleaner.dedupe.buffer.size`, of all threads together.
    pub dedupe_buffer_bytes: usize,
    /// `log.cleaner.io.buffer.load.factor`, above 0 and at most 1.
    pub load_factor: f64,
    /// `log.cleaner.io.buffer.size`, of all threads together.
    pub io_buffer_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`.
    pub io_max_bytes_per_second: f64,
}

pub(super) fn read(raw: &BTreeMap<String, String>) -> Result<CleanerConfig, ConfigError> {
    let read = Reader(raw);
    let threads = if read.flag("log.cleaner.enable")? { read.number("log.cleaner.threads")? } else { 0 };
    let load_factor = read.double("log.cleaner.io.buffer.load.factor")?;
    if !(load_factor > 0.0 && load_factor <= 1.0) {
        let reason = "must be above 0 and at most 1";
        return Err(ConfigError::invalid(
            "log.cleaner.io.buffer.load.factor",
            &load_factor.to_string(),
            reason,
        ));
    }
    let rate = read.double("log.cleaner.io.max.bytes.per.second")?;
    if rate.is_nan() || rate <= 0.0 {
        let reason = "must be above 0";
        return Err(ConfigError::invalid("log.cleaner.io.max.bytes.per.second", &rate.to_string(), reason));
    }
    let dedupe_buffer_bytes: usize = read.number("log.cleaner.dedupe.buffer.size")?;
    if threads > 0 && dedupe_buffer_bytes / threads <= BUFFER_BYTES_MIN {
        let reason = "must be at least 1MB per cleaner thread";
        return Err(ConfigError::invalid(
            "log.cleaner.dedupe.buffer.size",
            &dedupe_buffer_bytes.to_string(),
            reason,
        ));
    }
    Ok(CleanerConfig {
        threads,
        backoff_ms: read.number("log.cleaner.backoff.ms")?,
        dedupe_buffer_bytes,
        load_factor,
        io_buffer_bytes: read.number("log.cleaner.io.buffer.size")?,
        io_max_bytes_per_second: rate,
    })
}
