//! The first pass: where whole records are.

use bytes::Bytes;
use state::{ClusterId, MemberId};

use crate::messages::SegmentId;
use crate::wal::record;
use crate::wal::segment::{self, HEADER_BYTES, HeaderError, Segment};

use super::{Place, ReplayError, SegmentSource};

/// What the first pass knows of a segment.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) id: SegmentId,
    /// Its header, if it is this segment's own.
    pub(super) head: Option<Segment>,
    /// The salt, if any header of ours was there: of an earlier life of the file, perhaps.
    pub(super) salt: Option<u32>,
    /// The records that follow one another from the header on.
    pub(super) records: Vec<Located>,
    /// Whole records found behind a bad one: witnesses, not data.
    pub(super) stray: Vec<Located>,
    /// Where the row of records ends.
    pub(super) end: usize,
    /// Whether something was begun at `end`.
    pub(super) begun: bool,
    /// Whether there is nothing but zeros.
    pub(super) blank: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    pub(super) number: u64,
    pub(super) synced_through: u64,
    pub(super) offset: usize,
    pub(super) bytes: usize,
    pub(super) says_oldest: bool,
}

impl Scan {
    pub(super) fn at(&self, offset: usize) -> Place {
        Place { segment: self.id, offset: offset as u64 }
    }

    pub(super) fn witnesses(&self) -> impl Iterator<Item = &Located> {
        self.records.iter().chain(&self.stray)
    }
}

pub(super) fn read(source: &dyn SegmentSource, segment: SegmentId) -> Result<Bytes, ReplayError> {
    source.read(segment).map_err(|source| ReplayError::Read { segment, source })
}

pub(super) fn read_all(
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
            // No log gets so far; a header may say anything.
            let Some(next) = number.checked_add(1) else { break };
            number = next;
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
pub(super) fn find_strays(bytes: &[u8], from: usize, seed: u32, above: u64) -> Vec<Located> {
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
pub(super) fn look_behind_bad_starts(
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
