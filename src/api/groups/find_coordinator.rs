//! FindCoordinator (key 10): who coordinates this group or transactional id. On one node: this broker.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use tracing::warn;

use crate::api::context::Context;
use crate::groups::store::SHARDS;
use crate::metadata::topics::CONSUMER_OFFSETS;
use crate::metadata::{CreateTopicError, NewTopic};

/// Key types: groups, transactions (KIP-98), share-group partitions (KIP-932).
const KEY_TYPES: std::ops::RangeInclusive<i8> = 0..=1;
const GROUP: i8 = 0;
/// Types that Kafka knows.
const KNOWN_TYPES: std::ops::RangeInclusive<i8> = 0..=2;
const WRONG_TYPE: &str = "The key type is neither of a group nor of a transactional id.";
/// First version that says in words what is wrong.
const MESSAGE_FROM: i16 = 1;
/// First version that asks for several keys at once (KIP-699).
const BATCHED_FROM: i16 = 4;

/// Names this broker for each key.
pub async fn handle(context: Context, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let error = if KEY_TYPES.contains(&request.key_type) { 0 } else { ResponseError::InvalidRequest.code() };
    if request.key_type == GROUP {
        show_offsets_topic(&context).await;
    }
    let (host, port) = if error == 0 { context.advertised() } else { (String::new(), -1) };
    let host = StrBytes::from_string(host);
    let node_id = BrokerId(if error == 0 { context.services.config.node_id } else { -1 });
    if context.version < BATCHED_FROM {
        // Kafka says "NONE" where nothing is wrong; version 0 has no place for it.
        let message = if error == 0 { "NONE" } else { WRONG_TYPE };
        let message = Some(StrBytes::from_static_str(message)).filter(|_| context.version >= MESSAGE_FROM);
        return FindCoordinatorResponse::default()
            .with_error_code(error)
            .with_error_message(message.or(Some(StrBytes::default())))
            .with_node_id(node_id)
            .with_host(host)
            .with_port(port);
    }
    // Kafka knows this type and finds fault with the keys, without a word.
    let message = if KNOWN_TYPES.contains(&request.key_type) { "" } else { WRONG_TYPE };
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        // The key is copied out of the request's frame only as a reference: it lives as long as this answer.
        Coordinator::default()
            .with_key(key)
            .with_node_id(node_id)
            .with_host(host.clone())
            .with_port(port)
            .with_error_code(error)
            .with_error_message(Some(StrBytes::from_static_str(message)))
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

/// Makes the topic that clients expect once there are groups: some count its partitions, some look for it in the list of
/// topics. Nothing is stored in it, so the coordinator works without it too.
async fn show_offsets_topic(context: &Context) {
    if context.services.image().topic(CONSUMER_OFFSETS).is_some() {
        return;
    }
    let topic = NewTopic {
        name: CONSUMER_OFFSETS.to_owned(),
        partitions: i32::from(SHARDS),
        overrides: Default::default(),
    };
    match context.services.controller.create_topics(vec![topic]).await.into_iter().next() {
        None | Some(Ok(_) | Err(CreateTopicError::Exists { .. })) => {}
        Some(Err(error)) => {
            warn!(%error, topic = CONSUMER_OFFSETS, "the topic could not be made; groups work without it")
        }
    }
}
