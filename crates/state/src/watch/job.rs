//! What a stream is in the middle of sending, and how it goes on when the transport has room.
//!
//! | job | made by | one response per |
//! |---|---|---|
//! | `Deliver` | a delivery of the hub | revision and interested live watcher |
//! | `CatchUp` | a slice of history | interested watcher that is behind |
//! | `Progress` | the hub's answer, after a tick | idle watcher that asked for it |
//!
//! A job holds the numbers of its recipients. Requests may come in between: a recipient may be gone
//! or another watcher may have its number, so each is judged anew when its turn comes.

use std::sync::Arc;

use crate::engine::EngineError;
use crate::types::Revision;
use crate::watch::batch::EventBatch;
use crate::watch::catch_up::Window;
use crate::watch::history::History;
use crate::watch::outbox::Outbox;
use crate::watch::send::Sending;
use crate::watch::stream::WatchStream;
use crate::watch::watchers::WatcherState;

/// Something half sent.
#[derive(Debug)]
pub(super) enum Job {
    /// A turn, revision by revision.
    Deliver {
        batch: Arc<EventBatch>,
        /// The revision to do next, or being done if there are recipients left.
        group: usize,
        recipients: Recipients,
    },
    /// A slice of history.
    CatchUp {
        /// `None`: nothing happened in these revisions.
        batch: Option<EventBatch>,
        window: Window,
        recipients: Recipients,
    },
    /// Signs of progress: answers to requests first.
    Progress { revision: Revision, requests: u32, recipients: Recipients },
}

/// Watchers, one after the other.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    slots: Vec<u32>,
    done: usize,
}

impl Recipients {
    pub(super) fn new(slots: Vec<u32>) -> Recipients {
        Recipients { slots, done: 0 }
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        let slot = self.slots.get(self.done).copied();
        self.done += usize::from(slot.is_some());
        slot
    }

    pub(super) fn is_done(&self) -> bool {
        self.done == self.slots.len()
    }
}

impl Job {
    pub(super) fn deliver(batch: Arc<EventBatch>) -> Job {
        Job::Deliver { batch, group: 0, recipients: Recipients::default() }
    }
}

impl WatchStream {
    /// Goes on with the job until it is done or `out` is full.
    pub(super) fn work(
        &mut self,
        history: &dyn History,
        out: &mut Outbox,
    ) -> Result<(), EngineError> {
        let Some(mut job) = self.job.take() else { return Ok(()) };
        let done = match &mut job {
            Job::Deliver { batch, group, recipients } => {
                self.deliver(batch, group, recipients, history, out)?
            }
            Job::CatchUp { batch, window, recipients } => {
                self.send_window(batch.as_ref(), *window, recipients, history, out)?
            }
            Job::Progress { revision, requests, recipients } => {
                self.send_progress(*revision, requests, recipients, out)
            }
        };
        if !done {
            self.job = Some(job);
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        batch: &EventBatch,
        group: &mut usize,
        recipients: &mut Recipients,
        history: &dyn History,
        out: &mut Outbox,
    ) -> Result<bool, EngineError> {
        let compacted = history.compacted();
        while *group < batch.group_count() {
            if recipients.slots.is_empty() {
                self.find_recipients(batch, *group, &mut recipients.slots);
            }
            let sending = Sending {
                header: self.config.sender.header(batch.group_revision(*group)),
                history,
                compacted,
                fragment_bytes: self.config.fragment_bytes,
            };
            while !recipients.is_done() {
                if out.is_full() {
                    return Ok(false);
                }
                if let Some(slot) = recipients.take() {
                    self.deliver_to(slot, batch, *group, &sending, out)?;
                }
            }
            recipients.slots.clear();
            recipients.done = 0;
            *group += 1;
        }
        self.position = batch.last();
        Ok(true)
    }

    fn find_recipients(&mut self, batch: &EventBatch, group: usize, slots: &mut Vec<u32>) {
        let mut search = self.watchers.interested();
        let mut sets = 0;
        for event in batch.group_events(group) {
            search.key(event.key(), &mut |who| {
                sets += 1;
                slots.extend_from_slice(who);
            });
        }
        // Each watcher belongs to one set and each set is visited once: no number comes twice.
        if sets > 1 {
            slots.sort_unstable();
        }
    }

    fn deliver_to(
        &mut self,
        slot: u32,
        batch: &EventBatch,
        group: usize,
        sending: &Sending<'_>,
        out: &mut Outbox,
    ) -> Result<(), EngineError> {
        let Some(watcher) = self.watchers.get_mut(slot) else { return Ok(()) };
        match watcher.state() {
            WatcherState::Live { from } if from <= batch.group_revision(group) => {}
            _ => return Ok(()),
        }
        if let [event] = batch.group_events(group) {
            if watcher.range.contains(event.key()) && watcher.wants(event.is_put()) {
                watcher.active = true;
                sending.one(watcher, event, out)?;
            }
            return Ok(());
        }
        batch.select_in_group(group, &watcher.range, &mut self.selected);
        self.selected.retain(|&index| watcher.wants(batch.event(index).is_put()));
        if !self.selected.is_empty() {
            watcher.active = true;
            sending.several(watcher, batch, &self.selected, out)?;
        }
        Ok(())
    }
}
