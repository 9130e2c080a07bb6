//! The seam between async tasks and a store that blocks.
//!
//! A call runs on a blocking thread, so a slow disk never holds an async worker. A call, once started,
//! runs to its end even if the task that asked for it is dropped: a half-made change does not exist.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::storage::state_store::StateStore;

/// Why a blocking call gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call was interrupted because the process is stopping")]
pub struct Interrupted;

/// Runs blocking work off the async workers, a bounded number at a time.
#[derive(Clone)]
pub struct Blocking {
    store: Arc<dyn StateStore>,
    permits: Arc<Semaphore>,
}

impl std::fmt::Debug for Blocking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocking").field("permits", &self.permits.available_permits()).finish_non_exhaustive()
    }
}

impl Blocking {
    /// At most this many calls run at once by default. Writers share one log and one sync, so more threads
    /// would only wait for each other, each with its own stack.
    pub const DEFAULT_CALLS_MAX: usize = 4;

    /// A seam in front of `store` with at most `calls_max` calls in progress (at least one).
    pub fn new(store: Arc<dyn StateStore>, calls_max: usize) -> Self {
        let calls_max = calls_max.clamp(1, Semaphore::MAX_PERMITS);
        Self { store, permits: Arc::new(Semaphore::new(calls_max)) }
    }

    /// The store behind the seam, for callers that are on a blocking thread already.
    pub fn store(&self) -> &Arc<dyn StateStore> {
        &self.store
    }

    /// Runs `call` on a blocking thread and waits for its answer.
    ///
    /// A panic inside `call` continues in the caller. [`Interrupted`] means that the runtime was shutting
    /// down and the call was never started.
    pub async fn call<T, F>(&self, call: F) -> Result<T, Interrupted>
    where
        T: Send + 'static,
        F: FnOnce(&dyn StateStore) -> T + Send + 'static,
    {
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_owned().await.map_err(|_| Interrupted)?;
        let store = Arc::clone(&self.store);
        run(move || {
            // Held by the work and not by the waiter, so that a dropped waiter cannot raise the bound.
            let _permit = permit;
            call(&*store)
        })
        .await
    }
}

/// Runs any blocking work on a blocking thread. See [`Blocking::call`] for panics and errors.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Interrupted> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => Ok(answer),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Interrupted),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::keyspace::KeySpace;
    use crate::storage::memory_state::MemoryState;
    use crate::storage::state_store::{Durability, WriteBatch};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn never_more_calls_than_permitted() {
        let blocking = Blocking::new(Arc::new(MemoryState::new()), 2);
        let running = Arc::new(AtomicUsize::new(0));
        let highest = Arc::new(AtomicUsize::new(0));
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let (blocking, running, highest) =
                    (blocking.clone(), Arc::clone(&running), Arc::clone(&highest));
                tokio::spawn(async move {
                    blocking
                        .call(move |_| {
                            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                            highest.fetch_max(now, Ordering::SeqCst);
                            std::thread::sleep(Duration::from_millis(2));
                            running.fetch_sub(1, Ordering::SeqCst);
                        })
                        .await
                })
            })
            .collect();
        for call in calls {
            call.await.expect("task").expect("call");
        }
        assert_eq!(highest.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_call_finishes_although_its_caller_left() {
        let store = Arc::new(MemoryState::new());
        let blocking = Blocking::new(store.clone(), 1);
        let (started, has_started) = tokio::sync::oneshot::channel();
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let caller = tokio::spawn({
            let blocking = blocking.clone();
            async move {
                blocking
                    .call(move |store| {
                        started.send(()).expect("the test waits");
                        gate.recv().expect("the test opens the gate");
                        let mut batch = WriteBatch::new();
                        batch.put(KeySpace::Cluster, *b"k", *b"v");
                        store.write(batch, Durability::Synced)
                    })
                    .await
            }
        });
        has_started.await.expect("started");
        caller.abort();
        assert!(caller.await.expect_err("aborted").is_cancelled());
        go.send(()).expect("the call still runs");
        // The only permit comes back when the first call is over.
        let found = blocking.call(|store| store.get(KeySpace::Cluster, b"k")).await;
        assert_eq!(found, Ok(Ok(Some(b"v".to_vec()))));
    }
}
