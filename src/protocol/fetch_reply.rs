//! The Fetch reply, written around ranges of log files.
//!
//! The message crate's encoder copies records into its output. Here the fixed fields of each partition are encoded by
//! the crate with empty records, and the records' length and a reference to the file range take their place.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::protocol::{Encodable, HeaderVersion};

use super::encode::{EncodeError, put_header};
use super::reply::Chunk;

/// First version with compact lengths and tagged sections.
const FLEXIBLE_FROM: i16 = 12;
/// First version that names topics by id (KIP-516).
const TOPIC_ID_FROM: i16 = 13;
/// First version with an error code and a session id at the top (KIP-227).
const SESSION_FROM: i16 = 7;

/// One partition of a reply: its fields (whose `records` are ignored) and where its records are.
#[derive(Debug)]
pub struct PartitionPart {
    /// Every field but the records.
    pub data: PartitionData,
    /// The records, or `None` for an empty set.
    pub records: Option<Chunk>,
}

/// One topic of a reply.
#[derive(Debug)]
pub struct TopicPart {
    /// Name and id; its `partitions` are ignored.
    pub topic: FetchableTopicResponse,
    /// The partitions, in reply order.
    pub partitions: Vec<PartitionPart>,
}

/// Builds one frame: `head` gives throttle time, error code and session id.
///
/// # Errors
/// [`EncodeError`] when a field cannot be expressed in `version` or the frame passes 2 GiB.
pub fn frame(
    correlation_id: i32,
    version: i16,
    head: &FetchResponse,
    topics: &[TopicPart],
) -> Result<Vec<Chunk>, EncodeError> {
    let flexible = version >= FLEXIBLE_FROM;
    let mut out = Splicer::default();
    out.buffer.put_i32(0);
    put_header(&mut out.buffer, correlation_id, FetchResponse::header_version(version));
    out.buffer.put_i32(head.throttle_time_ms);
    if version >= SESSION_FROM {
        out.buffer.put_i16(head.error_code);
        out.buffer.put_i32(head.session_id);
    }
    put_array_len(&mut out.buffer, topics.len(), flexible);
    for topic in topics {
        put_topic_name(&mut out.buffer, version, &topic.topic)?;
        put_array_len(&mut out.buffer, topic.partitions.len(), flexible);
        for part in &topic.partitions {
            put_partition(&mut out, version, part)?;
        }
        if flexible {
            out.buffer.put_u8(0);
        }
    }
    if flexible {
        out.buffer.put_u8(0);
    }
    out.finish()
}

fn put_topic_name(
    buffer: &mut BytesMut,
    version: i16,
    topic: &FetchableTopicResponse,
) -> Result<(), EncodeError> {
    if version >= TOPIC_ID_FROM {
        buffer.put_slice(topic.topic_id.as_bytes());
        return Ok(());
    }
    let name = topic.topic.as_bytes();
    if version >= FLEXIBLE_FROM {
        put_unsigned_varint(buffer, name.len() as u32 + 1);
    } else {
        buffer.put_i16(i16::try_from(name.len()).map_err(EncodeError::new)?);
    }
    buffer.put_slice(name);
    Ok(())
}

fn put_partition(out: &mut Splicer, version: i16, part: &PartitionPart) -> Result<(), EncodeError> {
    part.data.encode(&mut out.buffer, version).map_err(EncodeError::new)?;
    let Some(records) = part.records.as_ref().filter(|records| !records.is_empty()) else {
        return Ok(());
    };
    let len = u32::try_from(records.len()).map_err(EncodeError::new)?;
    if version >= FLEXIBLE_FROM {
        // The encoder ended with an empty compact byte string and an empty tagged section.
        let end = out.buffer.len();
        if out.buffer[end - 2..] != [1, 0] {
            return Err(EncodeError("a partition with records must have no tagged fields".into()));
        }
        out.buffer.truncate(end - 2);
        put_unsigned_varint(
            &mut out.buffer,
            len.checked_add(1).ok_or_else(|| EncodeError("records too long".into()))?,
        );
        out.splice(records.clone());
        out.buffer.put_u8(0);
    } else {
        out.buffer.truncate(out.buffer.len() - 4);
        out.buffer.put_u32(len);
        out.splice(records.clone());
    }
    Ok(())
}

fn put_array_len(buffer: &mut BytesMut, len: usize, flexible: bool) {
    if flexible {
        put_unsigned_varint(buffer, len as u32 + 1);
    } else {
        buffer.put_i32(len as i32);
    }
}

fn put_unsigned_varint(buffer: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// Collects encoded bytes and file ranges in order.
#[derive(Default)]
struct Splicer {
    buffer: BytesMut,
    chunks: Vec<Chunk>,
}

impl Splicer {
    fn splice(&mut self, chunk: Chunk) {
        self.chunks.push(Chunk::Bytes(self.buffer.split().freeze()));
        self.chunks.push(chunk);
    }

    fn finish(mut self) -> Result<Vec<Chunk>, EncodeError> {
        self.chunks.push(Chunk::Bytes(self.buffer.split().freeze()));
        let total: usize = self.chunks.iter().map(Chunk::len).sum();
        let frame_len = i32::try_from(total - 4).map_err(EncodeError::new)?;
        if let Some(Chunk::Bytes(first)) = self.chunks.first_mut() {
            let mut patched = BytesMut::from(std::mem::take(first));
            patched[..4].copy_from_slice(&frame_len.to_be_bytes());
            *first = patched.freeze();
        }
        Ok(self.chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::encode;
    use bytes::Bytes;
    use kafka_protocol::messages::{FetchRequest, TopicName};
    use kafka_protocol::protocol::{Message, StrBytes};

    fn partition(index: i32) -> PartitionData {
        PartitionData::default()
            .with_partition_index(index)
            .with_high_watermark(42)
            .with_last_stable_offset(42)
            .with_log_start_offset(3)
            .with_records(Some(Bytes::new()))
    }

    /// The crate's encoder is the oracle: same bytes for every version, with records of every length class.
    #[test]
    fn equals_the_crates_encoding_for_every_version() {
        let id = uuid::Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        for version in FetchRequest::VERSIONS.min..=FetchRequest::VERSIONS.max {
            for len in [0usize, 1, 126, 127, 128, 16_383, 16_384, 70_000] {
                let records = Bytes::from(vec![0xab; len]);
                let mut topic = FetchableTopicResponse::default();
                if version >= TOPIC_ID_FROM {
                    topic.topic_id = id;
                } else {
                    topic.topic = TopicName(StrBytes::from_static_str("flights"));
                }
                let mut head = FetchResponse::default().with_throttle_time_ms(9);
                if version >= SESSION_FROM {
                    head.session_id = 77;
                }
                let parts = vec![TopicPart {
                    topic: topic.clone(),
                    partitions: vec![
                        PartitionPart { data: partition(0), records: Some(Chunk::Bytes(records.clone())) },
                        PartitionPart { data: partition(1), records: None },
                    ],
                }];
                let spliced = frame(5, version, &head, &parts).unwrap();
                let flat: Vec<u8> = spliced
                    .iter()
                    .flat_map(|chunk| match chunk {
                        Chunk::Bytes(bytes) => bytes.to_vec(),
                        Chunk::File { .. } => unreachable!("no files in this test"),
                    })
                    .collect();
                topic.partitions = vec![partition(0).with_records(Some(records)), partition(1)];
                let oracle = encode::frame(5, version, &head.with_responses(vec![topic])).unwrap();
                assert_eq!(flat, oracle, "version {version}, {len} bytes of records");
            }
        }
    }
}
