//! The leader's assignments reach the members.

use bytes::Bytes;

use super::super::error::GroupError::*;
use super::super::request::SyncRequest;
use super::State;
use super::testing::*;

const TIMEOUT: u64 = REBALANCE_MS.unsigned_abs() as u64;

fn leader_of(generation: i32, members: &[&str]) -> SyncRequest {
    let assignments = members.iter().map(|id| ((*id).to_owned(), assignment_of(id))).collect();
    SyncRequest { assignments, ..sync_of("a", generation) }
}

#[test]
fn followers_wait_for_the_leader() {
    let mut tested = Tested::completing(&["a", "b", "c"]);
    let b = tested.sync(sync_of("b", 1));
    assert!(tested.is_waiting(b));
    let a = tested.sync(leader_of(1, &["a", "b", "c"]));
    assert_eq!(tested.group.state(), State::Stable);
    for (ticket, name) in [(a, "a"), (b, "b")] {
        let synced = tested.synced(ticket).expect("synced");
        assert_eq!(synced.assignment, assignment_of(name));
        assert_eq!(synced.protocol_type.as_deref(), Some("consumer"));
        assert_eq!(synced.protocol_name.as_deref(), Some("range"));
    }
    // One that comes later, and one that comes again, is answered at once.
    for name in ["c", "b", "a"] {
        let ticket = tested.sync(sync_of(name, 1));
        assert_eq!(tested.synced(ticket).expect("synced").assignment, assignment_of(name));
    }
    assert_eq!(tested.writes, 2, "the new group and its generation");
}

#[test]
fn a_forgotten_member_gets_nothing_and_an_unknown_one_is_passed_over() {
    let mut tested = Tested::completing(&["a", "b"]);
    let b = tested.sync(sync_of("b", 1));
    tested.sync(leader_of(1, &["a", "stranger"]));
    assert_eq!(tested.synced(b).expect("synced").assignment, Bytes::new());
    assert_eq!(tested.ids(), ["a", "b"]);
}

#[test]
fn what_the_group_keeps_is_apart_from_the_request() {
    let mut tested = Tested::completing(&["a"]);
    let frame = Bytes::from(vec![7; 1 << 20]);
    let request = SyncRequest { assignments: vec![("a".to_owned(), frame.slice(10..14))], ..sync_of("a", 1) };
    tested.sync(request);
    let kept = tested.group.member("a").expect("a").assignment().as_ptr();
    let (start, end) = (frame.as_ptr() as usize, frame.as_ptr() as usize + frame.len());
    assert!(!(start..end).contains(&(kept as usize)));
}

#[test]
fn refusals_come_in_kafkas_order() {
    let mut empty = Tested::new();
    let ticket = empty.sync(sync_of("a", 0));
    assert_eq!(empty.synced(ticket), Err(UnknownMemberId));

    let mut tested = Tested::completing(&["a@i", "b"]);
    let wrong = |request: SyncRequest| SyncRequest { protocol_name: Some("sticky".to_owned()), ..request };
    for (request, error) in [
        (wrong(sync_of("x", 9)), UnknownMemberId),
        (wrong(sync_of("a@unknown", 9)), UnknownMemberId),
        (wrong(sync_of("b@i", 9)), FencedInstanceId),
        (wrong(sync_of("a@i", 9)), IllegalGeneration),
        (wrong(sync_of("a@i", 0)), IllegalGeneration),
        (wrong(sync_of("a@i", 1)), InconsistentGroupProtocol),
        (
            SyncRequest { protocol_type: Some("connect".to_owned()), ..sync_of("a@i", 1) },
            InconsistentGroupProtocol,
        ),
    ] {
        let ticket = tested.sync(request);
        assert_eq!(tested.synced(ticket), Err(error));
    }
    assert_eq!(tested.group.state(), State::CompletingRebalance);
    let right = SyncRequest {
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        ..sync_of("a@i", 1)
    };
    let ticket = tested.sync(right);
    assert!(tested.synced(ticket).is_ok());

    tested.join(rejoin("a@i"));
    for (request, error) in
        [(wrong(sync_of("b", 1)), InconsistentGroupProtocol), (sync_of("b", 1), RebalanceInProgress)]
    {
        let ticket = tested.sync(request);
        assert_eq!(tested.synced(ticket), Err(error));
    }
}

#[test]
fn a_second_sync_of_a_waiting_member_takes_the_place_of_the_first() {
    let mut tested = Tested::completing(&["a", "b"]);
    let first = tested.sync(sync_of("b", 1));
    let second = tested.sync(sync_of("b", 1));
    assert_eq!(tested.synced(first), Err(RebalanceInProgress));
    tested.sync(leader_of(1, &["a", "b"]));
    assert_eq!(tested.synced(second).expect("synced").assignment, assignment_of("b"));
}

#[test]
fn members_that_do_not_sync_are_gone() {
    let mut tested = Tested::completing(&["a", "b", "c"]);
    tested.sync(leader_of(1, &["a", "b", "c"]));
    let b = tested.sync(sync_of("b", 1));
    assert!(tested.synced(b).is_ok());
    for _ in 0..11 {
        tested.wait(5_000);
        for name in ["a", "b", "c"] {
            assert_eq!(tested.heartbeat(name, 1), Ok(()));
        }
    }
    tested.wait(TIMEOUT - 55_000);
    assert_eq!(tested.group.state(), State::PreparingRebalance);
    assert_eq!(tested.ids(), ["a", "b"]);
    assert_eq!(tested.heartbeat("c", 1), Err(UnknownMemberId));
}

#[test]
fn without_the_leaders_assignments_the_rebalance_begins_again() {
    let mut tested = Tested::completing(&["a", "b"]);
    let b = tested.sync(sync_of("b", 1));
    for _ in 0..11 {
        tested.wait(5_000);
        assert_eq!(tested.heartbeat("a", 1), Ok(()));
    }
    tested.wait(TIMEOUT - 55_000);
    assert_eq!(tested.synced(b), Err(RebalanceInProgress));
    assert_eq!((tested.ids(), tested.group.leader()), (vec!["b"], Some("b")));
    let b = tested.join(rejoin("b"));
    assert_eq!(tested.joined(b).generation, 2);
}

#[test]
fn when_nobody_syncs_the_group_is_empty() {
    let mut tested = Tested::completing(&["a", "b"]);
    for _ in 0..11 {
        tested.wait(5_000);
        assert_eq!((tested.heartbeat("a", 1), tested.heartbeat("b", 1)), (Ok(()), Ok(())));
    }
    tested.wait(TIMEOUT - 55_000);
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 2));
    assert_eq!(tested.group.deadline(), None);
}

#[test]
fn once_all_have_synced_nothing_is_waited_for() {
    let mut tested = Tested::stable(&["a", "b"]);
    for _ in 0..30 {
        tested.wait(5_000);
        assert_eq!((tested.heartbeat("a", 1), tested.heartbeat("b", 1)), (Ok(()), Ok(())));
    }
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Stable, 1));
}
