//! How RocksDB is set up: few decisions for the operator, the rest by measurement.
//!
//! ```text
//!   cache ┬ a third: values              whole records, see `values`
//!         └ the rest: blocks             of files, their indexes and filters, and on the same
//!                     └ write buffers    account what has not been flushed
//! ```
//!
//! Memory is bounded by these numbers and not by the data; beside them only the key index of the
//! state machine grows, with the number of keys. `docs/adr/2026-11-21-rocksdb-engine.md` has the
//! measurements behind the choices.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType,
    Error, Options, WriteBufferManager,
};

use super::layout::{CHANGES, HISTORY, OWN, TABLES};
use crate::limits::{
    ROCKS_LOG_FILE_BYTES, ROCKS_MANIFEST_BYTES, ROCKS_OPEN_FILES, ROCKS_SYNC_BYTES,
};

/// What an operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Bytes of memory for caches, write buffers included.
    pub cache_bytes: u64,
    /// Bytes of changes kept in memory until they are flushed.
    pub write_buffer_bytes: u64,
    /// Bits that a filter spends on a key; 0 is no filters.
    pub bloom_bits: u32,
    /// How blocks are compressed.
    pub compression: Compression,
    /// Threads that flush and compact.
    pub background_jobs: u32,
    /// Threads that open the files of a family at a start, one family after the other: they are
    /// started however few the files are.
    pub opening_threads: u32,
    /// Whether closing flushes, so that the next start has little of the log to replay. Without it
    /// closing is what a crash of the process is.
    pub flush_at_close: bool,
}

/// How blocks of the files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
}

impl Default for RocksOptions {
    fn default() -> RocksOptions {
        RocksOptions {
            cache_bytes: 96 << 20,
            write_buffer_bytes: 32 << 20,
            bloom_bits: 10,
            compression: Compression::Lz4,
            background_jobs: 2,
            opening_threads: 16,
            flush_at_close: true,
        }
    }
}

impl RocksOptions {
    /// The part of the cache that keeps whole values.
    #[must_use]
    pub fn value_cache_bytes(&self) -> u64 {
        self.cache_bytes / 3
    }

    /// The part of the cache that keeps blocks, and accounts for write buffers.
    #[must_use]
    pub fn block_cache_bytes(&self) -> u64 {
        self.cache_bytes - self.value_cache_bytes()
    }

    pub(super) fn database(&self, cache: &Cache) -> Result<Options, Error> {
        // What the crate has no function for. First, because it makes new options.
        let closing = format!("avoid_flush_during_shutdown={}", !self.flush_at_close);
        let mut options = Options::default().get_options_from_string(closing)?;
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // A crash leaves all families at the same point.
        options.set_atomic_flush(true);
        options.set_paranoid_checks(true);
        // There is one writer.
        options.set_allow_concurrent_memtable_write(false);
        let buffers = size(self.write_buffer_bytes);
        let manager =
            WriteBufferManager::new_write_buffer_manager_with_cache(buffers, false, cache.clone());
        options.set_write_buffer_manager(&manager);
        options.set_max_background_jobs(threads(self.background_jobs));
        // The log syncs on the same disk, and waits behind what is dirty.
        options.set_bytes_per_sync(ROCKS_SYNC_BYTES);
        options.set_max_open_files(ROCKS_OPEN_FILES);
        options.set_max_file_opening_threads(threads(self.opening_threads));
        options.set_max_manifest_file_size(ROCKS_MANIFEST_BYTES);
        options.set_max_log_file_size(ROCKS_LOG_FILE_BYTES);
        options.set_keep_log_file_num(2);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_avoid_unnecessary_blocking_io(true);
        Ok(options)
    }

    pub(super) fn families(
        &self,
        database: &Options,
        cache: &Cache,
    ) -> Vec<ColumnFamilyDescriptor> {
        let family = |name, block_bytes| {
            let mut options = database.clone();
            let buffers = size(self.write_buffer_bytes);
            options.set_write_buffer_size(buffers);
            options.set_max_write_buffer_number(4);
            options.set_arena_block_size((buffers / 64).clamp(16 << 10, 1 << 20));
            options.set_target_file_size_base(64 << 20);
            // The same on every level, or files could not move down without being rewritten.
            options.set_compression_type(match self.compression {
                Compression::None => DBCompressionType::None,
                Compression::Lz4 => DBCompressionType::Lz4,
                Compression::Zstd => DBCompressionType::Zstd,
            });
            // Every key asked for exists, so that the last level needs no filter to say no.
            options.set_optimize_filters_for_hits(true);
            // A file that is a quarter deletions is compacted though its level is not full.
            options.add_compact_on_deletion_collector_factory(4096, 1024, 0.25);
            options.set_block_based_table_factory(&self.table(cache, block_bytes));
            ColumnFamilyDescriptor::new(name, options)
        };
        vec![
            family(OWN, 4 << 10),
            family(HISTORY, 16 << 10),
            family(CHANGES, 32 << 10),
            family(TABLES, 4 << 10),
        ]
    }

    fn table(&self, cache: &Cache, block_bytes: usize) -> BlockBasedOptions {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(cache);
        table.set_block_size(block_bytes);
        // Indexes and filters count as cache, in parts, or their size would grow with the data.
        table.set_cache_index_and_filter_blocks(true);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        if self.bloom_bits > 0 {
            table.set_bloom_filter(f64::from(self.bloom_bits), false);
            table.set_partition_filters(true);
        }
        table
    }
}

/// Sizes are checked against memory by the operator, not by arithmetic.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn threads(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
