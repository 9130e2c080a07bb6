//! DeleteRecords (key 21): raise the log start offset (KIP-107).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

use crate::api::context::Context;
use crate::api::error_code::ToCode;

/// Raises the log start of each partition and answers when the new starts are on disk.
pub async fn handle(context: Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let image = context.services.image();
    let mut response = DeleteRecordsResponse::default();
    let mut raised = false;
    for wanted in request.topics {
        let topic = image.topic(&wanted.name);
        let partitions = wanted.partitions.iter().map(|partition| {
            let result = topic
                .filter(|topic| (0..topic.partitions).contains(&partition.partition_index))
                .ok_or(ResponseError::UnknownTopicOrPartition.code())
                .and_then(|topic| {
                    // Who compacts alone keeps the latest record of each key, whatever its offset
                    // (`Partition.deleteRecordsOnLeader`).
                    let policy = context.services.topic_config(topic).cleanup_policy;
                    if policy.compact && !policy.delete {
                        return Err(ResponseError::PolicyViolation.code());
                    }
                    context.services.partition(topic, partition.partition_index).map_err(|error| error.code())
                })
                .and_then(|log| log.delete_records(partition.offset).map_err(|error| error.code()));
            raised |= result.is_ok();
            let (code, low_watermark) = match result {
                Ok(low_watermark) => (0, low_watermark),
                Err(code) => (code, -1),
            };
            DeleteRecordsPartitionResult::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
                .with_low_watermark(low_watermark)
        });
        let partitions = partitions.collect();
        response
            .topics
            .push(DeleteRecordsTopicResult::default().with_name(wanted.name).with_partitions(partitions));
    }
    if raised && !context.services.checkpoint().await {
        // Deleted records must not come back after a crash: without the checkpoint nothing was deleted for good.
        for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.error_code == 0 {
                partition.error_code = ResponseError::KafkaStorageError.code();
                partition.low_watermark = -1;
            }
        }
    }
    response
}
