//! ListOffsets (key 2): offset by timestamp, earliest, latest, and of the largest timestamp.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};

use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::metadata::Topic;
use crate::partition::read::TimedOffset;

/// Next offset to be written, as far as readers may see.
const LATEST: i64 = -1;
/// First offset that exists.
const EARLIEST: i64 = -2;
/// Offset of the largest timestamp (KIP-734).
const MAX_TIMESTAMP: i64 = -3;
/// First offset on local disk (KIP-405): all of the log is local.
const EARLIEST_LOCAL: i64 = -4;
/// Last offset in tiered storage (KIP-1005): there is none.
const LATEST_TIERED: i64 = -5;

/// `isolation_level` of a client that passes over aborted records.
const READ_COMMITTED: i8 = 1;

/// First version that tells the leader epoch of the offset (KIP-320).
const LEADER_EPOCH_FROM: i16 = 4;

const NONE_FOUND: TimedOffset = TimedOffset { offset: -1, timestamp: -1, leader_epoch: -1 };

/// Looks up each partition.
pub fn handle(context: &Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let image = context.services.image();
    let read_committed = request.isolation_level == READ_COMMITTED;
    let topics = request.topics.into_iter().map(|wanted| {
        let topic = image.topic(&wanted.name);
        let partitions = wanted.partitions.iter().map(|partition| {
            let found = match topic {
                Some(topic) => look_up(context, topic, partition, read_committed),
                None => Err(ResponseError::UnknownTopicOrPartition.code()),
            };
            answer(context.version, partition.partition_index, found)
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_name(wanted.name).with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn look_up(
    context: &Context,
    topic: &Topic,
    wanted: &ListOffsetsPartition,
    read_committed: bool,
) -> Result<TimedOffset, i16> {
    if !(0..topic.partitions).contains(&wanted.partition_index) {
        return Err(ResponseError::UnknownTopicOrPartition.code());
    }
    let partition =
        context.services.partition(topic, wanted.partition_index).map_err(|error| error.code())?;
    partition.check_leader_epoch(wanted.current_leader_epoch).map_err(|error| error.code())?;
    if context.version < known_from(wanted.timestamp) {
        return Err(ResponseError::UnsupportedVersion.code());
    }
    let found = match wanted.timestamp {
        LATEST => Some(partition.latest(read_committed)),
        EARLIEST | EARLIEST_LOCAL => Some(partition.earliest()),
        LATEST_TIERED => None,
        // Both read records: the runtime is told, so that other tasks of this worker move on.
        MAX_TIMESTAMP => {
            let found = tokio::task::block_in_place(|| partition.max_timestamp(read_committed));
            found.map_err(|error| error.code())?
        }
        timestamp if timestamp >= 0 => {
            let found =
                tokio::task::block_in_place(|| partition.offset_for_timestamp(timestamp, read_committed));
            found.map_err(|error| error.code())?
        }
        _ => return Err(ResponseError::UnsupportedVersion.code()),
    };
    Ok(found.unwrap_or(NONE_FOUND))
}

/// First version in which a special timestamp means something (`ReplicaManager.isListOffsetsTimestampUnsupported`).
fn known_from(timestamp: i64) -> i16 {
    match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        _ => 0,
    }
}

fn answer(version: i16, index: i32, found: Result<TimedOffset, i16>) -> ListOffsetsPartitionResponse {
    let (code, found) = match found {
        Ok(found) => (0, found),
        Err(code) => (code, NONE_FOUND),
    };
    ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(code)
        .with_timestamp(found.timestamp)
        .with_offset(found.offset)
        .with_leader_epoch(if version >= LEADER_EPOCH_FROM { found.leader_epoch } else { -1 })
}
