//! What the threads of the log disk share: one struct behind one lock.
//!
//! ```text
//!   queue:   [4, 5]                 handed over, no lane has taken them yet
//!   window:  [2 … , 3 done]         oldest unreported first; 3 waits for 2
//!   outbox:  [Persisted 1]          decided; given out by one thread at a time, without the lock
//! ```
//!
//! Everything is reported through the outbox, so the order in which things were decided under the
//! lock is the order in which the shell hears of them, and nothing follows `Failed`.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use node::messages::{LogWrite, SegmentId};

use super::company::Company;
use super::segment_files::{SegmentFiles, segment_name};
use super::{LogDir, LogError, LogEvent, LogOptions};
use crate::files::FileError;
use crate::limits::{LOG_BATCH_WRITES_MAX, LOG_WRITES_WAITING_MAX};

pub(crate) struct Shared {
    pub(crate) files: Box<dyn SegmentFiles>,
    pub(crate) path: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) pace: Pace,
    report: Box<dyn Fn(LogEvent) + Send + Sync>,
    desk: Mutex<Desk>,
    /// Wakes lanes: something to write, a segment opened, stop.
    work: Condvar,
    /// Wakes the preparer.
    prepare: Condvar,
    /// Wakes whoever waits for a spare or for room in the window.
    ready: Condvar,
}

/// How often the preparer looks at what changes without a word.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// At a disk that was full.
    pub(crate) space_retry: Duration,
    /// At a spare to be filled.
    pub(crate) fill: Duration,
    /// How much is filled then.
    pub(crate) bite_bytes: u64,
}

/// A segment ready for use.
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// So much of it, from the front, is more than reserved.
    pub(crate) filled: u64,
    /// A bite is on its way: not to be taken now.
    pub(crate) is_busy: bool,
}

impl Spare {
    /// One whose every block has been written before.
    pub(crate) fn full(name: String, bytes: u64) -> Spare {
        Spare { name, bytes, filled: bytes, is_busy: false }
    }
}

/// All that changes.
#[derive(Default)]
pub(crate) struct Desk {
    queue: VecDeque<LogWrite>,
    /// Number of each unreported write, oldest first, with its sync time once it is durable.
    window: VecDeque<(u64, Option<Duration>)>,
    outbox: VecDeque<LogEvent>,
    /// A thread is giving out the outbox.
    reporting: bool,
    /// Batches that are being written and synced.
    busy: usize,
    /// Batches that have been begun since the start.
    batches: u64,
    company: Company,
    /// A sync that is alone in flight, of this segment and for this write, wants company.
    lonely: Option<(SegmentId, u64)>,
    /// A lane is giving a spare its segment's name, durably; no other write may begin before that is
    /// done.
    opening: bool,
    /// Every segment file and its size when it was named.
    pub(crate) segments: BTreeMap<SegmentId, u64>,
    /// Bytes that the log has grown by.
    pub(crate) log_bytes: u64,
    /// The oldest first.
    pub(crate) spares: VecDeque<Spare>,
    /// Never used before in a file name.
    pub(crate) spare_next: u64,
    /// A lane waits for a spare of at least this size.
    pub(crate) wanted_bytes: Option<u64>,
    /// Segments before this one may go.
    pub(crate) release: Option<SegmentId>,
    /// The disk is full; tried again then.
    pub(crate) full_until: Option<Instant>,
    failed: bool,
    /// What was handed over is finished, and no more comes.
    stopping: bool,
    /// Nothing will need a segment any more.
    lanes_ended: bool,
}

/// A sync that began when no other was in flight.
pub(crate) struct LoneSync {
    /// Those begun until then, its own included.
    batches: u64,
    is_accompanied: bool,
}

/// What a lane has to do.
pub(crate) enum Work {
    /// Make these durable.
    Batch(Vec<LogWrite>),
    /// Sync this segment beside another lane that does so for the write of this number.
    Companion(SegmentId, u64),
}

impl Shared {
    pub(crate) fn new(
        log: LogDir,
        pace: Pace,
        report: Box<dyn Fn(LogEvent) + Send + Sync>,
    ) -> Shared {
        Shared {
            files: log.files,
            path: log.path,
            options: log.options,
            pace,
            report,
            desk: Mutex::default(),
            work: Condvar::new(),
            prepare: Condvar::new(),
            ready: Condvar::new(),
        }
    }

    /// A panic elsewhere does not make the numbers here wrong: each change is complete before the
    /// lock is given back, and `fail_on_panic` stops everything anyway.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lock().window.len()
    }

    pub(crate) fn enqueue(&self, write: LogWrite) -> Result<(), LogError> {
        let mut desk = self.lock();
        while desk.window.len() >= LOG_WRITES_WAITING_MAX && !desk.failed {
            desk = wait(&self.ready, desk);
        }
        if desk.failed {
            return Err(LogError::Stopped);
        }
        desk.expect_next(write.number);
        desk.window.push_back((write.number, None));
        desk.log_bytes += write.bytes.len() as u64;
        desk.queue.push_back(write);
        drop(desk);
        self.work.notify_one();
        Ok(())
    }

    /// Whether the caller may write by itself, because nothing is in flight.
    pub(crate) fn begin_alone(&self, write: &LogWrite) -> Result<bool, LogError> {
        let mut desk = self.lock();
        if desk.failed {
            return Err(LogError::Stopped);
        }
        // An event that is still being given out belongs before the one the caller would get.
        if !desk.window.is_empty() || desk.reporting || !desk.outbox.is_empty() {
            return Ok(false);
        }
        desk.expect_next(write.number);
        desk.window.push_back((write.number, None));
        desk.log_bytes += write.bytes.len() as u64;
        desk.opening = !desk.segments.contains_key(&write.segment);
        desk.begin_batch();
        Ok(true)
    }

    /// The event of the write that the caller made by itself; `None` if the disk failed elsewhere
    /// meanwhile and said so.
    pub(crate) fn end_alone(
        &self,
        number: u64,
        done: Result<Option<Duration>, LogError>,
    ) -> Option<LogEvent> {
        let mut desk = self.lock();
        desk.window.clear();
        desk.end_batch();
        if desk.failed {
            return None;
        }
        match done {
            Ok(Some(sync_time)) => Some(LogEvent::Persisted { number, sync_time }),
            Ok(None) => None,
            Err(error) => {
                desk.failed = true;
                drop(desk);
                self.wake_all();
                Some(LogEvent::Failed(error))
            }
        }
    }

    /// Waits for writes and takes all that wait for the same segment: one sync serves them all.
    /// `None` ends the lane.
    pub(crate) fn next_work(&self) -> Option<Work> {
        let mut desk = self.lock();
        loop {
            if desk.failed || (desk.stopping && desk.queue.is_empty()) {
                return None;
            }
            if !desk.opening && !desk.queue.is_empty() {
                return Some(Work::Batch(desk.take_batch()));
            }
            if let Some((segment, number)) = desk.lonely.take() {
                return Some(Work::Companion(segment, number));
            }
            desk = wait(&self.work, desk);
        }
    }

    /// Gives the next spare the name of this segment, which the lane has found to be new. Says
    /// whether it did: not if the disk fails, or stops while it is full.
    pub(crate) fn open_segment(&self, segment: SegmentId, bytes: u64) -> Result<bool, FileError> {
        let Some(Spare { name, bytes, .. }) = self.take_spare(bytes) else { return Ok(false) };
        let target = segment_name(segment);
        self.files
            .rename(&name, &target)
            .map_err(FileError::new("rename to", &self.path.join(&target)))?;
        // Before the first byte. If the power took the name and left bytes, the spare would hold
        // records of a segment that the next start does not know: it would give the same name to the
        // same file, and old records behind new ones would pass for their continuation.
        self.files.sync_names().map_err(FileError::new("sync folder", &self.path))?;
        let mut desk = self.lock();
        desk.segments.insert(segment, bytes);
        desk.opening = false;
        drop(desk);
        self.work.notify_all();
        Ok(true)
    }

    fn take_spare(&self, bytes: u64) -> Option<Spare> {
        let mut desk = self.lock();
        loop {
            if desk.failed {
                return None;
            }
            if let Some(at) =
                desk.spares.iter().position(|spare| spare.bytes >= bytes && !spare.is_busy)
            {
                desk.wanted_bytes = None;
                let spare = desk.spares.remove(at);
                drop(desk);
                self.prepare.notify_one();
                return spare;
            }
            if desk.stopping && desk.full_until.is_some() {
                // Nobody will make room. These writes were never acknowledged.
                desk.queue.clear();
                desk.opening = false;
                drop(desk);
                self.wake_all();
                return None;
            }
            desk.wanted_bytes = Some(bytes);
            self.prepare.notify_one();
            desk = wait(&self.ready, desk);
        }
    }

    /// Whether the segment has no file yet; the lane that took its first write must make it.
    pub(crate) fn is_new(&self, segment: SegmentId) -> bool {
        !self.lock().segments.contains_key(&segment)
    }

    /// A sync is about to begin. If it is the only one, says so, having asked an idle lane for a
    /// companion if that is wanted.
    pub(crate) fn begin_sync(&self, segment: SegmentId, number: u64) -> Option<LoneSync> {
        let mut desk = self.lock();
        if desk.busy > 1 || !desk.queue.is_empty() {
            return None;
        }
        let is_accompanied = desk.company.is_wanted(self.options.companion);
        let lone = LoneSync { batches: desk.batches, is_accompanied };
        if is_accompanied {
            desk.lonely = Some((segment, number));
            drop(desk);
            self.work.notify_one();
        }
        Some(lone)
    }

    /// The sync has succeeded; teaches something if it was the only one to its end.
    pub(crate) fn end_sync(&self, lone: LoneSync, time: Duration) {
        let mut desk = self.lock();
        if desk.batches == lone.batches {
            desk.company.took(lone.is_accompanied, time);
        }
    }

    /// The lane has made these writes durable, or has failed to.
    pub(crate) fn finish(&self, batch: &[LogWrite], done: Result<Option<Duration>, LogError>) {
        match done {
            Ok(Some(sync_time)) => {
                let mut desk = self.lock();
                desk.end_batch();
                desk.mark_durable(batch, sync_time);
                self.give_out(desk);
                self.ready.notify_all();
            }
            Ok(None) => {}
            Err(error) => self.fail(error),
        }
    }

    /// Reports the failure, unless one was reported, and stops everything.
    pub(crate) fn fail(&self, error: LogError) {
        let mut desk = self.lock();
        if !desk.failed {
            desk.failed = true;
            desk.outbox.push_back(LogEvent::Failed(error));
            self.give_out(desk);
        }
        self.wake_all();
    }

    /// Reports something that stands in no order with the writes.
    pub(crate) fn push_event(&self, event: LogEvent) {
        let mut desk = self.lock();
        // The caller's own failure is `failed` already, and is still to be reported.
        if desk.failed && !matches!(event, LogEvent::Failed(_)) {
            return;
        }
        desk.outbox.push_back(event);
        self.give_out(desk);
    }

    /// Reports what stands in the outbox, in its order, unless another thread is at it: that one
    /// will find what was added.
    fn give_out<'a>(&'a self, mut desk: MutexGuard<'a, Desk>) {
        if desk.reporting {
            return;
        }
        desk.reporting = true;
        while let Some(event) = desk.outbox.pop_front() {
            drop(desk);
            (self.report)(event);
            desk = self.lock();
        }
        desk.reporting = false;
    }

    /// Takes segments off the books that hold nothing; says which of them were on the books.
    pub(crate) fn forget(&self, segments: &[SegmentId]) -> Vec<SegmentId> {
        let mut desk = self.lock();
        segments.iter().copied().filter(|id| desk.segments.remove(id).is_some()).collect()
    }

    pub(crate) fn release(&self, first: SegmentId) {
        let mut desk = self.lock();
        desk.release = desk.release.max(Some(first));
        // What is freed may be what a full disk was waiting for.
        desk.full_until = desk.full_until.map(|_| Instant::now());
        drop(desk);
        self.prepare.notify_one();
    }

    pub(crate) fn look_for_space(&self) {
        let mut desk = self.lock();
        desk.full_until = desk.full_until.map(|_| Instant::now());
        drop(desk);
        self.prepare.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.wake_all();
    }

    fn wake_all(&self) {
        self.work.notify_all();
        self.prepare.notify_all();
        self.ready.notify_all();
    }

    /// No lane will need a segment any more: the preparer may end.
    pub(crate) fn lanes_have_ended(&self) {
        self.lock().lanes_ended = true;
        self.wake_all();
    }

    /// A lane may be waiting for the spare that was just made, or for the news that none can be.
    pub(crate) fn spares_have_changed(&self) {
        self.ready.notify_all();
    }

    /// The preparer sleeps until there is something to do, or the time has come.
    pub(crate) fn wait_to_prepare<'a>(
        &'a self,
        desk: MutexGuard<'a, Desk>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Desk> {
        let Some(until) = until else { return wait(&self.prepare, desk) };
        let time = until.saturating_duration_since(Instant::now());
        self.prepare.wait_timeout(desk, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Turns a panic of the thread that holds the result into a failure of the disk.
    pub(crate) fn fail_on_panic(&self) -> impl Drop + '_ {
        struct Watch<'a>(&'a Shared);
        impl Drop for Watch<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.fail(LogError::Panicked);
                }
            }
        }
        Watch(self)
    }
}

impl Desk {
    /// Whether the preparer has nothing left to prepare for.
    pub(crate) fn has_ended(&self) -> bool {
        self.failed || self.lanes_ended
    }

    /// Whether a spare waits to be filled, and somebody may come to need it.
    pub(crate) fn may_fill(&self) -> bool {
        !self.stopping
            && self.full_until.is_none()
            // A lane that waits for a spare gets it before the next bite.
            && self.wanted_bytes.is_none()
            && self.spares.iter().any(|spare| spare.filled < spare.bytes)
    }

    /// Whether the disk is being closed: then only what somebody waits for is prepared.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    fn begin_batch(&mut self) {
        self.busy += 1;
        self.batches += 1;
    }

    /// Its sync has ended, and company would come too late.
    fn end_batch(&mut self) {
        self.busy -= 1;
        self.lonely = None;
    }

    fn expect_next(&self, number: u64) {
        if let Some((last, _)) = self.window.back() {
            assert!(*last + 1 == number, "log write {number} follows {last}");
        }
    }

    fn take_batch(&mut self) -> Vec<LogWrite> {
        let first = self.queue.pop_front().expect("the queue was found not empty");
        self.opening = !self.segments.contains_key(&first.segment);
        let mut writes = vec![first];
        while writes.len() < LOG_BATCH_WRITES_MAX
            && self.queue.front().is_some_and(|next| next.segment == writes[0].segment)
        {
            writes.extend(self.queue.pop_front());
        }
        self.begin_batch();
        writes
    }

    /// Notes that these are durable and decides what may be reported: only what has no undecided
    /// write before it, and nothing once the disk has failed.
    fn mark_durable(&mut self, batch: &[LogWrite], sync_time: Duration) {
        for write in batch {
            let flight = self
                .window
                .iter_mut()
                .find(|(number, _)| *number == write.number)
                .expect("a write stays in the window until it is reported");
            assert!(flight.1.is_none(), "log write {} is made durable twice", write.number);
            flight.1 = Some(sync_time);
        }
        if self.failed {
            return;
        }
        while let Some((number, Some(sync_time))) = self.window.front().copied() {
            self.outbox.push_back(LogEvent::Persisted { number, sync_time });
            self.window.pop_front();
        }
    }
}

fn wait<'a>(condition: &Condvar, desk: MutexGuard<'a, Desk>) -> MutexGuard<'a, Desk> {
    condition.wait(desk).unwrap_or_else(PoisonError::into_inner)
}
