//! Static members of classic groups (KIP-345): they come back to what they had, and whoever they were is fenced.

use kafka_protocol::messages as m;
use kafka_protocol::messages::leave_group_request::MemberIdentity;

use super::member::{
    HEARTBEAT, JOIN, LEAVE, SYNC, broker, commit, committed, described, heartbeat, until_rebalance,
};
use super::{ask, code};
use crate::support::Client;
use crate::support::request::text;

fn enter(member_id: &str, instance: &str) -> m::JoinGroupRequest {
    ask::join("g", member_id).with_group_instance_id(Some(text(instance)))
}

/// The only member, static, with partition 0.
fn settle(client: &mut Client) -> m::JoinGroupResponse {
    // A static member needs no second call for its id.
    let joined = client.call(JOIN, &enter("", "one"));
    assert_eq!((joined.error_code, joined.generation_id), (code::NONE, 1));
    assert!(joined.member_id.starts_with("one-"), "{}", joined.member_id);
    let id = joined.member_id.clone();
    let sync = ask::sync("g", &id, 1, &[(&id, ask::assignment("t", &[0]))]);
    assert_eq!(client.call(SYNC, &sync.with_group_instance_id(Some(text("one")))).error_code, code::NONE);
    joined
}

#[test]
fn a_member_that_comes_back_is_given_what_it_had_without_a_rebalance() {
    let (broker, mut client, _) = broker();
    let before = settle(&mut client);
    let mut other = broker.client();
    let after = other.call(JOIN, &enter("", "one"));
    assert_eq!((after.error_code, after.generation_id), (code::NONE, 1));
    assert_ne!(after.member_id, before.member_id);
    // The leader has nothing to assign (KIP-814).
    assert!(after.skip_assignment && after.leader == after.member_id);
    let synced = other.call(SYNC, &ask::sync("g", &after.member_id, 1, &[]));
    assert_eq!((synced.error_code, synced.assignment), (code::NONE, ask::assignment("t", &[0])));

    // Whoever still uses the old id is fenced, in all it does.
    let old = before.member_id.as_str();
    let one = Some(text("one"));
    let beat = ask::heartbeat("g", old, 1).with_group_instance_id(one.clone());
    assert_eq!(client.call(HEARTBEAT, &beat).error_code, code::FENCED_INSTANCE_ID);
    let sync = ask::sync("g", old, 1, &[]).with_group_instance_id(one.clone());
    assert_eq!(client.call(SYNC, &sync).error_code, code::FENCED_INSTANCE_ID);
    assert_eq!(client.call(JOIN, &enter(old, "one")).error_code, code::FENCED_INSTANCE_ID);
    let late = ask::commit("g", "t", &[(0, 9)])
        .with_member_id(text(old))
        .with_generation_id_or_member_epoch(1)
        .with_group_instance_id(one.clone());
    assert_eq!(commit(&mut client, &late), [code::FENCED_INSTANCE_ID]);
    let identity = MemberIdentity::default().with_member_id(text(old)).with_group_instance_id(one);
    let leave = m::LeaveGroupRequest::default().with_group_id(ask::group("g")).with_members(vec![identity]);
    assert_eq!(client.call(LEAVE, &leave).members[0].error_code, code::FENCED_INSTANCE_ID);
    // Without its instance id it is nobody.
    assert_eq!(heartbeat(&mut client, "g", &before), code::UNKNOWN_MEMBER_ID);
    assert_eq!(committed(&mut client, "g", "t", 0), -1);
    assert_eq!(heartbeat(&mut client, "g", &after), code::NONE);
}

#[test]
fn a_member_that_makes_the_group_choose_another_protocol_is_a_rebalance() {
    let (_broker, mut client, _) = broker();
    let by = |first: &str, second: &str| {
        let protocols = [first, second].map(|name| ask::protocol(name, ask::subscription(&["t"])));
        enter("", "one").with_protocols(protocols.to_vec())
    };
    let before = client.call(JOIN, &by("range", "roundrobin"));
    assert_eq!(before.protocol_name.as_deref(), Some("range"));
    let id = before.member_id.clone();
    client.call(SYNC, &ask::sync("g", &id, 1, &[(&id, ask::assignment("t", &[0]))]));
    // The same order is the same member; another one makes the group choose another protocol.
    assert_eq!(client.call(JOIN, &by("range", "roundrobin")).generation_id, 1);
    let changed = client.call(JOIN, &by("roundrobin", "range"));
    assert_eq!((changed.error_code, changed.generation_id), (code::NONE, 2));
    assert_eq!(changed.protocol_name.as_deref(), Some("roundrobin"));
    assert!(changed.member_id != before.member_id && !changed.skip_assignment);
}

#[test]
fn an_administrator_takes_static_members_out_by_their_instance_ids() {
    let (broker, mut client, _) = broker();
    let one = settle(&mut client);
    let mut other = broker.client();
    let waiting = other.begin(JOIN, &enter("", "two"));
    until_rebalance(&mut client, "g", &one);
    let one = client.call(JOIN, &enter(&one.member_id, "one"));
    let two = other.finish::<m::JoinGroupRequest>(JOIN, waiting);
    assert_eq!((one.generation_id, two.generation_id), (2, 2));
    let instances: Vec<_> = one.members.iter().map(|member| member.group_instance_id.as_deref()).collect();
    assert!(instances.contains(&Some("one")) && instances.contains(&Some("two")), "{instances:?}");

    let named = |instance: &str| {
        MemberIdentity::default().with_group_instance_id(Some(text(instance))).with_reason(Some(text("test")))
    };
    let leave = m::LeaveGroupRequest::default().with_group_id(ask::group("g")).with_members(vec![
        named("two"),
        named("three"),
        named("one"),
    ]);
    let left = client.call(LEAVE, &leave);
    let codes: Vec<i16> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [code::NONE, code::UNKNOWN_MEMBER_ID, code::NONE]);
    assert_eq!(left.members[0].group_instance_id.as_deref(), Some("two"));
    let shown = described(&mut client, "g");
    assert_eq!((shown.group_state.as_str(), shown.members.len()), ("Empty", 0));
}
