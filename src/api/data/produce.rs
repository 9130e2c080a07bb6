//! Produce (key 0): append batches to partitions.
//!
//! Appends are made at once, on arrival; with acks=all the answer follows when they are durable, and later requests of
//! the connection do not wait for it.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TransactionalId;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use tracing::debug;

use crate::api::context::Context;
use crate::api::dispatch::encoded;
use crate::api::error_code::{NONE, ToCode};
use crate::api::transactions::shape;
use crate::config::{Compression as CompressionSetting, TimestampType};
use crate::metadata::topics::is_internal;
use crate::metadata::{MetadataImage, Topic};
use crate::partition::append::Appended;
use crate::partition::{AppendError, Partition};
use crate::protocol::reply::Reply;
use crate::record::{BatchHeader, Compression, InvalidBatch, Rules, TargetCompression, Validated, validate};
use crate::server::Outcome;
use crate::storage::journal::Receipt;
use crate::transactions::error::TransactionError;
use crate::transactions::{Producer, Protocol, TopicPartition};

/// First version that names topics by id (KIP-516).
const TOPIC_ID_FROM: i16 = 13;
/// First version whose clients know zstd (KIP-110).
const ZSTD_FROM: i16 = 7;
/// First version that says which records are at fault (KIP-467).
const DETAILS_FROM: i16 = 8;
/// acks=all, "all in-sync replicas".
const ACKS_ALL: i16 = -1;

/// First version of the second transaction protocol: partitions are enlisted by this request itself (KIP-890).
const SECOND_PROTOCOL_FROM: i16 = 12;

/// An append whose durability the answer waits for.
struct Unconfirmed {
    partition: Arc<Partition>,
    end_offset: i64,
    /// That the partition is part of the transaction has to be durable as well.
    enlisted: Option<Receipt>,
    topic: usize,
    index: usize,
}

/// Appends, then answers at once, when durable, or not at all (acks=0).
pub fn handle(context: &Context, correlation_id: i32, request: ProduceRequest) -> Outcome {
    let image = context.services.image();
    let now_ms = context.services.now_ms();
    let acks = request.acks;
    let refused = refused_whole(&request);
    let mut unconfirmed = Vec::new();
    let mut response = ProduceResponse::default();
    response.responses.reserve(request.topic_data.len());
    let mut failed = false;
    for (topic_at, data) in request.topic_data.into_iter().enumerate() {
        let topic = find_topic(&image, context.version, &data.name, data.topic_id);
        let mut partitions = Vec::with_capacity(data.partition_data.len());
        for (index_at, partition_data) in data.partition_data.into_iter().enumerate() {
            let index = partition_data.index;
            let outcome = match (&refused, &topic) {
                (Some(refused), _) => Err(Failure::of_whole(*refused)),
                (None, Err(code)) => Err(Failure::from_code(*code)),
                (None, Ok(topic)) => {
                    append(context, topic, request.transactional_id.as_ref(), partition_data, acks, now_ms)
                }
            };
            partitions.push(match outcome {
                Ok((partition, appended, enlisted)) => {
                    let is_confirmed =
                        partition.high_watermark() >= appended.end_offset && enlisted.is_none();
                    if acks == ACKS_ALL && !is_confirmed {
                        let end_offset = appended.end_offset;
                        unconfirmed.push(Unconfirmed {
                            partition,
                            end_offset,
                            enlisted,
                            topic: topic_at,
                            index: index_at,
                        });
                    }
                    success(index, &appended)
                }
                Err(failure) => {
                    failed = true;
                    failure.into_response(index, context.version)
                }
            });
        }
        response.responses.push(
            TopicProduceResponse::default()
                .with_name(data.name)
                .with_topic_id(data.topic_id)
                .with_partition_responses(partitions),
        );
    }
    if acks == 0 {
        // The client expects no answer; an error is told by closing, as Kafka does.
        return Outcome::Now(if failed { Reply::Close } else { Reply::None });
    }
    let version = context.version;
    if unconfirmed.is_empty() {
        return Outcome::Now(encoded(correlation_id, version, &response));
    }
    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64);
    Outcome::Later(Box::pin(async move {
        confirm(&mut response, unconfirmed, timeout, version).await;
        encoded(correlation_id, version, &response)
    }))
}

fn target(setting: CompressionSetting) -> TargetCompression {
    let level = |level: i32| Some(level).filter(|level| *level != -1);
    match setting {
        CompressionSetting::Producer => TargetCompression::Producer,
        CompressionSetting::Uncompressed => TargetCompression::Codec(Compression::None, None),
        CompressionSetting::Gzip(wanted) => TargetCompression::Codec(Compression::Gzip, level(wanted)),
        CompressionSetting::Snappy => TargetCompression::Codec(Compression::Snappy, None),
        CompressionSetting::Lz4(wanted) => TargetCompression::Codec(Compression::Lz4, level(wanted)),
        CompressionSetting::Zstd(wanted) => TargetCompression::Codec(Compression::Zstd, level(wanted)),
    }
}

/// What refuses every partition of a request, if anything does.
fn refused_whole(request: &ProduceRequest) -> Option<ResponseError> {
    if !(-1..=1).contains(&request.acks) {
        return Some(ResponseError::InvalidRequiredAcks);
    }
    let mut producer = None;
    for data in request.topic_data.iter().flat_map(|topic| &topic.partition_data) {
        let header = data.records.as_ref().and_then(|records| BatchHeader::parse(records).ok());
        let Some(header) = header.filter(BatchHeader::is_transactional) else { continue };
        if request.transactional_id.is_none() {
            // Kafka's word for a transaction without an id: nobody may use none.
            return Some(ResponseError::TransactionalIdAuthorizationFailed);
        }
        let of_batch = (header.producer_id, header.producer_epoch);
        if *producer.get_or_insert(of_batch) != of_batch {
            return Some(ResponseError::InvalidProducerIdMapping);
        }
    }
    None
}

fn find_topic<'a>(
    image: &'a MetadataImage,
    version: i16,
    name: &str,
    id: uuid::Uuid,
) -> Result<&'a Arc<Topic>, i16> {
    if version >= TOPIC_ID_FROM {
        image.topic_by_id(id).ok_or(ResponseError::UnknownTopicId.code())
    } else {
        image.topic(name).ok_or(ResponseError::UnknownTopicOrPartition.code())
    }
}

fn append(
    context: &Context,
    topic: &Arc<Topic>,
    transactional_id: Option<&TransactionalId>,
    data: PartitionProduceData,
    acks: i16,
    now_ms: i64,
) -> Result<(Arc<Partition>, Appended, Option<Receipt>), Failure> {
    let services = &context.services;
    if !(0..topic.partitions).contains(&data.index) {
        return Err(Failure::from_code(ResponseError::UnknownTopicOrPartition.code()));
    }
    if is_internal(&topic.name) {
        return Err(Failure::from_code(ResponseError::InvalidTopicException.code()));
    }
    let partition =
        services.partition(topic, data.index).map_err(|error| Failure::from_code(error.code()))?;
    let config = partition.config();
    let attempt = || {
        if acks == ACKS_ALL && config.min_insync_replicas > 1 {
            return Err(AppendError::NotEnoughReplicas { required: config.min_insync_replicas }.into());
        }
        let records = data.records.ok_or(InvalidBatch::Empty)?;
        let rules = Rules {
            max_message_bytes: config.max_message_bytes,
            compacted: config.cleanup_policy.compact,
            log_append_time: config.message_timestamp_type == TimestampType::LogAppendTime,
            timestamp_before_max_ms: config.message_timestamp_before_max_ms,
            timestamp_after_max_ms: config.message_timestamp_after_max_ms,
            target: target(config.compression),
            now_ms,
            zstd_allowed: context.version >= ZSTD_FROM,
            max_decompressed_bytes: services.config.max_decompressed_bytes,
        };
        let batch = validate(&records, &rules)?;
        let (appended, enlisted) = match (partition.append(&batch, now_ms), transactional_id) {
            // The first batch of a transaction in this partition.
            (Err(AppendError::NotEnlisted { .. }), Some(id)) => {
                enlist(context, id, &partition, &batch, now_ms)?
            }
            // Its first copy may have enlisted the partition a moment ago, and not have been answered yet.
            (Ok(appended), Some(id)) if appended.is_repeat && batch.header.is_transactional() => {
                (appended, services.transactions.queued(id)?)
            }
            (appended, _) => (appended?, None),
        };
        services.metrics.observe_append(batch.bytes.len());
        Ok((appended, enlisted))
    };
    match attempt() {
        Ok((appended, enlisted)) => Ok((partition, appended, enlisted)),
        Err(refused) => {
            services.metrics.observe_refused_batch();
            debug!(partition = %partition.id(), peer = %context.peer.remote, error = %refused, "append refused");
            Err(match refused {
                Refused::Append(error) => Failure::from_append(&error, &partition),
                Refused::Transaction(error) => Failure::from_transaction(&error, context.version),
            })
        }
    }
}

/// Appends a batch that begins its transaction in this partition, if the transaction may go on there.
fn enlist(
    context: &Context,
    id: &TransactionalId,
    partition: &Arc<Partition>,
    batch: &Validated,
    now_ms: i64,
) -> Result<(Appended, Option<Receipt>), Refused> {
    let producer = Producer { id: batch.header.producer_id, epoch: batch.header.producer_epoch };
    let is_second = context.version >= SECOND_PROTOCOL_FROM;
    let protocol = if is_second { Protocol::Second } else { Protocol::First };
    let of = TopicPartition { topic: partition.id().topic_id, partition: partition.id().index };
    let append = || partition.append_enlisted(batch, now_ms, is_second);
    let (appended, receipt) = context.services.transactions.append(id, producer, protocol, of, append)?;
    Ok((appended?, receipt))
}

/// Why a batch was refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl From<InvalidBatch> for Refused {
    fn from(invalid: InvalidBatch) -> Refused {
        Refused::Append(invalid.into())
    }
}

async fn confirm(
    response: &mut ProduceResponse,
    unconfirmed: Vec<Unconfirmed>,
    timeout: Duration,
    version: i16,
) {
    let until = tokio::time::Instant::now() + timeout;
    for append in unconfirmed {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        let failure = match append.partition.committed(append.end_offset, left).await {
            Err(error) => Some(Failure::from_append(&error, &append.partition)),
            Ok(()) => {
                let enlisted = match append.enlisted {
                    Some(enlisted) => tokio::time::timeout_at(until, enlisted).await,
                    None => Ok(Ok(())),
                };
                match enlisted {
                    Ok(Ok(())) => None,
                    Ok(Err(_)) => Some(Failure::from_transaction(&TransactionError::NotCoordinator, version)),
                    Err(_) => Some(Failure::from_append(&AppendError::TimedOut, &append.partition)),
                }
            }
        };
        if let Some(failure) = failure {
            let slot = &mut response.responses[append.topic].partition_responses[append.index];
            *slot = failure.into_response(slot.index, version);
        }
    }
}

fn success(index: i32, appended: &Appended) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(NONE)
        .with_base_offset(appended.base_offset)
        .with_log_append_time_ms(appended.log_append_time_ms)
        .with_log_start_offset(appended.log_start_offset)
}

/// Why a partition's batch was refused.
struct Failure {
    code: i16,
    log_start_offset: i64,
    message: Option<String>,
    record_errors: Vec<i32>,
}

impl Failure {
    fn from_code(code: i16) -> Failure {
        Failure { code, log_start_offset: -1, message: None, record_errors: Vec::new() }
    }

    fn of_whole(refused: ResponseError) -> Failure {
        let message = (refused == ResponseError::InvalidProducerIdMapping)
            .then(|| "Transactional records contained more than one producer ID".to_owned());
        Failure { message, ..Failure::from_code(refused.code()) }
    }

    fn from_append(error: &AppendError, partition: &Partition) -> Failure {
        let record_errors = match error {
            AppendError::Invalid(
                InvalidBatch::NullKey { batch_indices } | InvalidBatch::Timestamp { batch_indices },
            ) => batch_indices.clone(),
            _ => Vec::new(),
        };
        Failure {
            code: error.code(),
            log_start_offset: partition.log_start_offset(),
            message: Some(error.to_string()),
            record_errors,
        }
    }

    fn from_transaction(error: &TransactionError, version: i16) -> Failure {
        let code = shape::produce_code(error, version);
        // As Kafka has it: what the client knows by the code alone has no words.
        let says_more =
            [ResponseError::InvalidTxnState, ResponseError::NotEnoughReplicas].map(|known| known.code());
        let message = says_more.contains(&code).then(|| error.to_string());
        Failure { message, ..Failure::from_code(code) }
    }

    fn into_response(self, index: i32, version: i16) -> PartitionProduceResponse {
        let response = PartitionProduceResponse::default()
            .with_index(index)
            .with_error_code(self.code)
            .with_base_offset(-1)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(self.log_start_offset);
        if version < DETAILS_FROM {
            return response;
        }
        let errors = self
            .record_errors
            .into_iter()
            .map(|at| BatchIndexAndErrorMessage::default().with_batch_index(at));
        response
            .with_record_errors(errors.collect())
            .with_error_message(self.message.map(StrBytes::from_string))
    }
}
