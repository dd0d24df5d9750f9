//! What a watcher is due, by the log of all events; and what no stream may do, whatever the other
//! server does.

use std::ops::RangeInclusive;

use metastore_proto::etcdserverpb as pb;
use metastore_proto::mvccpb::Event;
use metastore_proto::mvccpb::event::EventType;

/// All events of a run, in their order, and where the history ends and begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    events: Vec<Event>,
    revision: i64,
    compacted: i64,
}

impl Log {
    /// The log of a fresh store.
    pub(crate) fn new() -> Log {
        Log { events: Vec::new(), revision: 1, compacted: 0 }
    }

    /// The store's revision at the last quiet point.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    /// Where the history begins.
    pub(crate) fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Adds what the witness has seen up to this revision.
    pub(crate) fn extend(&mut self, events: impl IntoIterator<Item = Event>, revision: i64) {
        self.events.extend(events);
        self.revision = revision;
    }

    /// The history below is gone.
    pub(crate) fn compact(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision);
    }

    /// The events that a watcher is due from this revision on. One that reads history sees what a
    /// compaction has left of it.
    pub(crate) fn due(
        &self,
        create: &pb::WatchCreateRequest,
        next: i64,
        is_live: bool,
    ) -> Vec<&Event> {
        let is_asked_for = |event: &&Event| {
            let kv = event.kv.as_ref().expect("an event has a key");
            kv.mod_revision >= next && contains(create, &kv.key) && !is_filtered(create, event)
        };
        let mut due: Vec<&Event> = self.events.iter().filter(is_asked_for).collect();
        if !is_live {
            let compacted = self.compacted;
            let is_last_of_its_key = |index: usize| {
                let (kv, later) = (&due[index].kv, &due[index + 1..]);
                let same =
                    |event: &&&Event| revision(event) == compacted && key(event) == key(due[index]);
                kv.as_ref().is_some_and(|kv| kv.mod_revision != compacted)
                    || !later.iter().any(|event| same(&event))
            };
            let kept: Vec<usize> =
                (0..due.len()).filter(|index| is_last_of_its_key(*index)).collect();
            due = kept.into_iter().map(|index| due[index]).collect();
        }
        due
    }
}

fn key(event: &Event) -> &[u8] {
    event.kv.as_ref().map_or(b"", |kv| &kv.key[..])
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// Whether the watcher is of this key.
fn contains(create: &pb::WatchCreateRequest, key: &[u8]) -> bool {
    let first: &[u8] = if create.key.is_empty() { b"\0" } else { &create.key };
    match &create.range_end[..] {
        b"" => key == first,
        b"\0" => key >= first,
        end => key >= first && key < end,
    }
}

fn is_filtered(create: &pb::WatchCreateRequest, event: &Event) -> bool {
    let unwanted = match event.r#type() {
        EventType::Put => pb::watch_create_request::FilterType::Noput,
        EventType::Delete => pb::watch_create_request::FilterType::Nodelete,
    };
    create.filters.contains(&unwanted.into())
}

/// A response with a part of the history that a watcher has asked for: it tells how far the server
/// has read, which is not to the end.
pub(crate) const PIECE: &str = "a piece of history";

/// What is wrong with these responses, given the events that the watcher is due, and the revisions
/// of the store between which they were sent.
pub(super) fn flaws(
    responses: &[pb::WatchResponse],
    due: &[&Event],
    store: RangeInclusive<i64>,
) -> Vec<String> {
    let mut flaws = Vec::new();
    let sent: Vec<&Event> = responses.iter().flat_map(|response| &response.events).collect();
    let what = |event: &Event| {
        format!("{:?} of \"{}\" at {}", event.r#type(), key(event).escape_ascii(), revision(event))
    };
    if sent.len() != due.len() {
        flaws.push(format!("{} events instead of {}", sent.len(), due.len()));
    }
    let is_same = |one: &Event, other: &Event| one.r#type == other.r#type && one.kv == other.kv;
    if let Some((one, other)) = sent.iter().zip(due).find(|(one, other)| !is_same(one, other)) {
        flaws.push(format!("{} instead of {}", what(one), what(other)));
    }
    for (response, following) in responses.iter().zip(responses.iter().skip(1)) {
        let (last, first) = (response.events.last(), following.events.first());
        let is_parted =
            last.zip(first).is_some_and(|(last, first)| revision(last) == revision(first));
        if is_parted && !response.fragment {
            flaws.push(format!("revision {} is parted", last.map_or(0, revision)));
        }
    }
    for response in responses {
        let header = response.header.as_ref().map_or(0, |header| header.revision);
        let last = response.events.last().map_or(0, revision);
        if last > header {
            flaws.push(format!("a header of revision {header} before its events"));
        }
        if header >= last && header < *store.start() {
            flaws.push(format!("{PIECE} up to {header}"));
        } else if !store.contains(&header) {
            flaws.push(format!("a header of revision {header} instead of one of {store:?}"));
        }
        if response.events.is_empty() {
            flaws.push("a response without events that nobody asked for".to_owned());
        }
    }
    flaws
}
