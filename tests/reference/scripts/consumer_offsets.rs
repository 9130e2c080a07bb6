//! OffsetCommit and OffsetFetch of members of consumer groups.

use crate::play::play;
use crate::requests::{beat, commit, enter, fetch, fetch_all, fetched, owned, some};

#[test]
fn consumer_offsets() {
    play("consumer-offsets", |s| {
        let topic = s.topic("topic", 2);
        let other = s.topic("other", 1);
        let id = s.topic_id(&topic);
        let group = s.name("group");
        s.step("a member");
        s.call("a", 1, &enter(&group, "m1", &[&topic]));
        for version in [2, 7, 8, 9] {
            s.step(&format!("commit v{version}"));
            s.call("a", version, &commit(&group, 2, "m1", &[(&topic, 0, 1)]));
            s.call("a", version, &commit(&group, 0, "m1", &[(&topic, 0, 2)]));
            s.call("a", version, &commit(&group, 3, "m1", &[(&topic, 0, 2)]));
            s.call("a", version, &commit(&group, -1, "m1", &[(&topic, 0, 2)]));
            s.call("a", version, &commit(&group, -2, "m1", &[(&topic, 0, 2)]));
            s.call("a", version, &commit(&group, 2, "nobody", &[(&topic, 0, 2)]));
            s.call("a", version, &commit(&group, 2, "", &[(&topic, 0, 2)]));
            s.call("a", version, &commit(&group, -1, "", &[(&topic, 0, 2)]));
            s.call("a", version, &commit(&group, 2, "m1", &[(&topic, 5, 2), (&s.name("absent"), 0, 2)]));
        }
        s.step("commit v9 of a topic that it does not read, and with an instance id that nobody has");
        s.call("a", 9, &commit(&group, 2, "m1", &[(&other, 0, 1)]));
        s.call("a", 9, &commit(&group, 2, "m1", &[(&topic, 0, 2)]).with_group_instance_id(some("one")));
        let of = |member: Option<&str>, epoch| {
            let group =
                fetched(&group, Some(&[(&topic, &[0])])).with_member_id(member.map(crate::requests::text));
            fetch_all(vec![group.with_member_epoch(epoch)])
        };
        s.step("fetch v9");
        s.call("a", 9, &of(Some("m1"), 2));
        s.call("a", 9, &of(Some("m1"), 0));
        s.call("a", 9, &of(Some("m1"), 3));
        s.call("a", 9, &of(Some("m1"), -1));
        s.call("a", 9, &of(Some("nobody"), 2));
        s.call("a", 9, &of(Some("nobody"), -1));
        s.call("a", 9, &of(Some(""), 2));
        s.call("a", 9, &of(None, 2));
        s.call("a", 9, &of(None, -1));
        s.step("fetch v8 and before know no member");
        s.call("a", 8, &fetch_all(vec![fetched(&group, None)]));
        s.call("a", 5, &fetch(&group, None));
        s.step("a second member comes: the first one is still in its epoch, and may commit");
        s.call("b", 1, &enter(&group, "m2", &[&topic]));
        s.call("a", 9, &commit(&group, 2, "m1", &[(&topic, 0, 3)]));
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(id, &[0, 1])])));
        s.call("a", 9, &commit(&group, 2, "m1", &[(&topic, 0, 4), (&topic, 1, 4)]));
        s.step("and when it is in the next one, the old epoch is stale");
        let kept = s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(id, &[0, 1])])));
        let kept = kept.assignment.and_then(|given| given.topic_partitions.into_iter().next());
        let kept = kept.map_or(vec![0], |of| of.partitions);
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(id, &kept)])));
        for partition in [0, 1] {
            s.call("a", 9, &commit(&group, 2, "m1", &[(&topic, partition, 5)]));
            s.call("a", 8, &commit(&group, 2, "m1", &[(&topic, partition, 5)]));
            s.call("a", 9, &commit(&group, 3, "m1", &[(&topic, partition, 6)]));
        }
        s.call("a", 9, &of(Some("m1"), 2));
        s.call("a", 9, &of(Some("m1"), 3));
        s.step("all have left");
        s.call("a", 1, &beat(&group, "m1", -1));
        s.call("b", 1, &beat(&group, "m2", -1));
        s.call("a", 9, &commit(&group, 3, "m1", &[(&topic, 0, 7)]));
        s.call("a", 9, &commit(&group, -1, "", &[(&topic, 0, 8)]));
        s.call("a", 9, &of(Some("m1"), 3));
        s.call("a", 9, &of(None, -1));
    });
}
