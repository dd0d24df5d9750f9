//! The machine that owns the data: applies what was decided, answers, tells watchers, times leases.
//!
//! The order of the lines in [`Applier::turn`] is part of the promise to clients:
//!
//! ```text
//! apply and commit to the engine ─▶ publish to readers ─▶ events to watchers ─▶ answers to clients
//! ```
//!
//! so a client that has its answer finds its write in any read, and a watcher that has an event
//! finds its revision readable.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use state::apply::{Answer, Entry};
use state::command::{Alarm, Command, LeaseRenew, Operation};
use state::outcome::{AlarmType, Event};
use state::state::{StateError, SweepProgress};
use state::watch::{HubInput, StreamId, StreamInput, WatchHub};
use state::{ClusterTime, LeaseId, LogIndex, MemberId, RequestId, Revision, State, Term};

use crate::lessor::{KeepAlive, Lessor};
use crate::limits::{
    ANSWERS_PER_PUBLISH, LEASE_TIME_MARK_MS, OWN_COMMAND_PAUSE_MS, OWN_COMMAND_RETRY_MS,
};
use crate::messages::{Committed, Fatal, Payload, Standing};

#[cfg(test)]
mod tests;

/// What happens to an [`Applier`].
#[derive(Debug)]
pub enum ApplierInput {
    /// These entries are decided.
    Apply(Vec<Committed>),
    /// The member's standing has changed.
    Standing(Standing),
    /// A question about leases or sweeping.
    Query {
        /// Who waits.
        request: RequestId,
        /// What for.
        query: Query,
    },
    /// A watch stream begins or ends its interest in keys.
    Watch(HubInput),
    /// One of the member's own commands did not enter the log.
    Refused(RequestId),
    /// Nobody waits any more for the answers to these queries.
    Withdrawn(BTreeSet<RequestId>),
    /// A disk is full, the log's or the engine's: the cluster must not grow the data.
    LogFull,
}

/// A question that only the owner of the data can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Renew a lease.
    KeepAlive(LeaseId),
    /// How long a lease lives, and with which keys if the flag is set.
    TimeToLive(LeaseId, bool),
    /// All leases.
    Leases,
    /// Wait until everything superseded so far has been removed.
    Swept,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryAnswer {
    /// To [`Query::KeepAlive`]: the lifetime in seconds; `None` if there is no such lease.
    KeepAlive(Option<i64>),
    /// To [`Query::TimeToLive`]; `None` if there is no such lease.
    TimeToLive(Option<LeaseInfo>),
    /// To [`Query::Leases`]: first those that end first.
    Leases(Vec<LeaseId>),
    /// To [`Query::Swept`].
    Swept,
    /// Only the leader knows.
    NotLeader,
}

/// What is known of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Granted lifetime in seconds.
    pub granted_s: i64,
    /// Whole seconds until it ends; 0 or below if its end is on the way.
    pub remaining_s: i64,
    /// Its keys, if asked for.
    pub keys: Vec<Bytes>,
}

/// What an [`Applier`] wants done.
#[derive(Debug)]
pub enum ApplierOutput {
    /// The answer to a command, with the term of its entry.
    Reply(Answer, Term),
    /// The answer to a query.
    Answer(RequestId, QueryAnswer),
    /// Put this command into the log, on the member's own account.
    Propose(RequestId, Bytes),
    /// Everything up to this entry is done.
    Applied(LogIndex),
}

/// Takes what an [`Applier`] emits.
pub trait ApplierShell {
    /// Carries out an output.
    fn emit(&mut self, output: ApplierOutput);

    /// Puts an input into the queue of a watch stream; `false` if the queue is full.
    fn deliver(&mut self, stream: StreamId, input: StreamInput) -> bool;

    /// Leaves word for a stream whose queue was full, for when it has been drained.
    fn leave_word(&mut self, stream: StreamId, input: StreamInput);
}

/// See the module.
pub struct Applier {
    state: State,
    hub: WatchHub,
    lessor: Lessor,
    /// When the log was last told the time for the sake of leases alone.
    marked: ClusterTime,
    member: MemberId,
    standing: Standing,
    /// Numbers the member's own commands, below the numbers of its clients.
    next_own_request: u64,
    /// Answers that wait until this member's alarm is raised.
    held: Vec<(Answer, Term)>,
    alarm: Option<AlarmUnderWay>,
    /// Keep-alives of leases that are about to end.
    ending: Vec<(RequestId, LeaseId)>,
    /// Keep-alives that wait for the log, with the time they came.
    logging: Vec<(RequestId, LeaseId, ClusterTime)>,
    waiting_for_sweep: Vec<RequestId>,
    garbage: Garbage,
}

/// This member's alarm on its way through the log.
#[derive(Clone, Copy, Debug)]
struct AlarmUnderWay {
    request: RequestId,
    /// When to propose it again.
    retry: ClusterTime,
}

/// Superseded versions that have not been removed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// There are none.
    None,
    /// The next [`sweep`](Applier::sweep) can remove some.
    Removable,
    /// A view that somebody holds keeps them.
    Held,
}

/// The bit that marks a member's own commands among request ids.
pub const OWN_REQUEST: u64 = 1 << 63;

impl Applier {
    /// Takes charge of an opened state.
    #[must_use]
    pub fn new(state: State, member: MemberId) -> Applier {
        let hub = WatchHub::new(state.revision());
        Applier {
            state,
            hub,
            lessor: Lessor::default(),
            marked: ClusterTime::default(),
            member,
            standing: Standing::default(),
            next_own_request: OWN_REQUEST,
            held: Vec::new(),
            alarm: None,
            ending: Vec::new(),
            logging: Vec::new(),
            waiting_for_sweep: Vec::new(),
            garbage: Garbage::None,
        }
    }

    /// The state, for opening readers and taking snapshots.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes every waiting input and emits what follows. `now` is the cluster's time.
    ///
    /// # Errors
    /// The engine failed or the log cannot be read: the member must stop.
    pub fn turn(
        &mut self,
        now: ClusterTime,
        inbox: &mut VecDeque<ApplierInput>,
        shell: &mut dyn ApplierShell,
    ) -> Result<(), Fatal> {
        let mut answers = Vec::new();
        let mut applied = None;
        let mut hub_inputs = Vec::new();
        let mut queries = Vec::new();
        let mut log_full = false;
        let mut new_standing = false;
        for input in inbox.drain(..) {
            match input {
                ApplierInput::Apply(entries) => {
                    for entry in entries {
                        applied = Some(entry.index);
                        self.apply(entry, &mut answers)?;
                    }
                    // A replay hands out a whole log in one turn: what it would pile up here is
                    // shown piece by piece instead.
                    if answers.len() >= ANSWERS_PER_PUBLISH {
                        self.show(now, &mut answers, shell);
                    }
                }
                ApplierInput::Standing(standing) => {
                    new_standing = true;
                    self.standing = standing;
                    self.lessor.lead(standing.is_leader.then_some(standing.term), now);
                }
                ApplierInput::Query { request, query } => queries.push((request, query)),
                ApplierInput::Watch(input) => hub_inputs.push(input),
                ApplierInput::Refused(request) => self.refused(request, now),
                ApplierInput::Withdrawn(requests) => self.withdraw(&requests),
                ApplierInput::LogFull => log_full = true,
            }
        }
        if applied.is_some() {
            self.show(now, &mut answers, shell);
        }
        for input in hub_inputs {
            if let Some((stream, answer)) = self.hub.handle(input)
                && !shell.deliver(stream, answer)
            {
                shell.leave_word(stream, self.hub.lagging(stream));
            }
        }
        if log_full && self.alarm.is_none() {
            self.raise_nospace(now, shell);
        }
        for (request, query) in queries {
            self.answer(now, request, query, shell);
        }
        if applied.is_some() || new_standing {
            self.answer_late(now, shell);
        }
        if let Some(index) = applied {
            shell.emit(ApplierOutput::Applied(index));
        }
        self.propose_due(now, shell);
        if self.garbage == Garbage::None
            && !(self.state.is_swept() && self.waiting_for_sweep.is_empty())
        {
            self.garbage = Garbage::Removable;
        }
        if self.state.is_resized() {
            self.publish_again();
        }
        Ok(())
    }

    /// Publishes what has changed without a command.
    fn publish_again(&mut self) {
        let events = self.state.publish();
        assert!(events.is_empty(), "{} events although nothing was applied", events.len());
    }

    /// What [`sweep`](Applier::sweep) would find to remove.
    #[must_use]
    pub fn garbage(&self) -> Garbage {
        self.garbage
    }

    fn apply(&mut self, entry: Committed, answers: &mut Vec<(Answer, Term)>) -> Result<(), Fatal> {
        let Committed { index, term, payload } = entry;
        if index <= self.state.applied().0 {
            // The engine was ahead of the last snapshot mark in the log.
            return Ok(());
        }
        let entry = match payload {
            Payload::Empty => Entry::Empty,
            Payload::Batch(batch) => Entry::Batch(batch),
            Payload::Membership(change) => Entry::Membership {
                member: change.member,
                row: change.context,
                conf_state: change.conf_state,
            },
        };
        let done = self.state.apply_entry(index, term, entry).map_err(|error| match error {
            StateError::Engine(error) => Fatal::Engine(error),
            StateError::Batch { index, source } => Fatal::Batch { index, source },
        })?;
        answers.extend(done.into_iter().map(|answer| (answer, term)));
        Ok(())
    }

    fn tell_watchers(&mut self, events: Vec<Event>, shell: &mut dyn ApplierShell) {
        let mut full = Vec::new();
        if let Some(deliveries) = self.hub.publish(self.state.revision(), events) {
            for &stream in deliveries.streams {
                let batch = StreamInput::Events(Arc::clone(&deliveries.batch));
                if !shell.deliver(stream, batch) {
                    full.push(stream);
                }
            }
        }
        for stream in full {
            shell.leave_word(stream, self.hub.lagging(stream));
        }
    }

    /// Ends a turn of the state: readers first, then watchers, then those who wait for answers.
    fn show(
        &mut self,
        now: ClusterTime,
        answers: &mut Vec<(Answer, Term)>,
        shell: &mut dyn ApplierShell,
    ) {
        let events = self.state.publish();
        self.tell_watchers(events, shell);
        self.reply(now, std::mem::take(answers), shell);
    }

    /// Answers, except those that have to wait for this member's alarm.
    fn reply(
        &mut self,
        now: ClusterTime,
        answers: Vec<(Answer, Term)>,
        shell: &mut dyn ApplierShell,
    ) {
        for (answer, term) in answers {
            if self.alarm.is_some_and(|alarm| alarm.request == answer.request) {
                self.alarm = None;
                for (held, term) in self.held.drain(..) {
                    shell.emit(ApplierOutput::Reply(held, term));
                }
            } else if answer.request.0 & OWN_REQUEST != 0 {
                // Nobody waits for the member's own commands.
            } else if answer.over_quota {
                self.held.push((answer, term));
            } else {
                shell.emit(ApplierOutput::Reply(answer, term));
            }
        }
        if !self.held.is_empty() && self.alarm.is_none() {
            self.raise_nospace(now, shell);
        }
    }

    fn raise_nospace(&mut self, now: ClusterTime, shell: &mut dyn ApplierShell) {
        let alarm = AlarmType::NO_SPACE.number();
        let raise = Alarm { action: 1, member: self.member.0, alarm };
        let request = self.propose(Operation::Alarm(raise), shell);
        let retry = ClusterTime(now.0.saturating_add(OWN_COMMAND_RETRY_MS));
        self.alarm = Some(AlarmUnderWay { request, retry });
    }

    /// A command of this member's own did not enter the log. It is proposed again after a pause: at
    /// once it would be refused again, and the disk, whose report makes room, would never be heard.
    fn refused(&mut self, request: RequestId, now: ClusterTime) {
        match &mut self.alarm {
            Some(alarm) if alarm.request == request => {
                alarm.retry = ClusterTime(now.0.saturating_add(OWN_COMMAND_PAUSE_MS));
            }
            _ => {
                self.marked = now;
                self.lessor.refused(now);
            }
        }
    }

    fn withdraw(&mut self, requests: &BTreeSet<RequestId>) {
        self.ending.retain(|(request, _)| !requests.contains(request));
        self.logging.retain(|(request, ..)| !requests.contains(request));
        self.waiting_for_sweep.retain(|request| !requests.contains(request));
    }

    fn answer(
        &mut self,
        now: ClusterTime,
        request: RequestId,
        query: Query,
        shell: &mut dyn ApplierShell,
    ) {
        let answer = match query {
            Query::KeepAlive(id) => {
                let kept = self.lessor.keep_alive(self.state.leases(), id, now);
                return self.answer_keep_alive(request, id, now, kept, shell);
            }
            Query::TimeToLive(..) | Query::Leases if !self.standing.is_leader => {
                QueryAnswer::NotLeader
            }
            Query::TimeToLive(id, keys) => QueryAnswer::TimeToLive(self.lease_info(id, keys, now)),
            Query::Leases => {
                let leases = self.state.leases();
                QueryAnswer::Leases(leases.by_deadline().map(|(_, id)| id).collect())
            }
            Query::Swept => return self.waiting_for_sweep.push(request),
        };
        shell.emit(ApplierOutput::Answer(request, answer));
    }

    fn lease_info(&self, id: LeaseId, keys: bool, now: ClusterTime) -> Option<LeaseInfo> {
        let lease = self.state.leases().get(id)?;
        let ends = self.lessor.ends(id, lease).0.cast_signed();
        // Truncated as etcd does it: a lease granted this instant has one second less in whole.
        let remaining_ms = ends.saturating_sub(now.0.cast_signed()).saturating_sub(1);
        let keys = if keys { lease.keys.iter().cloned().collect() } else { Vec::new() };
        Some(LeaseInfo { granted_s: lease.ttl_s, remaining_s: remaining_ms / 1000, keys })
    }

    fn answer_keep_alive(
        &mut self,
        request: RequestId,
        id: LeaseId,
        asked: ClusterTime,
        kept: KeepAlive,
        shell: &mut dyn ApplierShell,
    ) {
        let answer = match kept {
            KeepAlive::Renewed { ttl_s } => QueryAnswer::KeepAlive(Some(ttl_s)),
            KeepAlive::Unknown => QueryAnswer::KeepAlive(None),
            KeepAlive::NotLeader => QueryAnswer::NotLeader,
            KeepAlive::Ending => return self.ending.push((request, id)),
            KeepAlive::Logging => return self.logging.push((request, id, asked)),
        };
        shell.emit(ApplierOutput::Answer(request, answer));
    }

    /// Keep-alives that had to wait are answered when their renewal is in the log, or the lease is
    /// gone.
    fn answer_late(&mut self, now: ClusterTime, shell: &mut dyn ApplierShell) {
        for (request, id, asked) in std::mem::take(&mut self.logging) {
            let kept = self.lessor.logged(self.state.leases(), id, asked, now);
            self.answer_keep_alive(request, id, asked, kept, shell);
        }
        for (request, id) in std::mem::take(&mut self.ending) {
            self.answer(now, request, Query::KeepAlive(id), shell);
        }
    }

    fn propose_due(&mut self, now: ClusterTime, shell: &mut dyn ApplierShell) {
        if self.alarm.is_some_and(|alarm| alarm.retry <= now) {
            self.raise_nospace(now, shell);
        }
        let mut due = Vec::new();
        self.lessor.due(self.state.leases(), now, |operation| due.push(operation));
        if due.is_empty() && self.is_mark_due(now) {
            self.marked = now;
            due.push(Operation::LeaseRenew(LeaseRenew::default()));
        }
        for operation in due {
            self.propose(operation, shell);
        }
    }

    /// Whether the log has gone so long without an entry that a lease would get too much of it back
    /// from a restart.
    fn is_mark_due(&self, now: ClusterTime) -> bool {
        let newest = self.state.time().max(self.marked);
        let late = now.0 >= newest.0.saturating_add(LEASE_TIME_MARK_MS);
        late && self.standing.is_leader && !self.state.leases().is_empty()
    }

    fn propose(&mut self, operation: Operation, shell: &mut dyn ApplierShell) -> RequestId {
        self.next_own_request += 1;
        let request = RequestId(self.next_own_request);
        let command = Command::new(request, operation).encode_to_vec();
        shell.emit(ApplierOutput::Propose(request, Bytes::from(command)));
        request
    }

    /// A bounded amount of removing, between two turns.
    ///
    /// # Errors
    /// The engine failed.
    pub fn sweep(&mut self, shell: &mut dyn ApplierShell) -> Result<(), Fatal> {
        let was_swept = self.state.is_swept();
        let progress = self.state.sweep()?;
        self.garbage = match progress {
            SweepProgress::Done => Garbage::None,
            SweepProgress::More => Garbage::Removable,
            SweepProgress::Blocked => Garbage::Held,
        };
        if !was_swept && progress != SweepProgress::Blocked {
            // What was removed shows, and its memory returns, with the next publish.
            self.publish_again();
        }
        if progress == SweepProgress::Done {
            for request in self.waiting_for_sweep.drain(..) {
                shell.emit(ApplierOutput::Answer(request, QueryAnswer::Swept));
            }
        }
        Ok(())
    }

    /// The newest revision, published or not.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.revision()
    }
}
