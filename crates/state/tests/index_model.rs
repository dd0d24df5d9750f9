//! The key index against a model that has no tree, no turns and no cleverness: a list of all
//! changes, in which every question is answered by looking at all of them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use state::engine::Forgotten;
use state::mvcc::index::{IndexView, KeyIndex, ScanEnd, ViewError};
use state::mvcc::record::{PutFields, Record};
use state::{KeyRange, LeaseId, RangeEnd, Revision, Version};

/// Changes in ascending order, and the rules of the store word by word.
#[derive(Default)]
struct Model {
    changes: Vec<Change>,
    published: Revision,
    compacted: Option<Revision>,
    /// Versions the index has reported as dropped.
    dropped: BTreeSet<Version>,
    fault: Option<Fault>,
}

#[derive(Clone, Debug)]
struct Change {
    version: Version,
    key: Vec<u8>,
    put: bool,
}

/// A wrong rule, to see that the comparison notices.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Reads show the first change of a transaction, not the last.
    FirstOfTransaction,
    /// Deleted keys are counted.
    CountsTheDead,
    /// A deletion at the compacted revision goes at once.
    TombstoneAtCompacted,
    /// A superseded version is kept until the compaction is past its successor.
    KeepsTooMuch,
    /// A scan takes the end of its range for a part of it.
    InclusiveEnd,
}

impl Model {
    /// The version of `key` that a read at `revision` sees, deletions included.
    fn newest(&self, key: &[u8], revision: Revision) -> Option<&Change> {
        let mut seen = self
            .changes
            .iter()
            .filter(|change| change.key == key && change.version.main <= revision);
        let last = seen.next_back()?;
        if self.fault == Some(Fault::FirstOfTransaction) {
            let same = |change: &&Change| change.version.main == last.version.main;
            return self.changes.iter().filter(|change| change.key == key).find(same);
        }
        Some(last)
    }

    fn get(&self, key: &[u8], revision: Revision) -> Option<Version> {
        self.newest(key, revision).filter(|change| change.put).map(|change| change.version)
    }

    fn scan(&self, range: &KeyRange, revision: Revision) -> Vec<(Vec<u8>, Version)> {
        let inclusive = |key: &[u8]| {
            self.fault == Some(Fault::InclusiveEnd)
                && matches!(&range.end, RangeEnd::Before(end) if key == &end[..])
        };
        let mut newest: BTreeMap<&[u8], &Change> = BTreeMap::new();
        for change in &self.changes {
            let ranged = range.contains(&change.key) || inclusive(&change.key);
            if ranged && change.version.main <= revision {
                newest.insert(&change.key, change);
            }
        }
        let live = newest.into_values().filter(|change| change.put);
        live.map(|change| (change.key.clone(), change.version)).collect()
    }

    fn count(&self, range: &KeyRange, revision: Revision) -> u64 {
        if self.fault == Some(Fault::CountsTheDead) {
            let keys: BTreeSet<&Vec<u8>> = self
                .changes
                .iter()
                .filter(|change| change.version.main <= revision && range.contains(&change.key))
                .map(|change| &change.key)
                .collect();
            return keys.len() as u64;
        }
        self.scan(range, revision).len() as u64
    }

    /// Whether a read at or above `floor` can see the version, or the history must show it although
    /// no read does.
    fn is_kept(
        &self,
        change: &Change,
        successor: Option<&Change>,
        floor: Revision,
        compacted: Revision,
    ) -> bool {
        let main = change.version.main;
        if change.put {
            let late = i64::from(self.fault == Some(Fault::KeepsTooMuch));
            return successor.is_none_or(|later| later.version.main.0 > floor.0 - late);
        }
        // A deletion is nothing to read; at the compacted revision it is history.
        let early = self.fault == Some(Fault::TombstoneAtCompacted) && main == compacted;
        main > floor || (main == compacted && !early)
    }

    fn must_be_dropped(&self, floor: Revision) -> BTreeSet<Version> {
        let Some(compacted) = self.compacted else { return BTreeSet::new() };
        let floor = floor.min(compacted);
        let mut successors: BTreeMap<&[u8], &Change> = BTreeMap::new();
        let mut dropped = BTreeSet::new();
        for change in self.changes.iter().rev() {
            let successor = successors.insert(&change.key, change);
            if !self.is_kept(change, successor, floor, compacted) {
                dropped.insert(change.version);
            }
        }
        dropped
    }
}

/// One step of a test.
#[derive(Clone, Debug)]
enum Step {
    /// A transaction of changes of these keys; `true` puts, `false` deletes what lives.
    Write(Vec<(usize, bool)>),
    Publish,
    /// Compacts this far between the compacted and the published revision, in percent.
    Compact(u8),
    Sweep(usize),
    /// Opens a view this far between the compacted and the published revision.
    Open(u8),
    Close(usize),
    /// Reads everything at this many per cent, and ranges from and to these keys.
    Check(u8, usize, usize, usize),
    /// Restarts from what is kept.
    Reload,
}

fn steps(keys: usize, most: usize) -> impl Strategy<Value = Vec<Step>> {
    let change = (0..keys, prop::bool::weighted(0.6));
    let step = prop_oneof![
        10 => prop::collection::vec(change, 1..6).prop_map(Step::Write),
        4 => Just(Step::Publish),
        1 => (0..=100u8).prop_map(Step::Compact),
        3 => (0..20usize).prop_map(Step::Sweep),
        1 => (0..=100u8).prop_map(Step::Open),
        1 => (0..8usize).prop_map(Step::Close),
        3 => (0..=100u8, 0..keys, 0..keys, 0..10usize)
            .prop_map(|(at, from, to, slots)| Step::Check(at, from, to, slots)),
    ];
    let reload = prop_oneof![40 => step, 1 => Just(Step::Reload)];
    prop::collection::vec(reload, 1..most)
}

/// Names that make long common prefixes, prefixes of each other and bytes above ASCII.
fn key(i: usize) -> Vec<u8> {
    match i % 5 {
        0 => format!("/registry/pods/default/{:03}", i / 5).into_bytes(),
        1 => format!("/registry/pods/{:03}", i / 5).into_bytes(),
        2 => vec![b'a'; 1 + i / 5],
        3 => vec![0xff, u8::try_from(i / 5 % 256).unwrap(), 0],
        _ => vec![u8::try_from(i / 5 % 256).unwrap()],
    }
}

struct Run {
    index: KeyIndex,
    model: Model,
    views: Vec<IndexView>,
    written: Revision,
}

impl Run {
    fn new(fault: Option<Fault>) -> Run {
        let published = Revision::FIRST;
        let model = Model { published, fault, ..Model::default() };
        let index = KeyIndex::new(published, None);
        Run { index, model, views: Vec::new(), written: published }
    }

    fn step(&mut self, step: &Step) -> TestCaseResult {
        match step {
            Step::Write(changes) => self.write(changes),
            Step::Publish => {
                self.index.publish(self.written);
                self.model.published = self.written;
            }
            Step::Compact(percent) => {
                let revision = self.between(*percent);
                self.index.compact(revision);
                self.model.compacted = Some(revision);
            }
            Step::Sweep(limit) => self.sweep(*limit)?,
            Step::Open(percent) => {
                let revision = self.between(*percent);
                self.views.push(self.index.reader().at(revision).unwrap());
            }
            Step::Close(i) => {
                if *i < self.views.len() {
                    self.views.swap_remove(*i);
                }
            }
            Step::Check(percent, from, to, slots) => {
                let revision = self.between(*percent);
                let view = self.index.reader().at(revision).unwrap();
                self.compare_view(&view, *from, *to, *slots)?;
                self.compare_writer(*from, *to)?;
                self.compare_edges()?;
            }
            Step::Reload => self.reload(),
        }
        for view in &self.views {
            self.compare_view(view, 0, 3, 4)?;
        }
        Ok(())
    }

    fn write(&mut self, changes: &[(usize, bool)]) {
        let main = self.written.next();
        let mut sub = 0;
        for &(i, put) in changes {
            let version = Version { main, sub };
            let key = key(i);
            let live = self.model.get(&key, Revision::MAX).is_some();
            if put {
                self.index.put(put_record(version, &key));
            } else if live {
                self.index.delete(Record::tombstone(version, &key));
            } else {
                continue;
            }
            sub += 1;
            self.model.changes.push(Change { version, key, put });
        }
        if sub > 0 {
            self.written = main;
        }
    }

    fn between(&self, percent: u8) -> Revision {
        let low = self.model.compacted.unwrap_or(Revision(0)).0;
        Revision(low + (self.model.published.0 - low) * i64::from(percent) / 100)
    }

    fn sweep(&mut self, limit: usize) -> TestCaseResult {
        let sweep = self.index.sweep(limit);
        prop_assert!(sweep.dropped.len() <= limit, "{sweep:?} of {limit}");
        for Forgotten { version, .. } in sweep.dropped {
            prop_assert!(self.model.dropped.insert(version), "{version:?} dropped twice");
        }
        let lowest = self.model.compacted.unwrap_or(Revision(0));
        let held = self.views.iter().map(IndexView::revision).min();
        let garbage = self.model.must_be_dropped(held.unwrap_or(Revision::MAX).min(lowest));
        let wrong: Vec<_> = self.model.dropped.difference(&garbage).collect();
        prop_assert!(wrong.is_empty(), "dropped but kept {wrong:?}");
        if sweep.done {
            let all = self.model.must_be_dropped(lowest);
            prop_assert_eq!(&self.model.dropped, &all, "done, compacted at {}", lowest);
        }
        Ok(())
    }

    fn compare_view(
        &self,
        view: &IndexView,
        from: usize,
        to: usize,
        slots: usize,
    ) -> TestCaseResult {
        let revision = view.revision();
        for range in ranges(from, to) {
            let expected = self.model.scan(&range, revision);
            prop_assert_eq!(view.count(&range), expected.len() as u64, "{:?} {}", &range, revision);
            prop_assert_eq!(view.count(&range), self.model.count(&range, revision));
            prop_assert_eq!(scan_all(view, &range, slots)?, expected, "{:?} {}", &range, revision);
        }
        for i in 0..KEYS_READ {
            let read = view.get(&key(i)).map(|record| record.version());
            prop_assert_eq!(read, self.model.get(&key(i), revision), "key {} at {}", i, revision);
        }
        Ok(())
    }

    /// What the writer sees of itself, unpublished changes included.
    fn compare_writer(&self, from: usize, to: usize) -> TestCaseResult {
        for range in ranges(from, to) {
            let now = self.model.scan(&range, Revision::MAX);
            prop_assert_eq!(self.index.count(&range), now.len() as u64);
            let lowest = self.model.compacted.unwrap_or(Revision(0));
            for revision in [Revision::MAX, self.written, self.model.published, lowest] {
                let mut seen = Vec::new();
                self.index.scan_at(&range, revision, &mut |record| {
                    seen.push((record.key().to_vec(), record.version()));
                    ControlFlow::Continue(())
                });
                prop_assert_eq!(seen, self.model.scan(&range, revision), "at {}", revision);
            }
        }
        for i in 0..KEYS_READ {
            let newest = self.index.newest(&key(i)).map(|record| record.version());
            prop_assert_eq!(newest, self.model.get(&key(i), Revision::MAX));
            let at = self.index.get_at(&key(i), self.model.published);
            let expected = self.model.get(&key(i), self.model.published);
            prop_assert_eq!(at.map(|record| record.version()), expected);
            let (revision, latest) = self.index.reader().get_latest(&key(i));
            prop_assert_eq!(revision, self.model.published);
            prop_assert_eq!(latest.map(|record| record.version()), expected);
        }
        Ok(())
    }

    fn compare_edges(&self) -> TestCaseResult {
        let reader = self.index.reader();
        prop_assert_eq!(reader.revision(), self.model.published);
        prop_assert_eq!(reader.compacted(), self.model.compacted);
        let future = reader.at(self.model.published.next()).err();
        prop_assert_eq!(future, Some(ViewError::Future));
        if let Some(compacted) = self.model.compacted {
            let below = reader.at(Revision(compacted.0 - 1)).err();
            prop_assert_eq!(below, Some(ViewError::Compacted));
        }
        Ok(())
    }

    /// Loads what an engine would have kept.
    fn reload(&mut self) {
        self.views.clear();
        self.index = KeyIndex::new(self.written, self.model.compacted);
        self.model.published = self.written;
        for change in &self.model.changes {
            if self.model.dropped.contains(&change.version) {
                continue;
            }
            if change.put {
                self.index.put(put_record(change.version, &change.key));
            } else {
                self.index.delete(Record::tombstone(change.version, &change.key));
            }
        }
        self.index.publish(self.written);
    }

    /// With no view left, everything that can go goes.
    fn finish(&mut self) -> TestCaseResult {
        self.views.clear();
        self.step(&Step::Publish)?;
        for _ in 0..10_000 {
            let before = self.model.dropped.len();
            self.sweep(7)?;
            if self.index.sweep(0).done {
                let lowest = self.model.compacted.unwrap_or(Revision(0));
                prop_assert_eq!(&self.model.dropped, &self.model.must_be_dropped(lowest));
                return self.step(&Step::Check(0, 0, KEYS_READ, 5));
            }
            prop_assert!(self.model.dropped.len() >= before);
        }
        Err(TestCaseError::fail("the sweep does not end"))
    }
}

/// How many keys each comparison reads one by one.
const KEYS_READ: usize = 12;

fn put_record(version: Version, key: &[u8]) -> Record {
    let fields = PutFields {
        create_revision: version.main,
        mod_revision: version.main,
        version: 1,
        lease: LeaseId::NONE,
    };
    Record::put(version.sub, key, fields, b"value")
}

fn ranges(from: usize, to: usize) -> Vec<KeyRange> {
    let before = RangeEnd::Before(key(to).into());
    vec![
        KeyRange::all(),
        KeyRange::single(key(from)),
        KeyRange { start: key(from).into(), end: RangeEnd::Unbounded },
        KeyRange { start: key(from).into(), end: before.clone() },
        KeyRange { start: bytes::Bytes::new(), end: before },
    ]
}

/// A whole scan in steps of at most `slots` slots.
fn scan_all(
    view: &IndexView,
    range: &KeyRange,
    slots: usize,
) -> Result<Vec<(Vec<u8>, Version)>, TestCaseError> {
    let mut range = range.clone();
    let mut seen = Vec::new();
    // The first step may have no budget at all; the others have at least one slot.
    let mut budget = slots;
    for _ in 0..10_000 {
        let mut hits = 0;
        let end = view.scan(&range, budget, &mut |record| {
            hits += 1;
            seen.push((record.key().to_vec(), record.version()));
            ControlFlow::Continue(())
        });
        prop_assert!(hits <= budget, "{} hits with a budget of {}", hits, budget);
        match end {
            ScanEnd::Done => return Ok(seen),
            ScanEnd::Stopped => return Err(TestCaseError::fail("nobody said stop")),
            ScanEnd::Budget(next) => range.start = next,
        }
        budget = slots.max(1);
    }
    Err(TestCaseError::fail("the scan does not end"))
}

fn run(steps: &[Step], fault: Option<Fault>) -> TestCaseResult {
    let mut run = Run::new(fault);
    for step in steps {
        run.step(step)?;
    }
    run.finish()
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn every_read_count_and_drop_agrees_with_the_model(steps in steps(12, 120)) {
        run(&steps, None)?;
    }
}

proptest! {
    #![proptest_config(config(6))]

    #[test]
    fn a_tree_of_many_nodes_agrees_with_the_model(steps in steps(400, 400)) {
        run(&steps, None)?;
    }
}

#[test]
fn each_wrong_rule_of_the_model_is_noticed() {
    let faults = [
        Fault::FirstOfTransaction,
        Fault::CountsTheDead,
        Fault::TombstoneAtCompacted,
        Fault::KeepsTooMuch,
        Fault::InclusiveEnd,
    ];
    let mut noticed = BTreeMap::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..60 {
        let tree = steps(12, 120).new_tree(&mut runner).unwrap();
        for fault in faults {
            let failed = run(&tree.current(), Some(fault)).is_err();
            *noticed.entry(format!("{fault:?}")).or_insert(0) += u32::from(failed);
        }
    }
    assert!(noticed.values().all(|&count| count > 0), "{noticed:?}");
}
