//! Transactional requests with every field that a test does not care about filled in.

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{ProducerId, TransactionalId};

use crate::groups::ask::group;
use crate::support::batch;
use crate::support::request::{self, name, text};

/// A transaction timeout that no test reaches, milliseconds.
pub const LONG_MS: i32 = 600_000;

/// Who produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

impl Producer {
    /// "None", as in a request of one who has no producer id yet, and in a refusal.
    pub const NONE: Producer = Producer { id: -1, epoch: -1 };

    /// The same id, that many epochs further.
    pub fn plus(self, epochs: i16) -> Producer {
        Producer { epoch: self.epoch + epochs, ..self }
    }

    /// The same epoch of an id that nobody was given.
    pub fn stranger(self) -> Producer {
        Producer { id: 987_654_321, ..self }
    }
}

/// A transactional id.
pub fn transactional(id: &str) -> TransactionalId {
    TransactionalId(text(id))
}

/// InitProducerId of a new producer.
pub fn init(id: &str) -> m::InitProducerIdRequest {
    m::InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional(id)))
        .with_transaction_timeout_ms(LONG_MS)
}

/// InitProducerId of a producer that goes on after an error (KIP-360), from version 3 on.
pub fn init_again(id: &str, of: Producer) -> m::InitProducerIdRequest {
    init(id).with_producer_id(ProducerId(of.id)).with_producer_epoch(of.epoch)
}

fn topics(topics: &[(&str, &[i32])]) -> Vec<AddPartitionsToTxnTopic> {
    let topics = topics.iter().map(|(topic, partitions)| {
        AddPartitionsToTxnTopic::default().with_name(name(topic)).with_partitions(partitions.to_vec())
    });
    topics.collect()
}

/// AddPartitionsToTxn of a client, up to version 3.
pub fn add(id: &str, of: Producer, wanted: &[(&str, &[i32])]) -> m::AddPartitionsToTxnRequest {
    m::AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional(id))
        .with_v3_and_below_producer_id(ProducerId(of.id))
        .with_v3_and_below_producer_epoch(of.epoch)
        .with_v3_and_below_topics(topics(wanted))
}

/// One transaction of [`add_all`].
pub fn adding(
    id: &str,
    of: Producer,
    verify_only: bool,
    wanted: &[(&str, &[i32])],
) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(transactional(id))
        .with_producer_id(ProducerId(of.id))
        .with_producer_epoch(of.epoch)
        .with_verify_only(verify_only)
        .with_topics(topics(wanted))
}

/// AddPartitionsToTxn of a broker, from version 4 on.
pub fn add_all(transactions: Vec<AddPartitionsToTxnTransaction>) -> m::AddPartitionsToTxnRequest {
    m::AddPartitionsToTxnRequest::default().with_transactions(transactions)
}

/// AddOffsetsToTxn.
pub fn add_offsets(id: &str, of: Producer, to: &str) -> m::AddOffsetsToTxnRequest {
    m::AddOffsetsToTxnRequest::default()
        .with_transactional_id(transactional(id))
        .with_producer_id(ProducerId(of.id))
        .with_producer_epoch(of.epoch)
        .with_group_id(group(to))
}

/// TxnOffsetCommit of nobody in particular in the group; offsets of one topic that follow each other are sent together.
pub fn commit_in(
    id: &str,
    of: Producer,
    to: &str,
    offsets: &[(&str, i32, i64)],
) -> m::TxnOffsetCommitRequest {
    let mut topics: Vec<TxnOffsetCommitRequestTopic> = Vec::new();
    for (topic, partition, offset) in offsets {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text("note")));
        match topics.last_mut().filter(|last| last.name.as_str() == *topic) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(
                TxnOffsetCommitRequestTopic::default()
                    .with_name(name(topic))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    m::TxnOffsetCommitRequest::default()
        .with_transactional_id(transactional(id))
        .with_group_id(group(to))
        .with_producer_id(ProducerId(of.id))
        .with_producer_epoch(of.epoch)
        .with_topics(topics)
}

/// EndTxn.
pub fn end(id: &str, of: Producer, committed: bool) -> m::EndTxnRequest {
    m::EndTxnRequest::default()
        .with_transactional_id(transactional(id))
        .with_producer_id(ProducerId(of.id))
        .with_producer_epoch(of.epoch)
        .with_committed(committed)
}

/// A transactional batch, stamped with this time.
pub fn records_at(timestamp: i64, of: Producer, sequence: i32, values: &[&str]) -> Bytes {
    let built = batch::builder(timestamp, values).producer(of.id, of.epoch, sequence).transactional(true);
    built.build().expect("a batch")
}

/// A transactional batch, stamped now.
pub fn records(of: Producer, sequence: i32, values: &[&str]) -> Bytes {
    records_at(batch::now_ms(), of, sequence, values)
}

/// A batch of an idempotent producer that is in no transaction.
pub fn plain_records(of: Producer, sequence: i32, values: &[&str]) -> Bytes {
    batch::sequenced(of.id, of.epoch, sequence, values)
}

/// Produce of one batch for each partition, up to version 12; in the topic's order.
pub fn produce(id: Option<&str>, batches: Vec<(&str, i32, Bytes)>) -> m::ProduceRequest {
    let data = batches.into_iter().map(|(topic, partition, records)| {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data])
    });
    m::ProduceRequest::default()
        .with_transactional_id(id.map(transactional))
        .with_acks(-1)
        .with_timeout_ms(60_000)
        .with_topic_data(data.collect())
}

/// Fetch of everything from an offset on, at read_committed.
pub fn fetch_committed(topic: &str, partition: i32, offset: i64) -> m::FetchRequest {
    request::fetch(vec![(topic, request::wanted(partition, offset))]).with_isolation_level(1)
}

/// ListOffsets at read_committed.
pub fn list_committed(topic: &str, partition: i32, timestamp: i64) -> m::ListOffsetsRequest {
    request::list_offsets(topic, partition, timestamp).with_isolation_level(1)
}

/// DescribeTransactions.
pub fn describe(ids: &[&str]) -> m::DescribeTransactionsRequest {
    let ids = ids.iter().map(|id| transactional(id)).collect();
    m::DescribeTransactionsRequest::default().with_transactional_ids(ids)
}

/// DescribeProducers.
pub fn describe_producers(topic: &str, partitions: &[i32]) -> m::DescribeProducersRequest {
    let of = TopicRequest::default().with_name(name(topic)).with_partition_indexes(partitions.to_vec());
    m::DescribeProducersRequest::default().with_topics(vec![of])
}

/// One marker of [`write_markers`].
pub fn marker(of: Producer, committed: bool, topic: &str, partitions: &[i32]) -> WritableTxnMarker {
    let topic =
        WritableTxnMarkerTopic::default().with_name(name(topic)).with_partition_indexes(partitions.to_vec());
    WritableTxnMarker::default()
        .with_producer_id(ProducerId(of.id))
        .with_producer_epoch(of.epoch)
        .with_transaction_result(committed)
        .with_topics(vec![topic])
}

/// WriteTxnMarkers.
pub fn write_markers(markers: Vec<WritableTxnMarker>) -> m::WriteTxnMarkersRequest {
    m::WriteTxnMarkersRequest::default().with_markers(markers)
}
