//! Two state machines and the naive model in lock step.
//!
//! ```text
//!                 ┌▶ memory engine     ┐
//! random commands ┼▶ forgetful engine  ┼▶ answers, events, reads, hashes: all equal?
//!                 └▶ model             ┘
//! ```

use std::fmt::Debug;
use std::ops::ControlFlow;

use bytes::Bytes;
use fastrand::Rng;
use state::checkpoint::{CheckpointWriter, restore};
use state::command::Range;
use state::engine::EngineView;
use state::engine::memory::MemoryEngine;
use state::mvcc::hash::{hash_all, hash_kv};
use state::mvcc::range::{RangeCursor, ReadError, range, range_of};
use state::mvcc::record::Record;
use state::outcome::{RangeOutcome, Refusal};
use state::state::SweepProgress;
use state::txn::read_only;
use state::view::ReadView;
use state::{ClusterId, ClusterTime, Revision, Term, Version};

use super::generate::Generator;
use super::naive::{Change, Fault, KeyValue, Model};
use crate::harness::{CrashingEngine, Harness};

/// Open at a time, so that old ones hold versions back but not forever.
const VIEWS_MAX: usize = 4;
/// Longer than any sweep or cursor of a run.
const STEPS_MAX: usize = 100_000;

/// How often each thing happened: a run in which one never does proves little.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) commands: usize,
    pub(crate) refused: usize,
    pub(crate) events: usize,
    pub(crate) reads: usize,
    pub(crate) hashes: usize,
    pub(crate) views: usize,
    pub(crate) chunks: usize,
    pub(crate) swept: usize,
    pub(crate) restarts: usize,
    pub(crate) replayed: u64,
    pub(crate) settled: usize,
}

/// A view of each state machine, and the model as it was then.
struct Open {
    memory: ReadView,
    disk: ReadView,
    model: Model,
    at: i64,
}

/// A cursor on each state machine, what it has shown, and what it must show in the end.
struct Walk {
    cursors: [RangeCursor; 2],
    seen: RangeOutcome,
    expected: RangeOutcome,
}

pub(crate) struct World {
    rng: Rng,
    model: Model,
    memory: Harness,
    disk: Harness,
    engine: CrashingEngine,
    checkpoint: Vec<Bytes>,
    views: Vec<Open>,
    walks: Vec<Walk>,
    stats: Stats,
}

/// Runs a world until it has applied `commands`, or until something differs.
///
/// # Errors
/// Says what differs.
pub(crate) fn run(seed: u64, commands: usize, fault: Option<Fault>) -> Result<Stats, String> {
    let mut world = World::new(seed, fault);
    while world.stats.commands < commands {
        let done = world.stats.commands;
        world.step().map_err(|difference| {
            format!("seed {seed}, in the step after command {done}: {difference}")
        })?;
    }
    world.settle().map_err(|difference| format!("seed {seed}, at the end: {difference}"))?;
    Ok(world.stats)
}

fn same(what: &dyn Debug, expected: &str, found: [&str; 2]) -> Result<(), String> {
    for (name, found) in ["memory", "forgetful"].iter().zip(found) {
        if found != expected {
            return Err(format!("{what:?}\nmodel: {expected}\n{name}: {found}"));
        }
    }
    Ok(())
}

fn show<T: Debug>(result: Result<T, ReadError>) -> String {
    match result {
        Ok(outcome) => format!("{:?}", Ok::<T, Refusal>(outcome)),
        Err(ReadError::Refused(refusal)) => format!("{:?}", Err::<T, Refusal>(refusal)),
        Err(ReadError::Engine(error)) => panic!("a test engine does not fail: {error}"),
    }
}

impl World {
    fn new(seed: u64, fault: Option<Fault>) -> World {
        let engine = CrashingEngine::new();
        World {
            rng: Rng::with_seed(seed),
            model: Model::new(fault),
            memory: Harness::new(Box::new(MemoryEngine::new())),
            disk: Harness::new(Box::new(engine.clone())),
            engine,
            checkpoint: Vec::new(),
            views: Vec::new(),
            walks: Vec::new(),
            stats: Stats::default(),
        }
    }

    fn generator(&mut self) -> Generator<'_> {
        Generator { rng: &mut self.rng, model: &self.model, term: self.memory.term.0 }
    }

    fn step(&mut self) -> Result<(), String> {
        match self.rng.u32(0..200) {
            0..90 => {
                self.entry()?;
                if self.rng.bool() { self.publish() } else { Ok(()) }
            }
            90..130 => self.read(),
            130..140 => self.read_txn(),
            140..152 => self.hash(),
            152..160 => self.open(),
            160..175 => self.look(),
            175..179 => {
                if !self.views.is_empty() {
                    let which = self.rng.usize(0..self.views.len());
                    self.views.swap_remove(which);
                }
                Ok(())
            }
            179..182 => self.walk(),
            182..190 => self.walk_on(),
            190..195 => self.sweep(),
            195 => self.settle(),
            196 => self.take_checkpoint(),
            197 => {
                let lag = self.rng.usize(0..4);
                let batches = self.engine.unflushed();
                self.engine.flush_oldest(batches.saturating_sub(lag));
                Ok(())
            }
            198 => self.new_term(),
            _ if self.rng.bool() => self.restart(),
            _ => self.settle(),
        }
    }

    /// A leader may change; time goes on.
    fn new_term(&mut self) -> Result<(), String> {
        let term = Term(self.memory.term.0 + 1);
        self.memory.term = term;
        self.disk.term = term;
        Ok(())
    }

    fn entry(&mut self) -> Result<(), String> {
        // In steps of which the deadlines are multiples, so that some are met exactly. A batch may
        // carry an earlier time than the one before: the clock does not go back.
        let before = self.model.time_ms;
        let time_ms = match self.rng.u32(0..8) {
            0 => before.saturating_sub(500),
            _ => before + 500 * self.rng.u64(0..4),
        };
        self.model.time_ms = before.max(time_ms);
        let time = ClusterTime(time_ms);
        (self.memory.time, self.disk.time) = (time, time);
        let term = self.memory.term.0;
        let (mut operations, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..self.rng.usize(1..5) {
            let operation = self.generator().operation();
            let applied = self.model.apply(term, &operation);
            self.stats.refused += usize::from(applied.is_err());
            expected.push(format!("{applied:?} at {:?}", Revision(self.model.revision)));
            operations.push(operation);
        }
        self.stats.commands += operations.len();
        let memory = self.memory.apply_unpublished(operations.clone());
        let disk = self.disk.apply_unpublished(operations.clone());
        assert_eq!((memory.len(), disk.len()), (operations.len(), operations.len()));
        for (at, (memory, disk)) in memory.into_iter().zip(disk).enumerate() {
            if memory.over_quota || disk.over_quota {
                return Err("a command reaches a quota that is not there".to_owned());
            }
            let memory = format!("{:?} at {:?}", memory.applied, memory.revision);
            let disk = format!("{:?} at {:?}", disk.applied, disk.revision);
            same(&operations[at], &expected[at], [&memory, &disk])?;
        }
        self.same_leases()
    }

    fn same_leases(&self) -> Result<(), String> {
        let mut leases: Vec<_> = self.model.leases.iter().collect();
        leases.sort_by_key(|(id, (_, deadline))| (*deadline, **id));
        let expected: Vec<_> = leases
            .into_iter()
            .map(|(id, (ttl_s, deadline))| (*id, *ttl_s, *deadline, self.model.attached(*id)))
            .collect();
        let found = |harness: &Harness| {
            let leases = harness.state.leases();
            let found: Vec<_> = leases
                .by_deadline()
                .map(|(deadline, id)| {
                    let lease = leases.get(id).expect("listed");
                    assert_eq!(lease.deadline, deadline);
                    let keys: Vec<Bytes> = lease.keys.iter().cloned().collect();
                    (id.0, lease.ttl_s, deadline.0, keys)
                })
                .collect();
            format!("{found:?}")
        };
        let found = [&found(&self.memory)[..], &found(&self.disk)[..]];
        same(&"leases", &format!("{expected:?}"), found)
    }

    fn publish(&mut self) -> Result<(), String> {
        let events = self.model.publish();
        self.stats.events += events.len();
        let expected: Vec<_> = events.iter().map(event).collect();
        let mut found = Vec::new();
        for harness in [&mut self.memory, &mut self.disk] {
            harness.publish();
            let events = std::mem::take(&mut harness.events);
            let events = events.iter().map(|event| {
                let previous = event.previous.as_ref();
                let previous = previous.map(|record| (record.is_put(), record.revision().0));
                (row(&event.record), previous)
            });
            found.push(format!("{:?}", events.collect::<Vec<_>>()));
        }
        same(&"events", &format!("{expected:?}"), [&found[0], &found[1]])?;
        self.same_published()
    }

    fn same_published(&self) -> Result<(), String> {
        let published = self.model.published;
        let alarms: Vec<_> = self.model.alarms.iter().copied().collect();
        let expected = (published.revision, published.compacted, alarms);
        let expected = format!("{expected:?} {:?}", self.model.cluster_version);
        let found = |harness: &Harness| {
            let reader = harness.state.reader();
            let tables = &reader.published().tables;
            let alarms: Vec<_> =
                tables.alarms.iter().map(|alarm| (alarm.member.0, alarm.alarm.number())).collect();
            let compacted = reader.compacted().map_or(-1, |revision| revision.0);
            assert_eq!(reader.published().applied, harness.state.applied().0);
            assert_eq!(harness.state.time().0, self.model.time_ms);
            format!("{:?} {:?}", (reader.revision().0, compacted, alarms), tables.cluster_version)
        };
        let found = [&found(&self.memory)[..], &found(&self.disk)[..]];
        same(&"what is published", &expected, found)
    }

    fn read(&mut self) -> Result<(), String> {
        self.stats.reads += 1;
        let query = self.generator().range();
        let expected = format!("{:?}", self.model.read(&query));
        let found = [&self.memory, &self.disk].map(|it| show(range(it.state.reader(), &query)));
        same(&query, &expected, [&found[0], &found[1]])
    }

    fn read_txn(&mut self) -> Result<(), String> {
        self.stats.reads += 1;
        let txn = self.generator().read_txn();
        let expected = format!("{:?}", self.model.read_txn(&txn));
        let found = [&self.memory, &self.disk].map(|it| show(read_only(it.state.reader(), &txn)));
        same(&txn, &expected, [&found[0], &found[1]])
    }

    fn hash(&mut self) -> Result<(), String> {
        self.stats.hashes += 1;
        let revision = self.generator().range().revision;
        let expected = self.model.hash(revision);
        let expected = expected.map(|hash| (hash, self.model.published.revision));
        let found = [&self.memory, &self.disk].map(|it| {
            show(hash_kv(it.state.reader(), revision).map(|hash| {
                let triple = (hash.hash, hash.compact_revision, hash.hash_revision);
                (triple, hash.store_revision)
            }))
        });
        let what = format!("hash at {revision}");
        same(&what, &format!("{expected:?}"), [&found[0], &found[1]])
    }

    fn open(&mut self) -> Result<(), String> {
        let revision = self.generator().range().revision;
        if self.views.len() == VIEWS_MAX {
            self.views.remove(0);
        }
        let query = Range { revision, key: Bytes::from_static(b"k"), ..Range::default() };
        let expected = self.model.read(&query).map(|_| ());
        let opened = [&self.memory, &self.disk].map(|it| it.state.reader().view_for(revision));
        let [memory, disk] = opened;
        match (memory, disk) {
            (Ok(memory), Ok(disk)) if expected.is_ok() => {
                let newest = self.model.published.revision;
                let at = if revision > 0 { revision } else { newest };
                self.views.push(Open { memory, disk, model: self.model.clone(), at });
                Ok(())
            }
            (memory, disk) => {
                let found = [show(memory.map(|_| ())), show(disk.map(|_| ()))];
                let what = format!("view at {revision}");
                same(&what, &format!("{expected:?}"), [&found[0], &found[1]])
            }
        }
    }

    /// Whatever happened since, a view shows what it showed.
    fn look(&mut self) -> Result<(), String> {
        if self.views.is_empty() {
            return Ok(());
        }
        self.stats.views += 1;
        let which = self.rng.usize(0..self.views.len());
        let query = self.generator().range();
        let view = &self.views[which];
        let header = Revision(view.model.published.revision);
        let expected = format!("{:?}", Ok::<_, Refusal>(view.model.range(&query, view.at, header)));
        let found =
            [&view.memory, &view.disk].map(|keys| show(range_of(keys, &query).map_err(Into::into)));
        let what = format!("{query:?} in a view of {}", view.at);
        same(&what, &expected, [&found[0], &found[1]])
    }

    fn walk(&mut self) -> Result<(), String> {
        let query = self.generator().plain_range();
        let expected = self.model.read(&query);
        let [memory, disk] = [&self.memory, &self.disk]
            .map(|it| RangeCursor::open(it.state.reader(), query.clone()));
        match (expected, memory, disk) {
            (Ok(expected), Ok(memory), Ok(disk)) => {
                let seen = RangeOutcome::default();
                self.walks.push(Walk { cursors: [memory, disk], seen, expected });
                Ok(())
            }
            (expected, memory, disk) => {
                let found = [show(memory.map(|_| ())), show(disk.map(|_| ()))];
                same(&query, &format!("{:?}", expected.map(|_| ())), [&found[0], &found[1]])
            }
        }
    }

    fn walk_on(&mut self) -> Result<(), String> {
        let Some(mut walk) = self.walks.pop() else { return Ok(()) };
        self.stats.chunks += 1;
        let max_bytes = self.rng.usize(0..60);
        let [memory, disk] = walk
            .cursors
            .each_mut()
            .map(|cursor| cursor.next(max_bytes).expect("a test engine does not fail"));
        let (first, second) = (format!("{memory:?}"), format!("{disk:?}"));
        same(&"a chunk", &first, [&first, &second])?;
        walk.seen.kvs.extend(memory.kvs.iter().cloned());
        if let Some(end) = memory.end {
            let seen = RangeOutcome { kvs: walk.seen.kvs, ..end };
            let found = format!("{seen:?}");
            return same(&"all chunks", &format!("{:?}", walk.expected), [&found, &found]);
        }
        if memory.kvs.is_empty() {
            return Err(format!("a chunk of {max_bytes} bytes does not get on"));
        }
        self.walks.push(walk);
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), String> {
        self.stats.swept += 1;
        for harness in [&mut self.memory, &mut self.disk] {
            harness.state.sweep().expect("a test engine does not fail");
        }
        Ok(())
    }

    fn take_checkpoint(&mut self) -> Result<(), String> {
        self.publish()?;
        let chunks = [&self.memory, &self.disk].map(|harness| {
            let view = harness.state.reader().engine_view();
            let mut writer = CheckpointWriter::new(view, ClusterId(7)).expect("memory");
            let mut chunks = Vec::new();
            while let Some(chunk) = writer.next_chunk().expect("memory") {
                chunks.push(chunk);
            }
            chunks
        });
        let [memory, _] = chunks;
        self.checkpoint = memory;
        Ok(())
    }

    /// Both members stop, perhaps in the middle of a turn. One comes back from its last
    /// checkpoint, the other from what it had flushed; both replay the log behind it.
    fn restart(&mut self) -> Result<(), String> {
        self.stats.restarts += 1;
        let mut engine = MemoryEngine::new();
        if !self.checkpoint.is_empty() {
            let mut chunks = self.checkpoint.clone().into_iter();
            let mut next = || Ok::<_, std::io::Error>(chunks.next());
            restore(&mut next, &mut engine).expect("a checkpoint of ours");
        }
        let replays = self.memory.restart(Box::new(engine));
        let kept = self.engine.crash();
        self.stats.replayed += replays + self.disk.restart(Box::new(kept));
        // What was not published is not told any more: watchers come back and ask.
        self.model.publish();
        self.same_published()?;
        self.same_leases()
    }

    /// Without readers and with time to sweep, an engine holds exactly what can still be read.
    fn settle(&mut self) -> Result<(), String> {
        self.stats.settled += 1;
        self.publish()?;
        self.views.clear();
        self.walks.clear();
        let expected: Vec<_> = self.model.changes.iter().map(history_row).collect();
        let expected = format!("{expected:?}");
        let mut found = Vec::new();
        let mut hashes = Vec::new();
        for harness in [&mut self.memory, &mut self.disk] {
            let mut steps = 0;
            loop {
                match harness.state.sweep().expect("a test engine does not fail") {
                    SweepProgress::Done => break,
                    SweepProgress::More => steps += 1,
                    SweepProgress::Blocked => return Err("nobody reads, yet it is held".to_owned()),
                }
                assert!(steps < STEPS_MAX, "sweeping does not come to an end");
            }
            harness.publish();
            let view = harness.state.reader().engine_view();
            found.push(format!("{:?}", history(&*view)));
            hashes.push(hash_all(&*view).expect("a test engine does not fail"));
        }
        same(&"the history", &expected, [&found[0], &found[1]])?;
        let what = "everything the engines hold";
        same(&what, &hashes[0].to_string(), [&hashes[0].to_string(), &hashes[1].to_string()])
    }
}

type Row = ((i64, i64), bool, Bytes);

fn history_row(change: &Change) -> Row {
    let only_key = KeyValue { key: change.key.clone(), ..KeyValue::default() };
    let kv = change.put.as_ref().unwrap_or(&only_key);
    ((change.main, change.sub), change.put.is_some(), kv.bytes())
}

fn row(record: &Record) -> Row {
    let version = record.version();
    let place = (version.main.0, i64::from(version.sub));
    (place, record.is_put(), Bytes::copy_from_slice(record.bytes()))
}

fn history(view: &dyn EngineView) -> Vec<Row> {
    let mut rows = Vec::new();
    let end = Version { main: Revision::MAX, sub: u32::MAX };
    view.scan_history(Version::default(), end, &mut |record| {
        rows.push(row(record));
        ControlFlow::Continue(())
    })
    .expect("a test engine does not fail");
    rows
}

/// An event as it is compared: what changed, and the revision of the put it replaced. (The value of
/// that may still be in the engine.)
fn event(event: &(Change, Option<KeyValue>)) -> (Row, Option<(bool, i64)>) {
    (history_row(&event.0), event.1.as_ref().map(|kv| (true, kv.mod_revision)))
}
