//! Transactions: compare, then do one of two lists, all at one revision.
//!
//! ```text
//! 1  compares of the whole chosen path, nested ones too, against the state before the transaction
//! 2  checks of every step on that path against the same state; a failure changes nothing
//! 3  the steps in order; reads see the writes before them
//! ```
//!
//! Width, depth and duplicate keys are the server's to check before a transaction reaches the log.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use crate::command::{Compare, Put, Range, Txn, TxnOp, TxnOperation};
use crate::engine::EngineError;
use crate::mvcc::keys::Keys;
use crate::mvcc::range::{ReadError, range_of};
use crate::mvcc::record::Record;
use crate::mvcc::write::Change;
use crate::outcome::{Refusal, TxnOutcome, TxnResponse};
use crate::state::{State, StateError};
use crate::types::{KeyRange, LeaseId, Revision};
use crate::view::{ReadView, Reader};

/// Which list each transaction of the tree does.
struct Path {
    succeeded: bool,
    /// One per nested transaction of the chosen list, in order.
    nested: Vec<Path>,
}

fn chosen(txn: &Txn, succeeded: bool) -> &[TxnOp] {
    if succeeded { &txn.success } else { &txn.failure }
}

fn choose(keys: &dyn Keys, txn: &Txn) -> Result<Path, EngineError> {
    let mut succeeded = true;
    for compare in &txn.compare {
        succeeded = succeeded && holds(keys, compare)?;
    }
    let mut nested = Vec::new();
    for op in chosen(txn, succeeded) {
        if let Some(TxnOperation::Txn(inner)) = &op.operation {
            nested.push(choose(keys, inner)?);
        }
    }
    Ok(Path { succeeded, nested })
}

/// Values of [`Compare::target`].
mod target {
    pub(super) const VERSION: i32 = 0;
    pub(super) const CREATE: i32 = 1;
    pub(super) const MOD: i32 = 2;
    pub(super) const VALUE: i32 = 3;
    pub(super) const LEASE: i32 = 4;
}

/// Whether a condition holds for every key it names; a range without keys counts as one absent key.
fn holds(keys: &dyn Keys, compare: &Compare) -> Result<bool, EngineError> {
    let range = compare.keys();
    let (mut seen, mut all) = (false, true);
    let mut failed = None;
    let mut look = |record: &Record| {
        seen = true;
        match holds_for(keys, compare, record) {
            Ok(holds) => all = holds,
            Err(error) => failed = Some(error),
        }
        if all && failed.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    match range.as_single() {
        Some(key) => {
            if let Some(record) = keys.get(key) {
                let _: ControlFlow<()> = look(&record);
            }
        }
        None => keys.scan(&range, &mut look),
    }
    match failed {
        Some(error) => Err(error),
        None if seen => Ok(all),
        // A value that is not there compares as false, whatever the operator.
        None => Ok(compare.target != target::VALUE && is(compare, 0.cmp(&operand(compare)))),
    }
}

fn holds_for(keys: &dyn Keys, compare: &Compare, record: &Record) -> Result<bool, EngineError> {
    let fields = record.fields();
    let number = match compare.target {
        target::VERSION => fields.version,
        target::CREATE => fields.create_revision.0,
        target::MOD => fields.mod_revision.0,
        target::LEASE => fields.lease.0,
        target::VALUE => {
            let record = keys.resolve(record.clone())?;
            return Ok(is(compare, record.value().cmp(&compare.value[..])));
        }
        _ => return Ok(is(compare, Ordering::Equal)),
    };
    Ok(is(compare, number.cmp(&operand(compare))))
}

/// What an absent key's 0 is compared with. An unknown target compares as equal.
fn operand(compare: &Compare) -> i64 {
    if (target::VERSION..=target::LEASE).contains(&compare.target) { compare.number } else { 0 }
}

/// Values of [`Compare::result`]: 0 equal, 1 greater, 2 less, 3 not equal; others hold always.
fn is(compare: &Compare, order: Ordering) -> bool {
    match compare.result {
        0 => order == Ordering::Equal,
        1 => order == Ordering::Greater,
        2 => order == Ordering::Less,
        3 => order != Ordering::Equal,
        _ => true,
    }
}

/// Answers a transaction that only reads, from one published state.
///
/// # Errors
/// A revision cannot be read, or the engine failed.
///
/// # Panics
/// If a step writes: the server sends those through the log.
pub fn read_only(reader: &Reader, txn: &Txn) -> Result<TxnOutcome, ReadError> {
    let view = reader.latest();
    let path = choose(&view, txn)?;
    let ops = chosen(txn, path.succeeded);
    for op in ops {
        let Some(TxnOperation::Range(range)) = &op.operation else {
            panic!("a read-only transaction holds a step that is not a read");
        };
        check_revision(range.revision, view.revision(), reader.compacted())?;
    }
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        if let Some(TxnOperation::Range(range)) = &op.operation {
            let mut found = if range.revision > 0 {
                range_of(&reader.at(Revision(range.revision))?, range)?
            } else {
                range_of(&view, range)?
            };
            found.revision = view.revision();
            responses.push(TxnResponse::Range(found));
        }
    }
    Ok(TxnOutcome { revision: view.revision(), succeeded: path.succeeded, responses })
}

/// Whether a put wants to keep parts of a key that a step before it deletes: the overlap rules let a
/// delete without an end in front of a put pass, where etcd crashes. Asked after all other checks,
/// whose refusals are etcd's.
fn keeps_what_it_deletes(txn: &Txn, path: &Path, deleted: &mut Vec<KeyRange>) -> bool {
    let mut nested = path.nested.iter();
    chosen(txn, path.succeeded).iter().any(|op| match &op.operation {
        Some(TxnOperation::Put(put)) => {
            (put.ignore_value || put.ignore_lease)
                && deleted.iter().any(|range| range.contains(&put.key))
        }
        Some(TxnOperation::DeleteRange(delete)) => {
            deleted.push(delete.keys());
            false
        }
        Some(TxnOperation::Txn(inner)) => {
            let path = nested.next().expect("one path per nested transaction");
            keeps_what_it_deletes(inner, path, deleted)
        }
        Some(TxnOperation::Range(_)) | None => false,
    })
}

/// Inside a transaction a negative revision is compared literally: with -1 before the first
/// compaction.
fn check_revision(
    revision: i64,
    current: Revision,
    compacted: Option<Revision>,
) -> Result<(), Refusal> {
    if revision > current.0 {
        return Err(Refusal::FutureRevision);
    }
    if revision != 0 && revision < compacted.map_or(-1, |compacted| compacted.0) {
        return Err(Refusal::Compacted);
    }
    Ok(())
}

impl State {
    /// Carries a transaction out.
    pub(crate) fn txn(
        &mut self,
        change: &mut Change,
        txn: &Txn,
    ) -> Result<Result<TxnOutcome, Refusal>, StateError> {
        let path = choose(&self.writer_keys(Revision::MAX), txn)?;
        if let Err(refusal) = self.check(txn, &path) {
            return Ok(Err(refusal));
        }
        if keeps_what_it_deletes(txn, &path, &mut Vec::new()) {
            return Ok(Err(Refusal::KeyNotFound));
        }
        self.execute(change, txn, &path).map(Ok)
    }

    fn check(&self, txn: &Txn, path: &Path) -> Result<(), Refusal> {
        let mut nested = path.nested.iter();
        for op in chosen(txn, path.succeeded) {
            match &op.operation {
                Some(TxnOperation::Range(range)) => {
                    check_revision(range.revision, self.revision, self.compacted)?;
                }
                Some(TxnOperation::Put(put)) => self.check_put(put)?,
                Some(TxnOperation::Txn(inner)) => {
                    let path = nested.next().expect("one path per nested transaction");
                    self.check(inner, path)?;
                }
                Some(TxnOperation::DeleteRange(_)) | None => {}
            }
        }
        Ok(())
    }

    /// What must be true before a put.
    pub(crate) fn check_put(&self, put: &Put) -> Result<(), Refusal> {
        let lease = put.lease_id();
        if lease != LeaseId::NONE && !self.leases.contains(lease) {
            return Err(Refusal::LeaseNotFound);
        }
        if (put.ignore_value || put.ignore_lease) && self.index.newest(&put.key).is_none() {
            return Err(Refusal::KeyNotFound);
        }
        Ok(())
    }

    fn execute(
        &mut self,
        change: &mut Change,
        txn: &Txn,
        path: &Path,
    ) -> Result<TxnOutcome, StateError> {
        let ops = chosen(txn, path.succeeded);
        let mut nested = path.nested.iter();
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op.operation.as_ref().expect("decoding refuses an empty step") {
                TxnOperation::Range(range) => {
                    let mut found = self.range_inside(range)?;
                    found.revision = change.revision();
                    TxnResponse::Range(found)
                }
                TxnOperation::Put(put) => TxnResponse::Put(self.put(change, put)?),
                TxnOperation::DeleteRange(delete) => {
                    TxnResponse::DeleteRange(self.delete_range(change, delete)?)
                }
                TxnOperation::Txn(inner) => {
                    let path = nested.next().expect("one path per nested transaction");
                    TxnResponse::Txn(self.execute(change, inner, path)?)
                }
            });
        }
        Ok(TxnOutcome { revision: change.revision(), succeeded: path.succeeded, responses })
    }

    /// A read between the writes of a transaction: the newest state sees them, an explicit revision
    /// does not.
    fn range_inside(&self, range: &Range) -> Result<crate::outcome::RangeOutcome, EngineError> {
        if range.revision <= 0 {
            return range_of(&self.writer_keys(Revision::MAX), range);
        }
        let revision = Revision(range.revision);
        // A published revision has its counts ready; one of this very turn is walked.
        match self.reader.at(revision) {
            Ok(view) => range_of(&view as &ReadView, range),
            Err(_) => range_of(&self.writer_keys(revision), range),
        }
    }
}
