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
mod medium;
mod member;
mod story;

use state::LogIndex;

use crashes::{Recording, crash_everywhere};
use disk::{Disk, InMemory};
use medium::Lie;
use member::Member;
use story::Story;

/// What is recorded: every kind of call at least once, and most of them many times.
fn live(disk: &Disk, story: &mut Story) -> Result<(), String> {
    let mut member = Member::open(disk, story)?;
    for round in 0..4 {
        member.put(&format!("key/{round}"), 40, story)?;
        // Two writes in flight.
        member.put_together(&["a", "b", "c"], 90, story)?;
        member.lease_and_delete(round, story)?;
        if round % 2 == 1 {
            member.compact(story)?;
        }
        member.save(story)?;
    }
    member.put("last", 200, story)?;
    member.stop(story)?;
    let mut member = Member::open(disk, story)?;
    member.put("second life", 40, story)?;
    member.save(story)?;
    member.put_together(&["a", "d"], 300, story)
}

fn record(lie: Option<Lie>) -> Recording {
    crashes::record(&InMemory(lie), disk::empty(), live)
}

#[test]
fn a_member_that_crashes_at_any_call_holds_what_it_acknowledged() {
    let recording = record(None);
    let kinds = medium::kinds(&recording.calls);
    for (kind, at_least) in [("make", 8), ("write", 50), ("sync", 50), ("rename", 8), ("remove", 3)]
    {
        let count = kinds.get(kind).copied().unwrap_or(0);
        assert!(count >= at_least, "{kind} was recorded {count} times only: {kinds:?}");
    }
    assert!(recording.story.after(usize::MAX).acknowledged() > LogIndex(30));
    let seed = 0x5eed;
    let starts = crash_everywhere(&InMemory(None), &recording, seed).unwrap_or_else(|error| {
        panic!("seed {seed:#x}: {error}");
    });
    assert!(starts > 600, "{starts} starts after {} calls", recording.calls.len());
}

#[test]
fn a_disk_that_lies_is_found_out() {
    for lie in [Lie::Bytes("log"), Lie::Names("log"), Lie::Bytes("snap"), Lie::Names("snap")] {
        let found = crash_everywhere(&InMemory(None), &record(Some(lie)), 1);
        assert!(found.is_err(), "nothing was lost by {lie:?}");
    }
}
