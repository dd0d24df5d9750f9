//! The upper nodes of the tree: children, the keys between them, and the live keys below each.
//!
//! ```text
//!            separators      "g"       "p"
//! children              leaf     leaf      leaf
//! live keys              41       38        60
//! ```
//!
//! A change of a published node copies it once per turn (`make_mut`), then edits the copy. Copying
//! counts a reference for every child, which is most of its cost; the separators change rarely and
//! stay shared.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use arrayvec::ArrayVec;
use triomphe::{Arc, ThinArc};

use super::heads::{self, common_prefix, head};
use super::leaf::{Halt, Leaf, Sight, Slot};
use crate::mvcc::record::Record;
use crate::types::RangeEnd;

/// Room in a node: one more than it keeps, so that it splits after the insertion.
const ROOM: usize = 64;
const KIDS_MAX: usize = ROOM - 1;
const KIDS_THIN: usize = 16;
const KIDS_MERGED: usize = 48;

type Separator = ThinArc<(), u8>;

/// An upper node. It has at least one child.
#[derive(Clone, Debug)]
pub(super) struct Inner {
    counts: ArrayVec<u32, ROOM>,
    kids: Kids,
    seps: Seps,
}

#[derive(Clone, Debug)]
enum Kids {
    Leaves(ArrayVec<Arc<Leaf>, ROOM>),
    Inners(ArrayVec<Arc<Inner>, ROOM>),
}

/// The keys between children: child `i` holds keys from `keys[i - 1]` on and below `keys[i]`.
///
/// In one piece, because a descent reads them at each level: the words of the prefix that all have
/// in common, then their heads. The keys themselves are rarely looked at.
type Seps = ThinArc<SepsHead, u64>;

#[derive(Debug)]
struct SepsHead {
    skip: usize,
    keys: Vec<Separator>,
}

fn seps(keys: Vec<Separator>) -> Seps {
    let ends = keys.first().zip(keys.last());
    let skip = ends.map_or(0, |(first, last)| common_prefix(&first.slice, &last.slice));
    let heads = keys.iter().map(|key| head(&key.slice, skip));
    let words: Vec<u64> = match keys.first() {
        Some(first) => heads::prefix_words(&first.slice, skip).chain(heads).collect(),
        None => Vec::new(),
    };
    ThinArc::from_header_and_slice(SepsHead { skip, keys }, &words)
}

/// A node that became two.
pub(super) struct InnerSplit {
    separator: Separator,
    right: Arc<Inner>,
    append: bool,
}

impl Inner {
    pub(super) fn empty() -> Inner {
        let mut inner = Inner {
            counts: ArrayVec::new(),
            kids: Kids::Leaves(ArrayVec::new()),
            seps: seps(Vec::new()),
        };
        if let Kids::Leaves(leaves) = &mut inner.kids {
            leaves.push(Arc::new(Leaf::empty()));
        }
        inner.counts.push(0);
        inner
    }

    /// A root above two nodes.
    pub(super) fn above(left: Arc<Inner>, split: InnerSplit) -> Inner {
        let counts = [left.live_count(), split.right.live_count()].into_iter().collect();
        let kids = Kids::Inners([left, split.right].into_iter().collect());
        Inner { counts, kids, seps: seps(vec![split.separator]) }
    }

    pub(super) fn live_count(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// Which child has `key`.
    fn child(&self, key: &[u8]) -> usize {
        let SepsHead { skip, keys } = &self.seps.header.header;
        let (prefix, heads) = self.seps.slice.split_at(skip.div_ceil(8));
        match heads::compare_prefix(key, prefix, *skip) {
            Ordering::Less => 0,
            Ordering::Greater => keys.len(),
            Ordering::Equal => {
                let at = |i: usize| &keys[i].slice;
                match heads::search_behind_prefix(heads, *skip, key, at) {
                    Ok(i) => i + 1,
                    Err(i) => i,
                }
            }
        }
    }

    fn separators(&self) -> &[Separator] {
        &self.seps.header.header.keys
    }

    /// The only child, if it is an upper node: then this one is no use as a root.
    pub(super) fn only_inner(&self) -> Option<&Arc<Inner>> {
        match &self.kids {
            Kids::Inners(kids) if kids.len() == 1 => kids.first(),
            _ => None,
        }
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<(&Slot, bool)> {
        let mut inner = self;
        loop {
            let i = inner.child(key);
            match &inner.kids {
                Kids::Inners(kids) => inner = &kids[i],
                Kids::Leaves(kids) => return kids[i].find(key).ok().map(|at| kids[i].slot(at)),
            }
        }
    }

    /// How many live keys are below `key`.
    pub(super) fn rank(&self, key: &[u8]) -> u64 {
        let (mut inner, mut rank) = (self, 0u64);
        loop {
            let i = inner.child(key);
            rank += u64::from(inner.counts[..i].iter().sum::<u32>());
            match &inner.kids {
                Kids::Inners(kids) => inner = &kids[i],
                Kids::Leaves(kids) => return rank + u64::from(kids[i].rank(key)),
            }
        }
    }

    /// Visits slots in ascending order from `from` on until `end`, each with what it shows.
    pub(super) fn scan<B>(
        &self,
        from: Option<&[u8]>,
        end: &RangeEnd,
        sight: Sight,
        visit: &mut impl FnMut(&Slot, Option<Record>) -> ControlFlow<B>,
    ) -> ControlFlow<Halt<B>> {
        let first = from.map_or(0, |key| self.child(key));
        for i in first..self.len() {
            let from = if i == first { from } else { None };
            match &self.kids {
                Kids::Inners(kids) => kids[i].scan(from, end, sight, visit)?,
                Kids::Leaves(kids) => kids[i].scan(from, end, sight, visit)?,
            }
        }
        ControlFlow::Continue(())
    }

    /// Marks the key as live or dead. It has a slot, and changes state.
    pub(super) fn set_live(this: &mut Arc<Inner>, key: &[u8], live: bool) {
        let mut inner = Arc::make_mut(this);
        loop {
            let i = inner.child(key);
            let count = &mut inner.counts[i];
            *count = if live { *count + 1 } else { *count - 1 };
            match &mut inner.kids {
                Kids::Inners(kids) => inner = Arc::make_mut(&mut kids[i]),
                Kids::Leaves(kids) => {
                    let leaf = Arc::make_mut(&mut kids[i]);
                    let at = leaf.find(key).expect("the caller has found the slot");
                    return leaf.set_live(at, live);
                }
            }
        }
    }

    /// Adds a slot whose key is not there yet.
    pub(super) fn insert(this: &mut Arc<Inner>, slot: Slot, live: bool) -> Option<InnerSplit> {
        let inner = Arc::make_mut(this);
        let i = inner.child(slot.key());
        let (separator, mut append) = match &mut inner.kids {
            Kids::Leaves(kids) => {
                let split = Arc::make_mut(&mut kids[i]).insert(slot, live);
                inner.counts[i] = kids[i].live_count();
                let split = split?;
                inner.counts.insert(i + 1, split.right.live_count());
                kids.insert(i + 1, split.right);
                (split.separator, split.append)
            }
            Kids::Inners(kids) => {
                let split = Inner::insert(&mut kids[i], slot, live);
                inner.counts[i] = kids[i].live_count();
                let split = split?;
                inner.counts.insert(i + 1, split.right.live_count());
                kids.insert(i + 1, split.right);
                (split.separator, split.append)
            }
        };
        let mut keys = inner.separators().to_vec();
        keys.insert(i, separator);
        inner.seps = seps(keys);
        if inner.len() <= KIDS_MAX {
            return None;
        }
        append &= i + 2 == inner.len();
        // Ascending keys leave full nodes behind; otherwise both halves get room.
        let (separator, right) = inner.split_off(if append { KIDS_MAX } else { ROOM / 2 });
        Some(InnerSplit { separator, right: Arc::new(right), append })
    }

    /// Takes away the slot of `key`, which is dead. Afterwards `this` may have lost its last slot:
    /// then it has no children, and the caller removes it.
    pub(super) fn remove(this: &mut Arc<Inner>, key: &[u8]) {
        let inner = Arc::make_mut(this);
        let i = inner.child(key);
        let emptied = match &mut inner.kids {
            Kids::Leaves(kids) => {
                let at = kids[i].find(key).expect("the caller has found the slot");
                let leaf = Arc::make_mut(&mut kids[i]);
                leaf.remove(at);
                leaf.len() == 0
            }
            Kids::Inners(kids) => {
                Inner::remove(&mut kids[i], key);
                kids[i].len() == 0
            }
        };
        if emptied {
            inner.remove_child(i, i.saturating_sub(1));
        } else if i + 1 < inner.len() && inner.merges(i) {
            inner.merge(i);
        } else if i > 0 && inner.merges(i - 1) {
            inner.merge(i - 1);
        }
    }

    /// How many children there are.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    fn remove_child(&mut self, child: usize, separator: usize) {
        self.counts.remove(child);
        match &mut self.kids {
            Kids::Leaves(kids) => drop(kids.remove(child)),
            Kids::Inners(kids) => drop(kids.remove(child)),
        }
        if !self.separators().is_empty() {
            let mut keys = self.separators().to_vec();
            keys.remove(separator);
            self.seps = seps(keys);
        }
    }

    fn merges(&self, left: usize) -> bool {
        match &self.kids {
            Kids::Leaves(kids) => kids[left].merges_with(&kids[left + 1]),
            Kids::Inners(kids) => {
                let (left, right) = (kids[left].len(), kids[left + 1].len());
                left.min(right) < KIDS_THIN && left + right <= KIDS_MERGED
            }
        }
    }

    fn merge(&mut self, left: usize) {
        let between = self.separators()[left].clone();
        match &mut self.kids {
            Kids::Leaves(kids) => {
                let right = Arc::clone(&kids[left + 1]);
                Arc::make_mut(&mut kids[left]).merge(&right);
            }
            Kids::Inners(kids) => {
                let right = Arc::clone(&kids[left + 1]);
                Arc::make_mut(&mut kids[left]).append(between, &right);
            }
        }
        self.counts[left] += self.counts[left + 1];
        self.remove_child(left + 1, left);
    }

    /// Takes over the children of the right neighbour, which is of the same height.
    fn append(&mut self, between: Separator, right: &Inner) {
        match (&mut self.kids, &right.kids) {
            (Kids::Leaves(mine), Kids::Leaves(theirs)) => mine.extend(theirs.iter().cloned()),
            (Kids::Inners(mine), Kids::Inners(theirs)) => mine.extend(theirs.iter().cloned()),
            _ => unreachable!("neighbours are of the same height"),
        }
        self.counts.extend(right.counts.iter().copied());
        let mut keys = self.separators().to_vec();
        keys.push(between);
        keys.extend(right.separators().iter().cloned());
        self.seps = seps(keys);
    }

    fn split_off(&mut self, at: usize) -> (Separator, Inner) {
        let mut keys = self.separators().to_vec();
        let right_keys = keys.split_off(at);
        let separator = keys.pop().expect("a node that splits has many children");
        let right = Inner {
            counts: self.counts.drain(at..).collect(),
            kids: match &mut self.kids {
                Kids::Leaves(kids) => Kids::Leaves(kids.drain(at..).collect()),
                Kids::Inners(kids) => Kids::Inners(kids.drain(at..).collect()),
            },
            seps: seps(right_keys),
        };
        self.seps = seps(keys);
        (separator, right)
    }
}

#[cfg(test)]
impl Inner {
    /// What must hold of a node whose keys lie between `low` and `high`. Returns its height, the
    /// number of its leaves and of the slots in them.
    pub(super) fn check(
        &self,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
    ) -> Result<(usize, usize, usize), String> {
        let keys = self.separators();
        let rule = |holds: bool, rule: &str| if holds { Ok(()) } else { Err(rule.to_owned()) };
        rule(keys.len() + 1 == self.len(), "one separator between two children")?;
        rule(self.len() <= KIDS_MAX, "room in the node")?;
        let (mut height, mut leaves, mut slots) = (0, 0, 0);
        for i in 0..self.len() {
            let low = if i == 0 { low } else { Some(&keys[i - 1].slice) };
            let high = keys.get(i).map_or(high, |key| Some(&key.slice));
            let live = match &self.kids {
                Kids::Leaves(kids) => {
                    kids[i].check(low, high)?;
                    let alone = self.len() == 1;
                    rule(kids[i].len() > 0 || alone, "empty leaf")?;
                    (leaves, slots) = (leaves + 1, slots + kids[i].len());
                    kids[i].live_count()
                }
                Kids::Inners(kids) => {
                    let below = kids[i].check(low, high)?;
                    rule(i == 0 || height == below.0, "children of one height")?;
                    height = below.0;
                    (leaves, slots) = (leaves + below.1, slots + below.2);
                    kids[i].live_count()
                }
            };
            rule(self.counts[i] == live, "count of live keys")?;
        }
        Ok((height + 1, leaves, slots))
    }

    pub(super) fn miscount(this: &mut Arc<Inner>) {
        Arc::make_mut(this).counts[0] += 1;
    }
}
