use super::super::Assignor;
use super::super::testing::{ByTopic, Group, partitions};
use super::*;

#[track_caller]
fn assert_target(group: &Group, expected: &[(&str, ByTopic<'_>)]) {
    let expected: BTreeMap<Arc<str>, Partitions> =
        expected.iter().map(|(id, of)| (Arc::from(*id), partitions(of))).collect();
    assert_eq!(group.target(Assignor::Range), expected);
}

#[test]
fn a_member_without_topics_is_in_the_target_with_nothing() {
    assert_target(&Group::over(&[3]).member("a", &[]), &[("a", &[])]);
    assert_target(&Group::over(&[3]), &[]);
}

#[test]
fn topics_that_do_not_exist_are_ignored() {
    assert_target(&Group::over(&[1]).member("a", &[1, 9]), &[("a", &[(1, &[0])])]);
}

#[test]
fn equal_topics_are_cut_alike() {
    let group = Group::over(&[3, 3]).member("a", &[1, 2]).member("b", &[1, 2]);
    assert_target(&group, &[("a", &[(1, &[0, 1]), (2, &[0, 1])]), ("b", &[(1, &[2]), (2, &[2])])]);
}

#[test]
fn each_topic_is_cut_among_its_own_subscribers() {
    let group = Group::over(&[3, 3, 2]).member("a", &[1, 2]).member("b", &[3]).member("c", &[2, 3]);
    assert_target(
        &group,
        &[("a", &[(1, &[0, 1, 2]), (2, &[0, 1])]), ("b", &[(3, &[0])]), ("c", &[(2, &[2]), (3, &[1])])],
    );
}

#[test]
fn members_beyond_the_number_of_partitions_get_nothing() {
    let group = Group::over(&[2]).member("a", &[1]).member("b", &[1]).member("c", &[1]);
    assert_target(&group, &[("a", &[(1, &[0])]), ("b", &[(1, &[1])]), ("c", &[])]);
    // One more of a lesser id comes before them, whatever they have.
    assert_target(
        &group.assigned(Assignor::Range).member("A", &[1]),
        &[("A", &[(1, &[0])]), ("a", &[(1, &[1])]), ("b", &[]), ("c", &[])],
    );
}

#[test]
fn static_members_keep_their_ranges_under_new_member_ids() {
    let before = Group::over(&[3]).static_member("m1", "i1", &[1]).static_member("m2", "i2", &[1]);
    assert_target(&before, &[("m1", &[(1, &[0, 1])]), ("m2", &[(1, &[2])])]);
    let after = Group::over(&[3]).static_member("z", "i1", &[1]).static_member("y", "i2", &[1]);
    assert_target(&after, &[("z", &[(1, &[0, 1])]), ("y", &[(1, &[2])])]);
}

#[test]
fn static_members_come_before_dynamic_ones() {
    let group = Group::over(&[5])
        .member("a", &[1])
        .static_member("b", "i2", &[1])
        .member("c", &[1])
        .static_member("d", "i1", &[1]);
    assert_target(
        &group,
        &[("d", &[(1, &[0, 1])]), ("b", &[(1, &[2])]), ("a", &[(1, &[3])]), ("c", &[(1, &[4])])],
    );
}

#[test]
fn added_partitions_and_members_shift_the_cuts() {
    let group = Group::over(&[3, 3]).member("a", &[1, 2]).member("b", &[1, 2]).assigned(Assignor::Range);
    let grown = group.resize(1, 4).resize(2, 4);
    assert_target(&grown, &[("a", &[(1, &[0, 1]), (2, &[0, 1])]), ("b", &[(1, &[2, 3]), (2, &[2, 3])])]);
    assert_target(
        &grown.member("c", &[1]),
        &[("a", &[(1, &[0, 1]), (2, &[0, 1])]), ("b", &[(1, &[2]), (2, &[2, 3])]), ("c", &[(1, &[3])])],
    );
}

#[test]
fn what_leaves_is_cut_among_the_rest() {
    let group = Group::over(&[3, 3]).member("a", &[1, 2]).member("b", &[1, 2]).assigned(Assignor::Range);
    assert_target(&group.clone().without("a"), &[("b", &[(1, &[0, 1, 2]), (2, &[0, 1, 2])])]);
    // A subscription given up.
    let group = Group::over(&[3, 3]).member("a", &[2]).member("b", &[1, 2]);
    assert_target(&group, &[("a", &[(2, &[0, 1])]), ("b", &[(1, &[0, 1, 2]), (2, &[2])])]);
}

#[test]
fn names_are_ordered_as_java_orders_them() {
    // U+FF5E is one code unit, greater than the surrogates of U+1F980; in bytes it is the lesser.
    let (tilde, crab) = ("\u{ff5e}", "\u{1f980}");
    assert!(tilde < crab);
    assert_target(
        &Group::over(&[3]).member(tilde, &[1]).member(crab, &[1]),
        &[(crab, &[(1, &[0, 1])]), (tilde, &[(1, &[2])])],
    );
}
