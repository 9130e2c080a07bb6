//! ConsumerGroupHeartbeat (key 68): membership of a consumer group in one call (KIP-848).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use kafka_protocol::messages::consumer_group_heartbeat_response::{
    Assignment, ConsumerGroupHeartbeatResponse, TopicPartitions,
};

use super::shape::{self, text};
use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::groups::assign::Partitions;
use crate::groups::coordinator::Answering;
use crate::groups::request::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use crate::metadata::store::cluster_id::{random_uuid, uuid_text};

/// Joins, stays, or leaves; the answer says which partitions the member is to own.
pub fn handle(
    context: &Context,
    request: ConsumerGroupHeartbeatRequest,
) -> Answering<ConsumerGroupHeartbeatResponse> {
    if !context.services.config.groups.consumer_protocol {
        let code = ResponseError::UnsupportedVersion.code();
        return Answering::Now(ConsumerGroupHeartbeatResponse::default().with_error_code(code));
    }
    let heartbeat = ConsumerHeartbeat {
        client: shape::client(context),
        member_id: request.member_id.to_string(),
        // In the form in which clients give ids to themselves.
        new_member_id: uuid_text(random_uuid()),
        member_epoch: request.member_epoch,
        instance_id: shape::owned(&request.instance_id),
        rack_id: shape::owned(&request.rack_id),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: request
            .subscribed_topic_names
            .as_ref()
            .map(|names| names.iter().map(|name| name.to_string()).collect()),
        topic_regex: shape::owned(&request.subscribed_topic_regex),
        assignor: shape::owned(&request.server_assignor),
        owned: request.topic_partitions.as_ref().map(|topics| {
            let mut owned = Partitions::default();
            for topic in topics {
                owned.extend_topic(topic.topic_id, topic.partitions.iter().copied());
            }
            owned
        }),
        version: context.version,
    };
    let group = request.group_id.as_str();
    context.services.groups.consumer_heartbeat(group, heartbeat).answer(|answer| match answer {
        Ok(answer) => shaped(answer),
        Err(error) => ConsumerGroupHeartbeatResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(shape::message(&error))),
    })
}

fn shaped(answer: ConsumerHeartbeatAnswer) -> ConsumerGroupHeartbeatResponse {
    let assignment = answer.assignment.map(|partitions| {
        let topics = partitions.topics().map(|(topic, partitions)| {
            TopicPartitions::default().with_topic_id(topic).with_partitions(partitions.to_vec())
        });
        Assignment::default().with_topic_partitions(topics.collect())
    });
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(answer.member_id.map(text))
        .with_member_epoch(answer.member_epoch)
        .with_heartbeat_interval_ms(answer.heartbeat_interval_ms)
        .with_assignment(assignment)
}
