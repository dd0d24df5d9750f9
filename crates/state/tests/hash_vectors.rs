//! HashKV agrees with etcd, number by number.
//!
//! The vectors come from etcd 3.7's own tests: fixed puts, hashed and compacted on the way. They
//! name the compacted revision *before* the compaction at the hash revision, so they are taken
//! just before compacting.

#[path = "harness/mod.rs"]
mod harness;

use bytes::Bytes;
use harness::{CrashingEngine, Harness};
use state::command::{Compact, Operation, Put};
use state::engine::Engine;
use state::engine::memory::MemoryEngine;
use state::mvcc::hash::hash_kv;

const NAMES: [&str; 7] = ["alice", "bob", "celine", "dominik", "eve", "frederica", "gorge"];

fn pick(i: usize) -> &'static str {
    match i {
        i if i % 142 == 30 => "zenek",
        i if i % 71 == 30 => "xavery",
        i => NAMES[i % 7],
    }
}

fn put(harness: &mut Harness, i: usize) {
    let (key, value) = (Bytes::from_static(pick(i).as_bytes()), Bytes::from(i.to_string()));
    let answer = harness.apply(Operation::Put(Put { key, value, ..Put::default() }));
    assert!(answer.applied.is_ok());
}

/// Puts as the vectors prescribe, hashing at base + offset of the revision the closure picks.
fn play(
    engine: Box<dyn Engine>,
    sweep: bool,
    pick_revision: impl Fn(i64, i64) -> i64,
) -> Vec<(u32, i64, i64)> {
    let mut harness = Harness::new(engine);
    let mut hashes = Vec::new();
    let mut record = |harness: &mut Harness, revision: i64| {
        let hash = hash_kv(harness.state.reader(), revision).expect("a readable revision");
        hashes.push((hash.hash, hash.hash_revision, hash.compact_revision));
        let compact = Operation::Compact(Compact { revision });
        assert!(harness.apply(compact).applied.is_ok());
        if sweep {
            harness.sweep();
        }
    };
    let mut base = 0;
    while base < 1210 {
        (base..=base + 71).for_each(|i| put(&mut harness, i));
        let revision =
            pick_revision(i64::try_from(base).expect("small") + 35, harness.state.revision().0);
        record(&mut harness, revision);
        base += 71;
    }
    (base..=base + 1210).for_each(|i| put(&mut harness, i));
    let revision =
        pick_revision(i64::try_from(base).expect("small") + 605, harness.state.revision().0);
    record(&mut harness, revision);
    hashes
}

const BEHIND: [(u32, i64); 19] = [
    (4082599214, 35),
    (2279933401, 106),
    (3284231217, 177),
    (126286495, 248),
    (900108730, 319),
    (2475485232, 390),
    (1226296507, 461),
    (2503661030, 532),
    (4155130747, 603),
    (106915399, 674),
    (406914006, 745),
    (1882211381, 816),
    (806177088, 887),
    (664311366, 958),
    (1496914449, 1029),
    (2434525091, 1100),
    (3988652253, 1171),
    (1122462288, 1242),
    (724436716, 1883),
];

const AT_HEAD: [(u32, i64); 19] = [
    (1913897190, 73),
    (224860069, 145),
    (1565167519, 217),
    (1566261620, 289),
    (2037173024, 361),
    (691659396, 433),
    (2713730748, 505),
    (3919322507, 577),
    (769967540, 649),
    (2909194793, 721),
    (1576921157, 793),
    (4067701532, 865),
    (2226384237, 937),
    (2923408134, 1009),
    (2680329256, 1081),
    (1546717673, 1153),
    (2713657846, 1225),
    (1046575299, 1297),
    (2017735779, 2508),
];

fn expected(vectors: &[(u32, i64)]) -> Vec<(u32, i64, i64)> {
    let mut compacted = -1;
    let mut expected = Vec::new();
    for &(hash, revision) in vectors {
        expected.push((hash, revision, compacted));
        compacted = revision;
    }
    expected
}

#[test]
fn hashes_behind_the_head_are_etcds() {
    for sweep in [false, true] {
        let memory = Box::new(MemoryEngine::new());
        assert_eq!(play(memory, sweep, |behind, _| behind), expected(&BEHIND), "sweep {sweep}");
        let stored = Box::new(CrashingEngine::new());
        assert_eq!(play(stored, sweep, |behind, _| behind), expected(&BEHIND), "sweep {sweep}");
    }
}

#[test]
fn hashes_at_the_head_are_etcds() {
    for sweep in [false, true] {
        let memory = Box::new(MemoryEngine::new());
        assert_eq!(play(memory, sweep, |_, head| head), expected(&AT_HEAD), "sweep {sweep}");
    }
}

#[test]
fn one_changed_value_changes_the_hash() {
    let mut first = Harness::new(Box::new(MemoryEngine::new()));
    let mut second = Harness::new(Box::new(MemoryEngine::new()));
    (0..10).for_each(|i| put(&mut first, i));
    (0..10).for_each(|i| put(&mut second, if i == 5 { 12 } else { i }));
    let hash = |harness: &Harness| hash_kv(harness.state.reader(), 0).expect("readable").hash;
    assert_ne!(hash(&first), hash(&second));
}
