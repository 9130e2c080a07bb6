//! The coordinator: decides for every group, makes what was decided durable, and answers.
//!
//! ```text
//!   request ─ shard's lock ─ decision (pure) ─ rows into the journal ─ lock released ─ durable ─ answer
//! ```
//!
//! Groups are spread over 50 shards, as Kafka spreads them over the partitions of `__consumer_offsets`. A shard is read
//! from the state store when it is first asked for, and again after a failed write. An answer is given when everything
//! that was decided in its shard before it is durable, so no client ever sees state that a power cut takes back.

mod admin;
mod alarms;
pub mod held;
mod load;
mod membership;
pub mod metrics;
mod offsets;
mod shard;
mod sizes;
mod transactional;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};
use tracing::{debug, info, warn};

use super::effects::{Effects, Notice, Now, Ticket};
use super::error::GroupError;
use super::group::{Context, Group};
use super::group_offsets::{ChangedOffsets, GroupOffsets};
use super::limits::ConsumerLimits;
use super::store;
use crate::metadata::{MetadataImage, Overrides};
use crate::storage::StateStore;
use crate::storage::journal::{Journal, Receipt};

pub use admin::Listed;
pub use held::{Answering, Held};
pub use offsets::{Commit, Committed, FetchOf, Fetched, LogEnds};

use alarms::Alarms;
use metrics::GroupMetrics;
use shard::Shard;
use sizes::Sizes;

/// What a coordinator is made with.
pub struct Settings {
    /// Limits of groups without settings of their own.
    pub limits: ConsumerLimits,
    /// A group's limits, given the broker's and its own settings.
    pub resolve: fn(&ConsumerLimits, &Overrides) -> ConsumerLimits,
    /// `offset.metadata.max.bytes`.
    pub metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// The stop before this start was orderly: no log can have lost what was committed.
    pub was_clean: bool,
}

/// A cheap handle; clones share one coordinator.
#[derive(Clone)]
pub struct Coordinator(Arc<Shared>);

struct Shared {
    shards: Vec<Mutex<Shard>>,
    journal: Journal,
    store: Arc<dyn StateStore>,
    image: Box<dyn Fn() -> Arc<MetadataImage> + Send + Sync>,
    settings: Settings,
    began: Instant,
    /// The same moment in milliseconds since the epoch.
    began_ms: i64,
    tickets: AtomicU64,
    alarms: Alarms,
    metrics: GroupMetrics,
    sizes: Sizes,
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator").field("journal", &self.0.journal).finish_non_exhaustive()
    }
}

impl Coordinator {
    /// A coordinator over `store`, whose changes go through `journal`. Nothing is read before it is asked for.
    pub fn new(
        store: Arc<dyn StateStore>,
        journal: Journal,
        image: impl Fn() -> Arc<MetadataImage> + Send + Sync + 'static,
        settings: Settings,
        metrics: GroupMetrics,
    ) -> Coordinator {
        let shared = Shared {
            shards: (0..store::SHARDS).map(|_| Mutex::default()).collect(),
            journal,
            store,
            image: Box::new(image),
            settings,
            began: Instant::now(),
            began_ms: wall_ms(),
            tickets: AtomicU64::new(0),
            alarms: Alarms::default(),
            metrics,
            sizes: Sizes::default(),
        };
        Coordinator(Arc::new(shared))
    }

    /// Tells everybody who waits to look for the coordinator again. The broker is stopping.
    pub fn release_waiting(&self) {
        for shard in &self.0.shards {
            shard.lock().waiting.clear();
        }
    }

    fn now(&self) -> Now {
        let ticks_ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { ticks_ms, wall_ms: wall_ms() }
    }

    fn new_ticket(&self) -> Ticket {
        Ticket(self.0.tickets.fetch_add(1, Ordering::Relaxed))
    }

    fn limits(&self, image: &MetadataImage, group: &str) -> Cow<'_, ConsumerLimits> {
        let settings = &self.0.settings;
        match image.group_overrides(group) {
            Some(overrides) => Cow::Owned((settings.resolve)(&settings.limits, overrides)),
            None => Cow::Borrowed(&settings.limits),
        }
    }

    /// The shard of a group, loaded.
    fn shard(&self, group: &str) -> Result<MutexGuard<'_, Shard>, GroupError> {
        if group.len() > store::GROUP_ID_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        self.loaded(store::shard_of(group))
    }

    /// Runs one decision about one group: the group comes as it is, or as `None`, and is kept as the decision leaves it.
    /// The answer may be given when the receipt, if there is one, is durable.
    fn decide<T>(
        &self,
        id: &str,
        decision: impl FnOnce(&mut Shard, &Arc<str>, &Context<'_>, &mut Effects) -> (T, ChangedOffsets),
    ) -> Result<(T, Option<Receipt>), GroupError> {
        let image = (self.0.image)();
        let limits = self.limits(&image, id);
        let mut shard = self.shard(id)?;
        let cx = Context { topics: &*image, limits: &limits, now: self.now() };
        let id = match shard.groups.get_key_value(id) {
            Some((id, _)) => id.clone(),
            None => Arc::from(id),
        };
        let mut effects = Effects::default();
        let (answer, changed) = decision(&mut shard, &id, &cx, &mut effects);
        let receipt = self.settle(&mut shard, &id, &mut effects, &changed)?;
        Ok((answer, receipt))
    }

    fn settle(
        &self,
        shard: &mut Shard,
        id: &Arc<str>,
        effects: &mut Effects,
        changed: &ChangedOffsets,
    ) -> Result<Option<Receipt>, GroupError> {
        for notice in effects.notices.drain(..) {
            self.0.metrics.observe_notice(&notice);
            tell(id, &notice);
        }
        if let Some(entry) = shard.groups.get(id) {
            self.measure(id, &entry.offsets, changed.pending.iter().map(|(producer_id, _)| *producer_id));
        }
        let receipt = shard.settle(id, effects, changed, &self.0.journal).map_err(|refused| {
            warn!(group = id.escape_debug().to_string(), %refused, "a change of the group was not taken");
            GroupError::NotCoordinator
        })?;
        self.0.alarms.wake_by(shard.next_alarm());
        Ok(receipt)
    }

    /// Notes how large what these producers have pending in a group is now.
    fn measure(&self, id: &Arc<str>, offsets: &GroupOffsets, producers: impl Iterator<Item = i64>) {
        for producer_id in producers {
            let (count, metadata) = offsets.pending().size(producer_id);
            self.0.sizes.set(producer_id, id, store::pending_offset::ending_bytes(id, count, metadata));
        }
    }

    /// As [`Coordinator::decide`], for a decision that changes no offsets and takes the group alone.
    fn decide_group<T>(
        &self,
        id: &str,
        decision: impl FnOnce(&mut Option<Group>, &Arc<str>, &Context<'_>, &mut Effects) -> T,
    ) -> Result<(T, Option<Receipt>), GroupError> {
        self.decide(id, |shard, id, cx, effects| {
            let entry = match shard.groups.get_mut(id) {
                Some(entry) => entry,
                None => shard.groups.entry(id.clone()).or_default(),
            };
            (decision(&mut entry.group, id, cx, effects), ChangedOffsets::default())
        })
    }
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Logs what happened in a group.
fn tell(group: &Arc<str>, notice: &Notice) {
    let group = group.escape_debug().to_string();
    match notice {
        Notice::RebalanceBegan(reason) => {
            info!(group, reason = reason.escape_debug().to_string(), "a rebalance began");
        }
        Notice::RebalanceEnded { millis, generation } => {
            info!(group, millis, generation, "a rebalance ended")
        }
        Notice::MemberJoined(member) => {
            debug!(group, member = member.escape_debug().to_string(), "a member joined");
        }
        Notice::MemberLeft(member) => {
            debug!(group, member = member.escape_debug().to_string(), "a member left")
        }
        Notice::MemberFenced { member, reason } => {
            info!(
                group,
                member = member.escape_debug().to_string(),
                reason,
                "a member is no longer in the group"
            );
        }
        Notice::Converted { to } => info!(group, to, "the group changed its protocol"),
    }
}

#[cfg(test)]
mod tests;
