//! DeleteGroups (key 42): forgets groups without members, and their offsets.

use std::collections::HashSet;

use kafka_protocol::messages::delete_groups_request::DeleteGroupsRequest;
use kafka_protocol::messages::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};

use crate::api::context::Context;
use crate::api::error_code::{NONE, ToCode};
use crate::groups::coordinator::Answering;

/// Answers for each group.
pub fn handle(context: &Context, request: DeleteGroupsRequest) -> Answering<DeleteGroupsResponse> {
    let mut seen = HashSet::new();
    // A group that is named twice is answered once, as in Kafka.
    let named = request.groups_names.into_iter().filter(|group| seen.insert(group.clone()));
    let results = named.map(|group| {
        let held = context.services.groups.delete(&group);
        held.answer(move |answer| {
            DeletableGroupResult::default()
                .with_group_id(group)
                .with_error_code(answer.map_or_else(|error| error.code(), |()| NONE))
        })
    });
    Answering::all(results.collect()).map(|results| DeleteGroupsResponse::default().with_results(results))
}
