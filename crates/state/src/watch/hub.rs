//! The applier's side of watching: which streams hear of which turn.
//!
//! ```text
//!   streams ── HubInput ─▶ WatchHub ── StreamInput ─▶ the queue of each stream, in order
//!   turn's events ───────▶    │
//!                             └ one Arc of the turn per interested stream
//! ```
//!
//! The hub holds an interest table and nothing per watcher: a thousand watchers of one stream on
//! one key are one entry. Everything it says to a stream goes through that stream's one queue, and
//! every answer names the revision of the store at that moment. So a stream knows: *all changes up
//! to that revision that I asked for lie before this message, all later ones after it*.
//!
//! When a queue is full, the shell does not wait: it calls [`WatchHub::lagging`], and the stream
//! goes on from history. Until it asks to come back it costs the hub nothing but its entries.
//!
//! # The applier's part
//!
//! In each turn, in this order: let readers see the turn, [`WatchHub::publish`] it and queue what it
//! says, then [`WatchHub::handle`] what streams have asked. An answer so never names a revision
//! that lies behind what the asker has read.
//!
//! What it does not do: it knows no watchers, filters or bytes, and reads no history.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::outcome::Event;
use crate::types::{KeyRange, Revision};
use crate::watch::batch::EventBatch;
use crate::watch::interest::{Interest, Removed};

/// Names a stream of watchers; never used twice by a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Counts what a stream has asked its hub, so that answers find their question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What a stream says to the hub, in order, through the applier's inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubInput {
    /// Deliver changes of this range. Answered with [`StreamInput::Reached`].
    Watch {
        /// Who.
        stream: StreamId,
        /// Of what.
        range: KeyRange,
        /// Comes back in the answer.
        token: Token,
    },
    /// No watcher of the stream wants this range any more.
    Unwatch {
        /// Who.
        stream: StreamId,
        /// Of what.
        range: KeyRange,
    },
    /// The stream has fallen behind, has read history since, and wants deliveries again.
    /// Answered with [`StreamInput::Reached`].
    Rejoin {
        /// Who.
        stream: StreamId,
        /// Comes back in the answer.
        token: Token,
    },
    /// Tell the revision that deliveries have reached. Answered with [`StreamInput::Reached`].
    Progress {
        /// Who.
        stream: StreamId,
        /// Comes back in the answer.
        token: Token,
    },
    /// The stream is over.
    Leave {
        /// Who.
        stream: StreamId,
    },
}

/// What the hub says to a stream, in order, through the stream's bounded queue.
#[derive(Clone, Debug)]
pub enum StreamInput {
    /// Changes; some of them concern the stream.
    Events(Arc<EventBatch>),
    /// Every change up to `revision` of what the stream asked for up to `token` has been delivered
    /// or is older than its request; every later one follows.
    Reached {
        /// The question that is answered.
        token: Token,
        /// The revision of the store.
        revision: Revision,
    },
    /// The queue was full: changes after `through` are missing, and none will follow until the
    /// stream has rejoined. Comes after everything that was queued before.
    Lagged {
        /// The last revision that deliveries cover.
        through: Revision,
    },
}

/// The streams of a member and what they want.
#[derive(Debug)]
pub struct WatchHub {
    interest: Interest,
    /// Where each stream is in `streams`, which is what the interest table names.
    slots: BTreeMap<StreamId, u32>,
    streams: Vec<Subscription>,
    free: Vec<u32>,
    /// The revision of the store after the last published turn, and after the one before it.
    revision: Revision,
    revision_before: Revision,
    turn: u64,
    /// Reused from turn to turn.
    interested: Vec<StreamId>,
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    stream: StreamId,
    /// How many keys and ranges it has in the table.
    ranges: u64,
    lagging: bool,
    /// The last turn for which it has been listed.
    turn: u64,
}

/// What a turn means for the streams.
#[derive(Debug)]
pub struct Deliveries<'a> {
    /// The turn's events, shared.
    pub batch: Arc<EventBatch>,
    /// Who gets them.
    pub streams: &'a [StreamId],
}

impl WatchHub {
    /// A hub of a store at `revision`, without streams.
    #[must_use]
    pub fn new(revision: Revision) -> WatchHub {
        WatchHub {
            interest: Interest::new(),
            slots: BTreeMap::new(),
            streams: Vec::new(),
            free: Vec::new(),
            revision,
            revision_before: revision,
            turn: 0,
            interested: Vec::new(),
        }
    }

    /// Takes the events of a turn that readers can see from now on, in order, and says which
    /// streams are to get them. `revision` is that of the store after the turn.
    ///
    /// # Panics
    /// If the store runs backwards, or events lie outside the turn.
    pub fn publish(&mut self, revision: Revision, events: Vec<Event>) -> Option<Deliveries<'_>> {
        assert!(revision >= self.revision, "{revision} published after {}", self.revision);
        self.revision_before = self.revision;
        self.revision = revision;
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            let (first, last) = (first.record.revision(), last.record.revision());
            assert!(
                self.revision_before < first && last <= revision,
                "events of {first} to {last} in a turn from {} to {revision}",
                self.revision_before
            );
        }
        self.find_interested(&events);
        if self.interested.is_empty() {
            return None;
        }
        Some(Deliveries { batch: Arc::new(EventBatch::new(events)), streams: &self.interested })
    }

    fn find_interested(&mut self, events: &[Event]) {
        self.turn += 1;
        self.interested.clear();
        if self.interest.len() == 0 {
            return;
        }
        let WatchHub { interest, streams, interested, turn, .. } = self;
        let mut search = interest.search();
        for event in events {
            search.key(event.record.key(), &mut |slots| {
                for &slot in slots {
                    let subscription = &mut streams[slot as usize];
                    if subscription.turn != *turn && !subscription.lagging {
                        subscription.turn = *turn;
                        interested.push(subscription.stream);
                    }
                }
            });
        }
    }

    /// The queue of `stream` did not take what this hub said last: leaves the stream alone until it
    /// rejoins, and says what to tell it once its queue has been drained. To be called before the
    /// next turn is published.
    pub fn lagging(&mut self, stream: StreamId) -> StreamInput {
        if let Some(&slot) = self.slots.get(&stream) {
            self.streams[slot as usize].lagging = true;
        }
        StreamInput::Lagged { through: self.revision_before }
    }

    /// The store has been replaced by a snapshot at `revision`: every stream has to go on from
    /// history, as if its queue had been full.
    pub fn replaced(&mut self, revision: Revision) -> Vec<(StreamId, StreamInput)> {
        let through = self.revision;
        self.revision_before = revision;
        self.revision = revision;
        let mut told = Vec::new();
        for (&stream, &slot) in &self.slots {
            let subscription = &mut self.streams[slot as usize];
            if !subscription.lagging {
                subscription.lagging = true;
                told.push((stream, StreamInput::Lagged { through }));
            }
        }
        told
    }

    /// Does what a stream asks; the answer, if any, goes into that stream's queue.
    pub fn handle(&mut self, input: HubInput) -> Option<(StreamId, StreamInput)> {
        match input {
            HubInput::Watch { stream, range, token } => {
                let slot = self.open(stream);
                if self.interest.add(&range, slot) {
                    self.streams[slot as usize].ranges += 1;
                }
                self.answer(stream, token)
            }
            HubInput::Unwatch { stream, range } => {
                self.unwatch(stream, &range);
                None
            }
            HubInput::Rejoin { stream, token } => {
                let slot = self.open(stream);
                self.streams[slot as usize].lagging = false;
                self.answer(stream, token)
            }
            HubInput::Progress { stream, token } => self.answer(stream, token),
            HubInput::Leave { stream } => {
                self.leave(stream);
                None
            }
        }
    }

    /// How many streams have asked for something and not left.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.slots.len()
    }

    /// A stream that lags gets no answers: its queue is full, and rejoining answers everything.
    fn answer(&self, stream: StreamId, token: Token) -> Option<(StreamId, StreamInput)> {
        let &slot = self.slots.get(&stream)?;
        if self.streams[slot as usize].lagging {
            return None;
        }
        Some((stream, StreamInput::Reached { token, revision: self.revision }))
    }

    fn open(&mut self, stream: StreamId) -> u32 {
        if let Some(&slot) = self.slots.get(&stream) {
            return slot;
        }
        let subscription = Subscription { stream, ranges: 0, lagging: false, turn: 0 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.streams[slot as usize] = subscription;
                slot
            }
            None => {
                self.streams.push(subscription);
                u32::try_from(self.streams.len() - 1).expect("fewer than 2^32 streams")
            }
        };
        self.slots.insert(stream, slot);
        slot
    }

    fn unwatch(&mut self, stream: StreamId, range: &KeyRange) {
        let Some(&slot) = self.slots.get(&stream) else { return };
        if self.interest.remove(range, slot) != Removed::Absent {
            self.streams[slot as usize].ranges -= 1;
        }
    }

    fn leave(&mut self, stream: StreamId) {
        let Some(slot) = self.slots.remove(&stream) else { return };
        // A stream takes its ranges back before it leaves; one that died could not.
        if self.streams[slot as usize].ranges > 0 {
            self.interest.remove_everywhere(slot);
        }
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mvcc::record::Record;
    use crate::types::Version;

    const ONE: StreamId = StreamId(1);
    const TWO: StreamId = StreamId(2);

    fn deleted(keys: &[&str], main: i64) -> Vec<Event> {
        let version = |sub| Version { main: Revision(main), sub };
        (0u32..)
            .zip(keys)
            .map(|(sub, key)| Event {
                record: Record::tombstone(version(sub), key.as_bytes()),
                previous: None,
            })
            .collect()
    }

    fn watch(hub: &mut WatchHub, stream: StreamId, key: &str, end: &str) -> StreamInput {
        let range =
            KeyRange::from_request(Bytes::from(key.to_owned()), Bytes::from(end.to_owned()));
        let answer = hub.handle(HubInput::Watch { stream, range, token: Token(9) });
        let (to, answer) = answer.expect("an answer");
        assert_eq!(to, stream);
        answer
    }

    fn told(hub: &mut WatchHub, keys: &[&str]) -> Vec<StreamId> {
        let next = hub.revision.next();
        let deliveries = hub.publish(next, deleted(keys, next.0));
        deliveries.map_or_else(Vec::new, |deliveries| {
            assert_eq!(deliveries.batch.first(), next);
            deliveries.streams.to_vec()
        })
    }

    #[test]
    fn a_stream_hears_once_of_a_turn_however_much_of_it_concerns_it() {
        let mut hub = WatchHub::new(Revision(4));
        watch(&mut hub, ONE, "a", "");
        watch(&mut hub, ONE, "b", "");
        watch(&mut hub, ONE, "a", "z");
        let answer = watch(&mut hub, TWO, "b", "c");
        assert!(matches!(answer, StreamInput::Reached { token: Token(9), revision: Revision(4) }));
        assert_eq!(told(&mut hub, &["a", "b", "c"]), [ONE, TWO]);
        assert_eq!(told(&mut hub, &["c"]), [ONE]);
        assert_eq!(told(&mut hub, &["zz"]), []);
    }

    #[test]
    fn a_stream_that_lags_costs_nothing_until_it_rejoins() {
        let mut hub = WatchHub::new(Revision(4));
        watch(&mut hub, ONE, "a", "");
        assert_eq!(told(&mut hub, &["a"]), [ONE]);
        assert_eq!(told(&mut hub, &["a"]), [ONE]);
        // The second did not fit: revision 5 was the last to arrive.
        let lagged = hub.lagging(ONE);
        assert!(matches!(lagged, StreamInput::Lagged { through: Revision(5) }), "{lagged:?}");
        assert_eq!(told(&mut hub, &["a"]), []);
        let range = KeyRange::single("b");
        let watch = HubInput::Watch { stream: ONE, range, token: Token(10) };
        assert!(hub.handle(watch).is_none(), "its queue is full");
        let answer = hub.handle(HubInput::Rejoin { stream: ONE, token: Token(11) });
        assert!(matches!(
            answer,
            Some((ONE, StreamInput::Reached { token: Token(11), revision: Revision(7) }))
        ));
        assert_eq!(told(&mut hub, &["b"]), [ONE]);
    }

    #[test]
    fn a_stream_that_left_leaves_nothing_behind() {
        let mut hub = WatchHub::new(Revision(1));
        watch(&mut hub, ONE, "a", "");
        watch(&mut hub, ONE, "a", "z");
        watch(&mut hub, TWO, "a", "z");
        // Without taking its ranges back, as a stream that died.
        hub.handle(HubInput::Leave { stream: ONE });
        assert_eq!((hub.stream_count(), hub.interest.len()), (1, 1));
        // Its place is taken by another, which must not inherit anything.
        watch(&mut hub, StreamId(3), "q", "");
        assert_eq!(told(&mut hub, &["a"]), [TWO]);
        let range = KeyRange::from_request("a", "z");
        hub.handle(HubInput::Unwatch { stream: TWO, range });
        hub.handle(HubInput::Leave { stream: TWO });
        assert_eq!((hub.stream_count(), hub.interest.len()), (1, 1));
    }

    #[test]
    fn a_replaced_store_sends_every_stream_to_history() {
        let mut hub = WatchHub::new(Revision(4));
        watch(&mut hub, ONE, "a", "");
        watch(&mut hub, TWO, "a", "");
        hub.lagging(TWO);
        let told_to = hub.replaced(Revision(90));
        assert!(matches!(told_to[..], [(ONE, StreamInput::Lagged { through: Revision(4) })]));
        assert_eq!(told(&mut hub, &["a"]), []);
    }
}
