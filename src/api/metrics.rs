//! Requests by API: how many, how many failed to be understood.

use prometheus::{IntCounterVec, Opts, Registry};

use crate::protocol::catalog;

/// Counters per API.
#[derive(Clone)]
pub struct ApiMetrics {
    requests: IntCounterVec,
    refused: IntCounterVec,
}

impl ApiMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<ApiMetrics> {
        let requests = IntCounterVec::new(Opts::new("tidelog_requests_total", "Requests begun, by API."), &["api"])?;
        let refused = IntCounterVec::new(
            Opts::new("tidelog_requests_refused_total", "Requests that could not be understood, by reason."),
            &["reason"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        for entry in catalog::SERVED {
            requests.with_label_values(&[entry.name]);
        }
        Ok(ApiMetrics { requests, refused })
    }

    /// Counts a request.
    pub fn observe_request(&self, api: &'static str) {
        self.requests.with_label_values(&[api]).inc();
    }

    /// Counts a refusal.
    pub fn observe_refused(&self, reason: &'static str) {
        self.refused.with_label_values(&[reason]).inc();
    }
}
