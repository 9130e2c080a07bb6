//! Frame → handler: the guard, the catalogue, and the shape of each answer.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tracing::{debug, error};

use super::context::Context;
use super::services::Services;
use super::{cluster, configs, data, groups, topics, transactions};
use crate::groups::coordinator::Answering;
use crate::protocol::guard::{self, GuardError};
use crate::protocol::reply::Reply;
use crate::protocol::{catalog, decode, encode};
use crate::server::{Outcome, Peer, Service};

/// The Kafka service behind every listener.
pub struct Dispatcher {
    services: Arc<Services>,
}

/// Why a frame is not answered; the connection is closed, as Kafka does.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("API key {0} is not served")]
    UnknownApi(i16),
    #[error("{name} version {version} is not served")]
    UnsupportedVersion { name: &'static str, version: i16 },
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error(transparent)]
    Decode(#[from] crate::protocol::DecodeError),
}

impl Refusal {
    fn label(&self) -> &'static str {
        match self {
            Refusal::UnknownApi(_) => "unknown_api",
            Refusal::UnsupportedVersion { .. } => "unsupported_version",
            Refusal::Guard(_) => "malformed",
            Refusal::Decode(_) => "undecodable",
        }
    }
}

impl Dispatcher {
    /// A dispatcher over the broker's components.
    pub fn new(services: Arc<Services>) -> Dispatcher {
        Dispatcher { services }
    }

    fn begin(&self, peer: &Arc<Peer>, frame: Bytes) -> Result<Outcome, Refusal> {
        let header = guard::check_header(&frame)?;
        let (key, version, correlation_id) = (header.key, header.version, header.correlation_id);
        let position = catalog::position(key).ok_or(Refusal::UnknownApi(key))?;
        let entry = &catalog::SERVED[position];
        self.services.metrics.observe_request(position);
        if !(entry.min..=entry.max).contains(&version) {
            if key == catalog::API_VERSIONS {
                return Ok(Outcome::Now(encoded(correlation_id, 0, &cluster::api_versions::unsupported())));
            }
            return Err(Refusal::UnsupportedVersion { name: entry.name, version });
        }
        let client_id = header.client_id.map_or_else(StrBytes::default, |id| {
            // A part of the frame, not a copy; the guard has checked that it is UTF-8.
            StrBytes::try_from(frame.slice_ref(id.as_bytes())).unwrap_or_default()
        });
        let body = frame.slice(header.body_start..);
        match guard::check_body(key, version, &body) {
            // Kafka reads a request and looks no further, and clients rely on it: librdkafka 2.16 asks for the metadata
            // of all topics with an array count of four bytes where one is due, and so sends three too many.
            Ok(()) | Err(GuardError::TrailingBytes(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let call = Call {
            context: Context { services: self.services.clone(), version, client_id, peer: peer.clone() },
            correlation_id,
            body,
        };
        call.route(key)
    }
}

impl Service for Dispatcher {
    fn call(&self, peer: &Arc<Peer>, frame: Bytes) -> Outcome {
        self.begin(peer, frame).unwrap_or_else(|refusal| {
            self.services.metrics.observe_refused(refusal.label());
            debug!(peer = %peer.remote, reason = %refusal, "request refused; the connection is closed");
            Outcome::Now(Reply::Close)
        })
    }
}

/// A checked request on its way to its handler.
struct Call {
    context: Context,
    correlation_id: i32,
    body: Bytes,
}

impl Call {
    /// The routing table. Reads and appends answer at once or when durable; what changes metadata runs alone on its
    /// connection, so that what follows on it sees the change.
    fn route(self, key: i16) -> Result<Outcome, Refusal> {
        match key {
            0 => self.produce(),
            1 => self.fetch(),
            2 => self.now(data::list_offsets::handle),
            3 => self.alone(topics::metadata::handle),
            8 => self.group(groups::offset_commit::handle),
            9 => self.group(groups::offset_fetch::handle),
            10 => self.alone(groups::find_coordinator::handle),
            11 => self.group(groups::join_group::handle),
            12 => self.group(groups::heartbeat::handle),
            13 => self.group(groups::leave_group::handle),
            14 => self.group(groups::sync_group::handle),
            15 => self.group(groups::describe_groups::handle),
            16 => self.group(groups::list_groups::handle),
            18 => self.now(cluster::api_versions::handle),
            19 => self.alone(topics::create_topics::handle),
            20 => self.alone(topics::delete_topics::handle),
            21 => self.alone(data::delete_records::handle),
            22 => self.alone(transactions::init_producer_id::handle),
            23 => self.now(data::offset_for_leader_epoch::handle),
            24 => self.group(transactions::add_partitions_to_txn::handle),
            25 => self.group(transactions::add_offsets_to_txn::handle),
            26 => self.group(transactions::end_txn::handle),
            27 => self.alone(transactions::write_txn_markers::handle),
            28 => self.group(transactions::txn_offset_commit::handle),
            32 => self.now(configs::describe_configs::handle),
            33 => self.alone(configs::alter_configs::handle),
            35 => self.now(cluster::describe_log_dirs::handle),
            37 => self.alone(topics::create_partitions::handle),
            42 => self.group(groups::delete_groups::handle),
            44 => self.alone(configs::incremental_alter_configs::handle),
            47 => self.group(groups::offset_delete::handle),
            60 => self.now(cluster::describe_cluster::handle),
            61 => self.now(transactions::describe_producers::handle),
            65 => self.group(transactions::describe_transactions::handle),
            66 => self.group(transactions::list_transactions::handle),
            68 => self.group(groups::consumer_group_heartbeat::handle),
            69 => self.group(groups::consumer_group_describe::handle),
            74 => self.now(configs::list_config_resources::handle),
            75 => self.now(topics::describe_topic_partitions::handle),
            other => Err(Refusal::UnknownApi(other)),
        }
    }

    fn now<Q: Decodable, R: Encodable + HeaderVersion>(
        self,
        handle: impl FnOnce(&Context, Q) -> R,
    ) -> Result<Outcome, Refusal> {
        let request = decode(self.body, self.context.version)?;
        let response = handle(&self.context, request);
        Ok(Outcome::Now(encoded(self.correlation_id, self.context.version, &response)))
    }

    /// What a coordinator decides: at once, its answer when it is durable or when others have acted.
    fn group<Q: Decodable, R: Encodable + HeaderVersion + Send + 'static>(
        self,
        handle: impl FnOnce(&Context, Q) -> Answering<R>,
    ) -> Result<Outcome, Refusal> {
        let request = decode(self.body, self.context.version)?;
        let (correlation_id, version) = (self.correlation_id, self.context.version);
        Ok(match handle(&self.context, request) {
            Answering::Now(response) => Outcome::Now(encoded(correlation_id, version, &response)),
            Answering::Later(response) => {
                Outcome::Later(Box::pin(async move { encoded(correlation_id, version, &response.await) }))
            }
        })
    }

    fn alone<Q, R, F>(self, handle: impl FnOnce(Context, Q) -> F) -> Result<Outcome, Refusal>
    where
        Q: Decodable,
        R: Encodable + HeaderVersion,
        F: Future<Output = R> + Send + 'static,
    {
        let request = decode(self.body, self.context.version)?;
        let (correlation_id, version) = (self.correlation_id, self.context.version);
        let response = handle(self.context, request);
        Ok(Outcome::Alone(Box::pin(async move { encoded(correlation_id, version, &response.await) })))
    }

    fn produce(self) -> Result<Outcome, Refusal> {
        let request: m::ProduceRequest = decode(self.body, self.context.version)?;
        Ok(data::produce::handle(&self.context, self.correlation_id, request))
    }

    fn fetch(self) -> Result<Outcome, Refusal> {
        let request: m::FetchRequest = decode(self.body, self.context.version)?;
        Ok(data::fetch::handle(self.context, self.correlation_id, request))
    }
}

/// Encodes an answer. One of ours that cannot be encoded is our fault: the client's connection is closed, and the log
/// says so.
pub(super) fn encoded<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Reply {
    match encode::frame(correlation_id, version, response) {
        Ok(frame) => Reply::Single(frame),
        Err(error) => {
            error!(%error, version, "an answer could not be encoded");
            Reply::Close
        }
    }
}
