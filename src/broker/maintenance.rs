//! What runs from time to time: retention, checkpoints, time-driven flushes, and the verification of logs that nobody
//! has asked for since an unclean stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::api::services::Services;

/// How often partitions are looked at for time-driven flushes and idle files.
const TICK: Duration = Duration::from_millis(500);
/// A partition unused for so long gives its files back, milliseconds.
const IDLE_MS: i64 = 10_000;

/// Files of removed segments, and when they may go.
struct Doomed {
    at: Instant,
    files: Vec<PathBuf>,
}

/// Runs until `stopping` turns true.
pub async fn run(services: Arc<Services>, mut stopping: watch::Receiver<bool>) {
    if !services.partitions.was_clean() {
        let verifying = services.clone();
        let cancelled = stopping.clone();
        let task = tokio::task::spawn_blocking(move || verify_all(&verifying, &cancelled));
        if task.await.is_err() {
            warn!("the verification of unused logs failed");
        }
    }
    let config = services.config.clone();
    let mut image_version = services.image().version;
    let mut retention_at = Instant::now() + Duration::from_millis(config.log_retention_check_interval_ms);
    let checkpoint_every = Duration::from_millis(config.log_flush_offset_checkpoint_interval_ms);
    let mut checkpoint_at = Instant::now() + checkpoint_every;
    let mut doomed: Vec<Doomed> = Vec::new();
    while !*stopping.borrow() {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = stopping.changed() => break,
        }
        let now = Instant::now();
        let retain = now >= retention_at;
        if retain {
            retention_at = now + Duration::from_millis(config.log_retention_check_interval_ms);
        }
        let checkpoint = now >= checkpoint_at;
        if checkpoint {
            checkpoint_at = now + checkpoint_every;
        }
        let image = services.image();
        let reconfigure = image.version != image_version;
        image_version = image.version;
        let working = services.clone();
        let pass = tokio::task::spawn_blocking(move || pass(&working, retain, checkpoint, reconfigure));
        match pass.await {
            Ok(removed) => doomed.extend(removed),
            Err(error) => warn!(%error, "a maintenance pass failed"),
        }
        doomed.retain(|batch| {
            if now < batch.at {
                return true;
            }
            for file in &batch.files {
                if let Err(error) = std::fs::remove_file(file) {
                    warn!(file = %file.display(), %error, "cannot remove a file of a deleted segment");
                }
            }
            false
        });
    }
}

fn pass(services: &Services, retain: bool, checkpoint: bool, reconfigure: bool) -> Vec<Doomed> {
    let now_ms = services.now_ms();
    let mut doomed = Vec::new();
    if reconfigure {
        for topic in services.image().topics() {
            services.partitions.reconfigure(topic.id, topic.partitions, &services.topic_config(topic));
        }
    }
    for partition in services.partitions.all_open() {
        partition.tick(now_ms, services.config.producer_id_expiration_ms, IDLE_MS);
        if retain {
            let files = partition.apply_retention(now_ms);
            if !files.is_empty() {
                let delay = Duration::from_millis(partition.config().file_delete_delay_ms);
                doomed.push(Doomed { at: Instant::now() + delay, files });
            }
        }
    }
    if checkpoint && let Err(error) = services.data_dir.write_checkpoints(services) {
        warn!(%error, "the checkpoints could not be written: a restart verifies more than it needs to");
    }
    doomed
}

/// Opens, and so verifies, every log after an unclean stop.
fn verify_all(services: &Services, stopping: &watch::Receiver<bool>) {
    let image = services.image();
    let mut failed = 0usize;
    for topic in image.topics() {
        for index in 0..topic.partitions {
            if *stopping.borrow() {
                return;
            }
            if let Err(error) = services.open_partition(topic, index) {
                failed += 1;
                warn!(topic = %topic.name, index, %error, "a log cannot be opened; its partition is offline");
            }
        }
    }
    info!(partitions = image.partition_count(), failed, "all logs are verified");
}
