//! Static members (KIP-345, KIP-814).

use super::super::error::GroupError::*;
use super::super::request::JoinRequest;
use super::State;
use super::testing::*;

const SESSION: u64 = SESSION_MS.unsigned_abs() as u64;
const TIMEOUT: u64 = REBALANCE_MS.unsigned_abs() as u64;

/// A static member that comes back without its id and gets this one; version 9.
fn back(name: &str) -> JoinRequest {
    JoinRequest { requires_known_member_id: true, supports_skipping_assignment: true, ..member(name) }
}

#[test]
fn a_follower_comes_back_without_a_rebalance() {
    let mut tested = Tested::stable(&["a", "b@i"]);
    let writes = tested.writes;
    let ticket = tested.join(back("b2@i"));
    let joined = tested.joined(ticket);
    assert_eq!((joined.member_id.as_str(), joined.generation, joined.leader.as_str()), ("b2", 1, "a"));
    assert!(!joined.skip_assignment && joined.members.is_empty());
    assert_eq!((tested.group.state(), tested.ids()), (State::Stable, vec!["a", "b2"]));
    assert_eq!(tested.writes, writes + 1, "the row names the new id");
    let sync = tested.sync(sync_of("b2@i", 1));
    assert_eq!(tested.synced(sync).expect("synced").assignment, assignment_of("b"));
    tested.restart();
    assert_eq!(tested.ids(), ["a", "b2"]);
    assert_eq!(tested.group.member("b2").expect("b2").assignment(), &assignment_of("b"));
}

#[test]
fn the_old_id_is_fenced() {
    let mut tested = Tested::stable(&["a", "b@i"]);
    tested.join(back("b2@i"));
    assert_eq!(tested.heartbeat("b@i", 1), Err(FencedInstanceId));
    assert_eq!(tested.commit("b@i", 1), Err(FencedInstanceId));
    assert_eq!(tested.heartbeat("b", 1), Err(UnknownMemberId));
    let sync = tested.sync(sync_of("b@i", 1));
    assert_eq!(tested.synced(sync), Err(FencedInstanceId));
    let join = tested.join(rejoin("b@i"));
    assert_eq!((tested.join_answer(join).member_id.as_str(), tested.refused(join)), ("b", FencedInstanceId));
    assert_eq!(tested.leave(&["b@i"]), [Err(FencedInstanceId)]);
    assert_eq!(tested.ids(), ["a", "b2"]);
    assert_eq!(tested.heartbeat("b2@i", 1), Ok(()));
}

#[test]
fn a_leader_that_comes_back_skips_the_assignment() {
    let mut tested = Tested::stable(&["a@i", "b"]);
    let ticket = tested.join(back("a2@i"));
    let joined = tested.joined(ticket);
    assert_eq!((joined.leader.as_str(), joined.skip_assignment), ("a2", true));
    let members: Vec<&str> = joined.members.iter().map(|member| member.member_id.as_str()).collect();
    assert_eq!(members, ["a2", "b"]);
    assert_eq!(joined.members[0].instance_id.as_deref(), Some("i"));
    assert_eq!(tested.group.state(), State::Stable);
}

#[test]
fn a_leader_whose_client_cannot_skip_is_told_that_another_leads() {
    let mut tested = Tested::stable(&["a@i", "b"]);
    let ticket = tested.join(JoinRequest { supports_skipping_assignment: false, ..back("a2@i") });
    let joined = tested.joined(ticket);
    assert_eq!((joined.leader.as_str(), joined.skip_assignment, joined.members.len()), ("a", false, 0));
    assert_eq!((tested.group.leader(), tested.group.state()), (Some("a2"), State::Stable));
}

#[test]
fn changed_metadata_alone_is_no_rebalance_but_another_choice_of_protocol_is() {
    let mut tested = Tested::stable(&["a@i"]);
    let mut request = back("a2@i");
    request.protocols[0].metadata = subscription(&["t"]);
    let ticket = tested.join(request);
    assert_eq!(tested.joined(ticket).generation, 1);
    assert!(tested.group.is_subscribed_to("t") && !tested.group.is_subscribed_to("u"));

    let ticket = tested.join(JoinRequest { protocols: protocols(&["roundrobin", "range"]), ..back("a3@i") });
    let joined = tested.joined(ticket);
    assert_eq!((joined.generation, joined.protocol_name.as_deref()), (2, Some("roundrobin")));
    assert_eq!(tested.group.state(), State::CompletingRebalance);
}

#[test]
fn protocols_are_looked_at_before_a_place_is_taken_over() {
    let mut tested = Tested::stable(&["a@i", "b"]);
    let ticket = tested.join(JoinRequest { protocols: protocols(&["sticky"]), ..back("a2@i") });
    assert_eq!(tested.refused(ticket), InconsistentGroupProtocol);
    assert_eq!(tested.ids(), ["a", "b"]);
}

#[test]
fn taking_over_while_the_leader_assigns_begins_the_rebalance_again() {
    let mut tested = Tested::completing(&["a", "b@i"]);
    let sync = tested.sync(sync_of("b@i", 1));
    let ticket = tested.join(back("b2@i"));
    assert_eq!(tested.synced(sync), Err(FencedInstanceId));
    assert!(tested.is_waiting(ticket));
    assert_eq!(tested.group.state(), State::PreparingRebalance);
    tested.join(rejoin("a"));
    assert_eq!(tested.joined(ticket).generation, 2);
}

#[test]
fn taking_over_during_a_rebalance_counts_as_joining() {
    let mut tested = Tested::stable(&["a", "b@i"]);
    let b = tested.join(JoinRequest { protocols: protocols(&["range"]), ..rejoin("b@i") });
    let b2 = tested.join(back("b2@i"));
    assert_eq!((tested.join_answer(b).member_id.as_str(), tested.refused(b)), ("b", FencedInstanceId));
    assert!(tested.is_waiting(b2));
    tested.join(rejoin("a"));
    assert_eq!(tested.joined(b2).member_id, "b2");
    assert_eq!(tested.ids(), ["a", "b2"]);
}

#[test]
fn a_new_instance_is_a_new_member() {
    let mut tested = Tested::stable(&["a", "b@i"]);
    let ticket = tested.join(back("c@j"));
    assert!(tested.is_waiting(ticket));
    assert_eq!((tested.group.state(), tested.ids()), (State::PreparingRebalance, vec!["a", "b", "c"]));
}

#[test]
fn a_static_member_keeps_its_place_until_its_session_ends() {
    let mut tested = Tested::stable(&["a", "b@i"]);
    tested.wait(SESSION - 1);
    assert_eq!(tested.heartbeat("a", 1), Ok(()));
    assert_eq!(tested.group.len(), 2);
    tested.wait(1);
    assert_eq!((tested.ids(), tested.group.static_member("i")), (vec!["a"], None));
}

#[test]
fn one_that_comes_back_has_a_session_of_its_own() {
    let mut tested = Tested::stable(&["a@i"]);
    tested.wait(SESSION - 1);
    tested.join(back("a2@i"));
    tested.wait(SESSION - 1);
    assert_eq!(tested.ids(), ["a2"]);
    tested.wait(1);
    assert!(tested.ids().is_empty());
}

#[test]
fn static_members_that_do_not_join_stay_and_pass_the_lead() {
    let mut tested = Tested::stable(&["a@i", "b"]);
    let b = tested.join(JoinRequest { protocols: protocols(&["range"]), ..rejoin("b") });
    for _ in 0..11 {
        tested.wait(5_000);
        assert_eq!(tested.heartbeat("a@i", 1), Err(RebalanceInProgress));
    }
    tested.wait(TIMEOUT - 55_000);
    let joined = tested.joined(b);
    assert_eq!((joined.leader.as_str(), joined.members.len()), ("b", 2));
    assert_eq!(tested.ids(), ["a", "b"]);
}

#[test]
fn a_group_of_absent_static_members_waits_until_their_sessions_end() {
    let mut tested = Tested::stable(&["a@i"]);
    let b = tested.join(JoinRequest { rebalance_timeout_ms: 1_000, ..member("b") });
    tested.leave(&["b"]);
    assert_eq!(tested.refused(b), UnknownMemberId);
    for _ in 0..20 {
        tested.wait(5_000);
        assert_eq!(tested.heartbeat("a@i", 1), Err(RebalanceInProgress));
    }
    assert_eq!((tested.group.state(), tested.group.generation()), (State::PreparingRebalance, 1));
    tested.wait(SESSION);
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 2));
}

#[test]
fn a_place_taken_over_before_its_sync_is_synced_by_the_new_id() {
    let mut tested = Tested::completing(&["a", "b@i"]);
    tested.sync(sync_of("a", 1));
    let ticket = tested.join(back("b2@i"));
    assert_eq!(tested.joined(ticket).generation, 1);
    let sync = tested.sync(sync_of("b2@i", 1));
    assert!(tested.synced(sync).is_ok());
    for _ in 0..20 {
        tested.wait(5_000);
        assert_eq!((tested.heartbeat("a", 1), tested.heartbeat("b2@i", 1)), (Ok(()), Ok(())));
    }
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Stable, 1));
}
