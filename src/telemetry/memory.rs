//! The C allocator, which RocksDB and we share.

/// Keeps glibc from growing one heap per thread, which is where RocksDB's resident memory creeps.
pub fn tune_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Heaps at most.
        const ARENAS: i32 = 2;
        /// Larger blocks are mapped, and given back to the system when freed, bytes.
        const MAP_FROM_BYTES: i32 = 256 * 1024;
        /// Free bytes at the top of a heap that are kept.
        const TRIM_ABOVE_BYTES: i32 = 256 * 1024;
        // SAFETY: mallopt changes allocator settings only; it is called before other threads exist.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, ARENAS);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAP_FROM_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_ABOVE_BYTES);
        }
    }
}
