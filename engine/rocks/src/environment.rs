//! What the stores of a process share, and how RocksDB is set up.

use hongbao_engine::store::StoreError;
use rocksdb::{
    BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType, Env, LogLevel, LruCacheOptions, Options,
    UniversalCompactOptions,
};

use crate::error::failed;

/// Threads that merge, for all stores together; there are two cores.
const MERGE_THREADS: i32 = 2;

/// Table files a store keeps open, each with some kilobytes beside the cache.
const OPEN_FILES_MAX: i32 = 256;

/// A look-up reads and checks one block.
const BLOCK_BYTES: usize = 16 << 10;

/// The cache's parts, as a power of two. A part must hold several filters, each of up to four
/// megabytes: one that does not fit is read anew for every look-up.
const CACHE_SHARD_BITS: i32 = 2;

/// Filter bits per row: 0.3% of the look-ups in a file that lacks the key read a block in vain.
const FILTER_BITS: f64 = 12.0;

/// Files on level 0 at which merging begins. One more costs a look-up one filter; merging seldom
/// saves rewriting, which is what a store of random keys costs most.
const MERGE_AT_FILES: i32 = 48;

/// Runs of similar size are merged together, so that a row is rewritten once per size class: a third
/// of what merging level by level takes. The whole store is merged into one when overwritten and
/// deleted rows may take this much of the rest, in percent.
const OBSOLETE_PERCENT_MAX: i32 = 300;

/// Unused, since nothing is written to it, but allocated by every store.
const MEMTABLE_BYTES: usize = 64 << 10;

const MANIFEST_BYTES_MAX: usize = 4 << 20;
const MANIFEST_STEP_BYTES: usize = 64 << 10;
const INFO_LOG_BYTES_MAX: usize = 1 << 20;

/// One block cache, one set of background threads and one limit on background writes for all stores
/// of a process.
///
/// Memory (I29): `cache_bytes` hold data blocks, indexes and filters of all stores. Indexes and
/// filters take two bytes a row: a cache that cannot hold them makes every look-up read them again.
pub struct RocksEnv {
    options: Options,
    cache: Cache,
}

impl RocksEnv {
    /// An environment with a cache of this size, in bytes. Background threads belong to the process:
    /// two environments share them.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when RocksDB cannot be set up.
    pub fn new(cache_bytes: usize) -> Result<Self, StoreError> {
        let cache = new_cache(cache_bytes);
        let mut threads = Env::new().map_err(|error| failed(&error))?;
        threads.set_low_priority_background_threads(MERGE_THREADS);
        let mut options = Options::default();
        options.set_env(&threads);
        options.set_max_background_jobs(MERGE_THREADS);
        set_table(&mut options, &cache);
        set_merging(&mut options);
        set_small(&mut options);
        options.set_paranoid_checks(true);
        Ok(Self { options, cache })
    }

    /// The same with a limit on what merging writes, in bytes per second, so that it leaves the
    /// device to the log.
    #[must_use]
    pub fn limit_writes(mut self, bytes_per_s: i64) -> Self {
        const REFILL_US: i64 = 100_000;
        const FAIRNESS: i32 = 10;
        self.options.set_ratelimiter(bytes_per_s, REFILL_US, FAIRNESS);
        self
    }

    /// Memory that the cache holds now, in bytes.
    #[must_use]
    pub fn cache_used_bytes(&self) -> usize {
        self.cache.get_usage()
    }

    /// Options of a database; they share the cache, the threads and the limit.
    pub(crate) fn database(&self) -> Options {
        self.options.clone()
    }

    /// Options of the files of a commit, which are not compressed.
    pub(crate) fn commit_files(&self) -> Options {
        let mut options = self.options.clone();
        options.set_bottommost_compression_type(DBCompressionType::None);
        options
    }
}

fn new_cache(bytes: usize) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(bytes);
    options.set_num_shard_bits(CACHE_SHARD_BITS);
    Cache::new_lru_cache_opts(&options)
}

/// Tables for point look-ups.
fn set_table(options: &mut Options, cache: &Cache) {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(FILTER_BITS, false);
    table.set_optimize_filters_for_memory(true);
    // Within the cache, so that its size bounds them, and ahead of data blocks.
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_format_version(6);
    options.set_block_based_table_factory(&table);
    // Rows that will be merged again are not compressed: it would take a sixth of a commit's cost.
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::Lz4);
}

/// Merging as seldom as look-ups bear.
fn set_merging(options: &mut Options) {
    let mut universal = UniversalCompactOptions::default();
    universal.set_max_size_amplification_percent(OBSOLETE_PERCENT_MAX);
    options.set_universal_compaction_options(&universal);
    options.set_compaction_style(DBCompactionStyle::Universal);
    options.set_level_zero_file_num_compaction_trigger(MERGE_AT_FILES);
}

/// Little memory and few files: a process holds dozens of stores.
fn set_small(options: &mut Options) {
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_manifest_file_size(MANIFEST_BYTES_MAX);
    options.set_manifest_preallocation_size(MANIFEST_STEP_BYTES);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_keep_log_file_num(2);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
}
