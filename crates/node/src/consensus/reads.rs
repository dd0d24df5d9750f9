//! Reads that wait for a confirmation of leadership.
//!
//! A round is named by a context that is never used again: raft drops a repeated one silently, and
//! a reused one could take the acknowledgements of an earlier round. Raft forgets rounds in many
//! places (no leader, a new term, a lost message), so each is given up when leader or term change or
//! its time is over; whoever waits asks again under a new name.

use std::collections::VecDeque;

use crate::limits::READS_PENDING_MAX;
use crate::messages::ReadBatch;

/// Rounds asked for and not answered.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Member and start of this process: the part of all contexts that does not count.
    origin: (u64, u64),
    attempts: u64,
    /// Rounds that raft has been asked for, oldest first.
    asked: VecDeque<Round>,
    /// Rounds for which the time has not come.
    waiting: VecDeque<Round>,
    /// The reign in which the rounds were asked for.
    reign: (u64, u64),
}

#[derive(Clone, Copy, Debug)]
struct Round {
    batch: ReadBatch,
    attempt: u64,
    ticks: usize,
}

impl Reads {
    pub(super) fn new(member: u64, start: u64) -> Reads {
        Reads { origin: (member, start), ..Reads::default() }
    }

    /// Takes a batch; gives it back if too many wait.
    pub(super) fn push(&mut self, batch: ReadBatch) -> Result<(), ReadBatch> {
        if self.asked.len() + self.waiting.len() >= READS_PENDING_MAX {
            return Err(batch);
        }
        self.waiting.push_back(Round { batch, attempt: 0, ticks: 0 });
        Ok(())
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The context of the next round to ask raft for.
    pub(super) fn ask(&mut self) -> Option<Vec<u8>> {
        let mut round = self.waiting.pop_front()?;
        self.attempts += 1;
        round.attempt = self.attempts;
        self.asked.push_back(round);
        Some(self.context(round.attempt))
    }

    /// The batch that a context belongs to, once.
    pub(super) fn answered(&mut self, context: &[u8]) -> Option<ReadBatch> {
        let at = self.asked.iter().position(|r| self.context(r.attempt) == context)?;
        self.asked.remove(at).map(|round| round.batch)
    }

    /// Gives up everything if leader or term are not what they were when it was asked for.
    pub(super) fn reign(&mut self, reign: (u64, u64), lost: &mut dyn FnMut(ReadBatch)) {
        if self.reign != reign {
            self.reign = reign;
            self.asked.drain(..).for_each(|round| lost(round.batch));
        }
    }

    /// Gives up what has waited for `patience` ticks.
    pub(super) fn tick(&mut self, patience: usize, lost: &mut dyn FnMut(ReadBatch)) {
        for rounds in [&mut self.asked, &mut self.waiting] {
            rounds.iter_mut().for_each(|round| round.ticks += 1);
            rounds.retain(|round| {
                let keep = round.ticks < patience;
                if !keep {
                    lost(round.batch);
                }
                keep
            });
        }
    }

    /// Gives up everything that has not been asked for.
    pub(super) fn lose_waiting(&mut self, lost: &mut dyn FnMut(ReadBatch)) {
        self.waiting.drain(..).for_each(|round| lost(round.batch));
    }

    fn context(&self, attempt: u64) -> Vec<u8> {
        let (member, start) = self.origin;
        [member, start, attempt].iter().flat_map(|number| number.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_unique_per_attempt_and_answered_once() {
        let mut reads = Reads::new(1, 2);
        reads.push(ReadBatch(7)).expect("room");
        reads.push(ReadBatch(8)).expect("room");
        let (first, second) = (reads.ask().expect("one"), reads.ask().expect("two"));
        assert_ne!(first, second);
        assert_eq!(reads.answered(&second), Some(ReadBatch(8)));
        assert_eq!(reads.answered(&second), None);
        let mut lost = Vec::new();
        reads.reign((5, 1), &mut |batch| lost.push(batch));
        assert_eq!(lost, [ReadBatch(7)]);
        assert_eq!(reads.answered(&first), None, "an answer to a round that was given up");
    }
}
