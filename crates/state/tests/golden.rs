//! Runs the scripts under `testdata`: comment, commands, `---`, recorded answers.
//!
//! Every script runs on two state machines at once, one on the memory engine and one on an engine
//! that keeps values to itself and forgets what it has not flushed; every answer must be the same.
//! `UPDATE_GOLDENFILES=1` records the answers anew.

#[path = "harness/mod.rs"]
mod harness;
#[path = "harness/script.rs"]
mod script;

#[path = "golden/play.rs"]
mod play;

use play::{check, play};

#[test]
fn a_script_with_a_wrong_answer_is_noticed() {
    let right = play("put a=1\nget a");
    assert!(right.contains("a=1 (create 2, mod 2, version 1)"), "{right}");
    assert_ne!(right.replace("version 1", "version 2"), play(&right));
    assert_eq!(right, play(&right));
}

macro_rules! scripts {
    ($($name:ident: $folder:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            check($folder);
        })*
    };
}

scripts! {
    versions_of_a_key: "mvcc",
    reads_with_every_option: "range",
    transactions: "txn",
    leases: "lease",
    compaction: "compact",
    hashes: "hash",
}
