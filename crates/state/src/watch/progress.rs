//! Signs of progress: "you have seen everything up to revision R".
//!
//! The stream cannot know R by itself: deliveries may be on their way. So it asks the hub, and the
//! answer comes through the queue, behind everything up to R and before everything later:
//!
//! ```text
//! client: progress?  →  hub   …   queue: events 7, events 9, Reached 9  →  { watch_id −1, rev 9 }
//! ```
//!
//! If a watcher is behind when the answer comes, the client gets none and asks again; it is never
//! told later about an earlier moment. At most one question is under way; requests that arrive
//! meanwhile share the next one.

use crate::types::Revision;
use crate::watch::encode::Control;
use crate::watch::history::History;
use crate::watch::hub::{HubInput, Token};
use crate::watch::job::{Job, Recipients};
use crate::watch::outbox::Outbox;
use crate::watch::request::NO_WATCH_ID;
use crate::watch::stream::{Standing, WatchStream};
use crate::watch::watchers::WatcherState;

/// Requests of a client that wait for one answer of the hub; more are dropped, as the protocol
/// allows for all of them.
const REQUESTS_WAITING_MAX: u32 = 128;

/// What is owed to whom.
#[derive(Debug)]
pub(super) struct Progress {
    /// The question under way.
    asked: Option<Token>,
    /// Requests that its answer answers.
    requests_asked: u32,
    /// Requests that came after it was put.
    requests_next: u32,
    period_ms: u64,
    next_tick_ms: u64,
}

impl Progress {
    pub(super) fn new(now_ms: u64, period_ms: u64) -> Progress {
        assert!(period_ms > 0, "a progress period of 0 ms never ends");
        Progress {
            asked: None,
            requests_asked: 0,
            requests_next: 0,
            period_ms,
            next_tick_ms: now_ms.saturating_add(period_ms),
        }
    }

    /// Deliveries were lost, answers among them: what is owed is dropped.
    pub(super) fn forget(&mut self) {
        self.asked = None;
        self.requests_asked = 0;
        self.requests_next = 0;
    }
}

impl WatchStream {
    /// A client wants to know how far its stream is.
    pub(super) fn request_progress(&mut self, history: &dyn History) {
        if self.watchers.len() == 0 || !self.may_answer_soon(history.revision()) {
            return;
        }
        if self.progress.requests_next < REQUESTS_WAITING_MAX {
            self.progress.requests_next += 1;
        }
        self.ask_hub();
    }

    /// Whether nothing is known yet that forbids an answer. A watcher that is behind does not: it may
    /// only wait for the hub's word that it has joined, which comes before the answer asked for now.
    /// If it is still behind then, the request is dropped.
    fn may_answer_soon(&self, revision: Revision) -> bool {
        matches!(self.standing, Standing::Joined { .. })
            && self.watchers.iter().all(|watcher| match watcher.state() {
                WatcherState::Live { .. } | WatcherState::Behind { .. } => {
                    watcher.start <= revision
                }
                WatcherState::Compacted => false,
            })
    }

    fn ask_hub(&mut self) {
        if self.progress.asked.is_some() {
            return;
        }
        let token = self.next_token();
        self.progress.asked = Some(token);
        self.progress.requests_asked = std::mem::take(&mut self.progress.requests_next);
        self.to_hub.push(HubInput::Progress { stream: self.config.stream, token });
    }

    /// When [`WatchStream::tick`] has something to do; `None` if no watcher wants signs of life.
    #[must_use]
    pub fn next_tick_ms(&self) -> Option<u64> {
        (self.watchers.progress_notify_count() > 0).then_some(self.progress.next_tick_ms)
    }

    /// Time has come to `now_ms`. Once a period, watchers that asked for it and have been sent
    /// nothing since the last time are due for a sign of progress.
    pub fn tick(&mut self, now_ms: u64) {
        if now_ms < self.progress.next_tick_ms {
            return;
        }
        self.progress.next_tick_ms = now_ms.saturating_add(self.progress.period_ms);
        let mut due = false;
        for (_, watcher) in self.watchers.iter_mut() {
            let idle = !std::mem::take(&mut watcher.active);
            watcher.due = watcher.progress_notify && idle && watcher.is_live();
            due |= watcher.due;
        }
        if due {
            self.ask_hub();
        }
    }

    /// The hub has answered a question; perhaps the one about progress.
    pub(super) fn answer_progress(&mut self, token: Token, revision: Revision) {
        if self.progress.asked != Some(token) {
            return;
        }
        self.progress.asked = None;
        let requests = std::mem::take(&mut self.progress.requests_asked);
        let due: Vec<u32> = self
            .watchers
            .iter_mut()
            .filter_map(|(slot, watcher)| watcher.due.then_some(slot))
            .collect();
        if requests > 0 || !due.is_empty() {
            self.job = Some(Job::Progress { revision, requests, recipients: Recipients::new(due) });
        }
        if self.progress.requests_next > 0 {
            self.ask_hub();
        }
    }

    /// Sends the signs that are still true, until `out` is full.
    pub(super) fn send_progress(
        &mut self,
        revision: Revision,
        requests: &mut u32,
        recipients: &mut Recipients,
        out: &mut Outbox,
    ) -> bool {
        while *requests > 0 {
            if out.is_full() {
                return false;
            }
            // Judged when it is sent: a watcher may have been created since the hub answered.
            if !self.whole_stream_has_seen(revision) {
                *requests = 0;
                break;
            }
            *requests -= 1;
            self.control(Control { watch_id: NO_WATCH_ID, ..Control::default() }, revision, out);
        }
        let header = self.config.sender.header(revision);
        while !recipients.is_done() {
            if out.is_full() {
                return false;
            }
            let Some(slot) = recipients.take() else { break };
            let Some(watcher) = self.watchers.get_mut(slot) else { continue };
            let owed = std::mem::take(&mut watcher.due) && !watcher.active;
            if owed && watcher.is_live() && watcher.start <= revision {
                let progress = Control { watch_id: watcher.id, ..Control::default() };
                out.push(|out| progress.write(&header, out));
            }
        }
        true
    }

    fn whole_stream_has_seen(&self, revision: Revision) -> bool {
        self.watchers.len() > 0
            && self.watchers.iter().all(|watcher| {
                watcher.start <= revision
                    && match watcher.state() {
                        WatcherState::Live { .. } => true,
                        WatcherState::Behind { next } => next > revision,
                        WatcherState::Compacted => false,
                    }
            })
    }
}
