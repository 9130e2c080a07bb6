//! What an operator asks of a broker that Kafka's protocol has no request for: a snapshot, the latest record of a key.
//!
//! ```text
//!   tidelog snapshot ─ client ─ <data>/control.sock ─ server ─ snapshot/live     what a running broker copies of itself
//!                  └────────────────────────────────────────── snapshot/offline  a directory that no broker runs on
//!   tidelog key get ─ client ─ <data>/control.sock ─ server ─ key                which partition, and what was found
//! ```
//!
//! The broker listens on a Unix socket in its data directory, with HTTP/1 and JSON. It is for those who may read that
//! directory anyway, and cannot be reached from the network.

pub mod client;
pub mod key;
pub mod server;
pub mod snapshot;
pub mod socket;
