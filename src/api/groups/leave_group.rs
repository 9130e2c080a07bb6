//! LeaveGroup (key 13): members leave, singly or, from version 3 on, several at once (KIP-345).

use kafka_protocol::messages::leave_group_request::LeaveGroupRequest;
use kafka_protocol::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};

use super::shape::{self, text};
use crate::api::context::Context;
use crate::api::error_code::{NONE, ToCode};
use crate::groups::coordinator::Answering;
use crate::groups::error::GroupError;
use crate::groups::request::{Leaving, Left};

/// First version that names several members.
const BATCHED_FROM: i16 = 3;

/// Answers for each member.
pub fn handle(context: &Context, request: LeaveGroupRequest) -> Answering<LeaveGroupResponse> {
    let version = context.version;
    let group = request.group_id.as_str();
    if let Err(code) = shape::check_group_id(group) {
        return Answering::Now(LeaveGroupResponse::default().with_error_code(code));
    }
    let leaving: Vec<Leaving> = match version >= BATCHED_FROM {
        true => request
            .members
            .iter()
            .map(|member| Leaving {
                member_id: member.member_id.to_string(),
                instance_id: shape::owned(&member.group_instance_id),
                reason: shape::owned(&member.reason),
            })
            .collect(),
        false => vec![Leaving { member_id: request.member_id.to_string(), instance_id: None, reason: None }],
    };
    context.services.groups.leave(group, leaving).answer(move |answer| shaped(version, answer))
}

fn shaped(version: i16, answer: Result<Vec<Left>, GroupError>) -> LeaveGroupResponse {
    let left = match answer {
        Ok(left) => left,
        Err(error) => return LeaveGroupResponse::default().with_error_code(error.code()),
    };
    let code = |left: &Left| left.result.as_ref().err().map_or(NONE, ToCode::code);
    if version < BATCHED_FROM {
        return LeaveGroupResponse::default().with_error_code(left.first().map_or(NONE, code));
    }
    let members = left.into_iter().map(|left| {
        let code = code(&left);
        MemberResponse::default()
            .with_member_id(text(left.member_id))
            .with_group_instance_id(left.instance_id.map(text))
            .with_error_code(code)
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
