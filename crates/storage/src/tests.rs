//! A whole member whose process is killed, or whose power fails, at every call that it makes.
//!
//! ```text
//! record   a member lives twice: writes, compacts, checkpoints, cuts its log, stops
//!            call 1 ─ call 2 ─ … ─ call k ─ … ─ call n        every call of log and snapshots
//! crash                              └▶ what the disk then holds: killed, or without power
//! open                                    └▶ the crates' own way in ─▶ it holds all that was
//!            and again, at a call of that very start                    acknowledged by then
//! ```
//!
//! The member is the product's: consensus, state machine, log disk with its threads, snapshot files.
//! Only the calls to the file system end in a [`medium::Medium`], which knows what survives.
//!
//! How a state becomes durable outside the log is a parameter, [`member::Durability`]: the memory
//! engine writes snapshot files.

mod medium;
mod member;

use fastrand::Rng;
use state::LogIndex;

use medium::{Crash, Disk, Lie, Medium};
use member::{Member, Snapshots, Story};

/// What is recorded: every kind of call at least once, and most of them many times.
fn live(disk: &Disk, story: &mut Story) -> Result<(), String> {
    let mut member = Member::open(disk, Snapshots, story)?;
    for round in 0..4 {
        member.put(&format!("key/{round}"), 40, story)?;
        // Two writes in flight.
        member.put_together(&["a", "b", "c"], 90, story)?;
        member.lease_and_delete(round, story)?;
        if round % 2 == 1 {
            member.compact(story)?;
        }
        member.checkpoint(story)?;
    }
    member.put("last", 200, story)?;
    member.stop(story)?;
    let mut member = Member::open(disk, Snapshots, story)?;
    member.put("second life", 40, story)?;
    member.checkpoint(story)?;
    member.put_together(&["a", "d"], 300, story)
}

/// A recorded life.
struct Recording {
    start: Medium,
    disk: Disk,
    story: Story,
}

fn record(lie: Lie) -> Recording {
    let disk = Disk::new(Medium::default(), lie);
    let mut story = Story::default();
    live(&disk, &mut story).expect("a disk that does not fail");
    Recording { start: Medium::default(), disk, story }
}

/// What one crash left is opened; gives the recording of that start.
fn open_after(
    recording: &Recording,
    calls: usize,
    crash: Crash,
    rng: &mut Rng,
) -> Result<Recording, String> {
    let start = recording.disk.after(&recording.start, calls, crash, rng);
    let acknowledged = recording.story.acknowledged_after(calls);
    let disk = Disk::new(start.clone(), Lie::None);
    let mut story = recording.story.told_to(acknowledged);
    let mut member = Member::open(&disk, Snapshots, &mut story)?;
    member.holds(acknowledged, &recording.story)?;
    // It goes on as if nothing had happened.
    member.put("after the crash", 40, &mut story)?;
    drop(member);
    Ok(Recording { start, disk, story })
}

/// Every call, every crash, and for each another crash in the start that follows. Gives how many
/// starts there were.
fn crash_everywhere(recording: &Recording, seed: u64) -> Result<usize, String> {
    let mut rng = Rng::with_seed(seed);
    let mut starts = 0;
    for calls in 0..=recording.disk.calls() {
        for crash in Crash::ALL {
            let at = |error| format!("{crash:?} after {calls} calls: {error}");
            let opened = open_after(recording, calls, crash, &mut rng).map_err(at)?;
            let again = rng.usize(0..=opened.disk.calls());
            let second = *rng.choice(&Crash::ALL).expect("there are some");
            let once_more = open_after(&opened, again, second, &mut rng);
            once_more.map_err(|error| {
                at(format!("then {second:?} after {again} calls of the start: {error}"))
            })?;
            starts += 2;
        }
    }
    Ok(starts)
}

#[test]
fn a_member_that_crashes_at_any_call_holds_what_it_acknowledged() {
    let recording = record(Lie::None);
    let kinds = recording.disk.kinds();
    for (kind, at_least) in [("make", 8), ("write", 50), ("sync", 50), ("rename", 8), ("remove", 3)]
    {
        let count = kinds.get(kind).copied().unwrap_or(0);
        assert!(count >= at_least, "{kind} was recorded {count} times only: {kinds:?}");
    }
    assert!(recording.story.acknowledged_after(usize::MAX) > LogIndex(30));
    let seed = 0x5eed;
    let starts = crash_everywhere(&recording, seed).unwrap_or_else(|error| {
        panic!("seed {seed:#x}: {error}");
    });
    assert!(starts > 1000, "{starts} starts after {} calls", recording.disk.calls());
}

#[test]
fn a_disk_that_lies_is_found_out() {
    for lie in [Lie::LogSync, Lie::LogNames, Lie::SnapshotSync, Lie::SnapshotNames] {
        let found = crash_everywhere(&record(lie), 1);
        assert!(found.is_err(), "nothing was lost by {lie:?}");
    }
}
