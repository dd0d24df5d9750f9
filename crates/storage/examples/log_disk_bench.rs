//! What a log write costs on this disk, and what a large snapshot does to it.
//!
//! ```text
//!   cargo run --release -p storage --example log_disk_bench -- [folder] [writes]
//! ```
//!
//! The folder (default: a temporary one in the current folder) must be on the disk in question.
//! Every number is of this machine at this moment: run it twice and on a quiet machine.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::messages::{LogWrite, SegmentId};
use state::{LogIndex, Term};
use storage::log_disk::{Companion, LogDir, LogDisk, LogEvent, LogOptions};
use storage::snapshots::{SnapshotFiles, SnapshotName};

type Failure = Box<dyn std::error::Error>;

const SNAPSHOT_BYTES: usize = 512 << 20;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let writes: u64 = arguments.next().map_or(Ok(5_000), |text| text.parse())?;
    let mut out = std::io::stdout().lock();
    use std::io::Write as _;

    for segment_mib in [1, 16, 64] {
        let options = LogOptions { segment_bytes: segment_mib << 20, ..LogOptions::default() };
        let took = with_log(&folder, &options, |bench| Ok(bench.start_time))?;
        writeln!(out, "start of a fresh log, segment of {segment_mib} MiB: {took:.1?}")?;
    }
    for size in [512, 4 << 10, 64 << 10] {
        writeln!(out, "\nwrites of {size} bytes")?;
        let lone = LogOptions::default();
        // In turns, because the disk's mood changes within seconds.
        for _ in 0..3 {
            for companion in [Companion::Never, Companion::Always] {
                let options = LogOptions { companion, ..LogOptions::default() };
                let with = if companion == Companion::Always { "companion" } else { "alone    " };
                let line = with_log(&folder, &options, |b| b.inline(size, writes))?;
                writeln!(out, "  1 by its caller, {with}  {line}")?;
                let line = with_log(&folder, &options, |b| b.lanes(size, writes, 1))?;
                writeln!(out, "  1 by a lane, {with}      {line}")?;
            }
        }
        for depth in [2, 4] {
            let options = LogOptions { lanes: depth, ..LogOptions::default() };
            let line = with_log(&folder, &options, |b| b.lanes(size, writes, depth))?;
            writeln!(out, "  {depth} in flight, lanes    {line}")?;
        }
        let line = with_log(&folder, &lone, |b| b.lanes(size, writes, 16))?;
        writeln!(out, "  16 waiting, 2 lanes   {line}")?;
        let options = LogOptions { durable: false, ..LogOptions::default() };
        let line = with_log(&folder, &options, |b| b.lanes(size, writes, 1))?;
        writeln!(out, "  without durability    {line}")?;
    }
    writeln!(out, "\nwrites of 4096 bytes, 2 in flight, while a snapshot of 512 MiB is written")?;
    for sync_kib in [256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, u64::MAX >> 10] {
        let (took, line) = beside_snapshot(&folder, sync_kib << 10)?;
        writeln!(out, "  synced each {sync_kib} KiB: {line}; snapshot {took:.2?}")?;
    }
    Ok(())
}

/// A log disk of its own, and where its next write goes.
struct Bench {
    disk: LogDisk,
    events: Receiver<u64>,
    start_time: Duration,
    segment_bytes: u64,
    next: LogWrite,
}

fn with_log<T>(
    folder: &str,
    options: &LogOptions,
    run: impl FnOnce(&mut Bench) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let folder = tempfile::tempdir_in(folder)?;
    let mut bench = Bench::start(folder.path(), options)?;
    run(&mut bench)
}

impl Bench {
    fn start(path: &Path, options: &LogOptions) -> Result<Bench, Failure> {
        let (sender, events) = channel();
        let begin = Instant::now();
        let disk = LogDir::new(path, options.clone()).start(move |event| {
            if let LogEvent::Persisted { number, .. } = event {
                // The bench may have ended.
                let _ = sender.send(number);
            }
        })?;
        let next = LogWrite { number: 1, segment: SegmentId(1), offset: 0, bytes: Bytes::new() };
        let segment_bytes = options.segment_bytes;
        Ok(Bench { disk, events, start_time: begin.elapsed(), segment_bytes, next })
    }

    fn write(&mut self, bytes: &Bytes) -> LogWrite {
        let mut write = self.next.clone();
        if write.offset + bytes.len() as u64 > self.segment_bytes {
            write.segment.0 += 1;
            write.offset = 0;
            // As a cut does: what is behind by three segments is recycled.
            self.disk.release(SegmentId(write.segment.0.saturating_sub(3)));
        }
        write.bytes = bytes.clone();
        self.next = write.clone();
        self.next.number += 1;
        self.next.offset += bytes.len() as u64;
        write
    }

    fn inline(&mut self, size: usize, writes: u64) -> Result<Summary, Failure> {
        let bytes = Bytes::from(vec![0x5a; size]);
        let mut summary = Summary::begin();
        for _ in 0..writes {
            let write = self.write(&bytes);
            let begin = Instant::now();
            let event = self.disk.append_inline(write)?;
            assert!(matches!(event, Some(LogEvent::Persisted { .. })), "{event:?}");
            summary.add(begin);
        }
        Ok(summary.end())
    }

    fn lanes(&mut self, size: usize, writes: u64, depth: usize) -> Result<Summary, Failure> {
        self.lanes_while(size, depth, |done| done < writes)
    }

    fn lanes_while(
        &mut self,
        size: usize,
        depth: usize,
        go_on: impl Fn(u64) -> bool,
    ) -> Result<Summary, Failure> {
        let bytes = Bytes::from(vec![0x5a; size]);
        let mut summary = Summary::begin();
        let mut begun = std::collections::VecDeque::new();
        let mut done = 0;
        while go_on(done) {
            while begun.len() < depth {
                let write = self.write(&bytes);
                begun.push_back(Instant::now());
                self.disk.append(write)?;
            }
            self.events.recv()?;
            done += 1;
            summary.add(begun.pop_front().ok_or("an event without a write")?);
        }
        Ok(summary.end())
    }
}

/// Latencies and the rate of one run.
struct Summary {
    begin: Instant,
    wall: Duration,
    times: Vec<Duration>,
}

impl Summary {
    fn begin() -> Summary {
        Summary { begin: Instant::now(), wall: Duration::ZERO, times: Vec::new() }
    }

    fn add(&mut self, begin: Instant) {
        self.times.push(begin.elapsed());
    }

    fn end(mut self) -> Summary {
        self.wall = self.begin.elapsed();
        self.times.sort_unstable();
        self
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |per_mille: usize| {
            let last = self.times.len().saturating_sub(1);
            self.times.get(last * per_mille / 1000).copied().unwrap_or_default()
        };
        let rate = self.times.len() as f64 / self.wall.as_secs_f64();
        let (p50, p99, max) = (at(500), at(990), at(1000));
        write!(f, "p50 {p50:9.1?}  p99 {p99:9.1?}  max {max:9.1?}  {rate:8.0}/s")
    }
}

/// A stream of log writes while a large snapshot is written into the same file system.
fn beside_snapshot(folder: &str, sync_bytes: u64) -> Result<(Duration, Summary), Failure> {
    let folder = tempfile::tempdir_in(folder)?;
    let snapshots = SnapshotFiles::open(folder.path())?.with_sync_bytes(sync_bytes);
    let log = folder.path().join("log");
    std::fs::create_dir(&log)?;
    let mut bench = Bench::start(&log, &LogOptions::default())?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let begin = Instant::now();
            let chunk = Bytes::from(vec![0xa5; 256 << 10]);
            let mut left = SNAPSHOT_BYTES;
            let name = SnapshotName { index: LogIndex(1), term: Term(1) };
            let written = snapshots.write(name, || {
                let more = left > 0;
                left = left.saturating_sub(chunk.len());
                Ok::<_, std::io::Error>(more.then(|| chunk.clone()))
            });
            ended.store(true, Ordering::Release);
            written.map(|_| begin.elapsed())
        });
        let summary = bench.lanes_while(4096, 2, |_| !ended.load(Ordering::Acquire));
        let took = writer.join().map_err(|_| "the snapshot writer panicked")??;
        Ok((took, summary?))
    })
}
