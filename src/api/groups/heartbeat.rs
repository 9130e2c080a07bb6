//! Heartbeat (key 12): a member of a classic group lives, and learns that a rebalance began.

use kafka_protocol::messages::heartbeat_request::HeartbeatRequest as WireRequest;
use kafka_protocol::messages::heartbeat_response::HeartbeatResponse;

use super::shape;
use crate::api::context::Context;
use crate::api::error_code::{NONE, ToCode};
use crate::groups::coordinator::Answering;
use crate::groups::request::HeartbeatRequest;

/// Renews the member's session.
pub fn handle(context: &Context, request: WireRequest) -> Answering<HeartbeatResponse> {
    let group = request.group_id.as_str();
    if let Err(code) = shape::check_group_id(group) {
        return Answering::Now(HeartbeatResponse::default().with_error_code(code));
    }
    let heartbeat = HeartbeatRequest {
        member_id: request.member_id.to_string(),
        instance_id: shape::owned(&request.group_instance_id),
        generation: request.generation_id,
    };
    context.services.groups.heartbeat(group, &heartbeat).answer(|answer| {
        HeartbeatResponse::default().with_error_code(answer.map_or_else(|error| error.code(), |()| NONE))
    })
}
