//! What the coordinator counts.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use crate::groups::effects::Notice;
use crate::groups::error::GroupError;

/// Upper bounds of the buckets of a rebalance, seconds.
const REBALANCE_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Figures about groups.
#[derive(Clone)]
pub struct GroupMetrics {
    committed: IntCounter,
    refused_commits: IntCounter,
    rebalances: Histogram,
    events: IntCounterVec,
}

impl GroupMetrics {
    /// Registers the figures.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<GroupMetrics> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let events = IntCounterVec::new(
            Opts::new("tidelog_group_events_total", "What happened in groups, by event."),
            &["event"],
        )?;
        registry.register(Box::new(events.clone()))?;
        Ok(GroupMetrics {
            committed: counter("tidelog_offsets_committed_total", "Offsets committed.")?,
            refused_commits: counter("tidelog_offsets_refused_total", "Offsets whose commit was refused.")?,
            rebalances: histogram(
                "tidelog_group_rebalance_seconds",
                "Duration of rebalances that ended.",
                REBALANCE_SECONDS,
            )?,
            events,
        })
    }

    pub(super) fn observe_commits(&self, results: &[Result<(), GroupError>]) {
        let taken = results.iter().filter(|result| result.is_ok()).count();
        self.committed.inc_by(taken as u64);
        self.refused_commits.inc_by((results.len() - taken) as u64);
    }

    pub(super) fn observe_notice(&self, notice: &Notice) {
        let event = match notice {
            Notice::RebalanceBegan(_) => "rebalance_began",
            Notice::RebalanceEnded { millis, .. } => {
                self.rebalances.observe(*millis as f64 / 1000.0);
                "rebalance_ended"
            }
            Notice::MemberJoined(_) => "member_joined",
            Notice::MemberLeft(_) => "member_left",
            Notice::MemberFenced { .. } => "member_fenced",
            Notice::Converted { .. } => "converted",
        };
        self.events.with_label_values(&[event]).inc();
    }
}
