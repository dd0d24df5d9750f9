//! The durability point: writes what has been committed to files, so that the log can be cut.
//!
//! ```text
//! commits      1  2  3  4  5  6        applied
//! flush              ├─────────▶ done  durable = 4, whatever was committed meanwhile
//! ```
//!
//! RocksDB also flushes by itself when its buffers are full. That moves the files ahead of
//! `durable`, which is harmless: opening finds the row `applied`, and the log still reaches back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rocksdb::FlushOptions;
use state::LogIndex;
use state::engine::EngineError;

use super::layout::FAMILIES;
use super::{Shared, storage};

/// Flushes an engine; a handle for the thread that has the time to wait.
#[derive(Clone)]
pub struct Flusher {
    shared: Arc<Shared>,
}

impl Flusher {
    pub(super) fn new(shared: Arc<Shared>) -> Flusher {
        Flusher { shared }
    }

    /// Makes everything committed so far durable. Returns the log index up to which the files hold
    /// everything; commits go on meanwhile.
    ///
    /// # Errors
    /// The files could not be written: nothing more is durable than before.
    pub fn flush(&self) -> Result<LogIndex, EngineError> {
        let shared = &self.shared;
        // First what is to be flushed: a commit stores its index after its writes are in memory.
        let applied = shared.applied.load(Ordering::Acquire);
        let forgotten = shared.forgotten.load(Ordering::Acquire);
        let forgotten_bytes = shared.forgotten_bytes.load(Ordering::Acquire);
        let families = FAMILIES.map(|name| shared.family(name));
        shared
            .db
            .flush_cfs_opt(&families.each_ref().map(|family| *family), &FlushOptions::default())
            .map_err(|error| storage("flush", error))?;
        shared.durable.fetch_max(applied, Ordering::AcqRel);
        shared.forgotten_flushed.fetch_max(forgotten, Ordering::AcqRel);
        shared.forgotten_bytes_flushed.fetch_max(forgotten_bytes, Ordering::AcqRel);
        shared.look_at_files();
        Ok(LogIndex(applied))
    }

    /// How many deletions of history are still in memory, where readers of history step over them.
    #[must_use]
    pub fn unflushed_deletions(&self) -> u64 {
        let shared = &self.shared;
        let flushed = shared.forgotten_flushed.load(Ordering::Acquire);
        shared.forgotten.load(Ordering::Acquire).saturating_sub(flushed)
    }

    /// Bytes of history whose deletions are still in memory: no compaction of files frees them
    /// before those are flushed.
    #[must_use]
    pub fn unflushed_garbage_bytes(&self) -> u64 {
        let shared = &self.shared;
        let flushed = shared.forgotten_bytes_flushed.load(Ordering::Acquire);
        shared.forgotten_bytes.load(Ordering::Acquire).saturating_sub(flushed)
    }
}
