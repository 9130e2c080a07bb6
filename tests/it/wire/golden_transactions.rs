//! Request and response bytes of the transactional APIs, as [`golden`](super::golden) has those of the others.

use kafka_protocol::messages as m;
use kafka_protocol::protocol::Request;

use super::golden::{BEGIN_MS, Capture, response, versions};
use crate::support::batch;
use crate::support::request::{self, text};
use crate::transactions::ask::{self, Producer};
use crate::transactions::session;

/// Where the CRC of a batch is, and where the two timestamps are that it covers.
const CRC: std::ops::Range<usize> = 17..21;
const TIMESTAMPS: std::ops::Range<usize> = 27..43;

impl Capture {
    fn init(&mut self, id: &str) -> Producer {
        session::init(&mut self.client, id)
    }

    fn accepted<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        self.client.call(version, request)
    }

    /// Writes one record, by the second protocol.
    fn write(&mut self, id: &str, of: Producer, partition: i32) {
        let records = ask::records_at(BEGIN_MS, of, 0, &["v"]);
        let answer = self.accepted(12, &ask::produce(Some(id), vec![("golden", partition, records)]));
        assert_eq!(session::produced(&answer)[0].error_code, 0);
    }
}

#[test]
fn add_partitions_to_txn() {
    let mut capture = Capture::begin();
    for version in versions::<m::AddPartitionsToTxnRequest>() {
        let id = format!("id-{version}");
        let of = capture.init(&id);
        if version < 4 {
            capture.exchange("AddPartitionsToTxn", version, &ask::add(&id, of, &[("golden", &[0, 1])]));
            let half = ask::add(&id, of, &[("golden", &[0, 9]), ("nowhere", &[0])]);
            capture.exchange("AddPartitionsToTxn of what there is not", version, &half);
            let fenced = ask::add(&id, of.plus(1), &[("golden", &[0])]);
            capture.exchange("AddPartitionsToTxn of another epoch", version, &fenced);
            continue;
        }
        let request = ask::add_all(vec![
            ask::adding(&id, of, false, &[("golden", &[0])]),
            ask::adding(&id, of, true, &[("golden", &[0, 1])]),
            ask::adding("unknown", of, false, &[("golden", &[0])]),
        ]);
        capture.exchange("AddPartitionsToTxn", version, &request);
    }
    capture.check("AddPartitionsToTxn");
}

#[test]
fn add_offsets_to_txn() {
    let mut capture = Capture::begin();
    for version in versions::<m::AddOffsetsToTxnRequest>() {
        let id = format!("id-{version}");
        let of = capture.init(&id);
        capture.exchange("AddOffsetsToTxn", version, &ask::add_offsets(&id, of, "group"));
        capture.exchange(
            "AddOffsetsToTxn of another epoch",
            version,
            &ask::add_offsets(&id, of.plus(1), "group"),
        );
    }
    capture.check("AddOffsetsToTxn");
}

#[test]
fn txn_offset_commit() {
    let mut capture = Capture::begin();
    for version in versions::<m::TxnOffsetCommitRequest>() {
        let id = format!("id-{version}");
        let of = capture.init(&id);
        assert_eq!(capture.accepted(3, &ask::add_offsets(&id, of, "group")).error_code, 0);
        let mut request =
            ask::commit_in(&id, of, "group", &[("golden", 0, 1), ("golden", 9, 1), ("nowhere", 0, 1)]);
        if version >= 2 {
            request.topics[0].partitions[0].committed_leader_epoch = 0;
        }
        capture.exchange("TxnOffsetCommit", version, &request);
        if version >= 3 {
            let stranger = ask::commit_in(&id, of, "group", &[("golden", 0, 1)])
                .with_member_id(text("stranger"))
                .with_generation_id(3)
                .with_group_instance_id(Some(text("one")));
            capture.exchange("TxnOffsetCommit of a stranger", version, &stranger);
        }
        let elsewhere = ask::commit_in(&id, of, "another", &[("golden", 0, 1)]);
        capture.exchange("TxnOffsetCommit of a group that is not enlisted", version, &elsewhere);
    }
    capture.check("TxnOffsetCommit");
}

#[test]
fn end_txn() {
    let mut capture = Capture::begin();
    for version in versions::<m::EndTxnRequest>() {
        let id = format!("id-{version}");
        let of = capture.init(&id);
        capture.exchange("EndTxn of nothing", version, &ask::end(&id, of, true));
        capture.write(&id, of, 0);
        capture.exchange("EndTxn of another epoch", version, &ask::end(&id, of.plus(1), true));
        capture.exchange("EndTxn", version, &ask::end(&id, of, true));
        capture.exchange("EndTxn again", version, &ask::end(&id, of, true));
        capture.exchange("EndTxn the other way", version, &ask::end(&id, of, false));
    }
    capture.check("EndTxn");
}

#[test]
fn write_txn_markers() {
    let mut capture = Capture::begin();
    for version in versions::<m::WriteTxnMarkersRequest>() {
        let of = capture.init(&format!("id-{version}"));
        let markers = vec![
            ask::marker(of, true, "golden", &[0, 9]),
            ask::marker(of.plus(3), false, "golden", &[1]).with_coordinator_epoch(2),
            ask::marker(of, false, "golden", &[1]),
        ];
        capture.exchange("WriteTxnMarkers", version, &ask::write_markers(markers));
    }
    capture.check("WriteTxnMarkers");
}

#[test]
fn describe_producers() {
    let mut capture = Capture::begin();
    let open = capture.init("open");
    capture.write("open", open, 0);
    let plain = ask::Producer { id: 77, epoch: 3 };
    let records = batch::changed(&ask::plain_records(plain, 5, &["v"]), |header| {
        (header.base_timestamp, header.max_timestamp) = (BEGIN_MS, BEGIN_MS);
    });
    assert_eq!(capture.client.produce("golden", 0, records).error_code, 0);
    for version in versions::<m::DescribeProducersRequest>() {
        let mut request = ask::describe_producers("golden", &[0, 1, 9]);
        request.topics.push(ask::describe_producers("nowhere", &[0]).topics.remove(0));
        capture.exchange("DescribeProducers", version, &request);
    }
    capture.check("DescribeProducers");
}

#[test]
fn describe_transactions() {
    let mut capture = Capture::begin();
    let open = capture.init("open");
    capture.write("open", open, 1);
    assert_eq!(capture.accepted(3, &ask::add_offsets("open", open, "group")).error_code, 0);
    capture.init("empty");
    for version in versions::<m::DescribeTransactionsRequest>() {
        let request = ask::describe(&["open", "empty", "unknown"]);
        let answer = capture.ask("DescribeTransactions", version, &request);
        let told = response::<m::DescribeTransactionsRequest>(version, &answer);
        capture.mask_moment(told.transaction_states[0].transaction_start_time_ms);
        capture.note("DescribeTransactions", version, "response", &answer);
    }
    capture.check("DescribeTransactions");
}

#[test]
fn list_transactions() {
    let mut capture = Capture::begin();
    capture.init("empty");
    for version in versions::<m::ListTransactionsRequest>() {
        capture.exchange("ListTransactions", version, &m::ListTransactionsRequest::default());
        let mut filtered = m::ListTransactionsRequest::default()
            .with_state_filters(vec![text("Empty"), text("Odd")])
            .with_producer_id_filters(vec![m::ProducerId(i64::MAX)]);
        if version >= 1 {
            filtered.duration_filter = 1_000;
        }
        if version >= 2 {
            filtered.transactional_id_pattern = Some(text("e.*"));
        }
        capture.exchange("ListTransactions with filters", version, &filtered);
        if version >= 2 {
            let odd = m::ListTransactionsRequest::default().with_transactional_id_pattern(Some(text("(")));
            capture.exchange("ListTransactions with a pattern that is none", version, &odd);
        }
    }
    capture.check("ListTransactions");
}

#[test]
fn transactional_init_producer_id() {
    let mut capture = Capture::begin();
    for version in versions::<m::InitProducerIdRequest>() {
        let id = format!("id-{version}");
        let mut request = ask::init(&id);
        capture.exchange("InitProducerId of a transactional producer", version, &request);
        if version >= 3 {
            let of = capture.init(&id);
            request = ask::init_again(&id, of);
            capture.exchange("InitProducerId that comes back", version, &request);
            let fenced = ask::init_again(&id, of.plus(9));
            capture.exchange("InitProducerId of a fenced producer", version, &fenced);
        }
        let slow = ask::init(&id).with_transaction_timeout_ms(i32::MAX);
        capture.exchange("InitProducerId with a long timeout", version, &slow);
    }
    capture.check("InitProducerIdOfTransactions");
}

#[test]
fn fetch_of_markers() {
    let mut capture = Capture::begin();
    let first = capture.init("first");
    let second = capture.init("second");
    for (id, of, version) in [("first", first, 4), ("second", second, 5)] {
        for committed in [true, false] {
            let of = if version == 5 && !committed { of.plus(1) } else { of };
            // The first record of each partition and epoch.
            let sequence = i32::from(version == 4 && !committed);
            // Stamped as the markers are: much older ones would be in a segment of their own.
            let records = ask::records(of, sequence, &["v"]);
            let produced = capture.accepted(12, &ask::produce(Some(id), vec![("golden", 1, records)]));
            assert_eq!(session::produced(&produced)[0].error_code, 0);
            assert_eq!(capture.accepted(version, &ask::end(id, of, committed)).error_code, 0);
        }
    }
    session::until_stable(&mut capture.client, "golden", 1);
    for version in [4, 11, 12] {
        let fetch = request::fetch(vec![("golden", request::wanted(1, 0))]).with_isolation_level(1);
        let answer = capture.ask("Fetch of transactions", version, &fetch);
        let told = response::<m::FetchRequest>(version, &answer);
        let records = told.responses[0].partitions[0].records.clone().expect("records");
        // What batches say of the time, and the checksums over that, are of this run.
        let mut masked = answer.clone();
        let begin =
            answer.windows(records.len()).position(|window| window == &records[..]).expect("they are in it");
        let mut at = begin;
        for header in batch::headers(&records) {
            masked[at..][CRC].fill(0xcc);
            masked[at..][TIMESTAMPS].fill(0xdd);
            at += header.size_in_bytes();
        }
        capture.note("Fetch of transactions", version, "response", &masked);
    }
    capture.check("FetchOfTransactions");
}
