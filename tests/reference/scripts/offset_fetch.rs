//! OffsetFetch, of one group and of many.

use super::classic;
use crate::play::play;
use crate::requests::{commit, fetch, fetch_all, fetched, some};

#[test]
fn offset_fetch() {
    play("offset-fetch", |s| {
        let topic = s.topic("topic", 3);
        let other = s.topic("other", 1);
        let absent = s.name("absent");
        let group = s.name("group");
        let none = s.name("none");
        s.step("offsets are committed");
        s.call("x", 9, &commit(&group, -1, "", &[(&topic, 0, 10), (&topic, 2, 12), (&other, 0, 1)]));
        for version in [1, 2, 3, 5, 7] {
            s.step(&format!("v{version} some partitions"));
            s.call(
                "x",
                version,
                &fetch(&group, Some(&[(&topic, &[0, 1, 9]), (&absent, &[0]), (&other, &[0])])),
            );
            s.step(&format!("v{version} no topics, and a topic without partitions"));
            s.call("x", version, &fetch(&group, Some(&[])));
            s.call("x", version, &fetch(&group, Some(&[(&topic, &[])])));
            s.step(&format!("v{version} of an unknown group"));
            s.call("x", version, &fetch(&none, Some(&[(&topic, &[0]), (&absent, &[0])])));
            s.step(&format!("v{version} of an empty group id"));
            s.call("x", version, &fetch("", Some(&[(&topic, &[0])])));
            if version >= 2 {
                s.step(&format!("v{version} all topics"));
                s.call("x", version, &fetch(&group, None));
                s.call("x", version, &fetch(&none, None));
                s.call("x", version, &fetch("", None));
            }
        }
        s.step("v7 only what is stable");
        s.call("x", 7, &fetch(&group, None).with_require_stable(true));
        s.step("v1 a partition and a topic twice");
        s.call("x", 1, &fetch(&group, Some(&[(&topic, &[0, 0]), (&topic, &[0, 2])])));
        for version in 8..=9 {
            s.step(&format!("v{version} many groups"));
            let groups = vec![
                fetched(&group, None),
                fetched(&none, None),
                fetched("", None),
                fetched(&s.name("more"), Some(&[(&topic, &[0, 9]), (&absent, &[0])])),
            ];
            s.call("x", version, &fetch_all(groups));
            s.step(&format!("v{version} a group in parts"));
            let asked: [(&str, &[i32]); 2] = [(&topic, &[0, 1, 9]), (&absent, &[0])];
            s.call("x", version, &fetch_all(vec![fetched(&group, Some(&asked))]));
            s.call("x", version, &fetch_all(vec![fetched(&group, Some(&[]))]));
            s.step(&format!("v{version} one group twice"));
            let twice =
                vec![fetched(&group, Some(&[(&other, &[0])])), fetched(&group, Some(&[(&topic, &[0])]))];
            s.call("x", version, &fetch_all(twice));
            s.step(&format!("v{version} no group"));
            s.call("x", version, &fetch_all(vec![]));
            s.step(&format!("v{version} only what is stable"));
            s.call("x", version, &fetch_all(vec![fetched(&group, None)]).with_require_stable(true));
        }
        s.step("v9 of a member of an unknown group");
        let asked: [(&str, &[i32]); 1] = [(&topic, &[0])];
        let of = |group: &str, member: Option<&str>, epoch| {
            let group = fetched(group, Some(&asked)).with_member_id(member.map(crate::requests::text));
            fetch_all(vec![group.with_member_epoch(epoch)])
        };
        s.call("x", 9, &of(&none, Some("nobody"), 1));
        s.call("x", 9, &of(&none, Some("nobody"), -1));
        s.call("x", 9, &of(&none, Some(""), 0));
        s.call("x", 9, &of(&none, None, 5));
        s.step("v9 of a member of a group that only has offsets");
        s.call("x", 9, &of(&group, Some("nobody"), 1));
        s.call("x", 9, &of(&group, Some("nobody"), 0));
        s.call("x", 9, &of(&group, None, 5));
        s.step("v9 of a member of a classic group");
        let classic = s.name("classic");
        let a = classic::stable(s, &classic);
        s.call("x", 9, &of(&classic, Some(&a), 1));
        s.call("x", 9, &of(&classic, Some(&a), 2));
        s.call("x", 9, &of(&classic, Some(&a), -1));
        s.call("x", 9, &of(&classic, Some("nobody"), 1));
        s.call("x", 9, &of(&classic, None, -1));
        s.step("an empty metadata and a null one are read alike");
        let mut request = commit(&group, -1, "", &[(&topic, 0, 20), (&topic, 1, 21)]);
        request.topics[0].partitions[0].committed_metadata = None;
        request.topics[1].partitions[0].committed_metadata = some("");
        s.call("x", 9, &request);
        s.call("x", 2, &fetch(&group, Some(&[(&topic, &[0, 1])])));
        s.call("x", 9, &fetch_all(vec![fetched(&group, Some(&[(&topic, &[0, 1])]))]));
        s.step("a topic that is deleted takes its offsets along");
        let names = vec![crate::requests::topic(&other)];
        s.quiet(
            5,
            &kafka_protocol::messages::DeleteTopicsRequest::default()
                .with_topic_names(names)
                .with_timeout_ms(30_000),
        );
        s.repeat("x", 2, &fetch(&group, None), |answer| answer.topics.len() == 1);
    });
}
