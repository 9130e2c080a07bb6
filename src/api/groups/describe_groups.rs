//! DescribeGroups (key 15): state and members of classic groups.

use kafka_protocol::messages::GroupId;
use kafka_protocol::messages::describe_groups_request::DescribeGroupsRequest;
use kafka_protocol::messages::describe_groups_response::{
    DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use kafka_protocol::protocol::StrBytes;

use super::shape::{self, text};
use crate::api::cluster::operations::{GROUP_OPERATIONS, NOT_ASKED};
use crate::api::context::Context;
use crate::api::error_code::{NONE, ToCode};
use crate::groups::coordinator::Answering;
use crate::groups::error::GroupError;
use crate::groups::request::ClassicDescription;

/// First version in which a group that is not there is an error (KIP-1043); before, it is shown as dead.
const NOT_FOUND_FROM: i16 = 6;
/// First version that shows static members' instance ids.
const INSTANCE_ID_FROM: i16 = 4;

/// Answers for each group.
pub fn handle(context: &Context, request: DescribeGroupsRequest) -> Answering<DescribeGroupsResponse> {
    let version = context.version;
    let operations = if request.include_authorized_operations { GROUP_OPERATIONS } else { NOT_ASKED };
    let groups = request.groups.into_iter().map(|group| {
        let held = context.services.groups.describe_classic(&group);
        held.answer(move |answer| shaped(version, group, operations, answer))
    });
    Answering::all(groups.collect()).map(|groups| DescribeGroupsResponse::default().with_groups(groups))
}

fn shaped(
    version: i16,
    group: GroupId,
    operations: i32,
    answer: Result<ClassicDescription, GroupError>,
) -> DescribedGroup {
    let shape = DescribedGroup::default().with_group_id(group);
    let description = match answer {
        Ok(description) => description,
        Err(error @ GroupError::GroupIdNotFound(_)) => {
            let is_error = version >= NOT_FOUND_FROM;
            return shape
                .with_error_code(if is_error { error.code() } else { NONE })
                .with_error_message(is_error.then(|| shape::message(&error)))
                .with_group_state(StrBytes::from_static_str("Dead"))
                .with_authorized_operations(if is_error { NOT_ASKED } else { operations });
        }
        Err(error) => {
            return shape.with_error_code(error.code()).with_authorized_operations(NOT_ASKED);
        }
    };
    let members = description.members.into_iter().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(member.instance_id.filter(|_| version >= INSTANCE_ID_FROM).map(text))
            .with_client_id(text(member.client.id))
            .with_client_host(text(member.client.host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    shape
        .with_group_state(StrBytes::from_static_str(description.state))
        .with_protocol_type(text(description.protocol_type))
        .with_protocol_data(text(description.protocol))
        .with_members(members.collect())
        .with_authorized_operations(operations)
}
