//! Static members of consumer groups.

use crate::play::play;
use crate::requests::{beat, commit, enter, leave_all, owned, some};

#[test]
fn consumer_static() {
    play("consumer-static", |s| {
        let topic = s.topic("topic", 2);
        let id = s.topic_id(&topic);
        for version in 0..=1 {
            let group = s.name(&format!("v{version}"));
            let one = |member: &str| enter(&group, member, &[&topic]).with_instance_id(some("one"));
            let beat_one =
                |member: &str, epoch: i32| beat(&group, member, epoch).with_instance_id(some("one"));
            s.step(&format!("v{version} a static member joins"));
            s.call("a", version, &one("m1"));
            s.call("a", version, &beat_one("m1", 2).with_topic_partitions(owned(&[(id, &[0, 1])])));
            s.step(&format!("v{version} another one with its instance id is refused while it is there"));
            s.call("b", version, &one("m2"));
            s.step(&format!("v{version} mistakes"));
            s.call("b", version, &beat_one("m2", 2));
            s.call("b", version, &beat_one("m2", -1));
            s.call("b", version, &beat_one("m2", -2));
            s.call("b", version, &beat(&group, "m1", 2).with_instance_id(some("two")));
            s.call("b", version, &beat(&group, "m1", 2));
            s.call("b", version, &beat_one("m1", 4));
            s.step(&format!("v{version} it joins again with its own member id"));
            s.call("a", version, &one("m1"));
            s.step(&format!("v{version} it leaves for a while"));
            s.call("a", version, &beat_one("m1", -2));
            s.step(&format!("v{version} while it is away"));
            s.call("a", version, &beat_one("m1", 2));
            s.call("a", version, &beat_one("m1", -2));
            s.call("a", version, &beat_one("m2", 2));
            s.call("a", 9, &commit(&group, 2, "m1", &[(&topic, 0, 1)]).with_group_instance_id(some("one")));
            s.call("a", 9, &commit(&group, -2, "m1", &[(&topic, 0, 1)]).with_group_instance_id(some("one")));
            s.step(&format!("v{version} a dynamic member comes meanwhile: it is given what is free"));
            s.call("d", version, &enter(&group, "m9", &[&topic]));
            s.step(&format!("v{version} the static one comes back with another member id"));
            s.call("b", version, &one("m2"));
            s.step(&format!("v{version} its old member id"));
            s.call("a", version, &beat_one("m1", 2));
            s.call("a", version, &beat_one("m1", -1));
            s.call("a", version, &beat(&group, "m1", 2));
            s.call("b", version, &beat_one("m2", 3));
            s.step(&format!("v{version} it leaves by the classic request"));
            s.call("x", 5, &leave_all(&group, &[("", Some("one"))]));
            s.call("x", 5, &leave_all(&group, &[("m2", Some("other")), ("", Some("none")), ("m9", None)]));
            s.step(&format!("v{version} it leaves for good"));
            s.call("b", version, &one("m3"));
            s.call("b", version, &beat_one("m3", -1));
            s.call("b", version, &one("m4"));
        }
    });
}
