//! A log as an input: a few segments, one after the other.
//!
//! ```text
//! input     flags  applied  segment segment …
//! segment   id     length (2, little-endian)  bytes
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use node::messages::SegmentId;
use node::wal::{Segment, SegmentSource, record};
use state::{ClusterId, LogIndex, MemberId};

/// Whose log it is.
pub const CLUSTER: ClusterId = ClusterId(0xc1);
/// Whose log it is.
pub const MEMBER: MemberId = MemberId(0xe1);

/// The checksums stay as they are.
const KEEP_CHECKSUMS: u8 = 1;
const SEGMENTS_MAX: usize = 8;

/// Segments, and what the engine has.
pub struct Log {
    segments: BTreeMap<SegmentId, Bytes>,
    /// Up to here the engine has applied it.
    pub applied: LogIndex,
}

impl Log {
    /// Reads an input; every input is one.
    pub fn parse(input: &[u8]) -> Log {
        let (flags, rest) = input.split_first().unwrap_or((&0, &[]));
        let (applied, mut rest) = rest.split_first().unwrap_or((&0, &[]));
        let mut segments = BTreeMap::new();
        while let Some((&[id, low, high], tail)) = rest.split_first_chunk::<3>() {
            let length = usize::from(u16::from_le_bytes([low, high])).min(tail.len());
            let (bytes, tail) = tail.split_at(length);
            rest = tail;
            let mut bytes = bytes.to_vec();
            if flags & KEEP_CHECKSUMS == 0 {
                put_checksums_right(&mut bytes);
            }
            segments.insert(SegmentId(u64::from(id)), Bytes::from(bytes));
            if segments.len() == SEGMENTS_MAX {
                break;
            }
        }
        Log { segments, applied: LogIndex(u64::from(*applied)) }
    }

    /// Writes an input.
    pub fn encode(applied: u8, segments: &BTreeMap<SegmentId, Vec<u8>>) -> Vec<u8> {
        let mut input = vec![0, applied];
        for (id, bytes) in segments {
            input.push(u8::try_from(id.0).expect("few segments"));
            let length = u16::try_from(bytes.len()).expect("short segments");
            input.extend(length.to_le_bytes());
            input.extend(bytes);
        }
        input
    }
}

impl SegmentSource for Log {
    fn list(&self) -> Result<Vec<SegmentId>, std::io::Error> {
        Ok(self.segments.keys().copied().collect())
    }

    fn read(&self, segment: SegmentId) -> Result<Bytes, std::io::Error> {
        Ok(self.segments[&segment].clone())
    }
}

/// Of the header, and of each record that follows another.
fn put_checksums_right(bytes: &mut [u8]) {
    let Some((header, records)) = bytes.split_at_mut_checked(64) else { return };
    let crc = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    let Ok(segment) = Segment::decode(header) else { return };
    let seed = segment.seed();
    let mut at = 0;
    while let Some(frame) = record::peek(&records[at..]) {
        let record = &mut records[at..at + frame.bytes];
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &record[..4]), &record[8..]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        at += frame.bytes;
    }
}
