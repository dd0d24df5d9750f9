//! Readers on threads of their own check, while a writer works at full speed, what must hold at
//! every revision. The data is made so that a reader needs to know nothing but the revision:
//!
//! - every transaction moves one of a fixed number of tokens to a key that is free, so that each
//!   revision has the same count of tokens;
//! - it also writes its own revision into the key `mark`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use state::engine::Forgotten;
use state::mvcc::index::{IndexReader, IndexView, KeyIndex, ScanEnd, ViewError};
use state::mvcc::record::{PutFields, Record};
use state::{KeyRange, LeaseId, RangeEnd, Revision, Version};

const PLACES: usize = 3000;
const TOKENS: usize = 1000;
/// The turn after the first one begins here.
const FILLED: Revision = Revision(2);

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The two halves of a move have revisions of their own.
    TornMove,
    /// Now and then a transaction forgets the mark.
    NoMark,
}

struct Writer {
    index: KeyIndex,
    random: fastrand::Rng,
    taken: Vec<usize>,
    free: Vec<usize>,
    revision: Revision,
    fault: Fault,
    dropped: BTreeSet<Version>,
}

impl Writer {
    fn new(fault: Fault) -> Writer {
        let mut index = KeyIndex::new(Revision::FIRST, None);
        let mut sub = 0;
        for i in 0..TOKENS {
            index.put(put(Version { main: FILLED, sub }, &token(i)));
            sub += 1;
        }
        index.put(put(Version { main: FILLED, sub }, b"mark"));
        index.publish(FILLED);
        Writer {
            index,
            random: fastrand::Rng::with_seed(7),
            taken: (0..TOKENS).collect(),
            free: (TOKENS..PLACES).collect(),
            revision: FILLED,
            fault,
            dropped: BTreeSet::new(),
        }
    }

    /// One transaction: a token moves, a few others are rewritten, and the mark.
    fn transaction(&mut self) {
        self.revision = self.revision.next();
        let mut sub = 0;
        let mut next = |main| {
            sub += 1;
            Version { main, sub: sub - 1 }
        };
        let (from, to) = (self.random.usize(..TOKENS), self.random.usize(..self.free.len()));
        std::mem::swap(&mut self.taken[from], &mut self.free[to]);
        self.index.delete(Record::tombstone(next(self.revision), &token(self.free[to])));
        if self.fault == Fault::TornMove {
            self.index.put(put(next(self.revision), b"mark"));
            self.revision = self.revision.next();
        }
        let key = token(self.taken[from]);
        self.index.put(put(next(self.revision), &key));
        if self.random.bool() {
            // Gone and back again within the transaction.
            self.index.delete(Record::tombstone(next(self.revision), &key));
            self.index.put(put(next(self.revision), &key));
        }
        for _ in 0..self.random.usize(..3) {
            let i = self.random.usize(..TOKENS);
            self.index.put(put(next(self.revision), &token(self.taken[i])));
        }
        if self.fault != Fault::NoMark || self.random.u8(..16) != 0 {
            self.index.put(put(next(self.revision), b"mark"));
        }
    }

    fn work(&mut self, turns: usize) {
        for _ in 0..turns {
            for _ in 0..self.random.usize(0..8) {
                self.transaction();
            }
            self.index.publish(self.revision);
            let published = self.index.reader().revision();
            if self.random.u8(..64) == 0 {
                let lowest = self.index.reader().compacted().unwrap_or(FILLED);
                let back = self.random.i64(0..3000);
                self.index.compact(Revision((published.0 - back).max(lowest.0)));
            }
            for Forgotten { version, .. } in self.index.sweep(self.random.usize(..64)).dropped {
                assert!(self.dropped.insert(version), "{version:?} dropped twice");
            }
        }
    }
}

fn token(i: usize) -> Vec<u8> {
    format!("token/{i:05}").into_bytes()
}

fn tokens() -> KeyRange {
    KeyRange { start: b"token/"[..].into(), end: RangeEnd::Before(b"token0"[..].into()) }
}

fn put(version: Version, key: &[u8]) -> Record {
    let fields = PutFields {
        create_revision: version.main,
        mod_revision: version.main,
        version: 1,
        lease: LeaseId::NONE,
    };
    Record::put(version.sub, key, fields, b"value")
}

type Checked<T> = Result<T, String>;

fn check(holds: bool, what: impl FnOnce() -> String) -> Checked<()> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Everything that one view shows, checked against what must hold at its revision.
fn check_view(view: &IndexView) -> Checked<Vec<Version>> {
    let revision = view.revision();
    let mark = view.get(b"mark").map(|record| record.revision());
    check(mark == Some(revision), || format!("mark {mark:?} at {revision}"))?;
    let count = view.count(&tokens());
    check(count == TOKENS as u64, || format!("{count} tokens at {revision}"))?;
    let (mut seen, mut last) = (Vec::new(), Vec::new());
    let mut wrong = None;
    let mut range = tokens();
    for _ in 0..PLACES {
        let end = view.scan(&range, 100, &mut |record| {
            if record.key() <= &last[..] || record.revision() > revision || !record.is_put() {
                wrong = Some(format!("{record:?} after {last:?} at {revision}"));
            }
            last = record.key().to_vec();
            seen.push(record.version());
            ControlFlow::Continue(())
        });
        match end {
            ScanEnd::Budget(next) => range.start = next,
            ScanEnd::Done | ScanEnd::Stopped => break,
        }
    }
    check(wrong.is_none(), || wrong.unwrap_or_default())?;
    check(seen.len() == TOKENS, || format!("{} tokens seen at {revision}", seen.len()))?;
    Ok(seen)
}

/// Reads until the writer is done; what it saw once it must see again.
fn read(reader: &IndexReader, done: &AtomicBool, seed: u64) -> Checked<usize> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut held: Vec<(IndexView, Vec<Version>)> = Vec::new();
    let (mut rounds, mut last) = (0, Revision(0));
    while !done.load(Ordering::Relaxed) || rounds == 0 {
        rounds += 1;
        let (now, mark) = reader.get_latest(b"mark");
        let mark = mark.map(|record| record.revision());
        check(mark == Some(now), || format!("latest mark {mark:?} at {now}"))?;
        check(now >= last, || format!("{now} after {last}"))?;
        last = now;
        let latest = reader.latest();
        check(latest.revision() >= last, || format!("view at {} after {last}", latest.revision()))?;
        check_view(&latest)?;
        let low = reader.compacted().unwrap_or(FILLED).0;
        let old = Revision(random.i64(low..=reader.revision().0.max(low)));
        match reader.at(old) {
            Ok(view) => {
                let seen = check_view(&view)?;
                held.push((view, seen));
            }
            Err(error) => {
                let excuse = reader.compacted() > Some(old);
                check(error == ViewError::Compacted && excuse, || format!("{error:?} at {old}"))?;
            }
        }
        if held.len() > 5 {
            let (view, before) = held.swap_remove(random.usize(..held.len()));
            let again = check_view(&view)?;
            check(again == before, || format!("view at {} has changed", view.revision()))?;
        }
    }
    Ok(rounds)
}

/// Runs one writer and some readers; what the readers found wrong, if anything.
fn run(fault: Fault, turns: usize) -> (Writer, Checked<usize>) {
    let mut writer = Writer::new(fault);
    let done = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                let (reader, done) = (writer.index.reader(), &done);
                scope.spawn(move || read(&reader, done, seed))
            })
            .collect();
        writer.work(turns);
        done.store(true, Ordering::Relaxed);
        let joined = readers.into_iter().map(|reader| reader.join().expect("no reader panics"));
        joined.collect::<Checked<Vec<usize>>>().map(|rounds| rounds.into_iter().sum())
    });
    (writer, found)
}

#[test]
fn readers_see_whole_turns_while_the_writer_works() {
    let (mut writer, found) = run(Fault::None, 4000);
    let rounds = found.expect("every reader finds what must hold");
    assert!(rounds > 10, "readers came to {rounds} rounds only");

    // Without readers all garbage can go: what is left is one version for each key that lives.
    writer.index.compact(writer.revision);
    let mut done = false;
    for _ in 0..10_000 {
        let sweep = writer.index.sweep(100);
        done = sweep.done;
        for Forgotten { version, .. } in sweep.dropped {
            assert!(writer.dropped.insert(version), "{version:?} dropped twice");
        }
        if done {
            break;
        }
    }
    assert!(done, "the sweep does not end");
    writer.index.publish(writer.revision);
    let view = writer.index.reader().latest();
    let seen = check_view(&view).expect("a swept index shows the same");
    let kept = seen.iter().find(|&version| writer.dropped.contains(version));
    assert_eq!(kept, None, "dropped, yet readable");
}

#[test]
fn torn_and_forgotten_writes_are_noticed() {
    for fault in [Fault::TornMove, Fault::NoMark] {
        assert!(run(fault, 500).1.is_err());
    }
}
