//! Requests of transactional producers, and of those who look at what they wrote.

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    EndTxnRequest, FetchRequest, InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest,
    ProduceRequest, ProducerId, TransactionalId, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};
use tidelog::record::BatchBuilder;

use super::mask::script_time_ms;
use super::requests::{LONG_MS, group, some, text, topic};
use super::support::{batch, request};

/// Who produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

impl Producer {
    /// What an InitProducerId gave.
    pub fn of(answer: &InitProducerIdResponse) -> Producer {
        Producer { id: answer.producer_id.0, epoch: answer.producer_epoch }
    }

    /// Under another epoch.
    pub fn at(self, epoch: i16) -> Producer {
        Producer { epoch, ..self }
    }

    /// Under the epoch that many further.
    pub fn plus(self, epochs: i16) -> Producer {
        self.at(self.epoch + epochs)
    }

    /// Of another id, which nobody was given.
    pub fn stranger(self) -> Producer {
        Producer { id: 987_654_321, ..self }
    }
}

/// A transactional id.
pub fn transactional(id: &str) -> TransactionalId {
    TransactionalId(text(id))
}

/// InitProducerId of a new producer.
pub fn init(id: &str) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional(id)))
        .with_transaction_timeout_ms(LONG_MS)
}

/// InitProducerId of a producer that goes on after an error, from version 3 on.
pub fn init_again(id: &str, of: Producer) -> InitProducerIdRequest {
    init(id).with_producer_id(ProducerId(of.id)).with_producer_epoch(of.epoch)
}

fn added(topics: &[(&str, &[i32])]) -> Vec<AddPartitionsToTxnTopic> {
    let topics = topics.iter().map(|(name, partitions)| {
        AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(partitions.to_vec())
    });
    topics.collect()
}

/// AddPartitionsToTxn up to version 3.
pub fn add(id: &str, of: Producer, topics: &[(&str, &[i32])]) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional(id))
        .with_v3_and_below_producer_id(ProducerId(of.id))
        .with_v3_and_below_producer_epoch(of.epoch)
        .with_v3_and_below_topics(added(topics))
}

/// One transaction of [`add_all`].
pub fn adding(
    id: &str,
    of: Producer,
    verify_only: bool,
    topics: &[(&str, &[i32])],
) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(transactional(id))
        .with_producer_id(ProducerId(of.id))
        .with_producer_epoch(of.epoch)
        .with_verify_only(verify_only)
        .with_topics(added(topics))
}

/// AddPartitionsToTxn from version 4 on, which brokers send.
pub fn add_all(transactions: Vec<AddPartitionsToTxnTransaction>) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest::default().with_transactions(transactions)
}

/// AddOffsetsToTxn.
pub fn add_offsets(id: &str, of: Producer, of_group: &str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(transactional(id))
        .with_producer_id(ProducerId(of.id))
        .with_producer_epoch(of.epoch)
        .with_group_id(group(of_group))
}

/// TxnOffsetCommit of nobody in particular in the group.
pub fn commit_in(
    id: &str,
    of: Producer,
    of_group: &str,
    offsets: &[(&str, i32, i64)],
) -> TxnOffsetCommitRequest {
    let topics = offsets.iter().map(|(name, partition, offset)| {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(some("note"));
        TxnOffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition])
    });
    TxnOffsetCommitRequest::default()
        .with_transactional_id(transactional(id))
        .with_group_id(group(of_group))
        .with_producer_id(ProducerId(of.id))
        .with_producer_epoch(of.epoch)
        .with_topics(topics.collect())
}

/// EndTxn.
pub fn end(id: &str, of: Producer, committed: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(transactional(id))
        .with_producer_id(ProducerId(of.id))
        .with_producer_epoch(of.epoch)
        .with_committed(committed)
}

/// A transactional batch. All batches of scripts have the same time.
pub fn records(of: Producer, sequence: i32, values: &[&str]) -> Bytes {
    built(batch_of(of, sequence, values).transactional(true))
}

/// A batch of an idempotent producer that is in no transaction.
pub fn plain_records(of: Producer, sequence: i32, values: &[&str]) -> Bytes {
    built(batch_of(of, sequence, values))
}

fn batch_of(of: Producer, sequence: i32, values: &[&str]) -> BatchBuilder {
    batch::builder(script_time_ms(), values).producer(of.id, of.epoch, sequence)
}

fn built(batch: BatchBuilder) -> Bytes {
    batch.build().expect("a batch")
}

/// Produce in a transaction of one batch for each topic and partition, up to version 12.
pub fn produce(id: Option<&str>, batches: Vec<(&str, i32, Bytes)>) -> ProduceRequest {
    let data = batches.into_iter().map(|(name, partition, records)| {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data])
    });
    ProduceRequest::default()
        .with_transactional_id(id.map(transactional))
        .with_acks(-1)
        .with_timeout_ms(LONG_MS)
        .with_topic_data(data.collect())
}

/// Fetch of everything from an offset on, at read_committed.
pub fn fetch_committed(name: &str, partition: i32, offset: i64) -> FetchRequest {
    fetch_uncommitted(name, partition, offset).with_isolation_level(1)
}

/// Fetch of everything from an offset on, at read_uncommitted.
pub fn fetch_uncommitted(name: &str, partition: i32, offset: i64) -> FetchRequest {
    request::fetch(vec![(name, request::wanted(partition, offset))])
}

/// ListOffsets at read_committed. The timestamp -1 is the end, -2 the start.
pub fn list_committed(name: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    request::list_offsets(name, partition, timestamp).with_isolation_level(1)
}

/// DescribeTransactions.
pub fn describe(ids: &[&str]) -> DescribeTransactionsRequest {
    DescribeTransactionsRequest::default()
        .with_transactional_ids(ids.iter().map(|id| transactional(id)).collect())
}

/// DescribeProducers.
pub fn describe_producers(name: &str, partitions: &[i32]) -> DescribeProducersRequest {
    let of = TopicRequest::default().with_name(topic(name)).with_partition_indexes(partitions.to_vec());
    DescribeProducersRequest::default().with_topics(vec![of])
}

/// A marker of [`write_markers`].
pub fn marker(of: Producer, committed: bool, name: &str, partitions: &[i32]) -> WritableTxnMarker {
    let in_topic =
        WritableTxnMarkerTopic::default().with_name(topic(name)).with_partition_indexes(partitions.to_vec());
    WritableTxnMarker::default()
        .with_producer_id(ProducerId(of.id))
        .with_producer_epoch(of.epoch)
        .with_transaction_result(committed)
        .with_topics(vec![in_topic])
}

/// WriteTxnMarkers.
pub fn write_markers(markers: Vec<WritableTxnMarker>) -> WriteTxnMarkersRequest {
    WriteTxnMarkersRequest::default().with_markers(markers)
}
