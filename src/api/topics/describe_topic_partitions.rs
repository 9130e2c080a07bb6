//! DescribeTopicPartitions (key 75): topics in pages (KIP-966).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::api::cluster::operations::TOPIC_OPERATIONS;
use crate::api::context::Context;
use crate::metadata::Topic;

/// Describes partitions from the cursor on, up to the smaller of the client's limit and
/// `max.request.partition.size.limit`, and says where the next page begins.
pub fn handle(context: &Context, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let services = &context.services;
    let image = services.image();
    let mut wanted: BTreeMap<String, Option<Arc<Topic>>> = BTreeMap::new();
    if request.topics.is_empty() {
        wanted.extend(image.topics().map(|topic| (topic.name.to_string(), Some(topic.clone()))));
    }
    for topic in &request.topics {
        wanted.insert(topic.name.to_string(), image.topic(&topic.name).cloned());
    }
    let (first_topic, first_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index.max(0)),
        None => (String::new(), 0),
    };
    let mut left = (request.response_partition_limit.max(1) as usize)
        .min(services.config.max_request_partition_size_limit);
    let mut response = DescribeTopicPartitionsResponse::default();
    for (name, topic) in wanted.range(first_topic.clone()..) {
        let from = if *name == first_topic { first_partition } else { 0 };
        if left == 0 {
            response.next_cursor = Some(cursor(name, from));
            break;
        }
        let Some(topic) = topic else {
            response.topics.push(unknown(name));
            continue;
        };
        let until = topic.partitions.min(from.saturating_add(i32::try_from(left).unwrap_or(i32::MAX)));
        let partitions: Vec<_> = (from..until).map(|index| describe(context, topic, index)).collect();
        left -= partitions.len();
        response.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_string(name.clone()))))
                .with_topic_id(topic.id)
                .with_is_internal(crate::metadata::topics::is_internal(&topic.name))
                .with_partitions(partitions)
                .with_topic_authorized_operations(TOPIC_OPERATIONS),
        );
        if until < topic.partitions {
            response.next_cursor = Some(cursor(name, until));
            break;
        }
    }
    response
}

fn describe(context: &Context, topic: &Topic, index: i32) -> DescribeTopicPartitionsResponsePartition {
    let node = BrokerId(context.services.config.node_id);
    let opened = context.services.partitions.opened(topic.id, index);
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(index)
        .with_leader_id(node)
        .with_leader_epoch(opened.map_or(-1, |partition| partition.leader_epoch()))
        .with_replica_nodes(vec![node])
        .with_isr_nodes(vec![node])
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match crate::metadata::topics::validate_name(name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(_) => ResponseError::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
        .with_topic_authorized_operations(i32::MIN)
}

fn cursor(topic: &str, partition_index: i32) -> Cursor {
    Cursor::default()
        .with_topic_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_index(partition_index)
}
