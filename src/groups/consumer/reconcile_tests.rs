//! Each state of a member, and what it does next.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::super::super::assign::Partitions;
use super::super::member::{MemberState, Standing};
use super::super::owned::Owned;
use super::{Situation, next};

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);

fn partitions(all: &[(Uuid, i32)]) -> Partitions {
    all.iter().copied().collect()
}

fn standing(state: MemberState, epoch: i32, assigned: &[(Uuid, i32)], pending: &[(Uuid, i32)]) -> Standing {
    Standing {
        state,
        epoch,
        previous_epoch: epoch - 1,
        assigned: Owned::since(&partitions(assigned), epoch),
        pending_revocation: Owned::since(&partitions(pending), epoch),
    }
}

struct Case {
    current: Standing,
    target_epoch: i32,
    target: Vec<(Uuid, i32)>,
    reported: Option<Vec<(Uuid, i32)>>,
    held: Vec<(Uuid, i32)>,
    subscribed: Option<Vec<Uuid>>,
}

impl Case {
    fn new(current: Standing, target_epoch: i32, target: &[(Uuid, i32)]) -> Self {
        let (held, subscribed) = (Vec::new(), None);
        Self { current, target_epoch, target: target.to_vec(), reported: None, held, subscribed }
    }

    fn reporting(mut self, owned: &[(Uuid, i32)]) -> Self {
        self.reported = Some(owned.to_vec());
        self
    }

    fn held(mut self, held: &[(Uuid, i32)]) -> Self {
        self.held = held.to_vec();
        self
    }

    fn subscribed(mut self, topics: &[Uuid]) -> Self {
        self.subscribed = Some(topics.to_vec());
        self
    }

    fn next(&self) -> Option<Standing> {
        let target = partitions(&self.target);
        let reported = self.reported.as_deref().map(partitions);
        let held: BTreeSet<(Uuid, i32)> = self.held.iter().copied().collect();
        let is_subscribed =
            |topic: Uuid| self.subscribed.as_ref().is_some_and(|subscribed| subscribed.contains(&topic));
        let situation = Situation {
            target_epoch: self.target_epoch,
            target: &target,
            reported: reported.as_ref(),
            is_held_by_another: &|topic, partition| held.contains(&(topic, partition)),
            new_subscription: self.subscribed.is_some().then_some(&is_subscribed),
        };
        next(&self.current, &situation)
    }

    fn goes_to(&self, state: MemberState, epoch: i32, assigned: &[(Uuid, i32)], pending: &[(Uuid, i32)]) {
        let next = self.next().expect("it moves");
        assert_eq!((next.state, next.epoch), (state, epoch));
        assert_eq!(next.previous_epoch, self.current.epoch);
        assert_eq!(next.assigned.partitions(), partitions(assigned));
        assert_eq!(next.pending_revocation.partitions(), partitions(pending));
    }
}

use MemberState::{Stable, UnreleasedPartitions, UnrevokedPartitions};

#[test]
fn a_stable_member_of_the_target_epoch_stays() {
    let current = standing(Stable, 10, &[(A, 0)], &[]);
    assert_eq!(Case::new(current, 10, &[(A, 0)]).next(), None);
}

#[test]
fn the_same_assignment_only_takes_the_new_epoch() {
    let current = standing(Stable, 10, &[(A, 0), (B, 1)], &[]);
    Case::new(current, 11, &[(A, 0), (B, 1)]).goes_to(Stable, 11, &[(A, 0), (B, 1)], &[]);
}

#[test]
fn free_partitions_are_given_with_the_new_epoch_and_kept_ones_keep_theirs() {
    let current = standing(Stable, 10, &[(A, 0)], &[]);
    let case = Case::new(current, 11, &[(A, 0), (A, 1)]);
    case.goes_to(Stable, 11, &[(A, 0), (A, 1)], &[]);
    let next = case.next().expect("it moves");
    assert_eq!(next.assigned.epoch(A, 0), Some(10));
    assert_eq!(next.assigned.epoch(A, 1), Some(11));
}

#[test]
fn partitions_of_others_are_waited_for_at_the_new_epoch() {
    let current = standing(Stable, 10, &[(A, 0)], &[]);
    let case = Case::new(current, 11, &[(A, 0), (A, 1), (B, 0)]).held(&[(A, 1)]);
    case.goes_to(UnreleasedPartitions, 11, &[(A, 0), (B, 0)], &[]);
    let current = standing(Stable, 10, &[(A, 0)], &[]);
    let all_held = Case::new(current, 11, &[(A, 0), (A, 1)]).held(&[(A, 1)]);
    all_held.goes_to(UnreleasedPartitions, 11, &[(A, 0)], &[]);
}

#[test]
fn what_is_to_be_given_up_comes_before_what_is_given() {
    let current = standing(Stable, 10, &[(A, 0), (A, 1)], &[]);
    // It does not say what it owns, and it says that it owns all.
    let case = Case::new(current, 11, &[(A, 1), (A, 2)]);
    case.goes_to(UnrevokedPartitions, 10, &[(A, 1)], &[(A, 0)]);
    case.reporting(&[(A, 0), (A, 1)]).goes_to(UnrevokedPartitions, 10, &[(A, 1)], &[(A, 0)]);
}

#[test]
fn a_member_that_never_had_what_it_lost_need_not_give_it_up() {
    let current = standing(Stable, 10, &[(A, 0), (A, 1)], &[]);
    let case = Case::new(current, 11, &[(A, 1), (A, 2)]).reporting(&[(A, 1)]);
    case.goes_to(Stable, 11, &[(A, 1), (A, 2)], &[]);
}

#[test]
fn who_has_not_given_up_stays_even_when_the_target_moves_on() {
    let current = standing(UnrevokedPartitions, 10, &[(A, 1)], &[(A, 0)]);
    assert_eq!(Case::new(current.clone(), 11, &[(A, 1)]).next(), None);
    assert_eq!(Case::new(current.clone(), 12, &[(B, 0)]).next(), None);
    assert_eq!(Case::new(current, 12, &[(B, 0)]).reporting(&[(A, 0)]).next(), None);
}

#[test]
fn who_has_given_up_takes_the_next_step() {
    let current = standing(UnrevokedPartitions, 10, &[(A, 1)], &[(A, 0)]);
    let case = Case::new(current.clone(), 11, &[(A, 1), (A, 2)]).reporting(&[(A, 1)]);
    case.goes_to(Stable, 11, &[(A, 1), (A, 2)], &[]);
    let waits = Case::new(current.clone(), 11, &[(A, 1), (A, 2)]).reporting(&[(A, 1)]).held(&[(A, 2)]);
    waits.goes_to(UnreleasedPartitions, 11, &[(A, 1)], &[]);
    // The target moved on meanwhile: there is more to give up.
    let more = Case::new(current, 12, &[(B, 0)]).reporting(&[(A, 1)]);
    more.goes_to(UnrevokedPartitions, 10, &[], &[(A, 1)]);
}

#[test]
fn what_was_given_up_can_be_given_back_at_once() {
    let current = standing(UnrevokedPartitions, 10, &[(A, 1)], &[(A, 0)]);
    let case = Case::new(current, 12, &[(A, 0), (A, 1)]).reporting(&[(A, 1)]);
    case.goes_to(Stable, 12, &[(A, 0), (A, 1)], &[]);
    assert_eq!(case.next().and_then(|next| next.assigned.epoch(A, 0)), Some(12));
}

#[test]
fn who_waits_is_given_what_was_released() {
    let current = standing(UnreleasedPartitions, 11, &[(A, 1)], &[]);
    let target = [(A, 1), (A, 2), (A, 3)];
    let still = Case::new(current.clone(), 11, &target).held(&[(A, 2), (A, 3)]);
    // Only the epoch before is brought up to the present one: an answer lost earlier can no longer be.
    still.goes_to(UnreleasedPartitions, 11, &[(A, 1)], &[]);
    let settled = Standing { previous_epoch: 11, ..current.clone() };
    assert_eq!(Case { current: settled, ..still }.next(), None);
    let one = Case::new(current.clone(), 11, &target).held(&[(A, 3)]);
    one.goes_to(UnreleasedPartitions, 11, &[(A, 1), (A, 2)], &[]);
    Case::new(current.clone(), 11, &target).goes_to(Stable, 11, &target, &[]);
    // A newer target takes something away from who waits.
    Case::new(current, 12, &[(A, 2)]).goes_to(UnrevokedPartitions, 11, &[], &[(A, 1)]);
}

#[test]
fn a_new_subscription_adds_to_what_is_given_up() {
    let current = standing(UnrevokedPartitions, 10, &[(A, 1), (B, 0)], &[(A, 0)]);
    let case = Case::new(current.clone(), 11, &[(A, 1), (B, 0)]).subscribed(&[A]);
    case.goes_to(UnrevokedPartitions, 10, &[(A, 1)], &[(A, 0), (B, 0)]);
    assert_eq!(Case::new(current, 11, &[(A, 1)]).subscribed(&[A, B]).next(), None);
}

#[test]
fn nothing_to_have_is_a_stable_state_too() {
    let current = standing(Stable, 10, &[(A, 0)], &[]);
    Case::new(current.clone(), 11, &[]).reporting(&[]).goes_to(Stable, 11, &[], &[]);
    Case::new(current, 11, &[]).goes_to(UnrevokedPartitions, 10, &[], &[(A, 0)]);
}
