//! The nodes of a [`CowTree`](super::CowTree): leaves of entries, inner nodes of separators.
//!
//! ```text
//! inner  [ first: 2 ▸ ] [ first: 40 ▸ ] [ first: 71 ▸ ]     kid i holds keys from its first to the next
//! ```
//!
//! The `first` of a kid is a lower bound of its keys, not always its lowest key, and that of the
//! leftmost kid is never looked at: keys below it go there too.
//!
//! What it does not do: it knows neither the tail nor the root's growth and shrinking.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::ControlFlow;

use triomphe::Arc;

use super::{Keyed, Shape};

/// Entries of a leaf: 64 pointers are 512 bytes. Twice as many make a scattered removal copy twice as
/// much; half as many cost a history one byte more for each entry.
pub(super) const ENTRIES_MAX: usize = 64;
/// Kids of an inner node.
const KIDS_MAX: usize = 64;
/// Below this a node looks for a neighbour to merge with.
const THIN: usize = 16;
/// What a merge may make: well below full, lest the next insertion split it again.
const MERGED_MAX: usize = 48;
const _: () = assert!(THIN < MERGED_MAX && MERGED_MAX < ENTRIES_MAX && MERGED_MAX < KIDS_MAX);

#[derive(Clone)]
pub(super) enum Node<V: Keyed> {
    Leaf(Arc<Leaf<V>>),
    Inner(Arc<Inner<V>>),
}

pub(super) struct Leaf<V> {
    /// Ascending.
    entries: Vec<V>,
}

#[derive(Clone)]
pub(super) struct Inner<V: Keyed> {
    /// Ascending by `first`.
    pub(super) kids: Vec<Kid<V>>,
}

#[derive(Clone)]
pub(super) struct Kid<V: Keyed> {
    pub(super) first: V::Separator,
    pub(super) node: Node<V>,
}

/// Takes the leaf out of its shared place: moved if nobody else holds it.
pub(super) fn into_leaf<V: Keyed>(leaf: Arc<Leaf<V>>) -> Leaf<V> {
    Arc::try_unwrap(leaf).unwrap_or_else(|shared| Leaf::clone(&shared))
}

impl<V: Keyed> Node<V> {
    /// Entries or kids.
    pub(super) fn len(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.kids.len(),
        }
    }

    /// A lower bound of the keys it holds now.
    pub(super) fn first(&self) -> V::Separator {
        match self {
            Node::Leaf(leaf) => leaf.first().expect("no node is empty").separator(),
            Node::Inner(inner) => inner.kids[0].first.clone(),
        }
    }

    pub(super) fn last(&self) -> Option<&V> {
        match self {
            Node::Leaf(leaf) => leaf.last(),
            Node::Inner(inner) => inner.kids.last()?.node.last(),
        }
    }

    pub(super) fn get(&self, key: &V::Key) -> Option<&V> {
        match self {
            Node::Leaf(leaf) => leaf.get(key),
            Node::Inner(inner) => inner.kids[inner.kid_of(key)].node.get(key),
        }
    }

    /// `from` is `None` where the bound lies below the node.
    pub(super) fn scan(
        &self,
        from: Option<&V::Key>,
        visit: &mut dyn FnMut(&V) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let inner = match self {
            Node::Leaf(leaf) => return leaf.scan(from, visit),
            Node::Inner(inner) => inner,
        };
        let start = from.map_or(0, |from| inner.kid_of(from));
        let mut bound = from;
        for kid in &inner.kids[start..] {
            kid.node.scan(bound, visit)?;
            bound = None;
        }
        ControlFlow::Continue(())
    }

    /// Adds entries above all keys; gives back a new right neighbour if they do not all fit.
    pub(super) fn append(&mut self, entries: Leaf<V>) -> Option<Kid<V>> {
        match self {
            Node::Leaf(leaf) => {
                let rest = Arc::make_mut(leaf).append(entries);
                let first = rest.first()?.separator();
                Some(Kid { first, node: Node::Leaf(Arc::new(rest)) })
            }
            Node::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                let last = inner.kids.len() - 1;
                let split = inner.kids[last].node.append(entries)?;
                inner.add_kid(last + 1, split)
            }
        }
    }

    /// Adds an entry; gives back the one it replaces and a new right neighbour.
    pub(super) fn insert(&mut self, entry: V, key: &V::Key) -> (Option<V>, Option<Kid<V>>) {
        match self {
            Node::Leaf(leaf) => {
                let leaf = Arc::make_mut(leaf);
                if leaf.len() < ENTRIES_MAX || leaf.get(key).is_some() {
                    return (leaf.insert(entry, key), None);
                }
                let mut right = leaf.split(key);
                let half = match right.first() {
                    Some(first) if first.compare(key) == Ordering::Greater => leaf,
                    _ => &mut right,
                };
                half.insert(entry, key);
                let first = right.first().expect("it was split off or takes the entry").separator();
                (None, Some(Kid { first, node: Node::Leaf(Arc::new(right)) }))
            }
            Node::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                let at = inner.kid_of(key);
                let (replaced, split) = inner.kids[at].node.insert(entry, key);
                (replaced, split.and_then(|split| inner.add_kid(at + 1, split)))
            }
        }
    }

    /// Removes an entry. The node may be empty or thin afterwards: its parent mends that.
    pub(super) fn remove(&mut self, key: &V::Key) -> Option<V> {
        match self {
            Node::Leaf(leaf) => {
                leaf.get(key)?;
                Arc::make_mut(leaf).remove(key)
            }
            Node::Inner(inner) => {
                // Copies the path for an absent key as well; only a row can be absent, and tables
                // are small.
                let inner = Arc::make_mut(inner);
                let at = inner.kid_of(key);
                let removed = inner.kids[at].node.remove(key)?;
                inner.mend(at);
                Some(removed)
            }
        }
    }

    pub(super) fn measure(&self, shape: &mut Shape) {
        match self {
            Node::Leaf(leaf) => {
                shape.leaves += 1;
                shape.node_bytes += leaf.bytes();
            }
            Node::Inner(inner) => {
                shape.inners += 1;
                shape.node_bytes += size_of::<Inner<V>>()
                    + size_of::<usize>()
                    + inner.kids.capacity() * size_of::<Kid<V>>();
                for kid in &inner.kids {
                    kid.node.measure(shape);
                }
            }
        }
    }

    /// Takes in all that a right neighbour holds; `first` is that neighbour's lower bound.
    fn absorb(&mut self, right: Kid<V>) {
        match (self, right.node) {
            (Node::Leaf(left), Node::Leaf(node)) => {
                let rest = Arc::make_mut(left).append(into_leaf(node));
                assert!(rest.len() == 0, "merged leaves overflow by {}", rest.len());
            }
            (Node::Inner(left), Node::Inner(node)) => {
                let mut kids =
                    Arc::try_unwrap(node).unwrap_or_else(|shared| Inner::clone(&shared)).kids;
                // It was leftmost, where the bound is not kept up; now it counts.
                kids[0].first = right.first;
                Arc::make_mut(left).kids.append(&mut kids);
            }
            _ => unreachable!("all leaves are at the same depth"),
        }
    }
}

impl<V: Keyed> Clone for Leaf<V> {
    fn clone(&self) -> Leaf<V> {
        let touched = self.entries.iter().fold(0, |sum, entry| sum ^ entry.touch());
        std::hint::black_box(touched);
        Leaf { entries: self.entries.clone() }
    }
}

impl<V: Keyed> Inner<V> {
    /// Where a key belongs.
    fn kid_of(&self, key: &V::Key) -> usize {
        self.kids[1..].partition_point(|kid| kid.first.borrow() <= key)
    }

    /// Adds a kid; gives back a new right neighbour if there is no room.
    fn add_kid(&mut self, at: usize, kid: Kid<V>) -> Option<Kid<V>> {
        if self.kids.len() < KIDS_MAX {
            self.kids.insert(at, kid);
            return None;
        }
        let right = if at == self.kids.len() {
            vec![kid]
        } else {
            let mut right = self.kids.split_off(KIDS_MAX / 2);
            match at.checked_sub(KIDS_MAX / 2) {
                Some(at) => right.insert(at, kid),
                None => self.kids.insert(at, kid),
            }
            right
        };
        let first = right[0].first.clone();
        Some(Kid { first, node: Node::Inner(Arc::new(Inner { kids: right })) })
    }

    /// After a removal from kid `at`: lets an empty one go, merges a thin one with a neighbour.
    fn mend(&mut self, at: usize) {
        let len = self.kids[at].node.len();
        if len == 0 {
            self.kids.remove(at);
        } else if len < THIN {
            let left_of_pair = [at.checked_sub(1), Some(at)].into_iter().flatten().find(|&left| {
                self.kids.get(left + 1).is_some_and(|right| {
                    self.kids[left].node.len() + right.node.len() <= MERGED_MAX
                })
            });
            if let Some(left) = left_of_pair {
                let right = self.kids.remove(left + 1);
                self.kids[left].node.absorb(right);
            }
        }
    }
}

impl<V: Keyed> Leaf<V> {
    pub(super) fn new(entries: Vec<V>) -> Leaf<V> {
        Leaf { entries }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn first(&self) -> Option<&V> {
        self.entries.first()
    }

    pub(super) fn last(&self) -> Option<&V> {
        self.entries.last()
    }

    /// Where the entry is, or would be. Looks around a guess in growing steps, then halves.
    fn find(&self, key: &V::Key) -> Result<usize, usize> {
        let (Some(first), Some(last)) = (self.first(), self.last()) else { return Err(0) };
        let (mut low, mut high, mut step) = (0, self.len(), 1);
        let mut at = V::guess(key, first, last, self.len());
        while low < high {
            if !(low..high).contains(&at) {
                at = low + (high - low) / 2;
            }
            match self.entries[at].compare(key) {
                Ordering::Equal => return Ok(at),
                Ordering::Less => {
                    low = at + 1;
                    at += step;
                }
                Ordering::Greater => {
                    high = at;
                    at = at.saturating_sub(step);
                }
            }
            step *= 2;
        }
        Err(low)
    }

    pub(super) fn get(&self, key: &V::Key) -> Option<&V> {
        self.find(key).ok().map(|at| &self.entries[at])
    }

    pub(super) fn scan(
        &self,
        from: Option<&V::Key>,
        visit: &mut dyn FnMut(&V) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let start = from.map_or(0, |from| self.find(from).unwrap_or_else(|at| at));
        self.entries[start..].iter().try_for_each(visit)
    }

    pub(super) fn push(&mut self, entry: V) {
        self.entries.push(entry);
    }

    pub(super) fn extend_from(&mut self, other: &Leaf<V>) {
        self.entries.extend_from_slice(&other.entries);
    }

    pub(super) fn insert(&mut self, entry: V, key: &V::Key) -> Option<V> {
        match self.find(key) {
            Ok(at) => Some(std::mem::replace(&mut self.entries[at], entry)),
            Err(at) => {
                if self.len() == self.entries.capacity() {
                    // Doubling from a copy's exact size would end above the most a leaf may hold.
                    self.entries.reserve_exact(self.len().max(4).min(ENTRIES_MAX - self.len()));
                }
                self.entries.insert(at, entry);
                None
            }
        }
    }

    pub(super) fn remove(&mut self, key: &V::Key) -> Option<V> {
        let at = self.find(key).ok()?;
        let removed = self.entries.remove(at);
        if self.entries.len() < self.entries.capacity() / 2 {
            self.entries.shrink_to_fit();
        }
        Some(removed)
    }

    /// Adds entries above all keys; gives back those that do not fit.
    fn append(&mut self, mut entries: Leaf<V>) -> Leaf<V> {
        let fitting = entries.len().min(ENTRIES_MAX - self.len());
        // Exactly: a full leaf has no room to spare, and most become full.
        self.entries.reserve_exact(fitting);
        self.entries.extend(entries.entries.drain(..fitting));
        entries
    }

    /// Makes room for `key` in a full leaf: half of the entries leave, or none if the key comes last.
    fn split(&mut self, key: &V::Key) -> Leaf<V> {
        let at = match self.find(key) {
            Err(at) if at == self.len() => at,
            _ => self.len() / 2,
        };
        Leaf::new(self.entries.split_off(at))
    }

    /// Of the node, its reference count and its entries.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Leaf<V>>() + size_of::<usize>() + self.entries.capacity() * size_of::<V>()
    }
}
