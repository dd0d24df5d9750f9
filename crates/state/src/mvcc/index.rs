//! The key index: key → versions, ordered, counted, read through views that never block.
//!
//! One writer ([`KeyIndex`]) and any number of readers ([`IndexReader`], [`IndexView`]).

use std::ops::ControlFlow;

use crate::mvcc::record::Record;
use crate::types::{KeyRange, Revision, Version};

/// The writer's side of the index. Owned by the state machine.
pub struct KeyIndex {}

/// Where readers get their views. Cheap to clone, safe to share.
#[derive(Clone)]
pub struct IndexReader {}

/// The index as it stands at one revision, however long it is held.
///
/// A view holds back the sweep of versions it can see, and nothing else. Cheap to open and to
/// clone.
#[derive(Clone)]
pub struct IndexView {}

/// Why a view cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewError {
    /// Below the compacted revision.
    Compacted,
    /// Above the newest published revision.
    Future,
}

/// How far a budgeted scan came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// Every key of the range has been visited.
    Done,
    /// The visitor said stop.
    Stopped,
    /// The budget of slots is used up: go on with the keys from this one on.
    Budget(bytes::Bytes),
}

/// What one slice of sweeping did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Changes that nobody can read any more, for the engine to forget.
    pub dropped: Vec<Version>,
    /// Everything superseded at or below this revision has been dropped: by this slice and the ones
    /// before it.
    pub done: bool,
}

#[allow(unused_variables, clippy::missing_panics_doc, clippy::todo, missing_docs)]
impl KeyIndex {
    /// An empty index of a store at `revision`, compacted at `compacted` (`None`: never).
    #[must_use]
    pub fn new(revision: Revision, compacted: Option<Revision>) -> KeyIndex {
        todo!()
    }

    /// For readers.
    #[must_use]
    pub fn reader(&self) -> IndexReader {
        todo!()
    }

    /// The newest version of `key`, published or not; `None` if it is absent or deleted.
    #[must_use]
    pub fn newest(&self, key: &[u8]) -> Option<Record> {
        todo!()
    }

    /// The version of `key` visible at `revision`, which may lie in the unpublished turn.
    #[must_use]
    pub fn get_at(&self, key: &[u8], revision: Revision) -> Option<Record> {
        todo!()
    }

    /// Adds a put. Changes arrive in ascending order of their [`Version`].
    pub fn put(&mut self, record: Record) {
        todo!()
    }

    /// Adds the deletion of a key that is live.
    pub fn delete(&mut self, tombstone: Record) {
        todo!()
    }

    /// Visits the live keys of `range` at `revision` in ascending order, writes of the unpublished
    /// turn included when `revision` covers them ([`Revision::MAX`]: all).
    pub fn scan_at(
        &self,
        range: &KeyRange,
        revision: Revision,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) {
        todo!()
    }

    /// How many keys of `range` are live now, unpublished writes included. O(log n).
    #[must_use]
    pub fn count(&self, range: &KeyRange) -> u64 {
        todo!()
    }

    /// Lets readers see everything written so far, as the store at `revision`. Also publishes a
    /// turn without writes (then `revision` is that of the turn before).
    pub fn publish(&mut self, revision: Revision) {
        todo!()
    }

    /// From now on nobody opens a view below `revision`. Needs a published `revision`.
    pub fn compact(&mut self, revision: Revision) {
        todo!()
    }

    /// Drops at most `limit` versions that are superseded at or below the compacted revision and
    /// that no open view can see. The effect on the tree shows with the next publish.
    pub fn sweep(&mut self, limit: usize) -> Sweep {
        todo!()
    }
}

#[allow(unused_variables, clippy::todo)]
impl IndexReader {
    /// The newest published state.
    #[must_use]
    pub fn latest(&self) -> IndexView {
        todo!()
    }

    /// The state at `revision`.
    ///
    /// # Errors
    /// The revision is compacted or not there yet.
    pub fn at(&self, revision: Revision) -> Result<IndexView, ViewError> {
        todo!()
    }

    /// The newest version of `key`: cheaper than opening a view for it.
    #[must_use]
    pub fn get_latest(&self, key: &[u8]) -> (Revision, Option<Record>) {
        todo!()
    }

    /// The newest published revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        todo!()
    }

    /// The lowest revision that may be read; `None` before the first compaction.
    #[must_use]
    pub fn compacted(&self) -> Option<Revision> {
        todo!()
    }
}

#[allow(unused_variables, clippy::todo)]
impl IndexView {
    /// The revision it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        todo!()
    }

    /// The version of `key` at this revision; `None` if the key is not live.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Record> {
        todo!()
    }

    /// How many keys of `range` are live. O(log n) for revisions of the last thousand.
    #[must_use]
    pub fn count(&self, range: &KeyRange) -> u64 {
        todo!()
    }

    /// Visits the live keys of `range` in ascending order. Looks at no more than `slots` keys, live
    /// or not, so that a caller can bound its step and go on later.
    pub fn scan(
        &self,
        range: &KeyRange,
        slots: usize,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> ScanEnd {
        todo!()
    }
}
