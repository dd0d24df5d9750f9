//! Frames batches and decides where they go: offset, segment, when to begin the next one, and which
//! ones are no longer needed.
//!
//! ```text
//! begin ─▶ segment 1: header + record 1 ─▶ record 2 ─▶ … full ─▶ segment 2: header + record 9 ─▶ …
//! ```
//!
//! The first record of every segment carries the whole hard state, so that the segments before it
//! can go without taking the vote with them. A record that does not fit begins a segment; one that
//! is larger than a segment has one of its own. It does *not* write: it says what to write.

use std::collections::VecDeque;

use bytes::Bytes;
use state::{ClusterId, MemberId};

use crate::messages::{LogWrite, SegmentId};
use crate::wal::record::{self, Batch, HardState};
use crate::wal::segment::{HEADER_BYTES, Segment};

/// Where a log stands when writing goes on.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Whose data this is.
    pub cluster: ClusterId,
    /// Whose log this is.
    pub member: MemberId,
    /// See [`Segment::salt`].
    pub salt: u32,
    /// The segment to begin; never used before.
    pub segment: SegmentId,
    /// The number of the next record.
    pub number: u64,
    /// Older segments that are still needed, with the last index each ever held, oldest first.
    pub older: Vec<(SegmentId, u64)>,
}

/// The end of the log.
#[derive(Debug)]
pub struct Writer {
    head: Segment,
    segment_bytes: u64,
    /// Where the next record goes; 0 if the segment has not been begun.
    offset: u64,
    /// The number of the next record.
    number: u64,
    /// Writes since this writer was made.
    writes: u64,
    hard: HardState,
    /// Segments needed, oldest first, with the last index each ever held; the last is the head.
    live: VecDeque<(SegmentId, u64)>,
}

impl Writer {
    /// Continues a log in a new segment.
    #[must_use]
    pub fn new(origin: Origin, hard: HardState, segment_bytes: u64) -> Writer {
        let mut live: VecDeque<_> = origin.older.into();
        let oldest = live.front().map_or(origin.segment, |(id, _)| *id);
        live.push_back((origin.segment, 0));
        let head = Segment {
            previous: live.iter().rev().nth(1).map(|(id, _)| *id),
            cluster: origin.cluster,
            member: origin.member,
            id: origin.segment,
            first_number: origin.number,
            oldest,
            salt: origin.salt,
        };
        Writer { head, segment_bytes, offset: 0, number: origin.number, writes: 0, hard, live }
    }

    /// The number of the last record framed.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.number - 1
    }

    /// The hard state as the log has it, counting what is on its way.
    #[must_use]
    pub fn hard(&self) -> HardState {
        self.hard
    }

    /// The segment that is being written.
    #[must_use]
    pub fn segment(&self) -> SegmentId {
        self.head.id
    }

    /// The segments that are needed, oldest first.
    pub fn live(&self) -> impl Iterator<Item = SegmentId> {
        self.live.iter().map(|(id, _)| *id)
    }

    /// Frames a batch as the next write.
    pub fn append(&mut self, mut batch: Batch, synced_through: u64) -> LogWrite {
        if let Some(hard) = batch.hard {
            self.hard = hard;
        } else if let Some(commit) = batch.commit {
            self.hard.commit = commit;
        }
        let mut bytes = Vec::with_capacity(size_hint(&batch));
        if self.offset > 0 {
            record::encode(&batch, self.number, synced_through, self.head.seed(), &mut bytes);
            if self.offset + bytes.len() as u64 > self.segment_bytes {
                bytes.clear();
                self.begin_segment();
            }
        }
        if self.offset == 0 {
            batch.hard = Some(self.hard);
            batch.commit = None;
            bytes.extend(self.head.encode());
            record::encode(&batch, self.number, synced_through, self.head.seed(), &mut bytes);
        }
        if let Some(last) = batch.last_index() {
            let (_, highest) = self.live.back_mut().expect("the head is live");
            *highest = last.max(*highest);
        }
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        self.number += 1;
        self.writes += 1;
        let bytes = Bytes::from(bytes);
        LogWrite { number: self.writes, segment: self.head.id, offset, bytes }
    }

    fn begin_segment(&mut self) {
        self.head.previous = Some(self.head.id);
        self.head.id = SegmentId(self.head.id.0 + 1);
        self.head.first_number = self.number;
        self.head.oldest = self.live.front().expect("the head is live").0;
        self.live.push_back((self.head.id, 0));
        self.offset = 0;
    }

    /// The oldest segment that holds an entry at or above `index`, or else the one being written.
    #[must_use]
    pub fn needed_from(&self, index: u64) -> SegmentId {
        let needed = self.live.iter().find(|(_, last)| *last >= index);
        needed.map_or(self.head.id, |(id, _)| *id)
    }

    /// The oldest segment that has not been given up.
    #[must_use]
    pub fn oldest(&self) -> SegmentId {
        self.live.front().expect("the head is live").0
    }

    /// Gives up the segments before `first`; the next batch has to say so.
    pub fn forget_before(&mut self, first: SegmentId) {
        while self.live.len() > 1 && self.oldest() < first {
            self.live.pop_front();
        }
    }
}

fn size_hint(batch: &Batch) -> usize {
    let entries = batch.entries.iter().map(|e| e.data.len() + e.context.len() + 16);
    HEADER_BYTES + record::FRAME_BYTES + 64 + entries.sum::<usize>()
}
