//! Wakes groups when their time has come: sessions that end, rebalances that have waited long enough.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::Coordinator;
use crate::groups::effects::Effects;
use crate::groups::group::{self, Context};
use crate::groups::group_offsets::ChangedOffsets;

/// The shortest rest between two looks, milliseconds: what comes due together is done together.
const REST_MS: u64 = 2;

/// When to look next.
#[derive(Default)]
pub(super) struct Alarms {
    /// In ticks; `u64::MAX` while there is nothing to do.
    at: AtomicU64,
    earlier: Notify,
}

impl Alarms {
    /// Notes during a look that the next is due at `ticks_ms`.
    fn again_by(&self, ticks_ms: Option<u64>) {
        self.at.fetch_min(ticks_ms.unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// Makes sure of a look at `ticks_ms`.
    pub(super) fn wake_by(&self, ticks_ms: Option<u64>) {
        if let Some(ticks_ms) = ticks_ms
            && self.at.fetch_min(ticks_ms, Ordering::AcqRel) > ticks_ms
        {
            self.earlier.notify_one();
        }
    }
}

impl Coordinator {
    /// Runs until `stopping` turns true.
    pub async fn run_alarms(self, mut stopping: watch::Receiver<bool>) {
        while !*stopping.borrow() {
            // Whatever is set from here on is either seen by the look below or ends the sleep after it.
            self.0.alarms.at.store(u64::MAX, Ordering::Release);
            self.look();
            let now = self.now().ticks_ms;
            let at = self.0.alarms.at.load(Ordering::Acquire);
            let rest = Duration::from_millis(at.saturating_sub(now).clamp(REST_MS, 3_600_000));
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.0.alarms.earlier.notified() => {}
                _ = stopping.changed() => break,
            }
        }
    }

    /// Lets every group whose time has come decide.
    fn look(&self) {
        for shard in &self.0.shards {
            let mut shard = shard.lock();
            // What was not loaded, or is to be loaded again, has no alarms of its own yet.
            if shard.term != self.0.journal.term() {
                continue;
            }
            let now = self.now();
            while let Some(id) = shard.take_due(now.ticks_ms) {
                let image = (self.0.image)();
                let limits = self.limits(&image, &id);
                let cx = Context { topics: &*image, limits: &limits, now };
                let mut effects = Effects::default();
                if let Some(entry) = shard.groups.get_mut(&id) {
                    group::tick(&mut entry.group, &cx, &mut effects);
                }
                if self.settle(&mut shard, &id, &mut effects, &ChangedOffsets::default()).is_err() {
                    break;
                }
            }
            self.0.alarms.again_by(shard.next_alarm());
        }
    }
}
