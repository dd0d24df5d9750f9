//! Transactions of the naive model, and the rules by which a server lets one through.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::Bytes;
use state::Revision;
use state::command::{Compare, Put, Range, Txn, TxnOp, TxnOperation};
use state::outcome::{Refusal, TxnOutcome, TxnResponse};

use super::naive::{Fault, KeyValue, Model, in_range};

/// A put anywhere, in the list that is not done as well.
pub(crate) fn has_put(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.operation {
        Some(TxnOperation::Put(_)) => true,
        Some(TxnOperation::Txn(inner)) => has_put(inner),
        _ => false,
    })
}

/// A transaction whose compares have been decided.
struct Plan<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Simple(&'a TxnOperation),
    Nested(&'a Txn, Plan<'a>),
}

impl Model {
    pub(crate) fn txn(&mut self, txn: &Txn) -> Result<TxnOutcome, Refusal> {
        let plan = self.plan(txn);
        self.check_plan(&plan)?;
        let before = self.changes.clone();
        let outcome = self.steps(&plan);
        if outcome.is_err() {
            self.changes = before;
        }
        outcome
    }

    /// A transaction of reads only, on the published state.
    pub(crate) fn read_txn(&self, txn: &Txn) -> Result<TxnOutcome, Refusal> {
        let mut published = self.clone();
        published.revision = self.published.revision;
        published.compacted = self.published.compacted;
        published.changes.retain(|change| change.main <= self.published.revision);
        published.txn(txn)
    }

    fn plan<'a>(&self, txn: &'a Txn) -> Plan<'a> {
        let live = self.now();
        let succeeded = txn.compare.iter().all(|compare| self.holds(&live, compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let step = |op: &'a TxnOp| match op.operation.as_ref().expect("no empty steps") {
            TxnOperation::Txn(inner) => Step::Nested(inner, self.plan(inner)),
            simple => Step::Simple(simple),
        };
        Plan { succeeded, steps: ops.iter().map(step).collect() }
    }

    fn holds(&self, live: &[KeyValue], compare: &Compare) -> bool {
        let mut found: Vec<KeyValue> = live.to_vec();
        found.retain(|kv| in_range(&kv.key, &compare.key, &compare.range_end));
        if found.is_empty() {
            if compare.target == 3 {
                return self.has(Fault::AbsentValueDiffers) && compare.result == 3;
            }
            found.push(KeyValue::default());
        }
        found.iter().all(|kv| {
            let order = match compare.target {
                0 => kv.version.cmp(&compare.number),
                1 => kv.create_revision.cmp(&compare.number),
                2 => kv.mod_revision.cmp(&compare.number),
                3 => kv.value.cmp(&compare.value),
                4 => kv.lease.cmp(&compare.number),
                _ => Ordering::Equal,
            };
            match compare.result {
                0 => order == Ordering::Equal,
                1 => order == Ordering::Greater,
                2 => order == Ordering::Less,
                3 => order != Ordering::Equal,
                _ => true,
            }
        })
    }

    fn check_plan(&self, plan: &Plan<'_>) -> Result<(), Refusal> {
        for step in &plan.steps {
            match step {
                Step::Simple(TxnOperation::Range(range)) => {
                    if range.revision > self.revision {
                        return Err(Refusal::FutureRevision);
                    }
                    if range.revision != 0 && range.revision < self.compacted {
                        return Err(Refusal::Compacted);
                    }
                }
                Step::Simple(TxnOperation::Put(put)) => self.check_put(put)?,
                Step::Simple(_) => {}
                Step::Nested(_, plan) => self.check_plan(plan)?,
            }
        }
        Ok(())
    }

    fn steps(&mut self, plan: &Plan<'_>) -> Result<TxnOutcome, Refusal> {
        let mut responses = Vec::new();
        for step in &plan.steps {
            responses.push(match step {
                Step::Simple(TxnOperation::Range(range)) => TxnResponse::Range(self.inner(range)),
                Step::Simple(TxnOperation::Put(put)) => TxnResponse::Put(self.put(put)?),
                Step::Simple(TxnOperation::DeleteRange(delete)) => {
                    TxnResponse::DeleteRange(self.delete(delete))
                }
                Step::Simple(TxnOperation::Txn(_)) => unreachable!("planned as nested"),
                Step::Nested(txn, _) if self.has(Fault::NestedCompareSeesWrites) => {
                    let plan = self.plan(txn);
                    TxnResponse::Txn(self.steps(&plan)?)
                }
                Step::Nested(_, plan) => TxnResponse::Txn(self.steps(plan)?),
            });
        }
        Ok(TxnOutcome { revision: self.header(), succeeded: plan.succeeded, responses })
    }

    fn inner(&self, range: &Range) -> state::outcome::RangeOutcome {
        let sees_all = range.revision <= 0
            || range.revision == self.revision && self.has(Fault::ExplicitRevisionSeesWrites);
        let at = if sees_all { i64::MAX } else { range.revision };
        let header: Revision = self.header();
        self.range(range, at, header)
    }
}

/// Whether a server lets it through: what one list puts, it puts once and does not delete.
pub(crate) fn is_admitted(txn: &Txn) -> bool {
    puts_and_deletes(&txn.success).is_some() && puts_and_deletes(&txn.failure).is_some()
}

/// Keys put and ranges deleted.
type Touched = (BTreeSet<Bytes>, Vec<(Bytes, Bytes)>);

fn puts_and_deletes(ops: &[TxnOp]) -> Option<Touched> {
    let mut puts: BTreeSet<Bytes> = BTreeSet::new();
    let mut direct: Vec<&Put> = Vec::new();
    let mut nested: Vec<&Txn> = Vec::new();
    let mut deletes: Vec<(Bytes, Bytes)> = Vec::new();
    for op in ops {
        match op.operation.as_ref()? {
            TxnOperation::Put(put) => direct.push(put),
            TxnOperation::Txn(inner) => nested.push(inner),
            TxnOperation::DeleteRange(d) => deletes.push((d.key.clone(), d.range_end.clone())),
            TxnOperation::Range(_) => {}
        }
    }
    // Without an end, the range is taken literally: up to the key of one zero byte, hence empty.
    let covers = |deletes: &[(Bytes, Bytes)], key: &Bytes| {
        deletes.iter().any(|(start, end)| &end[..] != b"\0" && in_range(key, start, end))
    };
    for inner in nested {
        let (mut inner_puts, then_deletes) = puts_and_deletes(&inner.success)?;
        let (else_puts, else_deletes) = puts_and_deletes(&inner.failure)?;
        inner_puts.extend(else_puts);
        if inner_puts.iter().any(|key| puts.contains(key) || covers(&deletes, key)) {
            return None;
        }
        puts.extend(inner_puts);
        deletes.extend(then_deletes.into_iter().chain(else_deletes));
    }
    for put in direct {
        if covers(&deletes, &put.key) || !puts.insert(put.key.clone()) {
            return None;
        }
    }
    Some((puts, deletes))
}
