//! The transaction coordinator: which producer may use a transactional id, what its transaction has touched, and how it
//! ends (KIP-98, KIP-360, KIP-890).
//!
//! What a transaction guarantees:
//!
//! * once its outcome is acknowledged, all of it has that outcome, in every partition and group, whatever crashes;
//! * nothing of it is seen at read_committed before that, or ever if it is aborted;
//! * a producer that was fenced changes nothing afterwards.
//!
//! Decisions are pure: they take the state of a transactional id, an event and the time, and answer with what is to be done.

pub mod adopt;
pub mod complete;
pub mod coordinator;
pub mod end;
pub mod enlist;
pub mod error;
pub mod expiry;
pub mod init;
pub mod store;
pub mod transaction;

pub use transaction::{Producer, Protocol, State, TopicPartition};

#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;
