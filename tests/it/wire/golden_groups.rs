//! Request and response bytes of the group APIs, as [`golden`](super::golden) has those of the others.

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::protocol::{Request, StrBytes};

use super::golden::{Capture, response, versions};
use crate::groups::ask;
use crate::groups::member::FIRST;
use crate::support::request::{name, text};

/// A member id as clients give them to themselves (KIP-1082), and one of another member.
const OWN_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const OTHER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAg";

/// JoinGroup with fixed metadata, in a form that this version can express.
fn join(version: i16, group: &str, member: &str) -> m::JoinGroupRequest {
    let request =
        ask::join(group, member).with_protocols(vec![ask::protocol("range", ask::subscription(&["golden"]))]);
    if version == 0 { request.with_rebalance_timeout_ms(-1) } else { request }
}

impl Capture {
    /// Sends a JoinGroup, notes both frames and the id that the answer names.
    fn join(&mut self, what: &str, version: i16, request: &m::JoinGroupRequest) -> StrBytes {
        let answer = self.ask(what, version, request);
        let id = response::<m::JoinGroupRequest>(version, &answer).member_id;
        if request.member_id.is_empty() && !id.is_empty() {
            self.mask_member(&id);
        }
        self.note(what, version, "response", &answer);
        id
    }

    /// A member of a classic group of its own, noted nowhere.
    fn member(&mut self, group: &str, instance: Option<&str>) -> StrBytes {
        let version = if instance.is_some() { 5 } else { 3 };
        let request = join(version, group, "").with_group_instance_id(instance.map(text));
        let joined = self.client.call(version, &request);
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        self.mask_member(&joined.member_id);
        joined.member_id
    }

    /// As [`Capture::member`], with partition 0 of `golden`.
    fn settled(&mut self, group: &str, instance: Option<&str>) -> StrBytes {
        let id = self.member(group, instance);
        let sync = ask::sync(group, &id, 1, &[(&id, ask::assignment("golden", &[0]))]);
        assert_eq!(self.client.call(5, &sync).error_code, 0);
        id
    }

    fn quietly<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        self.client.call(version, request)
    }
}

#[test]
fn join_group() {
    let mut capture = Capture::begin();
    for version in versions::<m::JoinGroupRequest>() {
        let group = format!("group-{version}");
        let id = capture.join("JoinGroup", version, &join(version, &group, ""));
        if version >= 4 {
            capture.join("JoinGroup with the id", version, &join(version, &group, &id));
        }
        let mut request = join(version, &group, "stranger");
        if version >= 8 {
            request.reason = Some(text("because"));
        }
        capture.join("JoinGroup of a stranger", version, &request);
        let short = join(version, &group, "").with_session_timeout_ms(1);
        capture.join("JoinGroup with a short session", version, &short);
        if version >= 5 {
            let request =
                join(version, &format!("static-{version}"), "").with_group_instance_id(Some(text("one")));
            let id = capture.join("JoinGroup of a static member", version, &request);
            let group = format!("static-{version}");
            let sync = ask::sync(&group, &id, 1, &[(&id, ask::assignment("golden", &[0]))]);
            assert_eq!(capture.quietly(5, &sync).error_code, 0);
            capture.join("JoinGroup of a static member that comes back", version, &request);
        }
    }
    capture.check("JoinGroup");
}

#[test]
fn sync_group() {
    let mut capture = Capture::begin();
    for version in versions::<m::SyncGroupRequest>() {
        let group = format!("group-{version}");
        let id = capture.member(&group, None);
        let mine = [(id.as_str(), ask::assignment("golden", &[0, 1]))];
        let sync = if version >= 5 { ask::sync } else { ask::sync_unnamed };
        capture.exchange("SyncGroup", version, &sync(&group, &id, 1, &mine));
        capture.exchange("SyncGroup of another generation", version, &sync(&group, &id, 7, &[]));
        capture.exchange("SyncGroup of a stranger", version, &sync(&group, "stranger", 1, &[]));
        capture.exchange("SyncGroup of no group", version, &sync("", &id, 1, &[]));
        if version >= 5 {
            let request = sync(&group, &id, 1, &[]).with_protocol_name(Some(text("sticky")));
            capture.exchange("SyncGroup with another protocol", version, &request);
            capture.exchange(
                "SyncGroup without a protocol",
                version,
                &ask::sync_unnamed(&group, &id, 1, &[]),
            );
        }
    }
    capture.check("SyncGroup");
}

#[test]
fn heartbeat() {
    let mut capture = Capture::begin();
    let id = capture.settled("group", None);
    let fixed = capture.settled("static", Some("one"));
    for version in versions::<m::HeartbeatRequest>() {
        capture.exchange("Heartbeat", version, &ask::heartbeat("group", &id, 1));
        capture.exchange("Heartbeat of another generation", version, &ask::heartbeat("group", &id, 7));
        capture.exchange("Heartbeat of a stranger", version, &ask::heartbeat("group", "stranger", 1));
        capture.exchange("Heartbeat of no group", version, &ask::heartbeat("", &id, 1));
        if version >= 3 {
            for (what, member) in
                [("Heartbeat of a static member", fixed.as_str()), ("Heartbeat in its place", "other")]
            {
                let request = ask::heartbeat("static", member, 1).with_group_instance_id(Some(text("one")));
                capture.exchange(what, version, &request);
            }
        }
    }
    capture.check("Heartbeat");
}

#[test]
fn leave_group() {
    let mut capture = Capture::begin();
    for version in versions::<m::LeaveGroupRequest>() {
        let group = format!("group-{version}");
        let id = capture.settled(&group, None);
        let fixed = format!("static-{version}");
        capture.settled(&fixed, Some("one"));
        if version < 3 {
            for (what, member) in [("LeaveGroup", id.as_str()), ("LeaveGroup of a stranger", "stranger")] {
                let request = m::LeaveGroupRequest::default().with_group_id(ask::group(&group));
                capture.exchange(what, version, &request.with_member_id(text(member)));
            }
            continue;
        }
        let mut members = ask::leave(&group, &[&id, "stranger"]);
        if version >= 5 {
            members.members[0].reason = Some(text("because"));
        }
        capture.exchange("LeaveGroup", version, &members);
        let named = ["one", "two"]
            .map(|instance| MemberIdentity::default().with_group_instance_id(Some(text(instance))));
        let request =
            m::LeaveGroupRequest::default().with_group_id(ask::group(&fixed)).with_members(named.to_vec());
        capture.exchange("LeaveGroup of static members", version, &request);
        capture.exchange("LeaveGroup of no group", version, &ask::leave("", &["stranger"]));
    }
    capture.check("LeaveGroup");
}

#[test]
fn offset_commit() {
    let mut capture = Capture::begin();
    for version in versions::<m::OffsetCommitRequest>() {
        let mut request = ask::commit("group", "golden", &[(0, 1), (9, 1), (1, i64::MAX)]);
        request.topics[0].partitions[2].committed_metadata = None;
        request.topics.push(ask::commit("group", "nowhere", &[(0, 1)]).topics.remove(0));
        if version <= 4 {
            request.retention_time_ms = 1_000_000;
        }
        if version >= 6 {
            request.topics[0].partitions[0].committed_leader_epoch = 0;
        }
        capture.exchange("OffsetCommit", version, &request);
        let mut long = ask::commit("group", "golden", &[(0, 1)]);
        long.topics[0].partitions[0].committed_metadata = Some(text("seventeen letters"));
        capture.exchange("OffsetCommit with long metadata", version, &long);
        let stranger = ask::commit("group", "golden", &[(0, 1)])
            .with_generation_id_or_member_epoch(1)
            .with_member_id(text("m"));
        capture.exchange("OffsetCommit of a stranger", version, &stranger);
        let lost = ask::commit("nobody", "golden", &[(0, 1)]).with_generation_id_or_member_epoch(1);
        capture.exchange("OffsetCommit to a group that is not there", version, &lost);
    }
    capture.check("OffsetCommit");
}

#[test]
fn offset_fetch() {
    let mut capture = Capture::begin();
    let mut commit = ask::commit("group", "golden", &[(0, 1)]);
    commit.topics[0].partitions[0].committed_leader_epoch = 0;
    capture.quietly(9, &commit);
    assert_eq!(capture.quietly(1, &ask::enter("consumer", OWN_ID, &["golden"])).error_code, 0);
    for version in versions::<m::OffsetFetchRequest>() {
        if version < 8 {
            let wanted = |topic: &str| {
                OffsetFetchRequestTopic::default().with_name(name(topic)).with_partition_indexes(vec![0, 1])
            };
            let mut request = m::OffsetFetchRequest::default()
                .with_group_id(ask::group("group"))
                .with_topics(Some(vec![wanted("golden"), wanted("nowhere")]));
            request.require_stable = version >= 7;
            capture.exchange("OffsetFetch", version, &request);
            if version >= 2 {
                capture.exchange("OffsetFetch of all", version, &request.with_topics(None));
            }
            continue;
        }
        let mut groups = vec![
            ask::offsets_of("group", Some(("golden", &[0, 1]))),
            ask::offsets_of("nobody", Some(("golden", &[0]))),
            ask::offsets_of("group", None),
        ];
        if version >= 9 {
            let of = |member: &str, epoch| {
                let asked = ask::offsets_of("consumer", Some(("golden", &[0])));
                asked.with_member_id(Some(text(member))).with_member_epoch(epoch)
            };
            groups.extend([of(OWN_ID, FIRST), of(OWN_ID, 7), of(OTHER_ID, FIRST)]);
        }
        capture.exchange("OffsetFetch", version, &ask::fetch_offsets(groups).with_require_stable(true));
    }
    capture.check("OffsetFetch");
}

#[test]
fn offset_delete() {
    let mut capture = Capture::begin();
    capture.quietly(9, &ask::commit("group", "golden", &[(0, 1)]));
    capture.settled("reading", None);
    for version in versions::<m::OffsetDeleteRequest>() {
        let mut request = ask::delete_offsets("group", "golden", &[0, 1, 9]);
        request.topics.push(ask::delete_offsets("group", "nowhere", &[0]).topics.remove(0));
        capture.exchange("OffsetDelete", version, &request);
        for (what, group) in [
            ("OffsetDelete of what is read", "reading"),
            ("OffsetDelete of a group that is not there", "nobody"),
        ] {
            capture.exchange(what, version, &ask::delete_offsets(group, "golden", &[0]));
        }
    }
    capture.check("OffsetDelete");
}

#[test]
fn describe_groups() {
    let mut capture = Capture::begin();
    capture.settled("group", Some("one"));
    capture.member("joining", None);
    assert_eq!(capture.quietly(1, &ask::enter("consumer", OWN_ID, &["golden"])).error_code, 0);
    for version in versions::<m::DescribeGroupsRequest>() {
        let groups = ["group", "joining", "consumer", "nobody", ""].map(ask::group);
        let request = m::DescribeGroupsRequest::default()
            .with_groups(groups.to_vec())
            .with_include_authorized_operations(version >= 3);
        capture.exchange("DescribeGroups", version, &request);
    }
    capture.check("DescribeGroups");
}

#[test]
fn list_groups() {
    let mut capture = Capture::begin();
    capture.quietly(9, &ask::commit("bare", "golden", &[(0, 1)]));
    capture.settled("classic", None);
    assert_eq!(capture.quietly(1, &ask::enter("consumer", OWN_ID, &["golden"])).error_code, 0);
    for version in versions::<m::ListGroupsRequest>() {
        let request = m::ListGroupsRequest::default();
        capture.exchange("ListGroups", version, &request);
        if version >= 4 {
            let request = request.clone().with_states_filter(vec![text("Empty"), text("dead")]);
            capture.exchange("ListGroups by state", version, &request);
        }
        if version >= 5 {
            let request = request.with_types_filter(vec![text("CONSUMER")]);
            capture.exchange("ListGroups by type", version, &request);
        }
    }
    capture.check("ListGroups");
}

#[test]
fn delete_groups() {
    let mut capture = Capture::begin();
    capture.settled("busy", None);
    for version in versions::<m::DeleteGroupsRequest>() {
        let old = format!("old-{version}");
        capture.quietly(9, &ask::commit(&old, "golden", &[(0, 1)]));
        capture.exchange("DeleteGroups", version, &ask::delete_groups(&[&old, "busy", "nobody", ""]));
    }
    capture.check("DeleteGroups");
}

#[test]
fn consumer_group_heartbeat() {
    let mut capture = Capture::begin();
    let topic = capture.topic_id;
    for version in versions::<m::ConsumerGroupHeartbeatRequest>() {
        let group = format!("group-{version}");
        let mut joining = ask::enter(&group, if version == 0 { "" } else { OWN_ID }, &["golden"])
            .with_instance_id(Some(text("one")))
            .with_rack_id(Some(text("north")))
            .with_server_assignor(Some(text("uniform")));
        if version >= 1 {
            joining.subscribed_topic_regex = Some(text("gol.*"));
        }
        let answer = capture.ask("ConsumerGroupHeartbeat that joins", version, &joining);
        let joined = response::<m::ConsumerGroupHeartbeatRequest>(version, &answer);
        let id = joined.member_id.expect("an id");
        if version == 0 {
            // This version lets the broker give the id.
            capture.mask_member(&id);
        }
        capture.note("ConsumerGroupHeartbeat that joins", version, "response", &answer);
        let own = |epoch| ask::beat(&group, &id, epoch).with_instance_id(Some(text("one")));
        capture.exchange("ConsumerGroupHeartbeat", version, &own(FIRST));
        let full = own(FIRST)
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(vec![name("golden")]))
            .with_topic_partitions(ask::owned(topic, &[0, 1]));
        capture.exchange("ConsumerGroupHeartbeat that says all", version, &full);
        capture.exchange("ConsumerGroupHeartbeat of another epoch", version, &own(7));
        capture.exchange(
            "ConsumerGroupHeartbeat of a stranger",
            version,
            &ask::beat(&group, OTHER_ID, FIRST),
        );
        let other = ask::enter(&group, OTHER_ID, &["golden"]).with_instance_id(Some(text("one")));
        capture.exchange("ConsumerGroupHeartbeat in a place that is taken", version, &other);
        let assignor = ask::enter(&group, OTHER_ID, &["golden"]).with_server_assignor(Some(text("best")));
        capture.exchange("ConsumerGroupHeartbeat for another assignor", version, &assignor);
        let nothing = ask::enter(&group, OTHER_ID, &[]).with_subscribed_topic_names(None);
        capture.exchange("ConsumerGroupHeartbeat without a subscription", version, &nothing);
        if version >= 1 {
            let bad = ask::enter(&group, OTHER_ID, &[]).with_subscribed_topic_regex(Some(text("(")));
            capture.exchange("ConsumerGroupHeartbeat with a bad expression", version, &bad);
        }
        capture.exchange("ConsumerGroupHeartbeat that leaves for a while", version, &own(-2));
        capture.exchange("ConsumerGroupHeartbeat that leaves", version, &own(-1));
        capture.exchange("ConsumerGroupHeartbeat of no group", version, &ask::beat("nobody", OWN_ID, 1));
    }
    capture.check("ConsumerGroupHeartbeat");
}

#[test]
fn consumer_group_describe() {
    let mut capture = Capture::begin();
    let by_expression = ask::enter("group", OWN_ID, &[])
        .with_subscribed_topic_names(None)
        .with_subscribed_topic_regex(Some(text("golden")))
        .with_rack_id(Some(text("north")));
    assert_eq!(capture.quietly(1, &by_expression).error_code, 0);
    let by_name = ask::enter("group", OTHER_ID, &["golden"]).with_instance_id(Some(text("one")));
    assert_eq!(capture.quietly(1, &by_name).error_code, 0);
    capture.settled("classic", None);
    for version in versions::<m::ConsumerGroupDescribeRequest>() {
        let groups = ["group", "classic", "nobody", ""].map(ask::group);
        for operations in [false, true] {
            let request = m::ConsumerGroupDescribeRequest::default()
                .with_group_ids(groups.to_vec())
                .with_include_authorized_operations(operations);
            let with = if operations { " with operations" } else { "" };
            capture.exchange(&format!("ConsumerGroupDescribe{with}"), version, &request);
        }
    }
    capture.check("ConsumerGroupDescribe");
}

#[test]
fn list_config_resources() {
    let mut capture = Capture::begin();
    let config = AlterableConfig::default()
        .with_name(text("consumer.session.timeout.ms"))
        .with_value(Some(text("50000")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(32)
        .with_resource_name(text("group"))
        .with_configs(vec![config]);
    let alter = m::IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    assert_eq!(capture.quietly(1, &alter).responses[0].error_code, 0);
    for version in versions::<m::ListConfigResourcesRequest>() {
        let request = m::ListConfigResourcesRequest::default();
        capture.exchange("ListConfigResources", version, &request);
        if version >= 1 {
            for (what, types) in [("of groups", vec![32]), ("of no kind", vec![99])] {
                let request = request.clone().with_resource_types(types);
                capture.exchange(&format!("ListConfigResources {what}"), version, &request);
            }
        }
    }
    capture.check("ListConfigResources");
}

#[test]
fn the_consumers_encoding_in_the_files_is_kafkas() {
    // What `ConsumerProtocol.serializeSubscription` and `serializeAssignment` write in version 1.
    let subscription = [0, 1, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(ask::subscription(&["t"]), Bytes::copy_from_slice(&subscription));
    let assignment = [0, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(ask::assignment("t", &[2]), Bytes::copy_from_slice(&assignment));
}
