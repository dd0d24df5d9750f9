//! The watchers of one stream: their ids, what they want and where they stand.
//!
//! ```text
//!            created                       caught up, and the hub delivers
//!   (none) ──────────▶ Behind { next } ──────────────────────────────────▶ Live
//!                        │      ▲                                           │
//!        next < compacted│      └───────────── deliveries were lost ────────┘
//!                        ▼
//!                     Compacted: told so, but its id stays taken until the client cancels it
//! ```
//!
//! Every change of state goes through this file, so that the order of those behind, the interest
//! table and the counts agree with the watchers.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{KeyRange, Revision};
use crate::watch::hub::Token;
use crate::watch::interest::{Interest, Removed, Search};
use crate::watch::request::WatchCreate;

/// One watcher.
#[derive(Clone, Debug)]
pub(super) struct Watcher {
    pub(super) id: i64,
    pub(super) range: KeyRange,
    /// As asked for; 0 if the client just wants what comes.
    pub(super) start: Revision,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    pub(super) progress_notify: bool,
    /// The question to the hub whose answer says that changes of its range are delivered.
    pub(super) token: Token,
    /// Something was sent since the last tick of the progress timer.
    pub(super) active: bool,
    /// A sign of progress is owed.
    pub(super) due: bool,
    state: WatcherState,
}

/// Where a watcher stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatcherState {
    /// It needs `next` and later from history.
    Behind { next: Revision },
    /// It gets what is delivered, from this revision on; everything delivered before is sent.
    Live { from: Revision },
    /// The revision it needed next is gone.
    Compacted,
}

impl Watcher {
    pub(super) fn new(create: &WatchCreate, id: i64, next: Revision, token: Token) -> Watcher {
        Watcher {
            id,
            range: create.range(),
            start: Revision(create.start_revision),
            no_put: create.no_put,
            no_delete: create.no_delete,
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            progress_notify: create.progress_notify,
            token,
            active: false,
            due: false,
            state: WatcherState::Behind { next },
        }
    }

    pub(super) fn state(&self) -> WatcherState {
        self.state
    }

    pub(super) fn wants(&self, is_put: bool) -> bool {
        if is_put { !self.no_put } else { !self.no_delete }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, WatcherState::Live { .. })
    }
}

/// All watchers of a stream.
#[derive(Debug)]
pub(super) struct Watchers {
    slots: Vec<Option<Watcher>>,
    free: Vec<u32>,
    ids: BTreeMap<i64, u32>,
    next_id: i64,
    /// Those that are [`WatcherState::Behind`], by what they need next.
    behind: BTreeSet<(Revision, u32)>,
    live_count: usize,
    progress_notify_count: usize,
    /// Ranges of all but the compacted.
    interest: Interest,
}

impl Watchers {
    pub(super) fn new() -> Watchers {
        Watchers {
            slots: Vec::new(),
            free: Vec::new(),
            ids: BTreeMap::new(),
            next_id: 0,
            behind: BTreeSet::new(),
            live_count: 0,
            progress_notify_count: 0,
            interest: Interest::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn live_count(&self) -> usize {
        self.live_count
    }

    pub(super) fn progress_notify_count(&self) -> usize {
        self.progress_notify_count
    }

    pub(super) fn behind_count(&self) -> usize {
        self.behind.len()
    }

    /// The id for a new watcher: the one asked for, or the next free number for 0. `None` if it is
    /// taken.
    pub(super) fn choose_id(&mut self, wanted: i64) -> Option<i64> {
        if wanted != 0 {
            return (!self.ids.contains_key(&wanted)).then_some(wanted);
        }
        while self.ids.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Some(self.next_id - 1)
    }

    /// Adds a watcher that is behind.
    pub(super) fn insert(&mut self, watcher: Watcher) -> u32 {
        let WatcherState::Behind { next } = watcher.state else {
            unreachable!("a new watcher is behind until the hub has answered");
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 watchers")
            }
        };
        self.interest.add(&watcher.range, slot);
        self.behind.insert((next, slot));
        let taken = self.ids.insert(watcher.id, slot);
        assert!(taken.is_none(), "watch id {} is used twice", watcher.id);
        self.progress_notify_count += usize::from(watcher.progress_notify);
        self.slots[slot as usize] = Some(watcher);
        slot
    }

    /// Ends a watcher. Returns it, and its range if no other wants that.
    pub(super) fn remove(&mut self, id: i64) -> Option<(Watcher, Option<KeyRange>)> {
        let slot = self.ids.remove(&id)?;
        let left = self.leave_state(slot);
        let watcher = self.slots[slot as usize].take().expect("an id names a watcher");
        self.progress_notify_count -= usize::from(watcher.progress_notify);
        self.free.push(slot);
        Some((watcher, left))
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Watcher> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Watcher> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Watcher> {
        self.slots.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Watcher)> {
        (0u32..).zip(&mut self.slots).filter_map(|(slot, watcher)| Some((slot, watcher.as_mut()?)))
    }

    /// The watcher that is farthest behind, and the revision it needs.
    pub(super) fn farthest_behind(&self) -> Option<(Revision, u32)> {
        self.behind.first().copied()
    }

    /// Those that need a revision of `first..=last` next.
    pub(super) fn behind_between(&self, first: Revision, last: Revision) -> Vec<u32> {
        self.behind.range((first, 0)..=(last, u32::MAX)).map(|&(_, slot)| slot).collect()
    }

    /// Starts a search for the watchers of several keys; see [`Interest::search`].
    pub(super) fn interested(&mut self) -> Search<'_> {
        self.interest.search()
    }

    pub(super) fn set_behind(&mut self, slot: u32, next: Revision) {
        self.change(slot, WatcherState::Behind { next });
    }

    pub(super) fn set_live(&mut self, slot: u32, from: Revision) {
        self.change(slot, WatcherState::Live { from });
    }

    /// Ends delivery to a watcher but keeps its id. Returns its range if no other wants it.
    pub(super) fn set_compacted(&mut self, slot: u32) -> Option<KeyRange> {
        let left = self.leave_state(slot);
        self.slots[slot as usize].as_mut().expect("the watcher exists").state =
            WatcherState::Compacted;
        left
    }

    fn change(&mut self, slot: u32, state: WatcherState) {
        let watcher = self.slots[slot as usize].as_mut().expect("the watcher exists");
        let before = std::mem::replace(&mut watcher.state, state);
        match before {
            WatcherState::Behind { next } => drop(self.behind.remove(&(next, slot))),
            WatcherState::Live { .. } => self.live_count -= 1,
            WatcherState::Compacted => unreachable!("a compacted watcher does not come back"),
        }
        match state {
            WatcherState::Behind { next } => drop(self.behind.insert((next, slot))),
            WatcherState::Live { .. } => self.live_count += 1,
            WatcherState::Compacted => unreachable!("`set_compacted` does this"),
        }
    }

    fn leave_state(&mut self, slot: u32) -> Option<KeyRange> {
        let watcher = self.slots[slot as usize].as_ref().expect("the watcher exists");
        match watcher.state {
            WatcherState::Behind { next } => drop(self.behind.remove(&(next, slot))),
            WatcherState::Live { .. } => self.live_count -= 1,
            WatcherState::Compacted => return None,
        }
        let removed = self.interest.remove(&watcher.range, slot);
        (removed == Removed::NobodyLeft).then(|| watcher.range.clone())
    }
}
