//! Transactions over the wire, in both protocols: producers, their offsets, readers at read_committed, and administrators.

pub mod ask;
pub mod code;
pub mod session;

mod add_partitions;
mod admin;
mod end;
mod init;
mod markers;
mod offsets;
mod produce;
mod read;
