//! ListGroups (key 16): every group, by state and by type if so wanted (KIP-518, KIP-848).

use kafka_protocol::messages::GroupId;
use kafka_protocol::messages::list_groups_request::ListGroupsRequest;
use kafka_protocol::messages::list_groups_response::{ListGroupsResponse, ListedGroup};
use kafka_protocol::protocol::StrBytes;

use super::shape::text;
use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::groups::coordinator::{Answering, Listed};

/// First version that shows the state.
const STATE_FROM: i16 = 4;
/// First version that shows the type.
const TYPE_FROM: i16 = 5;

/// Lists what passes both filters; an empty filter lets all pass. Kafka compares without regard to case.
pub fn handle(context: &Context, request: ListGroupsRequest) -> Answering<ListGroupsResponse> {
    let version = context.version;
    context.services.groups.list().answer(move |groups| match groups {
        Ok(groups) => shaped(version, &request, groups),
        Err(error) => ListGroupsResponse::default().with_error_code(error.code()),
    })
}

fn shaped(version: i16, request: &ListGroupsRequest, mut groups: Vec<Listed>) -> ListGroupsResponse {
    let passes = |filter: &[StrBytes], name: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    groups.retain(|group| {
        passes(&request.states_filter, group.state) && passes(&request.types_filter, group.kind)
    });
    groups.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let groups = groups.into_iter().map(|group| {
        let shown = |since: i16, name: &'static str| {
            StrBytes::from_static_str(if version >= since { name } else { "" })
        };
        ListedGroup::default()
            .with_group_id(GroupId(text(group.id.to_string())))
            .with_protocol_type(text(group.protocol_type))
            .with_group_state(shown(STATE_FROM, group.state))
            .with_group_type(shown(TYPE_FROM, group.kind))
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}
