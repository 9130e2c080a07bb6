//! What runs from time to time: retention, checkpoints, time-driven flushes, and the verification of logs that nobody
//! has asked for since an unclean stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
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
pub async fn run(
    services: Arc<Services>,
    state: Arc<dyn StateStore>,
    mut stopping: watch::Receiver<bool>,
) {
    if !services.partitions.was_clean() {
        let verifying = services.clone();
        let cancelled = stopping.clone();
        let task = tokio::task::spawn_blocking(move || verify_all(&verifying, &cancelled));
        if task.await.is_err() {
            warn!("the verification of unused logs failed");
        }
    }
    let config = services.config.clone();
    let now = Instant::now();
    let mut retention = Every::new(now, Duration::from_millis(config.log_retention_check_interval_ms));
    let mut checkpoint =
        Every::new(now, Duration::from_millis(config.log_flush_offset_checkpoint_interval_ms));
    let mut expiry = Every::new(now, EXPIRE_EVERY);
    let check = config.groups.offsets_retention_check_interval_ms;
    let mut offsets = Every::new(now, Duration::from_millis(check));
    let mut groups = Every::new(now, LOAD_GROUPS_EVERY);
    let mut image_version = services.image().version;
    while !*stopping.borrow() {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = stopping.changed() => break,
        }
        let now = Instant::now();
        let version = services.image().version;
        let due = Due {
            retention: retention.is_due(now),
            checkpoint: checkpoint.is_due(now),
            expiry: expiry.is_due(now),
            offsets: offsets.is_due(now),
            groups: groups.is_due(now),
            reconfigure: version != image_version,
        };
        image_version = version;
        let (working, state) = (services.clone(), state.clone());
        if let Err(error) = tokio::task::spawn_blocking(move || pass(&working, &*state, due)).await {
            warn!(%error, "a maintenance pass failed");
        }
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

/// What a pass has to do beside looking at every open partition.
#[derive(Clone, Copy)]
struct Due {
    retention: bool,
    checkpoint: bool,
    expiry: bool,
    offsets: bool,
    groups: bool,
    reconfigure: bool,
}

fn pass(services: &Services, state: &dyn StateStore, due: Due) {
    let now_ms = services.now_ms();
    let gone = services.partitions.empty_trash();
    if let Err(error) = deleted_topic::forget(state, &gone) {
        warn!(%error, "deleted topics stay noted until the next start");
    }
    let now = std::time::Instant::now();
    services.partitions.doomed().remove_due(now);
    if due.reconfigure {
        for topic in services.image().topics() {
            services.partitions.reconfigure(topic.id, topic.partitions, &services.topic_config(topic));
        }
    }
    if due.groups {
        services.groups.load_all();
    }
    if due.reconfigure {
        services.groups.forget_deleted_topics();
    }
    if due.offsets {
        services.groups.expire();
    }
    let open = services.partitions.all_open();
    let mut appended_bytes = 0;
    for partition in &open {
        partition.tick(now_ms, IDLE_MS);
        appended_bytes += partition.bytes_since_checkpoint();
        if due.expiry {
            partition.expire_producers(now_ms, services.config.producer_id_expiration_ms);
        }
        if due.retention {
            let files = partition.apply_retention(now_ms);
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
