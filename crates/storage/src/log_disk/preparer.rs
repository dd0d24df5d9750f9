//! Keeps segments ready ahead of need, and takes back those that are released.
//!
//! ```text
//!   new file ─ allocate, sync ─▶ .tmp ─ rename, sync folder ─▶ .spare ─ by a lane ─▶ .wal
//!                                                           fill ▲ ╰╯                 │
//!                                                                └───── released ─────┘
//! ```
//!
//! A spare is ready as soon as its blocks are reserved. The first write into such a block also changes
//! the file system's own records, and its sync takes half as long again: a lone client notices. So
//! spares are filled with zeros, but only in small bites and while the log grows slowly. Under load many
//! writes share a sync, which then matters little, while filling would double what the disk
//! has to write.
//!
//! A recycled segment needs no filling. It keeps its old bytes. It becomes a
//! spare only after its new name is durable, or a crash could bring the old name back with a later
//! segment's bytes under it.

use std::io;
use std::sync::MutexGuard;
use std::time::Instant;

use node::messages::SegmentId;

use super::segment_files::{FileName, segment_name, spare_name, temporary_name};
use super::shared::{Desk, Pace, Shared, Spare};
use super::{LogError, LogEvent};
use crate::files::{FileError, is_full};
use crate::limits::{LOG_SPARES_AHEAD, LOG_SPARES_MAX};

/// What is to be done next.
enum Task {
    Release(SegmentId),
    Prepare(u64),
    Fill(Bite),
    AnnounceSpace,
}

/// A part of a spare.
struct Bite {
    name: String,
    offset: u64,
    bytes: u64,
}

/// When the next bite may be taken.
struct Meal {
    due: Instant,
    /// How far the log had grown when that was decided.
    log_bytes: u64,
}

impl Meal {
    /// Whether to take one now, and if not, nothing before `due`.
    fn begins(&mut self, now: Instant, pace: Pace, log_bytes: u64) -> bool {
        if now < self.due {
            return false;
        }
        let grown = log_bytes - self.log_bytes;
        *self = Meal { due: now + pace.fill, log_bytes };
        grown <= pace.bite_bytes
    }
}

/// The life of the preparer's thread.
pub(crate) fn run(shared: &Shared) {
    let mut meal = Meal { due: Instant::now() + shared.pace.fill, log_bytes: 0 };
    while let Some(task) = next_task(shared, &mut meal) {
        let done = match task {
            Task::Release(first) => release(shared, first),
            Task::Prepare(bytes) => prepare_or_wait(shared, bytes),
            Task::Fill(bite) => fill(shared, &bite),
            Task::AnnounceSpace => {
                shared.push_event(LogEvent::SpaceAgain);
                Ok(())
            }
        };
        if let Err(error) = done {
            shared.fail(error.into());
        }
    }
}

/// Sorts out what an earlier run has left. A fresh log gets its first segment here, so that a disk
/// without room for it is an error of the start and not a member that hangs.
pub(crate) fn put_in_order(shared: &Shared) -> Result<(), LogError> {
    let mut leftovers = Vec::new();
    let mut desk = shared.lock();
    let listed = shared.files.list().map_err(FileError::new("list", &shared.path))?;
    for (name, bytes) in listed {
        match FileName::parse(&name) {
            FileName::Segment(segment) => {
                desk.segments.insert(segment, bytes);
            }
            FileName::Spare(number) => {
                desk.spare_next = desk.spare_next.max(number.saturating_add(1));
                if bytes == shared.options.segment_bytes && desk.spares.len() < LOG_SPARES_MAX {
                    // Whether it was filled nobody remembers; if not, it costs a little time.
                    desk.spares.push_back(Spare::full(name, bytes));
                } else {
                    leftovers.push(name);
                }
            }
            FileName::Temporary => leftovers.push(name),
            FileName::Foreign => tracing::warn!(name, "not a file of the log: left alone"),
        }
    }
    let is_fresh = desk.segments.is_empty() && desk.spares.is_empty();
    drop(desk);
    for name in leftovers {
        remove(shared, &name)?;
    }
    // A segment that was named just before a crash may have been replayed: its name is relied on.
    sync_names(shared)?;
    if is_fresh {
        // Filled at once: no write of ours is there yet to be held up.
        prepare(shared, shared.options.segment_bytes)?;
        let bytes = shared.options.segment_bytes;
        let bite = next_bite(&mut shared.lock(), bytes);
        bite.map_or(Ok(()), |bite| fill(shared, &bite))?;
    }
    Ok(())
}

fn next_task(shared: &Shared, meal: &mut Meal) -> Option<Task> {
    let mut desk = shared.lock();
    loop {
        if desk.has_ended() {
            return None;
        }
        if let Some(first) = desk.release.take() {
            return Some(Task::Release(first));
        }
        if ends_full(&desk) {
            desk.full_until = None;
            return Some(Task::AnnounceSpace);
        }
        let may_try = desk.full_until.is_none_or(|until| until <= Instant::now());
        if may_try && let Some(bytes) = missing(&desk, shared.options.segment_bytes) {
            return Some(Task::Prepare(bytes));
        }
        let mut until = if may_try { None } else { desk.full_until };
        if desk.may_fill() {
            if meal.begins(Instant::now(), shared.pace, desk.log_bytes)
                && let Some(bite) = next_bite(&mut desk, shared.pace.bite_bytes)
            {
                return Some(Task::Fill(bite));
            }
            until = Some(until.map_or(meal.due, |until| until.min(meal.due)));
        }
        desk = shared.wait_to_prepare(desk, until);
    }
}

/// The next part of the first spare that is not filled; that one is busy from now on.
fn next_bite(desk: &mut Desk, bytes: u64) -> Option<Bite> {
    let spare = desk.spares.iter_mut().find(|spare| spare.filled < spare.bytes)?;
    spare.is_busy = true;
    let bytes = bytes.min(spare.bytes - spare.filled);
    Some(Bite { name: spare.name.clone(), offset: spare.filled, bytes })
}

fn fill(shared: &Shared, bite: &Bite) -> Result<(), FileError> {
    let filled = match shared.files.fill(&bite.name, bite.offset, bite.bytes) {
        Ok(()) => bite.offset + bite.bytes,
        // Some file systems need new blocks for every write. It is as good as it was.
        Err(error) if is_full(&error) => u64::MAX,
        Err(error) => return Err(FileError::new("fill", &shared.path.join(&bite.name))(error)),
    };
    let mut desk = shared.lock();
    let mut spares = desk.spares.iter_mut();
    let spare = spares.find(|spare| spare.name == bite.name).expect("a busy spare is not taken");
    (spare.filled, spare.is_busy) = (filled, false);
    drop(desk);
    shared.spares_have_changed();
    Ok(())
}

/// The size of the next file to make, if one is needed.
fn missing(desk: &MutexGuard<'_, Desk>, segment_bytes: u64) -> Option<u64> {
    let has = |bytes: u64| desk.spares.iter().any(|spare| spare.bytes >= bytes);
    match desk.wanted_bytes {
        Some(bytes) if !has(bytes) => Some(bytes),
        _ if desk.spares.len() < LOG_SPARES_AHEAD && !desk.is_stopping() => Some(segment_bytes),
        _ => None,
    }
}

/// A full disk is no failure: it is announced, and tried again later.
fn prepare_or_wait(shared: &Shared, bytes: u64) -> Result<(), FileError> {
    let error = match prepare(shared, bytes) {
        Err(error) if is_full(&error.source) => error,
        done => return done,
    };
    let mut desk = shared.lock();
    let was_full = desk.full_until.replace(Instant::now() + shared.pace.space_retry).is_some();
    drop(desk);
    shared.spares_have_changed();
    if !was_full {
        tracing::warn!(error = %error.source, "no room for the next log segment: the reserve is in use");
        shared.push_event(LogEvent::Full);
    }
    Ok(())
}

/// Makes a spare.
fn prepare(shared: &Shared, bytes: u64) -> Result<(), FileError> {
    let number = new_number(shared);
    let (temporary, name) = (temporary_name(number), spare_name(number));
    let failed = |action| FileError::new(action, &shared.path.join(&temporary));
    let filled = shared.files.allocate(&temporary, bytes).map_err(failed("allocate"))?;
    shared.files.rename(&temporary, &name).map_err(failed("rename"))?;
    sync_names(shared)?;
    shared.lock().spares.push_back(Spare { name, bytes, filled, is_busy: false });
    shared.spares_have_changed();
    Ok(())
}

/// Recycles or removes the segments before `first`, the oldest first and each durably before the
/// next: whatever a crash leaves is a log without a gap.
fn release(shared: &Shared, first: SegmentId) -> Result<(), FileError> {
    loop {
        let mut desk = shared.lock();
        let Some((&segment, &bytes)) = desk.segments.range(..first).next() else { return Ok(()) };
        desk.segments.remove(&segment);
        let recycle = bytes == shared.options.segment_bytes && desk.spares.len() < LOG_SPARES_MAX;
        drop(desk);
        let name = segment_name(segment);
        if !recycle {
            remove(shared, &name)?;
            sync_names(shared)?;
            continue;
        }
        let spare = spare_name(new_number(shared));
        shared
            .files
            .rename(&name, &spare)
            .map_err(FileError::new("rename", &shared.path.join(&name)))?;
        sync_names(shared)?;
        shared.lock().spares.push_back(Spare::full(spare, bytes));
        shared.spares_have_changed();
    }
}

/// Whether the time of a full disk is over: the next segment and the reserve are there again.
fn ends_full(desk: &Desk) -> bool {
    desk.full_until.is_some()
        && desk.wanted_bytes.is_none()
        && desk.spares.len() >= LOG_SPARES_AHEAD
}

fn new_number(shared: &Shared) -> u64 {
    let mut desk = shared.lock();
    let number = desk.spare_next;
    desk.spare_next = number.checked_add(1).expect("fewer than 2^64 segments");
    number
}

fn remove(shared: &Shared, name: &str) -> Result<(), FileError> {
    match shared.files.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new("remove", &shared.path.join(name))(error))
        }
        _ => Ok(()),
    }
}

fn sync_names(shared: &Shared) -> Result<(), FileError> {
    shared.files.sync_names().map_err(FileError::new("sync folder", &shared.path))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bites_are_taken_at_their_pace_and_not_while_the_log_grows_fast() {
        const BITE: u64 = 1000;
        let fill = Duration::from_millis(100);
        let pace = Pace { space_retry: fill, fill, bite_bytes: BITE };
        let begin = Instant::now();
        let mut meal = Meal { due: begin, log_bytes: 0 };
        let mut at =
            |ms, log_bytes| meal.begins(begin + Duration::from_millis(ms), pace, log_bytes);
        assert!(at(0, 0));
        assert!(!at(99, 0), "before its time");
        assert!(at(100, BITE));
        assert!(!at(200, 2 * BITE + 1), "the log outgrows what could be filled");
        assert!(!at(250, 2 * BITE + 1), "left out is left out");
        assert!(at(300, 3 * BITE));
    }
}
