//! What administrators ask: which groups there are, what they look like, and to be rid of them.

use kafka_protocol::messages as m;

use super::member::{FIRST, beat, broker, commit, committed, consumer_described, described, join, settle};
use super::{ask, code};
use crate::support::Client;
use crate::support::request::text;

/// Operations as DescribeGroups shows them when they are not asked for.
const NOT_ASKED: i32 = i32::MIN;

/// A group of each kind and of several states.
fn zoo(client: &mut Client, others: &mut [Client; 2]) {
    commit(client, &ask::commit("bare", "t", &[(0, 1)]));
    settle(&mut others[0], "stable");
    join(&mut others[1], "completing");
    beat(client, &ask::enter("consumer", "a", &["t"]));
    beat(client, &ask::enter("left", "a", &["t"]));
    beat(client, &ask::beat("left", "a", -1));
}

fn listed(client: &mut Client, version: i16, states: &[&str], types: &[&str]) -> Vec<[String; 4]> {
    let request = m::ListGroupsRequest::default()
        .with_states_filter(states.iter().map(|state| text(state)).collect())
        .with_types_filter(types.iter().map(|kind| text(kind)).collect());
    let response = client.call(version, &request);
    assert_eq!(response.error_code, code::NONE);
    let shown = response.groups.into_iter().map(|group| {
        [group.group_id.0, group.protocol_type, group.group_state, group.group_type]
            .map(|text| text.to_string())
    });
    shown.collect()
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let (broker, mut client, _) = broker();
    zoo(&mut client, &mut [broker.client(), broker.client()]);
    let all: [[&'static str; 4]; 5] = [
        ["bare", "", "Empty", "classic"],
        ["completing", "consumer", "CompletingRebalance", "classic"],
        ["consumer", "consumer", "Stable", "consumer"],
        ["left", "consumer", "Empty", "consumer"],
        ["stable", "consumer", "Stable", "classic"],
    ];
    assert_eq!(listed(&mut client, 5, &[], &[]), all);
    // Older versions see the same groups, and less of them.
    for version in 0..=4 {
        let shown = |version, state: &'static str| if version >= 4 { state } else { "" };
        let expected: Vec<[&str; 4]> =
            all.iter().map(|[id, kind, state, _]| [*id, *kind, shown(version, state), ""]).collect();
        assert_eq!(listed(&mut client, version, &[], &[]), expected, "v{version}");
    }
    let ids = |client: &mut Client, states: &[&str], types: &[&str]| -> Vec<String> {
        listed(client, 5, states, types).into_iter().map(|[id, ..]| id).collect()
    };
    assert_eq!(ids(&mut client, &["Stable"], &[]), ["consumer", "stable"]);
    assert_eq!(ids(&mut client, &["stable", "EMPTY"], &["Consumer"]), ["consumer", "left"]);
    assert_eq!(ids(&mut client, &[], &["classic"]), ["bare", "completing", "stable"]);
    assert_eq!(ids(&mut client, &["NoSuchState"], &[]), [""; 0]);
    assert_eq!(ids(&mut client, &[], &["share"]), [""; 0]);
    let by_state: Vec<String> =
        listed(&mut client, 4, &["Empty"], &[]).into_iter().map(|[id, ..]| id).collect();
    assert_eq!(by_state, ["bare", "left"]);
}

#[test]
fn classic_groups_are_described_in_every_version() {
    let (broker, mut client, _) = broker();
    let joined = settle(&mut broker.client(), "g");
    beat(&mut client, &ask::enter("consumer", "a", &["t"]));
    for version in 0..=6 {
        let request = m::DescribeGroupsRequest::default()
            .with_groups(vec![ask::group("g"), ask::group("nobody"), ask::group("consumer")])
            .with_include_authorized_operations(version >= 3);
        let groups = client.call(version, &request).groups;
        assert_eq!(groups.len(), 3);
        let shown = &groups[0];
        assert_eq!((shown.error_code, shown.group_state.as_str()), (code::NONE, "Stable"), "v{version}");
        assert_eq!((shown.protocol_type.as_str(), shown.protocol_data.as_str()), ("consumer", "range"));
        assert_eq!(shown.authorized_operations != NOT_ASKED, version >= 3, "v{version}");
        let member = &shown.members[0];
        assert_eq!((&member.member_id, member.client_host.as_str()), (&joined.member_id, "/127.0.0.1"));
        assert_eq!(member.member_metadata, ask::subscription(&["t"]));
        assert_eq!(member.member_assignment, ask::assignment("t", &[0, 1, 2, 3]));
        // What is not there was once shown as a group without members that is dead.
        for other in &groups[1..] {
            let expected = if version >= 6 { code::GROUP_ID_NOT_FOUND } else { code::NONE };
            assert_eq!((other.error_code, other.group_state.as_str()), (expected, "Dead"), "v{version}");
            assert!(other.members.is_empty());
        }
    }
}

#[test]
fn consumer_groups_are_described_with_their_members() {
    let (broker, mut client, topic) = broker();
    let enter = ask::enter("g", "a", &["t"])
        .with_instance_id(Some(text("one")))
        .with_rack_id(Some(text("north")))
        .with_server_assignor(Some(text("range")));
    beat(&mut client, &enter);
    settle(&mut broker.client(), "classic");
    for version in 0..=1 {
        let request = m::ConsumerGroupDescribeRequest::default()
            .with_group_ids(vec![
                ask::group("g"),
                ask::group("nobody"),
                ask::group("classic"),
                ask::group(""),
            ])
            .with_include_authorized_operations(true);
        let groups = client.call(version, &request).groups;
        let codes: Vec<i16> = groups.iter().map(|group| group.error_code).collect();
        let missing = code::GROUP_ID_NOT_FOUND;
        assert_eq!(codes, [code::NONE, missing, missing, code::INVALID_GROUP_ID], "v{version}");
        let shown = &groups[0];
        assert_eq!((shown.group_epoch, shown.assignment_epoch), (FIRST, FIRST));
        assert_eq!((shown.group_state.as_str(), shown.assignor_name.as_str()), ("Stable", "range"));
        assert!(shown.authorized_operations != NOT_ASKED);
        let member = &shown.members[0];
        assert_eq!((member.member_id.as_str(), member.member_epoch), ("a", FIRST));
        assert_eq!(member.instance_id.as_deref(), Some("one"));
        assert_eq!(member.rack_id.as_deref(), Some("north"));
        assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("it", "/127.0.0.1"));
        assert_eq!(member.member_type, if version >= 1 { 1 } else { -1 });
        for assignment in [&member.assignment, &member.target_assignment] {
            let of = &assignment.topic_partitions[0];
            assert_eq!((of.topic_id, of.topic_name.as_str()), (topic, "t"));
            assert_eq!(of.partitions, [0, 1, 2, 3]);
        }
    }
}

#[test]
fn a_group_without_members_is_deleted_with_its_offsets() {
    let (mut broker, mut client, _) = broker();
    let mut others = [broker.client(), broker.client()];
    zoo(&mut client, &mut others);
    for version in 0..=2 {
        let group = format!("old-{version}");
        commit(&mut client, &ask::commit(&group, "t", &[(0, 5)]));
        let wanted = [group.as_str(), "nobody", "stable", "completing", "consumer", &group];
        // What is named twice is answered once.
        let response = client.call(version, &ask::delete_groups(&wanted));
        let codes: Vec<i16> = response.results.iter().map(|result| result.error_code).collect();
        let (missing, taken) = (code::GROUP_ID_NOT_FOUND, code::NON_EMPTY_GROUP);
        assert_eq!(codes, [code::NONE, missing, taken, taken, taken], "v{version}");
        assert_eq!(committed(&mut client, &group, "t", 0), -1, "v{version}");
        assert_eq!(described(&mut client, &group).error_code, missing, "v{version}");
    }
    let both = client.call(2, &ask::delete_groups(&["bare", "left"]));
    assert!(both.results.iter().all(|result| result.error_code == code::NONE));
    drop((client, others));
    broker.restart();
    let mut client = broker.client();
    let left: Vec<String> = listed(&mut client, 5, &[], &[]).into_iter().map(|[id, ..]| id).collect();
    assert!(!left.iter().any(|id| id.starts_with("old") || id == "bare" || id == "left"), "{left:?}");
    assert_eq!(consumer_described(&mut client, "left").error_code, code::GROUP_ID_NOT_FOUND);
    assert_eq!(committed(&mut client, "bare", "t", 0), -1);
}
