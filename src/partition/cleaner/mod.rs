//! The log cleaner.
mod access;
pub mod choose;
pub mod metrics;
pub mod progress;
pub mod throttle;
