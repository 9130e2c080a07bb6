//! `/metrics`, `/livez` and `/readyz` over HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

/// Scrapers and probes at a time: they are few, and this port must not be a way to fill memory.
const CONNECTIONS_MAX: usize = 32;
/// A request's head must arrive within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What the endpoints show.
pub struct Exposed {
    /// Metrics.
    pub registry: Registry,
    /// Whether clients are served.
    pub ready: AtomicBool,
}

/// Serves until `stopping` turns true.
pub async fn run(listener: TcpListener, exposed: Arc<Exposed>, mut stopping: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while !*stopping.borrow() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.changed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "the metrics listener cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            continue;
        };
        let exposed = exposed.clone();
        let mut stopping = stopping.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let service = service_fn(|request| {
                let answering = answer(exposed.clone(), request);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                result = connection => {
                    if let Err(error) = result {
                        debug!(%error, "a metrics connection ended");
                    }
                }
                _ = stopping.changed() => {}
            }
        });
    }
}

async fn answer<B>(exposed: Arc<Exposed>, request: Request<B>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served\n");
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" if exposed.ready.load(Ordering::Acquire) => text(StatusCode::OK, "ok\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        "/metrics" => {
            // Some figures are read from the disk.
            let gathering = tokio::task::spawn_blocking(move || {
                let mut body = Vec::new();
                TextEncoder::new().encode(&exposed.registry.gather(), &mut body).map(|()| body)
            });
            let Ok(gathered) = gathering.await else {
                return text(StatusCode::INTERNAL_SERVER_ERROR, "the figures could not be gathered\n");
            };
            match gathered {
                Ok(body) => {
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4");
                    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
                    response
                }
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            }
        }
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n"),
    }
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response
}
