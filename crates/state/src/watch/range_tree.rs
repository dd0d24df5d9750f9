//! Ranges of keys and who wants them: finds every range that contains a key.
//!
//! A binary search tree ordered by range, where each node knows the farthest end below it, so that
//! a search leaves out whole subtrees that end before the key. It is kept balanced by priorities
//! (a treap) that are a hash of the order of insertion: nothing random, nothing a client can steer.
//!
//! ```text
//! [a, z)  [b, d)  [m, ∞)      key c  →  [a, z), [b, d)       key y  →  [a, z), [m, ∞)
//! ```
//!
//! Equal ranges share a node. It does not hold single keys: an ordered map does that better.

use std::cmp::Ordering;

use crate::types::{KeyRange, RangeEnd};

const NONE: u32 = u32::MAX;

/// Distinct ranges, each with a value.
#[derive(Debug)]
pub(super) struct RangeTree<T> {
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
    root: u32,
    inserted: u64,
}

#[derive(Debug)]
struct Node<T> {
    range: KeyRange,
    value: Option<T>,
    priority: u64,
    left: u32,
    right: u32,
    /// The node of this subtree whose range ends last.
    farthest: u32,
}

impl<T> RangeTree<T> {
    pub(super) fn new() -> RangeTree<T> {
        RangeTree { nodes: Vec::new(), free: Vec::new(), root: NONE, inserted: 0 }
    }

    /// How many distinct ranges there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// The value of exactly this range.
    pub(super) fn get_mut(&mut self, range: &KeyRange) -> Option<&mut T> {
        let mut at = self.root;
        while at != NONE {
            let node = &self.nodes[at as usize];
            at = match range.cmp(&node.range) {
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
                Ordering::Equal => return self.nodes[at as usize].value.as_mut(),
            };
        }
        None
    }

    /// Adds a range that is not there yet.
    pub(super) fn insert(&mut self, range: KeyRange, value: T) {
        let (left, right) = self.split(self.root, &range, false);
        self.inserted += 1;
        let priority = spread(self.inserted);
        let node =
            Node { range, value: Some(value), priority, left: NONE, right: NONE, farthest: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 distinct ranges")
            }
        };
        self.refresh(at);
        let left = self.merge(left, at);
        self.root = self.merge(left, right);
    }

    /// Removes a range.
    pub(super) fn remove(&mut self, range: &KeyRange) -> Option<T> {
        let (left, rest) = self.split(self.root, range, false);
        let (found, right) = self.split(rest, range, true);
        self.root = self.merge(left, right);
        if found == NONE {
            return None;
        }
        self.free.push(found);
        let node = &mut self.nodes[found as usize];
        node.range = KeyRange::all();
        node.value.take()
    }

    /// Visits the value of every range that contains `key`, in the order of the ranges.
    pub(super) fn matching(&mut self, key: &[u8], visit: &mut impl FnMut(&mut T)) {
        self.matching_below(self.root, key, visit);
    }

    /// Visits every value.
    pub(super) fn for_each(&mut self, visit: &mut impl FnMut(&KeyRange, &mut T)) {
        for node in &mut self.nodes {
            if let Some(value) = &mut node.value {
                visit(&node.range, value);
            }
        }
    }

    fn matching_below(&mut self, at: u32, key: &[u8], visit: &mut impl FnMut(&mut T)) {
        if at == NONE {
            return;
        }
        let node = &self.nodes[at as usize];
        if !ends_after(&self.nodes[node.farthest as usize].range, key) {
            return;
        }
        let (left, right) = (node.left, node.right);
        self.matching_below(left, key, visit);
        let node = &mut self.nodes[at as usize];
        if &node.range.start[..] > key {
            return;
        }
        if node.range.contains(key) {
            visit(node.value.as_mut().expect("a node in the tree has a value"));
        }
        self.matching_below(right, key, visit);
    }

    /// Splits into what is below `range` and the rest; `range` itself goes left if `inclusive`.
    fn split(&mut self, at: u32, range: &KeyRange, inclusive: bool) -> (u32, u32) {
        if at == NONE {
            return (NONE, NONE);
        }
        let order = self.nodes[at as usize].range.cmp(range);
        if order == Ordering::Less || inclusive && order == Ordering::Equal {
            let (left, right) = self.split(self.nodes[at as usize].right, range, inclusive);
            self.nodes[at as usize].right = left;
            self.refresh(at);
            (at, right)
        } else {
            let (left, right) = self.split(self.nodes[at as usize].left, range, inclusive);
            self.nodes[at as usize].left = right;
            self.refresh(at);
            (left, at)
        }
    }

    /// Joins two trees of which every range in `left` is below every range in `right`.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NONE {
            return right;
        }
        if right == NONE {
            return left;
        }
        if self.nodes[left as usize].priority > self.nodes[right as usize].priority {
            let below = self.merge(self.nodes[left as usize].right, right);
            self.nodes[left as usize].right = below;
            self.refresh(left);
            left
        } else {
            let below = self.merge(left, self.nodes[right as usize].left);
            self.nodes[right as usize].left = below;
            self.refresh(right);
            right
        }
    }

    /// Recomputes what `at` knows about its subtree.
    fn refresh(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let mut farthest = at;
        for child in [node.left, node.right] {
            if child == NONE {
                continue;
            }
            let candidate = self.nodes[child as usize].farthest;
            let ends = |index: u32| &self.nodes[index as usize].range.end;
            if ends(candidate) > ends(farthest) {
                farthest = candidate;
            }
        }
        self.nodes[at as usize].farthest = farthest;
    }
}

/// Whether a range, wherever it starts, ends after `key`.
fn ends_after(range: &KeyRange, key: &[u8]) -> bool {
    match &range.end {
        RangeEnd::Single => &range.start[..] >= key,
        RangeEnd::Before(end) => &end[..] > key,
        RangeEnd::Unbounded => true,
    }
}

/// A permutation of the numbers that looks random: splitmix64.
/// Source: <https://prng.di.unimi.it/splitmix64.c>, public domain.
fn spread(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range_of(start: u8, end: u8) -> KeyRange {
        let end = if end == 0 { vec![0] } else { vec![end] };
        KeyRange::from_request(vec![start], end)
    }

    fn depth<T>(tree: &RangeTree<T>, at: u32) -> usize {
        if at == NONE {
            return 0;
        }
        let node = &tree.nodes[at as usize];
        1 + depth(tree, node.left).max(depth(tree, node.right))
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_look_at_every_range_finds(
            steps in proptest::collection::vec((any::<bool>(), 1u8..12, 0u8..12), 1..80),
        ) {
            let mut tree = RangeTree::new();
            let mut model = BTreeSet::new();
            for (add, start, end) in steps {
                let range = range_of(start, end);
                if add && model.insert(range.clone()) {
                    prop_assert!(tree.get_mut(&range).is_none());
                    tree.insert(range.clone(), range);
                } else if !add {
                    let removed = tree.remove(&range);
                    prop_assert_eq!(removed.is_some(), model.remove(&range));
                }
                prop_assert_eq!(tree.len(), model.len());
                for key in 0u8..13 {
                    let mut found = Vec::new();
                    tree.matching(&[key], &mut |range| found.push(range.clone()));
                    let expected: Vec<KeyRange> =
                        model.iter().filter(|range| range.contains(&[key])).cloned().collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn ranges_that_arrive_in_order_do_not_make_a_list() {
        let mut tree = RangeTree::new();
        for start in 0..10_000u32 {
            tree.insert(KeyRange::from_request(start.to_be_bytes().to_vec(), vec![0]), start);
        }
        let depth = depth(&tree, tree.root);
        assert!(depth < 60, "depth {depth} of 10,000 ranges");
    }
}
