//! An allocator that refuses large requests: a length that a few hostile bytes announce must not become memory.
//!
//! libFuzzer's own `-malloc_limit_mb` needs a sanitizer's allocator, which stable Rust does not link.

use std::alloc::{GlobalAlloc, Layout, System};

/// Above the largest buffer that the code under test may ask for: twice its budget of 1 MiB for unfolded records, and
/// 64 bytes for each byte of a frame.
const LARGEST: usize = 4 << 20;

/// A panic is reported with a backtrace, which reads the program's own debug information.
fn refused(size: usize) -> bool {
    size > LARGEST && !std::thread::panicking()
}

struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

// SAFETY: calls within the limit are passed on unchanged to the system allocator; null says that there is no memory,
// which ends the process unless the caller asked for the allocation as something that may fail.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, hence from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if refused(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
