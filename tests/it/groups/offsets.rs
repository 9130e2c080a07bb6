//! Committed offsets: commit, read, delete, and whose they are.

use kafka_protocol::messages as m;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;

use super::member::{
    COMMIT, FETCH, beat, broker, broker_with, commit, committed, described, eventually, settle,
};
use super::{ask, code};
use crate::support::Client;
use crate::support::request::{name, text};

fn delete_topic(client: &mut Client, topic: &str) {
    let delete = m::DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]);
    assert_eq!(client.call(5, &delete).responses[0].error_code, code::NONE);
}

fn listed(client: &mut Client) -> Vec<String> {
    let groups = client.call(5, &m::ListGroupsRequest::default()).groups;
    groups.iter().map(|group| group.group_id.to_string()).collect()
}

#[test]
fn what_is_committed_is_read_in_every_version() {
    let (_broker, mut client, _) = broker();
    for version in 2..=COMMIT {
        let group = format!("g-{version}");
        let mut request = ask::commit(&group, "t", &[(0, 5), (3, i64::MAX)]);
        if version >= 6 {
            request.topics[0].partitions[0].committed_leader_epoch = 7;
        }
        let answer = client.call(version, &request);
        let codes: Vec<_> =
            answer.topics[0].partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
        assert_eq!(codes, [(0, code::NONE), (3, code::NONE)], "v{version}");
        for fetch in 1..=FETCH {
            let parts = read(&mut client, fetch, &group);
            let epoch = if version >= 6 && fetch >= 5 { 7 } else { -1 };
            let expected = [
                (0, 5, epoch, "note".to_owned()),
                (1, -1, -1, String::new()),
                (3, i64::MAX, -1, "note".to_owned()),
                (9, -1, -1, String::new()),
            ];
            assert_eq!(parts, expected, "committed in v{version}, read in v{fetch}");
        }
    }
}

/// Partitions 0, 1, 3 and 9 of `t`: offset, leader epoch, metadata.
fn read(client: &mut Client, version: i16, group: &str) -> Vec<(i32, i64, i32, String)> {
    let wanted = [0, 1, 3, 9];
    if version >= 8 {
        let request = ask::fetch_offsets(vec![ask::offsets_of(group, Some(("t", &wanted)))]);
        let mut answer = client.call(version, &request).groups.remove(0);
        assert_eq!((answer.error_code, answer.group_id.as_str()), (code::NONE, group));
        let partitions = answer.topics.remove(0).partitions.into_iter();
        return partitions
            .map(|p| {
                assert_eq!(p.error_code, code::NONE);
                (
                    p.partition_index,
                    p.committed_offset,
                    p.committed_leader_epoch,
                    p.metadata.expect("metadata").to_string(),
                )
            })
            .collect();
    }
    let topic =
        OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(wanted.to_vec());
    let request =
        m::OffsetFetchRequest::default().with_group_id(ask::group(group)).with_topics(Some(vec![topic]));
    let mut answer = client.call(version, &request);
    assert_eq!(answer.error_code, code::NONE);
    let partitions = answer.topics.remove(0).partitions.into_iter();
    partitions
        .map(|p| {
            assert_eq!(p.error_code, code::NONE);
            let metadata = p.metadata.expect("metadata").to_string();
            (p.partition_index, p.committed_offset, p.committed_leader_epoch, metadata)
        })
        .collect()
}

#[test]
fn many_groups_are_read_at_once_each_for_itself() {
    let (_broker, mut client, _) = broker();
    client.create_topic("u", 1, &[]);
    commit(&mut client, &ask::commit("a", "t", &[(0, 1)]));
    commit(&mut client, &ask::commit("a", "u", &[(0, 2)]));
    commit(&mut client, &ask::commit("b", "t", &[(1, 3), (0, 4)]));
    beat(&mut client, &ask::enter("c", "m", &["t"]));
    let stranger =
        ask::offsets_of("c", Some(("t", &[0]))).with_member_id(Some(text("x"))).with_member_epoch(1);
    let groups = vec![
        ask::offsets_of("a", None),
        ask::offsets_of("b", Some(("u", &[0]))),
        stranger,
        ask::offsets_of("nobody", None),
        ask::offsets_of("b", None),
    ];
    let answer = client.call(FETCH, &ask::fetch_offsets(groups).with_require_stable(true));
    let ids: Vec<_> =
        answer.groups.iter().map(|group| (group.group_id.to_string(), group.error_code)).collect();
    let expected = [("a", 0), ("b", 0), ("c", code::UNKNOWN_MEMBER_ID), ("nobody", 0), ("b", 0)]
        .map(|(g, c)| (g.to_owned(), c));
    assert_eq!(ids, expected);
    let offsets = |index: usize| {
        let mut offsets: Vec<_> = answer.groups[index]
            .topics
            .iter()
            .flat_map(|t| {
                t.partitions.iter().map(|p| (t.name.to_string(), p.partition_index, p.committed_offset))
            })
            .collect();
        offsets.sort();
        offsets
    };
    let of = |topic: &str, partition, offset| (topic.to_owned(), partition, offset);
    assert_eq!(offsets(0), [of("t", 0, 1), of("u", 0, 2)]);
    assert_eq!(offsets(1), [of("u", 0, -1)]);
    assert_eq!(offsets(2), []);
    assert_eq!(offsets(3), []);
    assert_eq!(offsets(4), [of("t", 0, 4), of("t", 1, 3)]);
}

#[test]
fn each_partition_of_a_commit_has_its_own_answer() {
    let (_broker, mut client, _) = broker_with(&[("offset.metadata.max.bytes", "10")]);
    let mut request = ask::commit("g", "t", &[(0, 1), (9, 1), (-1, 1), (1, 1), (2, 1)]);
    request.topics[0].partitions[3].committed_metadata = Some(text("12345678901"));
    request.topics[0].partitions[4].committed_metadata = None;
    request.topics.push(ask::commit("g", "nowhere", &[(0, 1)]).topics.remove(0));
    let unknown = code::UNKNOWN_TOPIC_OR_PARTITION;
    let expected = [code::NONE, unknown, unknown, code::OFFSET_METADATA_TOO_LARGE, code::NONE, unknown];
    assert_eq!(commit(&mut client, &request), expected);
    assert_eq!([0, 1, 2, 9].map(|partition| committed(&mut client, "g", "t", partition)), [1, -1, 1, -1]);
    // Nothing but unknown partitions makes no group.
    assert_eq!(commit(&mut client, &ask::commit("none", "nowhere", &[(0, 1)])), [unknown]);
    assert_eq!(described(&mut client, "none").error_code, code::GROUP_ID_NOT_FOUND);
}

#[test]
fn a_partition_twice_in_one_commit_has_two_answers_and_the_last_good_offset() {
    let (_broker, mut client, _) = broker_with(&[("offset.metadata.max.bytes", "10")]);
    let mut request = ask::commit("g", "t", &[(0, 1), (0, 2), (0, 3)]);
    request.topics[0].partitions[2].committed_metadata = Some(text("12345678901"));
    // Once more, under a topic of its own.
    request.topics.push(ask::commit("g", "t", &[(1, 4), (1, 5)]).topics.remove(0));
    let expected = [code::NONE, code::NONE, code::OFFSET_METADATA_TOO_LARGE, code::NONE, code::NONE];
    assert_eq!(commit(&mut client, &request), expected);
    assert_eq!(committed(&mut client, "g", "t", 0), 2);
    assert_eq!(committed(&mut client, "g", "t", 1), 5);
}

#[test]
fn who_is_no_member_commits_only_while_there_are_none() {
    let (broker, mut client, _) = broker();
    assert_eq!(commit(&mut client, &ask::commit("g", "t", &[(0, 1)])), [code::NONE]);
    let shown = described(&mut client, "g");
    assert_eq!((shown.group_state.as_str(), shown.protocol_type.as_str()), ("Empty", ""));
    let joined = settle(&mut broker.client(), "g");
    assert_eq!(commit(&mut client, &ask::commit("g", "t", &[(0, 2)])), [code::UNKNOWN_MEMBER_ID]);
    client.call(5, &ask::leave("g", &[&joined.member_id]));
    assert_eq!(commit(&mut client, &ask::commit("g", "t", &[(0, 3)])), [code::NONE]);
    assert_eq!(committed(&mut client, "g", "t", 0), 3);
    // A generation of a group that does not exist.
    let lost = |version| {
        ask::commit(&format!("lost-{version}"), "t", &[(0, 1)]).with_generation_id_or_member_epoch(4)
    };
    for (version, expected) in [(8, code::ILLEGAL_GENERATION), (9, code::GROUP_ID_NOT_FOUND)] {
        assert_eq!(client.call(version, &lost(version)).topics[0].partitions[0].error_code, expected);
    }
    assert_eq!(listed(&mut client), ["g"]);
}

#[test]
fn offsets_of_topics_that_nobody_reads_can_be_deleted() {
    let (broker, mut client, _) = broker();
    client.create_topic("u", 2, &[]);
    commit(&mut client, &ask::commit("g", "t", &[(0, 1)]));
    commit(&mut client, &ask::commit("g", "u", &[(0, 2), (1, 3)]));
    settle(&mut broker.client(), "g");
    let delete = |client: &mut Client, topic: &str, partitions: &[i32]| -> Vec<i16> {
        let response = client.call(0, &ask::delete_offsets("g", topic, partitions));
        assert_eq!(response.error_code, code::NONE);
        response.topics[0].partitions.iter().map(|p| p.error_code).collect()
    };
    assert_eq!(delete(&mut client, "t", &[0]), [code::GROUP_SUBSCRIBED_TO_TOPIC]);
    let unknown = code::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(delete(&mut client, "u", &[1, 7, 1]), [code::NONE, unknown, code::NONE]);
    assert_eq!(delete(&mut client, "nowhere", &[0]), [unknown]);
    assert_eq!(committed(&mut client, "g", "t", 0), 1);
    assert_eq!([0, 1].map(|partition| committed(&mut client, "g", "u", partition)), [2, -1]);
    let lost = client.call(0, &ask::delete_offsets("nobody", "u", &[0]));
    assert_eq!((lost.error_code, lost.topics.len()), (code::GROUP_ID_NOT_FOUND, 0));
    // A group whose subscriptions cannot be read keeps what it has.
    let other = ask::join("connect", "").with_protocol_type(text("connect"));
    let mut worker = broker.client();
    assert_eq!(worker.call(3, &other).error_code, code::NONE);
    let refused = client.call(0, &ask::delete_offsets("connect", "u", &[0]));
    assert_eq!(refused.error_code, code::NON_EMPTY_GROUP);
}

#[test]
fn a_topic_made_anew_starts_anew() {
    let (_broker, mut client, _) = broker();
    commit(&mut client, &ask::commit("g", "t", &[(0, 5)]));
    delete_topic(&mut client, "t");
    assert_eq!(committed(&mut client, "g", "t", 0), -1);
    let all = ask::fetch_offsets(vec![ask::offsets_of("g", None)]);
    assert_eq!(client.call(FETCH, &all).groups[0].topics, []);
    client.create_topic("t", 4, &[]);
    assert_eq!(committed(&mut client, "g", "t", 0), -1);
    assert_eq!(client.call(FETCH, &all).groups[0].topics, []);
    assert_eq!(commit(&mut client, &ask::commit("g", "t", &[(0, 1)])), [code::NONE]);
    assert_eq!(committed(&mut client, "g", "t", 0), 1);
}

#[test]
fn a_topics_offsets_are_forgotten_with_it() {
    let (mut broker, mut client, _) = broker_with(&[("offsets.retention.check.interval.ms", "20")]);
    client.create_topic("u", 1, &[]);
    commit(&mut client, &ask::commit("gone", "t", &[(0, 5)]));
    commit(&mut client, &ask::commit("kept", "t", &[(0, 5)]));
    commit(&mut client, &ask::commit("kept", "u", &[(0, 6)]));
    delete_topic(&mut client, "t");
    // A group that only had such offsets goes with them.
    eventually("the group is gone", || listed(&mut client) == ["kept"]);
    assert_eq!(committed(&mut client, "kept", "u", 0), 6);
    drop(client);
    broker.restart();
    let mut client = broker.client();
    assert_eq!(listed(&mut client), ["kept"]);
    assert_eq!(committed(&mut client, "kept", "u", 0), 6);
}

#[test]
fn an_offset_with_a_time_of_its_own_expires() {
    let (mut broker, mut client, _) = broker_with(&[("offsets.retention.check.interval.ms", "20")]);
    for version in 2..=4 {
        let group = format!("short-{version}");
        let request = ask::commit(&group, "t", &[(0, 5)]).with_retention_time_ms(1);
        assert_eq!(client.call(version, &request).topics[0].partitions[0].error_code, code::NONE);
        commit(&mut client, &ask::commit(&format!("long-{version}"), "t", &[(0, 6)]));
        eventually("the offset expires", || committed(&mut client, &group, "t", 0) == -1);
    }
    // The groups go with their last offset; those without a time of their own stay for a week.
    let kept = ["long-2", "long-3", "long-4"];
    eventually("the groups are gone", || listed(&mut client) == kept);
    drop(client);
    broker.restart();
    let mut client = broker.client();
    assert_eq!(listed(&mut client), kept);
    assert_eq!(kept.map(|group| committed(&mut client, group, "t", 0)), [6, 6, 6]);
}

#[test]
fn what_a_member_reads_does_not_expire() {
    let (broker, mut client, _) = broker_with(&[("offsets.retention.check.interval.ms", "20")]);
    let short = |group: &str| ask::commit(group, "t", &[(0, 5)]).with_retention_time_ms(1);
    let joined = settle(&mut broker.client(), "g");
    let by_member = short("g")
        .with_member_id(joined.member_id.clone())
        .with_generation_id_or_member_epoch(joined.generation_id);
    client.call(4, &by_member);
    client.call(4, &short("other"));
    // When the other group's is gone, this one's time was over as well.
    eventually("the other offset expires", || committed(&mut client, "other", "t", 0) == -1);
    assert_eq!(committed(&mut client, "g", "t", 0), 5);
}
