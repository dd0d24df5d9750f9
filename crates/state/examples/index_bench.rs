//! Times the key index alone, on one thread, with the allocator of the product.
//!
//! ```text
//! cargo run --release -p state --example index_bench -- [KEYS] [VALUE_BYTES] [SEED]
//! ```
//!
//! Keys are 64 bytes, in random or ascending order. Times are processor time of the thread, so that
//! neighbours disturb only by the caches they share: compare medians of several runs all the same.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use state::mvcc::index::{IndexView, KeyIndex, ScanEnd};
use state::mvcc::record::{PutFields, Record};
use state::{KeyRange, LeaseId, RangeEnd, Revision, Version};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A moment in the processor time of this thread.
struct Instant(Duration);

impl Instant {
    fn now() -> Instant {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Instant(time.try_into().expect("processor time is not negative"))
    }

    fn elapsed(&self) -> Duration {
        Instant::now().0 - self.0
    }
}

struct Bench {
    index: KeyIndex,
    keys: Vec<Vec<u8>>,
    revision: Revision,
    value: Vec<u8>,
    random: fastrand::Rng,
}

impl Bench {
    fn new(count: usize, value_bytes: usize, seed: u64, sorted: bool) -> Bench {
        let mut random = fastrand::Rng::with_seed(seed);
        let keys = (0..count)
            .map(|i| {
                let mark = if sorted { i as u64 } else { random.u64(..) };
                format!("/registry/things/{mark:020}/{:026}", i % 97).into_bytes()
            })
            .collect();
        let value = vec![7; value_bytes];
        let index = KeyIndex::new(Revision::FIRST, None);
        Bench { index, keys, revision: Revision::FIRST, value, random }
    }

    fn put(&mut self, i: usize) {
        self.revision = self.revision.next();
        let fields = PutFields {
            create_revision: self.revision,
            mod_revision: self.revision,
            version: 1,
            lease: LeaseId::NONE,
        };
        self.index.put(Record::put(0, &self.keys[i], fields, &self.value));
    }

    fn delete(&mut self, i: usize) {
        self.revision = self.revision.next();
        let version = Version::first_of(self.revision);
        self.index.delete(Record::tombstone(version, &self.keys[i]));
    }

    fn publish(&mut self) {
        self.index.publish(self.revision);
    }

    /// Puts all keys, published every `turn`.
    fn fill(&mut self, turn: usize) -> Duration {
        let start = Instant::now();
        for i in 0..self.keys.len() {
            self.put(i);
            if (i + 1) % turn == 0 {
                self.publish();
            }
        }
        self.publish();
        start.elapsed()
    }

    fn pick(&mut self) -> usize {
        self.random.usize(..self.keys.len())
    }

    fn each(&mut self, times: usize, mut operation: impl FnMut(&mut Bench)) -> f64 {
        let start = Instant::now();
        for _ in 0..times {
            operation(self);
        }
        nanos(start.elapsed(), times)
    }

    fn sweep_all(&mut self, slice: usize) -> (usize, Duration, Duration) {
        let (start, mut worst, mut dropped) = (Instant::now(), Duration::ZERO, 0);
        // At most one empty slice for each that drops something: the loop is bounded by garbage.
        loop {
            let slice_start = Instant::now();
            let sweep = self.index.sweep(slice);
            worst = worst.max(slice_start.elapsed());
            dropped += sweep.dropped.len();
            if sweep.done {
                return (dropped, start.elapsed(), worst);
            }
            assert!(!sweep.dropped.is_empty(), "a sweep without views makes progress");
        }
    }
}

fn nanos(time: Duration, times: usize) -> f64 {
    time.as_secs_f64() * 1e9 / times as f64
}

/// Resident memory in bytes, where the system says so.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn scan(view: &IndexView, range: &KeyRange, most: usize) -> usize {
    let mut seen = 0;
    let end = view.scan(range, usize::MAX, &mut |record| {
        seen += 1;
        black_box(record.bytes().len());
        if seen == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    black_box(end == ScanEnd::Done);
    seen
}

fn from(key: &[u8]) -> KeyRange {
    KeyRange { start: key.to_vec().into(), end: RangeEnd::Unbounded }
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (count, value, seed) = match (number(1_000_000), number(256), number(1)) {
        (Ok(count), Ok(value), Ok(seed)) => (count, value, seed),
        _ => return Err(std::io::Error::other("arguments are KEYS VALUE_BYTES SEED")),
    };
    let (count, value) = (
        usize::try_from(count).map_err(std::io::Error::other)?,
        usize::try_from(value).map_err(std::io::Error::other)?,
    );
    let mut out = std::io::stdout().lock();
    // First, while the process is small: it also tells the memory.
    operations(&mut out, count, value, seed)?;
    fills(&mut out, count, value, seed)?;
    for keys in [count / 10, count] {
        compactions(&mut out, keys, value, seed)?;
    }
    Ok(())
}

fn fills(out: &mut impl Write, count: usize, value: usize, seed: u64) -> std::io::Result<()> {
    for turn in [1, 16, 256] {
        for sorted in [true, false] {
            let mut bench = Bench::new(count, value, seed, sorted);
            let time = bench.fill(turn);
            let order = if sorted { "ascending" } else { "random" };
            let ns = nanos(time, count);
            writeln!(out, "fill {order}, turns of {turn}: {ns:.0} ns")?;
        }
    }
    let mut bench = Bench::new(count, value, seed, true);
    let time = bench.fill(usize::MAX);
    writeln!(out, "load ascending, one publish: {:.0} ns, {time:?}", nanos(time, count))
}

fn operations(out: &mut impl Write, count: usize, value: usize, seed: u64) -> std::io::Result<()> {
    let mut bench = Bench::new(count, value, seed, false);
    let before = resident();
    bench.fill(256);
    let bytes = resident().saturating_sub(before) / count as u64;
    writeln!(out, "memory: {bytes} B/key")?;
    let mut sorted = bench.keys.clone();
    sorted.sort_unstable();
    let times = 300_000.min(count);
    let reader = bench.index.reader();

    let ns = bench.each(times, |bench| {
        let i = bench.pick();
        black_box(reader.get_latest(&bench.keys[i]));
    });
    writeln!(out, "get latest: {ns:.0} ns")?;
    // The measure of the machine: the same look-up without versions, order statistics or views.
    let pairs = bench.keys.iter().map(|key| (Arc::from(&key[..]), Arc::from(&[7; 335][..])));
    let map: BTreeMap<Arc<[u8]>, Arc<[u8]>> = pairs.collect();
    let ns = bench.each(times, |bench| {
        let i = bench.pick();
        black_box(map.get(&bench.keys[i][..]).map(Arc::clone));
    });
    writeln!(out, "get from a BTreeMap: {ns:.0} ns")?;
    drop(map);
    let ns = bench.each(times, |_| drop(black_box(reader.latest())));
    writeln!(out, "open and close a view: {ns:.1} ns")?;
    let revision = Revision(bench.revision.0 - 900);
    let ns = bench.each(times, |_| drop(black_box(reader.at(revision))));
    writeln!(out, "open and close a view 900 revisions back: {ns:.1} ns")?;

    let view = reader.latest();
    for length in [10, 1000] {
        let rounds = times / length * 10;
        let start = Instant::now();
        let mut seen = 0;
        for _ in 0..rounds {
            let i = bench.pick();
            seen += scan(&view, &from(&bench.keys[i]), length);
        }
        let rate = seen as f64 / start.elapsed().as_secs_f64() / 1e6;
        writeln!(out, "range {length}: {rate:.1} M entries/s")?;
    }
    let start = Instant::now();
    let seen = scan(&view, &KeyRange::all(), usize::MAX);
    let rate = seen as f64 / start.elapsed().as_secs_f64() / 1e6;
    writeln!(out, "scan of all keys: {rate:.1} M entries/s")?;
    drop(view);

    let ns = bench.each(times, |bench| {
        let (a, b) = (bench.pick(), bench.pick());
        let (low, high) = (a.min(b), a.max(b));
        let end = RangeEnd::Before(sorted[high].clone().into());
        let range = KeyRange { start: sorted[low].clone().into(), end };
        black_box(reader.latest().count(&range));
    });
    writeln!(out, "count of a random range: {ns:.0} ns")?;
    for (name, start) in [("start", 0), ("end", count.saturating_sub(500))] {
        let range = from(&sorted[start]);
        let ns = bench.each(2000, |_| {
            let view = reader.latest();
            black_box((scan(&view, &range, 500), view.count(&range)));
        });
        writeln!(out, "page of 500 with count at the {name}: {:.1} us", ns / 1e3)?;
    }
    // The first round grows the process, which is not what is asked: its page faults are not shown.
    for (round, turn) in [1, 1, 16, 256].into_iter().enumerate() {
        let ns = bench.each(times / turn, |bench| {
            for _ in 0..turn {
                let i = bench.pick();
                bench.put(i);
            }
            bench.publish();
        }) / turn as f64;
        bench.index.compact(bench.revision);
        let (dropped, time, worst) = bench.sweep_all(64);
        if round > 0 {
            writeln!(out, "update, turns of {turn}: {ns:.0} ns")?;
            let ns = nanos(time, dropped);
            writeln!(out, "sweep of updates: {ns:.0} ns each of {dropped}, worst slice {worst:?}")?;
        }
    }
    for turn in [1, 16, 256] {
        let doomed: Vec<usize> = (0..times / 3).map(|i| i * 3 + usize::from(turn > 1)).collect();
        let live: Vec<usize> =
            doomed.into_iter().filter(|&i| reader.get_latest(&bench.keys[i]).1.is_some()).collect();
        let start = Instant::now();
        for (done, &i) in live.iter().enumerate() {
            bench.delete(i);
            if done % turn == 0 {
                bench.publish();
            }
        }
        bench.publish();
        let ns = nanos(start.elapsed(), live.len().max(1));
        writeln!(out, "delete, turns of {turn}: {ns:.0} ns")?;
        // Past the last deletion, so that it goes as well.
        bench.put(count - 1);
        bench.publish();
        bench.index.compact(bench.revision);
        let (dropped, time, worst) = bench.sweep_all(64);
        bench.publish();
        let ns = nanos(time, dropped.max(1));
        writeln!(
            out,
            "sweep of deleted keys: {ns:.0} ns each of {dropped}, worst slice {worst:?}"
        )?;
        let start = Instant::now();
        for (done, &i) in live.iter().enumerate() {
            bench.put(i);
            if done % turn == 0 {
                bench.publish();
            }
        }
        bench.publish();
        let ns = nanos(start.elapsed(), live.len().max(1));
        writeln!(out, "create, turns of {turn}: {ns:.0} ns")?;
    }
    Ok(())
}

fn compactions(out: &mut impl Write, count: usize, value: usize, seed: u64) -> std::io::Result<()> {
    let mut bench = Bench::new(count, value, seed, false);
    bench.fill(256);
    for _ in 0..10_000 {
        let i = bench.pick();
        bench.put(i);
    }
    bench.publish();
    let start = Instant::now();
    bench.index.compact(bench.revision);
    let logical = start.elapsed();
    let (dropped, time, worst) = bench.sweep_all(64);
    writeln!(
        out,
        "compaction of {dropped} versions among {count} keys: {time:?}, \
         worst slice of 64 {worst:?}, of which logical {logical:?}"
    )
}
