//! Fetch and ListOffsets at read_committed.

use std::time::Duration;

use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest, MetadataRequest};
use kafka_protocol::protocol::Message;

use super::ask;
use super::code;
use super::session::{
    BOTH, FETCH, LIST_OFFSETS, Protocol, Session, aborted, broker, committed_values, fetch_committed,
    stable_end,
};
use crate::support::{Client, batch, request};

/// Offsets of the first and the last record of an answer.
fn span(data: &PartitionData) -> Option<(i64, i64)> {
    let headers = batch::headers(data.records.as_deref().unwrap_or_default());
    Some((headers.first()?.base_offset, headers.last()?.last_offset()))
}

fn by_time(client: &mut Client, timestamp: i64) -> (i64, i64) {
    let answer = client.call(LIST_OFFSETS, &ask::list_committed("t", 0, timestamp));
    let found = &answer.topics[0].partitions[0];
    assert_eq!(found.error_code, code::NONE);
    (found.offset, found.timestamp)
}

#[test]
fn every_version_ends_at_the_last_stable_offset_and_tells_what_was_aborted() {
    let (broker, mut client) = broker();
    let topics = client.call(12, &MetadataRequest::default().with_topics(None)).topics;
    let topic =
        topics.iter().find(|topic| topic.name == Some(request::name("t"))).expect("it is there").topic_id;
    client.produce("t", 0, batch::of(&["plain"]));
    let mut gone = Session::open(&broker, "gone", Protocol::Second);
    gone.write("t", 0, &["a"]);
    gone.end(false);
    let mut open = Session::open(&broker, "open", Protocol::Second);
    let stable = open.write("t", 0, &["b"]);
    client.produce("t", 0, batch::of(&["behind"]));
    for version in 4..=FetchRequest::VERSIONS.max {
        for committed in [true, false] {
            let mut request =
                request::fetch(vec![("t", request::wanted(0, 0))]).with_isolation_level(i8::from(committed));
            if version < 7 {
                request.session_epoch = FetchRequest::default().session_epoch;
            }
            if version >= 13 {
                request.topics[0].topic = Default::default();
                request.topics[0].topic_id = topic;
            }
            let mut answer = client.call(version, &request);
            let data = answer.responses.remove(0).partitions.remove(0);
            let (what, end) = (format!("v{version} committed: {committed}"), stable + 2);
            assert_eq!((data.error_code, data.high_watermark), (code::NONE, end), "{what}");
            assert_eq!(data.last_stable_offset, stable, "{what}");
            let expected = if committed { (0, stable - 1) } else { (0, end - 1) };
            assert_eq!(span(&data), Some(expected), "{what}");
            let ranges = committed.then(|| vec![(gone.of.id, 1)]);
            assert_eq!(aborted(&data), ranges, "{what}: null to whoever did not ask");
        }
    }
    // Nothing was aborted: an empty list, not null.
    let other = fetch_committed(&mut client, "t", 1, 0);
    assert_eq!(aborted(&other), Some(vec![]));
    for from in [stable, stable + 1, stable + 2] {
        let data = fetch_committed(&mut client, "t", 0, from);
        assert_eq!((data.error_code, span(&data)), (code::NONE, None), "at {from}");
        assert_eq!(aborted(&data), Some(vec![]), "at {from}");
    }
    assert_eq!(fetch_committed(&mut client, "t", 0, stable + 3).error_code, 1);
}

#[test]
fn the_aborted_ranges_of_an_answer_are_those_that_reach_into_it() {
    let (broker, mut client) = broker();
    let mut one = Session::open(&broker, "one", Protocol::Second);
    let mut two = Session::open(&broker, "two", Protocol::First);
    // Offsets: one 0, two 1, one 2, marker 3 (one aborts), two 4, marker 5 (two aborts), plain 6, one 7, marker 8 (commit),
    // two 9, marker 10 (abort).
    one.write("t", 0, &["o0"]);
    two.write("t", 0, &["t0"]);
    one.write("t", 0, &["o1"]);
    one.end(false);
    two.write("t", 0, &["t1"]);
    two.end(false);
    client.produce("t", 0, batch::of(&["plain"]));
    one.write("t", 0, &["kept"]);
    one.end(true);
    two.write("t", 0, &["t2"]);
    two.end(false);
    let (o, t) = (one.of.id, two.of.id);
    let all = [(0, 3, (o, 0)), (1, 5, (t, 1)), (9, 10, (t, 9))];
    for from in 0..=11 {
        let data = fetch_committed(&mut client, "t", 0, from);
        let expected: Vec<_> = all
            .iter()
            .filter(|(_, last, _)| *last >= from && from < 11)
            .map(|(_, _, range)| *range)
            .collect();
        let mut told = aborted(&data).expect("a list");
        told.sort_by_key(|(_, first)| *first);
        assert_eq!(told, expected, "from {from}");
        let values = committed_values(&mut client, "t", 0, from);
        let expected: &[&str] = match from {
            ..=6 => &["plain", "kept"],
            7 => &["kept"],
            _ => &[],
        };
        assert_eq!(values, expected, "from {from}");
    }
    // An answer that is cut short does not tell what begins behind it.
    let mut wanted = request::wanted(0, 0);
    wanted.partition_max_bytes = 1;
    let request = request::fetch(vec![("t", wanted)]).with_isolation_level(1).with_max_bytes(1);
    let data = client.call(FETCH, &request).responses.remove(0).partitions.remove(0);
    assert_eq!((span(&data), aborted(&data)), (Some((0, 0)), Some(vec![(o, 0)])));
}

#[test]
fn interleaved_producers_are_read_as_they_ended() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let begin = client.end_offset("t", 0);
        let mut sessions: Vec<Session> =
            (0..7).map(|number| Session::open(&broker, &format!("{protocol:?}{number}"), protocol)).collect();
        let mut written = Vec::new();
        // A small generator with a fixed seed: whose turn it is, and whether it ends.
        let mut random = 12_345_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut open: Vec<Vec<usize>> = vec![Vec::new(); sessions.len()];
        let mut committed = std::collections::BTreeSet::new();
        for number in 0..300 {
            let who = next(sessions.len() as u64) as usize;
            if next(4) == 0 && !open[who].is_empty() {
                let commits = next(2) == 0;
                sessions[who].end(commits);
                let ended = std::mem::take(&mut open[who]);
                if commits {
                    committed.extend(ended);
                }
            } else {
                let value = format!("{protocol:?} {number}");
                sessions[who].write("t", 0, &[&value]);
                open[who].push(written.len());
                written.push(value);
            }
        }
        for (session, open) in sessions.iter_mut().zip(open) {
            if !open.is_empty() {
                session.end(true);
                committed.extend(open);
            }
        }
        let expected: Vec<_> = committed.into_iter().map(|at| written[at].clone()).collect();
        assert!(expected.len() > 50 && expected.len() < written.len());
        assert_eq!(committed_values(&mut client, "t", 0, begin), expected, "{protocol:?}");
    }
}

#[test]
fn a_transaction_may_reach_across_many_segments() {
    let (broker, mut client) = broker();
    let settings = [
        ("segment.ms", "1000"),
        ("retention.ms", "-1"),
        ("index.interval.bytes", "0"),
        ("message.timestamp.after.max.ms", "9223372036854775807"),
    ];
    client.create_topic("s", 1, &settings);
    // Later than any marker, which would begin segments otherwise.
    let begin = batch::now_ms() + 100_000_000;
    for protocol in BOTH {
        let first = client.end_offset("s", 0);
        let id = format!("{protocol:?}");
        let mut long = Session::open(&broker, &id, protocol);
        let mut short = Session::open(&broker, &format!("short{id}"), protocol);
        for (committed, offset) in [(false, 0), (true, 1)] {
            for number in 0..10_i64 {
                // Every batch comes much later than the one before: it begins a segment.
                let time =
                    begin + (offset * 10 + number) * 10_000 + if protocol == BOTH[1] { 400_000 } else { 0 };
                long.write_at(time, "s", 0, &[&format!("long {offset} {number}")]);
                short.write_at(time + 1, "s", 0, &[&format!("short {offset} {number}")]);
                short.end(number % 2 == 0);
            }
            assert!(stable_end(&mut client, "s", 0) < client.end_offset("s", 0) - 20);
            long.end(committed);
        }
        let mut expected = Vec::new();
        for number in (0..10).step_by(2) {
            expected.push(format!("short 0 {number}"));
        }
        for number in 0..10 {
            expected.push(format!("long 1 {number}"));
            if number % 2 == 0 {
                expected.push(format!("short 1 {number}"));
            }
        }
        assert_eq!(committed_values(&mut client, "s", 0, first), expected, "{id}");
        // From the middle of the aborted one on, its range is told still.
        let middle = fetch_committed(&mut client, "s", 0, first + 15);
        let told = aborted(&middle).expect("a list");
        assert!(told.contains(&(long.of.id, first)), "{told:?}");
    }
    let segments = std::fs::read_dir(broker.partition_dir("s", 0)).expect("the partition's directory");
    let logs = segments.filter(|entry| {
        entry.as_ref().expect("an entry").path().extension().is_some_and(|found| found == "log")
    });
    assert!(logs.count() > 20);
}

#[test]
fn a_reader_that_waits_is_woken_by_the_end_of_a_transaction() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        for committed in [true, false] {
            let mut session = Session::open(&broker, &format!("{protocol:?}{committed}"), protocol);
            let at = session.write("t", 0, &["v"]);
            let mut reader = broker.client();
            let request = ask::fetch_committed("t", 0, at).with_max_wait_ms(100_000).with_min_bytes(1);
            let asked = reader.begin(FETCH, &request);
            // More of what is not decided is no reason to answer.
            session.write("t", 0, &["w"]);
            client.produce("t", 1, batch::of(&["elsewhere"]));
            std::thread::sleep(Duration::from_millis(50));
            let begun = std::time::Instant::now();
            session.end(committed);
            let mut answer = reader.finish::<FetchRequest>(FETCH, asked);
            assert!(begun.elapsed() < Duration::from_secs(60), "it was the time that ended the waiting");
            let data = answer.responses.remove(0).partitions.remove(0);
            assert_eq!(span(&data), Some((at, at + 2)), "both records and the marker");
            let expected = if committed { vec![] } else { vec![(session.of.id, at)] };
            assert_eq!(aborted(&data), Some(expected));
        }
    }
}

#[test]
fn a_reader_that_waits_behind_another_open_transaction_gets_only_what_is_stable() {
    let (broker, _client) = broker();
    let mut early = Session::open(&broker, "early", Protocol::First);
    let mut late = Session::open(&broker, "late", Protocol::Second);
    early.write("t", 0, &["e"]);
    let from = late.write("t", 0, &["l"]);
    early.write("t", 0, &["e"]);
    let mut reader = broker.client();
    let asked = reader.begin(FETCH, &ask::fetch_committed("t", 0, 0).with_max_wait_ms(100_000));
    early.end(true);
    let mut answer = reader.finish::<FetchRequest>(FETCH, asked);
    let data = answer.responses.remove(0).partitions.remove(0);
    assert_eq!((span(&data), data.last_stable_offset), (Some((0, from - 1)), from));
    late.end(true);
}

#[test]
fn offsets_are_looked_up_below_the_last_stable_one() {
    let (broker, mut client) = broker();
    for version in 2..=LIST_OFFSETS {
        let answer = client.call(version, &ask::list_committed("t", 0, -1));
        assert_eq!(answer.topics[0].partitions[0].offset, 0, "v{version}");
    }
    let mut session = Session::open(&broker, "x", Protocol::Second);
    client.produce("t", 0, batch::at(1_000, &["plain"]));
    session.write_at(2_000, "t", 0, &["open"]);
    client.produce("t", 0, batch::at(3_000, &["behind"]));
    for version in 2..=LIST_OFFSETS {
        let mut of = |request: ListOffsetsRequest| {
            let answer = client.call(version, &request);
            answer.topics[0].partitions[0].offset
        };
        let told = [-1, -2].map(|time| of(ask::list_committed("t", 0, time)));
        assert_eq!(told, [1, 0], "v{version}");
        assert_eq!(
            client.call(version, &request::list_offsets("t", 0, -1)).topics[0].partitions[0].offset,
            3
        );
    }
    assert_eq!(by_time(&mut client, 500), (0, 1_000));
    assert_eq!(by_time(&mut client, 1_000), (0, 1_000));
    assert_eq!(by_time(&mut client, 1_001), (-1, -1), "it is not decided yet");
    assert_eq!(by_time(&mut client, -3), (-1, -1));
    session.end(true);
    assert_eq!(by_time(&mut client, 1_001), (1, 2_000));
    assert_eq!(by_time(&mut client, 2_001), (2, 3_000));
    assert_eq!(stable_end(&mut client, "t", 0), 4);
}

#[test]
fn the_log_start_may_pass_an_open_transaction() {
    use kafka_protocol::messages::DeleteRecordsRequest;
    use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let mut session = Session::open(&broker, &format!("{protocol:?}"), protocol);
        let at = session.write("t", 0, &["a"]);
        session.write("t", 0, &["b"]);
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(at + 1);
        let topic =
            DeleteRecordsTopic::default().with_name(request::name("t")).with_partitions(vec![partition]);
        let answer = client.call(2, &DeleteRecordsRequest::default().with_topics(vec![topic]));
        assert_eq!(answer.topics[0].partitions[0].error_code, code::NONE);
        assert_eq!(stable_end(&mut client, "t", 0), at + 1, "never below the log start");
        session.end(true);
        assert_eq!(committed_values(&mut client, "t", 0, at + 1), ["b"]);
    }
}

#[test]
fn sessions_of_fetch_tell_the_last_stable_offset_when_it_moves() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::Second);
    let at = session.write("t", 0, &["v"]);
    let first = client.call(FETCH, &ask::fetch_committed("t", 0, at).with_session_epoch(0));
    assert_ne!(first.session_id, 0);
    let again = request::fetch(vec![])
        .with_isolation_level(1)
        .with_session_id(first.session_id)
        .with_session_epoch(1);
    assert!(client.call(FETCH, &again).responses.is_empty(), "nothing new");
    session.end(false);
    let mut woken = client.call(FETCH, &again.with_session_epoch(2));
    let data = woken.responses.remove(0).partitions.remove(0);
    assert_eq!((data.last_stable_offset, span(&data)), (at + 2, Some((at, at + 1))));
    assert_eq!(aborted(&data), Some(vec![(session.of.id, at)]));
}
