//! A state machine with a log in memory, for tests: commands go through the real encoding, a
//! restart opens the engine again and replays what it had not kept.

#![allow(dead_code, reason = "each test uses its part")]

use bytes::Bytes;
use prost::Message;
use state::alarms::Quota;
use state::apply::{Answer, Entry};
use state::command::{Command, Operation, begin_batch, push_command};
use state::engine::Engine;
use state::outcome::Event;
use state::state::SweepProgress;
use state::{ClusterTime, LogIndex, RequestId, State, Term};

mod crashing;
#[allow(unused_imports, reason = "each test uses its part")]
pub(crate) use crashing::CrashingEngine;

pub(crate) struct Harness {
    pub(crate) state: State,
    pub(crate) time: ClusterTime,
    pub(crate) term: Term,
    /// Each entry with its term: a replay decides about expiries as the first time.
    log: Vec<(Term, Bytes)>,
    next_request: u64,
    quota: Quota,
    /// Whether readers wait for the end of a turn of several entries.
    pub(crate) in_turn: bool,
    pub(crate) events: Vec<Event>,
}

impl Harness {
    pub(crate) fn new(engine: Box<dyn Engine>) -> Harness {
        Harness::with_quota(engine, Quota(None))
    }

    pub(crate) fn with_quota(engine: Box<dyn Engine>, quota: Quota) -> Harness {
        Harness {
            state: State::open(engine, quota).expect("an empty engine opens"),
            time: ClusterTime(0),
            term: Term(2),
            log: Vec::new(),
            next_request: 0,
            quota,
            in_turn: false,
            events: Vec::new(),
        }
    }

    /// Applies one command as a turn of its own.
    pub(crate) fn apply(&mut self, operation: Operation) -> Answer {
        let mut answers = self.apply_all(vec![operation]);
        assert_eq!(answers.len(), 1);
        answers.pop().expect("one answer per command")
    }

    /// Applies commands as one entry, and as one turn unless one is going on.
    pub(crate) fn apply_all(&mut self, operations: Vec<Operation>) -> Vec<Answer> {
        let answers = self.apply_unpublished(operations);
        if !self.in_turn {
            self.publish();
        }
        answers
    }

    /// Applies commands as one entry, in a turn that goes on.
    pub(crate) fn apply_unpublished(&mut self, operations: Vec<Operation>) -> Vec<Answer> {
        let mut batch = begin_batch(self.time);
        for operation in operations {
            self.next_request += 1;
            let command = Command::new(RequestId(self.next_request), operation);
            push_command(&mut batch, &command.encode_to_vec());
        }
        let batch = batch.freeze();
        self.log.push((self.term, batch.clone()));
        let index = LogIndex(self.log.len() as u64);
        self.state
            .apply_entry(index, self.term, Entry::Batch(batch))
            .expect("a test engine does not fail")
    }

    pub(crate) fn publish(&mut self) {
        let events = self.state.publish();
        self.events.extend(events);
    }

    /// Opens `engine`, which kept a prefix, and replays the rest of the log. Returns how many
    /// entries that were.
    pub(crate) fn restart(&mut self, engine: Box<dyn Engine>) -> u64 {
        let mut state = State::open(engine, self.quota).expect("what an engine kept opens");
        let (applied, _) = state.applied();
        let kept = usize::try_from(applied.0).expect("a short log");
        for (offset, (term, batch)) in self.log.iter().enumerate().skip(kept) {
            let index = LogIndex(offset as u64 + 1);
            state
                .apply_entry(index, *term, Entry::Batch(batch.clone()))
                .expect("a test engine does not fail");
        }
        state.publish();
        self.state = state;
        self.log.len() as u64 - applied.0
    }

    pub(crate) fn set_quota(&mut self, quota: Quota) {
        // Only opening sets a quota: the same way a restarted member gets a new one.
        self.quota = quota;
    }

    pub(crate) fn sweep(&mut self) {
        for _ in 0..1_000_000 {
            if self.state.sweep().expect("a test engine does not fail") == SweepProgress::Done {
                self.publish();
                return;
            }
        }
        panic!("sweeping does not come to an end");
    }
}
