//! Typed reply → one frame, sized in advance.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, HeaderVersion};

/// A reply that could not be encoded: a value of ours does not fit the version asked for.
#[derive(Debug, thiserror::Error)]
#[error("the reply could not be encoded: {0}")]
pub struct EncodeError(pub String);

impl EncodeError {
    pub(super) fn new(error: impl std::fmt::Display) -> Self {
        EncodeError(error.to_string())
    }
}

/// Encodes length prefix, response header and body into one buffer.
///
/// # Errors
/// [`EncodeError`] when a field of `response` cannot be expressed in `version`.
pub fn frame<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Result<Bytes, EncodeError> {
    let header_len = header_len(R::header_version(version));
    let body_len = response.compute_size(version).map_err(EncodeError::new)?;
    let mut buffer = BytesMut::with_capacity(4 + header_len + body_len);
    let frame_len = i32::try_from(header_len + body_len).map_err(EncodeError::new)?;
    buffer.put_i32(frame_len);
    put_header(&mut buffer, correlation_id, R::header_version(version));
    response.encode(&mut buffer, version).map_err(EncodeError::new)?;
    Ok(buffer.freeze())
}

/// Length of a response header: the correlation id and, from header version 1, an empty tagged section.
pub(super) fn header_len(header_version: i16) -> usize {
    if header_version >= 1 { 5 } else { 4 }
}

pub(super) fn put_header(buffer: &mut BytesMut, correlation_id: i32, header_version: i16) {
    buffer.put_i32(correlation_id);
    if header_version >= 1 {
        buffer.put_u8(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{ApiVersionsResponse, DescribeClusterResponse};

    #[test]
    fn api_versions_keeps_the_old_header_and_others_get_the_flexible_one() {
        let bytes = frame(7, 3, &ApiVersionsResponse::default()).unwrap();
        assert_eq!(&bytes[4..10], &[0, 0, 0, 7, 0, 0], "correlation id, then the error code at once");
        let bytes = frame(7, 0, &DescribeClusterResponse::default()).unwrap();
        assert_eq!(&bytes[4..9], &[0, 0, 0, 7, 0], "correlation id, then an empty tagged section");
        let announced = i32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        assert_eq!(announced, bytes.len() - 4);
    }
}
