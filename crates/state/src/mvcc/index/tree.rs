//! The ordered tree of keys: copy-on-write, with the number of live keys below every node.
//!
//! A clone is one counted reference and stays as it is while the original is edited. What it does
//! not know: versions, revisions and turns. It finds slots, and remembers which are live.

use std::ops::ControlFlow;

use triomphe::Arc;

use super::inner::Inner;
use super::leaf::{Halt, Sight, Slot};
use crate::mvcc::record::Record;
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

    /// Visits the slots of `range` in ascending order, each with what it shows: nothing, if the key
    /// does not exist at that revision. Returns why it ended early.
    pub(super) fn scan<B>(
        &self,
        range: &KeyRange,
        sight: Sight,
        mut visit: impl FnMut(&Slot, Option<Record>) -> ControlFlow<B>,
    ) -> Option<B> {
        if range.is_empty() {
            return None;
        }
        if let Some(key) = range.as_single() {
            let (slot, live) = self.find(key)?;
            return visit(slot, sight.of(slot, live)).break_value();
        }
        match self.root.scan(Some(&range.start), &range.end, sight, &mut visit) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Version;

    const KEYS: usize = 20_000;

    fn key(i: usize) -> Vec<u8> {
        format!("/registry/{}/{i:07}", ["pods", "nodes", "leases"][i % 3]).into_bytes()
    }

    fn insert(tree: &mut Tree, i: usize, live: bool) {
        // The tree does not look at versions: deletions will do.
        let record = Record::tombstone(Version::default(), &key(i));
        tree.insert(Slot::new(record), live);
    }

    fn check(tree: &Tree) -> (usize, usize, usize) {
        tree.root.check(None, None).expect("the tree is sound")
    }

    fn shuffled(seed: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..KEYS).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        order
    }

    #[test]
    fn a_tree_is_sound_in_whatever_order_it_grows_and_shrinks() {
        let orders = [(0..KEYS).collect(), (0..KEYS).rev().collect(), shuffled(1)];
        for (grow, shrink) in [(0, 2), (1, 0), (2, 1), (2, 2)] {
            let mut tree = Tree::new();
            for (done, &i) in orders[grow].iter().enumerate() {
                insert(&mut tree, i, i % 2 == 0);
                if done % 1000 == 0 {
                    check(&tree);
                }
            }
            let (height, _, slots) = check(&tree);
            assert_eq!((height, slots), (2, KEYS));
            assert_eq!(tree.count(&KeyRange::all()), KEYS as u64 / 2);
            let (full, order) = (tree.clone(), &orders[shrink]);
            for (done, &i) in order.iter().enumerate() {
                assert_eq!(tree.find(&key(i)).map(|(_, live)| live), Some(i % 2 == 0));
                if i % 2 == 0 {
                    tree.set_live(&key(i), false);
                }
                tree.remove(&key(i));
                if done % 1000 == 0 {
                    check(&tree);
                }
            }
            assert_eq!(check(&tree), (1, 1, 0));
            // The snapshot has not moved.
            assert_eq!(check(&full).2, KEYS);
            insert(&mut tree, 3, true);
            assert_eq!(check(&tree).2, 1);
        }
    }

    #[test]
    fn nodes_stay_filled_when_most_keys_go() {
        let mut tree = Tree::new();
        let order = shuffled(2);
        for &i in &order {
            insert(&mut tree, i, false);
        }
        for &i in &order[KEYS / 20..] {
            tree.remove(&key(i));
        }
        let (_, leaves, slots) = check(&tree);
        assert_eq!(slots, KEYS / 20);
        assert!(leaves <= slots / 10, "{slots} slots in {leaves} leaves");
    }

    #[test]
    fn keys_in_ascending_order_fill_their_leaves() {
        let mut tree = Tree::new();
        let mut keys: Vec<usize> = (0..KEYS).collect();
        keys.sort_by_key(|&i| key(i));
        for i in keys {
            insert(&mut tree, i, true);
        }
        let (_, leaves, slots) = check(&tree);
        assert!(leaves <= slots / 59, "{slots} slots in {leaves} leaves");
    }

    #[test]
    fn a_tree_of_three_levels_grows_and_collapses() {
        const MANY: usize = 250_000;
        let mut tree = Tree::new();
        for i in (0..MANY).step_by(3).chain((1..MANY).step_by(3)).chain((2..MANY).step_by(3)) {
            insert(&mut tree, i, false);
        }
        let (height, _, slots) = check(&tree);
        assert_eq!((height, slots), (3, MANY));
        for i in (0..MANY).filter(|i| i % 1000 != 0) {
            tree.remove(&key(i));
        }
        let (height, _, slots) = check(&tree);
        assert_eq!((height, slots), (1, MANY / 1000));
    }

    #[test]
    fn a_wrong_count_is_noticed() {
        let mut tree = Tree::new();
        insert(&mut tree, 0, true);
        check(&tree);
        Inner::miscount(&mut tree.root);
        assert!(tree.root.check(None, None).is_err());
    }
}
