//! What RocksDB costs as an engine: commits, look-ups, opening, and scans after a compaction.
//!
//! `cargo run --release -p storage --features rocksdb --example rocks_bench [-- RECORDS]`; the numbers that
//! decided something stand in `docs/adr/2026-11-21-rocksdb-engine.md`.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use state::engine::{Batch, Engine, EngineView, Forgotten, Write};
use state::mvcc::record::{PutFields, Record};
use state::schema::{Table, meta};
use state::{ClusterId, LeaseId, LogIndex, MemberId, Revision, Term, Version};
use storage::rocks::{Owner, RocksEngine, RocksOptions};

const OWNER: Owner = Owner { cluster: ClusterId(1), member: MemberId(2) };
const END: Version = Version { main: Revision::MAX, sub: u32::MAX };
/// Of all records, how many are left when the others are forgotten.
const KEPT_EACH: i64 = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let records: i64 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let options = RocksOptions::default();
    let open = || RocksEngine::open(&folder.path().join("rocksdb"), &options, OWNER);

    let mut engine = open()?;
    for (from, until, each) in [(1, records / 2, 1), (records / 2, records, 64)] {
        let begin = Instant::now();
        for first in (from..until).step_by(each) {
            let range = first..(first + i64::try_from(each)?).min(until);
            commit(&mut engine, range.map(put).collect(), first)?;
        }
        say(&format!("commit of {each}, each record"), begin.elapsed(), until - from);
    }
    let begin = Instant::now();
    let view = engine.view();
    for main in 1..100_000 {
        commit(&mut engine, Vec::new(), records + main)?;
        drop(engine.view());
    }
    say("an empty commit and a view of it", begin.elapsed(), 99_999);
    look_up(&*view, "newest 100,000, in the cache", (records - 100_000)..records)?;
    drop(view);
    let begin = Instant::now();
    engine.flusher().flush()?;
    say("flush", begin.elapsed(), 1);
    drop(engine);

    let begin = Instant::now();
    let mut engine = open()?;
    say("open", begin.elapsed(), 1);
    let view = engine.view();
    scan(&*view, "scan without values", |view, visit| {
        view.scan_changes(Version::default(), END, visit)
    })?;
    scan(&*view, "scan with values", |view, visit| {
        view.scan_history(Version::default(), END, visit)
    })?;
    look_up(&*view, "random, not in the cache", (1..records).step_by(10))?;
    drop(view);

    let begin = Instant::now();
    let gone: Vec<i64> = (1..records).filter(|main| main % KEPT_EACH != 0).collect();
    let before = engine.size();
    for part in gone.chunks(64) {
        let writes = part.iter().map(|&main| Write::Forget(Forgotten::of(&record(main)))).collect();
        engine.commit(Batch { writes })?;
    }
    let count = i64::try_from(gone.len())?;
    say("forget, each", begin.elapsed(), count);
    let history = |view: &dyn EngineView, visit: &mut dyn FnMut(&Record) -> ControlFlow<()>| {
        view.scan_history(Version::default(), END, visit)
    };
    scan(&*engine.view(), "scan of what is left, right after", history)?;
    let begin = Instant::now();
    engine.flusher().flush()?;
    say("flush", begin.elapsed(), 1);
    scan(&*engine.view(), "scan of what is left, after the flush", history)?;
    // RocksDB compacts by itself; its files say when it is done.
    let (mut last, deadline) = (u64::MAX, Instant::now() + Duration::from_secs(60));
    while engine.size().total_bytes != last && Instant::now() < deadline {
        last = engine.size().total_bytes;
        std::thread::sleep(Duration::from_secs(1));
        engine.flusher().flush()?;
    }
    scan(&*engine.view(), "scan of what is left, compacted", history)?;
    println!("size {before:?} before, {:?} after", engine.size());
    Ok(())
}

fn record(main: i64) -> Record {
    let fields = PutFields {
        create_revision: Revision(main),
        mod_revision: Revision(main),
        version: 1,
        lease: LeaseId::NONE,
    };
    let mut random = fastrand::Rng::with_seed(main.cast_unsigned());
    let value: String = (0..256).map(|_| random.alphanumeric()).collect();
    Record::put(0, format!("/registry/pods/{main:049}").as_bytes(), fields, value.as_bytes())
}

fn put(main: i64) -> Write {
    Write::Append(record(main))
}

fn commit(
    engine: &mut RocksEngine,
    mut writes: Vec<Write>,
    index: i64,
) -> Result<(), state::engine::EngineError> {
    let applied = meta::encode_applied(LogIndex(index.cast_unsigned()), Term(1)).to_vec();
    writes.push(Write::Put(Table::Meta, meta::APPLIED.into(), applied.into()));
    let time = index.to_be_bytes().to_vec();
    writes.push(Write::Put(Table::Meta, meta::CLUSTER_TIME.into(), time.into()));
    engine.commit(Batch { writes })
}

fn look_up(
    view: &dyn EngineView,
    what: &str,
    versions: impl Iterator<Item = i64>,
) -> Result<(), state::engine::EngineError> {
    let mut versions: Vec<i64> = versions.collect();
    fastrand::Rng::with_seed(1).shuffle(&mut versions);
    let begin = Instant::now();
    for &main in &versions {
        assert!(view.record(Version::first_of(Revision(main)))?.is_some(), "{main} is not there");
    }
    say(&format!("look-up, {what}"), begin.elapsed(), i64::try_from(versions.len()).expect("few"));
    Ok(())
}

fn scan(
    view: &dyn EngineView,
    what: &str,
    run: impl Fn(
        &dyn EngineView,
        &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), state::engine::EngineError>,
) -> Result<(), state::engine::EngineError> {
    let (begin, mut seen) = (Instant::now(), 0);
    run(view, &mut |_| {
        seen += 1;
        ControlFlow::Continue(())
    })?;
    say(&format!("{what}, {seen} records, whole"), begin.elapsed(), 1);
    Ok(())
}

fn say(what: &str, took: Duration, count: i64) {
    let each = took.as_nanos() / u128::try_from(count.max(1)).expect("positive");
    println!("{what}: {:?}", Duration::from_nanos(u64::try_from(each).unwrap_or(u64::MAX)));
}
