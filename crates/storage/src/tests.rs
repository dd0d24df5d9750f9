//! A whole member whose process is killed, or whose power fails, at every call that it makes.
//!
//! ```text
//! record   a member lives twice: writes, compacts, saves its state, cuts its log, stops
//!            call 1 ─ call 2 ─ … ─ call k ─ … ─ call n        every call of log and snapshots
//! crash                              └▶ what the disk then holds: killed, or without power
//! open                                    └▶ the crates' own way in ─▶ it holds all that was
//!            and again, at a call of that very start                    acknowledged by then
//! ```
//!
//! Here with the memory engine, and a disk in memory that the log and the snapshot files are given.
//! RocksDB takes no such disk: `tests/power_loss` has the same with it, below the whole process.

pub(crate) mod causes;
mod crashes;
mod disk;
mod life;
mod medium;
mod member;
mod story;

use crashes::{Recording, crash_everywhere};
use disk::InMemory;
use medium::Lie;

fn record(lie: Option<Lie>) -> Recording {
    crashes::record(&InMemory(lie), disk::empty())
}

#[test]
fn a_member_that_crashes_at_any_call_holds_what_it_acknowledged() {
    let least = [("make", 8), ("write", 50), ("sync", 50), ("rename", 8), ("remove", 3)];
    life::holds_what_it_acknowledged(&InMemory(None), &record(None), &least, 600);
}

#[test]
fn a_disk_that_lies_is_found_out() {
    for lie in [Lie::Bytes("log"), Lie::Names("log"), Lie::Bytes("snap"), Lie::Names("snap")] {
        let found = crash_everywhere(&InMemory(None), &record(Some(lie)), 1);
        assert!(found.is_err(), "nothing was lost by {lie:?}");
    }
}
