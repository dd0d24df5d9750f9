//! One gRPC watch stream: its watchers, fed by requests, deliveries and time.
//!
//! The stream's own task runs it, never the apply thread:
//!
//! ```text
//! loop {
//!     if !outbox.is_empty()                   → hand outbox.take() to the transport, wait for it
//!     if stream.has_work(&history)            → stream.step(&history, &mut outbox)
//!     else wait for the first of
//!         a request of the client             → stream.request(…)
//!         its queue, if stream.wants_input()  → stream.receive(…)
//!         stream.next_tick_ms()               → stream.tick(…)
//!     send stream.take_hub_inputs() to the applier
//! }
//! ```
//!
//! (A loop that also polls requests while there is work answers cancellations sooner.) Nothing is
//! produced into a full outbox, so that a client which stops reading holds a constant: one outbox,
//! one batch or slice of history, and the shell's bounded queue. When that queue overflows, its
//! watchers become *cursors*: they need nothing but the number of their next revision.
//!
//! # Why nothing is lost or repeated
//!
//! `position` is how far the stream's queue has come: everything up to it that the stream asked for
//! has been received, everything later follows in the queue. A watcher is live only once the hub
//! has answered its question and history has been sent up to `position`; from then on exactly the
//! deliveries after `position` are missing. History is read up to `position` only, never up to what
//! readers can see meanwhile, so that no header runs ahead of a later response. When deliveries
//! were lost there is no queue to be ahead of: then history is read as far as it goes, and the
//! answer to [`HubInput::Rejoin`] sets the position anew.
//!
//! # What it does not do
//!
//! No sockets, clocks or tasks; it does not know users (see [`ReadPermission`]); it does not bound
//! the queue in front of it.

use std::collections::VecDeque;

use crate::engine::EngineError;
use crate::types::{Revision, Term};
use crate::watch::encode::{Control, Sender};
use crate::watch::history::History;
use crate::watch::hub::{HubInput, StreamId, StreamInput, Token};
use crate::watch::job::Job;
use crate::watch::outbox::Outbox;
use crate::watch::progress::Progress;
use crate::watch::request::{
    NO_WATCH_ID, REASON_COMPACTED, REASON_DUPLICATE_ID, REASON_EMPTY_RANGE, ReadPermission,
    WatchCreate, WatchRequest,
};
use crate::watch::watchers::{Watcher, WatcherState, Watchers};

/// What a stream is told when it begins.
#[derive(Clone, Copy, Debug)]
pub struct StreamConfig {
    /// Its name at the hub.
    pub stream: StreamId,
    /// What its headers say.
    pub sender: Sender,
    /// Responses of at least this size are cut for clients that can put them together: the
    /// largest request plus 512 KiB.
    pub fragment_bytes: usize,
    /// Time between two signs of progress, this stream's random extra included.
    pub progress_period_ms: u64,
    /// At most so many revisions in one catch-up response.
    pub catch_up_revisions_max: usize,
    /// A slice of history ends with the revision that reaches this size.
    pub catch_up_bytes_max: usize,
}

/// The state of one watch stream.
#[derive(Debug)]
pub struct WatchStream {
    pub(super) config: StreamConfig,
    pub(super) watchers: Watchers,
    /// See the module. While lagging: how far the last pass over history was to go.
    pub(super) position: Revision,
    pub(super) standing: Standing,
    /// What is being sent.
    pub(super) job: Option<Job>,
    /// Something was received and no step done since: catching up gets its turn.
    owes_step: bool,
    /// Watchers whose question the hub has not answered, in order.
    awaiting: VecDeque<(Token, u32)>,
    pub(super) progress: Progress,
    last_token: Token,
    pub(super) to_hub: Vec<HubInput>,
    /// Reused from response to response.
    pub(super) selected: Vec<u32>,
}

/// How the stream stands with the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It gets deliveries for everything asked up to this token.
    Joined { answered: Token },
    /// Deliveries were lost. It gets none until it asks to rejoin, and that is answered.
    Lagging { rejoin: Option<Token> },
}

impl WatchStream {
    /// A stream without watchers.
    #[must_use]
    pub fn new(config: StreamConfig, now_ms: u64) -> WatchStream {
        WatchStream {
            config,
            watchers: Watchers::new(),
            position: Revision(0),
            standing: Standing::Joined { answered: Token(0) },
            job: None,
            owes_step: false,
            awaiting: VecDeque::new(),
            progress: Progress::new(now_ms, config.progress_period_ms),
            last_token: Token(0),
            to_hub: Vec::new(),
            selected: Vec::new(),
        }
    }

    /// The term that headers show from now on.
    pub fn set_term(&mut self, term: Term) {
        self.config.sender.term = term;
    }

    /// Does what the client asks, and answers into `out`. A task that reads no requests while its
    /// outbox is full keeps it bounded.
    pub fn request(
        &mut self,
        request: WatchRequest,
        history: &dyn History,
        permission: &dyn ReadPermission,
        out: &mut Outbox,
    ) {
        match request {
            WatchRequest::Create(create) => match self.create(&create, history, permission) {
                Ok((watch_id, revision)) => {
                    let created = Control { watch_id, created: true, ..Control::default() };
                    self.control(created, revision, out);
                }
                Err(reason) => {
                    let refused = Control {
                        watch_id: NO_WATCH_ID,
                        created: true,
                        canceled: true,
                        cancel_reason: &reason,
                        ..Control::default()
                    };
                    self.control(refused, history.revision(), out);
                }
            },
            WatchRequest::Cancel { watch_id } => self.cancel(watch_id, history, out),
            WatchRequest::Progress => self.request_progress(history),
        }
    }

    fn create(
        &mut self,
        create: &WatchCreate,
        history: &dyn History,
        permission: &dyn ReadPermission,
    ) -> Result<(i64, Revision), String> {
        if create.start_revision < 0 {
            return Err(REASON_COMPACTED.to_owned());
        }
        permission.check(&create.first_key(), &create.range_end)?;
        let range = create.range();
        if range.is_empty() {
            return Err(REASON_EMPTY_RANGE.to_owned());
        }
        let Some(id) = self.watchers.choose_id(create.watch_id) else {
            return Err(REASON_DUPLICATE_ID.to_owned());
        };
        let revision = history.revision();
        let next = match create.start_revision {
            0 => revision.next(),
            start => Revision(start),
        };
        let token = self.next_token();
        let slot = self.watchers.insert(Watcher::new(create, id, next, token));
        self.awaiting.push_back((token, slot));
        self.to_hub.push(HubInput::Watch { stream: self.config.stream, range, token });
        Ok((id, revision))
    }

    fn cancel(&mut self, watch_id: i64, history: &dyn History, out: &mut Outbox) {
        // etcd says nothing about an id it does not know.
        let Some((_, unwanted)) = self.watchers.remove(watch_id) else { return };
        if let Some(range) = unwanted {
            self.to_hub.push(HubInput::Unwatch { stream: self.config.stream, range });
        }
        let canceled = Control { watch_id, canceled: true, ..Control::default() };
        self.control(canceled, history.revision(), out);
    }

    /// Whether [`WatchStream::receive`] may be called: not while a delivery is being sent.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.job.is_none() && !self.owes_step
    }

    /// Takes the next message of the stream's queue.
    ///
    /// # Panics
    /// If the stream does not want it yet, or the queue is out of order.
    pub fn receive(&mut self, input: StreamInput) {
        assert!(self.wants_input(), "a delivery came while the one before is being sent");
        self.owes_step = true;
        match input {
            StreamInput::Events(batch) => {
                if !matches!(self.standing, Standing::Joined { .. }) {
                    // From before the gap, which history covers.
                    return;
                }
                assert!(
                    batch.first() > self.position,
                    "a delivery from {} on came after {}",
                    batch.first(),
                    self.position
                );
                self.job = Some(Job::deliver(batch));
            }
            StreamInput::Reached { token, revision } => self.reached(token, revision),
            StreamInput::Lagged { through } => self.lag(through),
        }
    }

    fn reached(&mut self, token: Token, revision: Revision) {
        match self.standing {
            Standing::Lagging { rejoin } if rejoin != Some(token) => return,
            Standing::Lagging { .. } => {
                assert!(
                    revision >= self.position,
                    "the hub is at {revision}, behind readers at {}",
                    self.position
                );
                self.position = revision;
                self.standing = Standing::Joined { answered: token };
                self.awaiting.retain(|&(asked, _)| asked > token);
                for slot in self.watchers.behind_between(revision.next(), Revision::MAX) {
                    self.settle(slot);
                }
                return;
            }
            Standing::Joined { .. } => {
                assert!(
                    revision >= self.position,
                    "the hub went back to {revision} from {}",
                    self.position
                );
                self.position = revision;
                self.standing = Standing::Joined { answered: token };
            }
        }
        while let Some(&(asked, slot)) = self.awaiting.front() {
            if asked > token {
                break;
            }
            self.awaiting.pop_front();
            // The watcher may be gone, and a later one in its place: `settle` looks.
            self.settle(slot);
        }
        self.answer_progress(token, revision);
    }

    /// Makes a watcher live if nothing it needs has to come from history any more.
    pub(super) fn settle(&mut self, slot: u32) {
        let Standing::Joined { answered } = self.standing else { return };
        let Some(watcher) = self.watchers.get(slot) else { return };
        if let WatcherState::Behind { next } = watcher.state()
            && watcher.token <= answered
            && next > self.position
        {
            self.watchers.set_live(slot, next);
        }
    }

    fn lag(&mut self, through: Revision) {
        self.position = self.position.max(through);
        self.standing = Standing::Lagging { rejoin: None };
        self.progress.forget();
        let next = self.position.next();
        let mut live = Vec::with_capacity(self.watchers.live_count());
        for (slot, watcher) in self.watchers.iter_mut() {
            watcher.due = false;
            if let WatcherState::Live { from } = watcher.state() {
                live.push((slot, from.max(next)));
            }
        }
        for (slot, next) in live {
            self.watchers.set_behind(slot, next);
        }
    }

    /// Whether [`WatchStream::step`] has something to do.
    #[must_use]
    pub fn has_work(&self, history: &dyn History) -> bool {
        if self.job.is_some() || self.owes_step {
            return true;
        }
        let rejoins = self.standing == Standing::Lagging { rejoin: None };
        let target = self.target(history);
        rejoins || self.watchers.farthest_behind().is_some_and(|(next, _)| next <= target)
    }

    /// How far history is to be read. Only a stream that has no place in a queue reads as far as
    /// readers can see; once it has asked to rejoin it has one, though it does not know it yet.
    pub(super) fn target(&self, history: &dyn History) -> Revision {
        match self.standing {
            Standing::Lagging { rejoin: None } => self.position.max(history.revision()),
            Standing::Lagging { rejoin: Some(_) } | Standing::Joined { .. } => self.position,
        }
    }

    /// Does a bounded piece of work: goes on with what is being sent, then with catching up, until
    /// `out` is full. At most one slice of history is read.
    ///
    /// # Errors
    /// The storage failed: the stream must end.
    pub fn step(&mut self, history: &dyn History, out: &mut Outbox) -> Result<(), EngineError> {
        self.work(history, out)?;
        if self.job.is_none() && !out.is_full() {
            self.owes_step = false;
            self.catch_up(history, out)?;
            self.work(history, out)?;
        }
        self.rejoin_if_near();
        Ok(())
    }

    /// A stream that lags has read all it meant to: time to get deliveries again. What happens
    /// until the hub answers comes from history, and is little.
    fn rejoin_if_near(&mut self) {
        let Standing::Lagging { rejoin: None } = self.standing else { return };
        let near = match self.watchers.farthest_behind() {
            Some((next, _)) => next > self.position,
            None => true,
        };
        if near && self.job.is_none() {
            let token = self.next_token();
            self.standing = Standing::Lagging { rejoin: Some(token) };
            self.to_hub.push(HubInput::Rejoin { stream: self.config.stream, token });
        }
    }

    /// What the hub has to be told, in order.
    #[must_use]
    pub fn take_hub_inputs(&mut self) -> Vec<HubInput> {
        std::mem::take(&mut self.to_hub)
    }

    /// Ends the stream: what the hub has to be told, in order.
    #[must_use]
    pub fn close(mut self) -> Vec<HubInput> {
        let stream = self.config.stream;
        let ids: Vec<i64> = self.watchers.iter().map(|watcher| watcher.id).collect();
        for id in ids {
            if let Some((_, Some(range))) = self.watchers.remove(id) {
                self.to_hub.push(HubInput::Unwatch { stream, range });
            }
        }
        self.to_hub.push(HubInput::Leave { stream });
        self.to_hub
    }

    /// How many watchers there are.
    #[must_use]
    pub fn watcher_count(&self) -> usize {
        self.watchers.len()
    }

    /// How many of them read from history.
    #[must_use]
    pub fn behind_count(&self) -> usize {
        self.watchers.behind_count()
    }

    pub(super) fn next_token(&mut self) -> Token {
        self.last_token = Token(self.last_token.0 + 1);
        self.last_token
    }

    pub(super) fn control(&self, control: Control<'_>, revision: Revision, out: &mut Outbox) {
        let header = self.config.sender.header(revision);
        out.push(|out| control.write(&header, out));
    }
}
