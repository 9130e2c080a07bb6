//! JoinGroup (key 11): a member enters a rebalance of a classic group.

use kafka_protocol::messages::join_group_request::JoinGroupRequest;
use kafka_protocol::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};
use uuid::Uuid;

use super::shape::{self, text};
use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::groups::coordinator::Answering;
use crate::groups::request::{JoinAnswer, JoinRequest, Joined, Protocol};

/// First version with a rebalance timeout of its own; before, the session timeout is both.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// First version in which a new member has to come back with the id it is given (KIP-394).
const KNOWN_MEMBER_ID_FROM: i16 = 4;
/// First version that names the protocol type, and may leave the protocol's name out (KIP-559).
const PROTOCOL_TYPE_FROM: i16 = 7;
/// First version in which the leader can be told not to assign (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

/// Answers when the rebalance is over.
pub fn handle(context: &Context, request: JoinGroupRequest) -> Answering<JoinGroupResponse> {
    let version = context.version;
    let group = request.group_id.as_str();
    let member_id = request.member_id.to_string();
    if let Err(code) = shape::check_group_id(group) {
        return Answering::Now(refused(version, code, member_id));
    }
    let client = shape::client(context);
    let instance_id = shape::owned(&request.group_instance_id);
    let named_after = instance_id.as_deref().unwrap_or(&client.id);
    let join = JoinRequest {
        new_member_id: format!("{named_after}-{}", Uuid::new_v4()),
        client,
        member_id: member_id.clone(),
        instance_id,
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .iter()
            .map(|protocol| Protocol { name: protocol.name.to_string(), metadata: protocol.metadata.clone() })
            .collect(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: match version >= REBALANCE_TIMEOUT_FROM {
            true => request.rebalance_timeout_ms,
            false => request.session_timeout_ms,
        },
        requires_known_member_id: version >= KNOWN_MEMBER_ID_FROM,
        supports_skipping_assignment: version >= SKIP_ASSIGNMENT_FROM,
        reason: shape::owned(&request.reason),
    };
    context.services.groups.join(group, join).answer(move |answer| match answer {
        Ok(JoinAnswer { result: Ok(joined), .. }) => shaped(version, joined),
        Ok(JoinAnswer { result: Err(error), member_id }) => refused(version, error.code(), member_id),
        Err(error) => refused(version, error.code(), member_id),
    })
}

fn shaped(version: i16, joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            // Versions before 5 have no place for it.
            .with_group_instance_id(member.instance_id.filter(|_| version >= 5).map(text))
            .with_metadata(member.metadata)
    });
    let name = joined.protocol_name.map(text);
    let names_type = version >= PROTOCOL_TYPE_FROM;
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.filter(|_| names_type).map(text))
        .with_protocol_name(if names_type { name } else { Some(name.unwrap_or_default()) })
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment && version >= SKIP_ASSIGNMENT_FROM)
        .with_member_id(text(joined.member_id))
        .with_members(members.collect())
}

fn refused(version: i16, code: i16, member_id: String) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code)
        .with_generation_id(-1)
        .with_protocol_type(None)
        .with_protocol_name(if version >= PROTOCOL_TYPE_FROM { None } else { Some(text(String::new())) })
        .with_member_id(text(member_id))
}
