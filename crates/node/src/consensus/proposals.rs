//! Proposals on their way into the log: they wait while the disk is busy, and all that wait become
//! one entry. That is group commit, without a timer.

use std::collections::VecDeque;

use bytes::Bytes;
use state::command::{begin_batch, push_command};
use state::{ClusterTime, RequestId};

use crate::limits::{BATCH_BYTES_MAX, WAITING_BYTES_MAX};

/// Commands that have no place in the log yet, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    waiting: VecDeque<(RequestId, Bytes)>,
    bytes: usize,
}

impl Proposals {
    /// Takes a command; gives its request back if too much is waiting.
    pub(super) fn push(&mut self, request: RequestId, command: Bytes) -> Result<(), RequestId> {
        // A command larger than the bound may still enter an empty waiting room.
        if !self.waiting.is_empty() && self.bytes + command.len() > WAITING_BYTES_MAX {
            return Err(request);
        }
        self.bytes += command.len();
        self.waiting.push_back((request, command));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Size of what waits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batch of what waits longest, up to the byte bound; nothing leaves yet.
    pub(super) fn batch(&self, time: ClusterTime) -> (Bytes, usize) {
        let mut batch = begin_batch(time);
        let mut count = 0;
        for (_, command) in &self.waiting {
            if count > 0 && batch.len() + command.len() > BATCH_BYTES_MAX {
                break;
            }
            push_command(&mut batch, command);
            count += 1;
        }
        (batch.freeze(), count)
    }

    /// Removes the `count` that waited longest: they are in the log.
    pub(super) fn entered(&mut self, count: usize) {
        for (_, command) in self.waiting.drain(..count) {
            self.bytes -= command.len();
        }
    }

    /// Removes all.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = RequestId> {
        self.bytes = 0;
        self.waiting.drain(..).map(|(request, _)| request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_at_its_byte_bound_and_a_larger_command_travels_alone() {
        let mut proposals = Proposals::default();
        let big = Bytes::from(vec![1; BATCH_BYTES_MAX + 1]);
        for (request, command) in [&b"a"[..], b"b", &big, b"c"].into_iter().enumerate() {
            let command = Bytes::copy_from_slice(command);
            proposals.push(RequestId(request as u64), command).expect("there is room");
        }
        let mut counts = Vec::new();
        while !proposals.is_empty() {
            let (_, count) = proposals.batch(ClusterTime(1));
            proposals.entered(count);
            counts.push(count);
        }
        assert_eq!(counts, [2, 1, 1]);
        assert_eq!(proposals.bytes, 0);
    }

    #[test]
    fn a_full_waiting_room_refuses() {
        let mut proposals = Proposals::default();
        let command = Bytes::from(vec![1; WAITING_BYTES_MAX / 2]);
        assert_eq!(proposals.push(RequestId(1), command.clone()), Ok(()));
        assert_eq!(proposals.push(RequestId(2), command.clone()), Ok(()));
        assert_eq!(proposals.push(RequestId(3), command), Err(RequestId(3)));
        assert_eq!(proposals.drain().count(), 2);
        assert!(proposals.push(RequestId(4), Bytes::from_static(b"x")).is_ok());
    }
}
