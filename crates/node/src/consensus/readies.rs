//! What raft wants done, in the order that keeps every promise: steps 4 and 5 of a turn, first half.
//!
//! A Ready joins the next write, its messages leave or wait, its committed entries are handed out.

use state::{ClusterTime, LogIndex, MemberId, Term};

use crate::messages::{Committed, ConsensusOutput, Fatal, Payload};
use crate::wal::{Batch, SnapshotMark, Writer};

use super::wire::{self, Entry, EntryType, Message};
use super::{Consensus, Emit};

impl Consensus {
    /// Handles one Ready. Between `ready` and `advance_append_async` raft must not be called.
    pub(super) fn ready(&mut self, emit: Emit<'_>) -> Result<(), Fatal> {
        let mut ready = self.raw.ready();
        let number = ready.number();
        let tail = self.raw.mut_store();
        let pipeline = &mut self.pipeline;
        if !ready.snapshot().is_empty() {
            self.installing = tail.reset(ready.snapshot());
            let metadata = ready.snapshot().get_metadata();
            self.members = [(metadata.index, metadata.get_conf_state().clone())].into();
            let conf_state = wire::encode_conf_state(metadata.get_conf_state());
            let mark = SnapshotMark { index: metadata.index, term: metadata.term, conf_state };
            pipeline.pending.entries.clear();
            pipeline.pending.snapshot = Some(mark.clone());
            pipeline.barrier = number;
            pipeline.install = Some((number, mark));
        }
        let entries = ready.take_entries();
        if let Some(first) = entries.first() {
            if first.index <= tail.last() {
                pipeline.barrier = number;
            }
            self.reached = self.reached.max(newest_time(&entries));
            tail.append(&entries);
            log_entries(&mut pipeline.pending, first.index, &entries);
        }
        if let Some(hard) = ready.hs() {
            if hard.term != pipeline.term.0 {
                pipeline.term = (hard.term, number);
            }
            if ready.must_sync() && hard_moved(&self.writer, hard) {
                pipeline.pending.hard = Some(wire::hard_to_log(hard));
                pipeline.pending.commit = None;
            } else if let Some(pending) = &mut pipeline.pending.hard {
                pending.commit = hard.commit;
            } else {
                pipeline.pending.commit = Some(hard.commit);
            }
        }
        if ready.must_sync() {
            pipeline.written = number;
            pipeline.must_write = true;
        }
        if pipeline.must_write {
            pipeline.pending_ready = number;
        }
        // A leader overtakes its disk, but not the record of its own term (T3).
        let term = pipeline.term.1;
        self.send(term, ready.take_messages(), emit);
        let written = self.pipeline.written;
        self.send(written, ready.take_persisted_messages(), emit);
        for read in ready.take_read_states() {
            if let Some(batch) = self.reads.answered(&read.request_ctx) {
                emit(ConsensusOutput::ReadAt { batch, index: LogIndex(read.index) });
            }
        }
        let committed = ready.take_committed_entries();
        self.raw.advance_append_async(ready);
        if self.pipeline.written <= self.pipeline.durable {
            // Nothing of it waits for the disk: raft may forget its record of it (T5).
            self.raw.on_persist_ready(number);
        }
        self.hand_out(committed, emit)
    }

    /// Messages leave once everything they promise is durable.
    pub(super) fn send(&mut self, after: u64, messages: Vec<Message>, emit: Emit<'_>) {
        if messages.is_empty() {
            return;
        }
        if after > self.pipeline.durable {
            self.pipeline.held.push_back((after, messages));
            return;
        }
        for message in messages {
            let to = MemberId(message.to);
            emit(ConsensusOutput::Send { to, message: wire::encode(&message) });
        }
    }

    fn hand_out(&mut self, entries: Vec<Entry>, emit: Emit<'_>) -> Result<(), Fatal> {
        if entries.is_empty() {
            return Ok(());
        }
        self.handed_out = entries.last().map_or(self.handed_out, |entry| entry.index);
        let mut committed = Vec::with_capacity(entries.len());
        for entry in entries {
            let (index, term) = (LogIndex(entry.index), Term(entry.term));
            let payload = match entry.get_entry_type() {
                EntryType::EntryNormal if entry.data.is_empty() => Payload::Empty,
                EntryType::EntryNormal => Payload::Batch(entry.data),
                EntryType::EntryConfChange => self.change_membership(entry)?,
                EntryType::EntryConfChangeV2 => {
                    let what = format!("{index} changes several members at once");
                    return Err(Fatal::Consensus(what));
                }
            };
            committed.push(Committed { index, term, payload });
        }
        emit(ConsensusOutput::Apply(committed));
        Ok(())
    }
}

/// Whether more than the commit index differs from what the log holds.
fn hard_moved(writer: &Writer, hard: &wire::HardState) -> bool {
    let logged = writer.hard();
    logged.term != hard.term || logged.vote != hard.vote
}

/// Adds entries to a batch, in the place of those at and above the first of them.
fn log_entries(batch: &mut Batch, first: u64, entries: &[Entry]) {
    if batch.entries.is_empty() || first <= batch.first_index {
        batch.entries.clear();
        batch.first_index = first;
    }
    let keep = usize::try_from(first - batch.first_index).unwrap_or(usize::MAX);
    batch.entries.truncate(keep);
    batch.entries.extend(entries.iter().map(wire::to_log));
}

fn newest_time(entries: &[Entry]) -> ClusterTime {
    let batches = entries.iter().rev().filter(|e| e.get_entry_type() == EntryType::EntryNormal);
    let mut times = batches.filter_map(|entry| state::command::batch_time(&entry.data).ok());
    times.next().unwrap_or_default()
}
