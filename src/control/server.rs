//! The broker's end of the socket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info, warn};

use super::key::{self, Found, KeyLookup, KeyLookupError};
use super::snapshot::{SnapshotError, Wanted, live};
use crate::api::services::Services;
use crate::storage::StateStore;

/// Operators at a time.
const CONNECTIONS_MAX: usize = 16;
/// A request's head, and then its body, must arrive within this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes of a request's head: a key is in its path, three bytes for each of its own.
const HEAD_BYTES_MAX: usize = 128 << 10;

/// What requests are carried out with.
pub struct Operations {
    /// Everything behind the API.
    pub services: Arc<Services>,
    /// The rows of all coordinators and of the metadata.
    pub state: Arc<dyn StateStore>,
    /// Finds records by key.
    pub keys: Arc<dyn KeyLookup>,
    /// Turns true when the broker stops.
    pub stopping: watch::Receiver<bool>,
    /// Whoever has it takes a snapshot.
    pub snapshot: Arc<tokio::sync::Mutex<()>>,
}

/// Serves until the broker stops. Snapshots that are being taken then are given up before this returns.
pub async fn run(listener: UnixListener, operations: Arc<Operations>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stopping = operations.stopping.clone();
    while !*stopping.borrow() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.changed() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "the control socket cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !is_allowed(&stream) {
            warn!("a connection of another user to the control socket is refused");
            continue;
        }
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            continue;
        };
        let operations = operations.clone();
        tokio::spawn(async move {
            let _permit = permit;
            serve(stream, operations).await;
        });
    }
    drop(listener);
    drop(operations.snapshot.lock().await);
}

/// The socket's mode says it already. Root may do everything.
fn is_allowed(stream: &UnixStream) -> bool {
    // Safe: the call has no arguments and cannot fail.
    let own = unsafe { libc::geteuid() };
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn serve(stream: UnixStream, operations: Arc<Operations>) {
    let mut stopping = operations.stopping.clone();
    let service = service_fn(|request| {
        let answering = answer(operations.clone(), request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        result = connection => {
            if let Err(error) = result {
                debug!(%error, "a control connection ended");
            }
        }
        () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {}
    }
}

/// A refusal: the status, and what an operator is told.
struct Refusal(StatusCode, String);

fn refuse(status: StatusCode, error: impl std::fmt::Display) -> Refusal {
    Refusal(status, error.to_string())
}

async fn answer(operations: Arc<Operations>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match route(operations, request).await {
        Ok(body) => (StatusCode::OK, body),
        Err(Refusal(status, error)) => (status, json!({ "error": error })),
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

async fn route(operations: Arc<Operations>, request: Request<Incoming>) -> Result<Value, Refusal> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (request.method(), segments.as_slice()) {
        (&Method::POST, ["v1", "snapshots"]) => snapshot(operations, request).await,
        (&Method::GET, ["v1", "topics", topic, "keys", key]) => {
            let partition = partition(request.uri().query())?;
            look_up(operations, topic, key, partition).await
        }
        (_, ["v1", "snapshots"] | ["v1", "topics", _, "keys", _]) => {
            Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done with it"))
        }
        _ => Err(refuse(
            StatusCode::NOT_FOUND,
            "there are POST /v1/snapshots and GET /v1/topics/{topic}/keys/{key}[?partition=N]",
        )),
    }
}

async fn snapshot(operations: Arc<Operations>, request: Request<Incoming>) -> Result<Value, Refusal> {
    let body = tokio::time::timeout(REQUEST_TIMEOUT, Limited::new(request, BODY_BYTES_MAX).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(refuse(StatusCode::BAD_REQUEST, error)),
        Err(_) => {
            return Err(refuse(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time"));
        }
    };
    let wanted = serde_json::from_slice::<Value>(&body).map_err(|error| error.to_string());
    let wanted = wanted.and_then(|body| Wanted::from_json(&body));
    let wanted = wanted.map_err(|error| refuse(StatusCode::BAD_REQUEST, error))?;
    let Ok(turn) = operations.snapshot.clone().try_lock_owned() else {
        return Err(refuse(StatusCode::CONFLICT, SnapshotError::Busy));
    };
    // It goes on when the operator goes away, and ends when the broker stops.
    let taking = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let stopping = || *operations.stopping.borrow();
        live::take(&operations.services, &*operations.state, &wanted, &stopping)
    });
    match taking.await {
        Ok(Ok(taken)) => {
            info!(
                to = %taken.to.display(), partitions = taken.partitions, copied_bytes = taken.copied_bytes,
                shared_bytes = taken.shared_bytes, "a snapshot was taken"
            );
            Ok(taken.to_json())
        }
        Ok(Err(error)) => {
            warn!(%error, "no snapshot was taken");
            let status = match error {
                SnapshotError::Target { .. } => StatusCode::BAD_REQUEST,
                SnapshotError::OtherFileSystem { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                SnapshotError::NoRoom { .. } => StatusCode::INSUFFICIENT_STORAGE,
                SnapshotError::Stopping | SnapshotError::Partition { .. } => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Err(refuse(status, error))
        }
        Err(_) => Err(refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "taking the snapshot failed; the broker's log says why",
        )),
    }
}

async fn look_up(
    operations: Arc<Operations>,
    topic: &str,
    key: &str,
    partition: Option<i32>,
) -> Result<Value, Refusal> {
    let bad =
        |what: &str| refuse(StatusCode::BAD_REQUEST, format!("the {what} in the path is not well encoded"));
    let topic =
        decode_segment(topic).and_then(|topic| String::from_utf8(topic).ok()).ok_or_else(|| bad("topic"))?;
    let key = decode_segment(key).ok_or_else(|| bad("key"))?;
    let looking = tokio::task::spawn_blocking({
        let topic = topic.clone();
        move || key::find(&*operations.keys, &topic, &key, partition)
    });
    match looking.await {
        Ok(Ok(found)) => Ok(json!({ "topic": topic, "found": found.map(found_json) })),
        Ok(Err(error)) => {
            let status = match error {
                KeyLookupError::UnknownTopic { .. } | KeyLookupError::UnknownPartition { .. } => {
                    StatusCode::NOT_FOUND
                }
                KeyLookupError::NotCompacted { .. } | KeyLookupError::IndexOff { .. } => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
                KeyLookupError::NotReady { .. } | KeyLookupError::Unavailable { .. } => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            };
            Err(refuse(status, error))
        }
        Err(_) => {
            Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "the look-up failed; the broker's log says why"))
        }
    }
}

fn found_json(found: Found) -> Value {
    let bytes = |bytes: Option<Vec<u8>>| bytes.map(|bytes| BASE64.encode(bytes));
    let record = found.record;
    let headers: Vec<Value> = record
        .headers
        .into_iter()
        .map(|(name, value)| json!({ "key": name, "value_base64": bytes(value) }))
        .collect();
    json!({
        "partition": found.partition,
        "default_partition": found.default_partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "value_base64": bytes(record.value),
        "headers": headers,
    })
}

/// The partition that a query names.
fn partition(query: Option<&str>) -> Result<Option<i32>, Refusal> {
    let Some(query) = query else { return Ok(None) };
    match query.strip_prefix("partition=").and_then(|number| number.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(refuse(StatusCode::BAD_REQUEST, "the only parameter is partition=N")),
    }
}

/// The bytes of a path's segment.
fn decode_segment(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        rest = behind;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client::encode_segment;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_key_survives_the_path(key: Vec<u8>) {
            let text = encode_segment(&key);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'?' && byte != b'#'));
            prop_assert_eq!(decode_segment(&text), Some(key));
        }

        #[test]
        fn any_path_is_read_without_panic(text in ".{0,20}") {
            let _ = decode_segment(&text);
        }
    }

    #[test]
    fn queries() {
        assert!(matches!(partition(None), Ok(None)));
        assert!(matches!(partition(Some("partition=7")), Ok(Some(7))));
        for bad in ["", "partition=", "partition=x", "partition=99999999999", "other=1", "partition=1&x=2"] {
            assert!(partition(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(decode_segment("%4"), None);
        assert_eq!(decode_segment("%zz"), None);
    }
}
