//! The log cleaner: compacts the logs of topics with `cleanup.policy=compact`, in threads of its own
//! (Kafka's `LogCleaner` and `LogCleanerManager`).
//!
//! ```text
//! choose    what of a log can be compacted, and which log is next: pure
//! clean     one cleaning: what is superseded, rewrite, swap in      access    what it asks of a partition
//! progress  how far each log is compacted: a file of Kafka's        throttle  bytes per second
//! metrics   what is counted
//! ```
//!
//! A thread surveys all compacted logs, compacts those that are due, the dirtiest first, and rests for
//! `log.cleaner.backoff.ms` when none is. Appends and reads go on meanwhile: a partition's lock is held only to take note
//! of its segments and to swap new ones in. A log whose data is damaged is left alone until the next start.

mod access;
pub mod choose;
mod clean;
pub mod metrics;
pub mod progress;
#[cfg(test)]
mod tests;
pub mod throttle;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use self::choose::{Candidate, LogState};
use self::clean::{CleanError, Cleaning};
use self::metrics::CleanerMetrics;
use self::progress::Progress;
use self::throttle::Throttle;
use super::Partition;
use super::key_index::{CatchUp, CatchUpError, catch_up, check_position};
use crate::config::CleanerConfig;
use crate::storage::key_index::{KeyIndex, KeyIndexError};
use crate::storage::segment::StorageError;
use crate::storage::segment::compact::Figures;
use crate::telemetry::chain;

/// A log that could not be compacted is tried again after so long.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// So many records may wait to be indexed before the background does it; a look-up of a key does it at once.
const UNINDEXED_RECORDS: i64 = 100_000;

/// What the cleaner works on.
pub trait Logs: Send + Sync + 'static {
    /// The partitions of all compacted topics, open; what cannot be opened is left out.
    fn compacted(&self) -> Vec<Arc<Partition>>;

    /// The index of keys, opened if it is not.
    ///
    /// # Errors
    /// When it cannot be used: the cleaner then makes tables in memory.
    fn key_index(&self) -> Result<Arc<dyn KeyIndex>, KeyIndexError>;

    /// Wall clock, milliseconds since the epoch, as deletion may trust it.
    fn now_ms(&self) -> i64;

    /// Removes files of replaced segments after a delay.
    fn remove_later(&self, files: Vec<PathBuf>, after: Duration);
}

type Key = (Uuid, i32);

/// What the threads share.
#[derive(Default)]
struct State {
    /// Compacted by some thread just now.
    working: HashSet<Key>,
    /// Damaged: bytes that wait for compaction.
    uncleanable: HashMap<Key, u64>,
    /// Not tried again before.
    retry_at: HashMap<Key, Instant>,
    /// Rows of keys below were removed from the index.
    swept: HashMap<Key, i64>,
    /// The index of these was held against the log once since the start.
    checked: HashSet<Key>,
}

/// Compacts logs.
pub struct Cleaner {
    config: CleanerConfig,
    max_decompressed: usize,
    logs: Box<dyn Logs>,
    progress: Arc<Progress>,
    metrics: CleanerMetrics,
    throttle: Throttle,
    state: Mutex<State>,
}

/// The running threads.
pub struct CleanerThreads {
    cleaner: Arc<Cleaner>,
    threads: Vec<JoinHandle<()>>,
}

impl CleanerThreads {
    /// The cleaner that the threads work for.
    pub fn cleaner(&self) -> &Arc<Cleaner> {
        &self.cleaner
    }

    /// Ends what is under way between two batches, and the threads.
    pub fn stop(self) {
        self.cleaner.throttle.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a cleaner thread had panicked");
            }
        }
    }
}

impl Cleaner {
    /// A cleaner that does nothing yet. `max_decompressed` bounds a batch's records when decompressed, bytes.
    pub fn new(
        config: CleanerConfig,
        max_decompressed: usize,
        logs: Box<dyn Logs>,
        progress: Arc<Progress>,
        metrics: CleanerMetrics,
    ) -> Arc<Cleaner> {
        let throttle = Throttle::new(config.io_max_bytes_per_second);
        let state = Mutex::default();
        Arc::new(Cleaner { config, max_decompressed, logs, progress, metrics, throttle, state })
    }

    /// Starts `log.cleaner.threads` threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self: &Arc<Self>) -> std::io::Result<CleanerThreads> {
        let mut threads = Vec::new();
        for number in 0..self.config.threads {
            let cleaner = self.clone();
            let builder = std::thread::Builder::new().name(format!("cleaner-{number}"));
            threads.push(builder.spawn(move || cleaner.run())?);
        }
        Ok(CleanerThreads { cleaner: self.clone(), threads })
    }

    fn run(&self) {
        while !self.throttle.is_stopping() {
            // A panic costs this pass, not the cleaner.
            let pass = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.pass()));
            if pass.is_err() {
                error!("the cleaner panicked; it goes on with other logs");
                self.metrics.failures.inc();
            }
            if !self.throttle.sleep(Duration::from_millis(self.config.backoff_ms)) {
                return;
            }
        }
    }

    /// Compacts every log that is due, the dirtiest first, and brings indexes up to date.
    fn pass(&self) {
        let now_ms = self.logs.now_ms();
        let mut surveyed = self.survey(now_ms);
        while !self.throttle.is_stopping()
            && let Some(place) = choose::next(surveyed.iter().map(|(_, candidate)| *candidate))
        {
            let (partition, candidate) = surveyed.swap_remove(place);
            self.clean(&partition, &candidate, now_ms);
        }
        let mut indexed = false;
        for (partition, candidate) in surveyed {
            if self.throttle.is_stopping() {
                return;
            }
            indexed |= self.index_waiting(&partition, candidate.range.end);
        }
        if indexed
            && let Ok(index) = self.logs.key_index()
            && let Err(error) = index.flush()
        {
            warn!(%error, "the key index could not write what it holds in memory");
        }
    }

    /// The compacted logs as they are now, without those that are left alone.
    fn survey(&self, now_ms: i64) -> Vec<(Arc<Partition>, Candidate)> {
        let (mut dirtiest, mut overdue_ms) = (0.0f64, 0);
        let mut surveyed = Vec::new();
        let compacted = self.logs.compacted();
        self.forget_others(&compacted);
        for partition in compacted {
            if self.throttle.is_stopping() {
                break;
            }
            partition.close_quiet_segment(now_ms);
            match self.look_at(&partition, now_ms) {
                Ok(Some(candidate)) => {
                    let key = key(&partition);
                    if let Some(bytes) = self.state.lock().uncleanable.get_mut(&key) {
                        *bytes = candidate.range.cleanable_bytes;
                        continue;
                    }
                    dirtiest = dirtiest.max(candidate.dirty_ratio);
                    overdue_ms = overdue_ms.max(candidate.overdue_ms);
                    surveyed.push((partition, candidate));
                }
                Ok(None) => {}
                Err(error) => {
                    warn!(partition = %partition.id(), %error, "a log cannot be looked at for compaction")
                }
            }
        }
        self.metrics.dirty_ratio.set(dirtiest);
        self.metrics.overdue_seconds.set(overdue_ms as f64 / 1000.0);
        self.show_uncleanable(&self.state.lock());
        surveyed
    }

    fn look_at(&self, partition: &Arc<Partition>, now_ms: i64) -> Result<Option<Candidate>, StorageError> {
        let (id, config) = (partition.id(), partition.config());
        let limits = access::limits(&config);
        let checkpoint = self.progress.of(&id.topic, id.index);
        let Some((state, timestamps)) = partition.log_state(checkpoint, &limits)? else { return Ok(None) };
        let candidate = state.candidate(&limits, timestamps, now_ms);
        if candidate.range.checkpoint_is_invalid {
            self.reset(partition, &state, &candidate);
        }
        Ok(Some(candidate))
    }

    /// Writes down where compaction begins after the checkpoint turned out not to fit the log.
    fn reset(&self, partition: &Partition, state: &LogState, candidate: &Candidate) {
        let (id, first_dirty) = (partition.id(), candidate.range.first_dirty);
        // With compact,delete a log loses its beginning all the time.
        if !partition.config().cleanup_policy.delete {
            let (checkpoint, log_end) = (state.checkpoint, state.log_end_offset);
            warn!(partition = %id, ?checkpoint, first_dirty, log_end, "how far the log was compacted does not fit it");
        }
        self.progress.advance(&id.topic, id.index, first_dirty);
    }

    /// Compacts one log, if no other thread does and it is not to rest.
    fn clean(&self, partition: &Arc<Partition>, candidate: &Candidate, now_ms: i64) {
        let key = key(partition);
        {
            let mut state = self.state.lock();
            let resting = state.retry_at.get(&key).is_some_and(|at| Instant::now() < *at);
            if resting || !state.working.insert(key) {
                return;
            }
            state.retry_at.remove(&key);
        }
        // Given back even if the work panics.
        let _working = Working { cleaner: self, key };
        // Another thread may just have finished it.
        let Ok(Some(candidate)) = self.look_at(partition, now_ms).map(|now| now.filter(|now| now.due)) else {
            debug!(partition = %partition.id(), dirty_ratio = candidate.dirty_ratio, "no longer due");
            return;
        };
        let config = partition.config();
        let cleaning =
            Cleaning { cleaner: self, partition, config: config.clone(), range: candidate.range, now_ms };
        let index = if config.key_index { self.usable_index(partition) } else { None };
        let begun = Instant::now();
        let mut outcome = cleaning.run(index.as_deref());
        if let Err(error) = &outcome
            && error.is_of_index()
        {
            warn!(partition = %partition.id(), %error, "the key index cannot be used; a table in memory stands in for it");
            outcome = cleaning.run(None);
        }
        match outcome {
            Ok(figures) => {
                self.metrics.cleanings.inc();
                self.sweep(partition, index.as_deref());
                report(partition, &candidate, &figures, begun.elapsed());
            }
            Err(error) => self.failed(partition, &candidate, &error),
        }
    }

    fn failed(&self, partition: &Partition, candidate: &Candidate, error: &CleanError) {
        let id = partition.id();
        if error.is_passing() {
            debug!(partition = %id, %error, "compaction was interrupted");
            return;
        }
        self.metrics.failures.inc();
        let mut state = self.state.lock();
        if error.is_damage() {
            error!(partition = %id, error = chain(error), "the log is damaged: it is not compacted any more (tidelog log verify shows the place)");
            state.uncleanable.insert(key(partition), candidate.range.cleanable_bytes);
        } else {
            warn!(partition = %id, error = chain(error), "compaction failed; the log stays as it was, and is tried again");
            state.retry_at.insert(key(partition), Instant::now() + RETRY_AFTER);
        }
        self.show_uncleanable(&state);
    }

    fn show_uncleanable(&self, state: &State) {
        self.metrics.uncleanable_partitions.set(state.uncleanable.len() as i64);
        self.metrics.uncleanable_bytes.set(state.uncleanable.values().sum::<u64>() as i64);
    }

    /// Forgets what is noted of all partitions but these.
    fn forget_others(&self, compacted: &[Arc<Partition>]) {
        let there: HashSet<Key> = compacted.iter().map(|partition| key(partition)).collect();
        let mut state = self.state.lock();
        state.uncleanable.retain(|key, _| there.contains(key));
        state.retry_at.retain(|key, _| there.contains(key));
        state.swept.retain(|key, _| there.contains(key));
        state.checked.retain(|key| there.contains(key));
    }

    /// Removes keys from the index whose latest record is no longer in the log, once the log start has moved.
    fn sweep(&self, partition: &Partition, index: Option<&dyn KeyIndex>) {
        let (key, start) = (key(partition), partition.log_start_offset());
        let before = self.state.lock().swept.insert(key, start);
        if let Some(index) = index
            && start > 0
            && before != Some(start)
        {
            let mut go_on = || match self.throttle.is_stopping() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
            if let Err(error) = index.remove_below(partition.id().into(), start, &mut go_on) {
                warn!(partition = %partition.id(), %error, "the key index keeps rows of removed records");
            }
        }
    }

    fn usable_index(&self, partition: &Partition) -> Option<Arc<dyn KeyIndex>> {
        match self.logs.key_index() {
            Ok(index) => Some(index),
            Err(error) => {
                warn!(partition = %partition.id(), %error, "the key index cannot be used; a table in memory stands in for it");
                None
            }
        }
    }

    /// Indexes in the background what has piled up; true if something was indexed.
    fn index_waiting(&self, partition: &Arc<Partition>, cleanable_below: i64) -> bool {
        if !partition.config().key_index {
            return false;
        }
        let Ok(index) = self.logs.key_index() else { return false };
        match self.index_if_behind(partition, &*index, cleanable_below) {
            Ok(indexed) => indexed,
            Err(error @ CatchUpError::Damaged { .. }) => {
                error!(partition = %partition.id(), error = chain(&error), "the log is damaged: the index of its keys ends there");
                self.state.lock().uncleanable.insert(key(partition), 0);
                false
            }
            Err(error) => {
                warn!(partition = %partition.id(), error = chain(&error), "keys could not be indexed");
                false
            }
        }
    }

    fn index_if_behind(
        &self,
        partition: &Arc<Partition>,
        index: &dyn KeyIndex,
        cleanable_below: i64,
    ) -> Result<bool, CatchUpError> {
        // What does not fit the log is found right after the start: later the log might have grown over it.
        let is_first = self.state.lock().checked.insert(key(partition));
        let position = match is_first {
            true => check_position(partition, index)?.0,
            false => index.position(partition.id().into())?,
        };
        let indexable = partition.indexable();
        let indexed = position.map_or(indexable.start, |position| position.upto.max(indexable.start));
        if indexable.end - indexed < UNINDEXED_RECORDS {
            return Ok(false);
        }
        self.index_partition(partition, index, cleanable_below)
    }

    /// Brings the index of a partition, which may be compacted below an offset, up to date; false if it was told to stop.
    fn index_partition(
        &self,
        partition: &Partition,
        index: &dyn KeyIndex,
        cleanable_below: i64,
    ) -> Result<bool, CatchUpError> {
        let mut go_on = |bytes: usize| self.indexed(bytes);
        let settings = CatchUp { together_below: cleanable_below, ..self.catch_up_settings() };
        let done = catch_up(partition, index, &settings, &mut go_on)?;
        Ok(done.complete)
    }

    /// Whether the broker stops.
    pub fn is_stopping(&self) -> bool {
        self.throttle.is_stopping()
    }

    /// How a partition is read for its keys.
    pub fn catch_up_settings(&self) -> CatchUp {
        CatchUp {
            run_bytes: self.table_bytes(),
            load_factor: self.config.load_factor,
            read_bytes: (self.config.io_buffer_bytes / self.config.threads.max(1)).max(64 << 10),
            decompressed_max: self.max_decompressed,
            together_below: i64::MIN,
        }
    }

    /// Bytes of a thread's table of keys.
    fn table_bytes(&self) -> usize {
        self.config.dedupe_buffer_bytes / self.config.threads.max(1)
    }

    /// Whether a segment of so many bytes may be written: the old ones stay beside it for a while, and half of what the disk
    /// keeps in reserve must be left for everything else.
    fn check_room(&self, partition: &Partition, bytes: u64) -> Result<(), CleanError> {
        if partition.disk.leaves_reserve(bytes, 2) { Ok(()) } else { Err(CleanError::NoRoom { bytes }) }
    }

    fn count(&self, figures: &Figures) {
        self.metrics.read_records.inc_by(figures.records_read);
        self.metrics.kept_records.inc_by(figures.records_kept);
    }

    fn indexed(&self, bytes: usize) -> ControlFlow<()> {
        self.metrics.indexed_bytes.inc_by(bytes as u64);
        if self.throttle.admit(bytes as u64) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// A log in work; dropping this lets others at it.
struct Working<'a> {
    cleaner: &'a Cleaner,
    key: Key,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.cleaner.state.lock().working.remove(&self.key);
    }
}

fn key(partition: &Partition) -> Key {
    (partition.id().topic_id, partition.id().index)
}

fn report(partition: &Partition, candidate: &Candidate, figures: &Figures, took: Duration) {
    info!(
        partition = %partition.id(),
        from = candidate.range.first_dirty,
        to = candidate.range.end,
        records = figures.records_read,
        kept = figures.records_kept,
        bytes = figures.bytes_read,
        kept_bytes = figures.bytes_kept,
        ms = took.as_millis() as u64,
        "log compacted"
    );
}
