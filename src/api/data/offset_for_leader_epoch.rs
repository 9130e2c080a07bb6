//! OffsetForLeaderEpoch (key 23): where an epoch ended, for a client that checks whether its log was truncated.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::metadata::Topic;

/// Looks up each partition.
pub fn handle(context: &Context, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let image = context.services.image();
    let topics = request.topics.into_iter().map(|wanted| {
        let topic = image.topic(&wanted.topic);
        let partitions = wanted.partitions.iter().map(|partition| {
            let found = match topic {
                Some(topic) => look_up(context, topic, partition),
                None => Err(ResponseError::UnknownTopicOrPartition.code()),
            };
            let (code, (epoch, end_offset)) = match found {
                Ok(found) => (0, found),
                Err(code) => (code, (-1, -1)),
            };
            EpochEndOffset::default()
                .with_partition(partition.partition)
                .with_error_code(code)
                .with_leader_epoch(epoch)
                .with_end_offset(end_offset)
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(wanted.topic).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn look_up(context: &Context, topic: &Topic, wanted: &OffsetForLeaderPartition) -> Result<(i32, i64), i16> {
    if !(0..topic.partitions).contains(&wanted.partition) {
        return Err(ResponseError::UnknownTopicOrPartition.code());
    }
    let partition = context.services.partition(topic, wanted.partition).map_err(|error| error.code())?;
    partition.check_leader_epoch(wanted.current_leader_epoch).map_err(|error| error.code())?;
    Ok(partition.end_offset_for_epoch(wanted.leader_epoch))
}
