//! Consumer groups: the broker assigns partitions and reconciles the members with the assignment (KIP-848).
//!
//! One file per step. A [`heartbeat`](ConsumerGroup::heartbeat) goes through most of them: it is checked by itself
//! (`validate.rs`), its member is found (`statics.rs`), what the member subscribes to is taken in (`subscription.rs`,
//! `topic_regex.rs`), and when that changed, the group begins a new epoch and computes a new target assignment (`target.rs`);
//! then the member is taken one step towards it (`reconcile.rs`). Beside it run the sessions (`session.rs`).
//! Members that speak the classic protocol can be in the group too (`classic_members.rs`), and the group becomes a classic
//! one when only such are left (`convert.rs`).

mod classic_members;
mod commit;
mod consumer_protocol;
mod convert;
mod describe;
mod group;
mod heartbeat;
mod leave;
mod member;
mod owned;
mod reconcile;
mod session;
mod statics;
mod subscription;
mod target;
mod topic_regex;
mod validate;

#[cfg(test)]
mod classic_members_tests;
#[cfg(test)]
mod commit_tests;
#[cfg(test)]
mod convert_tests;
#[cfg(test)]
mod heartbeat_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod static_tests;
#[cfg(test)]
mod subscription_tests;
#[cfg(test)]
pub(super) mod testing;

pub use commit::CommitRight;
pub use group::{ConsumerGroup, State, StoredHead};
pub use member::{ClassicSide, LEFT_FOR_A_WHILE, Member, MemberState, Standing, StoredMember};
pub use owned::Owned;
pub use validate::validate;

pub(crate) use convert::check_upgrade;
pub(crate) use leave::farewell;
