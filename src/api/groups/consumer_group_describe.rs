//! ConsumerGroupDescribe (key 69): epochs, members and assignments of consumer groups (KIP-848).

use std::sync::Arc;

use kafka_protocol::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, ConsumerGroupDescribeResponse, DescribedGroup, Member, TopicPartitions,
};
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::shape::{self, text};
use crate::api::cluster::operations::{GROUP_OPERATIONS, NOT_ASKED};
use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::groups::coordinator::Answering;
use crate::groups::error::GroupError;
use crate::groups::request::{ConsumerDescription, ConsumerMemberDescription};
use crate::metadata::MetadataImage;

/// First version that says which protocol a member speaks (KIP-1099).
const MEMBER_TYPE_FROM: i16 = 1;

/// Answers for each group.
pub fn handle(
    context: &Context,
    request: ConsumerGroupDescribeRequest,
) -> Answering<ConsumerGroupDescribeResponse> {
    let version = context.version;
    let image = context.services.image();
    let operations = if request.include_authorized_operations { GROUP_OPERATIONS } else { NOT_ASKED };
    let groups = request.group_ids.into_iter().map(|group| {
        let image = image.clone();
        if let Err(code) = shape::check_group_id(&group) {
            return Answering::Now(DescribedGroup::default().with_group_id(group).with_error_code(code));
        }
        let held = context.services.groups.describe_consumer(&group);
        held.answer(move |answer| shaped(version, &image, group, operations, answer))
    });
    Answering::all(groups.collect())
        .map(|groups| ConsumerGroupDescribeResponse::default().with_groups(groups))
}

fn shaped(
    version: i16,
    image: &Arc<MetadataImage>,
    group: GroupId,
    operations: i32,
    answer: Result<ConsumerDescription, GroupError>,
) -> DescribedGroup {
    let shape = DescribedGroup::default().with_group_id(group);
    let described = match answer {
        Ok(described) => described,
        Err(error) => {
            return shape
                .with_error_code(error.code())
                .with_error_message(Some(shape::message(&error)))
                .with_authorized_operations(NOT_ASKED);
        }
    };
    let members = described.members.into_iter().map(|member| of_member(version, image, member));
    shape
        .with_group_state(StrBytes::from_static_str(described.state))
        .with_group_epoch(described.group_epoch)
        .with_assignment_epoch(described.assignment_epoch)
        .with_assignor_name(text(described.assignor))
        .with_members(members.collect())
        .with_authorized_operations(operations)
}

fn of_member(version: i16, image: &MetadataImage, member: ConsumerMemberDescription) -> Member {
    let names = member.topics.into_iter().map(|name| TopicName(text(name)));
    let kind = match (version >= MEMBER_TYPE_FROM, member.is_classic) {
        (false, _) => -1,
        (true, true) => 0,
        (true, false) => 1,
    };
    Member::default()
        .with_member_id(text(member.member_id))
        .with_instance_id(member.instance_id.map(text))
        .with_rack_id(member.rack_id.map(text))
        .with_member_epoch(member.member_epoch)
        .with_client_id(text(member.client.id))
        .with_client_host(text(member.client.host))
        .with_subscribed_topic_names(names.collect())
        // Kafka shows no expression as an empty one.
        .with_subscribed_topic_regex(Some(member.topic_regex.map_or_else(StrBytes::default, text)))
        .with_assignment(assignment(image, member.assigned))
        .with_target_assignment(assignment(image, member.target))
        .with_member_type(kind)
}

/// Topics that were deleted meanwhile have no name and are left out, as Kafka does.
fn assignment(image: &MetadataImage, topics: Vec<(Uuid, Vec<i32>)>) -> Assignment {
    let topics = topics.into_iter().filter_map(|(id, partitions)| {
        let name = image.topic_by_id(id)?.name.to_string();
        let topic = TopicPartitions::default().with_topic_id(id).with_topic_name(TopicName(text(name)));
        Some(topic.with_partitions(partitions))
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
