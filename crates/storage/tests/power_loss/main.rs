//! A whole member with RocksDB that is killed, or whose power fails, at every call that it makes.
//!
//! ```text
//!   member ─┬─ data directory ─┐
//!           ├─ log ────────────┤ open, write, fsync, rename, … of libc: this program has its own,
//!           └─ RocksDB ────────┘ which remember every call and then do it
//! ```
//!
//! RocksDB is C++ and its crate lets nobody in between it and the file system. But whatever a
//! program defines goes before the same of libc, so this one defines the functions that change
//! files ([`libc_calls`]). What was recorded is then taken apart call by call, as with the memory
//! engine: `crashes`, `life`, `medium`, `member` and `story` are the crate's own tests' files.
//!
//! What it does not do: RocksDB's threads run as they like, so that two records differ in the order
//! of what it does in the background. Each record is taken apart completely.
#![cfg(all(feature = "rocksdb", target_os = "linux", target_env = "gnu"))]

#[path = "../../src/tests/causes.rs"]
mod causes;
#[path = "../../src/tests/crashes.rs"]
mod crashes;
mod home;
mod libc_calls;
#[path = "../../src/tests/life.rs"]
mod life;
#[path = "../../src/tests/medium.rs"]
mod medium;
#[path = "../../src/tests/member.rs"]
mod member;
mod recorder;
#[path = "../../src/tests/story.rs"]
mod story;

/// Where the shared files look for them.
use storage::{log_disk, log_start};

use crashes::{Recording, crash_everywhere};
use home::{Fault, OnFiles};
use medium::{Lie, Medium};

fn record(fault: Option<Fault>) -> Recording {
    crashes::record(&OnFiles::with(fault), Medium::new().keeping_order("rocksdb"))
}

#[test]
fn a_member_with_rocksdb_that_crashes_at_any_call_holds_what_it_acknowledged() {
    let least = [
        ("make", 40),
        ("make folder", 4),
        ("write", 100),
        ("sync", 100),
        ("sync names", 20),
        ("rename", 20),
        ("remove", 10),
    ];
    life::holds_what_it_acknowledged(&OnFiles::for_starts(), &record(None), &least, 1000);
}

#[test]
fn a_fault_of_the_disk_or_the_member_is_found_out() {
    let faults = [
        Fault::NoFlush,
        Fault::Disk(Lie::Bytes("log")),
        Fault::Disk(Lie::Names("log")),
        Fault::Disk(Lie::Bytes("rocksdb")),
        Fault::Disk(Lie::Names("rocksdb")),
        Fault::Disk(Lie::Names("data")),
    ];
    for fault in faults {
        let found = crash_everywhere(&OnFiles::for_starts(), &record(Some(fault)), 1);
        assert!(found.is_err(), "nothing was lost by {fault:?}");
    }
}
