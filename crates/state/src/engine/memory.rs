//! The memory engine: history and tables in copy-on-write trees.
//!
//! ```text
//! MemoryEngine ── Arc<MemoryView> { history: CowTree<Record>, tables: [CowTree<Row>; 6], bytes }
//!                      └── view() hands out the same Arc; the next commit copies what it changes
//! ```
//!
//! Taking a view costs one reference count, whatever the engine holds. Readers, snapshots and hashes
//! go through their views while commits go on at full speed: a commit copies the nodes it changes
//! and waits for nobody. What a commit forgets stays in memory as long as a view can see it.
//!
//! The engine has no disk. Its member survives through log and snapshot files alone, so that
//! [`Engine::durable_index`] is always 0 and the log is cut by snapshots only.
//!
//! ```
//! use state::engine::memory::MemoryEngine;
//! use state::engine::{Batch, Engine, Write};
//! use state::schema::Table;
//!
//! let mut engine = MemoryEngine::new();
//! let before = engine.view();
//! let row = Write::Put(Table::User, "ada".into(), "…".into());
//! engine.commit(Batch { writes: vec![row] }).unwrap();
//! assert_eq!(before.get(Table::User, b"ada").unwrap(), None);
//! assert!(engine.view().get(Table::User, b"ada").unwrap().is_some());
//! ```
//!
//! # Who frees
//! The engine keeps no old view, so that a commit frees only what it replaces itself. A view that was
//! held for long frees everything replaced meanwhile when its last holder lets go. Dropping an engine
//! that nobody views frees all of it at once: after an install do that where waiting is allowed.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::engine::cow_tree::{CowTree, Row};
use crate::engine::{
    Batch, ContentSize, Engine, EngineError, EngineSize, EngineView, Forgotten, Write,
};
use crate::mvcc::record::{Record, RecordKind};
use crate::schema::Table;
use crate::types::{LogIndex, Version};

/// Keeps everything in memory. Cloning it gives a second engine in the same state, cheaply.
#[derive(Clone, Default)]
pub struct MemoryEngine {
    now: Arc<MemoryView>,
}

/// The state of a [`MemoryEngine`].
#[derive(Clone, Default)]
struct MemoryView {
    history: CowTree<Record>,
    /// By position in [`Table::ALL`].
    tables: [CowTree<Row>; Table::ALL.len()],
    content: ContentSize,
}

impl MemoryEngine {
    /// An engine that holds nothing.
    #[must_use]
    pub fn new() -> MemoryEngine {
        MemoryEngine::default()
    }
}

impl Engine for MemoryEngine {
    fn commit(&mut self, batch: Batch) -> Result<(), EngineError> {
        let now = Arc::make_mut(&mut self.now);
        for write in batch.writes {
            now.apply(write);
        }
        Ok(())
    }

    fn view(&self) -> Arc<dyn EngineView> {
        Arc::clone(&self.now) as Arc<dyn EngineView>
    }

    fn durable_index(&self) -> LogIndex {
        LogIndex(0)
    }

    fn keeps_values_resident(&self) -> bool {
        true
    }

    /// The bytes of every record and row that is kept, with their keys, above a base of five pages.
    ///
    /// Exact, not rounded to pages: nothing is allocated in pages here, and what is forgotten shows at
    /// once. Nodes and allocator overhead are not counted: the quota is about data, and the same data
    /// must count the same on every member.
    fn size(&self) -> EngineSize {
        let bytes = self.now.content.data_bytes();
        EngineSize { total_bytes: bytes, in_use_bytes: bytes }
    }
}

impl MemoryView {
    fn apply(&mut self, write: Write) {
        match write {
            Write::Append(record) => self.append(record),
            Write::Forget(Forgotten { version, .. }) => {
                if let Some(record) = self.history.remove(&version) {
                    self.content.history.take(record.bytes().len() as u64);
                }
            }
            Write::Put(table, key, value) => {
                let at = table.position();
                let size = &mut self.content.tables[at];
                size.add((key.len() + value.len()) as u64);
                if let Some(old) = self.tables[at].insert(Row { key, value }) {
                    size.take((old.key.len() + old.value.len()) as u64);
                }
            }
            Write::Delete(table, key) => {
                let at = table.position();
                if let Some(old) = self.tables[at].remove(&key) {
                    self.content.tables[at].take((old.key.len() + old.value.len()) as u64);
                }
            }
        }
    }

    fn append(&mut self, record: Record) {
        let version = record.version();
        assert!(
            record.kind() != RecordKind::Stored,
            "the record of {version:?} came without its value"
        );
        if let Some(last) = self.history.last() {
            let last = last.version();
            assert!(last < version, "history went from {last:?} to {version:?}");
        }
        self.content.history.add(record.bytes().len() as u64);
        self.history.insert(record);
    }
}

impl EngineView for MemoryView {
    fn record(&self, version: Version) -> Result<Option<Record>, EngineError> {
        Ok(self.history.get(&version).cloned())
    }

    fn scan_history(
        &self,
        from: Version,
        until: Version,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let _stopped_early = self.history.scan(&from, &mut |record| {
            if record.version() < until { visit(record) } else { ControlFlow::Break(()) }
        });
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<bytes::Bytes>, EngineError> {
        Ok(self.tables[table.position()].get(key).map(|row| row.value.clone()))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let _stopped_early =
            self.tables[table.position()].scan(from, &mut |row| visit(&row.key, &row.value));
        Ok(())
    }

    fn content_size(&self) -> Option<ContentSize> {
        Some(self.content)
    }
}

#[cfg(test)]
mod tests;
