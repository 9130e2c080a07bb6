//! The accept loop: connection limits, back-off when descriptors run out, and the orderly stop.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use super::budget::Budget;
use super::connection;
use super::{Limits, Peer, Service};

/// Longest pause after failed accepts.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Connections by address, over all listeners.
#[derive(Debug, Default)]
pub struct Connections {
    by_ip: Mutex<HashMap<IpAddr, usize>>,
}

impl Connections {
    /// Connections now.
    pub fn count(&self) -> usize {
        self.by_ip.lock().values().sum()
    }

    fn admit(self: &Arc<Self>, ip: IpAddr, limits: &Limits) -> Option<Admission> {
        let mut by_ip = self.by_ip.lock();
        let total: usize = by_ip.values().sum();
        let from_ip = by_ip.get(&ip).copied().unwrap_or(0);
        if total >= limits.connections_max || from_ip >= limits.connections_per_ip_max {
            return None;
        }
        by_ip.insert(ip, from_ip + 1);
        Some(Admission { connections: self.clone(), ip })
    }
}

/// One admitted connection; leaves the count when dropped.
struct Admission {
    connections: Arc<Connections>,
    ip: IpAddr,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut by_ip = self.connections.by_ip.lock();
        if let Some(count) = by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                by_ip.remove(&self.ip);
            }
        }
    }
}

/// What the listeners of a server share.
pub struct Shared<S> {
    /// Answers the frames.
    pub service: Arc<S>,
    /// Limits.
    pub limits: Arc<Limits>,
    /// Bytes held by all connections.
    pub budget: Arc<Budget>,
    /// Counts of connections.
    pub connections: Arc<Connections>,
}

/// Accepts until `stopping` turns true, then waits for the connections to finish what is under way. They are ended at
/// `drain` at the latest.
pub async fn run<S: Service>(
    listener: TcpListener,
    name: Arc<str>,
    shared: Arc<Shared<S>>,
    mut stopping: watch::Receiver<bool>,
    drain: Duration,
) {
    let mut tasks = JoinSet::new();
    let mut back_off = Duration::from_millis(1);
    while !*stopping.borrow() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                log_panic(&name, ended.err());
                continue;
            }
            _ = stopping.changed() => break,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors or memory: connections that end will free some.
                warn!(listener = %name, %error, "cannot accept");
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
                continue;
            }
        };
        back_off = Duration::from_millis(1);
        let Some(admission) = shared.connections.admit(remote.ip(), &shared.limits) else {
            debug!(peer = %remote, "connection limit reached");
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(peer = %remote, %error, "cannot set TCP_NODELAY");
        }
        let Ok(local) = stream.local_addr() else { continue };
        let peer = Peer { remote, local, listener: name.clone() };
        let shared = shared.clone();
        let stopping = stopping.clone();
        tasks.spawn(async move {
            let _admission = admission;
            connection::serve(
                stream,
                peer,
                shared.service.clone(),
                shared.limits.clone(),
                shared.budget.clone(),
                stopping,
            )
            .await;
        });
    }
    drop(listener);
    let finish = async {
        while let Some(ended) = tasks.join_next().await {
            log_panic(&name, ended.err());
        }
    };
    let drained = tokio::time::timeout(drain, finish).await;
    if drained.is_err() {
        warn!(listener = %name, connections = tasks.len(), "connections did not finish in time and are ended");
        tasks.shutdown().await;
    }
}

/// A panic in a handler is our fault and costs the connection it came from, nothing more.
fn log_panic(listener: &str, error: Option<tokio::task::JoinError>) {
    if error.is_some_and(|error| error.is_panic()) {
        error!(listener, "a request handler panicked; its connection was closed");
    }
}
