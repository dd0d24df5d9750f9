//! What the engine held at one moment: a snapshot of RocksDB, kept for as long as somebody reads it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rocksdb::{DB, ReadOptions, Snapshot};
use state::Version;
use state::engine::{ContentSize, EngineError, EngineView};
use state::mvcc::record::{BadRecord, Record};
use state::schema::Table;

use super::layout::{CHANGES, HISTORY, TABLES, history_key, parse_history_key, row_key};
use super::{Shared, storage};

/// Fewer records are looked up one by one: an iterator costs as much as some look-ups.
const SIDE_BY_SIDE_MIN: usize = 16;
/// An iterator is moved so far by steps; a look-up takes as long as about so many.
const STEPS_MAX: i64 = 8;

/// What is done with a key and its value: go on, stop, or it is not what it should be.
type VisitEntry<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, EngineError> + 'a;

/// See the module.
pub(super) struct RocksView {
    snapshot: Held,
    newest: Version,
    content: ContentSize,
    /// What was forgotten when this was the newest state.
    forgotten: u64,
}

/// A snapshot and what it is a snapshot of.
struct Held {
    /// Fields are dropped in order: the snapshot goes before the database can.
    snapshot: Snapshot<'static>,
    shared: Arc<Shared>,
}

impl Held {
    #[expect(
        unsafe_code,
        reason = "the crate's snapshots borrow the database, and views outlive calls"
    )]
    fn new(shared: Arc<Shared>) -> Held {
        let db: *const DB = &raw const shared.db;
        // SAFETY: the database lies inside the allocation of `shared`, which this struct keeps for
        // as long as the snapshot lives: it is dropped after the snapshot, is never replaced, and
        // nobody takes the database out of a `Shared` (there is no `&mut` to one once it is in an
        // `Arc`). The borrow of `'static` does not leave this struct but by `&self`.
        let db: &'static DB = unsafe { &*db };
        Held { snapshot: db.snapshot(), shared }
    }
}

impl RocksView {
    pub(super) fn new(shared: Arc<Shared>, newest: Version, content: ContentSize) -> RocksView {
        let forgotten = shared.forgotten.load(Ordering::Acquire);
        RocksView { snapshot: Held::new(shared), newest, content, forgotten }
    }

    fn shared(&self) -> &Shared {
        &self.snapshot.shared
    }

    fn read_options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot.snapshot);
        options
    }

    /// Visits what `family` holds from `from` to before `until`.
    fn scan_family(
        &self,
        family: &'static str,
        from: &[u8],
        until: &[u8],
        visit: &mut VisitEntry<'_>,
    ) -> Result<(), EngineError> {
        let mut options = self.read_options();
        options.set_iterate_upper_bound(until);
        // A long scan must not push out what point reads need.
        options.fill_cache(false);
        // Files that only this scan kept are removed by RocksDB's threads, not by the reader's.
        options.set_background_purge_on_iterator_cleanup(true);
        let shared = self.shared();
        let mut iterator = shared.db.raw_iterator_cf_opt(shared.family(family), options);
        iterator.seek(from);
        while let Some((key, value)) = iterator.item() {
            if visit(key, value)?.is_break() {
                return Ok(());
            }
            iterator.next();
        }
        // The end of the data looks like an error until one asks.
        iterator.status().map_err(|error| storage("scan", error))
    }

    fn scan_versions(
        &self,
        family: &'static str,
        (from, until): (Version, Version),
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
        parse: impl Fn(Version, bool, &[u8]) -> Result<Record, BadRecord>,
    ) -> Result<(), EngineError> {
        if from >= until {
            return Ok(());
        }
        let (from, until) = (history_key(from, false), history_key(until, false));
        self.scan_family(family, from.as_ref(), until.as_ref(), &mut |key, value| {
            let (version, tombstone) = parse_history_key(key).ok_or_else(|| foreign_key(key))?;
            Ok(visit(&parse(version, tombstone, value)?))
        })
    }
}

impl EngineView for RocksView {
    fn record(&self, version: Version) -> Result<Option<Record>, EngineError> {
        if version > self.newest {
            return Ok(None);
        }
        let shared = self.shared();
        if let Some(record) = shared.values.get(version) {
            return Ok(Some(record));
        }
        let found = self.look_up(version)?;
        if let Some(record) = &found
            && record.is_put()
            && shared.forgotten.load(Ordering::Acquire) == self.forgotten
        {
            // Otherwise it may have been forgotten since, and nobody would remove it again.
            shared.values.insert(record.clone());
        }
        Ok(found)
    }

    fn records(&self, versions: &[Version]) -> Result<Vec<Option<Record>>, EngineError> {
        if versions.len() < SIDE_BY_SIDE_MIN {
            return versions.iter().map(|version| self.record(*version)).collect();
        }
        let values = &self.shared().values;
        let kept = |version: &Version| {
            if *version <= self.newest { values.get(*version) } else { None }
        };
        let mut found: Vec<_> = versions.iter().map(kept).collect();
        let mut missing: Vec<(Version, usize)> = (0..found.len())
            .filter(|at| found[*at].is_none() && versions[*at] <= self.newest)
            .map(|at| (versions[at], at))
            .collect();
        if !missing.is_empty() {
            missing.sort_unstable();
            self.look_up_in_order(&missing, &mut found)?;
        }
        Ok(found)
    }

    fn scan_history(
        &self,
        from: Version,
        until: Version,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.scan_versions(HISTORY, (from, until), visit, Record::from_wire)
    }

    fn scan_changes(
        &self,
        from: Version,
        until: Version,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.scan_versions(CHANGES, (from, until), visit, Record::from_wire_without_value)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let shared = self.shared();
        let row = shared.db.get_pinned_cf_opt(
            shared.family(TABLES),
            row_key(table, key),
            &self.read_options(),
        );
        let row = row.map_err(|error| storage("read a row", error))?;
        Ok(row.map(|row| Bytes::copy_from_slice(&row)))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let until = [table.prefix() + 1];
        self.scan_family(TABLES, &row_key(table, from), &until, &mut |row, value| {
            Ok(visit(&row[1..], value))
        })
    }

    fn content_size(&self) -> Option<ContentSize> {
        Some(self.content)
    }
}

impl RocksView {
    /// Finds versions, in ascending order, and puts each in its place. One iterator goes from one to the
    /// next: what was written one after the other, as most lists were, is a step apart.
    fn look_up_in_order(
        &self,
        versions: &[(Version, usize)],
        found: &mut [Option<Record>],
    ) -> Result<(), EngineError> {
        let shared = self.shared();
        let family = shared.family(HISTORY);
        let mut iterator = shared.db.raw_iterator_cf_opt(family, self.read_options());
        let mut before: Option<Version> = None;
        for &(version, place) in versions {
            let wanted = history_key(version, false);
            let near = |before: Version| version.main.0 - before.main.0 <= STEPS_MAX;
            // Between versions far apart there may be many that were forgotten: a step goes over all of them,
            // a seek over none.
            let mut steps = if before.replace(version).is_some_and(near) { STEPS_MAX } else { 0 };
            while steps > 0 && iterator.key().is_some_and(|key| key < wanted.as_ref()) {
                iterator.next();
                steps -= 1;
            }
            if iterator.key().is_none_or(|key| key < wanted.as_ref()) {
                iterator.seek(wanted.as_ref());
            }
            found[place] = match iterator.item() {
                Some((key, value)) if key == wanted.as_ref() => {
                    Some(Record::from_wire(version, false, value)?)
                }
                // A deletion, or nothing.
                _ => self.look_up(version)?,
            };
        }
        iterator.status().map_err(|error| storage("read records", error))
    }

    fn look_up(&self, version: Version) -> Result<Option<Record>, EngineError> {
        let shared = self.shared();
        let options = self.read_options();
        // Readers ask for values, hence for puts; only tests and curious people ask for deletions.
        for tombstone in [false, true] {
            let found = shared.db.get_pinned_cf_opt(
                shared.family(HISTORY),
                history_key(version, tombstone),
                &options,
            );
            if let Some(bytes) = found.map_err(|error| storage("read a record", error))? {
                return Ok(Some(Record::from_wire(version, tombstone, &bytes)?));
            }
        }
        Ok(None)
    }
}

/// A key of the history that no version has.
fn foreign_key(key: &[u8]) -> EngineError {
    let text = format!("key {} is none of the history's", key.escape_ascii());
    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, text);
    EngineError::Storage { operation: "scan", source }
}
