//! What the API counts: requests by API, refusals by reason, records in and out.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::protocol::catalog;

/// Counters of the API.
#[derive(Clone)]
pub struct ApiMetrics {
    /// In the order of [`catalog::SERVED`]: a request must not pay for a look-up by name.
    requests: Vec<IntCounter>,
    refused: IntCounterVec,
    produced_batches: IntCounter,
    produced_bytes: IntCounter,
    refused_batches: IntCounter,
    fetched_bytes: IntCounter,
}

impl ApiMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<ApiMetrics> {
        let requests =
            IntCounterVec::new(Opts::new("tidelog_requests_total", "Requests begun, by API."), &["api"])?;
        let refused = IntCounterVec::new(
            Opts::new("tidelog_requests_refused_total", "Requests that could not be understood, by reason."),
            &["reason"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(ApiMetrics {
            requests: catalog::SERVED.iter().map(|entry| requests.with_label_values(&[entry.name])).collect(),
            refused,
            produced_batches: counter("tidelog_produced_batches_total", "Batches appended.")?,
            produced_bytes: counter("tidelog_produced_bytes_total", "Bytes of the batches appended.")?,
            refused_batches: counter(
                "tidelog_refused_batches_total",
                "Batches that were answered with an error.",
            )?,
            fetched_bytes: counter("tidelog_fetched_bytes_total", "Bytes of records in fetch answers.")?,
        })
    }

    /// Counts a request of the API at `index` of the catalogue.
    pub fn observe_request(&self, index: usize) {
        if let Some(counter) = self.requests.get(index) {
            counter.inc();
        }
    }

    /// Counts a refusal.
    pub fn observe_refused(&self, reason: &'static str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Counts an appended batch.
    pub fn observe_append(&self, bytes: usize) {
        self.produced_batches.inc();
        self.produced_bytes.inc_by(bytes as u64);
    }

    /// Counts a batch that was not appended.
    pub fn observe_refused_batch(&self) {
        self.refused_batches.inc();
    }

    /// Counts records on their way out.
    pub fn observe_fetch(&self, bytes: usize) {
        self.fetched_bytes.inc_by(bytes as u64);
    }
}
