//! What becomes of a member that is asked for an engine other than the one it can have.
//!
//! | asked for | the binary | its data | what it says |
//! |---|---|---|---|
//! | memory | any | RocksDB's | whose the data is, and which engine to start with |
//! | rocksdb | without it | any | that it was built without, and how to build one |
//!
//! `cargo xtask test` runs this file with a binary of each kind.

use std::fs;

use child::finished::run;

use crate::member::{Member, command};

/// Starts it again on its ports and its data; tells the exit code and what it says.
fn start_with(member: &Member, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = command(member.folder.path(), member.client_port, member.peer_port);
    let finished = run(command.args(flags), b"").expect("it runs");
    (finished.code, String::from_utf8_lossy(&finished.stderr).into_owned())
}

/// A stopped member whose data, so says its manifest, are RocksDB's.
fn of_rocksdb() -> Member {
    let mut member = Member::start(&[]);
    member.stop();
    let manifest = member.data_dir().join("MANIFEST");
    let text = fs::read_to_string(&manifest).expect("it has one");
    let others = text.replace("\"memory\"", "\"rocksdb\"");
    assert_ne!(text, others, "the engine is written there");
    fs::write(&manifest, others).expect("it is ours");
    member
}

#[test]
fn data_of_another_engine_are_refused_with_the_engine_to_start_with() {
    let member = of_rocksdb();
    let (code, text) = start_with(&member, &[]);
    assert_eq!(code, Some(1), "{text}");
    let reason = "was created with engine \"rocksdb\", not \"memory\": \
                  start with engine \"rocksdb\" or name an empty directory";
    assert!(text.contains(reason), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn a_binary_without_rocksdb_that_is_asked_for_it_says_how_to_build_one() {
    let member = of_rocksdb();
    let reason = "--engine=rocksdb: this binary was built without RocksDB; \
                  build one with `make build`";
    let folder = tempfile::tempdir().expect("make a folder");
    let nowhere = folder.path().join("data").display().to_string();
    for flags in [&["--engine=rocksdb"][..], &["--engine=rocksdb", "--data-dir", &nowhere]] {
        let (code, text) = start_with(&member, flags);
        assert_eq!(code, Some(1), "{flags:?}: {text}");
        assert!(text.contains(reason), "{flags:?}: {text}");
        assert!(!text.contains("panicked"), "{flags:?}: {text}");
    }
    assert!(!folder.path().join("data").exists(), "nothing is made");
}
