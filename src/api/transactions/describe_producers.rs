//! DescribeProducers (key 61): who writes to partitions, and where their open transactions begin (KIP-664).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::describe_producers_request::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::metadata::Topic;

const NO_TOPIC: &str = "This server does not host this topic-partition.";

/// Describes each partition.
pub fn handle(context: &Context, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let image = context.services.image();
    let topics = request.topics.into_iter().map(|wanted| {
        let topic = image.topic(&wanted.name);
        // As in Kafka, a topic that does not exist is told in words, and a partition that does not is not.
        let message = topic.is_none().then(|| StrBytes::from_static_str(NO_TOPIC));
        let partitions = wanted.partition_indexes.iter().map(|index| {
            let response =
                PartitionResponse::default().with_partition_index(*index).with_error_message(message.clone());
            match producers(context, topic.map(|topic| &**topic), *index) {
                Ok(producers) => response.with_active_producers(producers),
                Err(code) => response.with_error_code(code),
            }
        });
        let partitions = partitions.collect();
        TopicResponse::default().with_name(wanted.name).with_partitions(partitions)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn producers(context: &Context, topic: Option<&Topic>, index: i32) -> Result<Vec<ProducerState>, i16> {
    let topic = topic.filter(|topic| (0..topic.partitions).contains(&index));
    let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition.code())?;
    let partition = context.services.partition(topic, index).map_err(|error| error.code())?;
    let producers = partition.producers().into_iter().map(|producer| {
        ProducerState::default()
            .with_producer_id(ProducerId(producer.producer_id))
            .with_producer_epoch(i32::from(producer.producer_epoch))
            .with_last_sequence(producer.last_sequence)
            .with_last_timestamp(producer.last_timestamp)
            .with_coordinator_epoch(producer.coordinator_epoch)
            .with_current_txn_start_offset(producer.current_txn_start_offset)
    });
    Ok(producers.collect())
}
