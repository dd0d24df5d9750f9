//! Reading history for watchers that are behind, one bounded slice at a time.
//!
//! ```text
//! history       4 5 6 7 8 9 10 11 12        position 12
//! watcher a         ^ next 6
//! watcher b               ^ next 9
//! slice             6 … 10                  both share it; afterwards both need 11
//! ```
//!
//! A slice starts at the watcher that is farthest behind and covers whole revisions. Every watcher
//! that needs a revision inside it gets its part, in one response, and moves behind its end.
//!
//! What it does not do: it keeps nothing between slices but the number each watcher needs next.

use std::ops::ControlFlow;

use crate::engine::EngineError;
use crate::outcome::Event;
use crate::types::Revision;
use crate::watch::batch::EventBatch;
use crate::watch::encode::Control;
use crate::watch::history::History;
use crate::watch::hub::HubInput;
use crate::watch::job::{Job, Recipients};
use crate::watch::outbox::Outbox;
use crate::watch::send::Sending;
use crate::watch::stream::WatchStream;
use crate::watch::watchers::WatcherState;

/// The revisions of a slice of history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    first: Revision,
    last: Revision,
    /// How far the pass over history is to go: what headers show.
    target: Revision,
}

impl WatchStream {
    /// Prepares the next slice of history for the watchers that need it, if there are any.
    pub(super) fn catch_up(
        &mut self,
        history: &dyn History,
        out: &mut Outbox,
    ) -> Result<(), EngineError> {
        let target = self.target(history);
        self.position = target;
        self.cancel_compacted(history, out);
        let Some((first, _)) = self.watchers.farthest_behind() else { return Ok(()) };
        if first > target || out.is_full() {
            return Ok(());
        }
        let (events, last) = self.read_slice(first, target, history)?;
        if history.compacted().is_some_and(|compacted| first < compacted) {
            // Compacted while it was being read: the slice may have holes. The next step cancels.
            return Ok(());
        }
        let recipients = Recipients::new(self.watchers.behind_between(first, last));
        let batch = (!events.is_empty()).then(|| EventBatch::new(events));
        self.job = Some(Job::CatchUp { batch, window: Window { first, last, target }, recipients });
        Ok(())
    }

    /// Whole revisions from `first` on, and the last one that they cover.
    fn read_slice(
        &self,
        first: Revision,
        target: Revision,
        history: &dyn History,
    ) -> Result<(Vec<Event>, Revision), EngineError> {
        let (mut events, mut bytes, mut revisions) = (Vec::<Event>::new(), 0, 0);
        let mut last = target;
        history.scan(first, target, &mut |record| {
            let revision = record.revision();
            let begins = events.last().is_none_or(|event| event.record.revision() < revision);
            let enough = revisions >= self.config.catch_up_revisions_max
                || bytes >= self.config.catch_up_bytes_max;
            if begins && enough {
                last = Revision(revision.0 - 1);
                return ControlFlow::Break(());
            }
            revisions += usize::from(begins);
            bytes += record.bytes().len();
            events.push(Event { record: record.clone(), previous: None });
            ControlFlow::Continue(())
        })?;
        Ok((events, last))
    }

    /// Tells watchers whose next revision is gone.
    fn cancel_compacted(&mut self, history: &dyn History, out: &mut Outbox) {
        let Some(compacted) = history.compacted() else { return };
        while let Some((next, slot)) = self.watchers.farthest_behind() {
            if next >= compacted || out.is_full() {
                return;
            }
            let watch_id = self.watchers.get(slot).expect("one that is behind exists").id;
            if let Some(range) = self.watchers.set_compacted(slot) {
                let stream = self.config.stream;
                self.to_hub.push(HubInput::Unwatch { stream, range });
            }
            let canceled = Control {
                watch_id,
                canceled: true,
                compact_revision: compacted,
                ..Control::default()
            };
            // etcd leaves the revision of this header at 0.
            self.control(canceled, Revision(0), out);
        }
    }

    /// Sends a slice to those that need it, until `out` is full.
    pub(super) fn send_window(
        &mut self,
        batch: Option<&EventBatch>,
        window: Window,
        recipients: &mut Recipients,
        history: &dyn History,
        out: &mut Outbox,
    ) -> Result<bool, EngineError> {
        let sending = Sending {
            header: self.config.sender.header(window.target),
            history,
            compacted: history.compacted(),
            fragment_bytes: self.config.fragment_bytes,
        };
        while !recipients.is_done() {
            if out.is_full() {
                return Ok(false);
            }
            let Some(slot) = recipients.take() else { break };
            let Some(watcher) = self.watchers.get_mut(slot) else { continue };
            let WatcherState::Behind { next } = watcher.state() else { continue };
            if next < window.first || next > window.last {
                continue;
            }
            if let Some(batch) = batch {
                batch.select_all(&watcher.range, &mut self.selected);
                self.selected.retain(|&index| {
                    let event = batch.event(index);
                    event.revision() >= next && watcher.wants(event.is_put())
                });
                if !self.selected.is_empty() {
                    watcher.active = true;
                    sending.several(watcher, batch, &self.selected, out)?;
                }
            }
            self.watchers.set_behind(slot, window.last.next());
            self.settle(slot);
        }
        Ok(true)
    }
}
