//! The engine for data larger than memory: RocksDB behind the port of `state`.
//!
//! ```text
//!               ┌ memtables ─┐ flush   ┌ files ┐
//!   commit ────▶│  history   │────────▶│       │   history   version → wire bytes of the change
//!   one batch   │  changes   │ all at  │       │   changes   version → the same without the value
//!               │  tables    │  once   │       │   tables    prefix, key → row
//!               └────────────┘         └───────┘   default   our own: format, owner, counts
//! ```
//!
//! RocksDB's own log is off: the raft log is the log. What a commit changed is in memory until a
//! flush writes it to files, all column families in one step. So a crash leaves the engine behind
//! the log, never ahead of it and never torn, and the log goes on from the row `applied`.
//! Somebody has to ask for a flush before the log can be cut: [`Flusher`].
//!
//! ```
//! use state::engine::{Batch, Engine, Write};
//! use state::schema::Table;
//! use storage::rocks::{Owner, RocksEngine, RocksOptions};
//!
//! let folder = tempfile::tempdir()?;
//! let owner = Owner { cluster: state::ClusterId(1), member: state::MemberId(2) };
//! let mut engine = RocksEngine::open(folder.path(), &RocksOptions::default(), owner)?;
//! let row = Write::Put(Table::User, "ada".into(), "…".into());
//! engine.commit(Batch { writes: vec![row] })?;
//! engine.flusher().flush()?;
//! drop(engine);
//! let engine = RocksEngine::open(folder.path(), &RocksOptions::default(), owner)?;
//! assert!(engine.view().get(Table::User, b"ada")?.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! History comes in ascending order and never changes, so that its files do not overlap and move
//! down the levels without being rewritten. What is forgotten is a deletion that finds its put in
//! the next compaction and disappears with it.
//!
//! What it does not do: it knows nothing of keys and revisions beyond their order, and it makes no
//! backups; checkpoints are read from its views like from any engine's.

use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rocksdb::{DB, WriteBatch, WriteOptions};
use state::engine::{
    Batch, ContentSize, Engine, EngineError, EngineSize, EngineView, Forgotten, Write,
};
use state::mvcc::record::{Record, RecordKind};
use state::schema::{Table, meta};
use state::{LogIndex, Version};

mod flusher;
mod layout;
mod open;
mod options;
#[cfg(test)]
mod tests;
mod values;
mod view;

pub use flusher::Flusher;
pub use open::{OpenError, Owner};
pub use options::{Compression, RocksOptions};

use crate::limits::ROCKS_LOOK_MS;
use layout::{CHANGES, COUNTS, HISTORY, TABLES, history_key, row_key};
use open::RowSizes;
use values::Values;
use view::RocksView;

/// See the module.
pub struct RocksEngine {
    shared: Arc<Shared>,
    content: ContentSize,
    /// So that the content is counted without reading.
    rows: RowSizes,
    newest: Version,
    options: WriteOptions,
    /// Of the state as it is now, made when somebody asks for it.
    view: OnceLock<Arc<RocksView>>,
}

/// What the engine shares with its views and its flusher.
struct Shared {
    db: DB,
    values: Values,
    /// The log index up to which commits have been made.
    applied: AtomicU64,
    /// The log index that the files hold for certain.
    durable: AtomicU64,
    /// What the files take, as of the last look.
    file_bytes: AtomicU64,
    opened: Instant,
    /// When that look was, in milliseconds since the engine was opened.
    looked_ms: AtomicU64,
    /// Changes forgotten so far, and their bytes.
    forgotten: AtomicU64,
    forgotten_bytes: AtomicU64,
    /// The same before the last flush.
    forgotten_flushed: AtomicU64,
    forgotten_bytes_flushed: AtomicU64,
}

impl RocksEngine {
    /// Opens the engine in `path`, and creates it if there is nothing.
    ///
    /// # Errors
    /// The folder is not ours, damaged or of a newer format, or it cannot be read or written.
    pub fn open(
        path: &Path,
        options: &RocksOptions,
        owner: Owner,
    ) -> Result<RocksEngine, OpenError> {
        let opened = open::open(path, options, owner)?;
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        let engine = RocksEngine {
            shared: Arc::new(Shared {
                db: opened.db,
                values: Values::new(options.value_cache_bytes()),
                applied: AtomicU64::new(opened.applied.0),
                durable: AtomicU64::new(opened.applied.0),
                file_bytes: AtomicU64::new(0),
                opened: Instant::now(),
                looked_ms: AtomicU64::new(0),
                forgotten: AtomicU64::new(0),
                forgotten_bytes: AtomicU64::new(0),
                forgotten_flushed: AtomicU64::new(0),
                forgotten_bytes_flushed: AtomicU64::new(0),
            }),
            content: opened.content,
            rows: opened.rows,
            newest: opened.newest,
            options: write,
            view: OnceLock::new(),
        };
        engine.shared.look_at_files();
        Ok(engine)
    }

    /// Makes what has been committed durable, from any thread.
    #[must_use]
    pub fn flusher(&self) -> Flusher {
        Flusher::new(Arc::clone(&self.shared))
    }

    fn append(&mut self, batch: &mut WriteBatch, record: &Record) {
        let version = record.version();
        assert!(
            record.kind() != RecordKind::Stored,
            "the record of {version:?} came without its value"
        );
        assert!(version > self.newest, "history went from {:?} to {version:?}", self.newest);
        self.newest = version;
        let key = history_key(version, !record.is_put());
        batch.put_cf(self.shared.family(HISTORY), &key, record.bytes());
        batch.put_cf(self.shared.family(CHANGES), &key, record.without_value().bytes());
        self.content.history.add(record.wire_bytes());
    }

    fn forget(&mut self, batch: &mut WriteBatch, gone: Forgotten) {
        let key = history_key(gone.version, !gone.is_put);
        // Each version is put once and forgotten once, which is what a single deletion needs: it
        // disappears together with its put, instead of sinking to the last level.
        batch.single_delete_cf(self.shared.family(HISTORY), &key);
        batch.single_delete_cf(self.shared.family(CHANGES), &key);
        self.content.history.take(gone.wire_bytes);
        self.shared.forgotten.fetch_add(1, Ordering::Release);
        self.shared.forgotten_bytes.fetch_add(gone.wire_bytes, Ordering::Release);
    }

    fn put(&mut self, batch: &mut WriteBatch, table: Table, key: &[u8], value: &[u8]) {
        let bytes = (key.len() + value.len()) as u64;
        let row = row_key(table, key);
        batch.put_cf(self.shared.family(TABLES), &row, value);
        let size = &mut self.content.tables[table.position()];
        size.add(bytes);
        if let Some(old) = self.rows.insert(row, bytes) {
            size.take(old);
        }
    }

    fn delete(&mut self, batch: &mut WriteBatch, table: Table, key: &[u8]) {
        let row = row_key(table, key);
        if let Some(old) = self.rows.remove(&row) {
            batch.delete_cf(self.shared.family(TABLES), &row);
            self.content.tables[table.position()].take(old);
        }
    }
}

impl Engine for RocksEngine {
    fn commit(&mut self, batch: Batch) -> Result<(), EngineError> {
        let (mut applied, mut keep) = (None, Vec::new());
        let mut writes = WriteBatch::default();
        for write in batch.writes {
            match write {
                Write::Append(record) => {
                    self.append(&mut writes, &record);
                    if record.is_put() {
                        keep.push(record);
                    }
                }
                Write::Forget(gone) => {
                    self.forget(&mut writes, gone);
                    self.shared.values.remove(gone.version);
                    // A sweep commits nothing else: there is nothing to look through.
                    keep.retain(|record: &Record| record.version() != gone.version);
                }
                Write::Put(table, key, value) => {
                    if table == Table::Meta && key == meta::APPLIED {
                        let row = meta::decode_applied(&value);
                        applied = Some(row.ok_or(EngineError::Row { table })?.0);
                    }
                    self.put(&mut writes, table, &key, &value);
                }
                Write::Delete(table, key) => self.delete(&mut writes, table, &key),
            }
        }
        // In the same batch as what it counts: a crash must not tear them apart.
        writes.put(COUNTS, layout::encode_counts(&self.content.history));
        let written = self.shared.db.write_opt(writes, &self.options);
        written.map_err(|error| storage("commit", error))?;
        self.view = OnceLock::new();
        if let Some(applied) = applied {
            self.shared.applied.store(applied.0, Ordering::Release);
        }
        for record in keep {
            self.shared.values.insert(record);
        }
        Ok(())
    }

    fn view(&self) -> Arc<dyn EngineView> {
        let view = self.view.get_or_init(|| {
            Arc::new(RocksView::new(Arc::clone(&self.shared), self.newest, self.content))
        });
        Arc::clone(view) as Arc<dyn EngineView>
    }

    fn durable_index(&self) -> LogIndex {
        LogIndex(self.shared.durable.load(Ordering::Acquire))
    }

    fn keeps_values_resident(&self) -> bool {
        false
    }

    /// What the data takes, counted as in every engine, or what the files take if that is more:
    /// garbage that no compaction has reached yet.
    fn size(&self) -> EngineSize {
        self.shared.look_if_due();
        let in_use_bytes = self.content.data_bytes();
        let file_bytes = self.shared.file_bytes.load(Ordering::Relaxed);
        EngineSize { total_bytes: in_use_bytes.max(file_bytes), in_use_bytes }
    }
}

impl Shared {
    fn family(&self, name: &str) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(name).expect("every family is opened with the engine")
    }

    /// RocksDB compacts when it likes, so that what the files take changes without a commit; but
    /// each look takes its lock.
    fn look_if_due(&self) {
        let now_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let looked_ms = self.looked_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(looked_ms) >= ROCKS_LOOK_MS {
            self.looked_ms.store(now_ms, Ordering::Relaxed);
            self.look_at_files();
        }
    }

    /// Notes how much the files take.
    fn look_at_files(&self) {
        let of = |name| {
            let size = self
                .db
                .property_int_value_cf(self.family(name), rocksdb::properties::LIVE_SST_FILES_SIZE);
            // The property exists; should it not, the data still counts.
            size.ok().flatten().unwrap_or(0)
        };
        self.file_bytes.store(layout::FAMILIES.into_iter().map(of).sum(), Ordering::Relaxed);
    }
}

/// What RocksDB says, as an error of the port. Its messages name the file.
fn storage(operation: &'static str, error: rocksdb::Error) -> EngineError {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => std::io::ErrorKind::InvalidData,
        rocksdb::ErrorKind::IOError if error.as_ref().contains("No space left on device") => {
            std::io::ErrorKind::StorageFull
        }
        _ => std::io::ErrorKind::Other,
    };
    EngineError::Storage { operation, source: std::io::Error::new(kind, error) }
}
