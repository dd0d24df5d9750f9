//! One record: a [`Batch`] with its frame.
//!
//! ```text
//! flags  1 hard state   term varint, vote u64, commit varint
//!        2 commit       commit varint: only this part of the hard state has moved
//!        4 snapshot     index varint, term varint, members: length varint and bytes
//!        8 entries      first index varint, count varint, then each entry
//!       16 oldest       segment varint: older segments are no longer needed
//!
//! entry  tag u8: kind (bits 0-1), has context (4), has term (8: differs from the entry before)
//!        [term varint] [context: length varint and bytes] data: length varint and bytes
//! ```
//!
//! Parts stand in the order of their flags. A record without any is a *marker*: it is there only
//! to say through its frame what is durable. An entry that carries one put of 320 bytes costs
//! about 40 bytes more on disk than the put, most of which is shared by all that wait with it.
//!
//! ```
//! use node::wal::record::{Batch, decode, encode};
//! let mut bytes = Vec::new();
//! encode(&Batch::default(), 7, 5, 99, &mut bytes);
//! let frame = decode(&bytes, 99).expect("it was just written");
//! assert_eq!((frame.number, frame.synced_through, frame.bytes), (7, 5, 20));
//! assert!(decode(&bytes, 98).is_none(), "bytes of another segment");
//! ```

use bytes::{Buf, BufMut, Bytes};

use crate::limits::RECORD_BYTES_MAX;
use crate::messages::SegmentId;

/// Bytes in front of the payload of a record.
pub const FRAME_BYTES: usize = 20;

const HARD: u8 = 1;
const COMMIT: u8 = 2;
const SNAPSHOT: u8 = 4;
const ENTRIES: u8 = 8;
const OLDEST: u8 = 16;

const TAG_KIND: u8 = 3;
const TAG_CONTEXT: u8 = 4;
const TAG_TERM: u8 = 8;

/// What one write says; its parts become durable together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What the member may not forget.
    pub hard: Option<HardState>,
    /// Only the commit index, when nothing else of the hard state has moved.
    pub commit: Option<u64>,
    /// The log begins anew behind this point.
    pub snapshot: Option<SnapshotMark>,
    /// The index of the first entry; entries at and above it that were logged before are void.
    pub first_index: u64,
    /// Consecutive entries.
    pub entries: Vec<Entry>,
    /// Segments before this one are no longer needed.
    pub oldest: Option<SegmentId>,
}

impl Batch {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_marker(&self) -> bool {
        self.hard.is_none()
            && self.commit.is_none()
            && self.snapshot.is_none()
            && self.entries.is_empty()
            && self.oldest.is_none()
    }

    /// The index of the last entry, if there are any.
    #[must_use]
    pub fn last_index(&self) -> Option<u64> {
        let count = self.entries.len() as u64;
        (count > 0).then(|| self.first_index + count - 1)
    }
}

/// What a member may not forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The highest term it has seen.
    pub term: u64,
    /// For whom it voted in that term; 0 is nobody.
    pub vote: u64,
    /// The highest entry it knows to be decided.
    pub commit: u64,
}

/// A place where the log begins anew, because everything up to it came as a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMark {
    /// The last entry that the snapshot contains.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Voters and learners at that entry, encoded.
    pub conf_state: Bytes,
}

/// One entry of the log. Its index follows from its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The term in which it was proposed.
    pub term: u64,
    /// What it is.
    pub kind: EntryKind,
    /// What it says.
    pub data: Bytes,
    /// What its proposer said beside it.
    pub context: Bytes,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryKind {
    /// A batch of commands, or nothing.
    #[default]
    Normal,
    /// One change of the membership.
    ConfChange,
    /// Several changes of the membership.
    ConfChangeV2,
}

/// A record that passed its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number.
    pub number: u64,
    /// The last record that was known to be durable when this one was written.
    pub synced_through: u64,
    /// Its length, frame included.
    pub bytes: usize,
    /// Whether it says which segments are no longer needed.
    pub says_oldest: bool,
}

/// Appends a record to `out`.
///
/// # Panics
/// If `synced_through` is not below `number`, or the record is larger than
/// [`RECORD_BYTES_MAX`]: the limits on proposals are far below it.
pub fn encode(batch: &Batch, number: u64, synced_through: u64, seed: u32, out: &mut Vec<u8>) {
    assert!(synced_through < number, "record {number} claims to know of {synced_through}");
    let start = out.len();
    // More would claim less, which is always true.
    let lag = u16::try_from(number - synced_through).unwrap_or(0);
    out.put_bytes(0, 8);
    out.put_u64_le(number);
    out.put_u16_le(lag);
    out.put_u16_le(0);
    out[start + 18] = put_payload(batch, out);
    let len = u32::try_from(out.len() - start).ok().filter(|len| *len <= RECORD_BYTES_MAX);
    let len = len.expect("proposals are bounded far below the largest record");
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    let crc = checksum(&out[start..], seed);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(record: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &record[..4]), &record[8..])
}

fn put_payload(batch: &Batch, out: &mut Vec<u8>) -> u8 {
    let mut flags = 0;
    if let Some(hard) = &batch.hard {
        flags |= HARD;
        put_varint(hard.term, out);
        out.put_u64_le(hard.vote);
        put_varint(hard.commit, out);
    }
    if let Some(commit) = batch.commit {
        flags |= COMMIT;
        put_varint(commit, out);
    }
    if let Some(snapshot) = &batch.snapshot {
        flags |= SNAPSHOT;
        put_varint(snapshot.index, out);
        put_varint(snapshot.term, out);
        put_bytes(&snapshot.conf_state, out);
    }
    if !batch.entries.is_empty() {
        flags |= ENTRIES;
        put_varint(batch.first_index, out);
        put_varint(batch.entries.len() as u64, out);
        let mut term = 0;
        for entry in &batch.entries {
            put_entry(entry, &mut term, out);
        }
    }
    if let Some(oldest) = batch.oldest {
        flags |= OLDEST;
        put_varint(oldest.0, out);
    }
    flags
}

fn put_entry(entry: &Entry, term: &mut u64, out: &mut Vec<u8>) {
    let mut tag = match entry.kind {
        EntryKind::Normal => 0,
        EntryKind::ConfChange => 1,
        EntryKind::ConfChangeV2 => 2,
    };
    if !entry.context.is_empty() {
        tag |= TAG_CONTEXT;
    }
    if entry.term != *term {
        tag |= TAG_TERM;
    }
    out.put_u8(tag);
    if entry.term != *term {
        put_varint(entry.term, out);
        *term = entry.term;
    }
    if !entry.context.is_empty() {
        put_bytes(&entry.context, out);
    }
    put_bytes(&entry.data, out);
}

/// Reads the frame of the record at the start of `bytes`; `None` if no whole record of the segment
/// with this seed begins there.
#[must_use]
pub fn decode(bytes: &[u8], seed: u32) -> Option<Frame> {
    let frame = peek(bytes)?;
    let crc = u32::from_le_bytes(bytes[4..8].try_into().expect("peek saw twenty bytes"));
    (checksum(&bytes[..frame.bytes], seed) == crc).then_some(frame)
}

/// What the frame at the start of `bytes` claims, unchecked; `None` if it cannot be a record.
#[must_use]
pub fn peek(bytes: &[u8]) -> Option<Frame> {
    let mut frame = bytes.get(..FRAME_BYTES)?;
    let len = frame.get_u32_le();
    if len > RECORD_BYTES_MAX {
        return None;
    }
    let len = usize::try_from(len).ok()?;
    if len < FRAME_BYTES || len > bytes.len() {
        return None;
    }
    frame.advance(4);
    let number = frame.get_u64_le();
    let lag = u64::from(frame.get_u16_le());
    let says_oldest = frame.get_u8() & OLDEST != 0;
    let synced_through = if lag == 0 { 0 } else { number.checked_sub(lag)? };
    Some(Frame { number, synced_through, bytes: len, says_oldest })
}

/// Reads the payload of a record whose frame has been checked.
///
/// # Errors
/// The record is whole but says something that this program does not understand.
pub fn read(record: &Bytes) -> Result<Batch, RecordError> {
    let flags = *record.get(18).ok_or(RecordError::Torn)?;
    if flags & !(HARD | COMMIT | SNAPSHOT | ENTRIES | OLDEST) != 0 || record.get(19) != Some(&0) {
        return Err(RecordError::Newer { flags });
    }
    let mut payload = record.slice(FRAME_BYTES..);
    let mut batch = Batch::default();
    if flags & HARD != 0 {
        let term = get_varint(&mut payload)?;
        let vote = payload.try_get_u64_le().map_err(|_| RecordError::Torn)?;
        let commit = get_varint(&mut payload)?;
        batch.hard = Some(HardState { term, vote, commit });
    }
    if flags & COMMIT != 0 {
        batch.commit = Some(get_varint(&mut payload)?);
    }
    if flags & SNAPSHOT != 0 {
        let (index, term) = (get_varint(&mut payload)?, get_varint(&mut payload)?);
        let conf_state = get_bytes(&mut payload)?;
        if index == u64::MAX {
            return Err(RecordError::Torn); // nothing could follow it
        }
        batch.snapshot = Some(SnapshotMark { index, term, conf_state });
    }
    if flags & ENTRIES != 0 {
        batch.first_index = get_varint(&mut payload)?;
        let count = get_varint(&mut payload)?;
        // An entry takes two bytes at least, and the first one of all has index 1.
        let end = batch.first_index.checked_add(count);
        if batch.first_index == 0 || count > payload.len() as u64 / 2 || end.is_none() {
            return Err(RecordError::Torn);
        }
        let mut term = 0;
        for _ in 0..count {
            batch.entries.push(get_entry(&mut term, &mut payload)?);
        }
    }
    if flags & OLDEST != 0 {
        batch.oldest = Some(SegmentId(get_varint(&mut payload)?));
    }
    if payload.has_remaining() {
        return Err(RecordError::Torn);
    }
    Ok(batch)
}

fn get_entry(term: &mut u64, payload: &mut Bytes) -> Result<Entry, RecordError> {
    let tag = payload.try_get_u8().map_err(|_| RecordError::Torn)?;
    let kind = match tag & TAG_KIND {
        0 => EntryKind::Normal,
        1 => EntryKind::ConfChange,
        2 => EntryKind::ConfChangeV2,
        _ => return Err(RecordError::Newer { flags: tag }),
    };
    if tag & TAG_TERM != 0 {
        *term = get_varint(payload)?;
    }
    let context = if tag & TAG_CONTEXT != 0 { get_bytes(payload)? } else { Bytes::new() };
    let data = get_bytes(payload)?;
    Ok(Entry { term: *term, kind, data, context })
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn get_varint(payload: &mut Bytes) -> Result<u64, RecordError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = payload.try_get_u8().map_err(|_| RecordError::Torn)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(RecordError::Torn);
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(RecordError::Torn)
}

fn put_bytes(bytes: &Bytes, out: &mut Vec<u8>) {
    put_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

fn get_bytes(payload: &mut Bytes) -> Result<Bytes, RecordError> {
    let len = usize::try_from(get_varint(payload)?).map_err(|_| RecordError::Torn)?;
    if len > payload.len() {
        return Err(RecordError::Torn);
    }
    Ok(payload.split_to(len))
}

/// A record passed its checksum and still cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A newer program wrote it.
    #[error("a record has parts {flags:#x} that this program does not know")]
    Newer {
        /// Its flags.
        flags: u8,
    },
    /// Its parts do not fit into it: whoever wrote it was broken.
    #[error("a record is whole but its parts are not")]
    Torn,
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn bytes(range: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), range).prop_map(Bytes::from)
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let kind = prop_oneof![
            Just(EntryKind::Normal),
            Just(EntryKind::ConfChange),
            Just(EntryKind::ConfChangeV2)
        ];
        (any::<u64>(), kind, bytes(0..300), bytes(0..20))
            .prop_map(|(term, kind, data, context)| Entry { term, kind, data, context })
    }

    fn batch() -> impl Strategy<Value = Batch> {
        let hard = (any::<u64>(), any::<u64>(), any::<u64>())
            .prop_map(|(term, vote, commit)| HardState { term, vote, commit });
        let snapshot = (any::<u64>(), any::<u64>(), bytes(0..50))
            .prop_map(|(index, term, conf_state)| SnapshotMark { index, term, conf_state });
        (
            proptest::option::of(hard),
            proptest::option::of(any::<u64>()),
            proptest::option::of(snapshot),
            1..u64::MAX / 2,
            vec(entry(), 0..5),
            proptest::option::of(any::<u64>().prop_map(SegmentId)),
        )
            .prop_map(|(hard, commit, snapshot, first, entries, oldest)| Batch {
                hard,
                commit,
                snapshot,
                first_index: if entries.is_empty() { 0 } else { first },
                entries,
                oldest,
            })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(batch in batch(), number in 2..u64::MAX, seed in any::<u32>()) {
            let mut out = Vec::new();
            encode(&batch, number, number - 2, seed, &mut out);
            let frame = decode(&out, seed).expect("a whole record");
            prop_assert_eq!((frame.number, frame.synced_through), (number, number - 2));
            prop_assert_eq!((frame.bytes, frame.says_oldest), (out.len(), batch.oldest.is_some()));
            prop_assert_eq!(read(&Bytes::from(out)), Ok(batch));
        }

        #[test]
        fn no_damage_of_one_byte_and_no_other_seed_passes(
            batch in batch(), seed in any::<u32>(), other in 1..u32::MAX,
            at in any::<prop::sample::Index>(), flip in 1..=255_u8,
        ) {
            let mut out = Vec::new();
            encode(&batch, 9, 7, seed, &mut out);
            prop_assert_eq!(decode(&out, seed ^ other), None);
            let at = at.index(out.len());
            out[at] ^= flip;
            prop_assert_eq!(decode(&out, seed), None);
        }

        #[test]
        fn nonsense_that_passes_its_checksum_is_an_error(payload in vec(any::<u8>(), 0..200), flags in 0..32_u8) {
            let mut out = vec![0; FRAME_BYTES];
            out[18] = flags;
            out.extend(payload);
            // Either is fine; it must only not panic.
            if let Ok(batch) = read(&Bytes::from(out)) {
                prop_assert!(batch.entries.len() < 200);
            }
        }
    }

    #[test]
    fn indexes_that_no_log_can_have_are_refused() {
        let mark = |index| SnapshotMark { index, ..SnapshotMark::default() };
        let snapshot = Batch { snapshot: Some(mark(u64::MAX)), ..Batch::default() };
        let entries = Batch { entries: vec![Entry::default()], ..Batch::default() };
        for batch in [snapshot, entries] {
            let mut out = Vec::new();
            encode(&batch, 2, 1, 3, &mut out);
            assert_eq!(read(&Bytes::from(out)), Err(RecordError::Torn), "{batch:?}");
        }
    }

    #[test]
    fn a_lone_put_of_320_bytes_costs_little_more_on_disk() {
        let entry = Entry { term: 3, data: Bytes::from(vec![7; 320 + 11]), ..Entry::default() };
        let batch = Batch {
            commit: Some(1_000_000),
            first_index: 1_000_001,
            entries: vec![entry],
            ..Batch::default()
        };
        let mut out = Vec::new();
        encode(&batch, 5_000_000, 4_999_999, 1, &mut out);
        assert!(out.len() <= 365, "{} bytes", out.len());
    }
}
