//! The life that is recorded, and what its record must have to be worth taking apart.
//!
//! ```text
//! found ─ 4 × ( write, write together, lease, delete, compact at times, save ) ─ rest ─ stop
//!                                                     open again ─ write ─ save ─ write together
//! ```
//!
//! It is the same with every engine. What calls it makes is not: each engine says how many of each
//! kind there are at least, so that a life in which nothing happens is no proof.

use state::LogIndex;

use super::crashes::{Machine, Recording, crash_everywhere};
use super::medium::kinds;
use super::member::{Home, Member};
use super::story::{Story, digest};

/// Saves, and with them files of RocksDB in the first level, where four are compacted to one.
const ROUNDS: i64 = 4;

/// Does everything that makes a call, and most of it many times.
pub(super) fn live<H: Home>(home: &H, story: &mut Story) -> Result<(), String> {
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
            view = Some((digest(&*seen)?, seen));
        }
    }
    home.come_to_rest()?;
    // A view shows what it showed, whatever was saved, forgotten and compacted since.
    let (then, seen) = view.ok_or("there is a second round")?;
    if digest(&*seen)? != then {
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

/// Takes a life apart at every call. It must have had so many calls of each kind, and leave so many
/// starts to try.
pub(super) fn holds_what_it_acknowledged<M: Machine>(
    machine: &M,
    recording: &Recording,
    calls_least: &[(&str, usize)],
    starts_least: usize,
) {
    let kinds = kinds(&recording.calls);
    for (kind, at_least) in calls_least {
        let count = kinds.get(kind).copied().unwrap_or(0);
        assert!(count >= *at_least, "{kind} was recorded {count} times only: {kinds:?}");
    }
    assert!(recording.story.after(usize::MAX).acknowledged() > LogIndex(30));
    let seed = 0x5eed;
    let starts = crash_everywhere(machine, recording, seed)
        .unwrap_or_else(|error| panic!("seed {seed:#x}: {error}"));
    eprintln!("{starts} starts after {} calls: {kinds:?}", recording.calls.len());
    assert!(starts >= starts_least, "{starts} starts after {} calls", recording.calls.len());
}
