use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);

#[test]
fn insert_and_remove_say_what_they_changed() {
    let mut set = Partitions::new();
    assert!(set.is_empty());
    assert!(set.insert(B, 2));
    assert!(set.insert(B, 0));
    assert!(set.insert(A, 7));
    assert!(!set.insert(B, 2));
    assert_eq!((set.len(), set.topic_count()), (3, 2));
    assert_eq!(set.iter().collect::<Vec<_>>(), [(A, 7), (B, 0), (B, 2)]);
    assert!(set.contains(&B, 0) && !set.contains(&B, 1) && !set.contains(&Uuid::from_u128(3), 0));

    assert!(!set.remove(&B, 1));
    assert!(set.remove(&A, 7));
    assert!(!set.remove(&A, 7));
    assert_eq!(set.topics().collect::<Vec<_>>(), [(B, &[0, 2][..])]);
    assert_eq!(set.remove_topic(&B), [0, 2]);
    assert_eq!(set.remove_topic(&B), [0; 0]);
    assert_eq!(set, Partitions::default());
}

#[test]
fn a_topic_without_partitions_is_no_difference() {
    let mut set = Partitions::new();
    set.extend_topic(A, []);
    assert_eq!(set, Partitions::new());
    set.insert(A, 1);
    set.retain(|_, _| false);
    assert_eq!(set, Partitions::new());
}

#[test]
fn any_number_a_client_may_send_is_only_a_number() {
    let set: Partitions = [(A, i32::MAX), (A, -1), (A, i32::MIN), (A, i32::MAX)].into_iter().collect();
    assert_eq!(set.of_topic(&A), [i32::MIN, -1, i32::MAX]);
    assert_eq!(set.len(), 3);
}

/// Few topics and numbers, so that sets overlap.
fn members() -> impl Strategy<Value = Vec<(Uuid, i32)>> {
    prop::collection::vec(
        (1u128..5, -1i32..12).prop_map(|(topic, number)| (Uuid::from_u128(topic), number)),
        0..40,
    )
}

fn model(members: &[(Uuid, i32)]) -> BTreeSet<(Uuid, i32)> {
    members.iter().copied().collect()
}

/// Also checks what the type promises of itself.
fn content(set: &Partitions) -> BTreeSet<(Uuid, i32)> {
    let listed: Vec<_> = set.iter().collect();
    assert!(listed.is_sorted_by(|a, b| a < b));
    assert_eq!(listed.len(), set.len());
    assert!(set.topics().all(|(_, numbers)| !numbers.is_empty()));
    listed.into_iter().collect()
}

proptest! {
    #[test]
    fn set_operations_agree_with_a_plain_set(left in members(), right in members()) {
        let (a, b): (Partitions, Partitions) = (left.iter().copied().collect(), right.iter().copied().collect());
        let (x, y) = (model(&left), model(&right));
        prop_assert_eq!(content(&a), x.clone());
        prop_assert_eq!(content(&a.union(&b)), &x | &y);
        prop_assert_eq!(content(&a.difference(&b)), &x - &y);
        prop_assert_eq!(content(&a.intersection(&b)), &x & &y);
        prop_assert_eq!(a.is_subset(&b), x.is_subset(&y));
        prop_assert!(a.intersection(&b).is_subset(&a));
        prop_assert_eq!(a.is_disjoint(&b), x.is_disjoint(&y));
        prop_assert_eq!(a == b, x == y);
    }

    #[test]
    fn step_by_step_changes_agree_with_a_plain_set(first in members(), then in members(), removed in members()) {
        let mut set: Partitions = first.iter().copied().collect();
        let mut plain = model(&first);
        for (topic, number) in then {
            prop_assert_eq!(set.insert(topic, number), plain.insert((topic, number)));
        }
        for (topic, number) in removed {
            prop_assert_eq!(set.remove(&topic, number), plain.remove(&(topic, number)));
        }
        prop_assert_eq!(content(&set), plain.clone());
        set.retain(|topic, number| topic != A && number % 2 == 0);
        plain.retain(|(topic, number)| *topic != A && number % 2 == 0);
        prop_assert_eq!(content(&set), plain.clone());
        let rebuilt: Partitions = plain.into_iter().collect();
        prop_assert_eq!(rebuilt, set);
    }
}
