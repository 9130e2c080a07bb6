//! Fetch (key 1): whole batches from many partitions within byte limits, with a long poll.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchRequest;
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchResponse, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{BrokerId, TopicName, fetch_response};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::error;
use uuid::Uuid;

use super::fetch_session::{Key, Mode, SessionError, Told, Wish};
use crate::api::context::Context;
use crate::api::dispatch::encoded;
use crate::api::error_code::ToCode;
use crate::metadata::{MetadataImage, Topic};
use crate::partition::read::{ReadOutcome, ReadRequest};
use crate::partition::{Partition, ReadError};
use crate::protocol::fetch_reply::{self, PartitionPart, TopicPart};
use crate::protocol::reply::{Chunk, Reply};
use crate::server::Outcome;
use crate::storage::segment::AbortedTransaction;

/// First version that names topics by id (KIP-516).
const TOPIC_ID_FROM: i16 = 13;
/// `isolation_level` of a client that passes over aborted records.
const READ_COMMITTED: i8 = 1;
/// Longest wait that is granted, whatever the client asks for: it bounds how long an abandoned request lives.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// A partition of the request, found or not.
struct Target {
    key: Key,
    wish: Wish,
    found: Result<Arc<Partition>, i16>,
}

/// A fetch under way.
struct Fetch {
    context: Context,
    correlation_id: i32,
    mode: Mode,
    targets: Vec<Target>,
    max_bytes: usize,
    min_bytes: usize,
    deadline: Instant,
    read_committed: bool,
}

/// Answers at once when there is enough, an error, or no time to wait; otherwise when the high watermarks have moved
/// far enough or the wait is over.
pub fn handle(context: Context, correlation_id: i32, request: FetchRequest) -> Outcome {
    let now = Instant::now();
    let uses_ids = context.version >= TOPIC_ID_FROM;
    let (id, epoch) = (request.session_id, request.session_epoch);
    let (named, forgotten) = named_partitions(&request);
    let begun = context.services.fetch_sessions.begin(id, epoch, uses_ids, named, &forgotten, now);
    let (mode, wishes) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let code = match error {
                SessionError::NotFound => ResponseError::FetchSessionIdNotFound,
                SessionError::InvalidEpoch => ResponseError::InvalidFetchSessionEpoch,
                SessionError::TopicIds => ResponseError::FetchSessionTopicIdError,
            };
            let response = FetchResponse::default().with_error_code(code.code());
            return Outcome::Now(encoded(correlation_id, context.version, &response));
        }
    };
    let image = context.services.image();
    let targets =
        wishes.into_iter().map(|(key, wish)| Target { found: find(&context, &image, &key), key, wish });
    let server_max = context.services.config.fetch_max_bytes;
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64).min(WAIT_MAX);
    let fetch = Fetch {
        targets: targets.collect(),
        correlation_id,
        mode,
        max_bytes: (request.max_bytes.max(0) as usize).min(server_max),
        min_bytes: request.min_bytes.max(0) as usize,
        deadline: now + wait,
        read_committed: request.isolation_level == READ_COMMITTED,
        context,
    };
    match fetch.read(Partition::read) {
        Some(read) if fetch.is_enough(&read) || wait.is_zero() || fetch.targets.is_empty() => {
            Outcome::Now(fetch.reply(read))
        }
        _ => Outcome::Later(Box::pin(Arc::new(fetch).wait())),
    }
}

fn named_partitions(request: &FetchRequest) -> (Vec<(Key, Wish)>, Vec<Key>) {
    let mut named = Vec::new();
    for topic in &request.topics {
        // The name is copied: a slice of the frame would keep the whole frame alive in the session.
        let name: Arc<str> = Arc::from(topic.topic.as_str());
        for partition in &topic.partitions {
            let key = Key { topic: name.clone(), topic_id: topic.topic_id, partition: partition.partition };
            let wish = Wish {
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            };
            named.push((key, wish));
        }
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let name: Arc<str> = Arc::from(topic.topic.as_str());
        for partition in &topic.partitions {
            forgotten.push(Key { topic: name.clone(), topic_id: topic.topic_id, partition: *partition });
        }
    }
    (named, forgotten)
}

fn find(context: &Context, image: &MetadataImage, key: &Key) -> Result<Arc<Partition>, i16> {
    let by_id = context.version >= TOPIC_ID_FROM;
    let topic: &Arc<Topic> = if by_id {
        image.topic_by_id(key.topic_id).ok_or(ResponseError::UnknownTopicId.code())?
    } else {
        image.topic(&key.topic).ok_or(ResponseError::UnknownTopicOrPartition.code())?
    };
    if !(0..topic.partitions).contains(&key.partition) {
        return Err(ResponseError::UnknownTopicOrPartition.code());
    }
    context.services.partition(topic, key.partition).map_err(|error| error.code())
}

/// How a partition is read.
type ReadBy = fn(&Partition, ReadRequest, i64) -> Result<ReadOutcome, ReadError>;

/// What one pass over the partitions found.
struct Read {
    partitions: Vec<(PartitionData, Option<Chunk>)>,
    bytes: usize,
    /// An error or a diverging epoch: the client is told at once.
    must_answer: bool,
}

impl Fetch {
    /// One pass over the partitions; `None` if records must be looked at before they are served.
    fn read(&self, by: ReadBy) -> Option<Read> {
        let now_ms = self.context.services.now_ms();
        let mut read =
            Read { partitions: Vec::with_capacity(self.targets.len()), bytes: 0, must_answer: false };
        for target in &self.targets {
            let (data, records) = self.read_one(target, read.bytes, now_ms, by)?;
            read.must_answer |= data.error_code != 0 || data.diverging_epoch.epoch >= 0;
            read.bytes += records.as_ref().map_or(0, Chunk::len);
            read.partitions.push((data, records));
        }
        Some(read)
    }

    /// As [`Fetch::read`], on a thread that may block where records must be looked at.
    async fn read_in_time(self: &Arc<Self>) -> Read {
        if let Some(read) = self.read(Partition::read) {
            return read;
        }
        let fetch = self.clone();
        let read = tokio::task::spawn_blocking(move || fetch.read(Partition::read_verified)).await;
        read.ok().flatten().unwrap_or_else(|| {
            error!("a fetch could not be read");
            let code = ResponseError::KafkaStorageError.code();
            let partitions = self.targets.iter().map(|target| (refused(target.key.partition, code), None));
            Read { partitions: partitions.collect(), bytes: 0, must_answer: true }
        })
    }

    fn is_enough(&self, read: &Read) -> bool {
        read.bytes >= self.min_bytes || read.must_answer
    }

    fn read_one(
        &self,
        target: &Target,
        bytes_so_far: usize,
        now_ms: i64,
        by: ReadBy,
    ) -> Option<(PartitionData, Option<Chunk>)> {
        let partition = match &target.found {
            Ok(partition) => partition,
            Err(code) => return Some((refused(target.key.partition, *code), None)),
        };
        let left = self.max_bytes.saturating_sub(bytes_so_far);
        let request = ReadRequest {
            offset: target.wish.offset,
            max_bytes: left.min(target.wish.max_bytes.max(0) as usize),
            // Only the first batch of an answer may pass the limits, so that a large batch cannot stop a consumer.
            min_one_batch: bytes_so_far == 0,
            current_leader_epoch: target.wish.current_leader_epoch,
            last_fetched_epoch: target.wish.last_fetched_epoch,
            read_committed: self.read_committed,
        };
        Some(match by(partition, request, now_ms) {
            Ok(outcome) if outcome.is_verified() => shape(target.key.partition, outcome),
            Ok(_) => return None,
            // Kafka tells nothing of aborted transactions where it could not read.
            Err(error) => (refused(target.key.partition, error.code()).with_aborted_transactions(None), None),
        })
    }

    /// Waits for the high watermarks, and with them the last stable offsets, to move until there is enough or the time is
    /// over.
    async fn wait(self: Arc<Self>) -> Reply {
        let notify = Arc::new(Notify::new());
        let watches: Vec<_> = self
            .targets
            .iter()
            .filter_map(|target| Some(target.found.as_ref().ok()?.watch_for_fetch(notify.clone())))
            .collect();
        let read = loop {
            let read = self.read_in_time().await;
            if self.is_enough(&read) || Instant::now() >= self.deadline {
                break read;
            }
            let _ = tokio::time::timeout_at(self.deadline, notify.notified()).await;
        };
        drop(watches);
        self.reply(read)
    }

    fn reply(&self, read: Read) -> Reply {
        self.context.services.metrics.observe_fetch(read.bytes);
        let told = self.targets.iter().zip(&read.partitions).map(|(target, (data, records))| {
            let told = Told {
                high_watermark: data.high_watermark,
                log_start_offset: data.log_start_offset,
                error: data.error_code,
                has_content: records.is_some() || data.diverging_epoch.epoch >= 0,
            };
            (&target.key, told)
        });
        let news = self.context.services.fetch_sessions.news(self.mode, told);
        let mut topics: Vec<TopicPart> = Vec::new();
        for ((target, (data, records)), news) in self.targets.iter().zip(read.partitions).zip(news) {
            if !news {
                continue;
            }
            let same_topic = |part: &&mut TopicPart| {
                part.topic.topic_id == target.key.topic_id && *part.topic.topic.as_str() == *target.key.topic
            };
            let part = PartitionPart { data, records };
            match topics.last_mut().filter(same_topic) {
                Some(topic) => topic.partitions.push(part),
                None => topics.push(TopicPart { topic: topic_head(&target.key), partitions: vec![part] }),
            }
        }
        let head = FetchResponse::default().with_session_id(self.mode.session_id());
        match fetch_reply::frame(self.correlation_id, self.context.version, &head, &topics) {
            Ok(chunks) => Reply::Chunks(chunks),
            Err(error) => {
                error!(%error, "a fetch answer could not be encoded");
                Reply::Close
            }
        }
    }
}

fn topic_head(key: &Key) -> FetchableTopicResponse {
    let mut head = FetchableTopicResponse::default();
    if key.topic_id == Uuid::nil() {
        head.topic = TopicName(StrBytes::from_string(key.topic.to_string()));
    } else {
        head.topic_id = key.topic_id;
    }
    head
}

fn shape(index: i32, outcome: ReadOutcome) -> (PartitionData, Option<Chunk>) {
    let mut data = PartitionData::default()
        .with_partition_index(index)
        .with_high_watermark(outcome.high_watermark)
        .with_last_stable_offset(outcome.last_stable_offset)
        .with_log_start_offset(outcome.log_start_offset)
        .with_preferred_read_replica(BrokerId(-1))
        .with_aborted_transactions(outcome.aborted.map(|aborted| aborted.iter().map(told).collect()))
        .with_records(Some(Default::default()));
    if let Some((epoch, end_offset)) = outcome.diverging {
        data.diverging_epoch = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset);
    }
    let records =
        outcome.slice.map(|slice| Chunk::File { file: slice.file, position: slice.position, len: slice.len });
    (data, records)
}

fn told(aborted: &AbortedTransaction) -> fetch_response::AbortedTransaction {
    fetch_response::AbortedTransaction::default()
        .with_producer_id(aborted.producer_id.into())
        .with_first_offset(aborted.first_offset)
}

fn refused(index: i32, code: i16) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(code)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(Default::default()))
}
