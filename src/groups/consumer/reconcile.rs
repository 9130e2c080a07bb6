//! From what a member owns to what it should own, in steps that never let a partition have two owners. The role of
//! Kafka's `CurrentAssignmentBuilder` (4.3).
//!
//! ```text
//!                         something to give up
//!        ┌────────► UnrevokedPartitions ──────────┐ it says that it gave it up
//!        │                                        ▼
//!     Stable ◄── all is given ── next step ── others still own some ──► UnreleasedPartitions
//!        │                           ▲                                        │
//!        └── a newer target ─────────┴──────────── at every heartbeat ────────┘
//! ```

use uuid::Uuid;

use super::super::assign::Partitions;
use super::member::{MemberState, Standing};
use super::owned::Owned;

/// What a step depends on beside the member itself.
pub(super) struct Situation<'a> {
    /// The epoch of the target assignment.
    pub(super) target_epoch: i32,
    /// What the member is to own in the end.
    pub(super) target: &'a Partitions,
    /// The partitions that the member says it owns; none when it does not say.
    pub(super) reported: Option<&'a Partitions>,
    /// Whether any other member owns a partition.
    pub(super) is_held_by_another: &'a dyn Fn(Uuid, i32) -> bool,
    /// Given when the member's subscription has just changed: whether it covers this topic.
    pub(super) new_subscription: Option<&'a dyn Fn(Uuid) -> bool>,
}

/// The next step of a member; none when it can only stay where it is.
pub(super) fn next(current: &Standing, situation: &Situation<'_>) -> Option<Standing> {
    let next = match current.state {
        MemberState::Stable if current.epoch == situation.target_epoch => return None,
        MemberState::UnrevokedPartitions if still_owns(&current.pending_revocation, situation) => {
            drop_unsubscribed(current, situation)?
        }
        MemberState::Stable | MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
            towards_target(current, situation)
        }
    };
    (next != *current).then_some(next)
}

/// A member that does not say what it owns may own all of it.
fn still_owns(revoked: &Owned, situation: &Situation<'_>) -> bool {
    situation.reported.is_none_or(|reported| revoked.contains_any(reported))
}

fn towards_target(current: &Standing, situation: &Situation<'_>) -> Standing {
    let target = situation.target;
    let (mut assigned, revoked): (Owned, Owned) =
        split(&current.assigned, |topic, partition| target.contains(&topic, partition));
    if !revoked.is_empty() && still_owns(&revoked, situation) {
        return Standing {
            state: MemberState::UnrevokedPartitions,
            epoch: current.epoch,
            previous_epoch: current.epoch,
            assigned,
            pending_revocation: revoked,
        };
    }
    let mut state = MemberState::Stable;
    for (topic, partition) in target.iter() {
        if current.assigned.contains(topic, partition) {
            continue;
        }
        if (situation.is_held_by_another)(topic, partition) {
            state = MemberState::UnreleasedPartitions;
        } else {
            assigned.insert(topic, partition, situation.target_epoch);
        }
    }
    Standing {
        state,
        epoch: situation.target_epoch,
        previous_epoch: current.epoch,
        assigned,
        pending_revocation: Owned::default(),
    }
}

/// A member that is giving partitions up gives up those too that its new subscription does not cover.
fn drop_unsubscribed(current: &Standing, situation: &Situation<'_>) -> Option<Standing> {
    let is_subscribed = situation.new_subscription?;
    let (assigned, dropped) = split(&current.assigned, |topic, _| is_subscribed(topic));
    if dropped.is_empty() {
        return None;
    }
    Some(Standing {
        state: MemberState::UnrevokedPartitions,
        epoch: current.epoch,
        previous_epoch: current.epoch,
        assigned,
        pending_revocation: current.pending_revocation.iter().chain(dropped.iter()).collect(),
    })
}

fn split(owned: &Owned, is_kept: impl Fn(Uuid, i32) -> bool) -> (Owned, Owned) {
    let mut kept = Owned::default();
    let mut rest = Owned::default();
    for (topic, partition, epoch) in owned.iter() {
        let side = if is_kept(topic, partition) { &mut kept } else { &mut rest };
        side.insert(topic, partition, epoch);
    }
    (kept, rest)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
