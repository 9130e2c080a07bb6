//! Facts about the request in hand.

use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;

use super::services::Services;
use crate::server::Peer;

/// What a handler is told besides the request itself.
#[derive(Clone)]
pub struct Context {
    /// Components.
    pub services: Arc<Services>,
    /// Version of the request.
    pub version: i16,
    /// `client.id` of the request; empty when there is none.
    pub client_id: StrBytes,
    /// The connection it came on.
    pub peer: Arc<Peer>,
}

impl Context {
    /// Host and port under which the client reaches this broker, as it came in: the advertised address of the listener
    /// or, where none is set for a wildcard bind, the address that the client connected to. Port 0 asked the system for
    /// a free port, so the one that the client found is meant.
    pub fn advertised(&self) -> (String, i32) {
        let config = &self.services.config;
        let advertised = config.advertised.iter().find(|listener| *listener.name == *self.peer.listener);
        match advertised.and_then(|listener| listener.host.clone().map(|host| (host, listener.port))) {
            Some((host, 0)) => (host, i32::from(self.peer.local.port())),
            Some((host, port)) => (host, i32::from(port)),
            None => (self.peer.local.ip().to_string(), i32::from(self.peer.local.port())),
        }
    }
}
