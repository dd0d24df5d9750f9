//! The log disk on a disk that does its worst.
//!
//! Every report is checked when it is made: the write must survive a power cut at that moment, the
//! numbers must be dense and ascending, nothing may follow a failure. `planted_…` shows that each of
//! these checks can fail.

mod faulty;
mod folder;
mod order;
mod space;
mod unfilled;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use node::messages::{LogWrite, SegmentId};

use super::shared::Pace;
use super::{Companion, LogDir, LogDisk, LogError, LogEvent, LogOptions};
use crate::tests::causes::chain;
use faulty::FaultyDisk;

const SEGMENT_BYTES: u64 = 4096;
const PATIENCE: Duration = Duration::from_secs(20);
/// No test waits for a retry by itself: each says when there is space.
const NEVER: Duration = Duration::from_secs(3600);

/// An event as tests compare it.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Heard {
    Persisted(u64),
    Full,
    SpaceAgain,
    Failed(String),
}

/// What was written and what was said about it.
#[derive(Default)]
struct Ledger {
    writes: BTreeMap<u64, LogWrite>,
    persisted: u64,
    failed: bool,
    violations: Vec<String>,
}

impl Ledger {
    fn hear(&mut self, disk: &FaultyDisk, event: &LogEvent) -> Heard {
        if self.failed {
            self.violations.push(format!("{event:?} follows a failure"));
        }
        match event {
            LogEvent::Persisted { number, .. } => {
                if *number != self.persisted + 1 {
                    self.violations.push(format!("{number} follows {}", self.persisted));
                }
                self.persisted = *number;
                if !disk.survives(&self.writes[number]) {
                    self.violations.push(format!("{number} is acknowledged and not durable"));
                }
                Heard::Persisted(*number)
            }
            LogEvent::Full => Heard::Full,
            LogEvent::SpaceAgain => Heard::SpaceAgain,
            LogEvent::Failed(error) => {
                self.failed = true;
                Heard::Failed(chain(error))
            }
        }
    }
}

/// A log disk on a faulty disk, its ledger, and what it reported.
struct Rig {
    disk: FaultyDisk,
    log: LogDisk,
    ledger: Arc<Mutex<Ledger>>,
    events: Receiver<Heard>,
    number: u64,
    segment: SegmentId,
    offset: u64,
}

impl Rig {
    fn new() -> Rig {
        Rig::on(FaultyDisk::default(), 2)
    }

    fn on(disk: FaultyDisk, lanes: usize) -> Rig {
        Rig::try_on(disk, lanes).expect("the disk starts well")
    }

    fn try_on(disk: FaultyDisk, lanes: usize) -> Result<Rig, LogError> {
        let options = LogOptions { segment_bytes: SEGMENT_BYTES, lanes, ..LogOptions::default() };
        Rig::with(disk, options)
    }

    fn with(disk: FaultyDisk, options: LogOptions) -> Result<Rig, LogError> {
        Rig::at(Pace { space_retry: NEVER, fill: NEVER, bite_bytes: 0 }, disk, options)
    }

    fn at(pace: Pace, disk: FaultyDisk, options: LogOptions) -> Result<Rig, LogError> {
        let dir = LogDir { files: Box::new(disk.clone()), path: PathBuf::from("log"), options };
        let ledger: Arc<Mutex<Ledger>> = Arc::default();
        let (sender, events) = channel();
        let (hearing, its_disk) = (Arc::clone(&ledger), disk.clone());
        let report = move |event: LogEvent| {
            let heard = lock(&hearing).hear(&its_disk, &event);
            // A test that has seen enough drops its end.
            let _ = sender.send(heard);
        };
        let log = dir.start_at(pace, Box::new(report))?;
        Ok(Rig { disk, log, ledger, events, number: 0, segment: SegmentId(1), offset: 0 })
    }

    /// The next write, of this size, in the next segment if it does not fit in this one.
    fn next_write(&mut self, size: usize) -> LogWrite {
        self.number += 1;
        let end = self.offset + size as u64;
        if end > SEGMENT_BYTES && self.offset > 0 {
            self.next_segment();
        }
        let bytes: Bytes = (0..size).map(|at| fill_byte(self.number, at)).collect();
        let write =
            LogWrite { number: self.number, segment: self.segment, offset: self.offset, bytes };
        self.offset += size as u64;
        lock(&self.ledger).writes.insert(self.number, write.clone());
        write
    }

    fn next_segment(&mut self) {
        self.segment.0 += 1;
        self.offset = 0;
    }

    fn append(&mut self, size: usize) -> Result<(), LogError> {
        let write = self.next_write(size);
        self.log.append(write)
    }

    /// The next event.
    fn hear(&self) -> Heard {
        self.events.recv_timeout(PATIENCE).expect("an event comes")
    }

    fn hear_many(&self, count: usize) -> Vec<Heard> {
        (0..count).map(|_| self.hear()).collect()
    }

    /// Everything that was reported and not heard yet, once the disk has ended.
    fn end(self) -> (Vec<Heard>, Vec<String>) {
        drop(self.log);
        let rest = self.events.try_iter().collect();
        let mut violations = std::mem::take(&mut lock(&self.ledger).violations);
        violations.append(&mut self.disk.world().violations);
        (rest, violations)
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("no reporter panics")
}

fn fill_byte(number: u64, at: usize) -> u8 {
    u8::try_from((number * 31 + at as u64) % 255 + 1).expect("it is at most 255")
}

fn persisted(numbers: impl IntoIterator<Item = u64>) -> Vec<Heard> {
    numbers.into_iter().map(Heard::Persisted).collect()
}
