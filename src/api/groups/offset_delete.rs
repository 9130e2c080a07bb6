//! OffsetDelete (key 47): forgets committed offsets of topics that nobody in the group reads (KIP-496).

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequest;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::shape;
use crate::api::context::Context;
use crate::api::error_code::{NONE, ToCode};
use crate::groups::coordinator::Answering;
use crate::groups::offsets::OffsetKey;

/// Answers for each partition, or for the group.
pub fn handle(context: &Context, request: OffsetDeleteRequest) -> Answering<OffsetDeleteResponse> {
    if let Err(code) = shape::check_group_id(&request.group_id) {
        return Answering::Now(OffsetDeleteResponse::default().with_error_code(code));
    }
    let image = context.services.image();
    let mut keys = Vec::new();
    for topic in &request.topics {
        let Some(known) = image.topic(&topic.name) else {
            continue;
        };
        let existing = topic.partitions.iter().map(|wanted| wanted.partition_index);
        let existing = existing.filter(|partition| (0..known.partitions).contains(partition));
        keys.extend(existing.map(|partition| OffsetKey { topic: known.id, partition }));
    }
    let held = context.services.groups.delete_offsets(&request.group_id, keys.clone());
    held.answer(move |answer| {
        let results = match answer {
            Ok(results) => results,
            Err(error) => return OffsetDeleteResponse::default().with_error_code(error.code()),
        };
        let codes: HashMap<OffsetKey, i16> = keys
            .into_iter()
            .zip(results.into_iter().map(|result| result.map_or_else(|error| error.code(), |()| NONE)))
            .collect();
        let topics = request.topics.iter().filter(|topic| !topic.partitions.is_empty()).map(|topic| {
            let known = image.topic(&topic.name).map(|known| known.id);
            let partitions = topic.partitions.iter().map(|wanted| {
                let partition = wanted.partition_index;
                let code = known.and_then(|topic| codes.get(&OffsetKey { topic, partition }).copied());
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition)
                    .with_error_code(code.unwrap_or(ResponseError::UnknownTopicOrPartition.code()))
            });
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        OffsetDeleteResponse::default().with_topics(topics.collect())
    })
}
