//! Turns "these events for this watcher" into responses.
//!
//! All events of a response carry the same header and id. If the client can put pieces together
//! and the response is large, it goes out in fragments, next to each other:
//!
//! ```text
//! events e1 e2 e3, limit 2 MiB   →   { e1 e2, fragment } { e3 }
//! ```

use crate::engine::EngineError;
use crate::types::Revision;
use crate::watch::batch::{BatchEvent, EventBatch};
use crate::watch::encode::{self, HeaderBytes};
use crate::watch::history::History;
use crate::watch::outbox::Outbox;
use crate::watch::watchers::Watcher;

/// What all responses of one revision, or of one pass over history, share.
pub(super) struct Sending<'a> {
    pub(super) header: HeaderBytes,
    pub(super) history: &'a dyn History,
    pub(super) compacted: Option<Revision>,
    pub(super) fragment_bytes: usize,
}

impl Sending<'_> {
    /// Sends one event.
    pub(super) fn one(
        &self,
        watcher: &Watcher,
        event: &BatchEvent,
        out: &mut Outbox,
    ) -> Result<(), EngineError> {
        // A single event is never cut, whatever its size.
        let bytes = self.event_bytes(watcher, event)?;
        self.response(watcher, &[bytes], false, out);
        Ok(())
    }

    /// Sends the `selected` events of `batch`, of which there is at least one.
    pub(super) fn several(
        &self,
        watcher: &Watcher,
        batch: &EventBatch,
        selected: &[u32],
        out: &mut Outbox,
    ) -> Result<(), EngineError> {
        assert!(!selected.is_empty(), "a response without events means progress");
        let events = selected
            .iter()
            .map(|&index| self.event_bytes(watcher, batch.event(index)))
            .collect::<Result<Vec<&[u8]>, EngineError>>()?;
        if !watcher.fragment || self.response_bytes(watcher, &events, false) < self.fragment_bytes {
            self.response(watcher, &events, false, out);
            return Ok(());
        }
        let mut rest = &events[..];
        while !rest.is_empty() {
            let (fragment, after) = rest.split_at(self.fragment_len(watcher, rest));
            self.response(watcher, fragment, !after.is_empty(), out);
            rest = after;
        }
        Ok(())
    }

    /// How many of `events` fit into a fragment: at least one.
    fn fragment_len(&self, watcher: &Watcher, events: &[&[u8]]) -> usize {
        let mut bytes = encode::events_head_bytes(&self.header, watcher.id, true);
        for (count, event) in events.iter().enumerate() {
            bytes += event.len();
            if count > 0 && bytes >= self.fragment_bytes {
                return count;
            }
        }
        events.len()
    }

    fn response_bytes(&self, watcher: &Watcher, events: &[&[u8]], fragment: bool) -> usize {
        let head = encode::events_head_bytes(&self.header, watcher.id, fragment);
        head + events.iter().map(|event| event.len()).sum::<usize>()
    }

    fn response(&self, watcher: &Watcher, events: &[&[u8]], fragment: bool, out: &mut Outbox) {
        out.push(|out| {
            encode::write_events_head(&self.header, watcher.id, fragment, out);
            for event in events {
                out.extend_from_slice(event);
            }
        });
    }

    fn event_bytes<'e>(
        &self,
        watcher: &Watcher,
        event: &'e BatchEvent,
    ) -> Result<&'e [u8], EngineError> {
        if watcher.prev_kv {
            event.with_previous(self.history, self.compacted)
        } else {
            event.plain(self.history)
        }
    }
}
