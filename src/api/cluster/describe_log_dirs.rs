//! DescribeLogDirs (key 35): sizes per partition, and the room of the file system (KIP-827).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::protocol::StrBytes;
use tracing::warn;

use crate::api::context::Context;
use crate::metadata::Topic;

/// Describes the log directory.
pub fn handle(context: &Context, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let services = &context.services;
    let image = services.image();
    let mut wanted: BTreeMap<Arc<str>, (Arc<Topic>, Vec<i32>)> = BTreeMap::new();
    match request.topics {
        None => {
            for topic in image.topics() {
                wanted.insert(topic.name.clone(), (topic.clone(), (0..topic.partitions).collect()));
            }
        }
        Some(topics) => {
            for asked in topics {
                if let Some(topic) = image.topic(&asked.topic) {
                    let entry =
                        wanted.entry(topic.name.clone()).or_insert_with(|| (topic.clone(), Vec::new()));
                    entry.1.extend(
                        asked.partitions.into_iter().filter(|index| (0..topic.partitions).contains(index)),
                    );
                }
            }
        }
    }
    let mut result = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_string(services.partitions.data_dir().display().to_string()));
    for (name, (topic, indexes)) in wanted {
        let mut partitions = Vec::with_capacity(indexes.len());
        for index in indexes {
            match services.partition(&topic, index) {
                Ok(partition) => partitions.push(
                    DescribeLogDirsPartition::default()
                        .with_partition_index(index)
                        .with_partition_size(partition.size_bytes() as i64),
                ),
                Err(error) => warn!(topic = %name, index, %error, "a partition's size is unknown"),
            }
        }
        result.topics.push(
            DescribeLogDirsTopic::default()
                .with_name(TopicName(StrBytes::from_string(name.to_string())))
                .with_partitions(partitions),
        );
    }
    match services.partitions.disk().room() {
        Ok(room) => {
            let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            (result.total_bytes, result.usable_bytes) = (bytes(room.total), bytes(room.usable));
        }
        Err(error) => {
            warn!(%error, "the room of the log directory is unknown");
            result.error_code = ResponseError::KafkaStorageError.code();
        }
    }
    DescribeLogDirsResponse::default().with_results(vec![result])
}
