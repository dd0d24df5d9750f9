//! The header of a segment, and the seed of its checksums.
//!
//! ```text
//! 0        8        10      12     16        24       32        40       48        56     60    64
//! │ magic  │ format │ bytes │ back │ cluster │ member │ segment │ number │ oldest  │ salt │ crc │
//! ```
//!
//! Whatever comes later: magic, format and a checksum over these 60 bytes keep their places, so that a
//! newer log is told from a torn one.
//!
//! `back` is how many segments ago the one stands that this one continues (0: none does),
//! `number` is the number of the first record, `oldest` the oldest segment that was still needed
//! when this one was begun, `salt` a constant of the member that clients cannot know, so that no
//! value can be made to look like a record.

use state::{ClusterId, MemberId};

use crate::messages::SegmentId;

/// Bytes in front of the first record.
pub const HEADER_BYTES: usize = 64;
/// The version that this program writes.
pub const FORMAT: u16 = 1;

const MAGIC: [u8; 8] = *b"MSlog\r\n\x1a";

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whose data this is.
    pub cluster: ClusterId,
    /// Whose log this is.
    pub member: MemberId,
    /// Which segment this is; a file that was another segment before says otherwise.
    pub id: SegmentId,
    /// The number of its first record.
    pub first_number: u64,
    /// The segment that holds the record before; `None` if this one says everything anew.
    pub previous: Option<SegmentId>,
    /// The oldest segment that was needed when this one was begun.
    pub oldest: SegmentId,
    /// A constant of the member, not known to clients.
    pub salt: u32,
}

impl Segment {
    /// The seed of the checksums of all records in this segment.
    #[must_use]
    pub fn seed(&self) -> u32 {
        seed(self.cluster, self.member, self.id, self.salt)
    }

    /// The header as it stands on disk.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[10..12].copy_from_slice(&64_u16.to_le_bytes());
        let back = self.previous.map_or(0, |previous| self.id.0 - previous.0);
        let back = u32::try_from(back).expect("fewer than 2^32 starts in vain");
        bytes[12..16].copy_from_slice(&back.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.cluster.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.member.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_number.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.oldest.0.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The bytes are not the header of a segment that this program can read.
    pub fn decode(bytes: &[u8]) -> Result<Segment, HeaderError> {
        let Some(header) = bytes.get(..HEADER_BYTES) else { return Err(HeaderError::Unreadable) };
        let word = |at: usize| {
            let word = header[at..at + 8].try_into().expect("eight bytes of a header of 64");
            u64::from_le_bytes(word)
        };
        let half = |at: usize| {
            let half = header[at..at + 4].try_into().expect("four bytes of a header of 64");
            u32::from_le_bytes(half)
        };
        if header[..8] != MAGIC {
            return Err(HeaderError::Unreadable);
        }
        if crc32c::crc32c(&header[..60]) != half(60) {
            return Err(HeaderError::Unreadable);
        }
        let format = u16::from_le_bytes([header[8], header[9]]);
        if format != FORMAT {
            return Err(HeaderError::Newer { format });
        }
        let id = word(32);
        let previous = id.checked_sub(u64::from(half(12))).filter(|previous| *previous != id);
        Ok(Segment {
            previous: previous.map(SegmentId),
            cluster: ClusterId(word(16)),
            member: MemberId(word(24)),
            id: SegmentId(id),
            first_number: word(40),
            oldest: SegmentId(word(48)),
            salt: half(56),
        })
    }
}

/// Why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// It is no header: never written, torn, or rotten.
    Unreadable,
    /// A newer program wrote it.
    Newer {
        /// The format it has.
        format: u16,
    },
}

/// The seed of the checksums in segment `id`: a function of its name alone, so that records can
/// be recognised even when the header has rotted.
#[must_use]
pub fn seed(cluster: ClusterId, member: MemberId, id: SegmentId, salt: u32) -> u32 {
    let crc = crc32c::crc32c(&cluster.0.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &member.0.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &salt.to_le_bytes());
    crc32c::crc32c_append(crc, &id.0.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Segment {
        Segment {
            cluster: ClusterId(11),
            member: MemberId(22),
            id: SegmentId(33),
            first_number: 44,
            previous: Some(SegmentId(31)),
            oldest: SegmentId(30),
            salt: 66,
        }
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        assert_eq!(Segment::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Segment::decode(&damaged).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = sample().encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Segment::decode(&bytes), Err(HeaderError::Newer { format: 2 }));
    }

    #[test]
    fn segments_of_a_member_have_different_seeds() {
        let mut seeds: Vec<u32> =
            (0..10_000).map(|id| seed(ClusterId(1), MemberId(2), SegmentId(id), 3)).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 10_000);
    }
}
