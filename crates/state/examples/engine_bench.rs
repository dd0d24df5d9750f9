//! What the memory engine and the checkpoint cost: `cargo run --release -p state --example engine_bench`.
//!
//! One million records of 330 bytes. Prints medians of three runs; takes about 2 GB of memory.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]
#![allow(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

use bytes::Bytes;
use state::checkpoint::{CheckpointWriter, restore};
use state::engine::cow_tree::CowTree;
use state::engine::memory::MemoryEngine;
use state::engine::{Batch, Engine, Forgotten, Write};
use state::mvcc::record::{PutFields, Record};
use state::schema::{Table, meta};
use state::{ClusterId, LeaseId, LogIndex, Revision, Term, Version};

const RECORDS: i64 = 1_000_000;
const END: Version = Version { main: Revision::MAX, sub: u32::MAX };

fn records() -> Vec<Record> {
    let value = [b'v'; 256];
    (2..RECORDS + 2)
        .map(|main| {
            let fields = PutFields {
                create_revision: Revision(main),
                mod_revision: Revision(main),
                version: 1,
                lease: LeaseId::NONE,
            };
            Record::put(0, format!("/bench/{main:047}").as_bytes(), fields, &value)
        })
        .collect()
}

/// Median seconds of three runs, and what the last one made.
fn median<T>(mut run: impl FnMut() -> (f64, T)) -> (f64, T) {
    let (first, _) = run();
    let (second, _) = run();
    let (third, made) = run();
    let mut seconds = [first, second, third];
    seconds.sort_by(f64::total_cmp);
    (seconds[1], made)
}

fn timed<T>(run: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let made = run();
    (start.elapsed().as_secs_f64(), made)
}

/// Nanoseconds for each of so many.
fn each_ns(seconds: f64, count: usize) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let count = count as f64;
    seconds * 1e9 / count
}

/// Fills an engine in turns, each published as a state machine publishes it.
fn fill(records: &[Record], turn: usize, with_meta: bool) -> MemoryEngine {
    let mut engine = MemoryEngine::new();
    let mut published = engine.view();
    for (index, turn) in (1_u64..).zip(records.chunks(turn)) {
        let mut writes: Vec<Write> = turn.iter().cloned().map(Write::Append).collect();
        if with_meta {
            let row = meta::encode_applied(LogIndex(index), Term(1)).to_vec();
            writes.push(Write::Put(Table::Meta, meta::APPLIED.into(), row.into()));
            let row = index.to_be_bytes().to_vec();
            writes.push(Write::Put(Table::Meta, meta::CLUSTER_TIME.into(), row.into()));
        }
        engine.commit(Batch { writes }).expect("memory");
        published = engine.view();
    }
    black_box(&published);
    engine
}

fn main() {
    let records = records();
    let count = records.len();
    let wire_bytes: usize = records.iter().map(|record| record.bytes().len()).sum();
    println!("{count} records of {} bytes", wire_bytes / count);

    for turn in [1, 16, 256] {
        let (seconds, _) = median(|| timed(|| fill(&records, turn, false)));
        let (with_meta, _) = median(|| timed(|| fill(&records, turn, true)));
        let (ns, meta_ns) = (each_ns(seconds, count), each_ns(with_meta, count));
        println!("append, turn of {turn}: {ns:.0} ns; with two meta rows a turn {meta_ns:.0} ns");
    }

    let (seconds, tree) = median(|| {
        timed(|| {
            let mut tree = CowTree::new();
            for record in &records {
                tree.insert(record.clone());
            }
            tree
        })
    });
    let per_entry =
        each_ns(1e-9, count) * f64::from(u32::try_from(tree.shape().node_bytes).expect("8 MB"));
    println!(
        "tree alone: {:.0} ns; {per_entry:.2} bytes per history entry",
        each_ns(seconds, count)
    );
    drop(tree);

    let engine = fill(&records, 256, true);
    let view = engine.view();
    let (seconds, _) = median(|| {
        timed(|| {
            let mut bytes = 0;
            let visit = &mut |record: &Record| {
                bytes += record.bytes().len();
                ControlFlow::Continue(())
            };
            view.scan_history(Version::default(), END, visit).expect("memory");
            black_box(bytes)
        })
    });
    println!("scan: {:.1} M records/s", 1e3 / each_ns(seconds, count));

    let mut random = fastrand::Rng::with_seed(1);
    let versions: Vec<Version> =
        (0..count).map(|_| Version::first_of(Revision(random.i64(2..RECORDS + 2)))).collect();
    let (seconds, _) = median(|| {
        timed(|| {
            for &version in &versions {
                black_box(view.record(version).expect("memory"));
            }
        })
    });
    println!("record at random: {:.0} ns", each_ns(seconds, count));
    drop(view);

    for (what, step) in [("each but every 512th", 0), ("every 100th", 100)] {
        let forgotten = (2..RECORDS + 2).filter(|main| match step {
            0 => main % 512 != 0,
            step => main % step == 0,
        });
        let forgotten: Vec<i64> = forgotten.collect();
        let (seconds, _) = median(|| {
            let mut engine = engine.clone();
            let mut published = engine.view();
            let mut turns = Vec::with_capacity(forgotten.len() / 64 + 1);
            let (seconds, ()) = timed(|| {
                for turn in forgotten.chunks(64) {
                    let (turn_seconds, ()) = timed(|| {
                        let forget = |&main: &i64| {
                            let version = Version::first_of(Revision(main));
                            Write::Forget(Forgotten { version, is_put: true, wire_bytes: 0 })
                        };
                        let writes = turn.iter().map(forget).collect();
                        engine.commit(Batch { writes }).expect("memory");
                        published = engine.view();
                    });
                    turns.push(turn_seconds);
                }
            });
            black_box(&published);
            turns.sort_by(f64::total_cmp);
            println!("  99th of 100 turns of 64: {:.0} us", turns[turns.len() * 99 / 100] * 1e6);
            (seconds, ())
        });
        println!("forget {what}, turns of 64: {:.0} ns", each_ns(seconds, forgotten.len()));
    }

    let write = |keep: &mut dyn FnMut(Bytes)| {
        let mut writer = CheckpointWriter::new(engine.view(), ClusterId(1)).expect("memory");
        while let Some(chunk) = writer.next_chunk().expect("memory") {
            keep(chunk);
        }
        writer.total_bytes()
    };
    let (seconds, stream_bytes) = median(|| timed(|| write(&mut |chunk| drop(black_box(chunk)))));
    let stream_bytes = usize::try_from(stream_bytes).expect("it fits into memory");
    let rate = |seconds: f64| 1e3 / each_ns(seconds, stream_bytes);
    println!("checkpoint of {stream_bytes} bytes: write {:.0} MB/s", rate(seconds));
    let mut chunks = Vec::new();
    write(&mut |chunk| chunks.push(chunk));
    let (seconds, restored) = median(|| {
        timed(|| {
            let mut pieces = chunks.iter().cloned();
            let mut engine = MemoryEngine::new();
            restore(&mut || Ok::<_, std::convert::Infallible>(pieces.next()), &mut engine)
                .expect("it is sound");
            engine
        })
    });
    println!("checkpoint: restore {:.0} MB/s, {seconds:.2} s", rate(seconds));
    assert_eq!(restored.size(), engine.size());
}
