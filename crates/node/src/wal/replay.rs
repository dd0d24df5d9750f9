//! Recovers what the log holds: finds the records, judges damage, folds the batches.
//!
//! Two passes. The first reads every segment and notes where whole records are; from their numbers
//! alone it decides which are void, what is covered, where the tail is cut and whether something
//! is rotten (the argument stands in [`crate::wal`]). The second reads the records that count.
//!
//! ```text
//! number    93 94 95 96 97 98         covered 95 (98 says so): 93-95 must be there
//! segment 7  ✓  ✓  ✓  ✗  ✓            96 is torn: cut here, 97 and 98 are void
//! segment 8                 ✓
//! ```
//!
//! It changes nothing on disk: a cut is a decision that the next segment records.

use std::collections::BTreeSet;

use bytes::Bytes;
use state::{ClusterId, LogIndex, MemberId};

use crate::messages::SegmentId;
use crate::wal::record::{self, Batch, Entry, HardState, RecordError, SnapshotMark};
use crate::wal::segment::{self, HEADER_BYTES, HeaderError, Segment};

/// Where the segments of a log are read from.
pub trait SegmentSource {
    /// The names of all segments, in any order.
    ///
    /// # Errors
    /// They cannot be listed.
    fn list(&self) -> Result<Vec<SegmentId>, std::io::Error>;

    /// All bytes of a segment. Less than was preallocated is fine, and so are old bytes of a file
    /// that was another segment before.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(&self, segment: SegmentId) -> Result<Bytes, std::io::Error>;
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// See [`Segment::salt`].
    pub salt: u32,
    /// What the member may not forget.
    pub hard: HardState,
    /// Where the log began anew, if it says so.
    pub snapshot: Option<SnapshotMark>,
    /// The index of the first of `entries`.
    pub first_index: u64,
    /// The entries from the applied one on, if it is still there.
    pub entries: Vec<Entry>,
    /// The last record that is known to be durable.
    pub covered: u64,
    /// The last record that was whole.
    pub through: u64,
    /// Entries at and above this index are known from uncovered records and must be logged again.
    pub again_from: Option<u64>,
    /// The snapshot mark is known from an uncovered record and must be logged again.
    pub again_snapshot: bool,
    /// Segments that are needed, with the last index each ever held, oldest first.
    pub segments: Vec<(SegmentId, u64)>,
    /// Segments that hold nothing that counts.
    pub void: Vec<SegmentId>,
    /// A name for a new segment.
    pub next_segment: SegmentId,
    /// Where a torn tail was cut off, if there was one.
    pub cut: Option<Place>,
}

impl Recovered {
    /// The index of the last entry; that of the snapshot if there are none.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.first_index + self.entries.len() as u64 - 1
    }
}

/// A byte of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: SegmentId,
    /// The byte in it.
    pub offset: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "log segment {} at byte {}", self.segment.0, self.offset)
    }
}

/// The log cannot be trusted, or not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The segments cannot be listed.
    #[error("list the log segments")]
    List(#[source] std::io::Error),
    /// A segment cannot be read.
    #[error("read log segment {}", segment.0)]
    Read {
        /// Which.
        segment: SegmentId,
        /// Why.
        source: std::io::Error,
    },
    /// A record that was durable is damaged.
    #[error("{0} is damaged: what stood there had been acknowledged")]
    Rot(Place),
    /// A segment that is needed is not there.
    #[error("log segment {} is missing", .0.0)]
    Missing(SegmentId),
    /// Another member's log.
    #[error("log segment {} belongs to {member} of {cluster}", segment.0)]
    Foreign {
        /// Which segment.
        segment: SegmentId,
        /// Whose it is.
        cluster: ClusterId,
        /// Whose it is.
        member: MemberId,
    },
    /// A newer program wrote it.
    #[error("log segment {} has format {format}, this program reads {}", segment.0, segment::FORMAT)]
    Newer {
        /// Which segment.
        segment: SegmentId,
        /// The format it has.
        format: u16,
    },
    /// A record is whole but cannot be understood.
    #[error("read the record in {place}")]
    Record {
        /// Where.
        place: Place,
        /// Why.
        source: RecordError,
    },
    /// A record is whole but does not follow from those before it.
    #[error("{place} continues at entry {found}, but the log ends at {last}")]
    Gap {
        /// Where.
        place: Place,
        /// The first index it holds.
        found: u64,
        /// The last index before it.
        last: u64,
    },
}

/// Recovers the log of `member`. Entries below `applied` are left out: the engine has them.
/// `None` if there is no log at all.
///
/// # Errors
/// The log is damaged where it had been acknowledged, belongs to somebody else, was written by a
/// newer program, or cannot be read. Nothing has been changed.
pub fn replay(
    source: &dyn SegmentSource,
    cluster: ClusterId,
    member: MemberId,
    applied: LogIndex,
) -> Result<Option<Recovered>, ReplayError> {
    let mut scans = read_all(source, cluster, member)?;
    let Some(last) = scans.last() else { return Ok(None) };
    let next_segment = SegmentId(last.id.0 + 1);
    let Some(salt) = scans.iter().find_map(|scan| scan.salt) else {
        // Nothing can be told about a log without a single header, unless it was never written.
        return match scans.iter().find(|scan| !scan.blank) {
            Some(scan) => Err(ReplayError::Rot(scan.at(0))),
            None => Ok(None),
        };
    };
    look_behind_bad_starts(source, &mut scans, cluster, member, salt)?;
    let mut chain = Chain::new(scans);
    if chain.scans.iter().all(|scan| scan.records.is_empty() && scan.stray.is_empty()) {
        return Ok(None);
    }
    chain.look_behind_the_end(source)?;
    chain.judge_headers()?;
    let oldest = chain.oldest(source)?;
    chain.check(oldest)?;
    let mut recovered = chain.fold(source, oldest, applied)?;
    recovered.salt = salt;
    recovered.next_segment = next_segment;
    Ok(Some(recovered))
}

/// What the first pass knows of a segment.
#[derive(Debug)]
struct Scan {
    id: SegmentId,
    /// Its header, if it is this segment's own.
    head: Option<Segment>,
    /// The salt, if any header of ours was there: of an earlier life of the file, perhaps.
    salt: Option<u32>,
    /// The records that follow one another from the header on.
    records: Vec<Located>,
    /// Whole records found behind a bad one: witnesses, not data.
    stray: Vec<Located>,
    /// Where the row of records ends.
    end: usize,
    /// Whether something was begun at `end`.
    begun: bool,
    /// Whether there is nothing but zeros.
    blank: bool,
}

#[derive(Clone, Copy, Debug)]
struct Located {
    number: u64,
    synced_through: u64,
    offset: usize,
    bytes: usize,
    says_oldest: bool,
}

impl Scan {
    fn at(&self, offset: usize) -> Place {
        Place { segment: self.id, offset: offset as u64 }
    }

    fn witnesses(&self) -> impl Iterator<Item = &Located> {
        self.records.iter().chain(&self.stray)
    }
}

fn read(source: &dyn SegmentSource, segment: SegmentId) -> Result<Bytes, ReplayError> {
    source.read(segment).map_err(|source| ReplayError::Read { segment, source })
}

fn read_all(
    source: &dyn SegmentSource,
    cluster: ClusterId,
    member: MemberId,
) -> Result<Vec<Scan>, ReplayError> {
    let mut ids = source.list().map_err(ReplayError::List)?;
    ids.sort_unstable();
    ids.dedup();
    let mut scans = Vec::with_capacity(ids.len());
    for id in ids {
        let bytes = read(source, id)?;
        scans.push(scan(id, &bytes, cluster, member)?);
    }
    Ok(scans)
}

fn scan(
    id: SegmentId,
    bytes: &Bytes,
    cluster: ClusterId,
    member: MemberId,
) -> Result<Scan, ReplayError> {
    let head = match Segment::decode(bytes) {
        Ok(head) if (head.cluster, head.member) != (cluster, member) => {
            let (cluster, member) = (head.cluster, head.member);
            return Err(ReplayError::Foreign { segment: id, cluster, member });
        }
        Ok(head) => Some(head),
        Err(HeaderError::Newer { format }) => {
            return Err(ReplayError::Newer { segment: id, format });
        }
        Err(HeaderError::Unreadable) => None,
    };
    let mut scan = Scan {
        id,
        head: head.filter(|head| head.id == id),
        salt: head.map(|head| head.salt),
        records: Vec::new(),
        stray: Vec::new(),
        end: HEADER_BYTES.min(bytes.len()),
        begun: false,
        blank: bytes.iter().all(|byte| *byte == 0),
    };
    if let Some(head) = scan.head {
        let mut number = head.first_number;
        while let Some(frame) = record::decode(&bytes[scan.end..], head.seed()) {
            if frame.number != number {
                break;
            }
            scan.records.push(located(frame, scan.end));
            scan.end += frame.bytes;
            number += 1;
        }
        let rest = record::peek(&bytes[scan.end..]);
        scan.begun = rest.is_some_and(|frame| frame.number == number);
    }
    Ok(scan)
}

fn located(frame: record::Frame, offset: usize) -> Located {
    Located {
        number: frame.number,
        synced_through: frame.synced_through,
        offset,
        bytes: frame.bytes,
        says_oldest: frame.says_oldest,
    }
}

/// Finds whole records at any byte from `from` on whose number is above `above`.
fn find_strays(bytes: &[u8], from: usize, seed: u32, above: u64) -> Vec<Located> {
    const CHUNK: usize = 4096;
    let mut found = Vec::new();
    let mut at = from;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= record::FRAME_BYTES) {
        if rest.len() >= CHUNK && rest[..CHUNK].iter().all(|byte| *byte == 0) {
            // A record begins with its length, which is not zero in at least one of four bytes.
            at += CHUNK - 3;
            continue;
        }
        let plausible = record::peek(rest)
            .is_some_and(|frame| frame.number > above && frame.number - above < 1 << 32);
        match record::decode(rest, seed).filter(|_| plausible) {
            Some(frame) => {
                found.push(located(frame, at));
                at += frame.bytes;
            }
            None => at += 1,
        }
    }
    found
}

/// A segment without a readable beginning may still hold records that tell what was durable.
fn look_behind_bad_starts(
    source: &dyn SegmentSource,
    scans: &mut [Scan],
    cluster: ClusterId,
    member: MemberId,
    salt: u32,
) -> Result<(), ReplayError> {
    for scan in scans.iter_mut().filter(|scan| scan.records.is_empty() && !scan.blank) {
        let bytes = read(source, scan.id)?;
        let seed = segment::seed(cluster, member, scan.id, salt);
        scan.stray = find_strays(&bytes, HEADER_BYTES, seed, 0);
    }
    Ok(())
}

/// All segments together, with the numbers that decide.
#[derive(Debug)]
struct Chain {
    scans: Vec<Scan>,
    /// The records that are not void: segment by place in `scans`, ascending and without repeats.
    valid: Vec<(usize, Located)>,
    /// The highest record that some record knows to be durable.
    covered: u64,
    /// The end of the longest row of valid records that begins at or below `covered + 1`.
    through: u64,
}

impl Chain {
    fn new(scans: Vec<Scan>) -> Chain {
        let mut chain = Chain { scans, valid: Vec::new(), covered: 0, through: 0 };
        // A segment that holds anything voids what older segments hold from its number on.
        let mut limit = u64::MAX;
        for (at, scan) in chain.scans.iter().enumerate().rev() {
            let counts = scan.records.iter().filter(|record| record.number < limit);
            let counts: Vec<_> = counts.map(|record| (at, *record)).collect();
            chain.valid.extend(counts.into_iter().rev());
            if let Some(first) = scan.witnesses().map(|record| record.number).min() {
                limit = limit.min(scan.head.map_or(first, |head| head.first_number));
            }
        }
        chain.valid.reverse();
        chain.measure();
        chain
    }

    fn measure(&mut self) {
        let witnesses = self.scans.iter().flat_map(Scan::witnesses);
        self.covered = witnesses.map(|record| record.synced_through).max().unwrap_or(0);
        let above = self.valid.partition_point(|(_, record)| record.number <= self.covered);
        self.through = self.covered;
        for (_, record) in &self.valid[above..] {
            if record.number != self.through + 1 {
                break;
            }
            self.through += 1;
        }
    }

    /// Witnesses may stand behind the place where the valid records end, in that segment or a
    /// later one. Elsewhere a later segment is witness enough.
    fn look_behind_the_end(&mut self, source: &dyn SegmentSource) -> Result<(), ReplayError> {
        let valid = self.valid.iter().rfind(|(_, record)| record.number <= self.through);
        let from = valid.map_or(0, |(at, _)| *at);
        for scan in self.scans.iter_mut().skip(from).filter(|scan| !scan.records.is_empty()) {
            let Some(head) = scan.head else { continue };
            let bytes = read(source, scan.id)?;
            let above = scan.records.last().map_or(0, |record| record.number);
            scan.stray = find_strays(&bytes, scan.end, head.seed(), above);
        }
        self.measure();
        Ok(())
    }

    /// A header is written with the first record of its segment. If a record behind knows that one
    /// to be durable, the header was, and has rotted.
    fn judge_headers(&self) -> Result<(), ReplayError> {
        for scan in self.scans.iter().filter(|scan| scan.head.is_none()) {
            let Some(first) = scan.stray.first() else { continue };
            let is_first = first.offset == HEADER_BYTES;
            let head = if is_first { first.number } else { first.number - 1 };
            if scan.stray.iter().any(|record| record.synced_through >= head) {
                return Err(ReplayError::Rot(scan.at(0)));
            }
        }
        Ok(())
    }

    /// The oldest segment that is needed, as the log itself says.
    fn oldest(&self, source: &dyn SegmentSource) -> Result<SegmentId, ReplayError> {
        let counts = |number: u64| number <= self.through;
        let heads = self.scans.iter().filter(|scan| !scan.records.is_empty());
        let heads = heads.filter_map(|scan| scan.head).filter(|head| counts(head.first_number));
        let mut oldest = heads.map(|head| head.oldest).max().unwrap_or_default();
        let mut open: Option<(usize, Bytes)> = None;
        let say = self.valid.iter().filter(|(_, record)| record.says_oldest);
        for (at, record) in say.filter(|(_, record)| counts(record.number)) {
            let bytes = self.bytes(source, &mut open, *at)?;
            if let Some(said) = self.batch(*at, record, &bytes)?.oldest {
                oldest = oldest.max(said);
            }
        }
        Ok(oldest)
    }

    fn bytes(
        &self,
        source: &dyn SegmentSource,
        open: &mut Option<(usize, Bytes)>,
        at: usize,
    ) -> Result<Bytes, ReplayError> {
        match open {
            Some((open, bytes)) if *open == at => Ok(bytes.clone()),
            _ => {
                let bytes = read(source, self.scans[at].id)?;
                *open = Some((at, bytes.clone()));
                Ok(bytes)
            }
        }
    }

    fn batch(&self, at: usize, record: &Located, bytes: &Bytes) -> Result<Batch, ReplayError> {
        let place = self.scans[at].at(record.offset);
        let end = record.offset + record.bytes;
        if bytes.len() < end {
            // It was longer a moment ago.
            return Err(ReplayError::Rot(place));
        }
        record::read(&bytes.slice(record.offset..end))
            .map_err(|source| ReplayError::Record { place, source })
    }

    /// Everything from the oldest needed segment up to what is covered must be there.
    fn check(&mut self, oldest: SegmentId) -> Result<(), ReplayError> {
        let scans = &self.scans;
        self.valid.retain(|(at, _)| scans[*at].id >= oldest);
        let Some(base) = scans.iter().find(|scan| scan.id == oldest) else {
            return Err(ReplayError::Missing(oldest));
        };
        let Some(head) = base.head else { return Err(ReplayError::Rot(base.at(0))) };
        let mut expected = head.first_number;
        for (_, record) in &self.valid {
            if record.number != expected {
                break;
            }
            expected += 1;
        }
        if expected <= self.covered {
            return Err(self.what_is_wrong_at(expected, base));
        }
        Ok(())
    }

    fn what_is_wrong_at(&self, number: u64, base: &Scan) -> ReplayError {
        let before = self.valid.iter().rfind(|(_, record)| record.number + 1 == number);
        let Some((at, record)) = before else { return ReplayError::Rot(base.at(HEADER_BYTES)) };
        let here = &self.scans[*at];
        let end = record.offset + record.bytes;
        let Some(next) = self.scans.get(at + 1) else { return ReplayError::Rot(here.at(end)) };
        match next.head {
            _ if here.begun => ReplayError::Rot(here.at(end)),
            Some(head) if head.first_number == number => ReplayError::Rot(next.at(HEADER_BYTES)),
            None if !next.blank => ReplayError::Rot(next.at(0)),
            _ if next.id.0 > here.id.0 + 1 => ReplayError::Missing(SegmentId(here.id.0 + 1)),
            _ => ReplayError::Rot(here.at(end)),
        }
    }

    fn fold(
        &self,
        source: &dyn SegmentSource,
        oldest: SegmentId,
        applied: LogIndex,
    ) -> Result<Recovered, ReplayError> {
        let mut fold = Fold { applied: applied.0, ..Fold::default() };
        let mut open = None;
        let mut used = BTreeSet::new();
        for (at, record) in self.valid.iter().filter(|(_, r)| r.number <= self.through) {
            let id = self.scans[*at].id;
            let bytes = self.bytes(source, &mut open, *at)?;
            let batch = self.batch(*at, record, &bytes)?;
            let place = self.scans[*at].at(record.offset);
            if used.insert(id) {
                fold.log.segments.push((id, 0));
            }
            fold.take(batch, place, record.number > self.covered)?;
        }
        let mut recovered = fold.log;
        if !fold.started {
            // Everything in it has been applied and its segments are gone.
            recovered.first_index = applied.0 + 1;
        }
        recovered.covered = self.covered;
        recovered.through = self.through;
        recovered.cut = self.cut();
        let void = self.scans.iter().map(|scan| scan.id);
        recovered.void = void.filter(|id| *id < oldest || !used.contains(id)).collect();
        Ok(recovered)
    }

    fn cut(&self) -> Option<Place> {
        let lost = self.scans.iter().flat_map(Scan::witnesses).any(|r| r.number > self.through);
        let (at, record) = self.valid.iter().rfind(|(_, r)| r.number <= self.through)?;
        let here = &self.scans[*at];
        let end = record.offset + record.bytes;
        (lost || (here.begun && here.end == end)).then(|| here.at(end))
    }
}

/// The log as it was after each batch.
#[derive(Debug, Default)]
struct Fold {
    log: Recovered,
    applied: u64,
    started: bool,
}

impl Fold {
    fn take(&mut self, batch: Batch, place: Place, uncovered: bool) -> Result<(), ReplayError> {
        let log = &mut self.log;
        if let Some(hard) = batch.hard {
            log.hard = hard;
        }
        if let Some(commit) = batch.commit {
            log.hard.commit = commit;
        }
        if let Some(mark) = batch.snapshot {
            log.entries.clear();
            log.first_index = mark.index + 1;
            log.snapshot = Some(mark);
            log.again_snapshot = uncovered;
            log.again_from = None;
            self.started = true;
        }
        if batch.entries.is_empty() {
            return Ok(());
        }
        let (first, last) = (batch.first_index, batch.first_index + batch.entries.len() as u64 - 1);
        if !self.started {
            log.first_index = first;
            self.started = true;
        } else if first > log.last_index() + 1 && first <= self.applied + 1 {
            // What is missing has been applied: a start wrote again only what it still needed.
            log.entries.clear();
            log.first_index = first;
        } else if first > log.last_index() + 1 {
            return Err(ReplayError::Gap { place, found: first, last: log.last_index() });
        }
        if uncovered {
            log.again_from = Some(log.again_from.map_or(first, |from| from.min(first)));
        }
        if let Some((_, highest)) = log.segments.last_mut() {
            *highest = last.max(*highest);
        }
        self.replace(first, batch.entries);
        Ok(())
    }

    /// Puts entries in the place of what stood at their indexes and above.
    fn replace(&mut self, first: u64, entries: Vec<Entry>) {
        let log = &mut self.log;
        let known = log.first_index;
        let keep = usize::try_from(first.saturating_sub(known)).unwrap_or(usize::MAX);
        log.entries.truncate(keep);
        for (index, entry) in (first..).zip(entries) {
            if index < known {
                continue;
            }
            if index < self.applied {
                log.entries.clear();
                log.first_index = index + 1;
                continue;
            }
            // A copy, so that no entry keeps the whole segment in memory.
            let data = Bytes::copy_from_slice(&entry.data);
            let context = Bytes::copy_from_slice(&entry.context);
            log.entries.push(Entry { data, context, ..entry });
        }
    }
}
