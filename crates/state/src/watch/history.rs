//! What a stream reads when it cannot rely on deliveries: the past.
//!
//! [`History`] is the part of the store that catch-up needs. [`Reader`] ships it; the tests of this
//! module bring a store of their own, small enough to be obviously right.

use std::ops::ControlFlow;

use crate::engine::EngineError;
use crate::mvcc::record::{BadRecord, Record, RecordKind};
use crate::types::{Revision, Version};
use crate::view::Reader;

/// The past of a store, as far as watchers care.
pub trait History {
    /// The newest revision that readers may see.
    fn revision(&self) -> Revision;

    /// The lowest revision that may be read; `None` before the first compaction. Nothing at or
    /// above it is removed before this says so.
    fn compacted(&self) -> Option<Revision>;

    /// Visits the changes of `first..=last` in order, until told to stop.
    ///
    /// # Errors
    /// The storage failed.
    fn scan(
        &self,
        first: Revision,
        last: Revision,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError>;

    /// What `key` held at `revision`, with its value. `None` also if it cannot be known any more:
    /// a previous value is a courtesy.
    fn value_at(&self, key: &[u8], revision: Revision) -> Option<Record>;

    /// The change `version` with its value.
    ///
    /// # Errors
    /// The storage failed or has lost it.
    fn stored(&self, version: Version) -> Result<Record, EngineError>;
}

impl History for Reader {
    fn revision(&self) -> Revision {
        Reader::revision(self)
    }

    fn compacted(&self) -> Option<Revision> {
        Reader::compacted(self)
    }

    fn scan(
        &self,
        first: Revision,
        last: Revision,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let (from, until) = (Version::first_of(first), Version::first_of(last.next()));
        self.engine_view().scan_history(from, until, visit)
    }

    fn value_at(&self, key: &[u8], revision: Revision) -> Option<Record> {
        let view = self.at(revision).ok()?;
        let record = view.index().get(key)?;
        if record.kind() == RecordKind::Stored {
            return view.engine().record(record.version()).ok()?;
        }
        Some(record)
    }

    fn stored(&self, version: Version) -> Result<Record, EngineError> {
        let record = self.engine_view().record(version)?;
        Ok(record.ok_or(BadRecord { version })?)
    }
}
