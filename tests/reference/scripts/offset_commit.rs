//! OffsetCommit of the classic protocol and of nobody's group.

use kafka_protocol::messages::{JoinGroupRequest, OffsetCommitRequest};

use super::classic;
use crate::play::play;
use crate::requests::{commit, fetch, heartbeat, join, leave, some, sync, text};

/// With metadata, and with what else a partition may carry.
fn with_metadata(mut request: OffsetCommitRequest, metadata: Option<String>) -> OffsetCommitRequest {
    request.topics[0].partitions[0].committed_metadata = metadata.map(|metadata| text(&metadata));
    request
}

#[test]
fn offset_commit() {
    play("offset-commit", |s| {
        let topic = s.topic("topic", 2);
        for version in [2, 6, 7, 9] {
            let group = s.name(&format!("v{version}"));
            s.step(&format!("v{version} of a member of an unknown group"));
            s.call("x", version, &commit(&group, 1, "nobody", &[(&topic, 0, 1)]));
            s.call("x", version, &commit(&group, 0, "", &[(&topic, 0, 1)]));
            s.call("x", version, &commit(&group, 0, "nobody", &[(&topic, 0, 1)]));
            s.call("x", version, &commit(&group, -1, "nobody", &[(&topic, 0, 1)]));
            s.call("x", version, &commit(&group, -2, "", &[(&topic, 0, 1)]));
            s.step(&format!("v{version} of nobody"));
            s.call("x", version, &commit(&group, -1, "", &[(&topic, 0, 1), (&topic, 1, 2)]));
            s.step(&format!("v{version} of a member of a group that only has offsets"));
            s.call("x", version, &commit(&group, 1, "nobody", &[(&topic, 0, 3)]));
            s.call("x", version, &commit(&group, 0, "nobody", &[(&topic, 0, 3)]));
            s.call("x", version, &commit(&group, -1, "nobody", &[(&topic, 0, 3)]));
            s.step(&format!("v{version} of an empty group id"));
            s.call("x", version, &commit("", -1, "", &[(&topic, 0, 1)]));
            s.call("x", version, &commit("", 1, "nobody", &[(&topic, 9, 1)]));
            s.step(&format!("v{version} of topics and partitions that there are not"));
            let absent = s.name("absent");
            s.call(
                "x",
                version,
                &commit(&group, -1, "", &[(&absent, 0, 1), (&topic, 2, 1), (&topic, -1, 1), (&topic, 0, 4)]),
            );
            s.call("x", version, &commit(&group, 1, "nobody", &[(&absent, 0, 1)]));
            s.call("x", version, &commit(&group, 1, "nobody", &[(&absent, 0, 1), (&topic, 0, 1)]));
            s.step(&format!("v{version} of no topic"));
            s.call("x", version, &commit(&group, -1, "", &[]));
            s.call("x", version, &commit(&group, 1, "nobody", &[]));
            s.step(&format!("v{version} of a topic without partitions"));
            let mut request = commit(&group, -1, "", &[(&topic, 0, 1)]);
            request.topics[0].partitions.clear();
            s.call("x", version, &request);
            s.step(&format!("v{version} of odd offsets"));
            s.call("x", version, &commit(&group, -1, "", &[(&topic, 0, -1)]));
            s.call("x", version, &commit(&group, -1, "", &[(&topic, 1, i64::MIN)]));
            s.step(&format!("v{version} of metadata that is too long, and as long as may be, and null"));
            let at = |offset| commit(&group, -1, "", &[(&topic, 0, offset)]);
            s.call("x", version, &with_metadata(at(5), Some("x".repeat(4097))));
            s.call("x", version, &with_metadata(at(6), Some("é".repeat(4096))));
            s.call("x", version, &with_metadata(at(7), None));
            s.call("x", version, &with_metadata(at(7), Some(String::new())));
            s.step(&format!("v{version} what is left"));
            s.call("x", 5, &fetch(&group, None));
        }
        s.step("v2 a retention of its own");
        let group = s.name("retention");
        s.call("x", 2, &commit(&group, -1, "", &[(&topic, 0, 1)]).with_retention_time_ms(1_000_000));
        s.call("x", 4, &commit(&group, -1, "", &[(&topic, 0, 1)]).with_retention_time_ms(-1));
        s.step("v6 a leader epoch of its own");
        let mut request = commit(&group, -1, "", &[(&topic, 0, 1)]);
        request.topics[0].partitions[0].committed_leader_epoch = 77;
        s.call("x", 6, &request);
        s.call("x", 5, &fetch(&group, None));
        s.step("the same partition twice: which one counts");
        s.call("x", 9, &commit(&group, -1, "", &[(&topic, 0, 10), (&topic, 0, 11)]));
        s.call("x", 5, &fetch(&group, None));
        s.step("an instance id without a member");
        let nobody = commit(&group, -1, "", &[(&topic, 0, 1)]);
        s.call("x", 7, &nobody.clone().with_group_instance_id(some("one")));
        s.call("x", 7, &nobody.with_member_id("nobody".into()).with_group_instance_id(some("one")));
    });
}

#[test]
fn offset_commit_of_members() {
    play("offset-commit-of-members", |s| {
        let topic = s.topic("topic", 1);
        let group = s.name("group");
        s.step("an id that has been handed out only");
        let a = s.call("a", 9, &join(&group, "")).member_id;
        s.call("a", 9, &commit(&group, 0, &a, &[(&topic, 0, 1)]));
        s.call("a", 9, &commit(&group, -1, &a, &[(&topic, 0, 1)]));
        s.call("a", 9, &commit(&group, -1, "", &[(&topic, 0, 1)]));
        s.step("completing");
        s.call("a", 9, &join(&group, &a));
        for version in [2, 7, 9] {
            s.call("a", version, &commit(&group, 1, &a, &[(&topic, 0, 2)]));
            s.call("a", version, &commit(&group, 2, &a, &[(&topic, 0, 2)]));
            s.call("a", version, &commit(&group, 1, "nobody", &[(&topic, 0, 2)]));
            s.call("a", version, &commit(&group, -1, "", &[(&topic, 0, 2)]));
        }
        s.step("stable");
        s.call("a", 5, &sync(&group, 1, &a, &[]));
        for version in [2, 7, 9] {
            s.call("a", version, &commit(&group, 1, &a, &[(&topic, 0, 3)]));
            s.call("a", version, &commit(&group, 2, &a, &[(&topic, 0, 4)]));
            s.call("a", version, &commit(&group, 0, &a, &[(&topic, 0, 4)]));
            s.call("a", version, &commit(&group, -1, &a, &[(&topic, 0, 4)]));
            s.call("a", version, &commit(&group, 1, "nobody", &[(&topic, 0, 4)]));
            s.call("a", version, &commit(&group, 2, "nobody", &[(&topic, 0, 4)]));
            s.call("a", version, &commit(&group, 1, "", &[(&topic, 0, 4)]));
            s.call("a", version, &commit(&group, -1, "nobody", &[(&topic, 0, 4)]));
            s.call("a", version, &commit(&group, -1, "", &[(&topic, 0, 4)]));
        }
        s.step("stable: an instance id that nobody has");
        let named = commit(&group, 1, &a, &[(&topic, 0, 4)]).with_group_instance_id(some("one"));
        s.call("a", 9, &named);
        s.call("a", 9, &named.with_generation_id_or_member_epoch(2));
        s.step("stable: an unknown member and a partition that there is not");
        s.call("a", 9, &commit(&group, 1, "nobody", &[(&topic, 5, 4), (&topic, 0, 4)]));
        s.step("stable: an unknown member and metadata that is too long");
        let long = with_metadata(commit(&group, 1, "nobody", &[(&topic, 0, 4)]), Some("x".repeat(4097)));
        s.call("a", 9, &long);
        s.step("preparing");
        s.park("b", 3, &join(&group, ""));
        s.call("a", 9, &commit(&group, 1, &a, &[(&topic, 0, 5)]));
        s.call("a", 9, &commit(&group, 2, &a, &[(&topic, 0, 6)]));
        s.call("a", 9, &commit(&group, -1, "", &[(&topic, 0, 6)]));
        s.step("all have left");
        s.call("a", 3, &join(&group, &a));
        let b = s.finish::<JoinGroupRequest>("b").member_id;
        s.call("a", 1, &leave(&group, &a));
        s.call("b", 1, &leave(&group, &b));
        s.call("a", 4, &heartbeat(&group, 2, &a));
        s.call("a", 9, &commit(&group, 3, &a, &[(&topic, 0, 7)]));
        s.call("a", 9, &commit(&group, 3, "", &[(&topic, 0, 7)]));
        s.call("a", 9, &commit(&group, -1, "", &[(&topic, 0, 8)]));
        s.step("what is left");
        s.call("x", 5, &fetch(&group, None));
        s.step("a group of another protocol type");
        let group = s.name("connect");
        let a = s.call("a", 3, &join(&group, "").with_protocol_type("connect".into())).member_id;
        s.call("a", 9, &commit(&group, 1, &a, &[(&topic, 0, 7)]));
        s.call("a", 9, &commit(&group, -1, "", &[(&topic, 0, 7)]));
        s.step("a commit keeps a group's member, and a stable pair may commit");
        let group = s.name("pair");
        let (a, b) = classic::pair(s, &group);
        s.call("a", 9, &commit(&group, 2, &a, &[(&topic, 0, 7)]));
        s.call("b", 9, &commit(&group, 2, &b, &[(&topic, 0, 8)]));
    });
}
