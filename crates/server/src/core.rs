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

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::applier::{Applier, ApplierShell, Garbage, OWN_REQUEST};
use node::consensus::Consensus;
use node::messages::{
    ApplierInput, ApplierOutput, ConsensusInput, ConsensusOutput, Fatal, Query, QueryAnswer,
};
use state::outcome::AlarmType;
use state::watch::{HubInput, StreamId, StreamInput};
use state::{LogIndex, RequestId};
use storage::log_disk::{LogDisk, LogError, LogEvent};

use crate::checkpoints::Checkpoints;
use crate::handle::Beacon;
use crate::limits::{ALLOCATOR_NUDGE_BYTES, CORE_INPUTS_PER_TURN, OVERDUE_LOOK};
use crate::reply::{Proposed, ReplyTo};
use crate::slow::SlowApply;
use crate::sweep_pace::SweepPace;
use crate::waiters::Waiters;
use crate::watch_queue::{WatchQueue, WatchQueues};

/// What reaches the core thread.
pub enum CoreInput {
    /// Put a command into the log.
    Propose {
        /// Its number.
        request: RequestId,
        /// The encoded command.
        command: Bytes,
        /// Where the answer goes, with the term of its entry.
        reply: ReplyTo<Proposed>,
    },
    /// Tell when a view is linearizable.
    ReadBarrier {
        /// Where the answer goes.
        reply: ReplyTo<()>,
    },
    /// Ask the owner of the data.
    Query {
        /// Its number.
        request: RequestId,
        /// What.
        query: Query,
        /// Where the answer goes.
        reply: ReplyTo<QueryAnswer>,
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
    /// Give space back to the disk without waiting for more garbage.
    FreeSpace,
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
    sweep_pace: SweepPace,
    stopping: bool,
    log_failure: Option<LogError>,
}

/// The allocator returns what has been freed to the system while it is used, after a delay: a member
/// that falls idle, after a start or a load, would keep what it no longer needs. Freeing a block that
/// is not from its small pages makes it look.
fn give_memory_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(ALLOCATOR_NUDGE_BYTES)));
}

/// Where outputs go.
struct Wiring {
    beacon: Arc<Beacon>,
    checkpoints: Checkpoints,
    slow: SlowApply,
    waiters: Waiters,
    streams: WatchQueues,
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
                waiters: Waiters::default(),
                streams: WatchQueues::default(),
                applied,
                feedback: Vec::new(),
            },
            consensus_inbox: VecDeque::new(),
            applier_inbox: VecDeque::new(),
            tick: parts.tick,
            started: now,
            next_tick: now + parts.tick,
            next_look: now + OVERDUE_LOOK,
            sweep_pace: SweepPace::new(),
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
        let until = self.sweep_pace.due().map_or(self.next_tick, |due| due.min(self.next_tick));
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
            self.next_look = now + OVERDUE_LOOK;
            give_memory_back();
            let withdrawn = self.wiring.waiters.expire(now);
            if !withdrawn.is_empty() {
                self.applier_inbox.push_back(ApplierInput::Withdrawn(withdrawn));
            }
            self.look_for_room();
        }
        if self.wiring.checkpoints.must_look_for_room() {
            self.look_for_room();
        }
    }

    /// Has the alarm raised if the engine is about to find its disk full, unless it is raised.
    fn look_for_room(&mut self) {
        if !self.wiring.checkpoints.has_room()
            && !self.applier.state().tables().alarms.is_active(AlarmType::NO_SPACE)
        {
            tracing::warn!(
                "no room for the files of the engine: refusing writes that grow the data"
            );
            self.applier_inbox.push_back(ApplierInput::LogFull);
        }
    }

    /// Removes some garbage if it is time.
    fn sweep(&mut self) -> Result<(), CoreError> {
        let Some(piece) = self.sweep_pace.begin(Instant::now(), self.applier.garbage()) else {
            return Ok(());
        };
        loop {
            self.applier.sweep(&mut self.wiring)?;
            let now = Instant::now();
            if self.applier.garbage() != Garbage::Removable || now >= piece.until() {
                self.sweep_pace.end(&piece, now, self.applier.garbage());
                break;
            }
        }
        self.wiring.waiters.send_answers();
        Ok(())
    }

    fn take(&mut self, input: CoreInput) {
        self.sweep_pace.had_input();
        match input {
            CoreInput::Propose { request, command, reply } => {
                self.wiring.waiters.propose(request, reply);
                self.consensus_inbox.push_back(ConsensusInput::Propose { request, command });
            }
            CoreInput::ReadBarrier { reply } => self.wiring.waiters.read(reply),
            CoreInput::Query { request, query, reply } => {
                self.wiring.waiters.query(request, reply);
                self.applier_inbox.push_back(ApplierInput::Query { request, query });
            }
            CoreInput::OpenWatch { stream, queue } => {
                self.wiring.streams.open(stream, queue);
            }
            CoreInput::Watch(input) => {
                self.wiring.streams.hear(&input);
                self.applier_inbox.push_back(ApplierInput::Watch(input));
            }
            CoreInput::Log(event) => self.log_event(event),
            CoreInput::Checkpointed(done) => {
                if let Some(index) = self.wiring.checkpoints.finished(done) {
                    self.consensus_inbox.push_back(ConsensusInput::Checkpointed { index });
                }
            }
            CoreInput::FreeSpace => self.wiring.checkpoints.free_space(),
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
        if let Some(batch) = self.wiring.waiters.begin_read_round() {
            self.consensus_inbox.push_back(ConsensusInput::ReadIndex(batch));
        }
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
        self.sweep()
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
            ConsensusOutput::ReadAt { batch, index } => wiring.waiters.confirm(batch, index),
            ConsensusOutput::ReadLost(batch) => wiring.waiters.lose(batch),
            ConsensusOutput::Refused { request, why } => {
                if request.0 & OWN_REQUEST != 0 {
                    applier_inbox.push_back(ApplierInput::Refused(request));
                }
                wiring.waiters.refuse(request, why);
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
        self.wiring.waiters.release_reads(self.wiring.applied);
        self.wiring.waiters.send_answers();
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).expect("runs for less than 2^64 ms")
    }
}

impl ApplierShell for Wiring {
    fn emit(&mut self, output: ApplierOutput) {
        match output {
            ApplierOutput::Reply(answer, term) => self.waiters.applied(answer, term),
            ApplierOutput::Answer(request, answer) => self.waiters.answered(request, answer),
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
        self.streams.push(stream, input)
    }

    fn leave_word(&mut self, stream: StreamId, input: StreamInput) {
        self.streams.leave_word(stream, input);
    }
}

impl Drop for Wiring {
    fn drop(&mut self) {
        self.beacon.stopped.store(true, Ordering::Release);
    }
}
