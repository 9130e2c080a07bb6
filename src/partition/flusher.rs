//! Group commit: one thread makes appends durable for all partitions.
//!
//! Appends put their partition into a dirty set. The thread takes the whole set, syncs it in one round, and moves the
//! high watermarks; what arrives meanwhile joins the next round, so no timer is needed. Up to two files are synced one
//! by one, more by one `syncfs`, which costs less from the third file on.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tracing::error;

use super::handle::Partition;
use super::metrics::FlushMetrics;
use crate::storage::segment::{FileHandle, SyncTicket};

/// Above this many files in one round, one `syncfs` replaces the single `fdatasync`s.
pub(super) const FILES_SYNCED_SINGLY: usize = 2;

/// The flusher's queue; partitions hold it to announce that they are dirty.
pub struct Flusher {
    state: Mutex<State>,
    wake: Condvar,
    /// Any descriptor on the data file system, for `syncfs`.
    data_dir: File,
    metrics: FlushMetrics,
}

#[derive(Default)]
struct State {
    dirty: Vec<Arc<Partition>>,
    stop: bool,
}

/// The running thread. [`FlusherThread::stop`] ends it after a last round.
pub struct FlusherThread {
    flusher: Arc<Flusher>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Opens the data directory and starts the thread.
    ///
    /// # Errors
    /// When the directory cannot be opened or no thread can be started.
    pub fn start(data_dir: &Path, metrics: FlushMetrics) -> io::Result<FlusherThread> {
        let flusher = Arc::new(Flusher {
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
            data_dir: File::open(data_dir)?,
            metrics,
        });
        let running = flusher.clone();
        let thread = std::thread::Builder::new().name("flusher".into()).spawn(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| running.run()));
            if outcome.is_err() {
                // Nothing could be acknowledged any more, and nobody would notice. A new process recovers.
                error!("the flusher panicked: the process ends");
                std::process::abort();
            }
        })?;
        Ok(FlusherThread { flusher, thread: Some(thread) })
    }

    /// Adds a partition to the dirty set. The caller makes sure that it is in the set at most once.
    pub(super) fn enqueue(&self, partition: Arc<Partition>) {
        let mut state = self.state.lock();
        state.dirty.push(partition);
        if state.dirty.len() == 1 {
            self.wake.notify_one();
        }
    }

    fn run(&self) {
        let mut round = Vec::new();
        loop {
            {
                let mut state = self.state.lock();
                while state.dirty.is_empty() && !state.stop {
                    self.wake.wait(&mut state);
                }
                if state.dirty.is_empty() {
                    return;
                }
                std::mem::swap(&mut round, &mut state.dirty);
            }
            self.flush(&mut round);
        }
    }

    fn flush(&self, round: &mut Vec<Arc<Partition>>) {
        let (began, partitions) = (Instant::now(), round.len());
        let begun: Vec<(Arc<Partition>, Begun)> = round
            .drain(..)
            .map(|partition| {
                let begun = partition.begin_flush();
                (partition, begun)
            })
            .collect();
        let files: usize = begun.iter().map(|(_, begun)| begun.files.len()).sum();
        let together = (files > FILES_SYNCED_SINGLY).then(|| sync_file_system(&self.data_dir));
        for (partition, begun) in begun {
            let result = sync(begun.files, together.as_ref());
            if let Err(error) = &result {
                self.metrics.observe_failure();
                error!(partition = %partition.id(), %error, "sync failed; its unacknowledged appends stay so");
            }
            partition.finish_flush(begun.end_offset, result);
        }
        self.metrics.observe_round(partitions, began.elapsed());
    }
}

/// Syncs everything on the file system of `data_dir`.
pub(super) fn sync_file_system(data_dir: &File) -> io::Result<()> {
    rustix::fs::syncfs(data_dir).map_err(io::Error::from)
}

/// Syncs files one by one, or takes over the result of a sync of the whole file system that was begun after their
/// tickets were drawn.
pub(super) fn sync(
    files: Vec<(Arc<FileHandle>, SyncTicket)>,
    together: Option<&io::Result<()>>,
) -> io::Result<()> {
    let result = match together {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
        None => files.iter().try_for_each(|(file, _)| file.sync().map_err(io::Error::other)),
    };
    for (file, ticket) in files {
        match &result {
            Ok(()) => file.sync_done(ticket),
            Err(_) => file.sync_failed(),
        }
    }
    result
}

impl FlusherThread {
    /// The queue for partitions.
    pub fn queue(&self) -> Arc<Flusher> {
        self.flusher.clone()
    }

    /// Flushes what is queued and ends the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.flusher.state.lock().stop = true;
        self.flusher.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the flusher thread had panicked");
        }
    }
}

impl Drop for FlusherThread {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

/// Notes what each file holds now: a sync that is begun later covers it.
pub(super) fn with_tickets(files: Vec<Arc<FileHandle>>) -> Vec<(Arc<FileHandle>, SyncTicket)> {
    files
        .into_iter()
        .map(|file| {
            let ticket = file.sync_begin();
            (file, ticket)
        })
        .collect()
}

/// A flush that was begun: what to sync, and what is durable afterwards.
pub(super) struct Begun {
    pub(super) files: Vec<(Arc<FileHandle>, SyncTicket)>,
    pub(super) end_offset: i64,
}

impl Partition {
    /// Takes the files to sync. Appends from here on belong to the next round.
    pub(super) fn begin_flush(&self) -> Begun {
        let mut inner = self.inner.lock();
        inner.queued = false;
        inner.unflushed_messages = 0;
        inner.dirty_since_ms = None;
        let dirty = inner.log.unflushed();
        Begun { files: with_tickets(dirty), end_offset: inner.log.end_offset() }
    }

    /// Publishes what became durable, or takes the partition offline for writes: after a failed sync the kernel may
    /// have dropped the dirty pages, so a second try that succeeds would prove nothing.
    pub(super) fn finish_flush(&self, end_offset: i64, result: io::Result<()>) {
        let mut inner = self.inner.lock();
        match result {
            Ok(()) if inner.failed.is_none() => {
                inner.log.mark_flushed(end_offset);
                drop(inner);
                self.advance_high_watermark(end_offset);
            }
            Ok(()) => {}
            Err(error) => self.fail(&mut inner, format!("sync failed: {error}")),
        }
    }
}
