//! Sockets: accept, read length-prefixed frames, keep replies in order, write. Knows nothing of Kafka beyond the length
//! prefix; what a frame means is a [`Service`]'s business.

pub mod budget;
pub mod connection;
pub mod listener;
mod outbox;
pub mod pipeline;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::protocol::reply::Reply;

/// A reply that is not there yet.
pub type PendingReply = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What a service makes of a frame.
pub enum Outcome {
    /// Answered at once.
    Now(Reply),
    /// Begun, its effects done; the reply follows. Later requests may begin meanwhile.
    Later(PendingReply),
    /// Must be finished before a later request of this connection begins.
    Alone(PendingReply),
}

/// Which connection a frame came from.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client's address.
    pub remote: SocketAddr,
    /// The address the client connected to.
    pub local: SocketAddr,
    /// Name of the listener.
    pub listener: Arc<str>,
}

/// Turns request frames (without their length prefix) into replies. Called on the connection's task: it may take locks
/// for a moment and write to the page cache, but must not wait.
pub trait Service: Send + Sync + 'static {
    /// Begins a request.
    fn call(&self, peer: &Arc<Peer>, frame: Bytes) -> Outcome;
}

/// Limits of a server; every one of them bounds memory or descriptors.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest frame, bytes (`socket.request.max.bytes`).
    pub frame_max_bytes: usize,
    /// Requests of one connection that may be under way.
    pub pipeline_max: usize,
    /// Bytes of requests and replies that one connection may hold.
    pub connection_max_bytes: usize,
    /// A connection without a byte for so long is closed (`connections.max.idle.ms`).
    pub idle: Duration,
    /// Connections in total (`max.connections`).
    pub connections_max: usize,
    /// Connections from one address (`max.connections.per.ip`).
    pub connections_per_ip_max: usize,
}
