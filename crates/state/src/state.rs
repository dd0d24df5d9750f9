//! The state of one member: the front door to everything that is applied and read.
//!
//! ```text
//!  committed entry ─▶ apply ─▶ index, tables in memory ─┐
//!                        └───▶ one engine batch ────────┤
//!                                                       ▼
//!                                     publish: readers see the whole turn
//! ```
//!
//! Between [`State::apply_entry`] and [`State::publish`] readers see the turn before; answers and
//! events go out after it. [`State::open`] rebuilds everything from what the engine holds, in the
//! one order that works: tables, then history, then leases' keys.

use std::ops::ControlFlow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use prost::Message;

use crate::alarms::{self, Alarms, Quota};
use crate::command::CommandError;
use crate::engine::{Batch, Engine, EngineError, EngineView, Write};
use crate::lease::{LeaseRow, Leases};
use crate::limits::SWEEP_VERSIONS_PER_SLICE;
use crate::members::Member;
use crate::mvcc::index::KeyIndex;
use crate::mvcc::keys::Keys;
use crate::mvcc::record::{Record, RecordKind};
use crate::outcome::{AlarmMember, Event};
use crate::schema::{Table, meta};
use crate::types::{ClusterTime, KeyRange, LeaseId, LogIndex, MemberId, Revision, Term, Version};
use crate::view::{Published, Reader, Tables};

/// Everything a member has applied.
pub struct State {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) index: KeyIndex,
    pub(crate) reader: Reader,
    published: Arc<ArcSwap<Published>>,
    /// The changes of the entry being applied, committed with its index.
    batch: Batch,
    /// The puts in `batch`, in the order of their versions, if the engine keeps values to itself:
    /// what the entry reads of its own writes.
    appended: Vec<Record>,
    /// Revision of the newest change, published or not.
    pub(crate) revision: Revision,
    pub(crate) compacted: Option<Revision>,
    /// The index learns of a compaction when the turn is published: it may lie in this very turn.
    compact_at_publish: Option<Revision>,
    swept: bool,
    applied: LogIndex,
    applied_term: Term,
    pub(crate) time: ClusterTime,
    pub(crate) leases: Leases,
    pub(crate) tables: Arc<Tables>,
    pub(crate) quota: Quota,
    /// Of the turn that is not published yet.
    pub(crate) events: Vec<Event>,
}

/// The member must stop.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The engine failed.
    #[error("use the storage engine")]
    Engine(#[from] EngineError),
    /// The log holds something that this program cannot read.
    #[error("decode {index}")]
    Batch {
        /// Which entry.
        index: LogIndex,
        /// What is wrong with it.
        source: CommandError,
    },
}

/// How far sweeping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepProgress {
    /// There is nothing left to remove.
    Done,
    /// Some has been removed; there is more.
    More,
    /// A view that somebody holds keeps the rest.
    Blocked,
}

impl State {
    /// Takes over what `engine` holds. If it keeps values resident, its records become part of the
    /// new index: views of an older state on the same engine are void from now on.
    ///
    /// # Errors
    /// The engine failed or holds rows that are not what they should be.
    pub fn open(engine: Box<dyn Engine>, quota: Quota) -> Result<State, EngineError> {
        let view = engine.view();
        let compacted = read_revision(&*view, meta::COMPACTED)?;
        let stored_revision = read_revision(&*view, meta::REVISION)?.unwrap_or(Revision::FIRST);
        let time = ClusterTime(read_number(&*view, meta::CLUSTER_TIME)?.unwrap_or(0));
        let (applied, applied_term) = read_applied(&*view)?;
        let tables = Arc::new(read_tables(&*view)?);
        let mut leases = read_leases(&*view)?;
        let is_resident = engine.keeps_values_resident();
        let (index, newest) = load_index(&*view, is_resident, compacted)?;
        // A tombstone that compaction removed may have been the newest change.
        let revision = newest.max(stored_revision).max(compacted.unwrap_or(Revision::FIRST));
        let index_reader = index.reader();
        let published = Arc::new(ArcSwap::from_pointee(Published::new(view, Arc::clone(&tables))));
        let reader = Reader::new(index_reader, Arc::clone(&published), is_resident);
        let mut state = State {
            engine,
            index,
            reader,
            published,
            batch: Batch::default(),
            appended: Vec::new(),
            revision,
            compacted,
            compact_at_publish: None,
            swept: false,
            applied,
            applied_term,
            time,
            leases: Leases::default(),
            tables,
            quota,
            events: Vec::new(),
        };
        state.publish();
        state.attach_keys(&mut leases);
        state.leases = leases;
        Ok(state)
    }

    /// Attachments are not stored: a key's newest version says which lease it hangs on.
    fn attach_keys(&self, leases: &mut Leases) {
        if leases.is_empty() {
            return;
        }
        self.index.scan_at(&KeyRange::all(), Revision::MAX, &mut |record| {
            let lease = record.fields().lease;
            if lease != LeaseId::NONE {
                leases.attach(lease, record.key());
            }
            ControlFlow::Continue(())
        });
    }

    /// For readers: clone it freely.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The last entry that has been applied, and its term.
    #[must_use]
    pub fn applied(&self) -> (LogIndex, Term) {
        (self.applied, self.applied_term)
    }

    /// Cluster time of the last batch.
    #[must_use]
    pub fn time(&self) -> ClusterTime {
        self.time
    }

    /// Revision of the newest change, published or not.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The leases.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Members, alarms and cluster version.
    #[must_use]
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The highest log index that the engine keeps by its own means.
    #[must_use]
    pub fn durable_index(&self) -> LogIndex {
        self.engine.durable_index()
    }

    /// Ends a turn: readers see everything applied so far. Returns the turn's events, in order,
    /// for the watchers, who must not hear of a change before readers can see it.
    pub fn publish(&mut self) -> Vec<Event> {
        let mut published = Published::new(self.engine.view(), Arc::clone(&self.tables));
        published.applied = self.applied;
        published.term = self.applied_term;
        published.size = self.engine.size();
        // Readers take the index first and the engine's view after it, so this order gives them a
        // history that is never older than their index.
        self.published.store(Arc::new(published));
        self.index.publish(self.revision);
        if let Some(revision) = self.compact_at_publish.take() {
            self.index.compact(revision);
            self.swept = false;
        }
        std::mem::take(&mut self.events)
    }

    /// Removes a bounded number of versions that nobody can read any more.
    ///
    /// # Errors
    /// The engine failed.
    pub fn sweep(&mut self) -> Result<SweepProgress, EngineError> {
        if self.swept {
            return Ok(SweepProgress::Done);
        }
        let sweep = self.index.sweep(SWEEP_VERSIONS_PER_SLICE);
        let progress = match (sweep.done, sweep.blocked && sweep.dropped.is_empty()) {
            (true, _) => SweepProgress::Done,
            (false, true) => SweepProgress::Blocked,
            (false, false) => SweepProgress::More,
        };
        if !sweep.dropped.is_empty() {
            let writes = sweep.dropped.into_iter().map(Write::Forget).collect();
            self.engine.commit(Batch { writes })?;
        }
        self.swept = sweep.done;
        Ok(progress)
    }

    /// Whether the engine takes more or less than readers see: its files may shrink by themselves.
    #[must_use]
    pub fn is_resized(&self) -> bool {
        self.published.load().size != self.engine.size()
    }

    /// Whether everything superseded up to the compacted revision has been removed.
    #[must_use]
    pub fn is_swept(&self) -> bool {
        self.swept && self.compact_at_publish.is_none()
    }

    /// The same version with its value in memory, even if it was written by the entry being
    /// applied.
    pub(crate) fn resolve(&self, record: Record) -> Result<Record, EngineError> {
        if record.kind() != RecordKind::Stored {
            return Ok(record);
        }
        let version = record.version();
        match self.appended.binary_search_by_key(&version, Record::version) {
            Ok(at) => Ok(self.appended[at].clone()),
            Err(_) => self.engine.view().record(version)?.ok_or(EngineError::Missing { version }),
        }
    }

    /// Adds a change to the history.
    pub(crate) fn append(&mut self, record: Record) {
        if record.is_put() && !self.engine.keeps_values_resident() {
            self.appended.push(record.clone());
        }
        self.batch.writes.push(Write::Append(record));
    }

    pub(crate) fn writer_keys(&self, revision: Revision) -> WriterKeys<'_> {
        WriterKeys { state: self, revision }
    }

    pub(crate) fn set_row(&mut self, table: Table, key: Bytes, value: Bytes) {
        self.batch.writes.push(Write::Put(table, key, value));
    }

    pub(crate) fn delete_row(&mut self, table: Table, key: Bytes) {
        self.batch.writes.push(Write::Delete(table, key));
    }

    pub(crate) fn set_number(&mut self, key: &'static [u8], value: u64) {
        let value = Bytes::copy_from_slice(&value.to_be_bytes());
        self.set_row(Table::Meta, Bytes::from_static(key), value);
    }

    /// Gives up reading below `revision`, which the caller has checked.
    pub(crate) fn compact(&mut self, revision: Revision) {
        self.compacted = Some(revision);
        self.compact_at_publish = Some(revision);
        self.set_number(meta::COMPACTED, revision.0.cast_unsigned());
        self.set_number(meta::REVISION, self.revision.0.cast_unsigned());
    }

    /// Everything the entry at `index` changed reaches the engine at once, its index included: in
    /// the same batch as the data, so that no entry is applied twice after a crash.
    pub(crate) fn commit_entry(&mut self, index: LogIndex, term: Term) -> Result<(), EngineError> {
        assert!(index > self.applied, "applied {index} after {}", self.applied);
        let value = Bytes::copy_from_slice(&meta::encode_applied(index, term));
        self.set_row(Table::Meta, Bytes::from_static(meta::APPLIED), value);
        self.engine.commit(std::mem::take(&mut self.batch))?;
        self.appended.clear();
        self.applied = index;
        self.applied_term = term;
        Ok(())
    }
}

/// The writer's state as seen by a read in the middle of a transaction.
pub(crate) struct WriterKeys<'a> {
    state: &'a State,
    /// [`Revision::MAX`]: everything written so far. Any other revision, that of the store included,
    /// does not show what the running transaction has written.
    revision: Revision,
}

impl Keys for WriterKeys<'_> {
    fn store_revision(&self) -> Revision {
        self.state.revision
    }

    fn get(&self, key: &[u8]) -> Option<Record> {
        if self.revision == Revision::MAX {
            return self.state.index.newest(key);
        }
        self.state.index.get_at(key, self.revision)
    }

    fn count(&self, range: &KeyRange) -> u64 {
        if self.revision == Revision::MAX {
            return self.state.index.count(range);
        }
        let mut count = 0;
        self.scan(range, &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        });
        count
    }

    fn scan(&self, range: &KeyRange, visit: &mut dyn FnMut(&Record) -> ControlFlow<()>) {
        self.state.index.scan_at(range, self.revision, visit);
    }

    fn resolve(&self, record: Record) -> Result<Record, EngineError> {
        self.state.resolve(record)
    }
}

fn read_number(view: &dyn EngineView, key: &'static [u8]) -> Result<Option<u64>, EngineError> {
    let Some(row) = view.get(Table::Meta, key)? else { return Ok(None) };
    let bytes = row[..].try_into().map_err(|_| EngineError::Row { table: Table::Meta })?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

fn read_revision(
    view: &dyn EngineView,
    key: &'static [u8],
) -> Result<Option<Revision>, EngineError> {
    let Some(row) = view.get(Table::Meta, key)? else { return Ok(None) };
    let revision = meta::decode_revision(&row).ok_or(EngineError::Row { table: Table::Meta })?;
    Ok(Some(revision))
}

fn read_applied(view: &dyn EngineView) -> Result<(LogIndex, Term), EngineError> {
    let Some(row) = view.get(Table::Meta, meta::APPLIED)? else { return Ok(Default::default()) };
    meta::decode_applied(&row).ok_or(EngineError::Row { table: Table::Meta })
}

/// Decodes all rows of a table; `decode` returns `None` for a row that is not one.
fn read_rows<T>(
    view: &dyn EngineView,
    table: Table,
    decode: impl Fn(&[u8], &[u8]) -> Option<T>,
) -> Result<Vec<T>, EngineError> {
    let mut rows = Vec::new();
    let mut bad = false;
    view.scan(table, b"", &mut |key, value| match decode(key, value) {
        Some(row) => {
            rows.push(row);
            ControlFlow::Continue(())
        }
        None => {
            bad = true;
            ControlFlow::Break(())
        }
    })?;
    if bad { Err(EngineError::Row { table }) } else { Ok(rows) }
}

fn read_tables(view: &dyn EngineView) -> Result<Tables, EngineError> {
    let mut tables = Tables::default();
    for member in read_rows(view, Table::Member, |_, value| Member::decode(value).ok())? {
        tables.members.insert(MemberId(member.id), member);
    }
    let mut alarms = Alarms::default();
    for alarm in read_rows(view, Table::Alarm, |key, _| alarms::from_row_key(key))? {
        let alarm: AlarmMember = alarm;
        alarms.insert(alarm);
    }
    tables.alarms = alarms;
    if let Some(version) = view.get(Table::Meta, meta::CLUSTER_VERSION)? {
        let text = String::from_utf8(version.to_vec());
        tables.cluster_version = Some(text.map_err(|_| EngineError::Row { table: Table::Meta })?);
    }
    Ok(tables)
}

fn read_leases(view: &dyn EngineView) -> Result<Leases, EngineError> {
    let mut leases = Leases::default();
    let rows = read_rows(view, Table::Lease, |key, value| {
        Some((i64::from_be_bytes(key.try_into().ok()?), LeaseRow::decode(value).ok()?))
    })?;
    for (id, row) in rows {
        leases.insert(LeaseId(id), row.ttl_s, ClusterTime(row.deadline_ms));
    }
    Ok(leases)
}

/// Fills the index from the history. Returns it with the revision of the newest change.
fn load_index(
    view: &dyn EngineView,
    resident: bool,
    compacted: Option<Revision>,
) -> Result<(KeyIndex, Revision), EngineError> {
    let mut index = KeyIndex::new(Revision::FIRST, compacted);
    let mut newest = Revision::FIRST;
    view.scan_changes(Version::default(), Version::first_of(Revision::MAX), &mut |record| {
        newest = record.revision();
        if !record.is_put() {
            // A copy: the links of a record belong to one index, and an engine that outlived an
            // older state may still share this one with it.
            index.delete(record.without_value());
        } else if resident {
            index.put(record.clone());
        } else {
            index.put(record.without_value());
        }
        ControlFlow::Continue(())
    })?;
    Ok((index, newest))
}
