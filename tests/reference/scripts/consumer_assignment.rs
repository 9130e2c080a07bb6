//! Members of a consumer group are reconciled: nobody is given a partition before its last owner gave it up.

use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest};
use uuid::Uuid;

use crate::play::play;
use crate::requests::{beat, enter, groups, owned, some};
use crate::script::Script;

fn has(
    request: ConsumerGroupHeartbeatRequest,
    id: Uuid,
    partitions: &[i32],
) -> ConsumerGroupHeartbeatRequest {
    let owned = if partitions.is_empty() { Some(vec![]) } else { owned(&[(id, partitions)]) };
    request.with_topic_partitions(owned)
}

fn describe(s: &mut Script, group: &str) {
    s.call("x", 1, &ConsumerGroupDescribeRequest::default().with_group_ids(groups(&[group])));
}

/// Two members of one topic of four partitions, with an assignor; what is given is the answer's own.
fn two_members(s: &mut Script, assignor: &str) {
    let topic = s.topic("topic", 4);
    let id = s.topic_id(&topic);
    let group = s.name("group");
    let partitions = |answer: &kafka_protocol::messages::ConsumerGroupHeartbeatResponse| -> Vec<i32> {
        let assignment = answer.assignment.as_ref();
        assignment.and_then(|given| given.topic_partitions.first()).map_or(vec![], |of| of.partitions.clone())
    };
    s.step("the first one is given all");
    s.call("a", 1, &enter(&group, "m1", &[&topic]).with_server_assignor(some(assignor)));
    describe(s, &group);
    s.step("a second one comes and is given nothing yet");
    s.call("b", 1, &enter(&group, "m2", &[&topic]).with_server_assignor(some(assignor)));
    describe(s, &group);
    s.step("the first one, owning all, is told what to keep");
    let kept = partitions(&s.call("a", 1, &has(beat(&group, "m1", 2), id, &[0, 1, 2, 3])));
    describe(s, &group);
    s.step("before the first one gave up, the second one still gets nothing");
    s.call("b", 1, &beat(&group, "m2", 3));
    s.step("the first one still owns all");
    s.call("a", 1, &has(beat(&group, "m1", 2), id, &[0, 1, 2, 3]));
    s.call("a", 1, &beat(&group, "m1", 2));
    s.step("the first one gave up and is in the new epoch");
    s.call("a", 1, &has(beat(&group, "m1", 2), id, &kept));
    describe(s, &group);
    s.step("the second one is given the rest");
    let rest = partitions(&s.call("b", 1, &beat(&group, "m2", 3)));
    s.call("b", 1, &has(beat(&group, "m2", 3), id, &rest));
    s.call("b", 1, &beat(&group, "m2", 3));
    describe(s, &group);
    s.step("a third one comes, and all go on");
    s.call("c", 1, &enter(&group, "m3", &[&topic]).with_server_assignor(some(assignor)));
    let kept_a = partitions(&s.call("a", 1, &has(beat(&group, "m1", 3), id, &kept)));
    let kept_b = partitions(&s.call("b", 1, &has(beat(&group, "m2", 3), id, &rest)));
    describe(s, &group);
    let kept_a = if kept_a.is_empty() { kept } else { kept_a };
    let kept_b = if kept_b.is_empty() { rest } else { kept_b };
    s.call("a", 1, &has(beat(&group, "m1", 3), id, &kept_a));
    s.call("b", 1, &has(beat(&group, "m2", 3), id, &kept_b));
    s.call("c", 1, &beat(&group, "m3", 4));
    describe(s, &group);
    s.step("the first one leaves: its partitions go to the others");
    s.call("a", 1, &beat(&group, "m1", -1));
    s.call("b", 1, &beat(&group, "m2", 4));
    s.call("c", 1, &beat(&group, "m3", 4));
    s.call("b", 1, &beat(&group, "m2", 5));
    s.call("c", 1, &beat(&group, "m3", 5));
    describe(s, &group);
}

#[test]
fn consumer_uniform() {
    play("consumer-uniform", |s| two_members(s, "uniform"));
}

#[test]
fn consumer_range() {
    play("consumer-range", |s| two_members(s, "range"));
}

#[test]
fn consumer_reconciliation() {
    play("consumer-reconciliation", |s| {
        let topic = s.topic("topic", 2);
        let id = s.topic_id(&topic);
        let group = s.name("group");
        s.step("two members, of whom the first must revoke");
        s.call("a", 1, &enter(&group, "m1", &[&topic]).with_server_assignor(some("range")));
        s.call("b", 1, &enter(&group, "m2", &[&topic]));
        s.call("a", 1, &has(beat(&group, "m1", 2), id, &[0, 1]));
        s.step("a third one comes while the first one revokes: it stays in its epoch");
        s.call("c", 1, &enter(&group, "m3", &[&topic]));
        s.call("a", 1, &has(beat(&group, "m1", 2), id, &[0, 1]));
        describe(s, &group);
        s.step("the one that is waited for revokes");
        s.call("a", 1, &has(beat(&group, "m1", 2), id, &[0]));
        s.call("b", 1, &beat(&group, "m2", 3));
        s.call("c", 1, &beat(&group, "m3", 4));
        describe(s, &group);
        s.step("a member says that it owns what it was not given");
        s.call("c", 1, &has(beat(&group, "m3", 4), id, &[0, 1]));
        s.step("a member that revokes leaves");
        let group = s.name("leaves");
        s.call("a", 1, &enter(&group, "m1", &[&topic]).with_server_assignor(some("range")));
        s.call("b", 1, &enter(&group, "m2", &[&topic]));
        s.call("a", 1, &has(beat(&group, "m1", 2), id, &[0, 1]));
        s.call("a", 1, &beat(&group, "m1", -1));
        s.call("b", 1, &beat(&group, "m2", 3));
        s.call("b", 1, &beat(&group, "m2", 4));
        s.step("a member that does not revoke in time is fenced");
        let group = s.name("slow");
        s.call(
            "a",
            1,
            &enter(&group, "m1", &[&topic])
                .with_server_assignor(some("range"))
                .with_rebalance_timeout_ms(500),
        );
        s.call("b", 1, &enter(&group, "m2", &[&topic]));
        s.call("a", 1, &has(beat(&group, "m1", 2), id, &[0, 1]));
        s.until_members(&group, 1);
        s.call("a", 1, &has(beat(&group, "m1", 2), id, &[0, 1]));
        s.call("b", 1, &beat(&group, "m2", 3));
        s.call("b", 1, &beat(&group, "m2", 4));
        s.step("partitions are added");
        let group = s.name("grows");
        let grows = s.topic("grows", 1);
        let grows_id = s.topic_id(&grows);
        s.call("a", 1, &enter(&group, "m1", &[&grows]));
        s.call("a", 1, &has(beat(&group, "m1", 2), grows_id, &[0]));
        let more = kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic::default()
            .with_name(crate::requests::topic(&grows))
            .with_count(3)
            .with_assignments(None);
        s.quiet(
            3,
            &kafka_protocol::messages::CreatePartitionsRequest::default()
                .with_topics(vec![more])
                .with_timeout_ms(30_000),
        );
        s.repeat("a", 1, &beat(&group, "m1", 2), |answer| answer.member_epoch == 3);
        s.step("a topic is deleted");
        let names = vec![crate::requests::topic(&grows)];
        let delete = kafka_protocol::messages::DeleteTopicsRequest::default();
        s.quiet(5, &delete.with_topic_names(names).with_timeout_ms(30_000));
        s.repeat("a", 1, &has(beat(&group, "m1", 3), grows_id, &[0, 1, 2]), |answer| {
            answer.assignment.as_ref().is_some_and(|given| given.topic_partitions.is_empty())
        });
        s.call("a", 1, &has(beat(&group, "m1", 3), grows_id, &[]));
        s.call("a", 1, &has(beat(&group, "m1", 4), grows_id, &[]));
    });
}
