//! Metadata (key 3): brokers, topics, leaders; creates topics on first use (`auto.create.topics.enable`).

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::create_topics::check_replication_factor;
use crate::api::cluster::operations::{CLUSTER_OPERATIONS, NOT_ASKED, TOPIC_OPERATIONS};
use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::groups::store::SHARDS;
use crate::metadata::topics::{CONSUMER_OFFSETS, is_internal};
use crate::metadata::{CreateTopicError, MetadataImage, NewTopic, Topic};

/// First version in which an absent topic list means "all" and an empty one "none".
const NULL_IS_ALL_FROM: i16 = 1;
/// First version in which the client says whether a topic may be created.
const MAY_FORBID_CREATION_FROM: i16 = 4;
/// First version that can ask by topic id.
const BY_ID_FROM: i16 = 10;

/// Describes the topics asked for.
pub async fn handle(context: Context, request: MetadataRequest) -> MetadataResponse {
    let topics = match &request.topics {
        None => all(&context, &request),
        Some(topics) if topics.is_empty() && context.version < NULL_IS_ALL_FROM => all(&context, &request),
        Some(topics) => named(&context, &request, topics).await,
    };
    let config = &context.services.config;
    let (host, port) = context.advertised();
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(config.node_id))
        .with_host(StrBytes::from_string(host))
        .with_port(port)
        .with_rack(config.rack.clone().map(StrBytes::from_string));
    let cluster_operations =
        if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { NOT_ASKED };
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_string(context.services.image().cluster_id.to_string())))
        .with_controller_id(BrokerId(config.node_id))
        .with_cluster_authorized_operations(cluster_operations)
        .with_topics(topics)
}

fn all(context: &Context, request: &MetadataRequest) -> Vec<MetadataResponseTopic> {
    let image = context.services.image();
    let mut topics: Vec<&Arc<Topic>> = image.topics().collect();
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    topics.into_iter().map(|topic| describe(context, request, topic)).collect()
}

async fn named(
    context: &Context,
    request: &MetadataRequest,
    wanted: &[MetadataRequestTopic],
) -> Vec<MetadataResponseTopic> {
    let image = context.services.image();
    let may_create = context.services.config.auto_create_topics
        && (context.version < MAY_FORBID_CREATION_FROM || request.allow_auto_topic_creation);
    let missing: Vec<NewTopic> = wanted
        .iter()
        .filter(|topic| !is_by_id(context.version, topic))
        .filter_map(|topic| topic.name.as_ref())
        .filter(|name| may_create && image.topic(name).is_none())
        .map(|name| NewTopic {
            name: name.to_string(),
            partitions: match name.as_str() {
                CONSUMER_OFFSETS => i32::from(SHARDS),
                _ => context.services.config.num_partitions,
            },
            overrides: Default::default(),
        })
        .collect();
    let mut refused = HashMap::new();
    if !missing.is_empty()
        && let Err((code, reason)) =
            check_replication_factor(context.services.config.default_replication_factor)
    {
        tracing::warn!(reason, "topics are not created on first use: default.replication.factor is not 1");
        refused.extend(missing.into_iter().map(|topic| (topic.name, code)));
    } else if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|topic| topic.name.clone()).collect();
        let created = context.services.controller.create_topics(missing).await;
        for (name, result) in names.into_iter().zip(created) {
            match result {
                // Another client was first: the topic is there, which is what was wanted.
                Ok(_) | Err(CreateTopicError::Exists { .. }) => {}
                Err(error) => {
                    tracing::debug!(topic = name.escape_debug().to_string(), %error, "a topic was not created on first use");
                    refused.insert(name, error.code());
                }
            }
        }
    }
    let image = context.services.image();
    wanted.iter().map(|topic| look_up(context, request, &image, topic, &refused)).collect()
}

/// Java's client asks by id with an empty name beside it.
fn is_by_id(version: i16, wanted: &MetadataRequestTopic) -> bool {
    version >= BY_ID_FROM && (wanted.name.is_none() || !wanted.topic_id.is_nil())
}

fn look_up(
    context: &Context,
    request: &MetadataRequest,
    image: &MetadataImage,
    wanted: &MetadataRequestTopic,
    refused: &HashMap<String, i16>,
) -> MetadataResponseTopic {
    let by_id = is_by_id(context.version, wanted);
    let found = match &wanted.name {
        _ if by_id => image.topic_by_id(wanted.topic_id),
        Some(name) => image.topic(name),
        None => None,
    };
    if let Some(topic) = found {
        return describe(context, request, topic);
    }
    let code = if by_id {
        ResponseError::UnknownTopicId.code()
    } else {
        let name = wanted.name.as_ref().map_or("", |name| name.as_str());
        match refused.get(name) {
            Some(code) => *code,
            None if crate::metadata::topics::validate_name(name).is_err() => {
                ResponseError::InvalidTopicException.code()
            }
            None => ResponseError::UnknownTopicOrPartition.code(),
        }
    };
    let name = match &wanted.name {
        Some(name) if !by_id => Some(name.clone()),
        Some(_) if context.version >= 12 => None,
        Some(_) => Some(TopicName::default()),
        // The name may be absent only from version 12 on.
        None if context.version < 12 => Some(TopicName::default()),
        None => None,
    };
    MetadataResponseTopic::default()
        .with_error_code(code)
        .with_name(name)
        .with_topic_id(if by_id { wanted.topic_id } else { Uuid::nil() })
        .with_topic_authorized_operations(NOT_ASKED)
}

fn describe(context: &Context, request: &MetadataRequest, topic: &Topic) -> MetadataResponseTopic {
    let node = BrokerId(context.services.config.node_id);
    let partitions = (0..topic.partitions).map(|index| {
        // A partition that nobody has used since the start is not opened for this: its epoch is told by the first use.
        let opened = context.services.partitions.opened(topic.id, index);
        let epoch = opened.map_or(-1, |partition| partition.leader_epoch());
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(node)
            .with_leader_epoch(epoch)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
    });
    let operations = if request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { NOT_ASKED };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.to_string()))))
        .with_topic_id(topic.id)
        // Version 0 has no place for it.
        .with_is_internal(context.version >= 1 && is_internal(&topic.name))
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(operations)
}
