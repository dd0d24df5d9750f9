//! Turns: the states of the index that were ever shown to readers, and who still looks at them.
//!
//! A *turn* covers the revisions that the writer published together. The newest stands in
//! `current`, those of the last thousand revisions also in a ring, found by their number:
//!
//! ```text
//! ring      .. │ turn 7: 12..=12 │ turn 8: 13..=28 │ turn 9: 29..=30 │
//! current                                            turn 9
//! reader at 20 ──────────────────▶ turn 8
//! ```
//!
//! Each holds a tree. A tree serves every revision of its turn: it has a slot for each key that
//! exists at any of them, and a slot leads to all versions. For older revisions than the ring has,
//! the current tree serves as well, with a *pin* that says so.
//!
//! # Who still reads below the compacted revision
//! Nobody registers: the strong count of a turn says whether somebody holds it, apart from the ring
//! and `current`. The race of opening a view with compacting is settled by both looking twice:
//!
//! ```text
//! reader: count the turn up;  fence;  is my revision compacted? then give up
//! writer: set compacted;      fence;  is the turn counted? then sweep nothing it can see
//! ```
//!
//! At least one of them sees the other. Taking a turn out of a cell settles the readers that are
//! just loading it: `ArcSwap` counts them before `swap` returns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering, fence};
use std::sync::{Arc, Mutex, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::leaf::Slot;
use super::tree::Tree;
use crate::types::Revision;

/// Revisions back from the newest that are served without a pin.
const RING_REVISIONS: i64 = 1000;
/// Turns in the ring. No more than its revisions, for each turn in it has one of its own.
const RING: usize = 1024;
const _: () = assert!(RING as i64 > RING_REVISIONS + 1);
/// Births and deaths a turn remembers: more, and counting within it would be slower than walking.
pub(super) const BIRTHS_MAX: usize = 16 * 1024;
/// Old turns freed with each publish at least: one more than it adds, so that none pile up.
const FREED_PER_PUBLISH: usize = 2;
/// Edits whose replaced nodes may be freed at once: some 100 us.
const FREED_EDITS: usize = 64;

/// One published state.
pub(super) struct Turn {
    /// Counts turns; says which cell of the ring is its own.
    number: u64,
    /// The lowest revision it serves.
    pub(super) first: Revision,
    /// The highest one, which the live bits and counts of its tree are about.
    pub(super) last: Revision,
    pub(super) tree: Tree,
    /// In order of their revisions; empty if only `last` can be counted.
    births: Arc<[Birth]>,
    /// How often the tree was edited for it: what freeing it costs, or the one before it.
    edits: usize,
}

/// A key came to life or died within a turn.
pub(super) struct Birth {
    pub(super) revision: Revision,
    pub(super) slot: Slot,
    pub(super) live: bool,
}

impl Turn {
    pub(super) fn serves(&self, revision: Revision) -> bool {
        self.first <= revision && revision <= self.last
    }

    /// What happened in this turn after `revision`.
    pub(super) fn births_after(&self, revision: Revision) -> &[Birth] {
        &self.births[self.births.partition_point(|birth| birth.revision <= revision)..]
    }
}

/// What the writer and all readers share.
pub(super) struct Shared {
    pub(super) current: ArcSwap<Turn>,
    ring: Box<[ArcSwapOption<Turn>]>,
    compacted: AtomicI64,
    /// Views of revisions that have left the ring: rare, hence a lock.
    pins: Mutex<BTreeMap<Revision, usize>>,
}

/// [`Shared::compacted`] of a store that never was.
const NEVER: i64 = i64::MIN;

impl Shared {
    pub(super) fn compacted(&self) -> Option<Revision> {
        Some(self.compacted.load(Ordering::SeqCst)).filter(|&c| c != NEVER).map(Revision)
    }

    /// Whether `revision` may not be read any more. To be asked after its turn is counted.
    pub(super) fn is_compacted(&self, revision: Revision) -> bool {
        fence(Ordering::SeqCst);
        revision.0 < self.compacted.load(Ordering::SeqCst)
    }

    /// The turn before number `end` that serves `revision`, unless it has left the ring.
    pub(super) fn find(&self, revision: Revision, current: &Turn) -> Option<Arc<Turn>> {
        let mut low = current.number.saturating_sub(RING as u64 - 1);
        let mut high = current.number;
        while low < high {
            let middle = low.midpoint(high);
            // Cells empty from the oldest turn on, or hold a newer turn already: go right.
            let reaches = matches!(&*self.cell(middle).load(),
                Some(turn) if turn.number == middle && turn.last >= revision);
            if reaches { high = middle } else { low = middle + 1 }
        }
        self.cell(low).load_full().filter(|turn| turn.serves(revision))
    }

    fn cell(&self, number: u64) -> &ArcSwapOption<Turn> {
        let index = usize::try_from(number % RING as u64).expect("below the size of the ring");
        &self.ring[index]
    }

    fn with_pins<T>(&self, change: impl FnOnce(&mut BTreeMap<Revision, usize>) -> T) -> T {
        change(&mut self.pins.lock().expect("nothing panics while it holds the pins"))
    }
}

/// Holds back the sweep for a revision that no turn stands for.
pub(super) struct Pin {
    shared: Arc<Shared>,
    revision: Revision,
}

impl Pin {
    pub(super) fn new(shared: &Arc<Shared>, revision: Revision) -> Pin {
        shared.with_pins(|pins| *pins.entry(revision).or_default() += 1);
        Pin { shared: Arc::clone(shared), revision }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.shared.with_pins(|pins| {
            let count = pins.get_mut(&self.revision).expect("a pin is counted while it lives");
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.revision);
            }
        });
    }
}

/// The writer's side.
pub(super) struct Turns {
    shared: Arc<Shared>,
    /// What is in the ring, oldest first; the last one is also current.
    ring: VecDeque<Note>,
    /// Turns that have left the ring and are still read. Weak, so that the last reader and not the
    /// writer frees what only they kept: all nodes replaced since.
    held: Vec<Note>,
    /// Turns that have left the ring and that nobody reads: freed a few at a time.
    retired: VecDeque<Arc<Turn>>,
}

/// What the writer knows of a turn without keeping it.
#[derive(Clone)]
struct Note {
    number: u64,
    first: Revision,
    last: Revision,
    turn: Weak<Turn>,
}

impl Turns {
    pub(super) fn new(revision: Revision, compacted: Option<Revision>, tree: Tree) -> Turns {
        let turn = Arc::new(Turn {
            number: 0,
            first: revision,
            last: revision,
            tree,
            births: Arc::default(),
            edits: 0,
        });
        let shared = Shared {
            current: ArcSwap::new(Arc::clone(&turn)),
            ring: (0..RING).map(|_| ArcSwapOption::empty()).collect(),
            compacted: AtomicI64::new(compacted.map_or(NEVER, |revision| revision.0)),
            pins: Mutex::default(),
        };
        shared.cell(0).store(Some(Arc::clone(&turn)));
        let ring = VecDeque::from([Note::of(&turn)]);
        Turns { shared: Arc::new(shared), ring, held: Vec::new(), retired: VecDeque::new() }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The newest published revision.
    pub(super) fn last(&self) -> Revision {
        self.newest().last
    }

    /// Shows `tree` as the state at `last`.
    pub(super) fn publish(&mut self, last: Revision, tree: Tree, births: Vec<Birth>, edits: usize) {
        let newest = self.newest().clone();
        if last == newest.last {
            // No changes, only slots that nobody needs are gone: the same turn, with less garbage.
            let old = self.shared.current.load_full();
            let first = newest.first.max(self.shared.compacted().unwrap_or(newest.first));
            let births = Arc::clone(&old.births);
            drop(old);
            let turn = Arc::new(Turn { number: newest.number, first, last, tree, births, edits });
            self.ring.pop_back();
            self.show(turn, newest);
        } else {
            let countable = births.len() <= BIRTHS_MAX;
            let first = if countable { newest.last.next() } else { last };
            let births = if countable && first < last { births.into() } else { Arc::default() };
            let turn =
                Arc::new(Turn { number: newest.number + 1, first, last, tree, births, edits });
            while self.ring.len() >= RING
                || self.ring.front().is_some_and(|note| note.last.0 < last.0 - RING_REVISIONS)
            {
                self.retire_oldest();
            }
            self.ring.push_back(Note::of(&turn));
            self.shared.cell(turn.number).store(Some(Arc::clone(&turn)));
            self.shared.current.store(turn);
        }
        self.free(FREED_PER_PUBLISH);
    }

    /// Refuses views below `revision` from now on.
    pub(super) fn compact(&mut self, revision: Revision) {
        self.shared.compacted.store(revision.0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while self.ring.front().is_some_and(|note| note.last < revision) {
            self.retire_oldest();
        }
    }

    /// Nobody reads below this revision, now or later. `None`: everything may be read.
    pub(super) fn floor(&mut self) -> Option<Revision> {
        let mut floor = self.shared.compacted()?;
        fence(Ordering::SeqCst);
        self.held.retain(Note::is_alive);
        if let Some(first) = self.held.iter().map(|note| note.first).min() {
            floor = floor.min(first);
        }
        for (i, note) in self.ring.iter().enumerate() {
            if note.first >= floor {
                break;
            }
            let is_current = i + 1 == self.ring.len();
            if note.turn.strong_count() > 1 + usize::from(is_current) {
                floor = note.first;
            }
        }
        if let Some(pinned) = self.shared.with_pins(|pins| pins.keys().next().copied()) {
            floor = floor.min(pinned);
        }
        fence(Ordering::SeqCst);
        Some(floor)
    }

    /// Frees `least` turns that nobody reads any more, or more if they are small.
    pub(super) fn free(&mut self, least: usize) {
        let (mut freed, mut edits) = (0, 0);
        while freed < least || edits < FREED_EDITS {
            let Some(turn) = self.retired.pop_front() else { return };
            (freed, edits) = (freed + 1, edits + 1 + turn.edits);
        }
    }

    fn newest(&self) -> &Note {
        self.ring.back().expect("the current turn is always in the ring")
    }

    /// Puts `turn` in the place of `old`, which is the current one.
    fn show(&mut self, turn: Arc<Turn>, old: Note) {
        self.ring.push_back(Note::of(&turn));
        drop(self.shared.current.swap(Arc::clone(&turn)));
        let replaced = self.shared.cell(turn.number).swap(Some(turn));
        self.retire(replaced, old);
    }

    fn retire_oldest(&mut self) {
        let note = self.ring.pop_front().expect("the caller has seen it");
        let turn = self.shared.cell(note.number).swap(None);
        self.retire(turn, note);
    }

    fn retire(&mut self, turn: Option<Arc<Turn>>, note: Note) {
        let turn = turn.expect("the ring holds what is noted");
        if Arc::strong_count(&turn) > 1 {
            if self.held.len() == self.held.capacity() {
                self.held.retain(Note::is_alive);
            }
            self.held.push(note);
        } else {
            self.retired.push_back(turn);
        }
    }
}

impl Note {
    fn of(turn: &Arc<Turn>) -> Note {
        Note { number: turn.number, first: turn.first, last: turn.last, turn: Arc::downgrade(turn) }
    }

    fn is_alive(&self) -> bool {
        self.turn.strong_count() > 0
    }
}
