//! What has been written, what is on its way to disk, and what has to wait for it.
//!
//! ```text
//! Ready 7 ─┐                         ┌─ messages that wait for Ready 8
//! Ready 8 ─┴─▶ pending ─▶ in flight ─┴─▶ durable
//!              merged      ≤ slots       in order
//! ```
//!
//! Raft numbers its Readies; several may share one write. All numbers here are numbers of Readies,
//! but for the two that the log itself counts.

use std::collections::VecDeque;

use crate::messages::SegmentId;
use crate::wal::Batch;

use super::wire::Message;

/// The state of the path to disk.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// What the next write will say.
    pub(super) pending: Batch,
    /// Whether something waits for that write, or it may ride with a later one.
    pub(super) must_write: bool,
    /// The newest Ready in `pending`.
    pub(super) pending_ready: u64,
    /// Writes that have been given to the disk, oldest first.
    pub(super) in_flight: VecDeque<InFlight>,
    /// The newest Ready that had to be written.
    pub(super) written: u64,
    /// The newest Ready that is durable, with all before it.
    pub(super) durable: u64,
    /// The newest Ready that cut entries off. Acknowledgements of older ones do not reach raft: the
    /// cut entries may have come back in a later term, and index and term would match (T4).
    pub(super) barrier: u64,
    /// The current term and the Ready that carries it (T3).
    pub(super) term: (u64, u64),
    /// Messages and the Ready that each must wait for, oldest first.
    pub(super) held: VecDeque<(u64, Vec<Message>)>,
    /// A snapshot whose record is not durable yet, and its Ready.
    pub(super) install: Option<(u64, crate::wal::SnapshotMark)>,
    /// The last record of the log that is durable.
    pub(super) synced_record: u64,
    /// The last record that says something nobody may forget.
    pub(super) precious_record: u64,
    /// What durable records know to be durable.
    pub(super) covered_record: u64,
}

/// A write on its way to disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    /// Its number for the disk.
    pub(super) write: u64,
    /// The newest Ready in it.
    pub(super) ready: u64,
    /// Its number in the log.
    pub(super) record: u64,
    /// What it knows to be durable.
    pub(super) synced_through: u64,
    /// Segments before this one may go once it is durable.
    pub(super) oldest: Option<SegmentId>,
}

impl Pipeline {
    /// Takes note that the oldest write in flight is durable.
    ///
    /// # Panics
    /// If it is not the oldest: the disk broke its word to acknowledge in order.
    pub(super) fn persisted(&mut self, number: u64) -> InFlight {
        let oldest = self.in_flight.pop_front();
        let write = oldest.filter(|write| write.write == number);
        let Some(write) = write else {
            panic!("write {number} is reported durable, the oldest in flight is {oldest:?}");
        };
        self.durable = write.ready;
        self.synced_record = write.record;
        self.covered_record = self.covered_record.max(write.synced_through);
        write
    }

    /// Whether something is durable that no durable record vouches for: then rot there would
    /// look like a torn tail.
    pub(super) fn is_uncovered(&self) -> bool {
        self.precious_record > self.covered_record
    }
}
