//! Group requests that no honest client sends: answered with Kafka's codes, within bounds, and nobody else notices.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Request, StrBytes};
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::member::{
    BEAT, COMMIT, FIRST, HEARTBEAT, JOIN, LEAVE, SYNC, beat, broker, broker_with, commit, committed,
    consumer_described, described, heartbeat, member_id, refused, settle, until_rebalance,
};
use super::{ask, code};
use crate::support::TestBroker;
use crate::support::alone::{alone, resident_bytes};
use crate::support::client::{decode, frame};
use crate::support::request::text;

/// The longest text of the protocol, bytes.
const MAX_TEXT: usize = i16::MAX as usize;

/// What a log line must not hold: it would begin another line, or act on the terminal of who reads it.
const CONTROL: &str = "a\0b\r\nFAKE LINE\x1b[2J\u{7f}\u{9b}31m";

#[test]
fn a_text_longer_than_the_protocol_has_closes_the_connection() {
    fn closes<Q: Request>(broker: &TestBroker, version: i16, request: &Q) {
        let mut client = broker.client();
        client.send(&frame(1, version, request));
        client.assert_closed();
    }
    let (broker, _, _) = broker();
    // Compact strings could carry it; Kafka takes no more than the older ones can.
    let long = "g".repeat(40_000);
    closes(&broker, JOIN, &ask::join(&long, ""));
    closes(&broker, SYNC, &ask::sync(&long, "m", 1, &[]));
    closes(&broker, HEARTBEAT, &ask::heartbeat("g", &long, 1));
    closes(&broker, LEAVE, &ask::leave(&long, &["m"]));
    closes(&broker, BEAT, &ask::enter(&long, "m", &["t"]));
    closes(&broker, COMMIT, &ask::commit(&long, "t", &[(0, 1)]));
    closes(&broker, 9, &ask::fetch_offsets(vec![ask::offsets_of("g", None), ask::offsets_of(&long, None)]));
    closes(&broker, 6, &ask::describe(&long));
    closes(&broker, 1, &ask::describe_consumer(&long));
    closes(&broker, 2, &ask::delete_groups(&[&long]));
    broker.assert_serves();
}

#[test]
fn the_longest_texts_are_answered_with_texts_that_clients_can_read() {
    let (broker, mut client, _) = broker();
    let longest = "g".repeat(MAX_TEXT);
    let readable = |message: &Option<StrBytes>| {
        let message = message.as_deref().expect("a message");
        assert!((1..=MAX_TEXT).contains(&message.len()), "a message of {} bytes", message.len());
    };
    readable(&described(&mut client, &longest).error_message);
    readable(&consumer_described(&mut client, &longest).error_message);
    readable(&client.call(BEAT, &ask::beat(&longest, "m", 1)).error_message);
    let by = |pattern: &str| ask::enter("g", "m", &[]).with_subscribed_topic_regex(Some(text(pattern)));
    readable(&client.call(BEAT, &by(&"(".repeat(MAX_TEXT))).error_message);
    let assignor = ask::enter("g", "m", &["t"]).with_server_assignor(Some(text(&longest)));
    readable(&client.call(BEAT, &assignor).error_message);
    let one = |member: &str| ask::enter("g", member, &["t"]).with_instance_id(Some(text(&longest)));
    beat(&mut client, &one(&longest));
    readable(&client.call(BEAT, &one(&"h".repeat(MAX_TEXT))).error_message);
    broker.assert_serves();
}

#[test]
fn group_ids_of_every_length_and_kind() {
    let (broker, mut client, _) = broker();
    let longest = "g".repeat(MAX_TEXT);
    assert_eq!(client.call(JOIN, &ask::join("", "")).error_code, code::INVALID_GROUP_ID);
    assert_eq!(client.call(SYNC, &ask::sync("", "m", 1, &[])).error_code, code::INVALID_GROUP_ID);
    assert_eq!(client.call(HEARTBEAT, &ask::heartbeat("", "m", 1)).error_code, code::INVALID_GROUP_ID);
    assert_eq!(client.call(LEAVE, &ask::leave("", &["m"])).error_code, code::INVALID_GROUP_ID);
    assert_eq!(refused(&mut client, &ask::enter("", "m", &["t"])), code::INVALID_REQUEST);
    assert_eq!(consumer_described(&mut client, "").error_code, code::INVALID_GROUP_ID);

    // All others are ids like any other, and live as long.
    let odd = [longest.as_str(), CONTROL, "\0", " ", "ünïcödé 🦀", "\u{202e}drawkcab"];
    for (group, offset) in odd.into_iter().zip(1..) {
        let shown: String = group.chars().take(20).collect();
        settle(&mut broker.client(), group);
        assert_eq!(described(&mut client, group).members.len(), 1, "{shown:?}");
        let alone = format!("{group}-");
        if alone.len() <= MAX_TEXT {
            assert_eq!(
                commit(&mut client, &ask::commit(&alone, "t", &[(0, offset)])),
                [code::NONE],
                "{shown:?}"
            );
            assert_eq!(committed(&mut client, &alone, "t", 0), offset, "{shown:?}");
        }
    }
    broker.assert_serves();
}

#[test]
fn odd_groups_outlive_the_broker() {
    let (mut broker, mut client, _) = broker();
    let longest = "g".repeat(MAX_TEXT);
    let odd = [longest.as_str(), CONTROL, "\0", "ünïcödé 🦀"];
    for group in odd {
        assert_eq!(commit(&mut client, &ask::commit(group, "t", &[(0, 7)])), [code::NONE]);
    }
    drop(client);
    broker.restart();
    let mut client = broker.client();
    for group in odd {
        assert_eq!(committed(&mut client, group, "t", 0), 7);
    }
}

/// Everything that the broker logs in this process.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logged {
    type Writer = Logged;
    fn make_writer(&'a self) -> Logged {
        self.clone()
    }
}

#[test]
fn nothing_that_a_client_names_reaches_the_log_raw() {
    alone("groups::hostile::nothing_that_a_client_names_reaches_the_log_raw", || {
        let logged = Logged::default();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(logged.clone())
            .init();
        let (broker, mut client, _) = broker_with(&[("group.min.session.timeout.ms", "1")]);
        let protocols =
            |names: [&str; 2]| names.map(|name| ask::protocol(name, ask::subscription(&[CONTROL]))).to_vec();
        // Groups, members, instances, racks, reasons, protocols, expressions, metadata: in both protocols.
        let named = ask::join(CONTROL, "")
            .with_group_instance_id(Some(text(CONTROL)))
            .with_reason(Some(text(CONTROL)))
            .with_protocols(protocols([CONTROL, "range"]));
        let joined = client.call(JOIN, &named);
        assert_eq!(joined.error_code, code::NONE);
        let again = named.clone().with_protocols(protocols(["range", CONTROL]));
        let joined = client.call(JOIN, &again);
        assert_eq!(joined.error_code, code::NONE);
        client.call(SYNC, &ask::sync(CONTROL, &joined.member_id, joined.generation_id, &[]));
        client.call(HEARTBEAT, &ask::heartbeat(CONTROL, CONTROL, 1));
        client.call(COMMIT, &ask::commit(CONTROL, CONTROL, &[(0, 1)]));
        let mut leave = ask::leave(CONTROL, &[&joined.member_id, CONTROL]);
        leave.members[0].reason = Some(text(CONTROL));
        assert_eq!(client.call(LEAVE, &leave).members[0].error_code, code::NONE);
        let consumer = ask::enter(CONTROL, CONTROL, &[CONTROL])
            .with_instance_id(Some(text("i\n\x1b[31m")))
            .with_rack_id(Some(text(CONTROL)));
        beat(&mut client, &consumer);
        let expression = ask::enter(CONTROL, "other\n\x1b[31m", &[])
            .with_subscribed_topic_regex(Some(text("(\n\x1b[31m")));
        assert_eq!(refused(&mut client, &expression), code::INVALID_REGULAR_EXPRESSION);
        beat(&mut client, &expression.with_subscribed_topic_regex(Some(text("a\n\x1b.31m"))));
        assert_eq!(
            refused(&mut client, &ask::beat(CONTROL, "other\n\x1b[31m", 99)),
            code::FENCED_MEMBER_EPOCH
        );
        // A member whose session ends by itself.
        let short = ask::join("short\n\x1b[31m", "").with_session_timeout_ms(1);
        client.call(3, &short);
        super::member::eventually("its session ends", || {
            described(&mut client, "short\n\x1b[31m").group_state.as_str() == "Empty"
        });
        client.call(2, &ask::delete_groups(&["short\n\x1b[31m", CONTROL]));
        drop((client, broker));

        let text = String::from_utf8(logged.0.lock().clone()).expect("text");
        assert!(
            text.contains("a member is no longer in the group") && text.contains("a rebalance began"),
            "{text}"
        );
        for line in text.lines() {
            assert!(!line.chars().any(|c| c.is_control()), "{line:?}");
            assert!(!line.starts_with("FAKE"), "{line:?}");
        }
    });
}

#[test]
fn ids_that_nobody_comes_back_with_are_bounded() {
    let (broker, mut client, _) = broker();
    let mut sender = client.second_handle();
    const ASKED: i32 = 10_500;
    // The bound on ids of one group that were given out and not used.
    const GIVEN_MAX: i32 = 10_000;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..ASKED {
                assert!(sender.send(&frame(number, JOIN, &ask::join("g", ""))));
            }
        });
        for number in 0..ASKED {
            let (answered, told) =
                decode::<m::JoinGroupRequest>(JOIN, client.read_frame().expect("an answer"));
            let expected =
                if number < GIVEN_MAX { code::MEMBER_ID_REQUIRED } else { code::COORDINATOR_NOT_AVAILABLE };
            assert_eq!((answered, told.error_code), (number, expected));
        }
    });
    // Another group does not notice.
    settle(&mut broker.client(), "other");
    broker.assert_serves();
}

#[test]
fn metadata_of_many_megabytes_is_taken_whole_or_not_at_all() {
    let (broker, mut client, _) = broker();
    let mut other = broker.client();
    let settled = settle(&mut other, "other");
    let huge = Bytes::from(vec![7; 20 << 20]);
    let request = ask::join("g", "").with_protocols(vec![ask::protocol("range", huge.clone())]);
    let id = member_id(&mut client, &request);
    let joined = client.call(JOIN, &request.with_member_id(id.clone()));
    match joined.error_code {
        code::NONE => {
            assert_eq!(joined.members[0].metadata, huge);
            let synced = client.call(SYNC, &ask::sync("g", &id, 1, &[(&id, huge.clone())]));
            assert!(synced.error_code == code::NONE || synced.error_code == 16, "{}", synced.error_code);
        }
        // More than may be written at once.
        refused => assert_eq!(refused, 16),
    }
    assert_eq!(heartbeat(&mut other, "other", &settled), code::NONE);
    broker.assert_serves();
}

#[test]
fn metadata_that_is_no_subscription_joins_and_blocks_nothing() {
    let (broker, mut client, _) = broker();
    for (number, metadata) in
        [&b""[..], &[0xff; 3], &[0, 0, 0x7f, 0xff, 0xff, 0xff], &[0; 5]].into_iter().enumerate()
    {
        let group = format!("g-{number}");
        let request = ask::join(&group, "")
            .with_protocols(vec![ask::protocol("range", Bytes::copy_from_slice(metadata))]);
        let joined = client.call(3, &request);
        assert_eq!(joined.error_code, code::NONE);
        let id = joined.member_id.clone();
        let synced = client.call(SYNC, &ask::sync(&group, &id, 1, &[(&id, Bytes::from_static(&[0xfe; 9]))]));
        assert_eq!((synced.error_code, &synced.assignment[..]), (code::NONE, &[0xfe; 9][..]));
        // Nobody knows what it reads: its offsets stay, and it cannot be taken over by the other protocol.
        let consumer = broker.client().call(BEAT, &ask::enter(&group, "new", &["t"]));
        assert_eq!(consumer.error_code, code::GROUP_ID_NOT_FOUND);
        assert_eq!(heartbeat(&mut client, &group, &joined), code::NONE);
    }
}

#[test]
fn who_hangs_up_while_waiting_does_not_hold_up_the_others() {
    let (broker, mut first, _) = broker_with(&[("group.min.session.timeout.ms", "1")]);
    let one = settle(&mut first, "g");
    let mut second = broker.client();
    second.begin(3, &ask::join("g", "").with_session_timeout_ms(300));
    until_rebalance(&mut first, "g", &one);
    drop(second);
    let again = first.call(JOIN, &ask::join("g", &one.member_id));
    assert_eq!(again.error_code, code::NONE);
    // The one that hung up is a member until its session ends; then the other is alone again.
    let mut joined = again;
    while joined.members.len() > 1 {
        until_rebalance(&mut first, "g", &joined);
        joined = first.call(JOIN, &ask::join("g", &one.member_id));
        assert_eq!(joined.error_code, code::NONE);
    }
    broker.assert_serves();
}

#[test]
fn answers_keep_their_order_although_a_join_waits() {
    let (broker, mut first, _) = broker();
    let one = settle(&mut first, "g");
    let mut second = broker.client();
    // The join waits for the first member; what follows on its connection could be answered at once.
    let waiting = second.begin(3, &ask::join("g", ""));
    let beating = second.begin(HEARTBEAT, &ask::heartbeat("g", "stranger", 1));
    let listing = second.begin(5, &m::ListGroupsRequest::default());
    until_rebalance(&mut first, "g", &one);
    let one = first.call(JOIN, &ask::join("g", &one.member_id));
    let two = second.finish::<m::JoinGroupRequest>(3, waiting);
    assert_eq!((one.generation_id, two.generation_id), (2, 2));
    assert_eq!(second.finish::<m::HeartbeatRequest>(HEARTBEAT, beating).error_code, code::UNKNOWN_MEMBER_ID);
    assert_eq!(second.finish::<m::ListGroupsRequest>(5, listing).groups.len(), 1);
}

#[test]
fn expressions_that_would_grow_without_bound_are_refused() {
    alone("groups::hostile::expressions_that_would_grow_without_bound_are_refused", || {
        let (broker, mut client, _) = broker();
        for number in 0..200 {
            client.create_topic(&format!("{}-{number}", "a".repeat(200)), 1, &[]);
        }
        let by = |pattern: &str| {
            ask::enter("g", "a", &[])
                .with_subscribed_topic_names(None)
                .with_subscribed_topic_regex(Some(text(pattern)))
        };
        beat(&mut client, &by("t"));
        let before = resident_bytes();
        let bombs = [
            "(a{1000}){1000}".to_owned(),
            "((((a{100}){100}){100}){100}){100}".to_owned(),
            format!("{}a{}", "(".repeat(16_000), ")".repeat(16_000)),
            "(".repeat(MAX_TEXT),
            r"\pL{1000}".repeat(100),
            "a{1000}".repeat(4_000),
        ];
        for bomb in &bombs {
            let shown = &bomb[..bomb.len().min(40)];
            let response = client.call(BEAT, &by(bomb));
            assert_eq!(response.error_code, code::INVALID_REGULAR_EXPRESSION, "{shown}");
        }
        // A megabyte is more than a text may have.
        let mut other = broker.client();
        other.send(&frame(1, BEAT, &by(&"a".repeat(1 << 20))));
        other.assert_closed();
        // Linear-time matching: what is exponential elsewhere is only an expression here.
        for slow in ["(a|aa)*b", "(a*)*b", "((a+)+)+$", "(.*)(.*)(.*)(.*)x"] {
            assert_eq!(beat(&mut client, &by(slow)).member_id.as_deref(), Some("a"), "{slow}");
        }
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 100 << 20, "{grown} bytes more than before");
        broker.assert_serves();
    });
}

/// Below the guard's limit on the elements of a frame.
const MANY: i32 = 40_000;

#[test]
fn as_many_elements_as_a_frame_may_hold() {
    let (broker, mut client, topic) = broker();
    let ids: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(client.call(LEAVE, &ask::leave("g", &ids)).members.len(), ids.len());
    let joined = settle(&mut client, "g");
    assert_eq!(client.call(LEAVE, &ask::leave("g", &ids)).members.len(), ids.len());
    let assignments: Vec<(&str, Bytes)> = ids.iter().map(|id| (*id, Bytes::new())).collect();
    assert_eq!(client.call(SYNC, &ask::sync("g", &joined.member_id, 1, &assignments)).error_code, code::NONE);
    assert_eq!(client.call(2, &ask::delete_groups(&ids)).results.len(), ids.len());
    let groups =
        m::DescribeGroupsRequest::default().with_groups(ids.iter().map(|id| ask::group(id)).collect());
    assert_eq!(client.call(6, &groups).groups.len(), ids.len());
    let groups = m::ConsumerGroupDescribeRequest::default()
        .with_group_ids(ids.iter().map(|id| ask::group(id)).collect());
    assert_eq!(client.call(1, &groups).groups.len(), ids.len());
    let groups = ask::fetch_offsets(ids.iter().map(|id| ask::offsets_of(id, None)).collect());
    assert_eq!(client.call(9, &groups).groups.len(), ids.len());
    let all: Vec<(i32, i64)> = (0..MANY).map(|partition| (partition, 1)).collect();
    let codes = commit(&mut client, &ask::commit("many", "t", &all));
    assert_eq!(codes.iter().filter(|code| **code == code::NONE).count(), 4);
    let same: Vec<(i32, i64)> = (0..MANY).map(|offset| (0, i64::from(offset))).collect();
    assert!(commit(&mut client, &ask::commit("many", "t", &same)).iter().all(|code| *code == code::NONE));
    assert_eq!(committed(&mut client, "many", "t", 0), i64::from(MANY) - 1);
    let numbers: Vec<i32> = (0..MANY).collect();
    let deleted = client.call(0, &ask::delete_offsets("many", "t", &numbers));
    assert_eq!(deleted.topics[0].partitions.len(), numbers.len());
    // Topics that do not exist, and partitions of nobody.
    let names: Vec<&str> = ids.clone();
    let entered = beat(&mut client, &ask::enter("consumer", "a", &names));
    assert_eq!(entered.assignment.map(|all| all.topic_partitions.len()), Some(0));
    let claim = ask::beat("consumer", "a", FIRST).with_topic_partitions(ask::owned(topic, &numbers));
    assert_eq!(beat(&mut client, &claim).member_epoch, FIRST);
    let protocols = ids.iter().map(|id| ask::protocol(id, Bytes::new())).collect();
    assert_eq!(client.call(3, &ask::join("protocols", "").with_protocols(protocols)).error_code, code::NONE);
    broker.assert_serves();
}
