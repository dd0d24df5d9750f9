//! A persistent B+tree: cloning it is a view, and costs two reference counts.
//!
//! The memory engine keeps the history and every table in one. A clone and the original share all
//! nodes; whoever writes copies the nodes on its way that somebody else still holds, and edits those
//! that are its own in place. So a turn of 256 writes copies a node once, not 256 times.
//!
//! ```text
//! CowTree ── root ─▶ inner ─▶ leaf [2 3 5] [8 9 12]     64 entries a leaf, packed by appending
//!         └─ tail ─────────────────────────────▶ [13 14] newest entries, up to 16
//! ```
//!
//! *Appending* is what a history does: a key above all others goes to the tail, and a full tail moves
//! into the last leaf in one piece. When every turn is published this copies about 15 entries a turn
//! (8 of the tail, the rest a sixteenth of the path), where a tree without a tail copies 60; leaves end
//! up full, because one that overflows at its end splits off only the new keys.
//!
//! *Removing* empties nodes unevenly. An empty node leaves the tree; one below a quarter merges with a
//! neighbour if both fit into three quarters of a node. So no two neighbours below the same parent
//! stay thin for ever, whatever was removed.
//!
//! ```
//! use bytes::Bytes;
//! use state::engine::cow_tree::{CowTree, Row};
//!
//! let row = |key: &'static str| Row { key: key.into(), value: Bytes::new() };
//! let mut rows = CowTree::new();
//! rows.insert(row("a"));
//! let view = rows.clone();
//! rows.insert(row("b"));
//! rows.remove(b"a");
//! assert!(view.get(b"a").is_some() && view.get(b"b").is_none());
//! assert!(rows.get(b"a").is_none() && rows.get(b"b").is_some());
//! ```
//!
//! What it does not do: it has no readers' door of its own (an engine publishes clones) and does not
//! count keys in a range (the key index does).
//!
//! # Who frees
//! The last holder of a node frees it. A writer that holds no clone frees at most the nodes that the
//! current turn replaced; a reader that held a clone for long frees, when it lets go, everything that
//! was replaced meanwhile. So the writer must not keep old clones: then it never pays for a long read.
//! Dropping the last tree frees everything at once, for a large one on a thread that can wait.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::Bytes;
use triomphe::Arc;

use crate::mvcc::record::Record;
use crate::types::Version;
use node::{ENTRIES_MAX, Inner, Kid, Leaf, Node};

mod node;
#[cfg(test)]
mod tests;

/// Entries of a tail. A published turn copies half of them on average; a smaller tail moves into the
/// tree more often, which copies a path.
const TAIL_MAX: usize = 16;
const _: () = assert!(TAIL_MAX <= ENTRIES_MAX, "a moved tail makes at most one new leaf");

/// An entry that knows its own key, so that the tree stores it once. Clones are cheap.
pub trait Keyed: Clone {
    /// The form in which a key is asked for.
    type Key: Ord + ?Sized;
    /// The form in which inner nodes keep a key.
    type Separator: Clone + Borrow<Self::Key>;

    /// How this entry's key compares with `key`.
    fn compare(&self, key: &Self::Key) -> Ordering;

    /// A copy of this entry's key.
    fn separator(&self) -> Self::Separator;

    /// Where a search for `key` among `len` entries from `first` to `last` had best begin.
    ///
    /// Looking at a key may cost a cache miss; a good guess saves most of them.
    fn guess(_key: &Self::Key, _first: &Self, _last: &Self, len: usize) -> usize {
        len / 2
    }

    /// Reads something of what a clone has to count, and returns it so that the read stays.
    ///
    /// A copied leaf counts up each entry; those steps wait for each other, plain reads do not.
    fn touch(&self) -> u64 {
        0
    }
}

impl Keyed for Record {
    type Key = Version;
    type Separator = Version;

    fn compare(&self, key: &Version) -> Ordering {
        self.version().cmp(key)
    }

    fn separator(&self) -> Version {
        self.version()
    }

    /// Revisions are about evenly spread over a leaf, whatever share of them was forgotten.
    fn guess(key: &Version, first: &Record, last: &Record, len: usize) -> usize {
        let main = |version: &Version| version.main.0;
        let (low, high) = (main(&first.version()), main(&last.version()));
        let (width, from_low) = (high.abs_diff(low), main(key).clamp(low, high).abs_diff(low));
        let guess = u128::from(from_low) * (len as u128 - 1) / u128::from(width.max(1));
        usize::try_from(guess).expect("below len")
    }

    fn touch(&self) -> u64 {
        self.version().main.0.cast_unsigned()
    }
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What names it.
    pub key: Bytes,
    /// What it says.
    pub value: Bytes,
}

impl Keyed for Row {
    type Key = [u8];
    type Separator = Bytes;

    fn compare(&self, key: &[u8]) -> Ordering {
        self.key[..].cmp(key)
    }

    fn separator(&self) -> Bytes {
        self.key.clone()
    }
}

/// An ordered set of entries; see the module.
#[derive(Clone)]
pub struct CowTree<V: Keyed> {
    root: Option<Node<V>>,
    /// Every key in it is above every key in `root`.
    tail: Arc<Leaf<V>>,
    len: usize,
}

/// What a tree is made of; for measuring it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Leaves, without the tail.
    pub leaves: usize,
    /// Nodes above them.
    pub inners: usize,
    /// Bytes of the nodes, of what they have allocated for entries and separators; not of what the
    /// entries refer to.
    pub node_bytes: usize,
}

impl<V: Keyed> Default for CowTree<V> {
    fn default() -> CowTree<V> {
        CowTree::new()
    }
}

impl<V: Keyed> CowTree<V> {
    /// A tree without entries.
    #[must_use]
    pub fn new() -> CowTree<V> {
        CowTree { root: None, tail: Arc::new(Leaf::new(Vec::new())), len: 0 }
    }

    /// Entries in the tree.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry with this key.
    #[must_use]
    pub fn get(&self, key: &V::Key) -> Option<&V> {
        if self.tail_covers(key) {
            return self.tail.get(key);
        }
        self.root.as_ref()?.get(key)
    }

    /// The entry with the highest key.
    #[must_use]
    pub fn last(&self) -> Option<&V> {
        self.tail.last().or_else(|| self.root.as_ref()?.last())
    }

    /// Visits the entries whose keys are not below `from`, in ascending order, until told to stop.
    pub fn scan(
        &self,
        from: &V::Key,
        visit: &mut dyn FnMut(&V) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !self.tail_covers(from)
            && let Some(root) = &self.root
        {
            root.scan(Some(from), visit)?;
        }
        self.tail.scan(Some(from), visit)
    }

    /// Adds an entry; gives back the one that had its key.
    pub fn insert(&mut self, entry: V) -> Option<V> {
        let separator = entry.separator();
        let key = separator.borrow();
        let replaced = if self.last().is_none_or(|last| last.compare(key) == Ordering::Less) {
            self.append(entry);
            None
        } else if self.tail_covers(key) {
            self.insert_into_tail(entry, key)
        } else {
            self.insert_into_root(entry, key)
        };
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Removes the entry with this key.
    pub fn remove(&mut self, key: &V::Key) -> Option<V> {
        let removed = if self.tail_covers(key) {
            Arc::make_mut(&mut self.tail).remove(key)
        } else {
            self.remove_from_root(key)
        }?;
        self.len -= 1;
        Some(removed)
    }

    /// Walks the whole tree to say what it is made of.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let mut shape = Shape { node_bytes: self.tail.bytes(), ..Shape::default() };
        if let Some(root) = &self.root {
            root.measure(&mut shape);
        }
        shape
    }

    fn tail_covers(&self, key: &V::Key) -> bool {
        self.tail.first().is_some_and(|first| first.compare(key) != Ordering::Greater)
    }

    fn append(&mut self, entry: V) {
        if self.tail.len() == TAIL_MAX {
            self.move_tail();
        }
        match Arc::get_mut(&mut self.tail) {
            Some(tail) => tail.push(entry),
            // Not `make_mut`: its copy would have no room for the push.
            None => {
                let mut tail = Leaf::new(Vec::with_capacity(TAIL_MAX));
                tail.extend_from(&self.tail);
                tail.push(entry);
                self.tail = Arc::new(tail);
            }
        }
    }

    /// Moves the tail into the tree, as its last entries.
    fn move_tail(&mut self) {
        let tail = std::mem::replace(&mut self.tail, Arc::new(Leaf::new(Vec::new())));
        let entries = node::into_leaf(tail);
        if entries.len() == 0 {
            return;
        }
        let split = match &mut self.root {
            Some(root) => root.append(entries),
            None => {
                self.root = Some(Node::Leaf(Arc::new(entries)));
                None
            }
        };
        self.grow(split);
    }

    fn insert_into_tail(&mut self, entry: V, key: &V::Key) -> Option<V> {
        if self.tail.get(key).is_none() && self.tail.len() == TAIL_MAX {
            self.move_tail();
            return self.insert_into_root(entry, key);
        }
        Arc::make_mut(&mut self.tail).insert(entry, key)
    }

    fn insert_into_root(&mut self, entry: V, key: &V::Key) -> Option<V> {
        let Some(root) = &mut self.root else {
            self.root = Some(Node::Leaf(Arc::new(Leaf::new(vec![entry]))));
            return None;
        };
        let (replaced, split) = root.insert(entry, key);
        self.grow(split);
        replaced
    }

    /// Puts a new root above the old one and the node it split off.
    fn grow(&mut self, split: Option<Kid<V>>) {
        let Some(split) = split else { return };
        let root = self.root.take().expect("a node that splits was the root");
        let old = Kid { first: root.first(), node: root };
        self.root = Some(Node::Inner(Arc::new(Inner { kids: vec![old, split] })));
    }

    fn remove_from_root(&mut self, key: &V::Key) -> Option<V> {
        let root = self.root.as_mut()?;
        let removed = root.remove(key)?;
        if root.len() == 0 {
            self.root = None;
        }
        // A root above a single node only lengthens every path.
        while let Some(Node::Inner(inner)) = &self.root
            && let [only] = &inner.kids[..]
        {
            let node = only.node.clone();
            self.root = Some(node);
        }
        Some(removed)
    }
}
