//! The readers' side: views that stay as they are and never wait.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::leaf::Sight;
use super::turn::{Pin, Shared, Turn};
use crate::mvcc::record::Record;
use crate::types::{KeyRange, Revision};

/// Where readers get their views. Cheap to clone, safe to share.
#[derive(Clone)]
pub struct IndexReader {
    shared: Arc<Shared>,
}

/// The index as it stands at one revision, however long it is held.
///
/// A view holds back the sweep of versions it can see, and nothing else. Cheap to open and to
/// clone.
#[derive(Clone)]
pub struct IndexView {
    turn: Arc<Turn>,
    revision: Revision,
    /// Held if `turn` is newer than `revision`.
    pin: Option<Arc<Pin>>,
}

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
    Budget(Bytes),
}

impl IndexReader {
    pub(super) fn new(shared: &Arc<Shared>) -> IndexReader {
        IndexReader { shared: Arc::clone(shared) }
    }

    /// The newest published state.
    #[must_use]
    pub fn latest(&self) -> IndexView {
        let turn = self.shared.current.load_full();
        IndexView { revision: turn.last, turn, pin: None }
    }

    /// The state at `revision`.
    ///
    /// # Errors
    /// The revision is compacted or not there yet.
    pub fn at(&self, revision: Revision) -> Result<IndexView, ViewError> {
        let current = self.shared.current.load_full();
        if revision > current.last {
            return Err(ViewError::Future);
        }
        let turn = if current.serves(revision) {
            Some(current)
        } else {
            self.shared.find(revision, &current)
        };
        // A turn serves its revisions only for those who count it before they look whether the
        // revision is compacted; so does a pin, which must also come before its tree is loaded.
        let view = match turn {
            Some(turn) => IndexView { turn, revision, pin: None },
            None => {
                let pin = Some(Arc::new(Pin::new(&self.shared, revision)));
                IndexView { turn: self.shared.current.load_full(), revision, pin }
            }
        };
        if self.shared.is_compacted(revision) {
            return Err(ViewError::Compacted);
        }
        Ok(view)
    }

    /// The newest version of `key`: cheaper than opening a view for it.
    #[must_use]
    pub fn get_latest(&self, key: &[u8]) -> (Revision, Option<Record>) {
        let turn = self.shared.current.load();
        (turn.last, get(&turn, sight(&turn, turn.last), key))
    }

    /// The newest published revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared.current.load().last
    }

    /// The lowest revision that may be read; `None` before the first compaction.
    #[must_use]
    pub fn compacted(&self) -> Option<Revision> {
        self.shared.compacted()
    }
}

impl IndexView {
    /// The revision it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The version of `key` at this revision; `None` if the key is not live.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Record> {
        get(&self.turn, self.sight(), key)
    }

    /// Whether [`IndexView::count`] takes O(log n): for revisions of the last thousand.
    #[must_use]
    pub fn counts_at_once(&self) -> bool {
        self.pin.is_none()
    }

    /// How many keys of `range` are live. Walks unless [`IndexView::counts_at_once`].
    #[must_use]
    pub fn count(&self, range: &KeyRange) -> u64 {
        if !self.counts_at_once() {
            let mut count = 0;
            self.turn.tree.scan(range, self.sight(), |_, record| {
                count += u64::from(record.is_some());
                ControlFlow::<()>::Continue(())
            });
            return count;
        }
        let later = self.turn.births_after(self.revision);
        let later = later.iter().filter(|birth| range.contains(birth.slot.key()));
        let (mut count, mut undone) = (self.turn.tree.count(range), 0);
        for birth in later {
            if birth.live { undone += 1 } else { count += 1 }
        }
        count - undone
    }

    /// Visits the live keys of `range` in ascending order. Looks at no more than `slots` keys, live
    /// or not, so that a caller can bound its step and go on later.
    pub fn scan(
        &self,
        range: &KeyRange,
        slots: usize,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> ScanEnd {
        let mut budget = slots;
        let end = self.turn.tree.scan(range, self.sight(), |slot, record| {
            if budget == 0 {
                return ControlFlow::Break(ScanEnd::Budget(Bytes::copy_from_slice(slot.key())));
            }
            budget -= 1;
            match record {
                Some(record) => visit(&record).map_break(|()| ScanEnd::Stopped),
                None => ControlFlow::Continue(()),
            }
        });
        end.unwrap_or(ScanEnd::Done)
    }

    fn sight(&self) -> Sight {
        sight(&self.turn, self.revision)
    }
}

fn get(turn: &Turn, sight: Sight, key: &[u8]) -> Option<Record> {
    let (slot, live) = turn.tree.find(key)?;
    sight.of(slot, live)
}

/// The live bits of a turn are about its last revision only.
fn sight(turn: &Turn, revision: Revision) -> Sight {
    Sight { revision, live_only: revision == turn.last }
}
