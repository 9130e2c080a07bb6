//! What producers and readers do in most tests.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::messages::describe_producers_response::ProducerState;
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;

use super::ask::{self, Producer};
use super::code;
use crate::support::batch::{self, headers};
use crate::support::{Client, TestBroker};

pub use crate::groups::member::eventually;

pub const INIT: i16 = 5;
pub const ADD: i16 = 3;
pub const FETCH: i16 = 12;
pub const LIST_OFFSETS: i16 = 10;

/// The generation of the transaction protocol that a client speaks (KIP-890).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    First,
    Second,
}

/// Both, for tests that hold in either.
pub const BOTH: [Protocol; 2] = [Protocol::First, Protocol::Second];

impl Protocol {
    /// Version of EndTxn.
    pub fn end(self) -> i16 {
        if self == Protocol::First { 4 } else { 5 }
    }

    /// Version of Produce.
    pub fn produce(self) -> i16 {
        if self == Protocol::First { 11 } else { 12 }
    }

    /// Version of TxnOffsetCommit.
    pub fn commit(self) -> i16 {
        if self == Protocol::First { 4 } else { 5 }
    }
}

/// A broker with the topic `t` of four partitions, and a connection to it.
pub fn broker() -> (TestBroker, Client) {
    broker_with(&[])
}

/// As [`broker`], with settings of its own.
pub fn broker_with(settings: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = TestBroker::with(settings);
    let mut client = broker.client();
    client.create_topic("t", 4, &[]);
    (broker, client)
}

/// A transactional producer as clients are: it knows its epoch and counts its records.
pub struct Session {
    pub client: Client,
    pub id: String,
    pub of: Producer,
    pub protocol: Protocol,
    /// Next sequence number by topic and partition.
    sequences: HashMap<(String, i32), i32>,
    /// Where the present transaction last wrote.
    written: HashMap<(String, i32), i64>,
}

impl Session {
    /// A producer of this transactional id, on a connection of its own.
    pub fn open(broker: &TestBroker, id: &str, protocol: Protocol) -> Session {
        let mut client = broker.client();
        let of = init(&mut client, id);
        Session {
            client,
            id: id.to_owned(),
            of,
            protocol,
            sequences: HashMap::new(),
            written: HashMap::new(),
        }
    }

    /// The same producer on a new connection, as after the broker was away.
    pub fn reconnect(&mut self, broker: &TestBroker) {
        self.client = broker.client();
    }

    /// AddPartitionsToTxn; by itself only the first protocol needs it.
    pub fn enlist(&mut self, topic: &str, partitions: &[i32]) {
        let request = ask::add(&self.id, self.of, &[(topic, partitions)]);
        let codes = added(&self.client.call(ADD, &request));
        assert!(codes.iter().all(|code| *code == code::NONE), "{codes:?}");
    }

    /// The batch that comes next, and the sequence numbers go on.
    pub fn batch(&mut self, topic: &str, partition: i32, values: &[&str]) -> Bytes {
        self.batch_at(batch::now_ms(), topic, partition, values)
    }

    /// As [`Session::batch`], stamped with this time.
    pub fn batch_at(&mut self, timestamp: i64, topic: &str, partition: i32, values: &[&str]) -> Bytes {
        let next = self.sequences.entry((topic.to_owned(), partition)).or_default();
        let records = ask::records_at(timestamp, self.of, *next, values);
        *next += values.len() as i32;
        records
    }

    /// Produce as this protocol does it, whatever comes of it.
    pub fn send(&mut self, topic: &str, partition: i32, records: Bytes) -> PartitionProduceResponse {
        let request = ask::produce(Some(&self.id), vec![(topic, partition, records)]);
        let answer = produced(&self.client.call(self.protocol.produce(), &request)).remove(0);
        if answer.error_code == code::NONE {
            let last = self.written.entry((topic.to_owned(), partition)).or_insert(answer.base_offset);
            // A repetition is answered with where it was first.
            *last = answer.base_offset.max(*last);
        }
        answer
    }

    /// Writes within the transaction, which begins with it if need be; returns the offset of the first record.
    pub fn write(&mut self, topic: &str, partition: i32, values: &[&str]) -> i64 {
        self.write_at(batch::now_ms(), topic, partition, values)
    }

    /// As [`Session::write`], stamped with this time.
    pub fn write_at(&mut self, timestamp: i64, topic: &str, partition: i32, values: &[&str]) -> i64 {
        if self.protocol == Protocol::First {
            self.enlist(topic, &[partition]);
        }
        let records = self.batch_at(timestamp, topic, partition, values);
        let answer = self.send(topic, partition, records);
        assert_eq!(answer.error_code, code::NONE, "{:?}", answer.error_message);
        answer.base_offset
    }

    /// Commits offsets of a group within the transaction.
    pub fn write_offsets(&mut self, group: &str, offsets: &[(&str, i32, i64)]) {
        if self.protocol == Protocol::First {
            let request = ask::add_offsets(&self.id, self.of, group);
            assert_eq!(self.client.call(4, &request).error_code, code::NONE);
        }
        let request = ask::commit_in(&self.id, self.of, group, offsets);
        let codes = offset_codes(&self.client.call(self.protocol.commit(), &request));
        assert!(codes.iter().all(|code| *code == code::NONE), "{codes:?}");
    }

    /// EndTxn; goes on with what the answer gives. Returns when readers see the markers, which become durable a moment after
    /// the answer.
    pub fn end(&mut self, committed: bool) {
        let producer_id = self.of.id;
        let answer = self.client.call(self.protocol.end(), &ask::end(&self.id, self.of, committed));
        assert_eq!(answer.error_code, code::NONE);
        self.ended(&answer);
        for ((topic, partition), last) in std::mem::take(&mut self.written) {
            eventually("readers see the marker", || {
                is_marked(&mut self.client, &topic, partition, producer_id, last)
            });
        }
        described(&mut self.client, &self.id);
    }

    /// Takes over what an EndTxn was answered.
    pub fn ended(&mut self, answer: &m::EndTxnResponse) {
        if self.protocol == Protocol::Second {
            self.take_over(Producer { id: answer.producer_id.0, epoch: answer.producer_epoch });
        }
    }

    /// Goes on with another epoch.
    pub fn take_over(&mut self, of: Producer) {
        assert_ne!(of, self.of);
        self.of = of;
        self.sequences.clear();
    }
}

/// Whether a marker of this producer can be read behind this offset; or nothing can any more.
fn is_marked(client: &mut Client, topic: &str, partition: i32, producer_id: i64, offset: i64) -> bool {
    let mut next = offset;
    loop {
        let data = client.fetch(topic, partition, next);
        if data.error_code != code::NONE {
            return data.error_code == code::UNKNOWN_TOPIC_OR_PARTITION;
        }
        let headers = headers(&data.records.unwrap_or_default());
        let mut later = headers.iter().filter(|header| header.base_offset > offset);
        if later.any(|header| header.is_control() && header.producer_id == producer_id) {
            return true;
        }
        let Some(last) = headers.last() else { return false };
        next = last.last_offset() + 1;
    }
}

/// Waits until everything that a partition has is decided, and readers see it.
pub fn until_stable(client: &mut Client, topic: &str, partition: i32) -> i64 {
    let mut end = 0;
    eventually("all is decided", || {
        end = client.end_offset(topic, partition);
        stable_end(client, topic, partition) == end
    });
    end
}

/// InitProducerId of a new producer, until an earlier one is out of the way.
pub fn init(client: &mut Client, id: &str) -> Producer {
    let mut of = Producer::NONE;
    eventually("the transactional id is free", || {
        let answer = client.call(INIT, &ask::init(id));
        of = Producer { id: answer.producer_id.0, epoch: answer.producer_epoch };
        match answer.error_code {
            code::NONE => true,
            code => {
                assert_eq!((code, of), (code::CONCURRENT_TRANSACTIONS, Producer::NONE));
                false
            }
        }
    });
    assert!(of.id >= 0 && of.epoch >= 0, "{of:?}");
    of
}

/// Codes of an AddPartitionsToTxn up to version 3, in the order of the answer.
pub fn added(answer: &m::AddPartitionsToTxnResponse) -> Vec<i16> {
    let topics = answer.results_by_topic_v3_and_below.iter();
    topics.flat_map(|topic| topic.results_by_partition.iter().map(|p| p.partition_error_code)).collect()
}

/// What a Produce says of each partition, in the order of the answer.
pub fn produced(answer: &m::ProduceResponse) -> Vec<PartitionProduceResponse> {
    answer.responses.iter().flat_map(|topic| topic.partition_responses.iter().cloned()).collect()
}

/// Codes of a TxnOffsetCommit, in the order of the answer.
pub fn offset_codes(answer: &m::TxnOffsetCommitResponse) -> Vec<i16> {
    answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| p.error_code)).collect()
}

/// DescribeTransactions, of one id.
pub fn described(client: &mut Client, id: &str) -> TransactionState {
    let mut ask = || client.call(0, &ask::describe(&[id])).transaction_states.remove(0);
    let mut shown = ask();
    // Until the markers of a decided transaction are durable.
    eventually("the transaction is complete", || {
        shown = ask();
        !shown.transaction_state.starts_with("Prepare")
    });
    shown
}

/// The name of the state of an id.
pub fn state(client: &mut Client, id: &str) -> String {
    described(client, id).transaction_state.to_string()
}

/// DescribeProducers, of one partition.
pub fn producers(client: &mut Client, topic: &str, partition: i32) -> Vec<ProducerState> {
    let mut answer = client.call(0, &ask::describe_producers(topic, &[partition]));
    let partition = answer.topics.remove(0).partitions.remove(0);
    assert_eq!(partition.error_code, code::NONE);
    partition.active_producers
}

/// The last stable offset, which ListOffsets tells at read_committed.
pub fn stable_end(client: &mut Client, topic: &str, partition: i32) -> i64 {
    let mut answer = client.call(LIST_OFFSETS, &ask::list_committed(topic, partition, -1));
    let found = answer.topics.remove(0).partitions.remove(0);
    assert_eq!((found.error_code, found.timestamp), (code::NONE, -1));
    found.offset
}

/// Fetch at read_committed.
pub fn fetch_committed(client: &mut Client, topic: &str, partition: i32, offset: i64) -> PartitionData {
    let mut answer = client.call(FETCH, &ask::fetch_committed(topic, partition, offset));
    assert_eq!(answer.error_code, code::NONE);
    answer.responses.remove(0).partitions.remove(0)
}

/// The aborted transactions of an answer: producer id and first offset.
pub fn aborted(data: &PartitionData) -> Option<Vec<(i64, i64)>> {
    let aborted = data.aborted_transactions.as_ref()?;
    Some(aborted.iter().map(|range| (range.producer_id.0, range.first_offset)).collect())
}

/// The values that a consumer at read_committed hands on, from an offset on: it leaves out markers, and what the answer
/// says was aborted, as consumers do it.
pub fn committed_values(client: &mut Client, topic: &str, partition: i32, offset: i64) -> Vec<String> {
    let mut next = offset;
    let mut values = Vec::new();
    loop {
        let data = fetch_committed(client, topic, partition, next);
        assert_eq!(data.error_code, code::NONE);
        let bytes = data.records.clone().unwrap_or_default();
        let mut ranges = aborted(&data).expect("a list, at read_committed");
        ranges.sort_by_key(|(_, first)| *first);
        let mut aborting: Vec<i64> = Vec::new();
        let all = headers(&bytes);
        let Some(last) = all.last() else { return values };
        assert!(last.last_offset() < data.last_stable_offset, "what is not decided was sent");
        let mut records = batch::records(&bytes).into_iter().peekable();
        for header in &all {
            while let Some((producer, first)) = ranges.first().copied()
                && first <= header.last_offset()
            {
                ranges.remove(0);
                aborting.push(producer);
            }
            let is_aborted = aborting.contains(&header.producer_id) && header.is_transactional();
            if header.is_control() {
                // Only the abort of its own ends the range.
                let key = records.peek().and_then(|record| record.key.clone()).expect("a marker's key");
                if key == [0, 0, 0, 0] {
                    aborting.retain(|producer| *producer != header.producer_id);
                }
            }
            while records.peek().is_some_and(|record| record.offset <= header.last_offset()) {
                let record = records.next().expect("a record");
                if !header.is_control() && !is_aborted && record.offset >= next {
                    values.push(record.value_text());
                }
            }
        }
        next = last.last_offset() + 1;
    }
}
