//! The judgement: from the numbers of the records alone, what is void, covered, torn or rotten.

use std::collections::BTreeSet;

use bytes::Bytes;
use state::LogIndex;

use crate::messages::SegmentId;
use crate::wal::record::{self, Batch};
use crate::wal::segment::HEADER_BYTES;

use super::fold::Fold;
use super::scan::{Located, Scan, find_strays, read};
use super::{Place, Recovered, ReplayError, SegmentSource};

/// All segments together, with the numbers that decide.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) scans: Vec<Scan>,
    /// The records that are not void: segment by place in `scans`, ascending and without repeats.
    valid: Vec<(usize, Located)>,
    /// The highest record that some record knows to be durable.
    pub(super) covered: u64,
    /// The end of the longest row of valid records that begins at or below `covered + 1`.
    pub(super) through: u64,
}

impl Chain {
    pub(super) fn new(scans: Vec<Scan>) -> Chain {
        let mut chain = Chain { scans, valid: Vec::new(), covered: 0, through: 0 };
        chain.measure();
        chain
    }

    /// Finds the records that count, and what they know.
    fn measure(&mut self) {
        let witnesses = self.scans.iter().flat_map(Scan::witnesses);
        self.covered = witnesses.map(|record| record.synced_through).max().unwrap_or(0);
        self.valid.clear();
        // A segment that was in use voids what older segments hold from its number on. Without a
        // header it was torn as a whole, or is rotten, which is judged apart.
        let mut limit = u64::MAX;
        for (at, scan) in self.scans.iter().enumerate().rev() {
            let counts = scan.records.iter().rev().filter(|record| record.number < limit);
            self.valid.extend(counts.map(|record| (at, *record)));
            let Some(head) = scan.head else { continue };
            if scan.witnesses().next().is_some() || head.first_number <= self.covered {
                limit = limit.min(head.first_number);
            }
        }
        self.valid.reverse();
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
    pub(super) fn look_behind_the_end(
        &mut self,
        source: &dyn SegmentSource,
    ) -> Result<(), ReplayError> {
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
    pub(super) fn judge_headers(&self) -> Result<(), ReplayError> {
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
    pub(super) fn oldest(&self, source: &dyn SegmentSource) -> Result<SegmentId, ReplayError> {
        // Only what counts may speak: a void segment may name one that was torn together with it.
        let counts = || self.valid.iter().filter(|(_, record)| record.number <= self.through);
        if counts().next().is_none() {
            let begins = |scan: &&Scan| scan.head.is_some_and(|h| h.first_number <= self.covered);
            let damaged = self.scans.iter().rfind(begins).unwrap_or(&self.scans[0]);
            return Err(ReplayError::Rot(damaged.at(damaged.end)));
        }
        let heads = counts().filter_map(|(at, _)| self.scans[*at].head);
        let mut oldest = heads.map(|head| head.oldest).max().unwrap_or_default();
        let mut open: Option<(usize, Bytes)> = None;
        for (at, record) in counts().filter(|(_, record)| record.says_oldest) {
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
    pub(super) fn check(&mut self, oldest: SegmentId) -> Result<(), ReplayError> {
        let scans = &self.scans;
        self.valid.retain(|(at, _)| scans[*at].id >= oldest);
        let Some(base) = scans.iter().find(|scan| scan.id == oldest) else {
            return Err(ReplayError::Missing(oldest));
        };
        let Some(head) = base.head else { return Err(ReplayError::Rot(base.at(0))) };
        let mut expected = head.first_number;
        let mut before = None;
        for (at, record) in &self.valid {
            if record.number != expected {
                break;
            }
            if let Some(before) = before.filter(|before| before != at) {
                self.check_link(before, *at)?;
            }
            before = Some(*at);
            expected += 1;
        }
        if expected <= self.covered {
            return Err(self.what_is_wrong_at(expected, base));
        }
        Ok(())
    }

    /// A segment says which one it continues. A whole segment between them may be unreadable while
    /// an older one still holds void records with its numbers.
    fn check_link(&self, before: usize, at: usize) -> Result<(), ReplayError> {
        let previous = self.scans[at].head.and_then(|head| head.previous);
        match previous {
            Some(previous) if previous != self.scans[before].id => {
                let damaged = self.scans.iter().find(|scan| scan.id == previous);
                Err(damaged.map_or(ReplayError::Missing(previous), |s| ReplayError::Rot(s.at(0))))
            }
            _ => Ok(()),
        }
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

    pub(super) fn fold(
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
            let uncovered = record.number > self.covered;
            // What nobody vouches for is said again: its segment may vanish, and does not matter.
            if !uncovered && used.insert(id) {
                fold.log.segments.push((id, 0));
            }
            fold.take(batch, place, uncovered)?;
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
