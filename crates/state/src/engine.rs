//! The storage port: ordered tables with one writer and cheap immutable views.
//!
//! The state machine reaches bytes through this port only. An engine keeps two kinds of things:
//! the *history*, one [`Record`] per change ordered by [`Version`], and a few small *tables* of
//! bytes ([`Table`]). Everything that one log entry changed, its log index included, arrives in one
//! [`Batch`]: after a crash an engine may be behind the log, never ahead of it and never torn.
//!
//! ```text
//!           commit(batch)                    view()
//!   State ───────────────▶ Engine ──────────────────────▶ Arc<dyn EngineView>
//!  (one writer)            memory | rocksdb               readers, snapshots, hashes
//! ```
//!
//! What an engine does not do: it knows nothing of keys, leases or revisions beyond their order.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::mvcc::record::{BadRecord, Record};
use crate::schema::Table;
use crate::types::{LogIndex, Version};

pub mod cow_tree;
pub mod forgetful;
pub mod memory;
pub mod mirror;
#[cfg(any(test, feature = "testing"))]
pub mod samples;

/// One change of a [`Batch`].
#[derive(Clone, Debug)]
pub enum Write {
    /// Add a change to the history, with its value. Versions arrive in ascending order.
    Append(Record),
    /// Forget a change that is kept, once: nobody may read it any more.
    Forget(Forgotten),
    /// Set a row.
    Put(Table, Bytes, Bytes),
    /// Remove a row; absent rows are fine.
    Delete(Table, Bytes),
}

/// A change that is to be forgotten, described so that no engine has to look it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Which.
    pub version: Version,
    /// Whether it is a put and not a deletion.
    pub is_put: bool,
    /// The length of its wire bytes.
    pub wire_bytes: u64,
}

impl Forgotten {
    /// Describes `record`, which may be there without its value.
    #[must_use]
    pub fn of(record: &Record) -> Forgotten {
        Forgotten {
            version: record.version(),
            is_put: record.is_put(),
            wire_bytes: record.wire_bytes(),
        }
    }
}

/// Changes that become visible together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In the order in which they are to be done.
    pub writes: Vec<Write>,
}

/// Where the bytes are.
pub trait Engine: Send {
    /// Makes all of `batch` visible to views taken from now on.
    ///
    /// # Errors
    /// The storage failed: the member must stop, nothing of the batch may be relied on.
    fn commit(&mut self, batch: Batch) -> Result<(), EngineError>;

    /// What the engine holds now, unchanged by later commits. Cheap.
    fn view(&self) -> Arc<dyn EngineView>;

    /// The highest log index whose effects survive a crash of the process and of the machine by
    /// the engine's own means; the log must be kept above it. 0 for an engine without a disk.
    fn durable_index(&self) -> LogIndex;

    /// Whether records keep their values in memory, so that a present value needs no look-up.
    fn keeps_values_resident(&self) -> bool;

    /// How much the data takes.
    fn size(&self) -> EngineSize;
}

/// Bytes as the operator sees them in `Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineSize {
    /// Bytes allocated for the data set; what the quota is compared with.
    pub total_bytes: u64,
    /// Bytes of it that hold data.
    pub in_use_bytes: u64,
}

/// An immutable state of an [`Engine`].
pub trait EngineView: Send + Sync {
    /// The change named `version`, if it is still kept, with its value.
    ///
    /// # Errors
    /// The storage failed or holds something else than a record.
    fn record(&self, version: Version) -> Result<Option<Record>, EngineError>;

    /// The same for many: an engine that looks for each in files may find those that lie side by side
    /// together.
    ///
    /// # Errors
    /// As for [`EngineView::record`].
    fn records(&self, versions: &[Version]) -> Result<Vec<Option<Record>>, EngineError> {
        versions.iter().map(|version| self.record(*version)).collect()
    }

    /// Visits the history in ascending order from `from` to before `until`, until told to stop.
    ///
    /// # Errors
    /// As for [`EngineView::record`].
    fn scan_history(
        &self,
        from: Version,
        until: Version,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError>;

    /// The same without reading values: an engine that does not keep them in memory shows puts
    /// without theirs ([`RecordKind::Stored`](crate::mvcc::record::RecordKind)). What an index is
    /// loaded from.
    ///
    /// # Errors
    /// As for [`EngineView::record`].
    fn scan_changes(
        &self,
        from: Version,
        until: Version,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.scan_history(from, until, visit)
    }

    /// The row at `key`.
    ///
    /// # Errors
    /// The storage failed.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Visits the rows of `table` in ascending order of their keys from `from` on, until told to
    /// stop.
    ///
    /// # Errors
    /// The storage failed.
    #[expect(clippy::type_complexity, reason = "spelled out it is plainer than a name for it")]
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError>;

    /// How much it holds, if the engine keeps count: exact, without looking at the data.
    fn content_size(&self) -> Option<ContentSize> {
        None
    }
}

/// What an [`EngineView`] holds, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentSize {
    /// Records of the history; their bytes are the wire bytes.
    pub history: SectionSize,
    /// Rows, by position in [`Table::ALL`]; their bytes are those of key and value.
    pub tables: [SectionSize; Table::ALL.len()],
}

impl ContentSize {
    /// The bytes of every record and row that is kept, with their keys, above a base of five pages:
    /// the same data counts the same in every engine and on every member.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        let rows: u64 =
            self.tables.iter().map(|table| table.bytes + table.entries * PREFIX_BYTES).sum();
        BASE_BYTES + rows + self.history.bytes + self.history.entries * HISTORY_KEY_BYTES
    }
}

/// What an empty store reports: five pages of 4 KiB, about what etcd's empty database takes, so that
/// quotas written for etcd mean the same here.
const BASE_BYTES: u64 = 5 * 4096;

/// Bytes of a history key; see `docs/adr/2026-11-21-table-and-key-schema.md`.
const HISTORY_KEY_BYTES: u64 = 17;

/// Bytes of the table's prefix in front of a row's key.
const PREFIX_BYTES: u64 = 1;

/// Entries of one kind and their bytes, keys of the history and lengths not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionSize {
    /// How many.
    pub entries: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl SectionSize {
    /// Counts an entry that came.
    pub fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }

    /// Counts an entry that went.
    ///
    /// # Panics
    /// If no such entry was counted.
    pub fn take(&mut self, bytes: u64) {
        let SectionSize { entries, bytes: held } = *self;
        assert!(entries > 0 && held >= bytes, "{bytes} bytes of {held} in {entries} entries went");
        self.entries -= 1;
        self.bytes -= bytes;
    }
}

/// The storage failed or holds something it should not.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A read or write of the engine's files failed.
    #[error("{operation} in the storage engine")]
    Storage {
        /// What the engine was doing.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The history holds bytes that are not a record.
    #[error("read the history")]
    Record(#[from] BadRecord),
    /// The index shows a version that the history does not hold.
    #[error("look up {} sub {} in the history", version.main, version.sub)]
    Missing {
        /// Which.
        version: Version,
    },
    /// A row does not have the form its table prescribes.
    #[error("decode a row of table {table:?}")]
    Row {
        /// Whose row it is.
        table: Table,
    },
}
