//! The ordered tree of keys: copy-on-write, with the number of live keys below every node.
//!
//! A clone is one counted reference and stays as it is while the original is edited. What it does
//! not know: versions, revisions and turns. It finds slots, and remembers which are live.

use std::ops::ControlFlow;

use triomphe::Arc;

use super::inner::Inner;
use super::leaf::{Halt, Slot};
use crate::types::{KeyRange, RangeEnd};

/// A tree, or a snapshot of one.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: Arc<Inner>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { root: Arc::new(Inner::empty()) }
    }

    /// The slot of `key`, and whether the key is live.
    pub(super) fn find(&self, key: &[u8]) -> Option<(&Slot, bool)> {
        self.root.find(key)
    }

    /// How many keys of `range` are live. Two descents.
    pub(super) fn count(&self, range: &KeyRange) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let end = match &range.end {
            RangeEnd::Single => {
                return u64::from(self.find(&range.start).is_some_and(|(_, live)| live));
            }
            RangeEnd::Before(end) => self.root.rank(end),
            RangeEnd::Unbounded => u64::from(self.root.live_count()),
        };
        end - if range.start.is_empty() { 0 } else { self.root.rank(&range.start) }
    }

    /// Visits the slots of `range` in ascending order, dead ones too. Returns why it ended early.
    pub(super) fn scan<B>(
        &self,
        range: &KeyRange,
        mut visit: impl FnMut(&Slot, bool) -> ControlFlow<B>,
    ) -> Option<B> {
        if range.is_empty() {
            return None;
        }
        if let Some(key) = range.as_single() {
            let (slot, live) = self.find(key)?;
            return visit(slot, live).break_value();
        }
        match self.root.scan(Some(&range.start), &range.end, &mut visit) {
            ControlFlow::Break(Halt::By(by)) => Some(by),
            ControlFlow::Break(Halt::PastEnd) | ControlFlow::Continue(()) => None,
        }
    }

    /// Adds a slot whose key has none.
    pub(super) fn insert(&mut self, slot: Slot, live: bool) {
        if let Some(split) = Inner::insert(&mut self.root, slot, live) {
            self.root = Arc::new(Inner::above(Arc::clone(&self.root), split));
        }
    }

    /// Marks a key that has a slot as live or dead; it was the other before.
    pub(super) fn set_live(&mut self, key: &[u8], live: bool) {
        Inner::set_live(&mut self.root, key, live);
    }

    /// Takes away the slot of a dead key.
    pub(super) fn remove(&mut self, key: &[u8]) {
        Inner::remove(&mut self.root, key);
        if self.root.len() == 0 {
            *self = Tree::new();
        }
        while let Some(only) = self.root.only_inner() {
            self.root = Arc::clone(only);
        }
    }
}
