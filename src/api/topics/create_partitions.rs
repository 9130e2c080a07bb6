//! CreatePartitions (key 37): more partitions for topics that exist.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use kafka_protocol::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use kafka_protocol::protocol::StrBytes;

use super::create_topics::is_this_broker;
use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::metadata::topics::{PartitionLimit, plan_partitions};
use crate::metadata::{CreatePartitionsError, NewPartitions};

/// Adds partitions to each topic for itself; there is one result for each.
pub async fn handle(context: Context, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    let mut seen = HashSet::new();
    let doubled: HashSet<&str> =
        request.topics.iter().map(|topic| topic.name.as_str()).filter(|name| !seen.insert(*name)).collect();
    for topic in &request.topics {
        let outcome = if doubled.contains(topic.name.as_str()) {
            Err((ResponseError::InvalidRequest.code(), "Duplicate topic name.".to_owned()))
        } else {
            add(&context, topic, request.validate_only).await
        };
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        results.push(match outcome {
            Ok(()) => result,
            Err((code, message)) => {
                result.with_error_code(code).with_error_message(Some(StrBytes::from_string(message)))
            }
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn add(
    context: &Context,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), (i16, String)> {
    let config = &context.services.config;
    let image = context.services.image();
    if let (Some(assignments), Some(existing)) = (&topic.assignments, image.topic(&topic.name)) {
        let added = i64::from(topic.count) - i64::from(existing.partitions);
        let one_each = assignments.len() as i64 == added;
        if !one_each
            || assignments.iter().any(|assignment| !is_this_broker(config.node_id, &assignment.broker_ids))
        {
            let message =
                format!("{added} assignment(s) to this broker are needed, {} were given", assignments.len());
            return Err((ResponseError::InvalidReplicaAssignment.code(), message));
        }
    }
    let wanted = NewPartitions { topic: topic.name.to_string(), total: topic.count };
    if validate_only {
        let limit = PartitionLimit { per_broker: u32::try_from(config.max_partitions).unwrap_or(u32::MAX) };
        let existing = image.topic(&wanted.topic).ok_or_else(|| {
            let error = CreatePartitionsError::UnknownName(wanted.topic.clone());
            (error.code(), error.to_string())
        })?;
        let planned = plan_partitions(&image, existing, wanted.total, limit);
        return planned.map(drop).map_err(|error| (error.code(), error.to_string()));
    }
    match context.services.controller.create_partitions(vec![wanted]).await.pop() {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err((error.code(), error.to_string())),
        None => Err((ResponseError::UnknownServerError.code(), "the topic was not decided about".to_owned())),
    }
}
