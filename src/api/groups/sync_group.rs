//! SyncGroup (key 14): members of a classic group get their assignments, which the leader brings.

use kafka_protocol::messages::sync_group_request::SyncGroupRequest;
use kafka_protocol::messages::sync_group_response::SyncGroupResponse;

use super::shape::{self, text};
use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::groups::coordinator::Answering;
use crate::groups::error::GroupError;
use crate::groups::request::{SyncRequest, Synced};

/// First version that names the protocol and its type, and has to (KIP-559).
const PROTOCOL_FROM: i16 = 5;

/// Answers when the leader has brought the assignments.
pub fn handle(context: &Context, request: SyncGroupRequest) -> Answering<SyncGroupResponse> {
    let version = context.version;
    let group = request.group_id.as_str();
    if version >= PROTOCOL_FROM && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Answering::Now(refused(GroupError::InconsistentGroupProtocol.code()));
    }
    if let Err(code) = shape::check_group_id(group) {
        return Answering::Now(refused(code));
    }
    let sync = SyncRequest {
        member_id: request.member_id.to_string(),
        instance_id: shape::owned(&request.group_instance_id),
        generation: request.generation_id,
        protocol_type: shape::owned(&request.protocol_type),
        protocol_name: shape::owned(&request.protocol_name),
        assignments: request
            .assignments
            .iter()
            .map(|assignment| (assignment.member_id.to_string(), assignment.assignment.clone()))
            .collect(),
    };
    context.services.groups.sync(group, sync).answer(move |answer| match answer.and_then(|answer| answer) {
        Ok(synced) => shaped(version, synced),
        Err(error) => refused(error.code()),
    })
}

fn shaped(version: i16, synced: Synced) -> SyncGroupResponse {
    let names = version >= PROTOCOL_FROM;
    SyncGroupResponse::default()
        .with_protocol_type(synced.protocol_type.filter(|_| names).map(text))
        .with_protocol_name(synced.protocol_name.filter(|_| names).map(text))
        .with_assignment(synced.assignment)
}

fn refused(code: i16) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code)
}
