//! One file per Kafka request: check, delegate, shape the answer. Handlers write to no socket and touch no file.

pub mod cluster;
pub mod configs;
pub mod context;
pub mod data;
pub mod dispatch;
pub mod error_code;
pub mod groups;
pub mod metrics;
pub mod services;
pub mod topics;
pub mod transactions;
