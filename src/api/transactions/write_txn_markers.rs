//! WriteTxnMarkers (key 27): ends the transaction of a producer in partitions without its coordinator. Brokers tell each
//! other so; here it is the tool of an operator who frees partitions from a hanging transaction (`kafka-transactions.sh
//! --abort`).

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WriteTxnMarkersRequest};
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersResponse,
};
use tracing::info;

use crate::api::context::Context;
use crate::api::error_code::{NONE, ToCode};
use crate::groups::error::GroupError;
use crate::groups::store::SHARDS;
use crate::metadata::topics::CONSUMER_OFFSETS;
use crate::partition::{AppendError, Partition};
use crate::record::{EndMarker, TransactionOutcome};

/// How long the answer waits for the disk.
const DURABLE_WITHIN: Duration = Duration::from_secs(30);

/// Writes every marker, then answers when all are durable.
pub async fn handle(context: Context, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let mut results = Vec::with_capacity(request.markers.len());
    for wanted in request.markers {
        results.push(one(&context, wanted).await);
    }
    WriteTxnMarkersResponse::default().with_markers(results)
}

async fn one(context: &Context, wanted: WritableTxnMarker) -> WritableTxnMarkerResult {
    let outcome = match wanted.transaction_result {
        true => TransactionOutcome::Commit,
        false => TransactionOutcome::Abort,
    };
    let marker = EndMarker {
        producer_id: wanted.producer_id.0,
        producer_epoch: wanted.producer_epoch,
        coordinator_epoch: wanted.coordinator_epoch,
        outcome,
    };
    let mut topics = Vec::with_capacity(wanted.topics.len());
    for topic in wanted.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            let code = match &*topic.name == CONSUMER_OFFSETS {
                // Nobody can have produced under these; in a log such a marker would be no valid batch.
                _ if marker.producer_id < 0 || marker.producer_epoch < 0 => {
                    ResponseError::InvalidRequest.code()
                }
                true => end_offsets(context, index, marker).await,
                false => write(context, &topic.name, index, marker).await,
            };
            let result = WritableTxnMarkerPartitionResult::default();
            partitions.push(result.with_partition_index(index).with_error_code(code));
        }
        let result = WritableTxnMarkerTopicResult::default();
        topics.push(result.with_name(topic.name).with_partitions(partitions));
    }
    WritableTxnMarkerResult::default().with_producer_id(wanted.producer_id).with_topics(topics)
}

async fn write(context: &Context, topic: &str, index: i32, marker: EndMarker) -> i16 {
    let written = append(context, topic, index, marker);
    let (partition, end_offset) = match written {
        Ok(written) => written,
        Err(code) => return code,
    };
    match partition.committed(end_offset, DURABLE_WITHIN).await {
        Ok(()) => NONE,
        Err(error) => error.code(),
    }
}

fn append(
    context: &Context,
    topic: &str,
    index: i32,
    marker: EndMarker,
) -> Result<(Arc<Partition>, i64), i16> {
    let image = context.services.image();
    let topic = image.topic(topic).filter(|topic| (0..topic.partitions).contains(&index));
    let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition.code())?;
    let partition = context.services.partition(topic, index).map_err(|error| error.code())?;
    let appended =
        partition.append_marker(marker, context.services.now_ms()).map_err(|error: AppendError| {
            info!(partition = %partition.id(), peer = %context.peer.remote, %error, "a marker was refused");
            error.code()
        })?;
    info!(
        partition = %partition.id(), peer = %context.peer.remote, producer_id = marker.producer_id,
        producer_epoch = marker.producer_epoch, outcome = ?marker.outcome, "a marker was written on request"
    );
    Ok((partition, appended.end_offset))
}

/// The pending offsets of the producer in the groups of one partition of `__consumer_offsets`.
async fn end_offsets(context: &Context, index: i32, marker: EndMarker) -> i16 {
    let Ok(shard) = u8::try_from(index).map_err(drop).and_then(|shard| match shard < SHARDS {
        true => Ok(shard),
        false => Err(()),
    }) else {
        return ResponseError::UnknownTopicOrPartition.code();
    };
    let producer = (marker.producer_id, marker.producer_epoch);
    let ended = context.services.groups.end_in_partition(shard, producer, marker.outcome);
    match ended.settled().await {
        Ok(()) => NONE,
        // To whoever sends markers, the groups' partition is a partition like others.
        Err(GroupError::NotCoordinator | GroupError::CoordinatorNotAvailable) => {
            ResponseError::NotLeaderOrFollower.code()
        }
        Err(error) => error.code(),
    }
}
