//! The key index: key → versions, ordered, counted, read through views that never block.
//!
//! One writer ([`KeyIndex`]) and any number of readers ([`IndexReader`], [`IndexView`]).
//!
//! ```text
//! current ─▶ turn { first, last, tree }            one per publish
//!                              │
//!                 inner (counts, separators)        copied when a key is born or dies,
//!                              │                    once per turn and node
//!                 leaf (live bits, heads)
//!                              │
//!                 slot "a" ─▶ version 9 ─▶ version 4 ─▶ version 2      shared by all trees
//! ```
//!
//! An update of a live key stores the new version into its slot and touches no node; that no reader
//! sees it before its turn is published is a matter of comparing revisions. A birth or a death
//! edits the slot's live bit and the counts above it.
//!
//! ```
//! use state::mvcc::index::KeyIndex;
//! use state::mvcc::record::{PutFields, Record};
//! use state::{KeyRange, LeaseId, Revision};
//!
//! let mut index = KeyIndex::new(Revision(1), None);
//! let fields = PutFields {
//!     create_revision: Revision(2),
//!     mod_revision: Revision(2),
//!     version: 1,
//!     lease: LeaseId::NONE,
//! };
//! index.put(Record::put(0, b"color", fields, b"blue"));
//! let reader = index.reader();
//! assert_eq!(reader.latest().get(b"color").map(|record| record.revision()), None);
//! index.publish(Revision(2));
//! let view = reader.latest();
//! assert_eq!(view.get(b"color").map(|record| record.revision()), Some(Revision(2)));
//! assert_eq!(view.count(&KeyRange::all()), 1);
//! ```
//!
//! What it does not do: it keeps no history by revision and no bytes on disk, it does not decide
//! revisions, and it never drops a version by itself: [`KeyIndex::sweep`] does, a slice at a time.

use std::ops::ControlFlow;

use crate::engine::Forgotten;
use crate::mvcc::record::Record;
use crate::types::{KeyRange, Revision, Version};

mod garbage;
mod heads;
mod inner;
mod leaf;
mod tree;
mod turn;
mod view;

use garbage::Garbage;
use leaf::{Sight, Slot};
use tree::Tree;
use turn::{BIRTHS_MAX, Birth, Turns};
pub use view::{IndexReader, IndexView, ScanEnd, ViewError};

/// The writer's side of the index. Owned by the state machine.
pub struct KeyIndex {
    /// As of the last change; readers see it from the next publish on.
    tree: Tree,
    turns: Turns,
    garbage: Garbage,
    /// Of the unpublished turn.
    births: Vec<Birth>,
    /// The last change, published or not.
    newest: Version,
    /// Whether the tree differs from the published one, or there are changes it does not show.
    changed: bool,
    /// How often the tree was edited since the last publish.
    edits: usize,
}

/// What one slice of sweeping did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Changes that nobody can read any more, for the engine to forget.
    pub dropped: Vec<Forgotten>,
    /// Everything superseded at or below this revision has been dropped: by this slice and the ones
    /// before it.
    pub done: bool,
    /// The slice ended early, for a view that somebody holds keeps the rest. (A whole slice may cut
    /// chains without dropping anything: what it cuts off are deletions.)
    pub blocked: bool,
}

impl KeyIndex {
    /// An empty index of a store at `revision`, compacted at `compacted` (`None`: never). To load
    /// it, add all changes up to `revision`, then publish that.
    #[must_use]
    pub fn new(revision: Revision, compacted: Option<Revision>) -> KeyIndex {
        let tree = Tree::new();
        KeyIndex {
            turns: Turns::new(revision, compacted, tree.clone()),
            tree,
            garbage: Garbage::default(),
            births: Vec::new(),
            newest: Version::default(),
            changed: false,
            edits: 0,
        }
    }

    /// For readers.
    #[must_use]
    pub fn reader(&self) -> IndexReader {
        IndexReader::new(self.turns.shared())
    }

    /// The newest version of `key`, published or not; `None` if it is absent or deleted.
    #[must_use]
    pub fn newest(&self, key: &[u8]) -> Option<Record> {
        let (slot, live) = self.tree.find(key)?;
        if live { Record::load(slot.newest()) } else { None }
    }

    /// The version of `key` visible at `revision`, which may lie in the unpublished turn.
    #[must_use]
    pub fn get_at(&self, key: &[u8], revision: Revision) -> Option<Record> {
        let (slot, live) = self.tree.find(key)?;
        self.sight(revision).of(slot, live)
    }

    /// Adds a put. Changes arrive in ascending order of their [`Version`].
    ///
    /// # Panics
    /// If `record` is a deletion or older than a change before it.
    pub fn put(&mut self, record: Record) {
        assert!(record.is_put(), "{:?} is not a put", record.version());
        self.add(record);
    }

    /// Adds the deletion of a key that is live. (While loading also of one that is not: a sweep
    /// leaves deletions behind whose puts are gone.)
    ///
    /// # Panics
    /// If `tombstone` is a put or older than a change before it.
    pub fn delete(&mut self, tombstone: Record) {
        assert!(!tombstone.is_put(), "{:?} is not a deletion", tombstone.version());
        self.add(tombstone.clone());
        self.garbage.deleted(&tombstone);
    }

    /// Visits the live keys of `range` at `revision` in ascending order, writes of the unpublished
    /// turn included when `revision` covers them ([`Revision::MAX`]: all).
    pub fn scan_at(
        &self,
        range: &KeyRange,
        revision: Revision,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) {
        self.tree.scan(range, self.sight(revision), |_, record| {
            record.map_or(ControlFlow::Continue(()), |record| visit(&record))
        });
    }

    /// How many keys of `range` are live now, unpublished writes included. O(log n).
    #[must_use]
    pub fn count(&self, range: &KeyRange) -> u64 {
        self.tree.count(range)
    }

    /// Lets readers see everything written so far, as the store at `revision`. Also publishes a
    /// turn without writes (then `revision` is that of the turn before).
    ///
    /// # Panics
    /// If `revision` is below one that is published or written.
    pub fn publish(&mut self, revision: Revision) {
        let published = self.turns.last();
        assert!(revision >= published, "publish {revision} after {published}");
        assert!(revision >= self.newest.main, "publish {revision} below {}", self.newest.main);
        let births = std::mem::take(&mut self.births);
        if self.changed || revision > published {
            self.turns.publish(revision, self.tree.clone(), births, self.edits);
            (self.changed, self.edits) = (false, 0);
        }
    }

    /// From now on nobody opens a view below `revision`. Needs a published `revision`.
    ///
    /// # Panics
    /// If `revision` is not published yet, or below the compacted one.
    pub fn compact(&mut self, revision: Revision) {
        let published = self.turns.last();
        assert!(revision <= published, "compact at {revision}, published is {published}");
        let compacted = self.turns.shared().compacted();
        assert!(compacted <= Some(revision), "compact at {revision} after {compacted:?}");
        self.turns.compact(revision);
    }

    /// Drops at most `limit` versions that are superseded at or below the compacted revision and
    /// that no open view can see. The effect on the tree shows with the next publish.
    pub fn sweep(&mut self, limit: usize) -> Sweep {
        self.turns.free(1);
        let Some(compacted) = self.turns.shared().compacted() else {
            return Sweep { dropped: Vec::new(), done: true, blocked: false };
        };
        if self.garbage.is_done(compacted) {
            return Sweep { dropped: Vec::new(), done: true, blocked: false };
        }
        let floor = self.turns.floor().expect("a compacted store has a floor");
        let (mut dropped, mut ended) = (Vec::new(), false);
        for _ in 0..limit {
            if let Some(record) = self.garbage.next_cut(floor) {
                let previous = record.cut().expect("what was superseded is cut off once");
                // A deletion is dropped by its burial, sooner or later than this.
                dropped.extend(previous.is_put().then(|| Forgotten::of(&previous)));
            } else if let Some(tombstone) = self.garbage.next_burial(floor, compacted) {
                self.bury(&tombstone);
                dropped.push(Forgotten::of(&tombstone));
            } else {
                ended = true;
                break;
            }
        }
        let done = self.garbage.is_done(compacted);
        Sweep { dropped, done, blocked: ended && !done }
    }

    /// The tree is about the last change: its live bits count for revisions that cover that.
    fn sight(&self, revision: Revision) -> Sight {
        Sight { revision, live_only: revision >= self.newest.main }
    }

    fn add(&mut self, mut record: Record) {
        let version = record.version();
        assert!(version > self.newest, "{version:?} after {:?}", self.newest);
        self.newest = version;
        self.changed = true;
        let lives = record.is_put();
        let (slot, lived) = match self.tree.find(record.key()) {
            Some((slot, lived)) => {
                let previous = Record::load(slot.newest()).expect("a slot has a version");
                // The way back first: whoever finds the new version can go on to the old one.
                record.follow(previous);
                self.garbage.superseded_by(&record);
                if lived == lives {
                    return Record::store(slot.newest(), Some(record));
                }
                Record::store(slot.newest(), Some(record));
                let slot = slot.clone();
                self.tree.set_live(slot.key(), lives);
                (slot, lived)
            }
            None => {
                let slot = Slot::new(record);
                self.tree.insert(slot.clone(), lives);
                (slot, false)
            }
        };
        self.edits += 1;
        // A load brings changes of revisions that are published as one: nobody counts in between.
        // One too many tells the publish that there were more than it remembers.
        let counted = version.main > self.turns.last() && self.births.len() <= BIRTHS_MAX;
        if lived != lives && counted {
            self.births.push(Birth { revision: version.main, slot, live: lives });
        }
    }

    /// Takes away the slot of a key of which nothing is left but this deletion.
    fn bury(&mut self, tombstone: &Record) {
        let newest = self.tree.find(tombstone.key()).map(|(slot, _)| slot.newest());
        if newest.is_some_and(|newest| tombstone.is_in(newest)) {
            self.tree.remove(tombstone.key());
            self.changed = true;
            self.edits += 1;
        }
    }
}
