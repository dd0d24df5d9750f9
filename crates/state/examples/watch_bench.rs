//! What a change costs per watcher: one put to a thousand watchers of its key, on 10 and on 1000
//! streams, from the hub to framed bytes; and a catch-up of as many watchers.
//!
//! ```text
//! cargo run --profile fast -p state --example watch_bench
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]
#![allow(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use state::engine::EngineError;
use state::mvcc::record::{BadRecord, PutFields, Record};
use state::outcome::Event;
use state::watch::{
    CATCH_UP_BYTES_MAX, CATCH_UP_REVISIONS_MAX, FRAGMENT_OVERHEAD_BYTES, History, Outbox,
    ReadEverything, Sender, StreamConfig, StreamId, StreamInput, WatchCreate, WatchHub,
    WatchRequest, WatchStream,
};
use state::{ClusterId, LeaseId, MemberId, Revision, Term, Version};

const WATCHERS: usize = 1000;
const VALUE_BYTES: usize = 256;

/// Puts of one key, one per revision.
struct Puts {
    records: Vec<Record>,
}

impl Puts {
    fn put(&mut self) -> Event {
        let version = i64::try_from(self.records.len()).expect("few puts") + 1;
        let fields = PutFields {
            create_revision: Revision(2),
            mod_revision: Revision(version + 1),
            version,
            lease: LeaseId::NONE,
        };
        let record = Record::put(0, b"key", fields, &[b'v'; VALUE_BYTES]);
        let previous = self.records.last().cloned();
        self.records.push(record.clone());
        Event { record, previous }
    }
}

impl History for Puts {
    fn revision(&self) -> Revision {
        self.records.last().map_or(Revision(1), Record::revision)
    }

    fn compacted(&self) -> Option<Revision> {
        None
    }

    fn scan(
        &self,
        first: Revision,
        last: Revision,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let from = self.records.partition_point(|record| record.revision() < first);
        for record in self.records[from..].iter().take_while(|record| record.revision() <= last) {
            if visit(record).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn value_at(&self, _key: &[u8], revision: Revision) -> Option<Record> {
        let from = self.records.partition_point(|record| record.revision() <= revision);
        self.records[..from].last().cloned()
    }

    fn stored(&self, version: Version) -> Result<Record, EngineError> {
        Err(BadRecord { version })?
    }
}

fn open(
    stream_count: usize,
    create: &WatchCreate,
    puts: &Puts,
) -> (WatchHub, Vec<WatchStream>, usize) {
    let mut hub = WatchHub::new(puts.revision());
    let mut streams = Vec::new();
    let mut bytes = 0;
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    for number in 0..stream_count {
        let config = StreamConfig {
            stream: StreamId(number as u64),
            sender: Sender {
                cluster: ClusterId(u64::MAX),
                member: MemberId(1 << 60),
                term: Term(7),
            },
            fragment_bytes: 3 * FRAGMENT_OVERHEAD_BYTES + FRAGMENT_OVERHEAD_BYTES,
            progress_period_ms: 600_000,
            catch_up_revisions_max: CATCH_UP_REVISIONS_MAX,
            catch_up_bytes_max: CATCH_UP_BYTES_MAX,
        };
        let mut stream = WatchStream::new(config, 0);
        for _ in 0..WATCHERS / stream_count {
            let request = WatchRequest::Create(create.clone());
            stream.request(request, puts, &ReadEverything, &mut outbox);
        }
        for input in stream.take_hub_inputs() {
            if let Some((_, answer)) = hub.handle(input) {
                stream.receive(answer);
                while !stream.wants_input() {
                    stream.step(puts, &mut outbox).expect("memory does not fail");
                    bytes += outbox.take().framed().len();
                }
            }
        }
        streams.push(stream);
    }
    (hub, streams, bytes)
}

/// The time in the hub and in the streams for `rounds` puts to all watchers.
fn live(stream_count: usize, create: &WatchCreate, rounds: u32) -> (Duration, Duration) {
    let mut puts = Puts { records: Vec::new() };
    puts.put();
    let (mut hub, mut streams, _) = open(stream_count, create, &puts);
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    let (mut in_hub, mut in_streams) = (Duration::ZERO, Duration::ZERO);
    let mut responses = 0;
    for _ in 0..rounds {
        let event = puts.put();
        let begin = Instant::now();
        let deliveries = hub.publish(puts.revision(), vec![event]).expect("watchers are there");
        let inputs: Vec<(usize, StreamInput)> = deliveries
            .streams
            .iter()
            .map(|stream| {
                let batch = deliveries.batch.clone();
                (usize::try_from(stream.0).expect("few streams"), StreamInput::Events(batch))
            })
            .collect();
        in_hub += begin.elapsed();
        let begin = Instant::now();
        for (number, input) in inputs {
            streams[number].receive(input);
            streams[number].step(&puts, &mut outbox).expect("memory does not fail");
            responses += outbox.take().count();
        }
        in_streams += begin.elapsed();
    }
    assert_eq!(responses, WATCHERS * rounds as usize, "every watcher hears of every put");
    (in_hub, in_streams)
}

/// The time in which all watchers of a stream read `revisions` revisions from history.
fn behind(revisions: usize) -> Duration {
    let mut puts = Puts { records: Vec::new() };
    for _ in 0..revisions {
        puts.put();
    }
    let create = WatchCreate {
        key: Bytes::from_static(b"key"),
        start_revision: 2,
        ..WatchCreate::default()
    };
    let begin = Instant::now();
    let (_, mut streams, mut bytes) = open(1, &create, &puts);
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    while streams[0].has_work(&puts) {
        streams[0].step(&puts, &mut outbox).expect("memory does not fail");
        bytes += outbox.take().framed().len();
    }
    assert_eq!(streams[0].behind_count(), 0);
    assert!(bytes > revisions * VALUE_BYTES * WATCHERS / 2);
    begin.elapsed()
}

/// Pages of memory in use, where the system tells.
fn resident_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0.0);
    pages * 4096.0
}

/// Time and memory for each of `count` watchers of a key of its own, on 100 streams, hub included.
fn create(count: usize) -> (Duration, f64) {
    const STREAMS: usize = 100;
    let puts = Puts { records: Vec::new() };
    let before = resident_bytes();
    let begin = Instant::now();
    let (mut hub, mut streams, _) = open(STREAMS, &WatchCreate::default(), &puts);
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    for number in 0..count {
        let key = Bytes::from(format!("/registry/pods/default/{number:010}"));
        let create = WatchCreate { key, ..WatchCreate::default() };
        let stream = &mut streams[number % STREAMS];
        stream.request(WatchRequest::Create(create), &puts, &ReadEverything, &mut outbox);
        for input in stream.take_hub_inputs() {
            if let Some((_, answer)) = hub.handle(input) {
                stream.receive(answer);
                stream.step(&puts, &mut outbox).expect("memory does not fail");
            }
        }
        drop(outbox.take());
    }
    let took = begin.elapsed();
    assert!(streams.iter().all(|stream| stream.behind_count() == 0));
    (took, resident_bytes() - before)
}

fn main() {
    let count = 200_000;
    let (took, bytes) = create(count);
    println!(
        "{count} watchers of keys of 33 bytes: {:.0} ns and {:.0} bytes each, key included",
        took.as_nanos() as f64 / count as f64,
        bytes / count as f64
    );
    let rounds = 2000;
    let one = |count: Duration| count.as_nanos() as f64 / f64::from(rounds) / WATCHERS as f64;
    println!("one put of {VALUE_BYTES} bytes to {WATCHERS} watchers, per watcher:");
    for stream_count in [10, 1000] {
        for prev_kv in [false, true] {
            let key = Bytes::from_static(b"key");
            let create = WatchCreate { key, prev_kv, ..WatchCreate::default() };
            let (in_hub, in_streams) = live(stream_count, &create, rounds);
            println!(
                "{stream_count:5} streams, prev_kv {prev_kv:5}: hub {:6.1} ns, streams {:6.1} ns; \
                 per turn: hub {:8.2} µs",
                one(in_hub),
                one(in_streams),
                in_hub.as_nanos() as f64 / f64::from(rounds) / 1000.0,
            );
        }
    }
    let revisions = 2000;
    let took = behind(revisions);
    println!(
        "{WATCHERS} watchers of one stream read {revisions} revisions each: {:.1} ns per event",
        took.as_nanos() as f64 / revisions as f64 / WATCHERS as f64
    );
}
