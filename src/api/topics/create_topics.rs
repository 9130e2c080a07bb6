//! CreateTopics (key 19): validate and propose new topics. When it answers, every partition is on disk and writable.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::api::configs::shape;
use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::config::{AlterKind, AlterOp, TopicOverrides, describe_topic};
use crate::metadata::{NewTopic, Overrides, Topic};

/// "The broker's default", for the number of partitions and the replication factor (KIP-464).
const DEFAULT: i32 = -1;

/// First version that tells what was created (KIP-525).
const DETAILS_FROM: i16 = 5;

/// A refused topic: code and message.
type Refused = (i16, String);

/// Creates each topic for itself: one that is refused does not stop the others.
pub async fn handle(context: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut seen = BTreeSet::new();
    let mut doubled = BTreeSet::new();
    for topic in &request.topics {
        if !seen.insert(topic.name.to_string()) {
            doubled.insert(topic.name.to_string());
        }
    }
    // Kafka answers a name that is asked for twice once, as an error.
    let mut told = BTreeSet::new();
    let topics: Vec<CreatableTopic> = request
        .topics
        .into_iter()
        .filter(|topic| !doubled.contains(topic.name.as_str()) || told.insert(topic.name.clone()))
        .collect();
    let checked: Vec<Result<NewTopic, Refused>> = topics
        .iter()
        .map(|topic| {
            if doubled.contains(topic.name.as_str()) {
                return Err((ResponseError::InvalidRequest.code(), "Duplicate topic name.".to_owned()));
            }
            check(&context, topic)
        })
        .collect();
    let results =
        if request.validate_only { planned(&context, checked) } else { created(&context, checked).await };
    let results = topics.into_iter().zip(results).map(|(asked, result)| answer(&context, asked, result));
    CreateTopicsResponse::default().with_topics(results.collect())
}

/// What a topic turned out, or would turn out, to be.
struct Made {
    id: uuid::Uuid,
    partitions: i32,
    overrides: Overrides,
}

impl From<&Topic> for Made {
    fn from(topic: &Topic) -> Made {
        Made { id: topic.id, partitions: topic.partitions, overrides: (*topic.overrides).clone() }
    }
}

fn planned(context: &Context, checked: Vec<Result<NewTopic, Refused>>) -> Vec<Result<Made, Refused>> {
    let wanted: Vec<NewTopic> = checked.iter().filter_map(|new| new.as_ref().ok().cloned()).collect();
    let mut outcomes = context.services.controller.check_topics(wanted).into_iter();
    checked
        .into_iter()
        .map(|new| {
            let new = new?;
            match outcomes.next() {
                Some(Ok(())) => {
                    Ok(Made { id: uuid::Uuid::nil(), partitions: new.partitions, overrides: new.overrides })
                }
                Some(Err(error)) => Err((error.code(), error.to_string())),
                None => Err((
                    ResponseError::UnknownServerError.code(),
                    "the topic was not decided about".to_owned(),
                )),
            }
        })
        .collect()
}

async fn created(context: &Context, checked: Vec<Result<NewTopic, Refused>>) -> Vec<Result<Made, Refused>> {
    let wanted: Vec<NewTopic> = checked.iter().filter_map(|new| new.as_ref().ok().cloned()).collect();
    let mut outcomes = context.services.controller.create_topics(wanted).await.into_iter();
    checked
        .into_iter()
        .map(|new| {
            new?;
            match outcomes.next() {
                Some(Ok(topic)) => Ok(Made::from(&*topic)),
                Some(Err(error)) => Err((error.code(), error.to_string())),
                None => Err((
                    ResponseError::UnknownServerError.code(),
                    "the topic was not decided about".to_owned(),
                )),
            }
        })
        .collect()
}

fn check(context: &Context, asked: &CreatableTopic) -> Result<NewTopic, Refused> {
    let refuse = |error: ResponseError, message: &str| Err((error.code(), message.to_owned()));
    let config = &context.services.config;
    let partitions = if asked.assignments.is_empty() {
        let replicas = match asked.replication_factor {
            factor if i32::from(factor) == DEFAULT => config.default_replication_factor,
            factor => factor,
        };
        check_replication_factor(replicas)?;
        if asked.num_partitions == DEFAULT { config.num_partitions } else { asked.num_partitions }
    } else {
        if asked.num_partitions != DEFAULT || asked.replication_factor != DEFAULT as i16 {
            return refuse(
                ResponseError::InvalidRequest,
                "Both partition count or replication factor and a manual assignment were specified.",
            );
        }
        let mut indexes: Vec<i32> =
            asked.assignments.iter().map(|assignment| assignment.partition_index).collect();
        indexes.sort_unstable();
        if !indexes.iter().copied().eq(0..indexes.len() as i32) {
            return refuse(
                ResponseError::InvalidReplicaAssignment,
                "partitions should be a consecutive 0-based integer sequence",
            );
        }
        if asked.assignments.iter().any(|assignment| !is_this_broker(config.node_id, &assignment.broker_ids))
        {
            return refuse(
                ResponseError::InvalidReplicaAssignment,
                "each partition is assigned to this broker or to none",
            );
        }
        indexes.len() as i32
    };
    if let Some(null) = asked.configs.iter().find(|config| config.value.is_none()) {
        // INVALID_REQUEST where settings are altered, but INVALID_CONFIG here (`ControllerConfigurationValidator`).
        let message = format!("Null value not supported for topic configs: {}", null.name.escape_debug());
        return refuse(ResponseError::InvalidConfig, &message);
    }
    let ops: Vec<AlterOp> = asked
        .configs
        .iter()
        .map(|config| AlterOp {
            name: config.name.to_string(),
            op: AlterKind::Set,
            value: config.value.as_ref().map(ToString::to_string),
        })
        .collect();
    let overrides = shape::checked(config, &TopicOverrides::default(), &ops)?;
    Ok(NewTopic { name: asked.name.to_string(), partitions, overrides: overrides.0 })
}

/// One node holds one replica; the words are Kafka's (`StripedReplicaPlacer`).
pub(super) fn check_replication_factor(factor: i16) -> Result<(), Refused> {
    let message = match factor {
        1 => return Ok(()),
        ..1 => "Replication factor must be larger than 0.".to_owned(),
        more => format!(
            "Unable to replicate the partition {more} time(s): The target replication factor of {more} cannot be reached because \
             only 1 broker(s) are registered."
        ),
    };
    Err((ResponseError::InvalidReplicationFactor.code(), message))
}

pub(super) fn is_this_broker(node_id: i32, replicas: &[kafka_protocol::messages::BrokerId]) -> bool {
    matches!(replicas, [only] if only.0 == node_id)
}

fn answer(context: &Context, asked: CreatableTopic, result: Result<Made, Refused>) -> CreatableTopicResult {
    let response = CreatableTopicResult::default()
        .with_name(asked.name)
        // The message type's own default is an empty text; Kafka sends null where there is nothing to say.
        .with_error_message(None)
        .with_configs(Some(Vec::new()));
    let tells_details = context.version >= DETAILS_FROM;
    match result {
        Ok(_) if !tells_details => response,
        Ok(made) => {
            let entries =
                describe_topic(&context.services.config, &TopicOverrides(made.overrides)).unwrap_or_default();
            let configs = entries.into_iter().map(|entry| {
                CreatableTopicConfigs::default()
                    .with_name(StrBytes::from_string(entry.name.to_string()))
                    .with_value(entry.value.map(StrBytes::from_string))
                    .with_read_only(entry.read_only)
                    .with_config_source(shape::source_code(entry.source))
                    .with_is_sensitive(entry.is_sensitive)
            });
            response
                .with_topic_id(made.id)
                .with_num_partitions(made.partitions)
                .with_replication_factor(1)
                .with_configs(Some(configs.collect()))
        }
        Err((code, message)) => response
            .with_error_code(code)
            .with_error_message(Some(StrBytes::from_string(message)))
            .with_num_partitions(-1)
            .with_replication_factor(-1),
    }
}
