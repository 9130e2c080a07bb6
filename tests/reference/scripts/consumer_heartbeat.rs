//! ConsumerGroupHeartbeat: joining, what a request must carry, epochs, and leaving.

use std::time::Duration;

use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

use super::classic;
use crate::play::play;
use crate::requests::{LONG_MS, beat, commit, enter, owned, some, topic};

#[test]
fn consumer_join() {
    play("consumer-join", |s| {
        let one = s.topic("one", 2);
        for version in 0..=1 {
            let group = s.name(&format!("v{version}"));
            s.step(&format!("v{version} without a member id"));
            let joined = s.call("a", version, &enter(&group, "", &[&one]));
            if let Some(id) = joined.member_id.filter(|id| !id.is_empty()) {
                s.call("a", version, &beat(&group, &id, joined.member_epoch));
            }
            s.step(&format!("v{version} with a member id of its own"));
            s.call("b", version, &enter(&s.name(&format!("own-v{version}")), "m1", &[&one]));
            s.step(&format!("v{version} once more from epoch 0"));
            s.call("b", version, &enter(&s.name(&format!("own-v{version}")), "m1", &[&one]));
            s.step(&format!("v{version} and on"));
            s.call("b", version, &beat(&s.name(&format!("own-v{version}")), "m1", 2));
        }
        s.step("topics that there are not, none, one twice, an empty name");
        for (name, topics) in [
            ("absent", &[s.name("absent")][..]),
            ("none", &[]),
            ("twice", &[one.clone(), one.clone()]),
            ("empty", &["".into()]),
        ] {
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            s.call("c", 1, &enter(&s.name(name), "m1", &topics));
        }
        s.step("a topic comes into being later");
        let late = s.name("late");
        s.call("c", 1, &enter(&late, "m1", &[&s.name("later")]));
        s.topic("later", 1);
        s.repeat("c", 1, &beat(&late, "m1", 2), |answer| answer.member_epoch != 2);
        s.step("a full group");
        let full = s.name("full");
        for member in ["m1", "m2", "m3", "m4", "m5"] {
            s.call("d", 1, &enter(&full, member, &[&one]));
        }
        s.call("d", 1, &enter(&full, "m1", &[&one]));
        s.call("d", 1, &enter(&full, "m5", &[&one]).with_instance_id(some("static")));
    });
}

#[test]
fn consumer_refused() {
    play("consumer-refused", |s| {
        let one = s.topic("one", 2);
        for version in 0..=1 {
            let group = s.name(&format!("v{version}"));
            let zero = enter(&s.name(&format!("zero-v{version}")), "m1", &[&one]);
            let mut ask = |what: &str, request: ConsumerGroupHeartbeatRequest| {
                s.step(&format!("v{version} {what}"));
                s.call("a", version, &request);
            };
            ask("an empty group id", enter("", "m1", &[&one]));
            ask("an empty group id, and nothing else right", beat("", "", -7).with_instance_id(some("")));
            ask("no member id, later", beat(&group, "", 2));
            ask("no member id, leaving", beat(&group, "", -1));
            ask("no member id, leaving for a while", beat(&group, "", -2).with_instance_id(some("one")));
            ask("a blank member id", enter(&group, " ", &[&one]));
            ask("no rebalance timeout", enter(&group, "m1", &[&one]).with_rebalance_timeout_ms(-1));
            ask("a rebalance timeout of zero", zero.with_rebalance_timeout_ms(0));
        }
    });
}

#[test]
fn consumer_refused_fields() {
    play("consumer-refused-fields", |s| {
        let one = s.topic("one", 2);
        let id = s.topic_id(&one);
        for version in 0..=1 {
            let group = s.name(&format!("v{version}"));
            let none = s.name("none");
            let good = || enter(&group, "m1", &[&one]);
            let cases = [
                ("null partitions", good().with_topic_partitions(None)),
                ("partitions that it cannot own yet", good().with_topic_partitions(owned(&[(id, &[0])]))),
                ("no topics", good().with_subscribed_topic_names(None)),
                ("no topics, and an empty regular expression", {
                    enter(&s.name("no-topics"), "m1", &[])
                        .with_subscribed_topic_names(None)
                        .with_subscribed_topic_regex(some(""))
                }),
                ("an empty instance id", good().with_instance_id(some(""))),
                ("an empty rack", good().with_rack_id(some(""))),
                ("an empty assignor", good().with_server_assignor(some(""))),
                ("an unknown assignor", good().with_server_assignor(some("nonsense"))),
                ("an assignor by another case", good().with_server_assignor(some("RANGE"))),
                ("an unknown assignor and no rebalance timeout", {
                    good().with_server_assignor(some("nonsense")).with_rebalance_timeout_ms(-1)
                }),
                ("epoch -2 without an instance id", beat(&group, "m1", -2)),
                ("epoch -3", beat(&group, "m1", -3)),
                ("epoch -3 and an empty rack", beat(&group, "m1", -3).with_rack_id(some(""))),
                ("an unknown group", beat(&none, "m1", 2)),
                ("an unknown group, leaving", beat(&none, "m1", -1)),
                (
                    "an unknown group, leaving for a while",
                    beat(&group, "m1", -2).with_instance_id(some("one")),
                ),
                ("an unknown group, with a subscription", enter(&none, "m1", &[&one]).with_member_epoch(4)),
            ];
            for (what, request) in cases {
                // Version 0 has no expressions.
                if version == 0 && request.subscribed_topic_regex.is_some() {
                    continue;
                }
                s.step(&format!("v{version} {what}"));
                s.call("a", version, &request);
            }
        }
        s.step("a member, and mistakes beside it");
        let group = s.name("group");
        s.call("a", 1, &enter(&group, "m1", &[&one]));
        s.call("a", 1, &beat(&group, "nobody", 2));
        s.call("a", 1, &beat(&group, "nobody", -1));
        s.call("a", 1, &beat(&group, "nobody", -2).with_instance_id(some("one")));
        s.call("a", 1, &beat(&group, "m1", 2).with_instance_id(some("one")));
        s.call("a", 1, &beat(&group, "nobody", 2).with_instance_id(some("one")));
        s.step("an unknown assignor later");
        s.call("a", 1, &beat(&group, "m1", 2).with_server_assignor(some("nonsense")));
        s.step("partitions of a topic that there is not");
        s.call(
            "a",
            1,
            &beat(&group, "m1", 2).with_topic_partitions(owned(&[(uuid::Uuid::from_u128(7), &[0])])),
        );
        s.step("an empty instance id, rack, or rebalance timeout later");
        s.call("a", 1, &beat(&group, "m1", 2).with_instance_id(some("")));
        s.call("a", 1, &beat(&group, "m1", 2).with_rack_id(some("")));
        s.call("a", 1, &beat(&group, "m1", 2).with_rebalance_timeout_ms(0));
        s.step("of a classic group that has a member of an unknown protocol");
        let connect = s.name("connect");
        s.call("b", 3, &crate::requests::join(&connect, "").with_protocol_type("connect".into()));
        s.call("a", 1, &enter(&connect, "m1", &[&one]));
        s.call("a", 1, &beat(&connect, "m1", 2));
        s.call("a", 1, &beat(&connect, "m1", -1));
        s.step("of a group that only has offsets");
        let offsets = s.name("offsets");
        s.call("x", 9, &commit(&offsets, -1, "", &[(&one, 0, 1)]));
        s.call("a", 1, &beat(&offsets, "m1", 2));
        s.call("a", 1, &beat(&offsets, "m1", -1));
        s.call("a", 1, &enter(&offsets, "m1", &[&one]));
        s.step("of a stable classic group");
        let stable = s.name("stable");
        classic::stable(s, &stable);
        s.call("a", 1, &beat(&stable, "m1", 2));
        s.call("a", 1, &beat(&stable, "m1", -1));
    });
}

#[test]
fn consumer_epochs() {
    play("consumer-epochs", |s| {
        let (one, two) = (s.topic("one", 2), s.topic("two", 1));
        let (one_id, two_id) = (s.topic_id(&one), s.topic_id(&two));
        let group = s.name("group");
        s.step("a member");
        s.call("a", 1, &enter(&group, "m1", &[&one]));
        s.step("its epoch, with all and with nothing to say");
        s.call("a", 1, &beat(&group, "m1", 2));
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(one_id, &[0, 1])])));
        let full = enter(&group, "m1", &[&one]).with_member_epoch(2);
        s.call("a", 1, &full.clone().with_topic_partitions(owned(&[(one_id, &[0, 1])])));
        s.step("its epoch, and it says that it owns less");
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(one_id, &[0])])));
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(Some(vec![])));
        s.step("a later epoch");
        s.call("a", 1, &beat(&group, "m1", 3));
        s.call("a", 1, &beat(&group, "m1", 3).with_topic_partitions(owned(&[(one_id, &[0, 1])])));
        s.step("it subscribes to more");
        let more = beat(&group, "m1", 2).with_subscribed_topic_names(Some(vec![topic(&one), topic(&two)]));
        s.call("a", 1, &more);
        s.step("the previous epoch, without partitions");
        s.call("a", 1, &beat(&group, "m1", 2));
        s.step("the previous epoch, with partitions that it has");
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(one_id, &[0, 1])])));
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(Some(vec![])));
        s.step("the previous epoch, with partitions that it has not");
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(one_id, &[0, 7])])));
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(two_id, &[0, 1])])));
        s.step("epoch 0 again");
        s.call("a", 1, &enter(&group, "m1", &[&one, &two]));
        s.step("it changes its assignor");
        s.call("a", 1, &beat(&group, "m1", 3).with_server_assignor(some("range")));
        s.call("a", 1, &beat(&group, "m1", 4));
        s.step("it leaves");
        s.call("a", 1, &beat(&group, "m1", -1));
        s.call("a", 1, &beat(&group, "m1", -1));
        s.call("a", 1, &beat(&group, "m1", 4));
        s.step("it joins again: the group's epoch goes on");
        s.call("a", 1, &enter(&group, "m1", &[&one]));
        s.step("an earlier epoch than the previous one");
        s.call("a", 1, &beat(&group, "m1", 3).with_topic_partitions(owned(&[(one_id, &[0])])));
        s.step("nothing but a new rebalance timeout and rack");
        s.call("a", 1, &beat(&group, "m1", 5).with_rebalance_timeout_ms(LONG_MS - 1));
        s.call("a", 1, &beat(&group, "m1", 5).with_rack_id(some("rack")));
    });
}

/// An expression is resolved beside the heartbeats; this is long enough for it.
const RESOLVED: Duration = Duration::from_millis(500);

#[test]
fn consumer_regex() {
    play("consumer-regex", |s| {
        let one = s.topic("one", 1);
        let one_id = s.topic_id(&one);
        s.topic("two", 1);
        let by = |group: &str, regex: &str| {
            enter(group, "m1", &[]).with_subscribed_topic_names(None).with_subscribed_topic_regex(some(regex))
        };
        s.step("an invalid one");
        let group = s.name("invalid");
        for regex in ["[", "(a", "*", "a{2,1}", "\\"] {
            s.call("a", 1, &by(&group, regex));
        }
        s.step("an invalid one of an unknown assignor");
        s.call("a", 1, &by(&group, "[").with_server_assignor(some("nonsense")));
        s.step("one of RE2 only, and one of Java only");
        s.call("a", 1, &by(&s.name("lookahead"), "a(?=b)"));
        s.call("a", 1, &by(&s.name("backreference"), "(a)\\1"));
        s.step("one that names a topic");
        let group = s.name("one");
        s.call("a", 1, &by(&group, &one));
        s.repeat("a", 1, &beat(&group, "m1", 1), |answer| answer.member_epoch != 1);
        s.step("the whole name must match");
        let group = s.name("part");
        s.call("a", 1, &by(&group, &one[1..]));
        std::thread::sleep(RESOLVED);
        s.call("a", 1, &beat(&group, "m1", 1));
        s.step("beside names");
        let group = s.name("both");
        let both = enter(&group, "m1", &[&one]).with_subscribed_topic_regex(some(&s.name("two")));
        s.call("a", 1, &both);
        s.repeat("a", 1, &beat(&group, "m1", 2), |answer| answer.member_epoch != 2);
        s.step("an empty one beside names");
        let group = s.name("empty");
        s.call("a", 1, &enter(&group, "m1", &[&one]).with_subscribed_topic_regex(some("")));
        s.step("a member turns to an invalid expression, and from names to a valid one");
        s.call("a", 1, &beat(&group, "m1", 2).with_subscribed_topic_regex(some("[")));
        let turned = beat(&group, "m1", 2)
            .with_subscribed_topic_names(Some(vec![]))
            .with_subscribed_topic_regex(some(&s.name("t.*")));
        s.call("a", 1, &turned);
        std::thread::sleep(RESOLVED);
        let empty = beat(&group, "m1", 2).with_topic_partitions(Some(vec![]));
        s.repeat("a", 1, &empty, |answer| {
            answer.assignment.as_ref().is_some_and(|given| !given.topic_partitions.is_empty())
        });
        s.step("two members of one expression");
        let group = s.name("two-members");
        s.call("a", 1, &by(&group, &one));
        s.repeat("a", 1, &beat(&group, "m1", 1), |answer| answer.member_epoch == 2);
        s.call("b", 1, &by(&group, &one).with_member_id("m2".into()));
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(one_id, &[0])])));
        s.call("b", 1, &beat(&group, "m2", 3));
    });
}
