//! Two engines in lock step: one state machine runs on both, and every read must agree.
//!
//! ```text
//! commit ─▶ first ─┐            view().get(…) ─▶ first  ─┐
//!        └▶ second ┘                          └▶ second ─┴─ equal? ─▶ the answer, or a panic
//! ```
//!
//! ```
//! use state::engine::Engine;
//! use state::engine::forgetful::{ForgetfulEngine, Values};
//! use state::engine::memory::MemoryEngine;
//! use state::engine::mirror::Mirror;
//!
//! let mut mirror = Mirror::new(MemoryEngine::new(), ForgetfulEngine::new(Values::OnDisk));
//! mirror.commit(Default::default()).unwrap();
//! assert!(!mirror.keeps_values_resident());
//! ```
//!
//! For tests and the simulator. A difference is a broken invariant of ours, hence a panic that names
//! both answers. What it does not do: it keeps what a scan visits until the second engine has shown
//! the same, so that a scan of everything takes memory for references to everything.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::{Batch, ContentSize, Engine, EngineError, EngineSize, EngineView};
use crate::mvcc::record::Record;
use crate::schema::Table;
use crate::types::{LogIndex, Version};

/// Runs two engines as one and compares what they show.
#[derive(Clone)]
pub struct Mirror<A: Engine, B: Engine> {
    first: A,
    second: B,
}

impl<A: Engine, B: Engine> Mirror<A, B> {
    /// Pairs two engines that hold the same.
    #[must_use]
    pub fn new(first: A, second: B) -> Mirror<A, B> {
        Mirror { first, second }
    }

    /// Both engines.
    #[must_use]
    pub fn into_parts(self) -> (A, B) {
        (self.first, self.second)
    }

    /// The first engine.
    pub fn first_mut(&mut self) -> &mut A {
        &mut self.first
    }

    /// The second engine.
    pub fn second_mut(&mut self) -> &mut B {
        &mut self.second
    }
}

impl<A: Engine, B: Engine> Engine for Mirror<A, B> {
    fn commit(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.first.commit(batch.clone())?;
        self.second.commit(batch)
    }

    fn view(&self) -> Arc<dyn EngineView> {
        Arc::new(MirrorView { first: self.first.view(), second: self.second.view() })
    }

    /// What both have made durable.
    fn durable_index(&self) -> LogIndex {
        self.first.durable_index().min(self.second.durable_index())
    }

    /// Whether both do: a reader that fetches a resident value finds it as well.
    fn keeps_values_resident(&self) -> bool {
        self.first.keeps_values_resident() && self.second.keeps_values_resident()
    }

    /// That of the first: engines differ in what they need for the same data.
    fn size(&self) -> EngineSize {
        self.first.size()
    }
}

struct MirrorView {
    first: Arc<dyn EngineView>,
    second: Arc<dyn EngineView>,
}

impl EngineView for MirrorView {
    fn record(&self, version: Version) -> Result<Option<Record>, EngineError> {
        let record = self.first.record(version)?;
        let other = self.second.record(version)?;
        agree("record", &version, &record.as_ref().map(Shown::of), &other.as_ref().map(Shown::of));
        Ok(record)
    }

    fn records(&self, versions: &[Version]) -> Result<Vec<Option<Record>>, EngineError> {
        fn shown(records: &[Option<Record>]) -> Vec<Option<Shown<'_>>> {
            records.iter().map(|record| record.as_ref().map(Shown::of)).collect()
        }
        let records = self.first.records(versions)?;
        let others = self.second.records(versions)?;
        agree("records", &versions, &shown(&records), &shown(&others));
        Ok(records)
    }

    fn scan_history(
        &self,
        from: Version,
        until: Version,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let mut visited = Visited::default();
        self.first
            .scan_history(from, until, &mut |record| visited.see(record.clone(), visit(record)))?;
        self.second.scan_history(from, until, &mut |record| {
            visited.compare("scan_history", &(from, until), |expected| {
                Shown::of(expected) == Shown::of(record)
            })
        })?;
        visited.finish("scan_history", &(from, until));
        Ok(())
    }

    fn scan_changes(
        &self,
        from: Version,
        until: Version,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let mut visited = Visited::default();
        self.first
            .scan_changes(from, until, &mut |record| visited.see(record.clone(), visit(record)))?;
        self.second.scan_changes(from, until, &mut |record| {
            visited.compare("scan_changes", &(from, until), |expected| {
                let (expected, record) = (expected.without_value(), record.without_value());
                Shown::of(&expected) == Shown::of(&record)
            })
        })?;
        visited.finish("scan_changes", &(from, until));
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self.first.get(table, key)?;
        agree("get", &(table, key.escape_ascii()), &value, &self.second.get(table, key)?);
        Ok(value)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let mut visited = Visited::default();
        self.first.scan(table, from, &mut |key, value| {
            visited.see((key.to_vec(), value.to_vec()), visit(key, value))
        })?;
        self.second.scan(table, from, &mut |key, value| {
            visited.compare("scan", &(table, from.escape_ascii()), |expected| {
                (&expected.0[..], &expected.1[..]) == (key, value)
            })
        })?;
        visited.finish("scan", &(table, from.escape_ascii()));
        Ok(())
    }

    fn content_size(&self) -> Option<ContentSize> {
        match (self.first.content_size(), self.second.content_size()) {
            (Some(first), Some(second)) => {
                agree("content_size", &(), &first, &second);
                Some(first)
            }
            (first, second) => first.or(second),
        }
    }
}

/// What a reader can tell of a record.
#[derive(PartialEq, Eq, Debug)]
struct Shown<'a> {
    version: Version,
    is_put: bool,
    bytes: &'a [u8],
}

impl Shown<'_> {
    fn of(record: &Record) -> Shown<'_> {
        Shown { version: record.version(), is_put: record.is_put(), bytes: record.bytes() }
    }
}

fn agree<T: PartialEq + Debug>(read: &str, of: &dyn Debug, first: &T, second: &T) {
    assert!(
        first == second,
        "{read} of {of:?}: {first:?} in the first engine, {second:?} in the second"
    );
}

/// What the first engine showed until the reader had enough.
struct Visited<T> {
    entries: Vec<T>,
    stopped: bool,
    compared: usize,
}

impl<T> Default for Visited<T> {
    fn default() -> Visited<T> {
        Visited { entries: Vec::new(), stopped: false, compared: 0 }
    }
}

impl<T> Visited<T> {
    fn see(&mut self, entry: T, answer: ControlFlow<()>) -> ControlFlow<()> {
        self.entries.push(entry);
        self.stopped = answer.is_break();
        answer
    }

    /// Checks one entry of the second engine; stops where the reader stopped.
    fn compare(
        &mut self,
        read: &str,
        of: &dyn Debug,
        equal: impl FnOnce(&T) -> bool,
    ) -> ControlFlow<()> {
        let at = self.compared;
        if self.stopped && at == self.entries.len() {
            return ControlFlow::Break(());
        }
        let expected = self.entries.get(at);
        assert!(
            expected.is_some_and(equal),
            "{read} of {of:?}: entry {at} of the second engine is not that of the first ({} entries)",
            self.entries.len()
        );
        self.compared += 1;
        ControlFlow::Continue(())
    }

    fn finish(&self, read: &str, of: &dyn Debug) {
        let (first, second) = (self.entries.len(), self.compared);
        assert!(
            first == second,
            "{read} of {of:?}: {first} entries in the first engine, {second} in the second"
        );
    }
}

#[cfg(test)]
mod tests;
