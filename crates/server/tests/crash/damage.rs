//! What a member does with files that somebody or something has damaged while it was down.
//!
//! ```text
//! undamaged directory ─copy─▶ damage ─▶ start ─┬▶ Whole          all that was acknowledged
//!                                              ├▶ Prefix(r)      all up to revision r, and no more
//!                                              └▶ Refused(log)   exit status 1, nothing changed
//! ```
//!
//! What no later record vouches for cannot be told from what was never written: there a prefix is
//! right. Everything before may only be whole or refused, and the refusal names the place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use node::wal::record::{self, Frame};
use node::wal::segment::{HEADER_BYTES, Segment};

use crate::kills::SMALL;
use crate::oracle::{Oracle, Violation};
use crate::steps::{put, revision};
use crate::support::{Ended, Member, block_on};
use crate::verify::replay;

/// Snapshots as soon as it may, but the log reaches back over several of them.
const LONG_LOG: [&str; 2] = ["--snapshot-log-bytes", "1048576"];

/// Values, and the bytes of each, that make two snapshots due: at 1 MiB, and when the log has grown
/// by twice as much.
const LARGE: (usize, usize) = (72, 64 << 10);

/// A directory in which everything is well, and what it holds.
struct Original {
    folder: tempfile::TempDir,
    flags: &'static [&'static str],
    oracle: Oracle,
    /// The newest revision.
    last: i64,
}

/// How the member was stopped.
enum Stop {
    /// Cleanly: a record says that all others are durable.
    Terminate,
    /// At once: nothing says so of the last one.
    Kill,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Whole,
    Prefix(i64),
    Refused(String),
}

impl Original {
    /// Lets a member write `count` values of this size, one after the other, and have `snapshots`
    /// made meanwhile.
    fn new(
        flags: &'static [&'static str],
        (count, value_bytes): (usize, usize),
        snapshots: usize,
        stop: &Stop,
    ) -> Self {
        let folder = tempfile::tempdir().expect("make a temporary folder");
        let mut member = Member::new(&folder.path().join("data"), flags);
        let mut oracle = Oracle::default();
        member.must_start();
        let last = block_on(async {
            let mut client = member.client().await;
            for at in 0..count {
                let key = format!("k{}", at % 7);
                put(&mut client, &mut oracle, &key, at, value_bytes).await.expect("it has room");
            }
            let last = i64::try_from(count).expect("few") + 1;
            let history = replay(&mut client, 2, last).await;
            oracle.check(&history, 2, last, &[]).expect("nothing has happened yet");
            last
        });
        member.wait_for_lines("saved snapshot", snapshots);
        match stop {
            Stop::Terminate => member.terminate(),
            Stop::Kill => member.kill(),
        }
        Original { folder, flags, oracle, last }
    }

    /// A copy of the directory, to be damaged.
    fn copy(&self) -> Copy<'_> {
        let folder = tempfile::tempdir().expect("make a temporary folder");
        copy_folder(&self.folder.path().join("data"), &folder.path().join("data"));
        Copy { original: self, folder }
    }
}

struct Copy<'a> {
    original: &'a Original,
    folder: tempfile::TempDir,
}

impl Copy<'_> {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn newest(&self, folder: &str, kind: &str) -> PathBuf {
        files(&self.data().join(folder), kind).pop().expect("there is one")
    }

    fn newest_segment(&self) -> PathBuf {
        self.newest("log", ".wal")
    }

    /// Starts a member on it and looks at what it has.
    fn start(&self) -> Outcome {
        let before = contents(&self.data());
        let mut member = Member::new(&self.data(), self.original.flags);
        if let Err(Ended { code, log }) = member.start() {
            assert_eq!(code, Some(1), "exit status of a refusal; it said:\n{log}");
            assert!(!log.contains("panicked"), "the member panicked:\n{log}");
            assert_eq!(contents(&self.data()), before, "a refused start changes nothing");
            return Outcome::Refused(log);
        }
        let (last, history) = block_on(async {
            let mut client = member.client().await;
            let last = revision(&mut client).await;
            (last, replay(&mut client, 2, last).await)
        });
        let outcome =
            if last == self.original.last { Outcome::Whole } else { Outcome::Prefix(last) };
        let mut expected: BTreeMap<_, _> =
            self.original.oracle.facts(2).map(|(at, events)| (at, events.clone())).collect();
        expected.split_off(&(last + 1));
        assert_eq!(history, expected, "what was started with is what was written up to {last}");
        member.kill();
        outcome
    }
}

#[test]
fn damage_in_front_of_the_last_record_is_refused_with_its_place_and_in_it_costs_the_last_write() {
    let original = Original::new(&SMALL, (60, 100), 0, &Stop::Kill);
    let frames = frames(&original.copy().newest_segment());
    // The last write is there, and no record yet that says it is durable, unless the member has had
    // the time to write one.
    let vouched_for = frames.iter().map(|(_, frame)| frame.synced_through).max().unwrap_or(0);
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut refused, mut cut) = (0, 0);
    let sample = frames.iter().rev().take(4).chain(frames.iter().step_by(7));
    for &(offset, frame) in sample {
        let copy = original.copy();
        let byte = offset + rng.usize(..frame.bytes);
        change(&copy.newest_segment(), |bytes| bytes[byte] ^= 1 << rng.u8(..8));
        match copy.start() {
            Outcome::Refused(log) => {
                must_name(&log, &copy.newest_segment(), offset);
                refused += 1;
            }
            outcome => {
                let number = frame.number;
                assert!(number > vouched_for, "record {number} was vouched for: {outcome:?}");
                cut += usize::from(outcome != Outcome::Whole);
            }
        }
    }
    assert!(refused >= 8, "{refused} of the damages were refused");
    assert!(cut <= 2, "at most what two writes in flight would lose");
}

#[test]
fn after_a_clean_stop_no_flipped_byte_costs_a_write() {
    let original = Original::new(&SMALL, (40, 100), 0, &Stop::Terminate);
    let frames = frames(&original.copy().newest_segment());
    let (marker, vouched) = frames.split_last().expect("a stop writes a marker");
    assert_eq!(marker.1.synced_through, vouched.last().expect("40 writes").1.number);
    let mut rng = fastrand::Rng::with_seed(8);
    for &(offset, frame) in vouched.iter().rev().take(3).chain(vouched.iter().step_by(8)) {
        let copy = original.copy();
        let byte = offset + rng.usize(..frame.bytes);
        change(&copy.newest_segment(), |bytes| bytes[byte] ^= 1 << rng.u8(..8));
        match copy.start() {
            Outcome::Refused(log) => must_name(&log, &copy.newest_segment(), offset),
            outcome => panic!("damage at byte {byte} gave {outcome:?}"),
        }
    }
    // The marker itself promises nothing to anybody.
    let copy = original.copy();
    change(&copy.newest_segment(), |bytes| bytes[marker.0 + 5] ^= 1);
    assert_eq!(copy.start(), Outcome::Whole);
}

#[test]
fn a_log_cut_anywhere_starts_with_a_prefix_or_is_refused() {
    let original = Original::new(&SMALL, (40, 100), 0, &Stop::Terminate);
    let frames = frames(&original.copy().newest_segment());
    let (end, _) = *frames.last().expect("a stop writes a marker");
    let mut rng = fastrand::Rng::with_seed(9);
    let (mut prefixes, mut refused) = (0, 0);
    for round in 0..16 {
        let copy = original.copy();
        let at = rng.usize(..end);
        change(&copy.newest_segment(), |bytes| match round % 4 {
            // The end of the file is gone, or was never written.
            0 => bytes.truncate(at),
            1 => bytes[at..].fill(0),
            // A sector was lost, or written with something else.
            2 => bytes[at..at + 512].fill(0),
            _ => bytes[at..at + 512].fill_with(|| rng.u8(..)),
        });
        match copy.start() {
            Outcome::Whole => {}
            Outcome::Prefix(last) => {
                assert!(round % 4 < 2 || at + 512 >= end, "byte {at}: {last} of {}", original.last);
                prefixes += 1;
            }
            Outcome::Refused(log) => {
                assert!(log.contains("log segment"), "the place is named:\n{log}");
                refused += 1;
            }
        }
    }
    assert!(prefixes > 0 && refused > 0, "{prefixes} prefixes, {refused} refusals");
}

/// What the member cannot know, the oracle must notice: this is the loss it is there for.
#[test]
fn the_oracle_notices_when_the_last_acknowledged_write_is_cut_off() {
    let original = Original::new(&SMALL, (20, 100), 0, &Stop::Terminate);
    let copy = original.copy();
    let frames = frames(&copy.newest_segment());
    let (last_write, _) = *frames.iter().rfind(|(_, frame)| frame.bytes > 100).expect("20 writes");
    change(&copy.newest_segment(), |bytes| bytes[last_write..].fill(0));
    assert_eq!(copy.start(), Outcome::Prefix(original.last - 1));

    let mut member = Member::new(&copy.data(), &SMALL);
    member.must_start();
    let mut oracle = original.oracle.clone();
    let last = original.last;
    let lost = block_on(async {
        let mut client = member.client().await;
        let history = replay(&mut client, 2, last - 1).await;
        oracle.check(&history, 2, last - 1, &[])
    });
    let expected = matches!(lost, Err(Violation::Lost { revision, .. }) if revision == last);
    assert!(expected, "{lost:?}");
}

#[test]
fn a_damaged_snapshot_falls_back_to_the_one_before_as_long_as_the_log_reaches_back() {
    let original = Original::new(&LONG_LOG, LARGE, 2, &Stop::Terminate);
    let copy = original.copy();
    assert_eq!(files(&copy.data().join("snap"), ".snap").len(), 2, "both are kept");
    damage_middle(&copy.newest("snap", ".snap"));
    assert_eq!(copy.start(), Outcome::Whole);
    assert_eq!(copy.start(), Outcome::Whole, "and once more, with a log that was begun since");
}

/// Its next snapshots count, and not those that were damaged.
#[test]
fn a_member_that_fell_back_writes_sound_snapshots_and_starts_from_them() {
    let original = Original::new(&LONG_LOG, LARGE, 2, &Stop::Terminate);
    let copy = original.copy();
    for snapshot in files(&copy.data().join("snap"), ".snap") {
        damage_middle(&snapshot);
    }
    let mut member = Member::new(&copy.data(), &LONG_LOG);
    let mut oracle = original.oracle.clone();
    member.must_start();
    // It has replayed more log than a snapshot is due after.
    member.wait_for_lines("saved snapshot", 1);
    block_on(async {
        let mut client = member.client().await;
        for at in 0..80 {
            put(&mut client, &mut oracle, "more", at, 64 << 10).await.expect("it has room");
        }
    });
    let snap = copy.data().join("snap");
    let sound = files(&snap, ".snap").len();
    assert!(sound > 0, "others are written");
    // They are kept under another name until as many sound ones as are ever kept are there.
    assert!(files(&snap, ".damaged").len() == 2 || sound == 2);
    for _ in 0..2 {
        member.kill();
        member.must_start();
        assert!(!member.has_said("snapshot is damaged"), "it starts from a sound one");
        block_on(async {
            let mut client = member.client().await;
            let last = revision(&mut client).await;
            let history = replay(&mut client, 2, last).await;
            oracle.check(&history, 2, last, &[]).expect("everything is there");
        });
    }
}

#[test]
fn without_a_sound_snapshot_a_log_that_does_not_reach_back_is_refused() {
    let original = Original::new(&SMALL, LARGE, 2, &Stop::Terminate);
    let copy = original.copy();
    for snapshot in files(&copy.data().join("snap"), ".snap") {
        damage_middle(&snapshot);
    }
    let Outcome::Refused(log) = copy.start() else { panic!("what was cut from the log is lost") };
    assert!(log.contains("snapshot is damaged"), "the file is named:\n{log}");
    assert!(log.contains(".snap"), "the file is named:\n{log}");
}

#[test]
fn a_member_without_its_log_is_refused_with_and_without_snapshots() {
    for (values, snapshots) in [((10, 100), 0), (LARGE, 2)] {
        let original = Original::new(&SMALL, values, snapshots, &Stop::Terminate);
        let copy = original.copy();
        for segment in files(&copy.data().join("log"), "") {
            fs::remove_file(segment).expect("remove a file of the log");
        }
        let Outcome::Refused(log) = copy.start() else { panic!("a log that is gone is a loss") };
        assert!(log.contains("lost its log"), "it says what is missing:\n{log}");
        if snapshots > 0 {
            damage_middle(&copy.newest("snap", ".snap"));
            assert!(
                matches!(copy.start(), Outcome::Refused(_)),
                "a damaged snapshot is a trace too"
            );
        }
    }
}

#[test]
fn the_log_of_a_newer_program_or_of_another_member_is_refused() {
    let original = Original::new(&SMALL, (5, 100), 0, &Stop::Terminate);
    let stamp = |bytes: &mut Vec<u8>| {
        let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&crc);
    };
    for (offset, expected) in [(8, "has format"), (24, "belongs to")] {
        let copy = original.copy();
        change(&copy.newest_segment(), |bytes| {
            bytes[offset] ^= 0x10;
            stamp(bytes);
        });
        let Outcome::Refused(log) = copy.start() else { panic!("{expected}: it started") };
        assert!(log.contains(expected), "{expected} is missing:\n{log}");
    }
    let copy = original.copy();
    let manifest = copy.data().join("MANIFEST");
    let text = fs::read_to_string(&manifest).expect("read the manifest");
    let newer = text.replace("\"format\": 1", "\"format\": 2");
    assert_ne!(text, newer, "the manifest has its format");
    fs::write(&manifest, newer).expect("write the manifest");
    let Outcome::Refused(log) = copy.start() else { panic!("a newer format: it started") };
    assert!(log.contains("has format 2"), "the format is named:\n{log}");
}

/// The records of a segment, with their places.
fn frames(path: &Path) -> Vec<(usize, Frame)> {
    let bytes = fs::read(path).expect("read a segment");
    let seed = Segment::decode(&bytes).expect("a segment has a header").seed();
    let (mut at, mut found) = (HEADER_BYTES, Vec::new());
    while let Some(frame) = record::decode(&bytes[at..], seed) {
        found.push((at, frame));
        at += frame.bytes;
    }
    found
}

fn must_name(log: &str, segment: &Path, offset: usize) {
    let file = segment.to_str().expect("plain names");
    assert!(log.contains(file), "{file} is missing:\n{log}");
    assert!(log.contains(&format!("at byte {offset} ")), "byte {offset} is missing:\n{log}");
}

fn damage_middle(path: &Path) {
    change(path, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
    });
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("read the file to damage");
    how(&mut bytes);
    fs::write(path, bytes).expect("write the damaged file");
}

/// The files of a folder whose names end so, in order.
pub(crate) fn files(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("list a folder");
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.expect("list a folder").path()).collect();
    found.retain(|path| path.to_str().is_some_and(|path| path.ends_with(kind)));
    found.sort_unstable();
    found
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("make a folder");
    for path in files(from, "") {
        let target = to.join(path.file_name().expect("it was listed"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copy a file");
        }
    }
}

/// Every file with a checksum of its content.
fn contents(folder: &Path) -> BTreeMap<PathBuf, u32> {
    let mut found = BTreeMap::new();
    for path in files(folder, "") {
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).expect("read a file");
            found.insert(path, crc32c::crc32c(&bytes));
        }
    }
    found
}
