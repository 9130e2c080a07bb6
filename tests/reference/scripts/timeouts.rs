//! Members that say nothing: sessions and rebalances that run out. Only what comes is recorded, not when.

use kafka_protocol::messages::{JoinGroupRequest, SyncGroupRequest};

use crate::play::play;
use crate::requests::{commit, heartbeat, join, some, sync};

#[test]
fn classic_timeouts() {
    play("classic-timeouts", |s| {
        let topic = s.topic("topic", 1);
        s.step("a member whose session has run out");
        let group = s.name("session");
        let a = s.call("a", 3, &join(&group, "").with_session_timeout_ms(300)).member_id;
        s.call("a", 3, &sync(&group, 1, &a, &[]));
        s.until_classic(&group, "Empty");
        s.call("a", 4, &heartbeat(&group, 1, &a));
        s.call("a", 3, &sync(&group, 1, &a, &[]));
        s.call("a", 9, &commit(&group, 1, &a, &[(&topic, 0, 5)]));
        s.call("a", 9, &commit(&group, 2, &a, &[(&topic, 0, 5)]));
        s.step("it joins with its old id");
        s.call("a", 9, &join(&group, &a));
        s.call("a", 3, &join(&group, ""));
        s.step("an id that was handed out and not used in time");
        let group = s.name("pending");
        let id = s.call("a", 9, &join(&group, "").with_session_timeout_ms(100)).member_id;
        std::thread::sleep(std::time::Duration::from_millis(600));
        s.call("a", 9, &join(&group, &id));
        s.step("the leader does not come to a rebalance: the other one leads");
        let group = s.name("leader-gone");
        let a = s.call("a", 3, &join(&group, "").with_rebalance_timeout_ms(600)).member_id;
        s.call("a", 3, &sync(&group, 1, &a, &[]));
        s.park("b", 3, &join(&group, "").with_rebalance_timeout_ms(600));
        s.finish::<JoinGroupRequest>("b");
        s.call("a", 4, &heartbeat(&group, 1, &a));
        s.step("a static member does not come to a rebalance: it stays a member");
        let group = s.name("static-gone");
        let fast = join(&group, "").with_rebalance_timeout_ms(600).with_group_instance_id(some("one"));
        let a = s.call("a", 9, &fast).member_id;
        s.call("a", 3, &sync(&group, 1, &a, &[]));
        s.park("b", 3, &join(&group, "").with_rebalance_timeout_ms(600));
        s.finish::<JoinGroupRequest>("b");
        s.call("a", 4, &heartbeat(&group, 2, &a));
        s.step("the leader does not assign: the follower must join again");
        let group = s.name("no-sync");
        let a = s.call("a", 3, &join(&group, "").with_rebalance_timeout_ms(600)).member_id;
        s.call("a", 3, &sync(&group, 1, &a, &[]));
        s.park("b", 3, &join(&group, "").with_rebalance_timeout_ms(600));
        s.call("a", 3, &join(&group, &a).with_rebalance_timeout_ms(600));
        let b = s.finish::<JoinGroupRequest>("b").member_id;
        s.park("b", 3, &sync(&group, 2, &b, &[]));
        s.finish::<SyncGroupRequest>("b");
        s.call("b", 4, &heartbeat(&group, 2, &b));
        s.call("a", 4, &heartbeat(&group, 2, &a));
    });
}
