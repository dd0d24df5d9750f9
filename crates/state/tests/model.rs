//! The state machine against a naive model: random commands, reads, views that outlive them,
//! sweeps and restarts, on two engines at once. Whatever anybody can see must be equal.

#[path = "model/generate.rs"]
mod generate;
mod harness;
#[path = "model/hostile.rs"]
mod hostile;
#[path = "model/naive.rs"]
mod naive;
#[path = "model/quota.rs"]
mod quota;
#[path = "model/transaction.rs"]
mod transaction;
#[path = "model/world.rs"]
mod world;

use bytes::Bytes;
use harness::{CrashingEngine, Harness};
use naive::Fault;
use proptest::prelude::{ProptestConfig, any, proptest};
use state::KeyRange;
use state::command::{Compact, DeleteRange, Operation, Put, Range};
use state::engine::memory::MemoryEngine;
use state::mvcc::range::{RangeCursor, range};
use state::state::SweepProgress;
use world::{Stats, run};

const COMMANDS: usize = 10_000;

/// Runs one seed; a panic of the state machine names it, too.
fn agrees(seed: u64) -> Stats {
    let result = std::panic::catch_unwind(|| run(seed, COMMANDS, None));
    let stats = match result {
        Ok(Ok(stats)) => stats,
        Ok(Err(difference)) => panic!("{difference}"),
        Err(_) => panic!("seed {seed} panicked"),
    };
    eprintln!("seed {seed}: {stats:?}");
    stats
}

/// Runs one seed that is known to have some of everything; of another seed chance decides.
fn agrees_on_everything(seed: u64) {
    let stats = agrees(seed);
    assert!(stats.commands >= COMMANDS, "{stats:?}");
    let often = [stats.refused, stats.events, stats.reads, stats.hashes, stats.views];
    assert!(often.iter().all(|count| *count > COMMANDS / 100), "{stats:?}");
    let some = [stats.chunks, stats.swept, stats.restarts, stats.settled];
    assert!(some.iter().all(|count| *count > COMMANDS / 2500), "{stats:?}");
    assert!(stats.replayed > 0, "{stats:?}");
}

#[test]
fn ten_thousand_commands_answer_as_the_model_does() {
    agrees_on_everything(1);
}

#[test]
fn ten_thousand_other_commands_answer_as_the_model_does() {
    agrees_on_everything(20_260_101);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_new_seed_each_time_answers_as_the_model_does(seed in any::<u64>()) {
        agrees(seed);
    }
}

#[test]
fn each_wrong_rule_of_the_model_is_noticed() {
    run(0, COMMANDS / 2, None).expect("nothing differs without a fault");
    for fault in [
        Fault::VersionSurvivesDelete,
        Fault::CountObeysLimit,
        Fault::TombstoneAtCompactedDropped,
        Fault::NestedCompareSeesWrites,
        Fault::LeaseStays,
        Fault::PrevKvBeforeTxn,
        Fault::TiesTurnAround,
        Fault::ExplicitRevisionSeesWrites,
        Fault::KeysOnlyShowsLease,
        Fault::StaleTermExpires,
        Fault::AbsentValueDiffers,
        Fault::HashForgetsLastVersions,
    ] {
        let found = (0..5).find_map(|seed| run(seed, COMMANDS / 2, Some(fault)).err());
        let difference = found.unwrap_or_else(|| panic!("{fault:?} goes unnoticed"));
        eprintln!("{fault:?}: {}", difference.lines().next().unwrap_or_default());
    }
}

/// A slice may do nothing but cut chains behind new lives of keys: that is progress, too.
#[test]
fn sweeping_past_deletions_is_not_taken_for_being_held_back() {
    let mut harness = Harness::new(Box::new(MemoryEngine::new()));
    let put = |n: u32| {
        let key = format!("key {n}").into_bytes().into();
        Operation::Put(Put { key, ..Put::default() })
    };
    let all = DeleteRange { key: "k".into(), range_end: b"\0"[..].into(), prev_kv: false };
    harness.apply_all((0..500).map(put).collect());
    harness.apply(Operation::DeleteRange(all));
    harness.apply_all((0..500).map(put).collect());
    harness.apply(Operation::Compact(Compact { revision: harness.state.revision().0 }));
    let mut slices = 0;
    while harness.state.sweep().expect("a test engine does not fail") == SweepProgress::More {
        slices += 1;
        assert!(slices < 1000, "sweeping does not come to an end");
    }
    assert!(harness.state.is_swept(), "held back after {slices} slices");
    assert_eq!(harness.state.reader().latest().index().count(&KeyRange::all()), 500);
}

/// Long ranges, and long stretches of deleted keys in them, take several steps of their own budget.
#[test]
fn a_cursor_over_thousands_of_keys_shows_what_one_read_shows() {
    let mut harness = Harness::new(Box::new(CrashingEngine::new()));
    let key = |n: u32| Bytes::from(format!("key {n:05}"));
    let put = |n: u32| Operation::Put(Put { key: key(n), ..Put::default() });
    let delete = |from: u32, until: u32| {
        let (key, range_end) = (key(from), key(until));
        Operation::DeleteRange(DeleteRange { key, range_end, prev_kv: false })
    };
    harness.apply_all((0..6000).map(put).collect());
    let whole = harness.state.revision().0;
    harness.apply(delete(100, 2900));
    harness.apply(delete(3000, 5999));
    for (limit, revision, max_bytes) in [
        (0, 0, 500),
        (0, 0, 0),
        (150, 0, usize::MAX),
        (200, 0, usize::MAX),
        (201, 0, 7),
        (0, whole, 20_000),
        (1000, whole, usize::MAX),
        (6000, whole, usize::MAX),
    ] {
        let (key, range_end) = (key(0), Bytes::from_static(b"\0"));
        let query = Range { key, range_end, limit, revision, ..Range::default() };
        let expected = range(harness.state.reader(), &query).expect("readable");
        let mut cursor = RangeCursor::open(harness.state.reader(), query).expect("readable");
        let (mut kvs, mut steps) = (Vec::new(), 0);
        let end = loop {
            let chunk = cursor.next(max_bytes).expect("a test engine does not fail");
            let bytes: usize = chunk.kvs.iter().rev().skip(1).map(Bytes::len).sum();
            assert!(bytes < max_bytes.max(1), "a step of {max_bytes} bytes gives more");
            kvs.extend(chunk.kvs);
            steps += 1;
            assert!(steps <= 6100, "the cursor does not come to an end");
            if let Some(end) = chunk.end {
                break end;
            }
        };
        assert!(steps > 1, "{limit} keys at {revision} in one step");
        assert_eq!((kvs, end.more, end.count), (expected.kvs, expected.more, expected.count));
        assert_eq!(end.revision, expected.revision);
    }
}
