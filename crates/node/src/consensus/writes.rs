//! Writes on their way to disk and back: when one is begun, and what its durability sets free.

use std::mem::take;

use state::{LogIndex, Term};

use crate::limits::IDLE_TICKS;
use crate::messages::{ConsensusOutput, Fatal};

use super::pipeline::InFlight;
use super::{Consensus, Emit};

impl Consensus {
    /// Gives the next write to the disk, if it must be written and a slot is free.
    pub(super) fn append(&mut self, emit: Emit<'_>) {
        let idle = self.quiet_ticks >= IDLE_TICKS
            && self.pipeline.in_flight.is_empty()
            && self.needs_marker();
        let free = self.pipeline.in_flight.len() < self.config.slots;
        if (self.pipeline.must_write && free) || idle {
            self.write(emit);
        }
    }

    /// Whether an idle log should say something: that the last records are durable, or that old
    /// segments may go.
    pub(super) fn needs_marker(&self) -> bool {
        self.pipeline.is_uncovered() || self.pipeline.pending.oldest.is_some()
    }

    pub(super) fn write(&mut self, emit: Emit<'_>) {
        let pipeline = &mut self.pipeline;
        let batch = take(&mut pipeline.pending);
        let precious = pipeline.must_write;
        let oldest = batch.oldest;
        let synced_through = pipeline.synced_record;
        let write = self.writer.append(batch, synced_through);
        let record = self.writer.last_number();
        if precious {
            pipeline.precious_record = record;
        } else {
            // It carries nothing that a Ready waits for.
            pipeline.pending_ready = pipeline.durable;
        }
        pipeline.in_flight.push_back(InFlight {
            write: write.number,
            ready: pipeline.pending_ready,
            record,
            synced_through,
            oldest,
        });
        pipeline.must_write = false;
        self.quiet_ticks = 0;
        emit(ConsensusOutput::Append(write));
    }

    pub(super) fn persisted(&mut self, number: u64, emit: Emit<'_>) {
        let write = self.pipeline.persisted(number);
        release(&write, emit);
        if write.ready >= self.pipeline.barrier {
            self.raw.on_persist_ready(write.ready);
        }
        let durable = |ready: u64| ready <= write.ready;
        if let Some((_, mark)) = self.pipeline.install.take_if(|(ready, _)| durable(*ready)) {
            emit(ConsensusOutput::Install {
                index: LogIndex(mark.index),
                term: Term(mark.term),
                conf_state: mark.conf_state,
            });
        }
        for (after, messages) in take(&mut self.pipeline.held) {
            self.send(after, messages, emit);
        }
        self.advance_apply();
    }

    pub(super) fn advance_apply(&mut self) {
        let log = &self.raw.raft.raft_log;
        let to = self.applied.min(log.persisted).min(log.committed);
        // Before a snapshot is installed, what the applier has done is older than raft's log.
        if to > log.applied {
            self.raw.advance_apply_to(to);
            // Alone, nobody asks for applied entries again. Others may, and if they are further
            // behind than memory goes, a checkpoint must reach up to it.
            let alone = self.raw.raft.prs().iter().count() == 1;
            let (keep, checkpointed) = (self.config.follower_bytes, self.checkpointed);
            let (cut, keep) = if alone { (to, 0) } else { (to.min(checkpointed), keep) };
            self.raw.mut_store().cut(cut, keep);
        }
    }

    /// What is durable outside the log need not be in it.
    pub(super) fn checkpoint(&mut self, index: u64) -> Result<(), Fatal> {
        let committed = self.raw.raft.raft_log.committed;
        if index > committed {
            let what = format!("{index} is said to be checkpointed, but only {committed} decided");
            return Err(Fatal::Consensus(what));
        }
        // What is in a checkpoint has been applied.
        self.applied = self.applied.max(index);
        self.advance_apply();
        self.checkpointed = self.checkpointed.max(index);
        while self.members.get(1).is_some_and(|(from, _)| *from <= self.checkpointed) {
            self.members.pop_front();
        }
        let (checkpointed, raft_applied) = (self.checkpointed, self.raw.raft.raft_log.applied);
        let tail = self.raw.mut_store();
        if let (Some(term), Some((_, members))) = (tail.term_of(index), self.members.front()) {
            tail.set_checkpoint(index, term, members.clone());
        }
        let needed = self.writer.needed_from(checkpointed.min(raft_applied) + 1);
        if needed > self.writer.oldest() {
            self.writer.forget_before(needed);
            self.pipeline.pending.oldest = Some(needed);
        }
        Ok(())
    }
}

pub(super) fn release(write: &InFlight, emit: Emit<'_>) {
    if let Some(first) = write.oldest {
        emit(ConsensusOutput::Release { first });
    }
}
