//! An allocator that counts what one thread asks for, for promises about memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts per thread, so that tests running beside do not disturb each other.
pub struct Counting;

/// What a piece of work asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// The largest single allocation, bytes.
    pub largest: usize,
    /// Bytes allocated and not freed.
    pub live: isize,
    /// The most of these at a time.
    pub most_live: isize,
    /// Allocations, grown ones included.
    pub calls: usize,
    /// Bytes asked for in all of them.
    pub bytes: usize,
}

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { largest: 0, live: 0, most_live: 0, calls: 0, bytes: 0 }) };
}

fn count(size: usize, freed: usize) {
    // At thread exit the counts may be gone; nothing is measured then.
    let _ = COUNTS.try_with(|counts| {
        let mut now = counts.get();
        now.live += size as isize - freed as isize;
        now.most_live = now.most_live.max(now.live);
        now.largest = now.largest.max(size);
        now.calls += usize::from(size > 0);
        now.bytes += size;
        counts.set(now);
    });
}

// SAFETY: every call is passed on unchanged to the system allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the pointer came from `alloc` above, hence from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The result of `work`, and what it asked for on this thread.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, Counts) {
    COUNTS.with(|counts| counts.set(Counts::default()));
    let result = work();
    (result, COUNTS.with(Cell::get))
}
