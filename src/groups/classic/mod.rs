//! Classic groups: the members agree on an assignment among themselves (KIP-62, KIP-345, KIP-394, KIP-559, KIP-814).
//!
//! One file per step of the protocol. A rebalance goes through three of them: members [`join`](ClassicGroup::join), the
//! generation begins (`rebalance.rs`), the leader's assignments arrive with [`sync`](ClassicGroup::sync). Beside it run the
//! sessions (`session.rs`), and members [`leave`](ClassicGroup::leave).

mod commit;
mod describe;
mod group;
mod join;
mod leave;
mod member;
mod rebalance;
mod roster;
mod session;
mod subscription;
mod sync;

#[cfg(test)]
mod commit_tests;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod join_tests;
#[cfg(test)]
mod leave_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod rebalance_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod static_tests;
#[cfg(test)]
mod sync_tests;
#[cfg(test)]
mod testing;

pub use commit::OffsetsExpire;
pub use group::{ClassicGroup, State};
pub use member::{Member, StoredMember};
