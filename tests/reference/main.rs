//! The APIs of groups and transactions beside Apache Kafka, request by request.
//!
//! A script sends requests and writes down every answer. What Apache Kafka answers to it is kept in
//! `tests/golden/reference/`, and each script is played to a broker in this process and compared with that:
//!
//! | environment | what happens |
//! |---|---|
//! | nothing | Tidelog is compared with the recordings |
//! | `TIDELOG_REFERENCE=host:port` | the Kafka that runs there is compared with them: are the scripts deterministic? |
//! | and `TIDELOG_GOLDEN=write` | its answers become the recordings |
//!
//! Differences that are meant are in `differences.rs`; every other one fails.

mod differences;
mod mask;
mod play;
mod records;
mod requests;
mod script;
mod scripts;
mod target;
mod transaction_requests;
mod transcript;
mod value;

// The broker in this process and the frames; the rest of that module is for other tests.
#[allow(dead_code, unused_imports)]
#[path = "../it/support/mod.rs"]
mod support;
