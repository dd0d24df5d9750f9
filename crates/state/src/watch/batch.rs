//! The events of one turn, shared by every stream that wants any of them.
//!
//! ```text
//! EventBatch   revision 7          revision 8
//!              put a, delete b     put a
//!              └ encoded on first use, once, with and without prev_kv; then copied
//! ```
//!
//! The apply thread makes a batch from the changes it has just published and encodes nothing. The
//! first stream that sends an event encodes it; all others copy those bytes. A pass over history
//! makes batches of the same kind, for one stream.

use std::ops::Range;
use std::sync::OnceLock;

use crate::engine::EngineError;
use crate::mvcc::record::{Record, RecordKind};
use crate::outcome::Event;
use crate::types::{KeyRange, Revision};
use crate::watch::encode;
use crate::watch::history::History;

/// Below so many events a look at each is cheaper than an order by key.
const LINEAR_EVENTS_MAX: usize = 16;

/// Changes of one or more whole revisions in order.
#[derive(Debug)]
pub struct EventBatch {
    events: Vec<BatchEvent>,
    groups: Vec<Group>,
    by_key: OnceLock<Vec<u32>>,
}

/// One change with its bytes for the wire.
#[derive(Debug)]
pub(super) struct BatchEvent {
    record: Record,
    previous: Option<Record>,
    plain: OnceLock<Box<[u8]>>,
    /// `None` inside: there is no previous value to show.
    with_previous: OnceLock<Option<Box<[u8]>>>,
}

/// The events of one main revision.
#[derive(Debug)]
struct Group {
    revision: Revision,
    events: Range<usize>,
    by_key: OnceLock<Vec<u32>>,
}

impl EventBatch {
    /// Takes the events of whole revisions in ascending order of their version.
    ///
    /// # Panics
    /// Without events, or if they are out of order: watchers would miss or repeat changes.
    #[must_use]
    pub fn new(events: Vec<Event>) -> EventBatch {
        assert!(!events.is_empty(), "a batch without events");
        assert!(u32::try_from(events.len()).is_ok(), "a turn has fewer than 2^32 changes");
        let mut groups: Vec<Group> = Vec::new();
        for (index, event) in events.iter().enumerate() {
            let version = event.record.version();
            if index > 0 {
                let before = events[index - 1].record.version();
                assert!(before < version, "{version:?} follows {before:?} in a batch of events");
            }
            match groups.last_mut() {
                Some(group) if group.revision == version.main => group.events.end = index + 1,
                _ => groups.push(Group {
                    revision: version.main,
                    events: index..index + 1,
                    by_key: OnceLock::new(),
                }),
            }
        }
        let events = events.into_iter().map(BatchEvent::new).collect();
        EventBatch { events, groups, by_key: OnceLock::new() }
    }

    /// The first revision with events in the batch.
    #[must_use]
    pub fn first(&self) -> Revision {
        self.groups.first().expect("a batch has events").revision
    }

    /// The last revision with events in the batch.
    #[must_use]
    pub fn last(&self) -> Revision {
        self.groups.last().expect("a batch has events").revision
    }

    /// How many events it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// Bytes of the records it keeps alive; what a queue of batches is bounded by.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.events.iter().map(|event| event.record.bytes().len()).sum()
    }

    /// How many revisions it holds.
    pub(super) fn group_count(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn group_revision(&self, group: usize) -> Revision {
        self.groups[group].revision
    }

    pub(super) fn group_events(&self, group: usize) -> &[BatchEvent] {
        &self.events[self.groups[group].events.clone()]
    }

    pub(super) fn event(&self, index: u32) -> &BatchEvent {
        &self.events[index as usize]
    }

    /// Lists the events of one revision whose key is in `range`, in order.
    pub(super) fn select_in_group(&self, group: usize, range: &KeyRange, selected: &mut Vec<u32>) {
        let Group { events, by_key, .. } = &self.groups[group];
        self.select(events.clone(), by_key, range, selected);
    }

    /// Lists the events whose key is in `range`, in order.
    pub(super) fn select_all(&self, range: &KeyRange, selected: &mut Vec<u32>) {
        self.select(0..self.events.len(), &self.by_key, range, selected);
    }

    fn select(
        &self,
        events: Range<usize>,
        by_key: &OnceLock<Vec<u32>>,
        range: &KeyRange,
        selected: &mut Vec<u32>,
    ) {
        selected.clear();
        let number = |index: usize| u32::try_from(index).expect("checked by `EventBatch::new`");
        let key = |index: &u32| self.event(*index).record.key();
        if events.len() > LINEAR_EVENTS_MAX {
            let order = by_key.get_or_init(|| {
                let mut order: Vec<u32> = events.clone().map(number).collect();
                order.sort_by_key(|index| (key(index), *index));
                order
            });
            let start = order.partition_point(|index| key(index) < &range.start[..]);
            let len = order[start..].partition_point(|index| range.contains(key(index)));
            // Sorting the hits back into event order pays while they are few.
            if len < events.len() / 4 {
                selected.extend_from_slice(&order[start..start + len]);
                selected.sort_unstable();
                return;
            }
        }
        selected.extend(
            events.filter(|index| range.contains(self.events[*index].record.key())).map(number),
        );
    }
}

impl BatchEvent {
    fn new(event: Event) -> BatchEvent {
        BatchEvent {
            record: event.record,
            previous: event.previous,
            plain: OnceLock::new(),
            with_previous: OnceLock::new(),
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        self.record.key()
    }

    pub(super) fn revision(&self) -> Revision {
        self.record.revision()
    }

    pub(super) fn is_put(&self) -> bool {
        self.record.is_put()
    }

    /// The wire bytes without the previous value.
    ///
    /// # Errors
    /// The value is not resident and the engine cannot be read.
    pub(super) fn plain(&self, history: &dyn History) -> Result<&[u8], EngineError> {
        if let Some(bytes) = self.plain.get() {
            return Ok(bytes);
        }
        let record = self.resident(history)?;
        Ok(self.plain.get_or_init(|| encode::event(&record, None)))
    }

    /// The wire bytes with the value that the key had one revision before, if it had one and that
    /// revision is not `compacted`.
    ///
    /// # Errors
    /// As for [`BatchEvent::plain`].
    pub(super) fn with_previous(
        &self,
        history: &dyn History,
        compacted: Option<Revision>,
    ) -> Result<&[u8], EngineError> {
        // The logical compaction decides, not whether the bytes happen to be there still: members
        // that sweep at different speeds answer the same.
        let before = Revision(self.revision().0 - 1);
        if compacted.is_some_and(|compacted| before < compacted) {
            return self.plain(history);
        }
        let bytes = match self.with_previous.get() {
            Some(bytes) => bytes,
            None => {
                let encoded = match self.previous_at(before, history) {
                    Some(previous) => {
                        Some(encode::event(&self.resident(history)?, Some(&previous)))
                    }
                    None => None,
                };
                self.with_previous.get_or_init(|| encoded)
            }
        };
        match bytes {
            Some(bytes) => Ok(bytes),
            None => self.plain(history),
        }
    }

    /// What the key held at `before`; `None` for the creation of a key.
    fn previous_at(&self, before: Revision, history: &dyn History) -> Option<Record> {
        if self.is_put() && self.record.fields().create_revision == self.revision() {
            return None;
        }
        match &self.previous {
            // A change of the same transaction is not what was there one revision before.
            Some(previous)
                if previous.revision() < self.revision()
                    && previous.kind() == RecordKind::Resident =>
            {
                Some(previous.clone())
            }
            _ => history.value_at(self.key(), before),
        }
    }

    fn resident(&self, history: &dyn History) -> Result<Record, EngineError> {
        if self.record.kind() != RecordKind::Stored {
            return Ok(self.record.clone());
        }
        history.stored(self.record.version())
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use proptest::prelude::*;

    use super::*;
    use crate::mvcc::record::{BadRecord, PutFields};
    use crate::types::{LeaseId, Version};

    /// Knows one value, the same for every key and version.
    struct OneValue(Record);

    impl History for OneValue {
        fn revision(&self) -> Revision {
            Revision::MAX
        }

        fn compacted(&self) -> Option<Revision> {
            None
        }

        fn scan(
            &self,
            _first: Revision,
            _last: Revision,
            _visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
        ) -> Result<(), EngineError> {
            Ok(())
        }

        fn value_at(&self, _key: &[u8], _revision: Revision) -> Option<Record> {
            Some(self.0.clone())
        }

        fn stored(&self, version: Version) -> Result<Record, EngineError> {
            if version == self.0.version() {
                Ok(self.0.clone())
            } else {
                Err(BadRecord { version })?
            }
        }
    }

    fn fields(create: i64, main: i64) -> PutFields {
        PutFields {
            create_revision: Revision(create),
            mod_revision: Revision(main),
            version: 1,
            lease: LeaseId::NONE,
        }
    }

    fn event(record: Record, previous: Option<Record>) -> BatchEvent {
        BatchEvent::new(Event { record, previous })
    }

    proptest! {
        #[test]
        fn selecting_by_order_finds_what_a_look_at_every_event_finds(
            keys in proptest::collection::vec(0u8..20, 1..120),
            per_revision in 1usize..60,
            start in 0u8..20,
            end in 0u8..22,
        ) {
            let events: Vec<Event> = keys
                .iter()
                .enumerate()
                .map(|(index, key)| {
                    let main = Revision((index / per_revision + 2).try_into().expect("small"));
                    let sub = (index % per_revision).try_into().expect("small");
                    let record = Record::tombstone(Version { main, sub }, &[*key + 1]);
                    Event { record, previous: None }
                })
                .collect();
            let batch = EventBatch::new(events);
            let end = match end {
                20 => vec![],
                21 => vec![0],
                end => vec![end + 1],
            };
            let range = KeyRange::from_request(vec![start + 1], end);
            let naive = |from: usize, until: usize| -> Vec<u32> {
                (from..until)
                    .filter(|index| range.contains(&[keys[*index] + 1]))
                    .map(|index| index.try_into().expect("small"))
                    .collect()
            };
            let mut selected = Vec::new();
            batch.select_all(&range, &mut selected);
            prop_assert_eq!(&selected, &naive(0, keys.len()));
            for group in 0..batch.group_count() {
                batch.select_in_group(group, &range, &mut selected);
                let from = group * per_revision;
                prop_assert_eq!(&selected, &naive(from, keys.len().min(from + per_revision)));
            }
        }
    }

    #[test]
    fn an_event_is_encoded_once() {
        let batch = EventBatch::new(vec![Event {
            record: Record::put(0, b"k", fields(2, 2), b"v"),
            previous: None,
        }]);
        let history = OneValue(Record::put(0, b"k", fields(1, 1), b"old"));
        let first = batch.event(0).plain(&history).expect("resident").as_ptr();
        assert_eq!(first, batch.event(0).plain(&history).expect("resident").as_ptr());
    }

    #[test]
    fn a_value_that_the_engine_keeps_is_fetched() {
        let whole = Record::put(0, b"k", fields(2, 2), b"value");
        let history = OneValue(whole.clone());
        let stored = event(Record::put(0, b"k", fields(2, 2), b"v").without_value(), None);
        let resident = event(whole, None);
        assert_eq!(
            stored.plain(&history).expect("fetched"),
            resident.plain(&history).expect("resident")
        );
        let lost = event(Record::put(0, b"k", fields(2, 3), b"v").without_value(), None);
        assert!(lost.plain(&history).is_err(), "a lost value must not become an empty one");
    }

    #[test]
    fn a_change_of_the_same_transaction_is_not_the_previous_value() {
        let old = Record::put(0, b"k", fields(1, 1), b"old");
        let history = OneValue(old.clone());
        let same = Record::put(0, b"k", fields(1, 5), b"same transaction");
        let deletion = Record::tombstone(Version { main: Revision(5), sub: 1 }, b"k");
        let shown = |previous| {
            let event = event(deletion.clone(), previous);
            event.with_previous(&history, None).expect("resident").to_vec()
        };
        assert_eq!(shown(Some(same)), shown(Some(old)));
        let compacted = event(deletion.clone(), None);
        assert_eq!(
            compacted.with_previous(&history, Some(Revision(5))).expect("resident"),
            encode::event(&deletion, None).as_ref()
        );
    }
}
