//! Who is let in, and with what id.

use super::super::error::GroupError::{self, *};
use super::super::request::JoinRequest;
use super::State;
use super::testing::*;

fn refusal(tested: &mut Tested, request: JoinRequest) -> (String, GroupError) {
    let ticket = tested.join(request);
    (tested.join_answer(ticket).member_id.clone(), tested.refused(ticket))
}

#[test]
fn the_session_timeout_lies_within_its_bounds() {
    let mut tested = Tested::new();
    for session_timeout_ms in [999, 300_001, -1] {
        let request = JoinRequest { session_timeout_ms, ..rejoin("m") };
        assert_eq!(refusal(&mut tested, request), ("m".to_owned(), InvalidSessionTimeout));
    }
    assert!(tested.group.is_vacant(), "a refused member makes no group");
    for (position, session_timeout_ms) in [1_000, 300_000].into_iter().enumerate() {
        let request = JoinRequest { session_timeout_ms, ..member(&format!("m{position}")) };
        tested.join(request);
    }
    assert_eq!(tested.group.len(), 2);
}

#[test]
fn a_new_dynamic_member_first_gets_an_id() {
    let mut tested = Tested::new();
    let first = JoinRequest { requires_known_member_id: true, ..member("m") };
    assert_eq!(refusal(&mut tested, first), ("m".to_owned(), MemberIdRequired));
    assert!(tested.group.is_pending("m"));
    assert_eq!((tested.group.len(), tested.group.state()), (0, State::Empty));
    assert!(!tested.group.is_simple() && !tested.group.is_vacant());
    assert_eq!(tested.writes, 1, "a group that exists is stored");

    let ticket = tested.join(rejoin("m"));
    assert!(!tested.group.is_pending("m"));
    tested.wait(DELAY_MS);
    assert_eq!(tested.joined(ticket).member_id, "m");
}

#[test]
fn older_clients_and_static_members_need_no_second_join() {
    let mut tested = Tested::new();
    tested.join(member("old"));
    tested.join(JoinRequest { requires_known_member_id: true, ..member("s@i") });
    assert_eq!(tested.ids(), ["old", "s"]);
    assert_eq!(tested.group.static_member("i").map(|id| &**id), Some("s"));
}

#[test]
fn an_id_nobody_joined_with_goes_after_the_session_timeout() {
    let mut tested = Tested::new();
    tested.join(JoinRequest { requires_known_member_id: true, ..member("m") });
    tested.wait(u64::from(SESSION_MS.unsigned_abs()) - 1);
    assert!(tested.group.is_pending("m"));
    tested.wait(1);
    assert!(!tested.group.is_pending("m"));
    assert_eq!(refusal(&mut tested, rejoin("m")), ("m".to_owned(), UnknownMemberId));
    assert_eq!(tested.group.deadline(), None);
}

#[test]
fn ids_given_out_are_bounded() {
    let mut tested = Tested::new();
    tested.limits.pending_members_max = 2;
    let ask = |name: &str| JoinRequest { requires_known_member_id: true, ..member(name) };
    assert_eq!(refusal(&mut tested, ask("a")).1, MemberIdRequired);
    assert_eq!(refusal(&mut tested, ask("b")).1, MemberIdRequired);
    assert_eq!(refusal(&mut tested, ask("c")), (String::new(), CoordinatorNotAvailable));
    tested.join(rejoin("a"));
    assert_eq!(refusal(&mut tested, ask("c")).1, MemberIdRequired);
}

#[test]
fn an_id_given_out_is_no_static_member() {
    let mut tested = Tested::new();
    tested.join(JoinRequest { requires_known_member_id: true, ..member("m") });
    assert_eq!(refusal(&mut tested, rejoin("m@i")).1, UnknownMemberId);
    tested.join(member("s@i"));
    assert_eq!(refusal(&mut tested, rejoin("m@i")).1, FencedInstanceId);
    assert!(tested.group.is_pending("m"));
}

#[test]
fn unknown_members_are_refused_in_every_state() {
    let mut tested = Tested::new();
    assert_eq!(refusal(&mut tested, rejoin("x")), ("x".to_owned(), UnknownMemberId));
    tested.join(member("m"));
    assert_eq!(refusal(&mut tested, rejoin("x")).1, UnknownMemberId);
    assert_eq!(refusal(&mut Tested::completing(&["m"]), rejoin("x")).1, UnknownMemberId);
    assert_eq!(refusal(&mut Tested::stable(&["m"]), rejoin("x")).1, UnknownMemberId);
}

#[test]
fn protocols_must_fit_the_group() {
    let mut tested = Tested::new();
    for request in [
        JoinRequest { protocol_type: String::new(), ..member("m") },
        JoinRequest { protocols: Vec::new(), ..member("m") },
    ] {
        assert_eq!(refusal(&mut tested, request), (String::new(), InconsistentGroupProtocol));
    }
    assert!(tested.group.is_vacant());

    let mut tested = Tested::stable(&["a", "b"]);
    for request in [
        JoinRequest { protocol_type: "connect".to_owned(), ..member("m") },
        JoinRequest { protocols: protocols(&["sticky"]), ..member("m") },
        JoinRequest { protocols: Vec::new(), ..member("m") },
    ] {
        assert_eq!(refusal(&mut tested, request), (String::new(), InconsistentGroupProtocol));
    }
    // Protocols are looked at before the member id.
    let stranger = JoinRequest { protocols: protocols(&["sticky"]), ..rejoin("x") };
    assert_eq!(refusal(&mut tested, stranger), ("x".to_owned(), InconsistentGroupProtocol));
    assert_eq!(tested.group.state(), State::Stable);
}

#[test]
fn a_protocol_named_twice_counts_once() {
    let mut tested = Tested::new();
    tested.join(JoinRequest { protocols: protocols(&["range", "range"]), ..member("a") });
    tested.join(JoinRequest { protocols: protocols(&["range"]), ..member("b") });
    tested.wait(2 * DELAY_MS);
    assert_eq!(tested.group.protocol_name(), Some("range"));
    assert_eq!(tested.group.len(), 2);
    // The same request again is no change.
    let again = JoinRequest { protocols: protocols(&["range", "range"]), ..rejoin("a") };
    let ticket = tested.join(again);
    assert_eq!(tested.joined(ticket).generation, 1);
}

#[test]
fn an_empty_group_takes_up_another_protocol_type() {
    let mut tested = Tested::stable(&["m"]);
    tested.leave(&["m"]);
    assert_eq!((tested.group.state(), tested.group.protocol_type()), (State::Empty, Some("consumer")));
    tested.join(JoinRequest { protocol_type: "connect".to_owned(), ..member("w") });
    tested.wait(DELAY_MS);
    assert_eq!((tested.group.generation(), tested.group.protocol_type()), (3, Some("connect")));
}

#[test]
fn the_protocol_most_members_prefer_is_chosen() {
    let mut tested = Tested::new();
    for (name, preferred) in
        [("a", ["x", "y", "z"]), ("b", ["y", "x", "z"]), ("c", ["y", "z", "x"]), ("d", ["z", "y", "x"])]
    {
        tested.join(JoinRequest { protocols: protocols(&preferred), ..member(name) });
    }
    // Only y and z are left: a prefers y as well.
    tested.join(JoinRequest { protocols: protocols(&["z", "y"]), ..member("e") });
    tested.wait(2 * DELAY_MS);
    assert_eq!(tested.group.protocol_name(), Some("y"));
}

#[test]
fn of_protocols_as_many_prefer_the_first_by_name_is_chosen() {
    for preferred in [[["x", "y"], ["y", "x"]], [["y", "x"], ["x", "y"]]] {
        let mut tested = Tested::new();
        tested.join(JoinRequest { protocols: protocols(&preferred[0]), ..member("a") });
        tested.join(JoinRequest { protocols: protocols(&preferred[1]), ..member("b") });
        tested.wait(2 * DELAY_MS);
        assert_eq!(tested.group.protocol_name(), Some("x"));
    }
}

#[test]
fn a_full_group_takes_nobody_in() {
    let mut tested = Tested::stable(&["a", "b"]);
    tested.limits.members_max = 2;
    assert_eq!(refusal(&mut tested, member("c")), (String::new(), GroupMaxSizeReached));
    assert_eq!(refusal(&mut tested, rejoin("x")), (String::new(), GroupMaxSizeReached));
    let ticket = tested.join(rejoin("b"));
    tested.joined(ticket);
    // While rebalancing, those who have joined count.
    tested.join(rejoin("a"));
    assert_eq!(tested.group.state(), State::PreparingRebalance);
    let b = tested.join(rejoin("b"));
    tested.joined(b);
}

#[test]
fn a_group_that_became_too_large_loses_those_who_join_last() {
    let mut tested = Tested::stable(&["a", "b", "c"]);
    tested.limits.members_max = 2;
    let a = tested.join(rejoin("a"));
    tested.join(rejoin("b"));
    assert_eq!(refusal(&mut tested, rejoin("c")), (String::new(), GroupMaxSizeReached));
    assert_eq!(tested.ids(), ["a", "b"]);
    // As in Kafka, the others learn of it when the rebalance timeout ends.
    assert!(tested.is_waiting(a));
    tested.wait(u64::from(REBALANCE_MS.unsigned_abs()));
    assert_eq!(tested.joined(a).members.len(), 2);
}

#[test]
fn a_new_group_is_stored_before_its_first_generation() {
    let mut tested = Tested::new();
    tested.join(member("m"));
    tested.join(member("n"));
    assert_eq!(tested.writes, 1);
    tested.restart();
    assert!(tested.group.is_simple());
    assert_eq!((tested.group.generation(), tested.group.len()), (0, 0));
}

#[test]
fn a_follower_that_joins_again_unchanged_is_told_the_generation() {
    let mut tested = Tested::stable(&["a", "b"]);
    let ticket = tested.join(rejoin("b"));
    let joined = tested.joined(ticket);
    assert_eq!((joined.generation, joined.leader.as_str(), joined.members.len()), (1, "a", 0));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(tested.group.state(), State::Stable);
}

#[test]
fn a_leader_that_joins_again_begins_a_rebalance() {
    let mut tested = Tested::stable(&["a", "b"]);
    let ticket = tested.join(rejoin("a"));
    assert!(tested.is_waiting(ticket));
    assert_eq!(tested.group.state(), State::PreparingRebalance);
}

#[test]
fn a_changed_follower_begins_a_rebalance() {
    for changed in [protocols(&["range"]), protocols(&["roundrobin", "range"])] {
        let mut tested = Tested::stable(&["a", "b"]);
        let ticket = tested.join(JoinRequest { protocols: changed, ..rejoin("b") });
        assert!(tested.is_waiting(ticket));
        assert_eq!(tested.group.state(), State::PreparingRebalance);
    }
    let mut tested = Tested::stable(&["a", "b"]);
    let mut request = rejoin("b");
    request.protocols[0].metadata = "other".into();
    let ticket = tested.join(request);
    assert!(tested.is_waiting(ticket));
}

#[test]
fn while_the_leader_assigns_an_unchanged_member_is_told_again_and_a_changed_one_rebalances() {
    let mut tested = Tested::completing(&["a", "b"]);
    let leader = tested.join(rejoin("a"));
    let members: Vec<String> =
        tested.joined(leader).members.into_iter().map(|member| member.member_id).collect();
    assert_eq!(members, ["a", "b"]);
    let follower = tested.join(rejoin("b"));
    assert!(tested.joined(follower).members.is_empty());
    assert_eq!(tested.group.state(), State::CompletingRebalance);
    tested.join(JoinRequest { protocols: protocols(&["range"]), ..rejoin("b") });
    assert_eq!(tested.group.state(), State::PreparingRebalance);
}

#[test]
fn a_second_join_of_a_waiting_member_takes_the_place_of_the_first() {
    let mut tested = Tested::stable(&["a", "b"]);
    let first = tested.join(rejoin("a"));
    let second = tested.join(rejoin("a"));
    assert_eq!(tested.refused(first), RebalanceInProgress);
    assert!(tested.is_waiting(second));
    tested.join(rejoin("b"));
    assert_eq!(tested.joined(second).generation, 2);
}

#[test]
fn a_group_that_was_given_up_answers_everybody() {
    let mut tested = Tested::stable(&["a", "b"]);
    let join = tested.join(rejoin("a"));
    tested.step(|group, _, effects| group.give_up(NotCoordinator, effects));
    assert_eq!((tested.join_answer(join).member_id.as_str(), tested.refused(join)), ("a", NotCoordinator));
    assert_eq!(refusal(&mut tested, rejoin("a")), ("a".to_owned(), CoordinatorNotAvailable));
    assert_eq!(tested.heartbeat("a", 1), Err(CoordinatorNotAvailable));
    assert_eq!(tested.group.deadline(), None);

    let mut tested = Tested::completing(&["a", "b"]);
    let sync = tested.sync(sync_of("b", 1));
    tested.step(|group, _, effects| group.give_up(NotCoordinator, effects));
    assert_eq!(tested.synced(sync), Err(NotCoordinator));
}
