//! Server-side assignors of consumer groups (KIP-848).

pub mod partitions;

pub use partitions::Partitions;

/// An assignor that the broker offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// Even numbers of partitions, moved as little as possible.
    Uniform,
    /// Contiguous ranges, co-partitioned.
    Range,
}
