//! The lowest nodes of the tree: sorted slots, and which of them are live.
//!
//! A [`Slot`] belongs to one key for as long as any version of it is kept. It is shared by all
//! copies of its leaf, so that storing a newer version into it is seen through each of them.

use std::ops::ControlFlow;

use arrayvec::ArrayVec;
use triomphe::{Arc, ThinArc};

use super::heads::{self, common_prefix, head};
use crate::mvcc::record::{Link, Record};
use crate::types::{RangeEnd, Revision};

/// Slots per leaf: with 60 a leaf fits 1,024 bytes, a size that allocators keep.
pub(super) const SLOTS_MAX: usize = 60;
/// A leaf with fewer slots than this looks for a neighbour to merge with.
const SLOTS_THIN: usize = 15;
/// Merging makes no leaf fuller than this, so that the next insertion does not split it again.
const SLOTS_MERGED: usize = 45;
/// Slots whose key lengths a scan reads ahead, so that their cache misses overlap.
const AHEAD: usize = 8;

const _: () = assert!(SLOTS_MAX < 64, "one bit each, and room to shift past the last");
const _: () = assert!(size_of::<Leaf>() <= 1024 - size_of::<usize>());

/// The fixed part of a [`Slot`].
#[derive(Debug)]
pub(super) struct SlotHead {
    newest: Link,
}

/// A key and the way to its newest version.
#[derive(Clone, Debug)]
pub(super) struct Slot(ThinArc<SlotHead, u8>);

impl Slot {
    pub(super) fn new(newest: Record) -> Slot {
        let key = newest.clone();
        let head = SlotHead { newest: newest.into_link() };
        Slot(ThinArc::from_header_and_slice(head, key.key()))
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.0.slice
    }

    pub(super) fn newest(&self) -> &Link {
        &self.0.header.header.newest
    }
}

/// A sorted run of slots.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// Bit `i` says that the key of slot `i` exists.
    live: u64,
    /// All keys begin with the same `skip` bytes.
    skip: u32,
    heads: ArrayVec<u64, SLOTS_MAX>,
    slots: ArrayVec<Slot, SLOTS_MAX>,
}

/// What a reader sees of the slots of a tree.
#[derive(Clone, Copy)]
pub(super) struct Sight {
    pub(super) revision: Revision,
    /// The live bits of the tree are about this revision: what they call dead need not be read.
    pub(super) live_only: bool,
}

impl Sight {
    /// The put that `slot` shows.
    pub(super) fn of(self, slot: &Slot, live: bool) -> Option<Record> {
        if self.live_only && !live {
            return None;
        }
        Record::load_at(slot.newest(), self.revision).filter(Record::is_put)
    }
}

/// Why a scan ended early.
pub(super) enum Halt<B> {
    /// The range is behind us.
    PastEnd,
    /// The visitor said so.
    By(B),
}

/// A leaf that became two.
pub(super) struct LeafSplit {
    /// Keys from here on are in the right leaf.
    pub(super) separator: ThinArc<(), u8>,
    pub(super) right: Arc<Leaf>,
    /// The right one holds nothing but the new key.
    pub(super) append: bool,
}

impl Leaf {
    pub(super) fn empty() -> Leaf {
        Leaf { live: 0, skip: 0, heads: ArrayVec::new(), slots: ArrayVec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn live_count(&self) -> u32 {
        self.live.count_ones()
    }

    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        heads::search(&self.heads, self.skip(), key, |i| self.slots[i].key())
    }

    pub(super) fn slot(&self, i: usize) -> (&Slot, bool) {
        (&self.slots[i], self.live >> i & 1 == 1)
    }

    /// How many live keys are below `key`.
    pub(super) fn rank(&self, key: &[u8]) -> u32 {
        let (Ok(i) | Err(i)) = self.find(key);
        (self.live & below(i)).count_ones()
    }

    pub(super) fn set_live(&mut self, i: usize, live: bool) {
        self.live = self.live & !(1 << i) | u64::from(live) << i;
    }

    /// Adds `slot`, whose key is not there yet. A full leaf splits.
    pub(super) fn insert(&mut self, slot: Slot, live: bool) -> Option<LeafSplit> {
        let i = self.find(slot.key()).expect_err("a key has one slot");
        if self.len() < SLOTS_MAX {
            self.insert_at(i, slot, live);
            return None;
        }
        if i == SLOTS_MAX {
            // Ascending keys fill leaf after leaf. The separator is the lowest key that may follow,
            // so that keys between the two leaves go to the one with room.
            let last = self.slots[i - 1].key();
            let mut separator = Vec::with_capacity(last.len() + 1);
            separator.extend_from_slice(last);
            separator.push(0);
            let mut right = Leaf { skip: self.skip, ..Leaf::empty() };
            right.skip = cut(common_prefix(last, slot.key()).min(self.skip()));
            right.insert_at(0, slot, live);
            return Some(LeafSplit::new(&separator, right, true));
        }
        let mut right = self.split_off(SLOTS_MAX / 2);
        if i <= self.len() { &mut *self } else { &mut right }.insert(slot, live);
        self.narrow();
        right.narrow();
        let (left_last, right_first) = (self.slots[self.len() - 1].key(), right.slots[0].key());
        let shortest = common_prefix(left_last, right_first) + 1;
        let separator: Vec<u8> = right_first[..shortest].to_vec();
        Some(LeafSplit::new(&separator, right, false))
    }

    pub(super) fn remove(&mut self, i: usize) {
        self.heads.remove(i);
        self.slots.remove(i);
        self.live = self.live & below(i) | self.live >> 1 & !below(i);
    }

    /// Whether this leaf and its right neighbour should be one.
    pub(super) fn merges_with(&self, right: &Leaf) -> bool {
        let (left, right) = (self.len(), right.len());
        left.min(right) < SLOTS_THIN && left + right <= SLOTS_MERGED
    }

    /// Takes over the slots of the right neighbour.
    pub(super) fn merge(&mut self, right: &Leaf) {
        if let (Some(mine), Some(theirs)) = (self.slots.first(), right.slots.first()) {
            let common = common_prefix(mine.key(), theirs.key()).min(self.skip());
            self.widen(common.min(right.skip()));
            let (theirs, from, to) = (theirs.key(), right.skip(), self.skip());
            let heads = right.heads.iter().map(|&head| heads::widened(head, theirs, from, to));
            self.heads.extend(heads);
        } else {
            self.skip = right.skip;
            self.heads = right.heads.clone();
        }
        self.live |= right.live << self.slots.len();
        self.slots.extend(right.slots.iter().cloned());
    }

    /// Visits the slots from `from` on until `end`, each with what it shows.
    pub(super) fn scan<B>(
        &self,
        from: Option<&[u8]>,
        end: &RangeEnd,
        sight: Sight,
        visit: &mut impl FnMut(&Slot, Option<Record>) -> ControlFlow<B>,
    ) -> ControlFlow<Halt<B>> {
        let start = from.map_or(0, |key| match self.find(key) {
            Ok(i) | Err(i) => i,
        });
        let stop = match end {
            RangeEnd::Unbounded => self.len(),
            RangeEnd::Before(end) => match self.find(end) {
                Ok(i) | Err(i) => i,
            },
            RangeEnd::Single => unreachable!("a single key is looked up, not scanned for"),
        };
        for ahead in (start..stop).step_by(AHEAD) {
            let until = stop.min(ahead + AHEAD);
            // Safe prefetch: eight independent reads, whose misses overlap. The same for the
            // versions, by holding their links, gains a tenth when they are not in the cache and
            // loses a third when they are.
            let lengths: usize = self.slots[ahead..until].iter().map(|slot| slot.key().len()).sum();
            std::hint::black_box(lengths);
            for i in ahead..until {
                let (slot, live) = self.slot(i);
                if let ControlFlow::Break(by) = visit(slot, sight.of(slot, live)) {
                    return ControlFlow::Break(Halt::By(by));
                }
            }
        }
        if stop < self.len() {
            ControlFlow::Break(Halt::PastEnd)
        } else {
            ControlFlow::Continue(())
        }
    }

    fn skip(&self) -> usize {
        self.skip as usize
    }

    fn insert_at(&mut self, i: usize, slot: Slot, live: bool) {
        if let Some(known) = self.slots.first() {
            self.widen(common_prefix(known.key(), slot.key()).min(self.skip()));
        }
        self.heads.insert(i, head(slot.key(), self.skip()));
        self.slots.insert(i, slot);
        let (low, high) = (self.live & below(i), self.live & !below(i));
        self.live = low | u64::from(live) << i | high << 1;
    }

    fn split_off(&mut self, at: usize) -> Leaf {
        let right = Leaf {
            live: self.live >> at,
            skip: self.skip,
            heads: self.heads.drain(at..).collect(),
            slots: self.slots.drain(at..).collect(),
        };
        self.live &= below(at);
        right
    }

    /// Skips less, because a key has come that begins otherwise.
    fn widen(&mut self, skip: usize) {
        if skip < self.skip() {
            let (old, known) = (self.skip(), self.slots[0].key());
            for head in &mut self.heads {
                *head = heads::widened(*head, known, old, skip);
            }
            self.skip = cut(skip);
        }
    }

    /// Skips more, if that makes heads much more telling: it reads every key.
    fn narrow(&mut self) {
        let (first, last) = (self.slots[0].key(), self.slots[self.len() - 1].key());
        let common = common_prefix(first, last);
        if common >= self.skip() + 4 {
            self.skip = cut(common);
            let skip = self.skip();
            self.heads = self.slots.iter().map(|slot| head(slot.key(), skip)).collect();
        }
    }
}

impl LeafSplit {
    fn new(separator: &[u8], right: Leaf, append: bool) -> LeafSplit {
        let separator = ThinArc::from_header_and_slice((), separator);
        LeafSplit { separator, right: Arc::new(right), append }
    }
}

/// The bits below `i`, which is at most 63.
fn below(i: usize) -> u64 {
    (1 << i) - 1
}

/// Skipping less than all common bytes is always correct.
fn cut(skip: usize) -> u32 {
    u32::try_from(skip).unwrap_or(u32::MAX)
}

#[cfg(test)]
impl Leaf {
    /// What must hold of a leaf whose keys lie between `low` and `high`.
    pub(super) fn check(&self, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<(), String> {
        let keys: Vec<&[u8]> = self.slots.iter().map(Slot::key).collect();
        let holds = [
            (keys.is_sorted_by(|a, b| a < b), "keys ascend"),
            (keys.first().is_none_or(|&first| low.is_none_or(|low| first >= low)), "low bound"),
            (keys.last().is_none_or(|&last| high.is_none_or(|high| last < high)), "high bound"),
            (self.heads.len() == self.slots.len(), "one head per slot"),
            (self.live & !below(self.len()) == 0, "no live bit past the slots"),
            (keys.iter().all(|key| key.starts_with(&keys[0][..self.skip()])), "common prefix"),
            (
                keys.iter().zip(&self.heads).all(|(key, &known)| head(key, self.skip()) == known),
                "heads",
            ),
        ];
        match holds.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(format!("leaf of {}: {rule}", self.len())),
            None => Ok(()),
        }
    }
}
