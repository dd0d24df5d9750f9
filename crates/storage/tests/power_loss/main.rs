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
//! engine: `crashes`, `medium`, `member` and `story` are the crate's own tests' files.
//!
//! What it does not do: RocksDB's threads run as they like, so that two records differ in the order
//! of what it does in the background. Each record is taken apart completely.
#![cfg(all(feature = "rocksdb", target_os = "linux", target_env = "gnu"))]

#[path = "../../src/tests/crashes.rs"]
mod crashes;
mod home;
mod libc_calls;
#[path = "../../src/tests/medium.rs"]
mod medium;
#[path = "../../src/tests/member.rs"]
mod member;
mod recorder;
#[path = "../../src/tests/story.rs"]
mod story;

use state::LogIndex;
/// Where the shared files look for them.
use storage::{log_disk, log_start};

use crashes::{Recording, crash_everywhere};
use home::{Fault, Folder, OnFiles};
use medium::{Lie, Medium};
use member::Member;
use story::Story;

/// Flushes, and with them files of RocksDB in the first level, where four are compacted to one.
const ROUNDS: i64 = 4;

/// What is recorded: every kind of call at least once, and most of them many times.
fn live(home: &Folder, story: &mut Story) -> Result<(), String> {
    let mut member = Member::open(home, story)?;
    let mut view = None;
    for round in 0..ROUNDS {
        member.put(&format!("key/{round}"), 40, story)?;
        // Two writes in flight.
        member.put_together(&["a", "b", "c"], 90, story)?;
        member.lease_and_delete(round, story)?;
        if round % 2 == 1 {
            member.compact(story)?;
        }
        member.save(story)?;
        if round == 1 {
            let seen = member.view();
            view = Some((story::digest(&*seen)?, seen));
        }
    }
    home.wait_for_compaction()?;
    // A view shows what it showed, whatever was flushed, forgotten and compacted since.
    let (then, seen) = view.ok_or("there is a second round")?;
    if story::digest(&*seen)? != then {
        return Err("a view has changed".to_owned());
    }
    drop(seen);
    member.put("last", 200, story)?;
    member.stop(story)?;
    let mut member = Member::open(home, story)?;
    member.put("second life", 40, story)?;
    member.save(story)?;
    member.put_together(&["a", "d"], 300, story)
}

fn record(fault: Option<Fault>) -> Recording {
    crashes::record(&OnFiles::with(fault), Medium::new().keeping_order("rocksdb"), live)
}

#[test]
fn a_member_with_rocksdb_that_crashes_at_any_call_holds_what_it_acknowledged() {
    let recording = record(None);
    let kinds = medium::kinds(&recording.calls);
    eprintln!("{} calls: {kinds:?}", recording.calls.len());
    let least = [
        ("make", 40),
        ("make folder", 4),
        ("write", 100),
        ("sync", 100),
        ("sync names", 20),
        ("rename", 20),
        ("remove", 10),
    ];
    for (kind, at_least) in least {
        let count = kinds.get(kind).copied().unwrap_or(0);
        assert!(count >= at_least, "{kind} was recorded {count} times only: {kinds:?}");
    }
    assert!(recording.story.after(usize::MAX).acknowledged() > LogIndex(30));
    let seed = 0x5eed;
    let starts = crash_everywhere(&OnFiles::for_starts(), &recording, seed)
        .unwrap_or_else(|error| panic!("seed {seed:#x}: {error}"));
    assert!(starts > 1000, "{starts} starts after {} calls", recording.calls.len());
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
