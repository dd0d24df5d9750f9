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

mod own_commands;
mod queries;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use state::apply::Answer;
use state::outcome::Event;
use state::state::{StateError, SweepProgress};
use state::watch::{StreamId, StreamInput, WatchHub};
use state::{ClusterTime, LeaseId, MemberId, RequestId, Revision, State, Term};

use own_commands::AlarmUnderWay;

use crate::lessor::Lessor;
use crate::limits::ANSWERS_PER_PUBLISH;
use crate::messages::{ApplierInput, ApplierOutput, Committed, Fatal, QueryAnswer, Standing};

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
        let done =
            self.state.apply_entry(index, term, payload.into()).map_err(|error| match error {
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
