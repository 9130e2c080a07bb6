//! Bytes ⇄ typed messages.
//!
//! Together with [`crate::api`] the only place that knows the message types of `kafka_protocol`. A request passes, in
//! this order: [`guard`] (header and every length of the body), [`catalog`] (do we serve it), [`decode`]; a reply
//! leaves through [`encode`] or, when it carries records, through [`fetch_reply`].

pub mod catalog;
pub mod encode;
pub mod fetch_reply;
pub mod guard;
pub mod layout;
pub mod reply;

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;

/// A body that the message decoder refused, although its lengths were sound.
#[derive(Debug, thiserror::Error)]
#[error("the body could not be decoded: {0}")]
pub struct DecodeError(String);

/// Decodes a guarded body as request type `T`. `Bytes` fields stay slices of `body`: nothing is copied.
///
/// # Errors
/// [`DecodeError`] when the body does not hold a `T` of this version.
pub fn decode<T: Decodable>(mut body: Bytes, version: i16) -> Result<T, DecodeError> {
    T::decode(&mut body, version).map_err(|error| DecodeError(error.to_string()))
}
