//! A world for watchers: a store small enough to be obviously right, the hub, and streams whose
//! queues, inboxes and transports move only when a test says so.
#![allow(dead_code, reason = "each test binary uses its own part of the world")]
#![allow(unreachable_pub, reason = "a module of test binaries, not of a library")]

pub mod client;

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use prost::Message;
use state::engine::EngineError;
use state::mvcc::record::{BadRecord, PutFields, Record};
use state::outcome::Event;
use state::watch::{
    EventBatch, History, HubInput, Outbox, ReadEverything, ReadPermission, Sender, StreamConfig,
    StreamId, StreamInput, WatchHub, WatchRequest, WatchStream,
};
use state::{ClusterId, LeaseId, MemberId, Revision, Term, Version};

/// `etcdserverpb.WatchResponse`, read by a decoder that shares nothing with the encoder.
#[derive(Clone, PartialEq, Message)]
pub struct WatchResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    #[prost(int64, tag = "2")]
    pub watch_id: i64,
    #[prost(bool, tag = "3")]
    pub created: bool,
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    #[prost(bool, tag = "7")]
    pub fragment: bool,
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<WatchEvent>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    #[prost(int64, tag = "3")]
    pub revision: i64,
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchEvent {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
    #[prost(message, optional, tag = "3")]
    pub prev_kv: Option<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

impl WatchResponse {
    pub fn revision(&self) -> i64 {
        self.header.as_ref().expect("every response has a header").revision
    }
}

/// One change of a transaction.
#[derive(Clone, Debug)]
pub enum Change {
    Put(String, String),
    Delete(String),
}

/// All changes ever made, and those that compaction has left.
#[derive(Debug)]
pub struct Store {
    pub all: Vec<Record>,
    kept: Vec<Record>,
    pub revision: Revision,
    pub compacted: Option<Revision>,
}

impl Store {
    pub fn new() -> Store {
        Store { all: Vec::new(), kept: Vec::new(), revision: Revision(1), compacted: None }
    }

    /// Does a transaction. Deleting what is absent changes nothing.
    pub fn txn(&mut self, changes: &[Change]) -> Vec<Event> {
        let main = self.revision.next();
        let mut events: Vec<Event> = Vec::new();
        for change in changes {
            let sub = u32::try_from(events.len()).expect("few changes");
            let (key, value) = match change {
                Change::Put(key, value) => (key, Some(value)),
                Change::Delete(key) => (key, None),
            };
            let previous = self.newest(key.as_bytes());
            let record = match (value, &previous) {
                (Some(value), previous) => {
                    let before = previous.as_ref().map(Record::fields);
                    let fields = PutFields {
                        create_revision: before.map_or(main, |before| before.create_revision),
                        mod_revision: main,
                        version: before.map_or(0, |before| before.version) + 1,
                        lease: LeaseId::NONE,
                    };
                    Record::put(sub, key.as_bytes(), fields, value.as_bytes())
                }
                (None, Some(_)) => Record::tombstone(Version { main, sub }, key.as_bytes()),
                (None, None) => continue,
            };
            self.all.push(record.clone());
            self.kept.push(record.clone());
            events.push(Event { record, previous });
        }
        if !events.is_empty() {
            self.revision = main;
        }
        events
    }

    /// The newest version of a key, if it is live.
    fn newest(&self, key: &[u8]) -> Option<Record> {
        let newest = self.all.iter().rev().find(|record| record.key() == key)?;
        newest.is_put().then(|| newest.clone())
    }

    /// The version of a key at a revision, from everything ever written.
    pub fn at(&self, key: &[u8], revision: Revision) -> Option<Record> {
        let mut versions = self.all.iter().rev();
        let found = versions.find(|record| record.revision() <= revision && record.key() == key)?;
        found.is_put().then(|| found.clone())
    }

    pub fn compact(&mut self, revision: Revision) {
        assert!(self.compacted.is_none_or(|before| before < revision) && revision <= self.revision);
        self.compacted = Some(revision);
    }

    /// Removes what compaction allows to remove.
    pub fn sweep(&mut self) {
        let Some(compacted) = self.compacted else { return };
        let mut newest: BTreeMap<Vec<u8>, Version> = BTreeMap::new();
        for record in self.kept.iter().filter(|record| record.revision() <= compacted) {
            newest.insert(record.key().to_vec(), record.version());
        }
        self.kept.retain(|record| {
            record.revision() > compacted
                || newest.get(record.key()) == Some(&record.version())
                    && (record.is_put() || record.revision() == compacted)
        });
    }
}

impl History for Store {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn compacted(&self) -> Option<Revision> {
        self.compacted
    }

    fn scan(
        &self,
        first: Revision,
        last: Revision,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        for record in &self.kept {
            let wanted = record.revision() >= first && record.revision() <= last;
            if wanted && visit(record).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn value_at(&self, key: &[u8], revision: Revision) -> Option<Record> {
        if self.compacted.is_some_and(|compacted| revision < compacted) {
            return None;
        }
        self.at(key, revision)
    }

    fn stored(&self, version: Version) -> Result<Record, EngineError> {
        let found = self.kept.iter().find(|record| record.version() == version);
        Ok(found.cloned().ok_or(BadRecord { version })?)
    }
}

/// One stream with everything around it.
pub struct Lane {
    pub stream: WatchStream,
    id: StreamId,
    pub queue: VecDeque<StreamInput>,
    queue_max: usize,
    lagged: Option<StreamInput>,
    /// On its way to the hub.
    inbox: VecDeque<HubInput>,
    pub outbox: Outbox,
}

/// A store, a hub and some streams.
pub struct World {
    pub store: Store,
    hub: WatchHub,
    /// Visible to readers, not yet known to the hub.
    unpublished: Vec<Event>,
    pub lanes: Vec<Lane>,
    pub faults: Faults,
    pub overflows: usize,
    batches: Vec<Weak<EventBatch>>,
}

/// What goes wrong on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Every so many deliveries one is lost without a word.
    pub lose: Option<usize>,
    /// Every so many deliveries one comes twice.
    pub repeat: Option<usize>,
    /// Answers to questions overtake what waits in the queue.
    pub early_answers: bool,
    /// Counts deliveries, for the two above.
    pub deliveries: usize,
}

/// Sizes that make every bound matter in a small test.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub queue: usize,
    pub outbox_bytes: usize,
    pub outbox_responses: usize,
    pub fragment_bytes: usize,
    pub catch_up_revisions: usize,
    pub catch_up_bytes: usize,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            queue: 4,
            outbox_bytes: 1 << 20,
            outbox_responses: 1000,
            fragment_bytes: 2 << 20,
            catch_up_revisions: 1000,
            catch_up_bytes: 1 << 19,
        }
    }
}

pub const PROGRESS_PERIOD_MS: u64 = 1000;

impl World {
    pub fn new() -> World {
        World {
            store: Store::new(),
            hub: WatchHub::new(Revision(1)),
            unpublished: Vec::new(),
            lanes: Vec::new(),
            faults: Faults::default(),
            overflows: 0,
            batches: Vec::new(),
        }
    }

    /// Opens a stream; returns its number.
    pub fn open(&mut self, sizes: Sizes) -> usize {
        let id = StreamId(self.lanes.len() as u64 + 100);
        let sender = Sender { cluster: ClusterId(1), member: MemberId(2), term: Term(3) };
        let config = StreamConfig {
            stream: id,
            sender,
            fragment_bytes: sizes.fragment_bytes,
            progress_period_ms: PROGRESS_PERIOD_MS,
            catch_up_revisions_max: sizes.catch_up_revisions,
            catch_up_bytes_max: sizes.catch_up_bytes,
        };
        self.lanes.push(Lane {
            stream: WatchStream::new(config, 0),
            id,
            queue: VecDeque::new(),
            queue_max: sizes.queue,
            lagged: None,
            inbox: VecDeque::new(),
            outbox: Outbox::new(sizes.outbox_bytes, sizes.outbox_responses),
        });
        self.lanes.len() - 1
    }

    /// Applies a transaction; readers see it at once.
    pub fn write(&mut self, changes: &[Change]) {
        let events = self.store.txn(changes);
        self.unpublished.extend(events);
    }

    /// The end of a turn: the hub hears of what readers see, and deliveries are queued.
    pub fn publish(&mut self) {
        let events = std::mem::take(&mut self.unpublished);
        let Some(deliveries) = self.hub.publish(self.store.revision, events) else { return };
        let batch = deliveries.batch;
        self.batches.push(Arc::downgrade(&batch));
        let streams: Vec<StreamId> = deliveries.streams.to_vec();
        for stream in streams {
            self.faults.deliveries += 1;
            let hits = |every: Option<usize>| {
                every.is_some_and(|every| self.faults.deliveries.is_multiple_of(every))
            };
            if hits(self.faults.lose) {
                continue;
            }
            let twice = hits(self.faults.repeat);
            self.enqueue(stream, StreamInput::Events(batch.clone()));
            if twice {
                self.enqueue(stream, StreamInput::Events(batch.clone()));
            }
        }
    }

    fn enqueue(&mut self, stream: StreamId, input: StreamInput) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == stream) else { return };
        if lane.queue.len() >= lane.queue_max {
            self.overflows += 1;
            lane.lagged = Some(self.hub.lagging(stream));
            return;
        }
        if self.faults.early_answers && matches!(input, StreamInput::Reached { .. }) {
            lane.queue.push_front(input);
        } else {
            lane.queue.push_back(input);
        }
    }

    /// The applier takes one message of a stream. It does so between turns only.
    pub fn hear(&mut self, lane: usize) {
        self.publish();
        let Some(input) = self.lanes[lane].inbox.pop_front() else { return };
        if let Some((stream, answer)) = self.hub.handle(input) {
            self.enqueue(stream, answer);
        }
    }

    /// A stream takes the next message of its queue, if it wants one. Says whether it did.
    pub fn deliver(&mut self, lane: usize) -> bool {
        let lane = &mut self.lanes[lane];
        if !lane.stream.wants_input() {
            return false;
        }
        let Some(input) = lane.queue.pop_front().or_else(|| lane.lagged.take()) else {
            return false;
        };
        lane.stream.receive(input);
        lane.send_to_hub();
        true
    }

    /// A stream does a bounded piece of work, if there is some and room for it.
    pub fn step(&mut self, lane: usize) -> bool {
        let lane = &mut self.lanes[lane];
        if lane.outbox.is_full() || !lane.stream.has_work(&self.store) {
            return false;
        }
        lane.stream.step(&self.store, &mut lane.outbox).expect("the store of a test never fails");
        lane.send_to_hub();
        true
    }

    pub fn request(&mut self, lane: usize, request: WatchRequest) {
        self.request_as(lane, request, &ReadEverything);
    }

    pub fn request_as(&mut self, lane: usize, request: WatchRequest, who: &dyn ReadPermission) {
        let lane = &mut self.lanes[lane];
        lane.stream.request(request, &self.store, who, &mut lane.outbox);
        lane.send_to_hub();
    }

    pub fn tick(&mut self, lane: usize, now_ms: u64) {
        self.lanes[lane].stream.tick(now_ms);
        self.lanes[lane].send_to_hub();
    }

    /// The transport takes what is there.
    pub fn take(&mut self, lane: usize) -> Vec<WatchResponse> {
        let responses = self.lanes[lane].outbox.take();
        let decode = |message: Bytes| WatchResponse::decode(message).expect("a WatchResponse");
        responses.messages().map(decode).collect()
    }

    /// How many turns are still kept by a queue or a stream.
    pub fn batches_alive(&mut self) -> usize {
        self.batches.retain(|batch| batch.strong_count() > 0);
        self.batches.len()
    }

    /// Lets everything happen until nothing is left to do, while `reads` clients read. Returns what
    /// they got.
    pub fn settle(&mut self, reads: &[bool]) -> Vec<(usize, WatchResponse)> {
        let mut got = Vec::new();
        for _ in 0..100_000 {
            self.publish();
            let mut busy = false;
            for (lane, &reads) in reads.iter().enumerate() {
                while !self.lanes[lane].inbox.is_empty() {
                    self.hear(lane);
                    busy = true;
                }
                if reads {
                    got.extend(self.take(lane).into_iter().map(|response| (lane, response)));
                    busy |= self.deliver(lane);
                    busy |= self.step(lane);
                }
            }
            let quiet =
                reads.iter().zip(&self.lanes).all(|(reads, lane)| !reads || lane.outbox.is_empty());
            if !busy && quiet {
                return got;
            }
        }
        panic!("the world does not come to rest");
    }
}

impl Lane {
    fn send_to_hub(&mut self) {
        self.inbox.extend(self.stream.take_hub_inputs());
    }
}
