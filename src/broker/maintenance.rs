//! What runs from time to time: retention, checkpoints, time-driven flushes, and the verification of logs that nobody
//! has asked for since an unclean stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::api::services::Services;
use crate::metadata::store::deleted_topic;
use crate::storage::StateStore;

/// How often partitions are looked at for time-driven flushes and idle files.
const TICK: Duration = Duration::from_millis(500);
/// A partition unused for so long gives its files back, milliseconds.
const IDLE_MS: i64 = 10_000;
/// How often idle producers are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How often groups that were given up after a failed write are read again, if nobody asks for them earlier.
const LOAD_GROUPS_EVERY: Duration = Duration::from_secs(10);
/// Checkpoints are also written when so many bytes were appended since: it bounds what the next start has to verify.
const CHECKPOINT_EVERY_BYTES: u64 = 64 << 20;

/// Runs until `stopping` turns true.
pub async fn run(services: Arc<Services>, state: Arc<dyn StateStore>, stopping: watch::Receiver<bool>) {
    let verifying = (!services.partitions.was_clean()).then(|| {
        let (services, cancelled) = (services.clone(), stopping.clone());
        tokio::task::spawn_blocking(move || verify_all(&services, &cancelled))
    });
    let intervals = Intervals {
        retention: Duration::from_millis(services.config.log_retention_check_interval_ms),
        checkpoint: Duration::from_millis(services.config.log_flush_offset_checkpoint_interval_ms),
        offsets: Duration::from_millis(services.config.groups.offsets_retention_check_interval_ms),
    };
    let mut image_version = services.image().version;
    drive(verifying, intervals, stopping, move |due| {
        let version = services.image().version;
        let reconfigure = version != image_version;
        image_version = version;
        let (services, state) = (services.clone(), state.clone());
        tokio::task::spawn_blocking(move || {
            if reconfigure {
                reconfigure_all(&services);
            }
            match due {
                Some(due) => pass(&services, &*state, due),
                None => tick_all(&services),
            }
        })
    })
    .await;
}

/// Calls `pass` each [`TICK`], one after the other, until `stopping` turns true: with `None` until `verifying` has ended, for
/// the little that acknowledged records cannot wait for. What removes or trusts anything that is not verified yet begins
/// after it.
async fn drive(
    mut verifying: Option<JoinHandle<()>>,
    intervals: Intervals,
    mut stopping: watch::Receiver<bool>,
    mut pass: impl FnMut(Option<Due>) -> JoinHandle<()>,
) {
    let mut schedule = None;
    while !*stopping.borrow() {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = stopping.changed() => break,
        }
        if let Some(task) = verifying.take_if(|task| task.is_finished()) {
            ended(task).await;
        }
        let now = Instant::now();
        let due = match &verifying {
            Some(_) => None,
            None => Some(schedule.get_or_insert_with(|| Schedule::new(now, intervals)).due(now)),
        };
        if let Err(error) = pass(due).await {
            warn!(%error, "a maintenance pass failed");
        }
    }
    if let Some(task) = verifying {
        ended(task).await;
    }
}

async fn ended(verifying: JoinHandle<()>) {
    if verifying.await.is_err() {
        warn!("the verification of unused logs failed");
    }
}

/// Reads all groups, so that sessions are counted and lag is shown before anybody asks; what is asked for earlier is read
/// then. Offsets of a topic that was deleted just before the last stop are forgotten.
pub async fn load_groups(services: Arc<Services>) {
    let loading = tokio::task::spawn_blocking(move || {
        services.groups.load_all();
        services.groups.forget_deleted_topics();
    });
    if loading.await.is_err() {
        warn!("groups could not all be read beforehand; each is read when it is asked for");
    }
}

/// Something that is done from time to time.
struct Every {
    at: Instant,
    interval: Duration,
}

impl Every {
    fn new(now: Instant, interval: Duration) -> Every {
        Every { at: now + interval, interval }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.at;
        if due {
            self.at = now + self.interval;
        }
        due
    }
}

/// How often what is configured is done.
#[derive(Clone, Copy)]
struct Intervals {
    retention: Duration,
    checkpoint: Duration,
    offsets: Duration,
}

/// When what is done from time to time is done next.
struct Schedule {
    retention: Every,
    checkpoint: Every,
    expiry: Every,
    offsets: Every,
    groups: Every,
}

impl Schedule {
    fn new(now: Instant, intervals: Intervals) -> Schedule {
        Schedule {
            retention: Every::new(now, intervals.retention),
            checkpoint: Every::new(now, intervals.checkpoint),
            expiry: Every::new(now, EXPIRE_EVERY),
            offsets: Every::new(now, intervals.offsets),
            groups: Every::new(now, LOAD_GROUPS_EVERY),
        }
    }

    fn due(&mut self, now: Instant) -> Due {
        Due {
            retention: self.retention.is_due(now),
            checkpoint: self.checkpoint.is_due(now),
            expiry: self.expiry.is_due(now),
            offsets: self.offsets.is_due(now),
            groups: self.groups.is_due(now),
        }
    }
}

/// What a pass has to do beside looking at every open partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    retention: bool,
    checkpoint: bool,
    expiry: bool,
    offsets: bool,
    groups: bool,
}

fn reconfigure_all(services: &Services) {
    for topic in services.image().topics() {
        services.partitions.reconfigure(topic.id, topic.partitions, &services.topic_config(topic));
    }
    services.groups.forget_deleted_topics();
}

/// Flushes that are due by time, and files that nobody uses.
fn tick_all(services: &Services) {
    let now_ms = services.now_ms();
    for partition in services.partitions.all_open() {
        partition.tick(now_ms, IDLE_MS);
    }
}

fn pass(services: &Services, state: &dyn StateStore, due: Due) {
    tick_all(services);
    let gone = services.partitions.empty_trash();
    if let Err(error) = deleted_topic::forget(state, &gone) {
        warn!(%error, "deleted topics stay noted until the next start");
    }
    let now = std::time::Instant::now();
    services.partitions.doomed().remove_due(now);
    if due.groups {
        services.groups.load_all();
    }
    if due.offsets {
        services.groups.expire();
    }
    // A clock that jumped ahead must not make fresh data old.
    let retention_ms = due.retention.then(|| services.retention_clock.now_ms());
    let now_ms = services.now_ms();
    let open = services.partitions.all_open();
    let mut appended_bytes = 0;
    for partition in &open {
        appended_bytes += partition.bytes_since_checkpoint();
        if due.expiry {
            partition.expire_producers(now_ms, services.config.producer_id_expiration_ms);
        }
        if let Some(retention_ms) = retention_ms {
            let files = partition.apply_retention(retention_ms);
            let delay = Duration::from_millis(partition.config().file_delete_delay_ms);
            services.partitions.doomed().add(files, now, delay);
        }
    }
    if due.checkpoint || appended_bytes >= CHECKPOINT_EVERY_BYTES {
        open.iter().for_each(|partition| partition.advance_recovery_point());
        if let Err(error) = services.write_checkpoints() {
            warn!(%error, "the checkpoints could not be written: a restart verifies more than it needs to");
        }
    }
}

/// Opens, and so verifies, every log after an unclean stop, on `num.recovery.threads.per.data.dir` threads.
fn verify_all(services: &Services, stopping: &watch::Receiver<bool>) {
    let image = services.image();
    let all: Vec<_> =
        image.topics().flat_map(|topic| (0..topic.partitions).map(move |index| (topic, index))).collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while !*stopping.borrow()
            && let Some((topic, index)) = all.get(next.fetch_add(1, Ordering::Relaxed))
        {
            failed.fetch_add(usize::from(services.open_partition(topic, *index).is_err()), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..services.config.num_recovery_threads_per_data_dir.min(all.len()) {
            scope.spawn(work);
        }
        work();
    });
    if !*stopping.borrow() {
        info!(partitions = all.len(), failed = failed.into_inner(), "all logs are verified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    const NOTHING: Due =
        Due { retention: false, checkpoint: false, expiry: false, offsets: false, groups: false };

    #[tokio::test(start_paused = true)]
    async fn partitions_are_looked_at_during_verification_and_all_else_waits_for_it() {
        let (verified, verifying) = tokio::sync::oneshot::channel::<()>();
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(async { verifying.await.expect("the end of it") });
        let second = Duration::from_secs(1);
        let intervals = Intervals { retention: second, checkpoint: 2 * second, offsets: 3600 * second };
        let passes = Arc::new(Mutex::new(Vec::new()));
        let seen = passes.clone();
        let driven = tokio::spawn(drive(Some(task), intervals, stopping, move |due| {
            seen.lock().push(due);
            tokio::spawn(async {})
        }));
        tokio::time::sleep(10 * second + TICK / 2).await;
        assert_eq!(std::mem::take(&mut *passes.lock()), [None; 20], "looked at each half second");

        verified.send(()).expect("it runs");
        tokio::time::sleep(5 * TICK).await;
        let retention = Due { retention: true, ..NOTHING };
        let both = Due { checkpoint: true, ..retention };
        // From its end on, and not at once because of the time it took.
        let expected = [NOTHING, NOTHING, retention, NOTHING, both].map(Some);
        assert_eq!(std::mem::take(&mut *passes.lock()), expected);
        stop.send(true).expect("it runs");
        driven.await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_the_end_of_the_verification() {
        let (stop, stopping) = watch::channel(false);
        let mut cancelled = stopping.clone();
        let over = Arc::new(AtomicUsize::new(0));
        let counted = over.clone();
        let task = tokio::spawn(async move {
            cancelled.wait_for(|stopping| *stopping).await.expect("a stop");
            tokio::time::sleep(Duration::from_secs(5)).await;
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let hour = Duration::from_secs(3600);
        let intervals = Intervals { retention: hour, checkpoint: hour, offsets: hour };
        let driven = tokio::spawn(drive(Some(task), intervals, stopping, |_| tokio::spawn(async {})));
        tokio::time::sleep(TICK / 2).await;
        stop.send(true).expect("it runs");
        driven.await.expect("it ends");
        assert_eq!(over.load(Ordering::Relaxed), 1);
    }
}
