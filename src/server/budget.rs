//! Bytes of frames held by all connections together.
//!
//! A frame counts by the bytes that arrived, never by the length it announced. When the budget is spent, connections
//! stop reading large frames; small ones always pass, so that clients that merely announce much cannot make the
//! broker deaf to others.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Frames up to this size, bytes, are read whatever the total: enough for metadata and small produce requests.
pub const ALWAYS_READ_BYTES: usize = 64 * 1024;

/// The shared counter.
#[derive(Debug)]
pub struct Budget {
    held: AtomicUsize,
    max: usize,
}

/// A connection's share of the counter; given back when dropped.
#[derive(Debug)]
pub struct Share<'a> {
    budget: &'a Budget,
    held: usize,
}

impl Budget {
    /// A budget of `max` bytes.
    pub fn new(max: usize) -> Budget {
        Budget { held: AtomicUsize::new(0), max }
    }

    /// An empty share.
    pub fn share(&self) -> Share<'_> {
        Share { budget: self, held: 0 }
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Share<'_> {
    /// Sets what this connection holds, bytes.
    pub fn set(&mut self, held: usize) {
        if held >= self.held {
            self.budget.held.fetch_add(held - self.held, Ordering::Relaxed);
        } else {
            self.budget.held.fetch_sub(self.held - held, Ordering::Relaxed);
        }
        self.held = held;
    }

    /// Whether the connection may read more.
    pub fn may_read(&self) -> bool {
        self.held <= ALWAYS_READ_BYTES || self.budget.held() < self.budget.max
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_stops_large_readers_only_and_comes_back() {
        let budget = Budget::new(1_000_000);
        let mut hoarder = budget.share();
        hoarder.set(1_000_000);
        assert!(!hoarder.may_read());
        let mut small = budget.share();
        small.set(1_000);
        assert!(small.may_read());
        drop(hoarder);
        assert_eq!(budget.held(), 1_000);
        small.set(ALWAYS_READ_BYTES + 1);
        assert!(small.may_read());
        drop(small);
        assert_eq!(budget.held(), 0);
    }
}
