//! The order of commands: raft and its log, as a machine without threads, files or clocks.
//!
//! ```text
//!              ┌────────────── Consensus ──────────────┐
//!  Propose ──▶ │ waiting ─▶ one entry ─▶ raft ─▶ Ready │ ──▶ Append ──▶ disk
//!  Peer ─────▶ │                           │  ▲        │ ◀── Persisted ──┘
//!  Tick ─────▶ │        committed ◀────────┘  │        │ ──▶ Send, when it may leave
//!  Applied ──▶ │        and durable ──▶ Apply ┘        │ ──▶ Apply
//!              └───────────────────────────────────────┘
//! ```
//!
//! # The order of lines in `turn` is the safety argument
//!
//! 1. **Take what happened.** `Persisted` comes before anything that could rely on it.
//! 2. **The gate.** Before the first record of this start is durable, nothing is decided, sent or
//!    handed out: what was read back may have been in a cache only (see [`crate::wal`]).
//! 3. **Propose.** All that waits becomes one entry, if the disk has a free slot.
//! 4. **Readies.** For each: entries and hard state join the next write *first*, in the order raft
//!    made them; then messages leave or wait. A leader's messages wait for the record of its own
//!    term and for nothing else; everybody else's promise durability and wait for every write so
//!    far. Committed entries come from raft only up to what this member's disk has acknowledged, so
//!    whatever is handed out, and then answered to a client, is durable here.
//! 5. **Append.** One record for all Readies of the turn: whole or absent after a crash, so that a
//!    hard state never commits entries that are not there.
//! 6. **Report.** Standing and reads, from what is true after all this.
//!
//! Two writes may be in flight. The disk acknowledges in order, and a record is durable only with
//! all before it: recovery takes the longest row of whole records, never one behind a hole.
//!
//! # Guards around the `raft` crate
//!
//! | | danger | guard |
//! |---|---|---|
//! | T1 | a lone voter wins an election with an append in flight: assertion | no ticks while `still` |
//! | T2 | an election between a snapshot and its installation: fatal | `installing` |
//! | T3 | a leader's entries leave before its term is durable: the term is used twice | `term` |
//! | T4 | cut entries come back in a later term and an old acknowledgement matches | `barrier` |
//! | T5 | one record of raft's own per Ready without a write: memory grows | trimmed at once |
//! | T6 | a late vote makes a leader whose log is in flight: assertion | `admit` |
//! | T7 | a leader applies its own removal: panic | refused, and `removed` stops the machine |
//! | T8 | a second membership change becomes an empty entry silently | refused while one is pending |
//!
//! It does *not* know what a command means, does not write, send or wait, and keeps no data but the
//! newest part of the log.

mod admit;
mod clock;
mod log_bridge;
mod membership;
mod open;
mod pipeline;
mod proposals;
mod readies;
mod reads;
mod tail;
pub mod timeouts;
mod wire;
mod writes;

use std::collections::VecDeque;
use std::mem::take;

use bytes::Bytes;
use raft::{RawNode, StateRole};
use state::{ClusterTime, LogIndex, MemberId, Term};

use crate::limits::UNAPPLIED_BYTES_MAX;
use crate::messages::{ConsensusInput, ConsensusOutput, Fatal, Refused, SegmentId, Standing};
use crate::wal::{Batch, Writer};

use clock::Clock;
pub use open::{Config, Holds, OpenError, bootstrap};
use pipeline::{InFlight, Pipeline};
use proposals::Proposals;
use reads::Reads;
use tail::Tail;
use wire::{ConfState, EntryType, MessageType};
use writes::release;

type Emit<'a> = &'a mut dyn FnMut(ConsensusOutput);

/// The machine that decides the order of commands.
pub struct Consensus {
    config: Config,
    gate: Gate,
    raw: RawNode<Tail>,
    writer: Writer,
    pipeline: Pipeline,
    proposals: Proposals,
    reads: Reads,
    clock: Clock,
    /// The last time in the log.
    reached: ClusterTime,
    /// Memberships by the entry that made them, from the checkpointed one on.
    members: VecDeque<(u64, ConfState)>,
    /// What the applier has done.
    applied: u64,
    /// The last entry it was given.
    handed_out: u64,
    /// What is durable outside the log.
    checkpointed: u64,
    /// A snapshot up to here is being installed (T2).
    installing: u64,
    /// This member is no longer one (T7).
    removed: bool,
    /// Whether it led at the end of the last turn.
    led: bool,
    /// Ticks since the last write.
    quiet_ticks: u32,
    /// What was reported last.
    standing: Option<Standing>,
}

/// Whether the first record of this start is durable.
#[derive(Debug)]
enum Gate {
    /// It has not been asked for: what it says, what it may claim, and what may go after it.
    Closed(Box<Batch>, u64, Vec<SegmentId>),
    /// It is on its way to disk.
    Opening(Vec<SegmentId>),
    /// It is durable.
    Open,
}

/// What becomes of a proposal here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// This member leads.
    Log,
    /// It will lead as soon as it has done its homework.
    Wait,
    /// Another member leads, or nobody.
    Away,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let standing = self.standing();
        f.debug_struct("Consensus").field("standing", &standing).finish_non_exhaustive()
    }
}

impl Consensus {
    /// Takes every waiting input and emits what follows from them. `now_ms` is a clock that never
    /// runs backwards; where it starts does not matter.
    ///
    /// # Errors
    /// The member must stop: what the log says cannot be.
    ///
    /// # Panics
    /// If a write is reported durable out of order.
    pub fn turn(
        &mut self,
        now_ms: u64,
        inbox: &mut VecDeque<ConsensusInput>,
        emit: Emit<'_>,
    ) -> Result<(), Fatal> {
        self.clock.advance(now_ms);
        if !self.pass_gate(inbox, emit) {
            return Ok(());
        }
        for input in inbox.drain(..) {
            if self.removed {
                self.decline(input, emit);
            } else {
                self.input(input, emit)?;
            }
        }
        self.campaign_alone();
        loop {
            let proposed = self.propose(emit);
            self.ask_reads(emit);
            while !self.removed && !self.applier_is_behind() && self.raw.has_ready() {
                self.ready(emit)?;
            }
            self.append(emit);
            if !proposed {
                break;
            }
        }
        self.report(emit);
        Ok(())
    }

    /// The cluster time at a reading of the clock that [`Consensus::turn`] gets. Only a leader's
    /// means anything to others.
    #[must_use]
    pub fn cluster_time(&self, now_ms: u64) -> ClusterTime {
        self.clock.at(now_ms).max(self.reached)
    }

    /// Whether everything that was ever written is durable, and vouched for by a later record.
    /// Otherwise asks for the marker that does so, if the disk is idle. A clean stop takes turns
    /// until this is true.
    pub fn stop(&mut self, emit: Emit<'_>) -> bool {
        if !matches!(self.gate, Gate::Open) {
            // The first write of this start vouches for what the last life left behind.
            return false;
        }
        if self.pipeline.in_flight.is_empty() && (self.needs_marker() || self.pipeline.must_write) {
            self.write(emit);
        }
        self.pipeline.in_flight.is_empty() && !self.pipeline.is_uncovered()
    }

    /// The oldest and the newest entry in memory.
    #[must_use]
    pub fn log_bounds(&self) -> (LogIndex, LogIndex) {
        let tail = self.raw.raft.store();
        (LogIndex(tail.first()), LogIndex(self.raw.raft.raft_log.last_index()))
    }

    /// Where this member stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let raft = &self.raw.raft;
        let leads = raft.state == StateRole::Leader && !self.removed;
        let sole = leads && self.is_sole_voter() && raft.commit_to_current_term();
        let open = matches!(self.gate, Gate::Open);
        Standing {
            term: Term(raft.term),
            leader: (raft.leader_id != 0 && !self.removed).then_some(MemberId(raft.leader_id)),
            is_leader: leads && open,
            sole_voter: sole && open,
            committed: LogIndex(raft.raft_log.committed),
        }
    }

    /// Asks for the first write, and lets nothing pass before it is durable.
    fn pass_gate(&mut self, inbox: &mut VecDeque<ConsensusInput>, emit: Emit<'_>) -> bool {
        match &mut self.gate {
            Gate::Open => return true,
            Gate::Closed(again, covered, void) => {
                let (again, covered, void) = (take(&mut **again), *covered, take(void));
                let oldest = again.oldest;
                self.gate = Gate::Opening(void);
                self.pipeline.precious_record = covered + 1;
                let write = self.writer.append(again, covered);
                self.pipeline.in_flight.push_back(InFlight {
                    write: write.number,
                    ready: 0,
                    record: self.writer.last_number(),
                    synced_through: covered,
                    oldest,
                });
                emit(ConsensusOutput::Append(write));
            }
            Gate::Opening(_) => {}
        }
        let is_persisted =
            |input: &ConsensusInput| matches!(input, ConsensusInput::Persisted { .. });
        let Some(at) = inbox.iter().position(is_persisted) else {
            // Ticks are of no use later; everything else waits.
            inbox.retain(|input| !matches!(input, ConsensusInput::Tick));
            return false;
        };
        if let Some(ConsensusInput::Persisted { number }) = inbox.remove(at) {
            let write = self.pipeline.persisted(number);
            release(&write, emit);
        }
        if let Gate::Opening(segments) = std::mem::replace(&mut self.gate, Gate::Open)
            && !segments.is_empty()
        {
            emit(ConsensusOutput::Discard { segments });
        }
        true
    }

    fn input(&mut self, input: ConsensusInput, emit: Emit<'_>) -> Result<(), Fatal> {
        match input {
            ConsensusInput::Tick => self.tick(emit),
            ConsensusInput::Propose { request, command } => {
                if let Err(request) = self.proposals.push(request, command) {
                    emit(ConsensusOutput::Refused { request, why: Refused::Overloaded });
                }
            }
            ConsensusInput::ProposeMembership { request, change, context } => {
                if let Err(why) = self.propose_membership(change, context) {
                    emit(ConsensusOutput::Refused { request, why });
                }
            }
            ConsensusInput::ReadIndex(batch) => {
                if let Err(batch) = self.reads.push(batch) {
                    emit(ConsensusOutput::ReadLost(batch));
                }
            }
            ConsensusInput::Peer(message) => self.peer(&message),
            ConsensusInput::Persisted { number } => self.persisted(number, emit),
            ConsensusInput::Applied { index } => {
                self.applied = self.applied.max(index.0);
                self.advance_apply();
            }
            ConsensusInput::Checkpointed { index } => self.checkpoint(index.0)?,
        }
        Ok(())
    }

    /// Whether an election would find raft unprepared: a snapshot is between log and engine (T2),
    /// or a lone voter's own entries are between memory and disk (T1).
    fn is_still(&self) -> bool {
        let raft = &self.raw.raft;
        let log = &raft.raft_log;
        self.installing > log.applied
            || (raft.state != StateRole::Leader
                && raft.prs().is_singleton()
                && log.persisted < log.last_index())
    }

    /// Whether the applier has more to do than should be in memory. Raft is asked again when it has
    /// caught up.
    fn applier_is_behind(&self) -> bool {
        let tail = self.raw.raft.store();
        let (unapplied, ahead) =
            (tail.bytes_above(self.applied), tail.bytes_above(self.handed_out));
        // A snapshot can bring the applier beyond what it was given.
        unapplied.saturating_sub(ahead) > self.config.handed_out_bytes
    }

    fn tick(&mut self, emit: Emit<'_>) {
        let patience = self.config.election_ticks;
        self.reads.tick(patience, &mut |batch| emit(ConsensusOutput::ReadLost(batch)));
        self.quiet_ticks = self.quiet_ticks.saturating_add(1);
        if self.is_still() {
            return;
        }
        let raft = &mut self.raw.raft;
        let (seed, ticks) = (self.config.seed, self.config.election_ticks);
        let timeout = timeouts::election_timeout_ticks(seed, raft.id, raft.term, ticks);
        // The crate draws its own at random; over-write it before it is looked at.
        raft.set_randomized_election_timeout(timeout);
        self.raw.tick();
    }

    fn peer(&mut self, bytes: &Bytes) {
        let Ok(message) = wire::decode(bytes) else {
            tracing::debug!("dropped bytes of a peer that are no message");
            return;
        };
        if self.is_still() && message.get_msg_type() == MessageType::MsgTimeoutNow {
            return;
        }
        if let Err(error) = admit::admit(&self.raw.raft, &message) {
            let from = MemberId(message.from);
            tracing::debug!(%from, "dropped a message: {error}");
            return;
        }
        if let Err(error) = self.raw.step(message) {
            tracing::debug!("raft declined a message: {error}");
        }
    }

    /// A lone voter has nobody to wait for.
    fn campaign_alone(&mut self) {
        let raft = &self.raw.raft;
        let may = raft.state != StateRole::Leader && self.is_sole_voter();
        if may && !self.removed && !self.is_still() {
            // Raft declines while a membership change is decided and not applied; it is asked
            // again in the next turn.
            if let Err(error) = self.raw.campaign() {
                tracing::debug!("raft declined to campaign: {error}");
            }
        }
    }

    fn is_sole_voter(&self) -> bool {
        self.raw.raft.prs().is_singleton() && self.raw.raft.promotable()
    }

    fn route(&self) -> Route {
        let raft = &self.raw.raft;
        match raft.state {
            _ if self.removed => Route::Away,
            StateRole::Leader if raft.lead_transferee.is_none() => Route::Log,
            StateRole::Leader => Route::Wait,
            _ if self.is_sole_voter() => Route::Wait,
            _ => Route::Away,
        }
    }

    /// Whether what waits should become an entry now. Beside a write that is on its way it takes enough of
    /// it: see [`COMPANY_BYTES`](crate::limits::COMPANY_BYTES).
    fn may_write_more(&self) -> bool {
        let in_flight = self.pipeline.in_flight.len();
        let enough = in_flight == 0 || self.proposals.bytes() >= self.config.company_bytes;
        let unapplied = self.raw.raft.store().bytes_above(self.applied);
        in_flight < self.config.slots && enough && unapplied <= UNAPPLIED_BYTES_MAX
    }

    /// Makes one entry of what waits, if there is room for it. Tells whether it did.
    fn propose(&mut self, emit: Emit<'_>) -> bool {
        if self.proposals.is_empty() {
            return false;
        }
        match self.route() {
            Route::Log => {}
            Route::Wait => return false,
            Route::Away => {
                for request in self.proposals.drain() {
                    emit(ConsensusOutput::Refused { request, why: Refused::NoLeader });
                }
                return false;
            }
        }
        if !self.led {
            self.led = true;
            self.clock.lead(self.reached);
        }
        if !self.may_write_more() {
            return false;
        }
        let time = self.clock.now().max(self.reached);
        let (batch, count) = self.proposals.batch(time);
        let me = self.config.member;
        let message = wire::proposal(me, EntryType::EntryNormal, batch, Bytes::new());
        match self.raw.raft.step(message) {
            Ok(()) => {
                self.reached = time;
                self.proposals.entered(count);
                true
            }
            // Too much is undecided: it goes on waiting, and a full waiting room refuses.
            Err(_) => false,
        }
    }

    fn ask_reads(&mut self, emit: Emit<'_>) {
        let raft = &self.raw.raft;
        let reign = (raft.term, raft.leader_id);
        self.reads.reign(reign, &mut |batch| emit(ConsensusOutput::ReadLost(batch)));
        if !self.reads.has_waiting() {
            return;
        }
        let leads = raft.state == StateRole::Leader;
        if leads && !raft.commit_to_current_term() || self.route() == Route::Wait {
            return;
        }
        if raft.leader_id == 0 || self.removed {
            self.reads.lose_waiting(&mut |batch| emit(ConsensusOutput::ReadLost(batch)));
            return;
        }
        while let Some(context) = self.reads.ask() {
            self.raw.read_index(context);
        }
    }

    /// A member that was removed answers, so that nobody waits for it (T7).
    fn decline(&mut self, input: ConsensusInput, emit: Emit<'_>) {
        let why = Refused::NoLeader;
        match input {
            ConsensusInput::Propose { request, .. }
            | ConsensusInput::ProposeMembership { request, .. } => {
                emit(ConsensusOutput::Refused { request, why });
            }
            ConsensusInput::ReadIndex(batch) => emit(ConsensusOutput::ReadLost(batch)),
            ConsensusInput::Persisted { number } => {
                let write = self.pipeline.persisted(number);
                release(&write, emit);
            }
            ConsensusInput::Tick
            | ConsensusInput::Peer(_)
            | ConsensusInput::Applied { .. }
            | ConsensusInput::Checkpointed { .. } => {}
        }
    }

    fn report(&mut self, emit: Emit<'_>) {
        let standing = self.standing();
        self.led = self.led && standing.is_leader;
        if standing.is_leader && !self.led {
            self.led = true;
            self.clock.lead(self.reached);
        }
        if self.standing != Some(standing) {
            self.standing = Some(standing);
            emit(ConsensusOutput::Standing(standing));
        }
    }
}
