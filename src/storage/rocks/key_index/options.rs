//! Options of the key index's database: little memory for any number of keys, and nothing while idle.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, LogLevel, Options, WriteOptions,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Small runs collect in a write buffer of this size.
const WRITE_BUFFER_BYTES: usize = 4 * MIB;
const ARENA_BLOCK_BYTES: usize = 64 * KIB;
/// Blocks of rows, of indexes and of filters. What does not fit comes from the page cache, at some microseconds a block.
const BLOCK_CACHE_BYTES: usize = 8 * MIB;
/// Larger blocks make the index smaller and a look-up's read longer: 16 KiB keep the index of 10 million keys near 1 MiB.
const BLOCK_BYTES: usize = 16 * KIB;
/// One in a hundred look-ups of an absent key reads a block for nothing.
const FILTER_BITS_PER_KEY: f64 = 10.0;
/// Parts of an index or filter that are loaded one by one.
const METADATA_BLOCK_BYTES: usize = 4 * KIB;
/// Few files: 10 million keys take about ten.
const FILE_BYTES: u64 = 32 * MIB as u64;
/// Up to here one level is all there is, and a look-up reads one block.
const FIRST_LEVEL_BYTES: u64 = 128 * MIB as u64;
const OPEN_FILES_MAX: i32 = 64;
/// Merging reads each of its files in steps of this size.
const COMPACTION_READ_BYTES: usize = 256 * KIB;
/// Written files are handed to the disk as they grow, so that their sync does not hold up that of the logs.
const BYTES_PER_SYNC: u64 = MIB as u64;
const INFO_LOG_BYTES_MAX: usize = 256 * KIB;

/// Options of the database and of the files that are made for it.
pub(super) fn database() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    table.set_cache_index_and_filter_blocks(true);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    // Filters of 10 million keys are larger than the cache, so they must not come in one piece per file.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(METADATA_BLOCK_BYTES);

    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    // Most keys asked for are there: the last level, nine tenths of all rows, does without filters.
    options.set_optimize_filters_for_hits(true);

    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_arena_block_size(ARENA_BLOCK_BYTES);
    options.set_target_file_size_base(FILE_BYTES);
    options.set_max_bytes_for_level_base(FIRST_LEVEL_BYTES);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compaction_readahead_size(COMPACTION_READ_BYTES);
    options.set_bytes_per_sync(BYTES_PER_SYNC);

    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    options.set_max_file_opening_threads(1);
    options.set_manifest_preallocation_size(64 * KIB);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    options
}

/// No write-ahead log: what a crash takes is read from the partitions' logs again.
pub(super) fn write() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}
