//! Groups whose offsets are in an open transaction.

use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{DeleteGroupsRequest, DescribeGroupsRequest, OffsetDeleteRequest};

use super::{ended, producer};
use crate::play::play;
use crate::requests::{commit, enter, fetch, group, groups, join, some, sync, text, topic};
use crate::transaction_requests::{add_offsets, commit_in};

#[test]
fn members_of_consumer_groups() {
    play("txn-offset-commit-of-consumers", |s| {
        let topic = s.topic("topic", 1);
        let group = s.name("g");
        let (id, of) = producer(s, "a");
        s.quiet(1, &enter(&group, "m1", &[&topic]));
        // The first assignment is another epoch.
        s.until_members(&group, 1);
        for version in [3, 4, 5] {
            s.step(&format!("v{version} of a member in its epoch, of others, and of other epochs"));
            s.quiet(3, &add_offsets(&id, of, &group));
            let request = commit_in(&id, of, &group, &[(&topic, 0, 2)]);
            for (member, epoch) in [
                ("m1", 2),
                ("m1", 1),
                ("m1", 3),
                ("m1", -1),
                ("nobody", 2),
                ("", -1),
                ("", 2),
                ("nobody", -1),
            ] {
                let of = request.clone().with_member_id(text(member)).with_generation_id(epoch);
                s.call("x", version, &of);
            }
            s.call("x", version, &request.with_generation_id(2).with_group_instance_id(some("one")));
        }
        ended(s, &id, of, true);
    });
}

#[test]
fn static_members() {
    play("txn-offset-commit-of-static-members", |s| {
        let topic = s.topic("topic", 1);
        let group = s.name("g");
        let (id, of) = producer(s, "a");
        let joined =
            |s: &mut crate::script::Script| s.quiet(5, &join(&group, "").with_group_instance_id(some("one")));
        let first = joined(s);
        let request = sync(&group, first.generation_id, &first.member_id, &[(&first.member_id, "")]);
        s.quiet(5, &request.with_group_instance_id(some("one")));
        let second = joined(s);
        for version in [3, 4, 5] {
            s.step(&format!("v{version} of the present member, of the one before, and of another instance"));
            s.quiet(3, &add_offsets(&id, of, &group));
            let request =
                commit_in(&id, of, &group, &[(&topic, 0, 2)]).with_generation_id(second.generation_id);
            for member in [&second.member_id, &first.member_id] {
                for instance in [Some("one"), Some("two"), None] {
                    let of = request.clone().with_member_id(member.clone());
                    s.call("x", version, &of.with_group_instance_id(instance.map(text)));
                }
            }
        }
        ended(s, &id, of, true);
    });
}

/// OffsetDelete of one partition.
fn delete_offset(of: &str, name: &str, partition: i32) -> OffsetDeleteRequest {
    let partition = OffsetDeleteRequestPartition::default().with_partition_index(partition);
    let of_topic =
        OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    OffsetDeleteRequest::default().with_group_id(group(of)).with_topics(vec![of_topic])
}

#[test]
fn deleted_while_pending() {
    play("deleted-while-pending", |s| {
        let topic = s.topic("topic", 2);
        let delete = |group: &str| DeleteGroupsRequest::default().with_groups_names(groups(&[group]));
        let pending = |s: &mut crate::script::Script, group: &str| {
            s.call("x", 7, &fetch(group, None));
            s.call("x", 7, &fetch(group, Some(&[(&topic, &[0, 1])])).with_require_stable(true));
        };

        s.step("a group that has pending offsets alone, as it is seen");
        let alone = s.name("alone");
        let (id, of) = producer(s, "a");
        s.call("x", 5, &commit_in(&id, of, &alone, &[(&topic, 0, 5)]));
        s.call("x", 5, &DescribeGroupsRequest::default().with_groups(groups(&[&alone])));
        s.step("it is deleted");
        s.call("x", 2, &delete(&alone));
        pending(s, &alone);
        s.step("and the transaction committed");
        ended(s, &id, of, true);
        pending(s, &alone);

        s.step("an offset is deleted beside a pending one of its partition");
        let both = s.name("both");
        let (id, of) = producer(s, "b");
        s.quiet(2, &commit(&both, -1, "", &[(&topic, 0, 1), (&topic, 1, 1)]));
        s.call("x", 5, &commit_in(&id, of, &both, &[(&topic, 0, 5)]));
        s.call("x", 0, &delete_offset(&both, &topic, 0));
        pending(s, &both);
        s.step("and the transaction committed: is the pending one there?");
        ended(s, &id, of, true);
        pending(s, &both);

        s.step("a group is deleted that has both");
        let whole = s.name("whole");
        let (id, of) = producer(s, "c");
        s.quiet(2, &commit(&whole, -1, "", &[(&topic, 0, 1), (&topic, 1, 1)]));
        s.call("x", 5, &commit_in(&id, of, &whole, &[(&topic, 0, 5)]));
        s.call("x", 2, &delete(&whole));
        pending(s, &whole);
        s.step("and the transaction committed: is the group there?");
        ended(s, &id, of, true);
        pending(s, &whole);
    });
}
