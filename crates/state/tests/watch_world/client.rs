//! A client that believes nothing: it knows every change ever made and checks each response against
//! what the protocol promises.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use prost::Message;
use state::mvcc::record::Record;
use state::watch::WatchCreate;
use state::{KeyRange, RangeEnd, Revision};

use super::{KeyValue, Store, WatchEvent, WatchResponse};

/// What one client has asked and seen.
#[derive(Debug, Default)]
pub struct Client {
    /// Requests to create that have not been answered, in order.
    pub creating: VecDeque<WatchCreate>,
    pub canceling: Vec<i64>,
    pub progress_requests: usize,
    pub watchers: BTreeMap<i64, Seen>,
    /// The watcher whose fragments are coming.
    in_fragments_of: Option<i64>,
    /// Responses for those that can join fragments stay below; 0: not checked.
    fragment_bytes: usize,
    pub statistics: Statistics,
}

/// What a watcher has seen.
#[derive(Debug)]
pub struct Seen {
    create: WatchCreate,
    start: Revision,
    /// How many of the changes it is to see it has seen.
    count: usize,
    header: i64,
    /// The revision up to which it knows to have seen everything.
    seen_to: Revision,
    compacted: bool,
}

/// How much has been checked: a run in which nothing happened proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    pub events: usize,
    pub previous: usize,
    pub fragments: usize,
    pub progress: usize,
    pub compacted: usize,
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

impl Client {
    /// A client whose stream cuts responses from this size on.
    pub fn new(fragment_bytes: usize) -> Client {
        Client { fragment_bytes, ..Client::default() }
    }

    /// Takes the next response of the stream.
    pub fn check(&mut self, response: &WatchResponse, store: &Store) -> Result<(), String> {
        if let Some(id) = self.in_fragments_of {
            ensure!(response.watch_id == id, "fragments of {id} are cut by {response:?}");
        }
        match (response.created, response.canceled) {
            (true, false) => self.created(response),
            (true, true) => self.refused(response),
            (false, true) => self.canceled(response, store),
            (false, false) if response.events.is_empty() => self.progress(response, store),
            (false, false) => self.events(response, store),
        }
    }

    fn created(&mut self, response: &WatchResponse) -> Result<(), String> {
        let create = self.creating.pop_front().ok_or("created without a request")?;
        let id = response.watch_id;
        ensure!(create.watch_id == 0 || create.watch_id == id, "asked {create:?} and got {id}");
        let start = match create.start_revision {
            0 => Revision(response.revision() + 1),
            start => Revision(start),
        };
        let seen =
            Seen { create, start, count: 0, header: 0, seen_to: Revision(0), compacted: false };
        ensure!(self.watchers.insert(id, seen).is_none(), "id {id} is used twice");
        Ok(())
    }

    fn refused(&mut self, response: &WatchResponse) -> Result<(), String> {
        let create = self.creating.pop_front().ok_or("refused without a request")?;
        let taken = self.watchers.contains_key(&create.watch_id) && create.watch_id != 0;
        let reason = if create.start_revision < 0 {
            "etcdserver: mvcc: required revision has been compacted"
        } else if create.range().is_empty() {
            "mvcc: watcher range is empty"
        } else {
            ensure!(taken, "refused for no reason: {create:?}");
            "mvcc: duplicate watch ID provided on the WatchStream"
        };
        ensure!(response.watch_id == -1, "refused with id {}", response.watch_id);
        ensure!(response.cancel_reason == reason, "refused with {:?}", response.cancel_reason);
        Ok(())
    }

    fn canceled(&mut self, response: &WatchResponse, store: &Store) -> Result<(), String> {
        let id = response.watch_id;
        let seen = self.watchers.get_mut(&id).ok_or("an unknown watcher is canceled")?;
        ensure!(response.cancel_reason.is_empty(), "canceled: {}", response.cancel_reason);
        if response.compact_revision == 0 {
            let asked = self.canceling.iter().position(|asked| *asked == id);
            self.canceling.remove(asked.ok_or("canceled though nobody asked")?);
            self.watchers.remove(&id);
            return Ok(());
        }
        ensure!(!seen.compacted, "watcher {id} is compacted twice");
        ensure!(response.revision() == 0, "compacted at {}", response.revision());
        let compacted = Revision(response.compact_revision);
        ensure!(Some(compacted) <= store.compacted, "compacted ahead of the store: {compacted}");
        ensure!(seen.start < compacted, "start {} is not below {compacted}", seen.start);
        ensure!(seen.seen_to < compacted, "{id} had seen {} already", seen.seen_to);
        seen.compacted = true;
        self.statistics.compacted += 1;
        Ok(())
    }

    fn progress(&mut self, response: &WatchResponse, store: &Store) -> Result<(), String> {
        let revision = Revision(response.revision());
        if response.watch_id == -1 {
            ensure!(self.progress_requests > 0, "progress of the stream, not asked for");
            self.progress_requests -= 1;
            for (id, seen) in &self.watchers {
                seen.has_seen_all_to(revision, store).map_err(|error| format!("{id}: {error}"))?;
            }
        } else {
            let id = response.watch_id;
            let seen = self.watchers.get_mut(&id).ok_or("progress of an unknown watcher")?;
            ensure!(seen.create.progress_notify, "watcher {id} did not ask for progress");
            ensure!(revision.0 >= seen.header, "progress of {id} went back to {revision}");
            seen.header = revision.0;
            seen.seen_to = seen.seen_to.max(revision);
            seen.has_seen_all_to(revision, store).map_err(|error| format!("{id}: {error}"))?;
        }
        self.statistics.progress += 1;
        Ok(())
    }

    fn events(&mut self, response: &WatchResponse, store: &Store) -> Result<(), String> {
        let id = response.watch_id;
        let seen = self.watchers.get_mut(&id).ok_or(format!("events of unknown watcher {id}"))?;
        ensure!(!seen.compacted, "events for watcher {id} after its end");
        ensure!(response.revision() >= seen.header, "header of {id} went back");
        ensure!(!response.fragment || seen.create.fragment, "{id} cannot join fragments");
        let cut = self.fragment_bytes > 0 && seen.create.fragment && response.events.len() > 1;
        let bytes = response.encoded_len();
        ensure!(!cut || bytes < self.fragment_bytes, "{id}: {bytes} bytes are not cut");
        seen.header = response.revision();
        let expected = seen.expected(store);
        for event in &response.events {
            let record = expected.get(seen.count).ok_or(format!("{id}: too many events"))?;
            ensure!(record.revision().0 <= response.revision(), "{id}: an event above its header");
            check_event(event, record, &seen.create, store)
                .map_err(|error| format!("watcher {id}, event {}: {error}", seen.count))?;
            seen.count += 1;
            seen.seen_to = seen.seen_to.max(record.revision());
            self.statistics.previous += usize::from(event.prev_kv.is_some());
        }
        self.statistics.events += response.events.len();
        self.statistics.fragments += usize::from(response.fragment);
        self.in_fragments_of = response.fragment.then_some(id);
        if !response.fragment
            && let Some(next) = expected.get(seen.count)
        {
            let last = expected[seen.count - 1].revision();
            ensure!(next.revision() > last, "{id}: {last} is torn apart");
        }
        Ok(())
    }

    /// When everything has come to rest, every watcher has seen everything.
    pub fn check_complete(&self, store: &Store) -> Result<(), String> {
        ensure!(self.creating.is_empty(), "no answer to {:?}", self.creating);
        ensure!(self.in_fragments_of.is_none(), "the last fragment is missing");
        for (id, seen) in &self.watchers {
            if !seen.compacted {
                seen.has_seen_events_to(store.revision, store)
                    .map_err(|error| format!("in the end, watcher {id}: {error}"))?;
            }
        }
        Ok(())
    }
}

impl Client {
    /// Whether a request for progress has to be answered once everything has come to rest.
    pub fn may_expect_progress(&self, store: &Store) -> bool {
        !self.watchers.is_empty()
            && self
                .watchers
                .values()
                .all(|seen| !seen.compacted && seen.create.start_revision <= store.revision.0)
    }
}

impl Seen {
    fn expected<'s>(&self, store: &'s Store) -> Vec<&'s Record> {
        let range = naive_range(&self.create);
        store
            .all
            .iter()
            .filter(|record| record.revision() >= self.start)
            .filter(|record| range.contains(record.key()))
            .filter(
                |record| {
                    if record.is_put() { !self.create.no_put } else { !self.create.no_delete }
                },
            )
            .collect()
    }

    fn has_seen_all_to(&self, revision: Revision, store: &Store) -> Result<(), String> {
        ensure!(!self.compacted, "progress for a compacted watcher");
        ensure!(
            self.create.start_revision <= revision.0,
            "progress at {revision}, before the start"
        );
        self.has_seen_events_to(revision, store)
    }

    fn has_seen_events_to(&self, revision: Revision, store: &Store) -> Result<(), String> {
        let expected = self.expected(store);
        let owed = expected.iter().filter(|record| record.revision() <= revision).count();
        ensure!(self.count >= owed, "{} of {owed} events up to {revision}", self.count);
        Ok(())
    }
}

fn naive_range(create: &WatchCreate) -> KeyRange {
    let start = if create.key.is_empty() { Bytes::from_static(b"\0") } else { create.key.clone() };
    let end = match &create.range_end[..] {
        b"" => RangeEnd::Single,
        b"\0" => RangeEnd::Unbounded,
        _ => RangeEnd::Before(create.range_end.clone()),
    };
    KeyRange { start, end }
}

fn check_event(
    event: &WatchEvent,
    record: &Record,
    create: &WatchCreate,
    store: &Store,
) -> Result<(), String> {
    let kv = event.kv.as_ref().ok_or("no kv")?;
    let main = record.revision();
    let expected = if record.is_put() {
        decode(record)
    } else {
        let key = Bytes::copy_from_slice(record.key());
        KeyValue { key, mod_revision: main.0, ..KeyValue::default() }
    };
    ensure!(kv == &expected, "{kv:?} instead of {expected:?}");
    ensure!(event.kind == i32::from(!record.is_put()), "type {} of {kv:?}", event.kind);

    let before = Revision(main.0 - 1);
    let is_creation = record.is_put() && record.fields().create_revision == main;
    let previous = if is_creation || !create.prev_kv { None } else { store.at(&kv.key, before) };
    match (&event.prev_kv, previous) {
        (Some(shown), Some(previous)) => {
            let previous = decode(&previous);
            ensure!(shown == &previous, "prev_kv {shown:?} instead of {previous:?}");
        }
        (Some(shown), None) => return Err(format!("prev_kv {shown:?} of a creation")),
        (None, Some(_)) => {
            let compacted = store.compacted.is_some_and(|compacted| before < compacted);
            ensure!(compacted, "no prev_kv at {main}, compacted {:?}", store.compacted);
        }
        (None, None) => {}
    }
    Ok(())
}

fn decode(record: &Record) -> KeyValue {
    KeyValue::decode(record.bytes()).expect("a record is a KeyValue")
}
