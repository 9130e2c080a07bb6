//! Members leave, or are taken out.

use super::super::error::GroupError::*;
use super::super::request::JoinRequest;
use super::State;
use super::testing::*;

#[test]
fn the_last_member_leaves_an_empty_group() {
    let mut tested = Tested::stable(&["a"]);
    tested.wait(2_000);
    assert_eq!(tested.leave(&["a"]), [Ok(())]);
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 2));
    assert_eq!(tested.group.state_since_ms(), tested.now().wall_ms);
    assert_eq!(tested.writes, 3);
    assert_eq!(tested.group.deadline(), None);
}

#[test]
fn a_member_that_leaves_makes_the_others_rebalance() {
    for make in [Tested::stable as fn(&[&str]) -> Tested, Tested::completing] {
        let mut tested = make(&["a", "b"]);
        assert_eq!(tested.leave(&["a"]), [Ok(())]);
        assert_eq!((tested.group.state(), tested.group.leader()), (State::PreparingRebalance, Some("b")));
    }
}

#[test]
fn a_member_that_leaves_during_a_rebalance_lets_it_end() {
    let mut tested = Tested::stable(&["a", "b"]);
    let a = tested.join(rejoin("a"));
    assert_eq!(tested.leave(&["b"]), [Ok(())]);
    assert_eq!(tested.joined(a).members.len(), 1);
}

#[test]
fn unknown_and_fenced_members_do_not_leave() {
    let mut tested = Tested::new();
    assert_eq!(
        tested.leave(&["a", "@i", ""]),
        [Err(UnknownMemberId), Err(UnknownMemberId), Err(UnknownMemberId)]
    );
    let mut tested = Tested::stable(&["a@i", "b"]);
    let refused = tested.leave(&["x", "x@i", "b@i", "a@j", "@j", ""]);
    let expected = [
        Err(UnknownMemberId),
        Err(FencedInstanceId),
        Err(FencedInstanceId),
        Err(UnknownMemberId),
        Err(UnknownMemberId),
        Err(UnknownMemberId),
    ];
    assert_eq!(refused, expected);
    assert_eq!((tested.group.state(), tested.group.len()), (State::Stable, 2));
}

#[test]
fn many_leave_with_one_rebalance() {
    let mut tested = Tested::stable(&["a", "b@i", "c@j", "d"]);
    let writes = tested.writes;
    assert_eq!(tested.leave(&["@i", "c@j", "x", "a"]), [Ok(()), Ok(()), Err(UnknownMemberId), Ok(())]);
    assert_eq!((tested.ids(), tested.group.state()), (vec!["d"], State::PreparingRebalance));
    assert_eq!((tested.group.static_member("i"), tested.group.static_member("j")), (None, None));
    assert_eq!(tested.writes, writes);
    assert_eq!(tested.leave(&["d"]), [Ok(())]);
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 2));
}

#[test]
fn a_member_named_twice_leaves_once() {
    let mut tested = Tested::stable(&["a", "b@i"]);
    assert_eq!(tested.leave(&["@i", "b@i", "@i"]), [Ok(()), Err(UnknownMemberId), Err(UnknownMemberId)]);
}

#[test]
fn an_id_nobody_joined_with_can_leave() {
    let mut tested = Tested::new();
    tested.join(JoinRequest { requires_known_member_id: true, ..member("m") });
    assert_eq!(tested.leave(&["m"]), [Ok(())]);
    assert!(!tested.group.is_pending("m"));
    assert_eq!((tested.group.state(), tested.group.deadline()), (State::Empty, None));

    let mut tested = Tested::stable(&["a"]);
    tested.join(JoinRequest { requires_known_member_id: true, ..member("m") });
    let a = tested.join(rejoin("a"));
    assert!(tested.is_waiting(a));
    tested.leave(&["m"]);
    assert_eq!(tested.joined(a).generation, 2);

    // In Kafka a stable group rebalances when such an id leaves.
    let mut tested = Tested::stable(&["a"]);
    tested.join(JoinRequest { requires_known_member_id: true, ..member("m") });
    tested.leave(&["m"]);
    assert_eq!((tested.group.state(), tested.group.len()), (State::PreparingRebalance, 1));
}

#[test]
fn whoever_waits_is_answered_when_taken_out() {
    let mut tested = Tested::stable(&["a", "b"]);
    let a = tested.join(rejoin("a"));
    tested.leave(&["a"]);
    assert_eq!((tested.join_answer(a).member_id.as_str(), tested.refused(a)), ("", UnknownMemberId));

    let mut tested = Tested::completing(&["a", "b@i"]);
    let b = tested.sync(sync_of("b@i", 1));
    tested.leave(&["@i"]);
    assert_eq!(tested.synced(b), Err(UnknownMemberId));
}

#[test]
fn members_that_left_change_nothing() {
    let mut tested = Tested::stable(&["a", "b"]);
    tested.leave(&["b"]);
    assert_eq!(tested.heartbeat("b", 1), Err(UnknownMemberId));
    assert_eq!(tested.commit("b", 1), Err(UnknownMemberId));
    let sync = tested.sync(sync_of("b", 1));
    assert_eq!(tested.synced(sync), Err(UnknownMemberId));
    let join = tested.join(rejoin("b"));
    assert_eq!(tested.refused(join), UnknownMemberId);
    assert_eq!(tested.leave(&["b"]), [Err(UnknownMemberId)]);
    assert_eq!(tested.ids(), ["a"]);
}
