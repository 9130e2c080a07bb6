//! What the broker tells of itself: logs, metrics, health.

pub mod http;
pub mod logging;
pub mod memory;
