//! Keeps segments ready ahead of need, and takes back those that are released.
//!
//! ```text
//!   new file ─ allocate, fill, sync ─▶ .tmp ─ rename, sync folder ─▶ .spare ─ by a lane ─▶ .wal
//!                                                                      ▲                    │
//!                                                                      └──── released ──────┘
//! ```
//!
//! A recycled segment needs no filling: its blocks exist. It keeps its old bytes. It becomes a
//! spare only after its new name is durable, or a crash could bring the old name back with a later
//! segment's bytes under it.

use std::io;
use std::sync::MutexGuard;
use std::time::Instant;

use node::messages::SegmentId;

use super::segment_files::{FileName, segment_name, spare_name, temporary_name};
use super::shared::{Desk, Shared};
use super::{LogError, LogEvent};
use crate::files::{FileError, is_full};
use crate::limits::{LOG_SPARES_AHEAD, LOG_SPARES_MAX, PACED_SYNC_BYTES};

/// What is to be done next.
enum Task {
    Release(SegmentId),
    Prepare(u64),
    AnnounceSpace,
}

/// The life of the preparer's thread.
pub(crate) fn run(shared: &Shared) {
    while let Some(task) = next_task(shared) {
        let done = match task {
            Task::Release(first) => release(shared, first),
            Task::Prepare(bytes) => prepare_or_wait(shared, bytes),
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
                    desk.spares.push_back((name, bytes));
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
        // In one bite: no write of ours is there yet to be held up, and a start is waited for.
        prepare(shared, shared.options.segment_bytes, u64::MAX)?;
    }
    Ok(())
}

fn next_task(shared: &Shared) -> Option<Task> {
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
        let until = if may_try { None } else { desk.full_until };
        desk = shared.wait_to_prepare(desk, until);
    }
}

/// The size of the next file to make, if one is needed.
fn missing(desk: &MutexGuard<'_, Desk>, segment_bytes: u64) -> Option<u64> {
    let has = |bytes: u64| desk.spares.iter().any(|(_, size)| *size >= bytes);
    match desk.wanted_bytes {
        Some(bytes) if !has(bytes) => Some(bytes),
        _ if desk.spares.len() < LOG_SPARES_AHEAD && !desk.is_stopping() => Some(segment_bytes),
        _ => None,
    }
}

/// A full disk is no failure: it is announced, and tried again later.
fn prepare_or_wait(shared: &Shared, bytes: u64) -> Result<(), FileError> {
    let error = match prepare(shared, bytes, PACED_SYNC_BYTES) {
        Err(error) if is_full(&error.source) => error,
        done => return done,
    };
    let mut desk = shared.lock();
    let was_full = desk.full_until.replace(Instant::now() + shared.space_retry).is_some();
    drop(desk);
    shared.spares_have_changed();
    if !was_full {
        tracing::warn!(error = %error.source, "no room for the next log segment: the reserve is in use");
        shared.push_event(LogEvent::Full);
    }
    Ok(())
}

/// Makes a spare.
fn prepare(shared: &Shared, bytes: u64, sync_bytes: u64) -> Result<(), FileError> {
    let number = new_number(shared);
    let (temporary, name) = (temporary_name(number), spare_name(number));
    let failed = |action| FileError::new(action, &shared.path.join(&temporary));
    shared.files.prepare(&temporary, bytes, sync_bytes).map_err(failed("allocate"))?;
    shared.files.rename(&temporary, &name).map_err(failed("rename"))?;
    sync_names(shared)?;
    shared.lock().spares.push_back((name, bytes));
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
        shared.lock().spares.push_back((spare, bytes));
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
