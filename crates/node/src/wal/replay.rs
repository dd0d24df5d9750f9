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

mod chain;
mod fold;
mod scan;

use bytes::Bytes;
use state::{ClusterId, LogIndex, MemberId};

use crate::messages::SegmentId;
use crate::wal::record::{Entry, HardState, RecordError, SnapshotMark};
use crate::wal::segment;

use chain::Chain;
use scan::{look_behind_bad_starts, read_all};

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
    /// See [`segment::Segment::salt`].
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
    /// Segments with covered records that are needed, with the last index each ever held, oldest
    /// first.
    pub segments: Vec<(SegmentId, u64)>,
    /// Segments that hold nothing that will count once the log has gone on.
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
    /// A segment has the last name there is: nothing can follow it. Its file is none of ours.
    #[error("no name is left for a log segment after {}", .0.0)]
    NoName(SegmentId),
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
    let next_segment = last.id.0.checked_add(1).ok_or(ReplayError::NoName(last.id))?;
    let next_segment = SegmentId(next_segment);
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
    if chain.covered == 0 && chain.through == 0 {
        // Torn before its first write was durable: nobody was promised anything.
        return Ok(None);
    }
    let oldest = chain.oldest(source)?;
    chain.check(oldest)?;
    let mut recovered = chain.fold(source, oldest, applied)?;
    recovered.salt = salt;
    recovered.next_segment = next_segment;
    Ok(Some(recovered))
}
