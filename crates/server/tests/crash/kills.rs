//! A member is killed again and again under the writes of its clients, and keeps its promises.
//!
//! `METASTORE_CRASH_SEED` repeats a run as far as the machine's own timing allows it,
//! `METASTORE_CRASH_CYCLES` makes it longer.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use child::PATIENCE;

use crate::load::{self, Plan};
use crate::steps::put;
use crate::support::{Member, block_on};
use crate::verify::{Checked, Promises};

const SEED: u64 = 0x5eed_c4a5;
/// With the kill at the end of each there are twice as many kills.
const CYCLES: u64 = 52;

/// What is killed.
#[derive(Clone, Copy)]
pub(crate) struct Engine {
    pub(crate) flags: &'static [&'static str],
    /// Where its state is saved, and in what kind of files.
    saves: (&'static str, &'static str),
    /// Saves that a run sees at least.
    saves_min: usize,
    /// Whether writes are refused while the disk has room left, for the engine's own files.
    pub(crate) keeps_room: bool,
}

pub(crate) const MEMORY: Engine =
    Engine { flags: &[], saves: ("snap", ".snap"), saves_min: 6, keeps_room: false };

/// With buffers that are soon full, so that flushes and compactions come between the kills.
#[cfg(feature = "rocksdb")]
pub(crate) const ROCKSDB: Engine = Engine {
    flags: &[
        "--engine=rocksdb",
        "--rocksdb-write-buffer-bytes=1048576",
        "--rocksdb-cache-bytes=8388608",
        // Values of one letter would never fill a disk.
        "--rocksdb-compression=none",
    ],
    saves: ("rocksdb", ".sst"),
    saves_min: 50,
    keeps_room: true,
};

/// Small files, so that snapshots, cuts of the log and used segments come between the kills.
pub(crate) const SMALL: [&str; 4] =
    ["--log-segment-bytes", "1048576", "--snapshot-log-bytes", "1048576"];
const LARGE: [&str; 2] = ["--log-segment-bytes", "3145728"];

#[test]
fn nothing_acknowledged_is_lost_by_killing_the_member_a_hundred_times() {
    keeps_its_promises(MEMORY);
}

#[cfg(feature = "rocksdb")]
#[test]
fn nothing_acknowledged_is_lost_by_killing_a_member_with_rocksdb_a_hundred_times() {
    keeps_its_promises(ROCKSDB);
}

fn keeps_its_promises(engine: Engine) {
    let folder = tempfile::tempdir().expect("make a temporary folder");
    let mut run = Run::new(&folder.path().join("data"), engine);
    run.say(&format!("seed {:#x}, {} cycles", run.seed, run.cycles));
    for cycle in 0..run.cycles {
        run.cycle(cycle);
    }
    run.must_have_been_worth_it();
}

/// Nothing is promised yet, and whatever the attempt has left must not be in the way of the next.
#[test]
fn a_member_killed_while_it_founds_its_cluster_starts_at_the_next_attempt() {
    starts_at_the_next_attempt(MEMORY);
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_member_with_rocksdb_killed_while_it_founds_its_cluster_starts_at_the_next_attempt() {
    starts_at_the_next_attempt(ROCKSDB);
}

fn starts_at_the_next_attempt(engine: Engine) {
    for changes in 1..=10 {
        let folder = tempfile::tempdir().expect("make a temporary folder");
        let flags = [engine.flags, &SMALL[..]].concat();
        let mut member = Member::new(&folder.path().join("data"), &flags);
        kill_after_changes(&mut member, changes);
        member.must_start();
        let mut promises = Promises::default();
        block_on(async {
            let mut client = member.client().await;
            put(&mut client, &mut promises.oracle, "k", 0, 10).await.expect("it has room");
            promises.check(&mut client, None).await.expect("nothing has happened yet");
        });
    }
}

struct Run {
    engine: Engine,
    seed: u64,
    cycles: u64,
    rng: fastrand::Rng,
    member: Member,
    promises: Promises,
    kills: u64,
    /// Files of saved state.
    saves: BTreeSet<String>,
    first_segments: BTreeSet<String>,
    recycled: usize,
    total: Checked,
    hashes_compared: u64,
}

impl Run {
    fn new(data_dir: &Path, engine: Engine) -> Run {
        let seed = variable("METASTORE_CRASH_SEED").unwrap_or(SEED);
        Run {
            engine,
            seed,
            cycles: variable("METASTORE_CRASH_CYCLES").unwrap_or(CYCLES),
            rng: fastrand::Rng::with_seed(seed),
            member: Member::new(data_dir, &[]),
            promises: Promises::default(),
            kills: 0,
            saves: BTreeSet::new(),
            first_segments: BTreeSet::new(),
            recycled: 0,
            total: Checked::default(),
            hashes_compared: 0,
        }
    }

    fn say(&self, line: &str) {
        // Not `println`: what a test prints is seen when it fails, and here also what came before.
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// Start, write, kill, start, check.
    fn cycle(&mut self, cycle: u64) {
        let is_small = self.rng.bool();
        let sizes = if is_small { &SMALL[..] } else { &LARGE };
        self.member.set_flags(&[self.engine.flags, sizes].concat());
        if self.rng.u8(..4) == 0 {
            self.kill_while_it_starts();
        }
        self.member.must_start();
        let plan = self.plan(cycle, is_small);
        let notes = block_on(load::run(&mut self.member, &plan));
        self.kills += 1;
        let written = notes.acknowledged.len();
        let compacted = plan.compact_at.map(|at| (at, notes.compacted.is_some()));
        self.look_at_files();
        self.promises.note(notes).unwrap_or_else(|violation| self.fail(cycle, &violation));

        self.member.must_start();
        let checked = self.check(cycle, compacted);
        let Checked { revision, revisions_replayed, writes_read, leases, .. } = checked;
        self.say(&format!(
            "cycle {cycle}: {written} acknowledged, now at {revision}; {revisions_replayed} \
             revisions replayed, {writes_read} writes read back, {leases} leases"
        ));
        if self.rng.u8(..8) == 0 {
            // The same must hold for a clean stop, which has HashKV compared.
            self.member.terminate();
            self.member.must_start();
            let again = self.check(cycle, None);
            assert!(again.hash_compared, "nothing was compacted in between");
        }
        self.member.kill();
        self.kills += 1;
    }

    fn check(&mut self, cycle: u64, compacted: Option<(i64, bool)>) -> Checked {
        let Run { member, promises, .. } = self;
        let checked = block_on(async {
            let mut client = member.client().await;
            promises.check(&mut client, compacted).await
        });
        let checked = checked.unwrap_or_else(|violation| self.fail(cycle, &violation));
        self.total.writes_read += checked.writes_read;
        self.total.revision = checked.revision;
        self.hashes_compared += u64::from(checked.hash_compared);
        checked
    }

    fn fail(&self, cycle: u64, violation: &dyn std::error::Error) -> ! {
        let (seed, log) = (self.seed, self.member.log());
        panic!("seed {seed:#x}, cycle {cycle}: {violation}\nthe member said:\n{log}")
    }

    fn plan(&mut self, cycle: u64, is_small: bool) -> Plan {
        let oracle = &self.promises.oracle;
        let (oldest, newest) = (self.promises.compacted + 1, oracle.revision());
        // Little history means little data, and snapshots that are soon due again. Up to one
        // revision before the end, so that the last hash can be compared.
        let (tenths, from) = if is_small { (9, newest - 20) } else { (1, oldest.midpoint(newest)) };
        let compact = newest > oldest && self.rng.u8(..10) < tenths;
        let compact_at = compact.then(|| self.rng.i64(from.max(oldest)..newest));
        let kill_in =
            (is_small && self.rng.bool()).then(|| self.member.data_dir().join(self.engine.saves.0));
        Plan {
            cycle,
            seed: self.rng.u64(..),
            answers: self.rng.u64(if is_small { 100..900 } else { 1..400 }),
            kill_in,
            value_bytes: if is_small { 100..8000 } else { 0..200 },
            compact_at,
            keyspace: Arc::clone(oracle.keyspace()),
            revision: newest,
            leases: self.promises.leases.living(),
        }
    }

    fn kill_while_it_starts(&mut self) {
        kill_after_changes(&mut self.member, self.rng.u8(1..6));
        self.kills += 1;
    }

    fn look_at_files(&mut self) {
        let of = |folder: &str, kind: &str| {
            let mut found = names(&self.member.data_dir().join(folder));
            found.retain(|name| name.ends_with(kind));
            found
        };
        let (snapshots, segments, spares) =
            (of("snap", ".snap"), of("log", ".wal"), of("log", ".spare"));
        assert!(snapshots.len() <= 3, "old snapshots are removed: {snapshots:?}");
        self.saves.extend(of(self.engine.saves.0, self.engine.saves.1));
        self.first_segments.extend(segments.first().cloned());
        // One that is made anew is blank; one that was a segment keeps its bytes.
        let log = self.member.data_dir().join("log");
        let used = spares.iter().filter(|name| first_byte(&log.join(name)) != Some(0));
        self.recycled += used.count();
    }

    /// A run without the events that it is about would prove little.
    fn must_have_been_worth_it(&self) {
        let (saves, cuts) = (self.saves.len(), self.first_segments.len());
        let Checked { writes_read, revision, .. } = self.total;
        self.say(&format!(
            "{} kills, {revision} revisions, {writes_read} writes read back, {saves} files of saved state, \
             {cuts} beginnings of the log, {} segments recycled, {} hashes compared",
            self.kills, self.recycled, self.hashes_compared
        ));
        if self.cycles >= CYCLES {
            assert!(self.kills >= 100, "{} kills", self.kills);
            let least = self.engine.saves_min;
            assert!(saves >= least, "{saves} files of saved state were written between kills");
            assert!(cuts >= 15, "the log began at {cuts} different segments");
            assert!(self.recycled >= 5, "{} segments were used again", self.recycled);
            assert!(self.hashes_compared >= 10, "{} hashes", self.hashes_compared);
        }
    }
}

/// Starts a member and kills it when so many changes of the names in its directory were seen, or
/// when it is ready, if that comes first.
fn kill_after_changes(member: &mut Member, changes: u8) {
    let folders = ["", "log", "snap", "rocksdb"].map(|folder| member.data_dir().join(folder));
    let all = || folders.each_ref().map(|folder| names(folder));
    let (mut seen, mut last) = (0, all());
    member.spawn();
    let deadline = Instant::now() + PATIENCE;
    while seen < changes && !member.has_said("ready to serve") {
        assert!(Instant::now() < deadline, "it neither starts nor ends:\n{}", member.log());
        std::thread::yield_now();
        let now = all();
        seen += u8::from(now != last);
        last = now;
    }
    member.kill();
}

/// The names in a folder, sorted; none if it does not exist yet.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

fn first_byte(path: &Path) -> Option<u8> {
    let mut byte = [0];
    std::fs::File::open(path).ok()?.read_exact(&mut byte).ok()?;
    Some(byte[0])
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}
