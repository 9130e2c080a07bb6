//! Transactions over the wire, in both protocols: producers, their offsets, readers at read_committed, and administrators.

pub mod ask;
pub mod code;
pub mod session;

mod add_partitions;
mod admin;
mod end;
mod hostile;
mod init;
mod markers;
mod metrics;
mod offsets;
mod produce;
mod races;
mod read;
mod restart;
mod timeouts;
