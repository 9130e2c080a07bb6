//! The broker as a whole, in this process, over real sockets and a real data directory.

mod data;
mod disk;
mod groups;
mod hostile;
mod migration;
mod restart;
mod snapshots;
mod support;
mod topics;
mod transactions;
mod wire;
