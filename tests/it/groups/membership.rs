//! Classic groups: join, sync, heartbeat, leave, and silence.

use kafka_protocol::messages as m;

use super::member::{
    HEARTBEAT, JOIN, LEAVE, SYNC, broker, broker_with, commit, committed, described, eventually, heartbeat,
    join, member_id, settle, sync, until_rebalance,
};
use super::{ask, code};
use crate::support::request::text;

#[test]
fn a_member_joins_lives_and_leaves_in_every_version() {
    let (_broker, mut client, _) = broker();
    for version in 0..=9_i16 {
        let group = format!("g-{version}");
        let mut request = ask::join(&group, "");
        if version == 0 {
            request.rebalance_timeout_ms = -1;
        }
        let mut joined = client.call(version, &request);
        if version >= 4 {
            assert_eq!(joined.error_code, code::MEMBER_ID_REQUIRED, "v{version}");
            joined = client.call(version, &request.clone().with_member_id(joined.member_id));
        }
        assert_eq!((joined.error_code, joined.generation_id), (code::NONE, 1), "v{version}");
        assert_eq!(joined.leader, joined.member_id, "v{version}");
        assert_eq!(joined.protocol_name.as_deref(), Some("range"), "v{version}");
        assert_eq!(joined.protocol_type.as_deref(), (version >= 7).then_some("consumer"), "v{version}");
        assert_eq!(joined.members.len(), 1, "v{version}");
        assert_eq!(joined.members[0].metadata, ask::subscription(&["t"]), "v{version}");
        // It is named after the client.
        assert!(joined.member_id.starts_with("it-"), "{}", joined.member_id);

        let (id, mine) = (joined.member_id.clone(), ask::assignment("t", &[0]));
        let assignments = [(id.as_str(), mine.clone())];
        let synced = match version {
            0..SYNC => client.call(version, &ask::sync_unnamed(&group, &id, 1, &assignments)),
            _ => client.call(SYNC, &ask::sync(&group, &id, 1, &assignments)),
        };
        assert_eq!((synced.error_code, synced.assignment), (code::NONE, mine), "v{version}");
        let beat = client.call(version.min(HEARTBEAT), &ask::heartbeat(&group, &id, 1));
        assert_eq!(beat.error_code, code::NONE, "v{version}");

        let left = match version {
            0..=2 => client.call(
                version,
                &m::LeaveGroupRequest::default().with_group_id(ask::group(&group)).with_member_id(id.clone()),
            ),
            _ => client.call(version.min(LEAVE), &ask::leave(&group, &[&id])),
        };
        assert_eq!(left.error_code, code::NONE, "v{version}");
        assert!(left.members.iter().all(|member| member.error_code == code::NONE), "v{version}");
        assert_eq!(described(&mut client, &group).group_state.as_str(), "Empty", "v{version}");
        let late = client.call(version.min(HEARTBEAT), &ask::heartbeat(&group, &id, 1));
        assert_eq!(late.error_code, code::UNKNOWN_MEMBER_ID, "v{version}");
    }
}

#[test]
fn a_second_member_makes_the_first_join_again() {
    let (broker, mut first, _) = broker();
    let one = settle(&mut first, "g");
    let mut second = broker.client();
    let request = ask::join("g", "");
    let id = member_id(&mut second, &request);
    let request = request.with_member_id(id.clone());
    let waiting = second.begin(JOIN, &request);
    until_rebalance(&mut first, "g", &one);
    let again = first.begin(JOIN, &ask::join("g", &one.member_id));
    let one = first.finish::<m::JoinGroupRequest>(JOIN, again);
    let two = second.finish::<m::JoinGroupRequest>(JOIN, waiting);
    assert_eq!((one.error_code, two.error_code), (code::NONE, code::NONE));
    assert_eq!((one.generation_id, two.generation_id), (2, 2));
    assert_eq!((&one.leader, &two.leader), (&one.member_id, &one.member_id));
    // Only the leader is told who there is.
    let mut ids: Vec<_> = one.members.iter().map(|member| member.member_id.clone()).collect();
    ids.sort();
    let mut expected = vec![one.member_id.clone(), id.clone()];
    expected.sort();
    assert_eq!(ids, expected);
    assert!(two.members.is_empty());

    // Who syncs first waits for the leader.
    let waiting = second.begin(SYNC, &ask::sync("g", &id, 2, &[]));
    let halves = [ask::assignment("t", &[0, 1]), ask::assignment("t", &[2, 3])];
    let assignments = [(one.member_id.as_str(), halves[0].clone()), (id.as_str(), halves[1].clone())];
    assert_eq!(sync(&mut first, "g", &one, &assignments), Ok(halves[0].clone()));
    let synced = second.finish::<m::SyncGroupRequest>(SYNC, waiting);
    assert_eq!((synced.error_code, &synced.assignment), (code::NONE, &halves[1]));
    let shown = described(&mut first, "g");
    assert_eq!((shown.group_state.as_str(), shown.protocol_data.as_str()), ("Stable", "range"));
    for member in &shown.members {
        assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("it", "/127.0.0.1"));
        let half = usize::from(member.member_id == id);
        assert_eq!(member.member_assignment, halves[half]);
    }

    // The leader leaves; the other one leads.
    assert_eq!(first.call(LEAVE, &ask::leave("g", &[&one.member_id])).members[0].error_code, code::NONE);
    until_rebalance(&mut second, "g", &two);
    let two = second.call(JOIN, &request);
    assert_eq!((two.error_code, two.generation_id, &two.leader), (code::NONE, 3, &id));
}

#[test]
fn stale_generations_and_strangers_are_told_so_and_change_nothing() {
    let (_broker, mut client, _) = broker();
    let joined = settle(&mut client, "g");
    let id = joined.member_id.as_str();
    for (member, generation, expected) in [
        (id, 0, code::ILLEGAL_GENERATION),
        (id, 2, code::ILLEGAL_GENERATION),
        ("stranger", 1, code::UNKNOWN_MEMBER_ID),
        ("", 1, code::UNKNOWN_MEMBER_ID),
    ] {
        let beat = client.call(HEARTBEAT, &ask::heartbeat("g", member, generation));
        assert_eq!(beat.error_code, expected, "heartbeat of {member:?} in {generation}");
        let synced = client.call(SYNC, &ask::sync("g", member, generation, &[]));
        assert_eq!(synced.error_code, expected, "sync of {member:?} in {generation}");
        let request = ask::commit("g", "t", &[(0, 9)])
            .with_member_id(text(member))
            .with_generation_id_or_member_epoch(generation);
        assert_eq!(commit(&mut client, &request), [expected], "commit of {member:?} in {generation}");
    }
    let left = client.call(LEAVE, &ask::leave("g", &["stranger", id]));
    let codes: Vec<i16> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!((left.error_code, codes), (code::NONE, vec![code::UNKNOWN_MEMBER_ID, code::NONE]));
    assert_eq!(committed(&mut client, "g", "t", 0), -1);
    assert_eq!(client.call(HEARTBEAT, &ask::heartbeat("nobody", "m", 1)).error_code, code::UNKNOWN_MEMBER_ID);
    let rejoined = client.call(JOIN, &ask::join("nobody", "m"));
    assert_eq!(rejoined.error_code, code::UNKNOWN_MEMBER_ID);
}

#[test]
fn what_does_not_fit_the_group_is_refused() {
    let (_broker, mut client, _) = broker();
    let joined = settle(&mut client, "g");
    let other_type = ask::join("g", "").with_protocol_type(text("connect"));
    assert_eq!(client.call(JOIN, &other_type).error_code, code::INCONSISTENT_GROUP_PROTOCOL);
    let other_protocol =
        ask::join("g", "").with_protocols(vec![ask::protocol("sticky", ask::subscription(&["t"]))]);
    assert_eq!(client.call(JOIN, &other_protocol).error_code, code::INCONSISTENT_GROUP_PROTOCOL);
    let nothing = ask::join("new", "").with_protocols(Vec::new());
    assert_eq!(client.call(JOIN, &nothing).error_code, code::INCONSISTENT_GROUP_PROTOCOL);
    for timeout in [-1, 0, 5_999, 1_800_001] {
        let refused = client.call(JOIN, &ask::join("new", "").with_session_timeout_ms(timeout));
        assert_eq!(refused.error_code, code::INVALID_SESSION_TIMEOUT, "{timeout}");
    }
    let no_name = ask::sync_unnamed("g", &joined.member_id, 1, &[]);
    assert_eq!(client.call(SYNC, &no_name).error_code, code::INCONSISTENT_GROUP_PROTOCOL);
    let wrong_type = ask::sync("g", &joined.member_id, 1, &[]).with_protocol_type(Some(text("connect")));
    assert_eq!(client.call(SYNC, &wrong_type).error_code, code::INCONSISTENT_GROUP_PROTOCOL);
    let wrong_name = ask::sync("g", &joined.member_id, 1, &[]).with_protocol_name(Some(text("sticky")));
    assert_eq!(client.call(SYNC, &wrong_name).error_code, code::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(heartbeat(&mut client, "g", &joined), code::NONE);
    // A refused JoinGroup makes no group.
    assert_eq!(described(&mut client, "new").error_code, code::GROUP_ID_NOT_FOUND);
}

#[test]
fn a_silent_member_is_gone_after_its_session_and_its_commit_changes_nothing() {
    let (_broker, mut client, _) = broker_with(&[("group.min.session.timeout.ms", "1")]);
    let request = ask::join("g", "").with_session_timeout_ms(200);
    let told = client.call(3, &request);
    assert_eq!(told.error_code, code::NONE);
    eventually("the group is empty", || described(&mut client, "g").group_state.as_str() == "Empty");
    assert_eq!(heartbeat(&mut client, "g", &told), code::UNKNOWN_MEMBER_ID);
    let late = ask::commit("g", "t", &[(0, 9)])
        .with_member_id(told.member_id.clone())
        .with_generation_id_or_member_epoch(told.generation_id);
    assert_eq!(commit(&mut client, &late), [code::UNKNOWN_MEMBER_ID]);
    assert_eq!(committed(&mut client, "g", "t", 0), -1);
}

#[test]
fn the_others_go_on_without_a_silent_member() {
    let (broker, mut first, _) = broker_with(&[("group.min.session.timeout.ms", "1")]);
    let one = settle(&mut first, "g");
    let mut second = broker.client();
    let waiting = second.begin(3, &ask::join("g", "").with_session_timeout_ms(200));
    until_rebalance(&mut first, "g", &one);
    let one = first.call(JOIN, &ask::join("g", &one.member_id));
    let two = second.finish::<m::JoinGroupRequest>(3, waiting);
    assert_eq!((one.generation_id, two.generation_id), (2, 2));
    // The second one is never heard of again.
    until_rebalance(&mut first, "g", &one);
    let one = first.call(JOIN, &ask::join("g", &one.member_id));
    assert_eq!((one.error_code, one.generation_id, one.members.len()), (code::NONE, 3, 1));
}

#[test]
fn a_group_has_no_more_members_than_it_may() {
    let (broker, mut client, _) = broker_with(&[("group.max.size", "1")]);
    let joined = settle(&mut client, "g");
    let refused = broker.client().call(JOIN, &ask::join("g", ""));
    assert_eq!((refused.error_code, refused.member_id.as_str()), (code::GROUP_MAX_SIZE_REACHED, ""));
    assert_eq!(heartbeat(&mut client, "g", &joined), code::NONE);
}

#[test]
fn a_leader_that_joins_again_begins_a_generation_and_a_follower_does_not() {
    let (_broker, mut client, _) = broker();
    let joined = join(&mut client, "g");
    // Before it has brought the assignment the same answer comes again: the first one may have been lost.
    let again = client.call(JOIN, &ask::join("g", &joined.member_id));
    assert_eq!((again.generation_id, again.members.len()), (1, 1));
    let mine = ask::assignment("t", &[0]);
    assert_eq!(sync(&mut client, "g", &joined, &[(&joined.member_id, mine.clone())]), Ok(mine.clone()));
    // Later the assignment is repeated to who asks.
    assert_eq!(sync(&mut client, "g", &joined, &[]), Ok(mine));
    let again = client.call(JOIN, &ask::join("g", &joined.member_id));
    assert_eq!((again.error_code, again.generation_id), (code::NONE, 2));
}
