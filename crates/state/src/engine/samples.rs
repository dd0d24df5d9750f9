//! Small batches for the tests of the engines and of the checkpoint, in this crate and, with the
//! feature `testing`, in others.

use std::ops::ControlFlow;

use proptest::prelude::*;

use crate::engine::{Batch, EngineView, Forgotten, Write};
use crate::mvcc::record::{PutFields, Record};
use crate::schema::{Table, meta};
use crate::types::{LeaseId, LogIndex, Revision, Term, Version};

/// The row that says what has been applied.
#[must_use]
pub fn applied(index: u64, term: u64) -> Write {
    let row = meta::encode_applied(LogIndex(index), Term(term));
    Write::Put(Table::Meta, meta::APPLIED.into(), row.to_vec().into())
}

/// The row that says what the revision of the store is.
#[must_use]
pub fn revision(revision: i64) -> Write {
    Write::Put(Table::Meta, meta::REVISION.into(), revision.to_be_bytes().to_vec().into())
}

/// A first put of `key`.
#[must_use]
pub fn put(main: i64, sub: u32, key: &str, value: &str) -> Record {
    let fields = PutFields {
        create_revision: Revision(main),
        mod_revision: Revision(main),
        version: 1,
        lease: LeaseId::NONE,
    };
    Record::put(sub, key.as_bytes(), fields, value.as_bytes())
}

/// A deletion of `key`.
#[must_use]
pub fn tombstone(main: i64, sub: u32, key: &str) -> Record {
    Record::tombstone(Version { main: Revision(main), sub }, key.as_bytes())
}

/// Forgets this change.
#[must_use]
pub fn forget(record: &Record) -> Write {
    Write::Forget(Forgotten::of(record))
}

/// Everything a view shows, in order, as text that compares and prints well.
#[must_use]
pub fn dump(view: &dyn EngineView) -> Vec<String> {
    let mut lines = Vec::new();
    for table in Table::ALL {
        view.scan(table, b"", &mut |key, value| {
            lines.push(format!("{table:?} {} = {}", key.escape_ascii(), value.escape_ascii()));
            ControlFlow::Continue(())
        })
        .expect("memory");
    }
    let end = Version { main: Revision::MAX, sub: u32::MAX };
    view.scan_history(Version::default(), end, &mut |record| {
        let Version { main, sub } = record.version();
        lines.push(format!("{}.{sub} {:?} {:?}", main.0, record.kind(), record.bytes()));
        ControlFlow::Continue(())
    })
    .expect("memory");
    lines
}

/// Batches as a state machine may commit them: each a revision of its own with up to four changes,
/// now and then forgetting an old one, rows coming and going.
pub fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let change =
        (prop::bool::weighted(0.2), "[a-d]{1,3}", prop::collection::vec(any::<u8>(), 0..40));
    let row = (0..Table::ALL.len(), "[a-c]{1,2}", prop::option::of("[x-z]{0,5}"));
    let turn = (
        prop::collection::vec(change, 0..4),
        prop::collection::vec(row, 0..3),
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    );
    prop::collection::vec(turn, 0..60).prop_map(|turns| {
        let mut batches = Vec::new();
        let mut kept: Vec<Record> = Vec::new();
        for (index, (changes, rows, forgets)) in (1_u64..).zip(turns) {
            let main = i64::try_from(index).expect("few turns") + 1;
            let mut writes = Vec::new();
            for (sub, (is_deletion, key, value)) in (0_u32..).zip(changes) {
                let record = if is_deletion {
                    tombstone(main, sub, &key)
                } else {
                    put(main, sub, &key, &String::from_utf8_lossy(&value))
                };
                kept.push(record.clone());
                writes.push(Write::Append(record));
            }
            for index in forgets {
                if !kept.is_empty() {
                    writes.push(forget(&kept.remove(index.index(kept.len()))));
                }
            }
            for (table, key, value) in rows {
                writes.push(match value {
                    Some(value) => Write::Put(Table::ALL[table], key.into(), value.into()),
                    None => Write::Delete(Table::ALL[table], key.into()),
                });
            }
            writes.extend([applied(index, 1 + index / 20), revision(main)]);
            batches.push(Batch { writes });
        }
        batches
    })
}
