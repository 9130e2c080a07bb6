//! What the group requests share.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::Context;
use crate::groups::request::Client;

/// An owned string as the wire types have it.
pub fn text(owned: String) -> StrBytes {
    StrBytes::from_string(owned)
}

/// A copy that does not keep the request's frame in memory.
pub fn owned(text: &Option<StrBytes>) -> Option<String> {
    text.as_ref().map(ToString::to_string)
}

/// Who sent the request, as Kafka shows it.
pub fn client(context: &Context) -> Client {
    Client { id: context.client_id.to_string(), host: format!("/{}", context.peer.remote.ip()) }
}

/// Kafka's code for a group id that must not be empty.
pub fn check_group_id(group: &str) -> Result<(), i16> {
    if group.is_empty() { Err(ResponseError::InvalidGroupId.code()) } else { Ok(()) }
}

/// Puts what came in one list together by topic, in the order in which each topic first came.
pub fn by_topic<T>(items: impl IntoIterator<Item = (Uuid, T)>) -> Vec<(Uuid, Vec<T>)> {
    let mut places: BTreeMap<Uuid, usize> = BTreeMap::new();
    let mut topics: Vec<(Uuid, Vec<T>)> = Vec::new();
    for (topic, item) in items {
        let place = *places.entry(topic).or_insert_with(|| {
            topics.push((topic, Vec::new()));
            topics.len() - 1
        });
        topics[place].1.push(item);
    }
    topics
}
