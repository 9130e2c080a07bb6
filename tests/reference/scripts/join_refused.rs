//! JoinGroup that is refused, and which of several mistakes counts.

use kafka_protocol::messages::JoinGroupRequest;

use super::classic;
use crate::play::play;
use crate::requests::{LONG_MS, heartbeat, join, leave, protocols, some, sync};
use crate::script::Script;

#[test]
fn join_refused() {
    play("join-refused", |s| {
        for version in [0, 4, 9] {
            let group = s.name(&format!("v{version}"));
            s.step(&format!("v{version} the group id is empty"));
            s.call("a", version, &join("", ""));
            s.step(&format!("v{version} the group id is empty, the timeout too short, the member unknown"));
            s.call("a", version, &join("", "nobody").with_session_timeout_ms(1));
            s.step(&format!("v{version} session timeouts out of bounds"));
            for timeout in [-1, 0, 99, 1_800_001] {
                s.call("a", version, &join(&group, "").with_session_timeout_ms(timeout));
            }
            s.step(&format!("v{version} session timeouts on the bounds"));
            for timeout in [100, 1_800_000] {
                let group = s.name(&format!("v{version}-{timeout}"));
                let id = s.call("a", version, &join(&group, "").with_session_timeout_ms(timeout)).member_id;
                s.quiet(1, &leave(&group, &id));
            }
            s.step(&format!("v{version} an unknown member of an unknown group"));
            s.call("a", version, &join(&group, "nobody"));
            s.step(&format!("v{version} an unknown member of an unknown group, the timeout too short"));
            s.call("a", version, &join(&group, "nobody").with_session_timeout_ms(1));
            s.step(&format!("v{version} no protocols"));
            s.call("a", version, &join(&group, "").with_protocols(vec![]));
            s.step(&format!("v{version} no protocols, an unknown member"));
            s.call("a", version, &join(&group, "nobody").with_protocols(vec![]));
            s.step(&format!("v{version} no protocols, the timeout too short"));
            s.call("a", version, &join(&group, "").with_protocols(vec![]).with_session_timeout_ms(1));
            s.step(&format!("v{version} an empty protocol type"));
            s.call("a", version, &join(&group, "").with_protocol_type("".into()));
            s.step(&format!("v{version} an empty protocol type, an unknown member"));
            s.call("a", version, &join(&group, "nobody").with_protocol_type("".into()));
        }
    });
}

#[test]
fn join_refused_by_a_stable_group() {
    play("join-refused-by-a-group", |s| {
        let group = s.name("group");
        s.step("a stable group");
        let a = classic::stable(s, &group);
        for version in [0, 4, 9] {
            s.step(&format!("v{version} another protocol type"));
            s.call("b", version, &join(&group, "").with_protocol_type("connect".into()));
            s.step(&format!("v{version} no common protocol"));
            s.call("b", version, &join(&group, "").with_protocols(protocols(&[("other", "")])));
            s.step(&format!("v{version} no protocol"));
            s.call("b", version, &join(&group, "").with_protocols(vec![]));
            s.step(&format!("v{version} an empty protocol type"));
            s.call("b", version, &join(&group, "").with_protocol_type("".into()));
            s.step(&format!("v{version} an unknown member"));
            s.call("b", version, &join(&group, "nobody"));
            s.step(&format!("v{version} an unknown member of another protocol type"));
            s.call("b", version, &join(&group, "nobody").with_protocol_type("connect".into()));
            s.step(&format!("v{version} the member itself with another protocol type"));
            s.call("a", version, &join(&group, &a).with_protocol_type("connect".into()));
            s.step(&format!("v{version} the member itself, alone, with another protocol"));
            s.call("a", version, &join(&group, &a).with_protocols(protocols(&[("other", "")])));
            s.step(&format!("v{version} and back"));
            let again = s.call("a", version, &join(&group, &a));
            s.call("a", 3, &sync(&group, again.generation_id, &a, &[]));
        }
        s.step("nothing has happened to the member");
        s.call("a", 3, &heartbeat(&group, 4, &a));
    });
}

/// What a script needs to come to the point where nobody else joins, milliseconds; then it waits for the rest of it.
const REBALANCE_MS: i32 = 4_000;

/// JoinGroup of a rebalance that ends while the script waits.
fn bounded(group: &str, member: &str) -> JoinGroupRequest {
    join(group, member).with_rebalance_timeout_ms(REBALANCE_MS)
}

/// Takes the answers of those who wait and whose leader has gone: any of them may be the next one. Returns its member
/// id and the generation.
fn elected(s: &mut Script, waiting: &[&str]) -> (String, i32) {
    let answers: Vec<_> =
        waiting.iter().map(|connection| s.finish_unrecorded::<JoinGroupRequest>(connection)).collect();
    let leaders: Vec<_> = answers.iter().filter(|answer| answer.member_id == answer.leader).collect();
    let (leader, generation) = leaders
        .first()
        .map_or((String::new(), -1), |answer| (answer.leader.to_string(), answer.generation_id));
    let agree = answers.iter().all(|answer| {
        *answer.leader == *leader
            && answer.generation_id == generation
            && answer.error_code == 0
            && answer.members.len() == if *answer.member_id == *leader { waiting.len() } else { 0 }
    });
    s.note(&format!("{} leads in generation {generation}, all agree: {agree}", leaders.len()));
    (leader, generation)
}

#[test]
fn join_full_group() {
    play("join-full-group", |s| {
        let group = s.name("group");
        s.step("one member, and three that wait for it");
        let a = s.call("a", 3, &bounded(&group, "")).member_id;
        s.call("a", 3, &sync(&group, 1, &a, &[]));
        for connection in ["b", "c", "d"] {
            s.park(connection, 3, &bounded(&group, ""));
        }
        s.step("preparing: only those who wait are counted, so a fifth one may wait too");
        s.park("e", 3, &bounded(&group, ""));
        for version in [3, 4, 9] {
            s.step(&format!("v{version} preparing: another one is too many"));
            s.call("f", version, &bounded(&group, ""));
        }
        s.step("v9 preparing: a static member is too many");
        s.call("f", 9, &bounded(&group, "").with_group_instance_id(some("static")));
        s.step("preparing: and now there is no room for the first one");
        s.call("a", 3, &bounded(&group, &a));
        s.call("a", 4, &heartbeat(&group, 1, &a));
        s.step("it is no member any more, and the rebalance ends when its time has run out");
        s.call("a", 1, &leave(&group, &a));
        let (leader, generation) = elected(s, &["b", "c", "d", "e"]);
        for version in [3, 4, 9] {
            s.step(&format!("v{version} a fifth one comes to a full group that completes a rebalance"));
            s.call("f", version, &bounded(&group, ""));
        }
        s.step("the group is stable");
        s.quiet(3, &sync(&group, generation, &leader, &[]));
        s.until_classic(&group, "Stable");
        for version in [3, 4, 9] {
            s.step(&format!("v{version} a fifth one comes to a full stable group"));
            s.call("f", version, &bounded(&group, ""));
        }
        s.step("v9 a static member comes to a full stable group");
        s.call("f", 9, &bounded(&group, "").with_group_instance_id(some("static")));
        s.step("full, and another protocol type");
        s.call("f", 9, &bounded(&group, "").with_protocol_type("connect".into()));
        s.step("full, and an unknown member id");
        s.call("f", 9, &bounded(&group, "nobody"));
    });
}

#[test]
fn join_pending_members() {
    play("join-pending-members", |s| {
        let group = s.name("pending");
        s.step("ids that were handed out: more than the group may have members");
        let ids: Vec<_> = (0..5).map(|_| s.call("a", 9, &bounded(&group, "")).member_id).collect();
        s.step("all but one who have an id join, the first at once");
        s.call("a", 9, &bounded(&group, &ids[0]));
        for (connection, id) in ["b", "c", "d"].iter().zip(&ids[1..]) {
            s.park(connection, 9, &bounded(&group, id));
        }
        s.step("the last one waits too");
        s.park("e", 9, &bounded(&group, &ids[4]));
        s.call("x", 3, &heartbeat(&group, 1, &ids[4]));
        s.step("no room for the first one");
        s.call("a", 9, &bounded(&group, &ids[0]));
        s.step("it is no member any more, and the rebalance ends when its time has run out");
        s.call("a", 1, &leave(&group, &ids[0]));
        elected(s, &["b", "c", "d", "e"]);
    });
}

#[test]
fn join_timeouts_given() {
    play("join-odd-timeouts", |s| {
        // Whether such a member lives long enough to sync is a matter of luck.
        for (name, rebalance) in [("negative", -1), ("zero", 0)] {
            let group = s.name(name);
            s.step(&format!("a {name} rebalance timeout"));
            s.call("a", 3, &join(&group, "").with_rebalance_timeout_ms(rebalance));
        }
        s.step("v0 has no rebalance timeout");
        let group = s.name("v0");
        let id = s.call("a", 0, &join(&group, "").with_rebalance_timeout_ms(LONG_MS)).member_id;
        s.call("a", 0, &sync(&group, 1, &id, &[]));
        s.call("a", 0, &heartbeat(&group, 1, &id));
    });
}
