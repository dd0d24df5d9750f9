//! What a compaction will be able to drop, noted when it becomes garbage.
//!
//! A change supersedes the version before it. The queue holds the *superseding* change: dropping is
//! then one step behind it, however long the chain is, and the queue is in revision order because
//! changes arrive so.
//!
//! ```text
//! put a ─ put a ─ delete a ─ put a        cuts:      put@3  delete@4  put@6
//!     2       3          4       6        burials:          delete@4
//! ```
//!
//! For a store compacted at C of which nobody reads anything below the floor F <= C:
//! 1. *Cut*: the version before a change at or below F leaves its chain. If it is a put, it is
//!    dropped.
//! 2. *Burial*: a deletion below C and at or below F is dropped; if nothing followed it, with its
//!    key's slot. Exactly at C it stays, for history and hash of a compacted store still show it.

use std::collections::VecDeque;

use crate::mvcc::record::Record;
use crate::types::Revision;

/// Both queues, each in revision order.
#[derive(Default)]
pub(super) struct Garbage {
    cuts: Queue,
    burials: Queue,
}

impl Garbage {
    /// Notes that `record` has superseded the version before it.
    pub(super) fn superseded_by(&mut self, record: &Record) {
        self.cuts.push(record.clone());
    }

    /// Notes a deletion.
    pub(super) fn deleted(&mut self, tombstone: &Record) {
        self.burials.push(tombstone.clone());
    }

    /// The next change at or below `floor` that has superseded another.
    pub(super) fn next_cut(&mut self, floor: Revision) -> Option<Record> {
        self.cuts.pop_if(|record| record.revision() <= floor)
    }

    /// The next deletion below `compacted` and at or below `floor`. All cuts at or below it must
    /// have been done.
    pub(super) fn next_burial(&mut self, floor: Revision, compacted: Revision) -> Option<Record> {
        self.burials.pop_if(|record| record.revision() <= floor && record.revision() < compacted)
    }

    /// Whether nothing is left to do for a store compacted at `compacted`.
    pub(super) fn is_done(&self, compacted: Revision) -> bool {
        self.cuts.front().is_none_or(|record| record.revision() > compacted)
            && self.burials.front().is_none_or(|record| record.revision() >= compacted)
    }
}

/// A queue in pieces: one buffer of millions would copy itself when it grows, while everybody
/// waits.
#[derive(Default)]
struct Queue {
    pieces: VecDeque<VecDeque<Record>>,
}

const PIECE: usize = 1024;

impl Queue {
    fn push(&mut self, record: Record) {
        match self.pieces.back_mut() {
            Some(piece) if piece.len() < PIECE => piece.push_back(record),
            _ => {
                let mut piece = VecDeque::with_capacity(PIECE);
                piece.push_back(record);
                self.pieces.push_back(piece);
            }
        }
    }

    fn front(&self) -> Option<&Record> {
        self.pieces.front()?.front()
    }

    fn pop_if(&mut self, due: impl FnOnce(&Record) -> bool) -> Option<Record> {
        if !due(self.front()?) {
            return None;
        }
        let piece = self.pieces.front_mut()?;
        let record = piece.pop_front();
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        record
    }
}
