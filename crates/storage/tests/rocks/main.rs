//! The golden scripts and the model tests of the state machine, with RocksDB in the place of the
//! engine that forgets: every command on both engines, every answer and hash equal, and crashes in
//! between, after which RocksDB has only what it had flushed.
#![cfg(feature = "rocksdb")]

#[path = "../../../state/tests/model/generate.rs"]
mod generate;
mod harness;
#[path = "../../../state/tests/model/naive.rs"]
mod naive;
#[path = "../../../state/tests/golden/play.rs"]
mod play;
#[path = "../../../state/tests/harness/script.rs"]
mod script;
#[path = "../../../state/tests/model/transaction.rs"]
mod transaction;
#[path = "../../../state/tests/model/world.rs"]
mod world;

/// A crash copies files: fewer commands than on an engine in memory take as long.
const COMMANDS: usize = 4_000;

fn agrees(seed: u64) -> world::Stats {
    let stats =
        world::run(seed, COMMANDS, None).unwrap_or_else(|difference| panic!("{difference}"));
    eprintln!("seed {seed}: {stats:?}");
    stats
}

#[test]
fn thousands_of_commands_answer_as_the_model_does_with_crashes_in_between() {
    let stats = agrees(2);
    // Of another seed chance decides how often each comes.
    assert!(stats.commands >= COMMANDS && stats.restarts > 5 && stats.replayed > 0, "{stats:?}");
    assert!(stats.hashes > 100 && stats.events > 100 && stats.swept > 0, "{stats:?}");
}

#[test]
fn a_new_seed_each_time_answers_as_the_model_does() {
    agrees(fastrand::u64(..));
}

#[test]
fn a_wrong_rule_of_the_model_is_noticed() {
    let fault = naive::Fault::CountObeysLimit;
    let found = (0..5).find_map(|seed| world::run(seed, COMMANDS / 2, Some(fault)).err());
    assert!(found.is_some(), "{fault:?} goes unnoticed");
}

#[test]
fn every_golden_script_has_the_recorded_answers() {
    for folder in ["compact", "hash", "lease", "mvcc", "range", "txn"] {
        play::check(folder);
    }
}
