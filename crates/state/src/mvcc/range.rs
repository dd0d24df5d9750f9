//! Reads at a revision: limit, order, filters, counts.
//!
//! The order of the steps is etcd's and shows in the answers:
//!
//! ```text
//! keys in key order ─▶ filters ─▶ sort ─▶ limit, `more` ─▶ values blanked
//!        │
//!        └▶ count: all live keys of the range, whatever the rest does
//! ```
//!
//! Without an explicit order and without filters only `limit + 1` keys are looked at: a page costs
//! the same wherever it lies.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::command::Range;
use crate::engine::EngineError;
use crate::limits::CURSOR_SLOTS_PER_STEP;
use crate::mvcc::index::{ScanEnd, ViewError};
use crate::mvcc::keys::Keys;
use crate::mvcc::record::Record;
use crate::outcome::{RangeOutcome, Refusal};
use crate::types::{KeyRange, LeaseId, Revision};
use crate::view::{ReadView, Reader};

/// Values of [`Range::sort_order`].
pub mod sort_order {
    /// Key order, or ascending by the target.
    pub const NONE: i32 = 0;
    /// Ascending.
    pub const ASCEND: i32 = 1;
    /// Descending.
    pub const DESCEND: i32 = 2;
}

/// Values of [`Range::sort_target`].
pub mod sort_target {
    /// By key.
    pub const KEY: i32 = 0;
    /// By version.
    pub const VERSION: i32 = 1;
    /// By create revision.
    pub const CREATE: i32 = 2;
    /// By mod revision.
    pub const MOD: i32 = 3;
    /// By value.
    pub const VALUE: i32 = 4;
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The request cannot be served as it is.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The engine failed.
    #[error("read from the engine")]
    Engine(#[from] EngineError),
}

impl From<ViewError> for ReadError {
    fn from(error: ViewError) -> ReadError {
        ReadError::Refused(match error {
            ViewError::Compacted => Refusal::Compacted,
            ViewError::Future => Refusal::FutureRevision,
        })
    }
}

impl Reader {
    /// The state a request with this `revision` field reads: 0 and below mean the newest.
    ///
    /// # Errors
    /// The revision is compacted or does not exist yet.
    pub fn view_for(&self, revision: i64) -> Result<ReadView, ReadError> {
        if revision <= 0 { Ok(self.latest()) } else { Ok(self.at(Revision(revision))?) }
    }
}

/// Answers a read from the published state.
///
/// # Errors
/// The revision cannot be read, or the engine failed.
pub fn range(reader: &Reader, query: &Range) -> Result<RangeOutcome, ReadError> {
    Ok(range_of(&reader.view_for(query.revision)?, query)?)
}

/// Answers a read from `keys`, whatever revision the query names.
///
/// # Errors
/// The engine failed.
pub fn range_of(keys: &dyn Keys, query: &Range) -> Result<RangeOutcome, EngineError> {
    let range = query.keys();
    let revision = keys.store_revision();
    if query.count_only {
        let count = signed_count(keys.count(&range));
        return Ok(RangeOutcome { revision, kvs: Vec::new(), more: false, count });
    }
    let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0);
    let whole = needs_whole_range(query);
    let fetch = if whole { None } else { limit };
    let mut records = collect(keys, &range, fetch);
    let count = match fetch {
        Some(limit) if records.len() > limit => signed_count(keys.count_page(&range)),
        _ => i64::try_from(records.len()).expect("fewer than 2^63 keys"),
    };
    records.retain(|record| passes(record, query));
    if sorts(query) {
        records = sort(keys, records, query)?;
    }
    let more = limit.is_some_and(|limit| records.len() > limit);
    records.truncate(limit.unwrap_or(usize::MAX));
    let kvs = output(keys, records, query)?;
    Ok(RangeOutcome { revision, kvs, more, count })
}

fn signed_count(keys: u64) -> i64 {
    i64::try_from(keys).expect("fewer than 2^63 keys")
}

/// Key order is what the index gives: nothing to sort.
fn is_default_order(query: &Range) -> bool {
    query.sort_order == sort_order::NONE
        || query.sort_target == sort_target::KEY && query.sort_order == sort_order::ASCEND
}

/// Whether the answer comes out sorted by something else than the index' order. An order of NONE
/// with another target than the key means ascending, as in etcd.
fn sorts(query: &Range) -> bool {
    query.sort_target != sort_target::KEY || query.sort_order == sort_order::DESCEND
}

/// Whether any of the four revision bounds is set.
#[must_use]
pub fn is_filtered(query: &Range) -> bool {
    query.min_mod_revision != 0
        || query.max_mod_revision != 0
        || query.min_create_revision != 0
        || query.max_create_revision != 0
}

/// Without an explicit order the limit cuts the scan *before* the sort: a quirk of etcd that its
/// clients can see.
fn needs_whole_range(query: &Range) -> bool {
    !is_default_order(query) || is_filtered(query)
}

/// At most `limit + 1` records, so that the caller can tell whether there are more.
fn collect(keys: &dyn Keys, range: &KeyRange, limit: Option<usize>) -> Vec<Record> {
    if let Some(key) = range.as_single() {
        return keys.get(key).into_iter().collect();
    }
    let mut records = Vec::new();
    let enough = limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
    keys.scan(range, &mut |record| {
        records.push(record.clone());
        if records.len() >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    records
}

fn passes(record: &Record, query: &Range) -> bool {
    if !is_filtered(query) {
        return true;
    }
    let fields = record.fields();
    let (modified, created) = (fields.mod_revision.0, fields.create_revision.0);
    (query.max_mod_revision == 0 || modified <= query.max_mod_revision)
        && (query.min_mod_revision == 0 || modified >= query.min_mod_revision)
        && (query.max_create_revision == 0 || created <= query.max_create_revision)
        && (query.min_create_revision == 0 || created >= query.min_create_revision)
}

/// Sorts by the target; ties stay in ascending key order in both directions.
fn sort(
    keys: &dyn Keys,
    mut records: Vec<Record>,
    query: &Range,
) -> Result<Vec<Record>, EngineError> {
    let descend = query.sort_order == sort_order::DESCEND;
    if query.sort_target == sort_target::VALUE {
        records = keys.resolve_all(records)?;
    }
    let directed = |order: Ordering| if descend { order.reverse() } else { order };
    match query.sort_target {
        sort_target::VERSION => records.sort_by_cached_key(|r| signed(r.fields().version, descend)),
        sort_target::CREATE => {
            records.sort_by_cached_key(|r| signed(r.fields().create_revision.0, descend));
        }
        sort_target::MOD => {
            records.sort_by_cached_key(|r| signed(r.fields().mod_revision.0, descend));
        }
        sort_target::VALUE => records.sort_by(|a, b| directed(a.value().cmp(b.value()))),
        _ => records.sort_by(|a, b| directed(a.key().cmp(b.key()))),
    }
    Ok(records)
}

/// Turns "descending by a number" into "ascending by its negation", which a stable sort needs to
/// keep ties in key order. Revisions and versions are positive, so nothing overflows.
fn signed(number: i64, descend: bool) -> i64 {
    if descend { -number } else { number }
}

fn output(keys: &dyn Keys, records: Vec<Record>, query: &Range) -> Result<Vec<Bytes>, EngineError> {
    if query.keys_only {
        let with_lease = query.sort_target == sort_target::VALUE;
        return Ok(records.iter().map(|record| key_only(record, with_lease)).collect());
    }
    Ok(keys.resolve_all(records)?.iter().map(Record::to_bytes).collect())
}

/// About the size of what [`output`] makes of a record.
fn output_bytes(record: &Record, query: &Range) -> usize {
    if query.keys_only {
        return record.key().len();
    }
    usize::try_from(record.wire_bytes()).expect("a request brought it")
}

/// A `KeyValue` without its value, and without its lease unless the values were looked at: what
/// etcd 3.7 answers to `keys_only`.
fn key_only(record: &Record, with_lease: bool) -> Bytes {
    let mut fields = record.fields();
    if !with_lease {
        fields.lease = LeaseId::NONE;
    }
    Record::put(0, record.key(), fields, b"").to_bytes()
}

/// A long read in key order, in steps, from one pinned state.
///
/// Holds the view and its place, never the result: a reader that stops costs nothing more.
pub struct RangeCursor {
    view: ReadView,
    query: Range,
    rest: Option<KeyRange>,
    /// Keys that the limit still allows.
    left: Option<u64>,
    /// Keys that have gone out.
    passed: u64,
}

/// One step of a [`RangeCursor`].
#[derive(Debug, Default)]
pub struct RangeChunk {
    /// The next `KeyValue` messages.
    pub kvs: Vec<Bytes>,
    /// Set with the last chunk: the answer's totals, without its keys.
    pub end: Option<RangeOutcome>,
}

impl RangeCursor {
    /// Pins the state that `query` names. The query must be in key order and without filters.
    ///
    /// # Errors
    /// The revision cannot be read.
    pub fn open(reader: &Reader, query: Range) -> Result<RangeCursor, ReadError> {
        let view = reader.view_for(query.revision)?;
        let left = u64::try_from(query.limit).ok().filter(|limit| *limit > 0);
        let rest = Some(query.keys());
        Ok(RangeCursor { view, query, rest, left, passed: 0 })
    }

    /// The next keys: at most about `max_bytes` of them, but at least one unless the range ends.
    /// A step looks at a bounded number of keys, so it may come back with fewer, even none, before
    /// the end.
    ///
    /// # Errors
    /// The engine failed.
    pub fn next(&mut self, max_bytes: usize) -> Result<RangeChunk, EngineError> {
        let mut chunk = RangeChunk::default();
        let Some(rest) = self.rest.take() else { return Ok(chunk) };
        if self.query.count_only {
            let count = self.view.count(&self.query.keys());
            chunk.end = Some(self.totals(count, false));
            return Ok(chunk);
        }
        let (mut bytes, mut left, mut more) = (0, self.left, false);
        let mut next_start = None;
        let (mut records, query) = (Vec::new(), &self.query);
        let end = self.view.index().scan(&rest, CURSOR_SLOTS_PER_STEP, &mut |record| {
            if left == Some(0) {
                more = true;
                return ControlFlow::Break(());
            }
            if bytes >= max_bytes && !records.is_empty() {
                next_start = Some(Bytes::copy_from_slice(record.key()));
                return ControlFlow::Break(());
            }
            bytes += output_bytes(record, query);
            left = left.map(|left| left - 1);
            records.push(record.clone());
            ControlFlow::Continue(())
        });
        chunk.kvs = output(&self.view, records, query)?;
        self.left = left;
        self.passed += chunk.kvs.len() as u64;
        match (end, next_start) {
            (ScanEnd::Budget(start), _) | (ScanEnd::Stopped, Some(start)) => {
                self.rest = Some(KeyRange { start, end: rest.end });
            }
            (ScanEnd::Done | ScanEnd::Stopped, _) => {
                // Who has passed every key has counted them.
                let keys = self.query.keys();
                let count = if more { self.view.count_page(&keys) } else { self.passed };
                chunk.end = Some(self.totals(count, more));
            }
        }
        Ok(chunk)
    }

    /// The lowest revision the cursor still needs; the owner ends it when that is compacted.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.view.revision()
    }

    fn totals(&self, count: u64, more: bool) -> RangeOutcome {
        RangeOutcome {
            revision: self.view.store_revision(),
            kvs: Vec::new(),
            more,
            count: signed_count(count),
        }
    }
}
