//! The stream that carries a whole state: for snapshot files, peers and the `Snapshot` RPC.
//!
//! There is one format. It is logical (rows and records, not pages), so that any engine can read
//! what any other wrote, and deterministic: two members at the same applied index write the same
//! bytes.
//!
//! ```text
//! stream    METACKPT  version=1   chunk chunk chunk …                    length ≡ 0 mod 512
//! chunk     section  length  payload  crc      1 + 4 + length + 4 bytes, length ≤ 131,072
//! sections  H ─▶ a c l m r u (tables by prefix, without k) ─▶ V (history) ─▶ E (end)
//!
//! H  cluster  applied index  applied term  revision  compacted (0: never)         5 × 8 bytes
//! a… key length, value length (4 bytes each), key, value           rows in ascending order
//! V  main (8)  '_'  sub (8)  'p' or 't'  length (4)  record       ascending, 't': tombstone
//! E  rows (8)  records (8)  zeros up to the next multiple of 512
//! ```
//!
//! Numbers are big-endian. A section is one string of bytes cut into chunks of 128 KiB, wherever that
//! falls; only its last chunk is shorter, and a section without content has none. Every chunk ends
//! with the CRC-32C of *everything before it* in the stream except the checksums themselves: so a
//! chunk that is damaged, lost, repeated or swapped is found where it stands, and the last checksum is
//! that of the whole. The zeros of `E` let the `Snapshot` RPC append a digest of 32 bytes and get
//! the file size, 32 mod 512, by which etcd's tools know that there is one.
//!
//! ```
//! use state::ClusterId;
//! use state::checkpoint::{CheckpointWriter, restore};
//! use state::engine::memory::MemoryEngine;
//! use state::engine::Engine;
//!
//! let source = MemoryEngine::new();
//! let mut writer = CheckpointWriter::new(source.view(), ClusterId(7)).unwrap();
//! assert_eq!(writer.remaining_bytes(), 512);
//! let mut target = MemoryEngine::new();
//! let header = restore(&mut || writer.next_chunk(), &mut target).unwrap();
//! assert_eq!(header.cluster, ClusterId(7));
//! ```
//!
//! What it does not do: it does not compress, and it does not hide: whoever reads the stream reads
//! the data. Whose turn it is to send, and where bytes are stored, is the caller's.

use crate::schema::meta;
use crate::types::{ClusterId, LogIndex, Revision, Term};

mod error;
mod reader;
mod restore;
#[cfg(test)]
mod tests;
mod writer;

pub use error::CheckpointError;
pub use reader::{CheckpointReader, CheckpointSummary};
pub use restore::{RestoreError, restore};
pub use writer::CheckpointWriter;

/// The first bytes of a stream.
const MAGIC: [u8; 8] = *b"METACKPT";
/// The version of the format that is written, and the newest one that can be read.
const FORMAT_VERSION: u32 = 1;
/// Magic and version.
const PREAMBLE_BYTES: usize = 12;
/// Section and length.
const CHUNK_HEAD_BYTES: usize = 5;
/// The checksum behind the payload.
const CHUNK_CRC_BYTES: usize = 4;
/// What a chunk may carry: bounds what a writer or reader holds beyond the largest entry.
const PAYLOAD_BYTES_MAX: usize = 128 * 1024;
const HEADER_BYTES: usize = 40;
/// Without the zeros.
const END_BYTES: usize = 16;
/// The length of a stream is a multiple of it.
const ALIGNMENT: usize = 512;
/// In front of a row's key.
const ROW_HEAD_BYTES: usize = 8;
/// In front of a record.
const RECORD_HEAD_BYTES: usize = 22;

const SECTION_HEADER: u8 = b'H';
const SECTION_HISTORY: u8 = b'V';
const SECTION_END: u8 = b'E';

const FLAG_PUT: u8 = b'p';
const FLAG_TOMBSTONE: u8 = b't';

/// Where a state stands: the first thing a stream says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointHeader {
    /// Whose state it is.
    pub cluster: ClusterId,
    /// The last log entry whose effects it holds; 0 before the first.
    pub applied_index: LogIndex,
    /// The term of that entry.
    pub applied_term: Term,
    /// The revision of the store.
    pub revision: Revision,
    /// The lowest revision that may be read; `None` before the first compaction.
    pub compacted: Option<Revision>,
}

impl CheckpointHeader {
    /// What the rows `APPLIED`, `REVISION` and `COMPACTED` of the table of meta say; `None` if one is
    /// malformed. The revision may be higher: that of the newest change counts as well.
    fn of_rows(cluster: ClusterId, rows: [Option<&[u8]>; 3]) -> Option<CheckpointHeader> {
        let [applied, revision, compacted] = rows;
        let (applied_index, applied_term) = match applied {
            Some(row) => meta::decode_applied(row)?,
            None => (LogIndex(0), Term(0)),
        };
        let revision = match revision {
            Some(row) => meta::decode_revision(row)?.max(Revision::FIRST),
            None => Revision::FIRST,
        };
        let compacted = match compacted {
            // A store may be compacted at 0, once and without effect: its row says so, and the
            // header, for which 0 is "never", says that everything may be read.
            Some(row) => Some(meta::decode_revision(row)?).filter(|revision| revision.0 != 0),
            None => None,
        };
        Some(CheckpointHeader { cluster, applied_index, applied_term, revision, compacted })
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let compacted = self.compacted.unwrap_or_default();
        let numbers = [
            self.cluster.0,
            self.applied_index.0,
            self.applied_term.0,
            self.revision.0.cast_unsigned(),
            compacted.0.cast_unsigned(),
        ];
        let mut bytes = [0; HEADER_BYTES];
        for (field, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// `None` if the numbers cannot be those of a store.
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<CheckpointHeader> {
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |at: usize| u64::from_be_bytes(numbers[at]);
        let (revision, compacted) = (number(3).cast_signed(), number(4).cast_signed());
        (revision >= Revision::FIRST.0 && (0..=revision).contains(&compacted)).then(|| {
            CheckpointHeader {
                cluster: ClusterId(number(0)),
                applied_index: LogIndex(number(1)),
                applied_term: Term(number(2)),
                revision: Revision(revision),
                compacted: (compacted != 0).then_some(Revision(compacted)),
            }
        })
    }
}
