//! Consumer groups (KIP-848): the broker assigns, members reconcile one heartbeat at a time.

use kafka_protocol::messages as m;

use super::member::{
    BEAT, FIRST, beat, broker, broker_with, commit, committed, consumer_described, eventually, refused, told,
};
use super::{ask, code};
use crate::support::TestBroker;
use crate::support::request::text;

/// Settings under which a silent member is soon taken out.
const SHORT_SESSIONS: [(&str, &str); 4] = [
    ("group.consumer.min.session.timeout.ms", "1"),
    ("group.consumer.session.timeout.ms", "300"),
    ("group.consumer.min.heartbeat.interval.ms", "1"),
    ("group.consumer.heartbeat.interval.ms", "100"),
];

#[test]
fn a_partition_changes_hands_only_after_its_owner_gave_it_up() {
    let (_broker, mut client, topic) = broker();
    let joined = beat(&mut client, &ask::enter("g", "a", &["t"]));
    assert_eq!((joined.member_id.as_deref(), joined.member_epoch), (Some("a"), FIRST));
    assert_eq!(joined.heartbeat_interval_ms, 5_000);
    assert_eq!(told(&joined), Some(vec![0, 1, 2, 3]));
    // Who has nothing new to be told is told nothing.
    let quiet = beat(&mut client, &ask::beat("g", "a", FIRST));
    assert_eq!((quiet.member_epoch, told(&quiet)), (FIRST, None));

    // The newcomer gets nothing as long as everything is owned.
    let second = beat(&mut client, &ask::enter("g", "b", &["t"]));
    assert_eq!((second.member_epoch, told(&second)), (FIRST + 1, Some(vec![])));
    let revoke = beat(&mut client, &ask::beat("g", "a", FIRST));
    let kept = told(&revoke).expect("the first member is to give something up");
    assert_eq!((revoke.member_epoch, kept.len()), (FIRST, 2));
    let state = consumer_described(&mut client, "g");
    assert_eq!((state.group_state.as_str(), state.group_epoch), ("Reconciling", FIRST + 1));
    assert_eq!(told(&beat(&mut client, &ask::beat("g", "b", FIRST + 1))), None, "not given up yet");
    let done = beat(&mut client, &ask::beat("g", "a", FIRST).with_topic_partitions(ask::owned(topic, &kept)));
    assert_eq!(done.member_epoch, FIRST + 1);
    let given = told(&beat(&mut client, &ask::beat("g", "b", FIRST + 1))).expect("now it is");
    let mut all = [kept, given.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    let state = consumer_described(&mut client, "g");
    assert_eq!((state.group_state.as_str(), state.assignment_epoch), ("Stable", FIRST + 1));

    // A member leaves; what it had goes to the other one.
    let left = beat(&mut client, &ask::beat("g", "a", -1));
    assert_eq!((left.member_id.as_deref(), left.member_epoch, told(&left)), (Some("a"), -1, None));
    let alone =
        beat(&mut client, &ask::beat("g", "b", FIRST + 1).with_topic_partitions(ask::owned(topic, &given)));
    assert_eq!((alone.member_epoch, told(&alone)), (FIRST + 2, Some(vec![0, 1, 2, 3])));
    assert_eq!(refused(&mut client, &ask::beat("g", "a", FIRST + 1)), code::UNKNOWN_MEMBER_ID);
}

#[test]
fn the_broker_gives_ids_in_version_0_and_wants_them_in_version_1() {
    let (_broker, mut client, _) = broker();
    let joined = client.call(0, &ask::enter("g", "", &["t"]));
    assert_eq!((joined.error_code, joined.member_epoch), (code::NONE, FIRST));
    assert_eq!(joined.member_id.as_ref().map(|id| id.len()), Some(22), "{:?}", joined.member_id);
    let refused = client.call(1, &ask::enter("g", "", &["t"]));
    assert_eq!(refused.error_code, code::INVALID_REQUEST);
    assert_eq!(refused.error_message.as_deref(), Some("MemberId can't be empty."));
}

#[test]
fn an_expression_subscribes_to_what_it_matches_as_a_whole() {
    let (_broker, mut client, _) = broker();
    client.create_topic("orders.eu", 1, &[]);
    client.create_topic("orders.us", 1, &[]);
    client.create_topic("my-orders.us", 1, &[]);
    client.call(4, &m::FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]));
    let by = |id: &str, pattern: &str| {
        ask::enter("g", id, &[])
            .with_subscribed_topic_names(None)
            .with_subscribed_topic_regex(Some(text(pattern)))
    };
    let joined = beat(&mut client, &by("a", r"orders\..*"));
    assert_eq!(joined.assignment.as_ref().map(|all| all.topic_partitions.len()), Some(2));
    let shown = consumer_described(&mut client, "g");
    let member = &shown.members[0];
    assert_eq!(member.subscribed_topic_regex.as_deref(), Some(r"orders\..*"));
    let mut names: Vec<String> =
        member.assignment.topic_partitions.iter().map(|topic| topic.topic_name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["orders.eu", "orders.us"]);

    // Another expression; everything matches it but the broker's own topics.
    let changed =
        beat(&mut client, &ask::beat("g", "a", FIRST).with_subscribed_topic_regex(Some(text(".*"))));
    assert_eq!(
        (changed.member_epoch, changed.assignment.map(|all| all.topic_partitions.len())),
        (FIRST + 1, Some(4))
    );
    // An empty one ends the subscription.
    let ended =
        beat(&mut client, &ask::beat("g", "a", FIRST + 1).with_subscribed_topic_regex(Some(text(""))));
    assert_eq!(ended.assignment.map(|all| all.topic_partitions.len()), Some(0));

    for bad in ["(", "[a", "*", "a{2,1}", r"(a)\1", "(?=a)"] {
        assert_eq!(refused(&mut client, &by("b", bad)), code::INVALID_REGULAR_EXPRESSION, "{bad}");
    }
    assert_eq!(consumer_described(&mut client, "g").members.len(), 1);
}

#[test]
fn a_topic_that_comes_later_is_assigned_when_it_is_there() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let joined = beat(&mut client, &ask::enter("g", "a", &["later"]));
    assert_eq!((joined.member_epoch, told(&joined)), (FIRST, Some(vec![])));
    client.create_topic("later", 2, &[]);
    let next = beat(&mut client, &ask::beat("g", "a", FIRST));
    assert_eq!((next.member_epoch, told(&next)), (FIRST + 1, Some(vec![0, 1])));
}

#[test]
fn epochs_that_are_not_the_members_are_fenced() {
    let (_broker, mut client, topic) = broker();
    beat(&mut client, &ask::enter("g", "a", &["t"]));
    beat(&mut client, &ask::enter("g", "b", &["t"]));
    assert_eq!(refused(&mut client, &ask::beat("g", "a", 7)), code::FENCED_MEMBER_EPOCH);
    assert_eq!(refused(&mut client, &ask::beat("g", "nobody", FIRST)), code::UNKNOWN_MEMBER_ID);
    assert_eq!(refused(&mut client, &ask::beat("nowhere", "a", FIRST)), code::GROUP_ID_NOT_FOUND);
    // An answer may be lost: the epoch before is good as long as nothing is claimed that is not the member's.
    let epoch = beat(&mut client, &ask::beat("g", "a", FIRST)).member_epoch;
    let kept = beat(&mut client, &ask::beat("g", "a", epoch).with_topic_partitions(ask::owned(topic, &[])));
    assert_eq!(kept.member_epoch, FIRST + 1);
    let before = ask::beat("g", "a", FIRST).with_topic_partitions(ask::owned(topic, &[]));
    assert_eq!(beat(&mut client, &before).member_epoch, FIRST + 1);
    let claim = ask::beat("g", "a", FIRST).with_topic_partitions(ask::owned(topic, &[0, 1, 2, 3]));
    assert_eq!(refused(&mut client, &claim), code::FENCED_MEMBER_EPOCH);
    // The fenced one begins again.
    assert_eq!(beat(&mut client, &ask::enter("g", "a", &["t"])).member_epoch, FIRST + 1);
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let (_broker, mut client, topic) = broker();
    let good = || ask::enter("g", "a", &["t"]);
    let bad = [
        ("no group", ask::enter("", "a", &["t"])),
        ("a blank group", ask::enter("  ", "a", &["t"])),
        ("no instance", good().with_instance_id(Some(text("")))),
        ("no rack", good().with_rack_id(Some(text("")))),
        ("no timeout", good().with_rebalance_timeout_ms(-1)),
        ("no subscription", good().with_subscribed_topic_names(None)),
        ("partitions of nobody", good().with_topic_partitions(ask::owned(topic, &[0]))),
        ("not saying that nothing is owned", good().with_topic_partitions(None)),
        ("an epoch that is none", ask::beat("g", "a", -3)),
        ("a pause of a member that is not static", ask::beat("g", "a", -2)),
    ];
    for (what, request) in bad {
        assert_eq!(refused(&mut client, &request), code::INVALID_REQUEST, "{what}");
    }
    let response = client.call(BEAT, &good().with_server_assignor(Some(text("best"))));
    assert_eq!(response.error_code, code::UNSUPPORTED_ASSIGNOR);
    assert_eq!(
        response.error_message.as_deref(),
        Some("ServerAssignor best is not supported. Supported assignors: uniform, range.")
    );
    assert_eq!(consumer_described(&mut client, "g").error_code, code::GROUP_ID_NOT_FOUND);
}

#[test]
fn a_static_member_keeps_its_place_while_it_is_away() {
    let (_broker, mut client, topic) = broker();
    let one = |request: m::ConsumerGroupHeartbeatRequest| request.with_instance_id(Some(text("one")));
    beat(&mut client, &one(ask::enter("g", "a", &["t"])));
    // Its place is taken as long as it has not left.
    assert_eq!(refused(&mut client, &one(ask::enter("g", "b", &["t"]))), code::UNRELEASED_INSTANCE_ID);
    let away = beat(&mut client, &one(ask::beat("g", "a", -2)));
    assert_eq!((away.member_epoch, told(&away)), (-2, None));
    // Nobody gets its partitions meanwhile.
    let other = beat(&mut client, &ask::enter("g", "c", &["t"]));
    assert_eq!(told(&other), Some(vec![]));
    beat(&mut client, &ask::beat("g", "c", -1));
    let back = beat(&mut client, &one(ask::enter("g", "b", &["t"])));
    assert_eq!(told(&back), Some(vec![0, 1, 2, 3]));
    assert_eq!(refused(&mut client, &one(ask::beat("g", "a", FIRST))), code::FENCED_INSTANCE_ID);
    let owned = ask::owned(topic, &[0, 1, 2, 3]);
    let epoch = back.member_epoch;
    beat(&mut client, &one(ask::beat("g", "b", epoch)).with_topic_partitions(owned));
    let shown = consumer_described(&mut client, "g");
    assert_eq!(shown.members.len(), 1);
    assert_eq!(shown.members[0].instance_id.as_deref(), Some("one"));
}

#[test]
fn only_a_member_with_its_epoch_commits() {
    let (_broker, mut client, _) = broker();
    beat(&mut client, &ask::enter("g", "a", &["t"]));
    let by = |member: &str, epoch: i32, offset| {
        ask::commit("g", "t", &[(0, offset)])
            .with_member_id(text(member))
            .with_generation_id_or_member_epoch(epoch)
    };
    assert_eq!(commit(&mut client, &by("a", FIRST, 5)), [code::NONE]);
    assert_eq!(commit(&mut client, &by("a", FIRST + 1, 6)), [code::STALE_MEMBER_EPOCH]);
    assert_eq!(commit(&mut client, &by("b", FIRST, 7)), [code::UNKNOWN_MEMBER_ID]);
    assert_eq!(commit(&mut client, &by("", -1, 8)), [code::UNKNOWN_MEMBER_ID]);
    // Versions before 9 do not know member epochs.
    let old = client.call(8, &by("a", FIRST, 9));
    assert_eq!(old.topics[0].partitions[0].error_code, code::UNSUPPORTED_VERSION);
    assert_eq!(committed(&mut client, "g", "t", 0), 5);
    let asked = |member: &str, epoch| {
        let question = ask::offsets_of("g", Some(("t", &[0]))).with_member_id(Some(text(member)));
        ask::fetch_offsets(vec![question.with_member_epoch(epoch)])
    };
    for (member, epoch, expected) in [
        ("a", FIRST, code::NONE),
        ("a", FIRST + 1, code::STALE_MEMBER_EPOCH),
        ("b", FIRST, code::UNKNOWN_MEMBER_ID),
    ] {
        let group = client.call(9, &asked(member, epoch)).groups.remove(0);
        assert_eq!((group.error_code, group.topics.len()), (expected, usize::from(expected == 0)));
    }
}

#[test]
fn a_silent_member_is_gone_after_its_session() {
    let (_broker, mut client, _) = broker_with(&SHORT_SESSIONS);
    beat(&mut client, &ask::enter("g", "a", &["t"]));
    eventually("the group is empty", || consumer_described(&mut client, "g").group_state.as_str() == "Empty");
    assert_eq!(refused(&mut client, &ask::beat("g", "a", FIRST)), code::UNKNOWN_MEMBER_ID);
    let late =
        ask::commit("g", "t", &[(0, 5)]).with_member_id(text("a")).with_generation_id_or_member_epoch(1);
    assert_eq!(commit(&mut client, &late), [code::UNKNOWN_MEMBER_ID]);
    assert_eq!(committed(&mut client, "g", "t", 0), -1);
}

#[test]
fn who_does_not_give_up_in_time_is_fenced() {
    let (_broker, mut client, _) = broker();
    beat(&mut client, &ask::enter("g", "a", &["t"]).with_rebalance_timeout_ms(100));
    beat(&mut client, &ask::enter("g", "b", &["t"]));
    // From here on the first member has a tenth of a second to say that it gave two partitions up.
    assert_eq!(told(&beat(&mut client, &ask::beat("g", "a", FIRST))).map(|kept| kept.len()), Some(2));
    eventually("the first member is out", || consumer_described(&mut client, "g").members.len() == 1);
    assert_eq!(refused(&mut client, &ask::beat("g", "a", FIRST)), code::UNKNOWN_MEMBER_ID);
    let all = beat(&mut client, &ask::beat("g", "b", FIRST + 1));
    assert_eq!(told(&all), Some(vec![0, 1, 2, 3]));
}

#[test]
fn a_group_has_no_more_members_than_it_may() {
    let (_broker, mut client, _) = broker_with(&[("group.consumer.max.size", "1")]);
    beat(&mut client, &ask::enter("g", "a", &["t"]));
    assert_eq!(refused(&mut client, &ask::enter("g", "b", &["t"])), code::GROUP_MAX_SIZE_REACHED);
    assert_eq!(beat(&mut client, &ask::beat("g", "a", FIRST)).member_epoch, FIRST);
}

#[test]
fn the_protocol_can_be_switched_off() {
    let (_broker, mut client, _) = broker_with(&[("group.coordinator.rebalance.protocols", "classic")]);
    let response = client.call(BEAT, &ask::enter("g", "a", &["t"]));
    assert_eq!(response.error_code, code::UNSUPPORTED_VERSION);
}
