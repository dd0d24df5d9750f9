use super::*;
use crate::engine::samples::{applied, batches, dump, forget, put, tombstone};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// etcd's tests raise the NOSPACE alarm with a quota of 13 pages; one small put must fit.
const SMALL_QUOTA_BYTES: u64 = 53_248;

fn commit(engine: &mut MemoryEngine, writes: Vec<Write>) {
    engine.commit(Batch { writes }).expect("memory");
}

#[test]
fn an_empty_store_has_a_size_and_a_small_put_fits_a_small_quota() {
    let mut engine = MemoryEngine::new();
    assert_eq!(engine.size(), EngineSize { total_bytes: 20_480, in_use_bytes: 20_480 });
    commit(&mut engine, vec![Write::Append(put(2, 0, "k", "v")), applied(1, 1)]);
    let EngineSize { total_bytes, in_use_bytes } = engine.size();
    assert_eq!(total_bytes, in_use_bytes);
    assert!((20_481..SMALL_QUOTA_BYTES).contains(&total_bytes), "{total_bytes}");
}

#[test]
fn size_counts_records_and_rows_and_shrinks_when_they_go() {
    let mut engine = MemoryEngine::new();
    let empty = engine.size().total_bytes;
    let record = put(2, 0, "key", "value");
    let record_bytes = 17 + record.bytes().len() as u64;
    commit(&mut engine, vec![Write::Append(record.clone())]);
    assert_eq!(engine.size().total_bytes, empty + record_bytes);

    let row = |value: &'static str| Write::Put(Table::Lease, "12345678".into(), value.into());
    commit(&mut engine, vec![row("abcd")]);
    assert_eq!(engine.size().total_bytes, empty + record_bytes + 1 + 8 + 4);
    commit(&mut engine, vec![row("ab")]);
    assert_eq!(engine.size().total_bytes, empty + record_bytes + 1 + 8 + 2);

    let gone = vec![
        Write::Delete(Table::Lease, "12345678".into()),
        Write::Delete(Table::Lease, "absent".into()),
        forget(&record),
        forget(&record),
    ];
    commit(&mut engine, gone);
    assert_eq!(engine.size().total_bytes, empty);
}

#[test]
fn a_view_shows_whole_batches_of_its_time_only() {
    let mut engine = MemoryEngine::new();
    commit(&mut engine, vec![Write::Append(put(2, 0, "a", "1")), applied(1, 1)]);
    let before = engine.view();
    let shown = dump(&*before);
    commit(
        &mut engine,
        vec![Write::Append(tombstone(3, 0, "a")), forget(&put(2, 0, "a", "1")), applied(2, 1)],
    );
    assert_eq!(dump(&*before), shown);
    assert_ne!(dump(&*engine.view()), shown);
    assert_eq!(engine.durable_index(), LogIndex(0));
}

#[test]
fn history_that_runs_backwards_is_refused() {
    let mut engine = MemoryEngine::new();
    commit(&mut engine, vec![Write::Append(put(3, 1, "a", "1"))]);
    for version in [(3, 1), (3, 0), (2, 7)] {
        let mut engine = engine.clone();
        let append = std::panic::AssertUnwindSafe(|| {
            commit(&mut engine, vec![Write::Append(put(version.0, version.1, "b", "1"))]);
        });
        assert!(std::panic::catch_unwind(append).is_err(), "{version:?}");
    }
    commit(&mut engine, vec![Write::Append(put(3, 2, "b", "1"))]);
}

/// The engine without a tree: what is kept, by its key.
#[derive(Default)]
struct Model {
    history: BTreeMap<Version, Record>,
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl Model {
    fn apply(&mut self, write: Write) {
        match write {
            Write::Append(record) => drop(self.history.insert(record.version(), record)),
            Write::Forget(gone) => drop(self.history.remove(&gone.version)),
            Write::Put(table, key, value) => {
                drop(self.rows.insert((table, key.to_vec()), value.to_vec()));
            }
            Write::Delete(table, key) => drop(self.rows.remove(&(table, key.to_vec()))),
        }
    }

    fn dump(&self) -> Vec<String> {
        let rows = self.rows.iter().map(|((table, key), value)| {
            // In the order of prefixes, which is that of `Table::ALL`.
            let line = format!("{table:?} {} = {}", key.escape_ascii(), value.escape_ascii());
            (table.prefix(), key.clone(), line)
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort();
        let history = self.history.values().map(|record| {
            let Version { main, sub } = record.version();
            format!("{}.{sub} {:?} {:?}", main.0, record.kind(), record.bytes())
        });
        rows.into_iter().map(|(_, _, line)| line).chain(history).collect()
    }

    fn bytes(&self) -> u64 {
        let rows = self.rows.iter().map(|((_, key), value)| 1 + key.len() + value.len());
        let history = self.history.values().map(|record| 17 + record.bytes().len());
        20_480 + rows.chain(history).sum::<usize>() as u64
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_holds_what_a_plain_map_holds(batches in batches()) {
        let (mut engine, mut model) = (MemoryEngine::new(), Model::default());
        let mut views = Vec::new();
        for batch in batches {
            batch.writes.iter().cloned().for_each(|write| model.apply(write));
            engine.commit(batch).expect("memory");
            prop_assert_eq!(engine.size().total_bytes, model.bytes());
            views.push((model.dump(), engine.view()));
        }
        for (expected, view) in views {
            prop_assert_eq!(dump(&*view), expected);
        }
    }
}
