//! RocksDB's options, chosen so that an idle broker stays small and opens at once.
//!
//! The defaults are made for gigabytes: a 64 MiB write buffer per column family and a 32 MiB cache. Our
//! state is kilobytes to a few megabytes, all of which the metadata image holds in memory anyway, so
//! RocksDB's own memory buys nothing here.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, Options};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Memtable of one column family. Larger only delays the flush of rows that are already durable.
const WRITE_BUFFER_BYTES: usize = MIB;
/// All memtables together, so that a new key space does not add a mebibyte.
const ALL_WRITE_BUFFERS_BYTES: usize = 2 * MIB;
/// Memtables grow in steps of this size; the default, an eighth of the buffer, is paid by every family.
const ARENA_BLOCK_BYTES: usize = 16 * KIB;
/// Block cache, indexes and filters included, shared by all column families.
const BLOCK_CACHE_BYTES: usize = MIB;
/// Bounds open table files, and with them table readers in memory.
const OPEN_FILES_MAX: i32 = 64;
/// Bounds what the next start has to replay.
const WAL_BYTES_MAX: u64 = 4 * MIB as u64;
/// The engine's own log: two files of at most this size.
const INFO_LOG_BYTES_MAX: usize = 256 * KIB;
const INFO_LOG_FILES: usize = 2;

/// Database-wide options.
pub(super) fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);

    options.set_db_write_buffer_size(ALL_WRITE_BUFFERS_BYTES);
    options.set_max_open_files(OPEN_FILES_MAX);
    // One thread each for flush and compaction: nothing here is in a hurry.
    options.set_max_background_jobs(1);
    options.set_max_file_opening_threads(1);

    options.set_max_total_wal_size(WAL_BYTES_MAX);
    // A torn tail of the log is the normal trace of a power cut and ends replay. So does damage before intact writes, which
    // `wal` finds before.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // A recycled log file saves little on small writes and weakens the distinction just made.
    options.set_recycle_log_file_num(0);
    // The log is preallocated in proportion to the write buffer, which is small; the manifest's default
    // of 4 MiB would be most of an idle data directory.
    options.set_manifest_preallocation_size(64 * KIB);

    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(INFO_LOG_FILES);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    // No statistics: both periods start a timer thread and write to disk while idle.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Reading every table's properties at open only feeds compaction's estimates.
    options.set_skip_stats_update_on_db_open(true);
    options
}

/// The cache all column families share.
pub(super) fn block_cache() -> Cache {
    Cache::new_lru_cache(BLOCK_CACHE_BYTES)
}

/// Options of one column family.
pub(super) fn family(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // Otherwise indexes live outside the cache and outside any bound.
    table.set_cache_index_and_filter_blocks(true);

    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_arena_block_size(ARENA_BLOCK_BYTES);
    options.set_compression_type(DBCompressionType::Lz4);
    options
}
