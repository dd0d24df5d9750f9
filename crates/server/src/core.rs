//! The core thread: runs the two machines and moves their outputs to where they belong.
//!
//! ```text
//!   handlers ─┐                     ┌─▶ log disk (its own threads) ─┐
//!   timer ────┼─▶ inbox ─▶ Consensus ─▶ Applier ─▶ oneshots, watch queues
//!   log disk ─┘        ▲                                            │
//!                      └──────────── Persisted ◀────────────────────┘
//! ```
//!
//! One thread runs both machines: a hand-off between threads costs more than either machine's turn
//! for a lone put. Nothing in here decides anything; the branches are in the machines.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::applier::{
    Applier, ApplierInput, ApplierOutput, ApplierShell, Garbage, OWN_REQUEST, Query, QueryAnswer,
};
use node::consensus::Consensus;
use node::messages::{ConsensusInput, ConsensusOutput, Fatal, ReadBatch, Refused};
use state::apply::Answer;
use state::watch::{HubInput, StreamId, StreamInput};
use state::{LogIndex, RequestId, Term};
use storage::log_disk::{LogDisk, LogError, LogEvent};
use tokio::sync::oneshot;

use crate::checkpoints::Checkpoints;
use crate::handle::{Beacon, Unserved};
use crate::limits::{CORE_INPUTS_PER_TURN, SWEEP_RETRY, WITHDRAWN_LOOK};
use crate::slow::SlowApply;
use crate::watch_queue::WatchQueue;

/// What reaches the core thread.
pub enum CoreInput {
    /// Put a command into the log.
    Propose {
        /// Its number.
        request: RequestId,
        /// The encoded command.
        command: Bytes,
        /// Where the answer goes, with the term of its entry.
        reply: ProposalReply,
    },
    /// Tell when a view is linearizable.
    ReadBarrier {
        /// Where the answer goes.
        reply: ReadReply,
    },
    /// Ask the owner of the data.
    Query {
        /// Its number.
        request: RequestId,
        /// What.
        query: Query,
        /// Where the answer goes.
        reply: oneshot::Sender<QueryAnswer>,
    },
    /// A watch stream has opened.
    OpenWatch {
        /// Who.
        stream: StreamId,
        /// Its queue.
        queue: Arc<WatchQueue>,
    },
    /// A watch stream says something.
    Watch(HubInput),
    /// The log disk reports.
    Log(LogEvent),
    /// A snapshot file holds everything up to this entry, or could not be written.
    Checkpointed(Result<LogIndex, String>),
    /// Finish what has been begun and end.
    Stop,
}

/// Sends to the core thread.
pub type CoreSender = mpsc::Sender<CoreInput>;
/// The core thread's inbox.
pub type CoreReceiver = mpsc::Receiver<CoreInput>;

/// Why the core thread ended.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// A machine stopped.
    #[error("the member cannot go on")]
    Fatal(#[from] Fatal),
    /// The log disk failed.
    #[error("the log failed")]
    Log(#[from] LogError),
}

/// The parts of a running member that the core thread owns.
pub struct Core {
    consensus: Consensus,
    applier: Applier,
    disk: LogDisk,
    inbox: CoreReceiver,
    wiring: Wiring,
    consensus_inbox: VecDeque<ConsensusInput>,
    applier_inbox: VecDeque<ApplierInput>,
    tick: Duration,
    started: Instant,
    next_tick: Instant,
    next_look: Instant,
    stopping: bool,
    log_failure: Option<LogError>,
}

/// Where the answer to a command goes, with the term of its entry.
pub type ProposalReply = oneshot::Sender<Result<(Answer, Term), Unserved>>;
/// Where a reader hears that it may read.
pub type ReadReply = oneshot::Sender<Result<(), Unserved>>;

/// Who waits for what.
struct Wiring {
    beacon: Arc<Beacon>,
    checkpoints: Checkpoints,
    slow: SlowApply,
    proposals: HashMap<RequestId, ProposalReply>,
    queries: HashMap<RequestId, oneshot::Sender<QueryAnswer>>,
    /// Reads that wait for the next round.
    reads: Vec<ReadReply>,
    /// Reads that wait for a round under way.
    rounds: HashMap<ReadBatch, Vec<ReadReply>>,
    /// Confirmed reads that wait until an entry is applied.
    confirmed: Vec<(LogIndex, Vec<ReadReply>)>,
    next_batch: u64,
    watchers: HashMap<StreamId, Arc<WatchQueue>>,
    applied: LogIndex,
    /// For the consensus, from the applier's turn.
    feedback: Vec<ConsensusInput>,
}

/// What a [`Core`] is made of.
pub struct CoreParts {
    /// The order of commands.
    pub consensus: Consensus,
    /// The data.
    pub applier: Applier,
    /// The log.
    pub disk: LogDisk,
    /// Where inputs arrive.
    pub inbox: CoreReceiver,
    /// What handlers see.
    pub beacon: Arc<Beacon>,
    /// When to write snapshots.
    pub checkpoints: Checkpoints,
    /// From when on applying is worth a warning.
    pub slow_apply: Duration,
    /// One heartbeat.
    pub tick: Duration,
}

impl Core {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: CoreParts) -> Core {
        let now = Instant::now();
        let applied = parts.applier.state().applied().0;
        Core {
            consensus: parts.consensus,
            applier: parts.applier,
            disk: parts.disk,
            inbox: parts.inbox,
            wiring: Wiring {
                beacon: parts.beacon,
                checkpoints: parts.checkpoints,
                slow: SlowApply::new(parts.slow_apply),
                proposals: HashMap::new(),
                queries: HashMap::new(),
                reads: Vec::new(),
                rounds: HashMap::new(),
                confirmed: Vec::new(),
                next_batch: 0,
                watchers: HashMap::new(),
                applied,
                feedback: Vec::new(),
            },
            consensus_inbox: VecDeque::new(),
            applier_inbox: VecDeque::new(),
            tick: parts.tick,
            started: now,
            next_tick: now + parts.tick,
            next_look: now + WITHDRAWN_LOOK,
            stopping: false,
            log_failure: None,
        }
    }

    /// Runs until told to stop.
    ///
    /// # Errors
    /// A machine or the log failed: nothing more may be acknowledged.
    pub fn run(mut self) -> Result<(), CoreError> {
        loop {
            self.turn()?;
            if self.stopping && self.is_settled()? {
                return Ok(());
            }
            self.wait();
        }
    }

    /// Whether everything written is durable and vouched for by a later record; asks for what is
    /// missing.
    fn is_settled(&mut self) -> Result<bool, CoreError> {
        let Core { consensus, disk, .. } = self;
        let mut failed = None;
        let settled = consensus.stop(&mut |output| {
            if let ConsensusOutput::Append(write) = output {
                failed = failed.take().or(disk.append(write).err());
            }
        });
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(settled && disk.in_flight() == 0),
        }
    }

    /// Waits for an input or the next deadline, and takes everything that is there.
    fn wait(&mut self) {
        let now = Instant::now();
        let mut until = self.next_tick;
        match self.applier.garbage() {
            Garbage::None => {}
            Garbage::Removable => until = now,
            Garbage::Held => until = until.min(now + SWEEP_RETRY),
        }
        match self.inbox.recv_timeout(until.saturating_duration_since(now)) {
            Ok(input) => self.take(input),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.stopping = true,
        }
        for _ in 1..CORE_INPUTS_PER_TURN {
            let Ok(input) = self.inbox.try_recv() else { break };
            self.take(input);
        }
        let now = Instant::now();
        if now >= self.next_tick {
            // A member that was held up does not catch up on heartbeats.
            self.next_tick = now + self.tick;
            self.consensus_inbox.push_back(ConsensusInput::Tick);
        }
        if now >= self.next_look {
            self.next_look = now + WITHDRAWN_LOOK;
            let withdrawn = self.wiring.forget_the_gone();
            if !withdrawn.is_empty() {
                self.applier_inbox.push_back(ApplierInput::Withdrawn(withdrawn));
            }
        }
    }

    fn take(&mut self, input: CoreInput) {
        match input {
            CoreInput::Propose { request, command, reply } => {
                self.wiring.proposals.insert(request, reply);
                self.consensus_inbox.push_back(ConsensusInput::Propose { request, command });
            }
            CoreInput::ReadBarrier { reply } => self.wiring.reads.push(reply),
            CoreInput::Query { request, query, reply } => {
                self.wiring.queries.insert(request, reply);
                self.applier_inbox.push_back(ApplierInput::Query { request, query });
            }
            CoreInput::OpenWatch { stream, queue } => {
                self.wiring.watchers.insert(stream, queue);
            }
            CoreInput::Watch(input) => {
                if let HubInput::Leave { stream } = &input {
                    self.wiring.watchers.remove(stream);
                }
                self.applier_inbox.push_back(ApplierInput::Watch(input));
            }
            CoreInput::Log(event) => self.log_event(event),
            CoreInput::Checkpointed(done) => {
                if let Some(index) = self.wiring.checkpoints.finished(done) {
                    self.consensus_inbox.push_back(ConsensusInput::Checkpointed { index });
                }
            }
            CoreInput::Stop => self.stopping = true,
        }
    }

    fn log_event(&mut self, event: LogEvent) {
        let input = match event {
            LogEvent::Persisted { number, .. } => ConsensusInput::Persisted { number },
            LogEvent::Full => {
                tracing::warn!("no room to extend the log: refusing writes that grow the data");
                return self.applier_inbox.push_back(ApplierInput::LogFull);
            }
            LogEvent::SpaceAgain => {
                tracing::info!("the log can grow again");
                return;
            }
            LogEvent::Failed(error) => {
                self.log_failure = Some(error);
                return;
            }
        };
        self.consensus_inbox.push_back(input);
    }

    /// One turn of both machines, and of the first again as long as the second feeds it.
    fn turn(&mut self) -> Result<(), CoreError> {
        if let Some(error) = self.log_failure.take() {
            return Err(CoreError::Log(error));
        }
        self.wiring.begin_read_round(&mut self.consensus_inbox);
        loop {
            self.consensus_turn()?;
            self.applier_turn()?;
            // What the consensus has left in its inbox waits for the disk, not for another turn.
            if self.wiring.feedback.is_empty() {
                break;
            }
            self.consensus_inbox.extend(self.wiring.feedback.drain(..));
        }
        self.wiring.checkpoints.maybe_begin(self.applier.state());
        Ok(())
    }

    fn consensus_turn(&mut self) -> Result<(), CoreError> {
        let now_ms = self.now_ms();
        let Core { consensus, disk, wiring, consensus_inbox, applier_inbox, .. } = self;
        let mut failed = None;
        consensus.turn(now_ms, consensus_inbox, &mut |output| match output {
            ConsensusOutput::Append(write) => {
                failed = failed.take().or(disk.append(write).err());
            }
            ConsensusOutput::Release { first } => disk.release(first),
            ConsensusOutput::Discard { segments } => {
                failed = failed.take().or(disk.discard(&segments).err());
            }
            ConsensusOutput::Apply(entries) => {
                wiring.checkpoints.count(&entries);
                wiring.slow.note(&entries);
                applier_inbox.push_back(ApplierInput::Apply(entries));
            }
            ConsensusOutput::ReadAt { batch, index } => wiring.confirm(batch, index),
            ConsensusOutput::ReadLost(batch) => wiring.retry(batch),
            ConsensusOutput::Refused { request, why } => {
                if request.0 & OWN_REQUEST != 0 {
                    applier_inbox.push_back(ApplierInput::Refused(request));
                }
                wiring.refuse(request, why);
            }
            ConsensusOutput::Standing(standing) => {
                wiring.beacon.set(&standing);
                applier_inbox.push_back(ApplierInput::Standing(standing));
            }
            // There is nobody to send to, and nobody to send a snapshot, as long as a cluster has
            // one member.
            ConsensusOutput::Send { .. } | ConsensusOutput::Install { .. } => {}
        })?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    fn applier_turn(&mut self) -> Result<(), CoreError> {
        let now = self.consensus.cluster_time(self.now_ms());
        let begun = self.wiring.slow.begin();
        self.applier.turn(now, &mut self.applier_inbox, &mut self.wiring)?;
        self.wiring.slow.end(begun);
        self.wiring.release_reads();
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).expect("runs for less than 2^64 ms")
    }
}

impl Wiring {
    fn begin_read_round(&mut self, inbox: &mut VecDeque<ConsensusInput>) {
        if !self.reads.is_empty() {
            self.next_batch += 1;
            let batch = ReadBatch(self.next_batch);
            self.rounds.insert(batch, std::mem::take(&mut self.reads));
            inbox.push_back(ConsensusInput::ReadIndex(batch));
        }
    }

    fn confirm(&mut self, batch: ReadBatch, index: LogIndex) {
        if let Some(reads) = self.rounds.remove(&batch) {
            self.confirmed.push((index, reads));
        }
    }

    /// A new leader: etcd fails the reads that waited, and clients retry them.
    fn retry(&mut self, batch: ReadBatch) {
        for reply in self.rounds.remove(&batch).into_iter().flatten() {
            let _ = reply.send(Err(Unserved::LeaderChanged));
        }
    }

    fn release_reads(&mut self) {
        let applied = self.applied;
        for (_, reads) in self.confirmed.extract_if(.., |(index, _)| *index <= applied) {
            for reply in reads {
                // A reader that has gone away needs no answer.
                let _ = reply.send(Ok(()));
            }
        }
    }

    /// Drops what nobody waits for any more: an answer may never come, or only after a day. Returns
    /// the queries among it.
    fn forget_the_gone(&mut self) -> BTreeSet<RequestId> {
        self.proposals.retain(|_, reply| !reply.is_closed());
        let gone = self.queries.extract_if(|_, reply| reply.is_closed());
        gone.map(|(request, _)| request).collect()
    }

    fn refuse(&mut self, request: RequestId, why: Refused) {
        if let Some(reply) = self.proposals.remove(&request) {
            let _ = reply.send(Err(match why {
                Refused::NoLeader => Unserved::NoLeader,
                _ => Unserved::TooManyRequests,
            }));
        }
    }
}

impl ApplierShell for Wiring {
    fn emit(&mut self, output: ApplierOutput) {
        match output {
            ApplierOutput::Reply(answer, term) => {
                // Entries of an earlier run have nobody waiting for them.
                if let Some(reply) = self.proposals.remove(&answer.request) {
                    let _ = reply.send(Ok((answer, term)));
                }
            }
            ApplierOutput::Answer(request, answer) => {
                if let Some(reply) = self.queries.remove(&request) {
                    let _ = reply.send(answer);
                }
            }
            ApplierOutput::Propose(request, command) => {
                self.feedback.push(ConsensusInput::Propose { request, command });
            }
            ApplierOutput::Applied(index) => {
                self.applied = index;
                self.feedback.push(ConsensusInput::Applied { index });
            }
        }
    }

    fn deliver(&mut self, stream: StreamId, input: StreamInput) -> bool {
        // A stream that has just ended takes everything.
        self.watchers.get(&stream).is_none_or(|queue| queue.push(input))
    }

    fn leave_word(&mut self, stream: StreamId, input: StreamInput) {
        if let Some(queue) = self.watchers.get(&stream) {
            queue.leave_word(input);
        }
    }
}

impl Drop for Wiring {
    fn drop(&mut self) {
        self.beacon.stopped.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use state::ClusterId;
    use storage::snapshots::SnapshotFiles;

    use super::*;

    #[test]
    fn commands_and_questions_of_clients_that_have_gone_are_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let snapshots = Arc::new(SnapshotFiles::open(folder.path()).expect("a folder"));
        let (core, _inbox) = mpsc::channel();
        let mut wiring = Wiring {
            beacon: Arc::default(),
            checkpoints: Checkpoints::new(core, snapshots, ClusterId(1), 1, 0),
            proposals: HashMap::new(),
            queries: HashMap::new(),
            reads: Vec::new(),
            rounds: HashMap::new(),
            confirmed: Vec::new(),
            next_batch: 0,
            watchers: HashMap::new(),
            applied: LogIndex(0),
            slow: SlowApply::new(Duration::ZERO),
            feedback: Vec::new(),
        };
        let (stays, _patient) = oneshot::channel();
        let (leaves, impatient) = oneshot::channel();
        wiring.queries.extend([(RequestId(1), stays), (RequestId(2), leaves)]);
        let (leaves, gone) = oneshot::channel();
        wiring.proposals.insert(RequestId(3), leaves);
        drop((impatient, gone));
        assert_eq!(wiring.forget_the_gone(), BTreeSet::from([RequestId(2)]));
        assert_eq!((wiring.queries.len(), wiring.proposals.len()), (1, 0));
    }
}
