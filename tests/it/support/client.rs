//! A client without any cleverness: it sends bytes and says what came back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use uuid::Uuid;

use super::{batch, request};

/// After so long a test is taken to hang. Nothing is said about how fast an answer must be.
const HANG_GUARD: Duration = Duration::from_secs(120);

/// One connection.
pub struct Client {
    stream: TcpStream,
    next_correlation_id: i32,
}

/// A request frame with its length prefix.
pub fn frame<Q: Request>(correlation_id: i32, version: i16, request: &Q) -> Vec<u8> {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("a request that this version can express");
    let header = RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("it")));
    let mut head = BytesMut::new();
    header.encode(&mut head, Q::header_version(version)).expect("a header");
    prefixed(&[&head[..], &body[..]].concat())
}

/// `content` behind its length.
pub fn prefixed(content: &[u8]) -> Vec<u8> {
    let len = i32::try_from(content.len()).expect("a frame below 2 GiB");
    [&len.to_be_bytes()[..], content].concat()
}

/// A response frame without its length prefix, taken apart.
pub fn decode<Q: Request>(version: i16, frame: Vec<u8>) -> (i32, Q::Response) {
    let mut bytes = Bytes::from(frame);
    let header =
        ResponseHeader::decode(&mut bytes, Q::Response::header_version(version)).expect("a response header");
    let response = Q::Response::decode(&mut bytes, version).expect("a response of this version");
    assert_eq!(bytes.remaining(), 0, "bytes are left behind the response");
    (header.correlation_id, response)
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the broker accepts connections");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(HANG_GUARD)).expect("a socket option");
        stream.set_write_timeout(Some(HANG_GUARD)).expect("a socket option");
        Client { stream, next_correlation_id: 1 }
    }

    /// The same connection once more, to send on one thread and read on another.
    pub fn second_handle(&self) -> Client {
        let stream = self.stream.try_clone().expect("a second handle of the socket");
        Client { stream, next_correlation_id: self.next_correlation_id }
    }

    /// Sends bytes as they are. False when the broker has closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) if is_closed(error.kind()) => false,
            Err(error) => panic!("cannot send: {error}"),
        }
    }

    /// Says that nothing more will be sent; answers can still be read.
    pub fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("a half-close");
    }

    /// The next response frame without its length prefix, or `None` when the broker closes instead.
    pub fn read_frame(&mut self) -> Option<Vec<u8>> {
        let mut prefix = [0; 4];
        if !self.fill(&mut prefix) {
            return None;
        }
        let len = usize::try_from(i32::from_be_bytes(prefix)).expect("a length that is not negative");
        let mut content = vec![0; len];
        assert!(self.fill(&mut content), "the connection ended within a response");
        Some(content)
    }

    /// False at the end of the stream.
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read_exact(buffer) {
            Ok(()) => true,
            Err(error) if is_closed(error.kind()) => false,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Fails the test unless the broker closes the connection without another byte.
    pub fn assert_closed(&mut self) {
        if let Some(answer) = self.read_frame() {
            panic!("an answer instead of a close: {answer:02x?}");
        }
    }

    /// Sends a request and returns its correlation id.
    pub fn begin<Q: Request>(&mut self, version: i16, request: &Q) -> i32 {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        assert!(self.send(&frame(correlation_id, version, request)), "the broker has closed the connection");
        correlation_id
    }

    /// Reads the answer to a request that was begun.
    pub fn finish<Q: Request>(&mut self, version: i16, correlation_id: i32) -> Q::Response {
        let answer = self.read_frame().expect("an answer");
        let (answered, response) = decode::<Q>(version, answer);
        assert_eq!(answered, correlation_id, "the answer belongs to another request");
        response
    }

    /// Sends a request and waits for its answer.
    pub fn call<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        let correlation_id = self.begin(version, request);
        self.finish::<Q>(version, correlation_id)
    }

    /// Creates a topic and returns its id.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let response =
            self.call(7, &request::create_topics(vec![request::new_topic(name, partitions, configs)]));
        let topic = &response.topics[0];
        assert_eq!(topic.error_code, 0, "{name}: {:?}", topic.error_message);
        topic.topic_id
    }

    /// Appends with acks=all.
    pub fn produce(&mut self, topic: &str, partition: i32, records: Bytes) -> PartitionProduceResponse {
        self.produce_at(9, topic, partition, records)
    }

    /// Appends with acks=all in a request of this version, which must name topics.
    pub fn produce_at(
        &mut self,
        version: i16,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let mut response = self.call(version, &request::produce(topic, partition, -1, records));
        response.responses.remove(0).partition_responses.remove(0)
    }

    /// What is there from an offset on, without waiting.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let mut response = self.call(11, &request::fetch(vec![(topic, request::wanted(partition, offset))]));
        assert_eq!(response.error_code, 0);
        response.responses.remove(0).partitions.remove(0)
    }

    /// The values of all records from an offset on. Where the offset lies inside a batch, the batch begins earlier.
    pub fn values(&mut self, topic: &str, partition: i32, offset: i64) -> Vec<String> {
        let mut next = offset;
        let mut values = Vec::new();
        // One answer ends with a segment.
        loop {
            let data = self.fetch(topic, partition, next);
            assert_eq!(data.error_code, 0);
            let records = batch::records(&data.records.unwrap_or_default());
            let Some(last) = records.last() else { return values };
            next = last.offset + 1;
            values.extend(records.iter().map(batch::Consumed::value_text));
        }
    }

    /// ListOffsets for one partition.
    pub fn list_offset(
        &mut self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> ListOffsetsPartitionResponse {
        let mut response = self.call(10, &request::list_offsets(topic, partition, timestamp));
        response.topics.remove(0).partitions.remove(0)
    }

    /// The offset that the next record will get.
    pub fn end_offset(&mut self, topic: &str, partition: i32) -> i64 {
        let found = self.list_offset(topic, partition, -1);
        assert_eq!(found.error_code, 0);
        found.offset
    }
}

/// A broker that closes with unread bytes in its socket resets the connection.
fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
    )
}
