//! Tidelog, a Kafka-wire-compatible event-streaming broker.
//!
//! The folders are in the order in which a produced record meets them; imports point down this list only.
//! `ARCHITECTURE.md` follows a request through them.

pub mod cli;

pub mod broker;

pub mod control;
pub mod import;

pub mod server;

pub mod protocol;

pub mod api;

pub mod partition;

pub mod groups;

pub mod transactions;

pub mod metadata;

pub mod storage;

pub mod record;

pub mod config;

pub mod telemetry;
