//! Where a read finds keys: a published view, or the writer's own state in the middle of a
//! transaction. One implementation of range and compare serves both.

use std::ops::ControlFlow;

use crate::engine::EngineError;
use crate::limits::SCAN_SLOTS_PER_STEP;
use crate::mvcc::index::ScanEnd;
use crate::mvcc::record::{Record, RecordKind};
use crate::types::{KeyRange, Revision};
use crate::view::ReadView;

/// The live keys at one revision.
pub trait Keys {
    /// The revision of the store: what the header of an answer shows.
    fn store_revision(&self) -> Revision;

    /// The version of `key`, if it is live.
    fn get(&self, key: &[u8]) -> Option<Record>;

    /// How many keys of `range` are live.
    fn count(&self, range: &KeyRange) -> u64;

    /// The same for a list that is read in pages.
    fn count_page(&self, range: &KeyRange) -> u64 {
        self.count(range)
    }

    /// Visits the live keys of `range` in ascending order.
    fn scan(&self, range: &KeyRange, visit: &mut dyn FnMut(&Record) -> ControlFlow<()>);

    /// The same version with its value in memory.
    ///
    /// # Errors
    /// The engine failed, or does not know a version that the index shows.
    fn resolve(&self, record: Record) -> Result<Record, EngineError>;

    /// The same for many, in their order.
    ///
    /// # Errors
    /// As for [`Keys::resolve`].
    fn resolve_all(&self, records: Vec<Record>) -> Result<Vec<Record>, EngineError> {
        records.into_iter().map(|record| self.resolve(record)).collect()
    }
}

impl Keys for ReadView {
    fn store_revision(&self) -> Revision {
        ReadView::store_revision(self)
    }

    fn get(&self, key: &[u8]) -> Option<Record> {
        self.index().get(key)
    }

    fn count(&self, range: &KeyRange) -> u64 {
        self.index().count(range)
    }

    fn count_page(&self, range: &KeyRange) -> u64 {
        self.pages().count(self.index(), range)
    }

    fn scan(&self, range: &KeyRange, visit: &mut dyn FnMut(&Record) -> ControlFlow<()>) {
        let mut rest = range.clone();
        while let ScanEnd::Budget(next) = self.index().scan(&rest, SCAN_SLOTS_PER_STEP, visit) {
            rest.start = next;
        }
    }

    fn resolve(&self, record: Record) -> Result<Record, EngineError> {
        if record.kind() != RecordKind::Stored {
            return Ok(record);
        }
        let version = record.version();
        self.engine().record(version)?.ok_or(EngineError::Missing { version })
    }

    fn resolve_all(&self, mut records: Vec<Record>) -> Result<Vec<Record>, EngineError> {
        // Looking for what is missing costs a look at each.
        if self.keeps_values_resident() {
            return Ok(records);
        }
        let stored = |record: &&mut Record| record.kind() == RecordKind::Stored;
        let missing: Vec<_> = records.iter_mut().filter(stored).collect();
        let versions: Vec<_> = missing.iter().map(|record| record.version()).collect();
        let found = self.engine().records(&versions)?;
        for ((record, found), version) in missing.into_iter().zip(found).zip(versions) {
            *record = found.ok_or(EngineError::Missing { version })?;
        }
        Ok(records)
    }
}
