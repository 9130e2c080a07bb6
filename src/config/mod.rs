//! Configuration in Kafka's words: `server.properties`, `KAFKA_*` variables, topic configs.
//!
//! Plain data and pure functions; nothing here reads a file, a clock or the process environment.

pub mod alter;
pub mod broker;
pub mod broker_keys;
pub mod cleaner;
pub mod describe;
pub mod environment;
pub mod group;
pub mod group_limits;
pub mod listeners;
pub mod properties;
pub mod suggest;
pub mod topic;
pub mod topic_keys;
pub mod transactions;
pub mod validate;

pub use alter::{AlterKind, AlterOp, alter};
pub use broker::{BrokerConfig, Loaded, Sources};
pub use broker_keys::Effect;
pub use cleaner::CleanerConfig;
pub use describe::{ConfigEntry, Source, Synonym, describe_broker, describe_topic};
pub use group::{GroupOverrides, alter_group, describe_group};
pub use group_limits::{GroupConfig, Migration};
pub use listeners::{Advertised, HostPort, Listener, SecurityProtocol};
pub use topic::{CleanupPolicy, Compression, TimestampType, TopicConfig, TopicOverrides, resolve};
pub use transactions::TransactionConfig;
pub use validate::types::ValueType;

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The properties file cannot be read.
    #[error("line {line} of the properties file: {reason}")]
    Syntax { line: usize, reason: String },
    /// Neither Kafka nor Tidelog has such a broker key. `origin` says where it was set.
    #[error("unknown configuration {key} ({origin}){}", did_you_mean(.suggestion))]
    UnknownKey { key: String, origin: String, suggestion: Option<String> },
    /// There is no such topic config. Worded as in Kafka.
    #[error("Unknown topic config name: {key}{}", did_you_mean(.suggestion))]
    UnknownTopicKey { key: String, suggestion: Option<String> },
    /// There is no such group config. Worded as in Kafka.
    #[error("Unknown group config name: {key}{}", did_you_mean(.suggestion))]
    UnknownGroupKey { key: String, suggestion: Option<String> },
    /// The value is not permitted. Worded as in Kafka (`ConfigException`).
    #[error("Invalid value {value} for configuration {key}: {reason}")]
    InvalidValue { key: String, value: String, reason: String },
    /// Kafka would serve this; Tidelog does not, and pretending would lose what the user relies on.
    #[error("configuration {key} cannot be set: {reason}")]
    NotServed { key: String, reason: String },
    /// Two settings contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// One request alters the same key twice (Kafka: INVALID_REQUEST).
    #[error("Error due to duplicate config keys")]
    DuplicateKeys,
    /// A value is missing where one is needed (Kafka: INVALID_REQUEST).
    #[error("Null value not supported for : {0}")]
    NullValue(String),
    /// Append or subtract on a key that is no list. Worded as in Kafka.
    #[error("Can't {operation} to key {key} because its type is not LIST.")]
    NotAList { operation: &'static str, key: String },
}

impl ConfigError {
    /// Whether Kafka answers INVALID_REQUEST for this error; all others are INVALID_CONFIG.
    pub fn is_invalid_request(&self) -> bool {
        matches!(self, Self::DuplicateKeys | Self::NullValue(_))
    }

    pub(crate) fn invalid(key: &str, value: &str, reason: impl Into<String>) -> Self {
        Self::InvalidValue { key: key.to_owned(), value: value.to_owned(), reason: reason.into() }
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |name| format!("; did you mean {name}?"))
}
