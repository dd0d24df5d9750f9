//! Everything that can be wrong with the bytes of a checkpoint.

use crate::mvcc::record::BadRecord;
use crate::schema::Table;
use crate::types::Version;

/// The stream is not a checkpoint, or a damaged one. Offsets count from its first byte.
///
/// Where an entry is wrong, the offset is that of the chunk in which it ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It begins differently.
    #[error("not a checkpoint: the first 8 bytes are not its mark")]
    Magic,
    /// Written by a release that knows more.
    #[error("the checkpoint has format version {version}, this release reads up to {newest}")]
    Newer {
        /// Of the stream.
        version: u32,
        /// The newest one known here.
        newest: u32,
    },
    /// There never was such a version.
    #[error("the checkpoint has format version {version}, which does not exist")]
    Version {
        /// Of the stream.
        version: u32,
    },
    /// A chunk is empty, too long, or short without being the last of its section.
    #[error("the chunk at byte {offset} has an impossible length of {length} bytes")]
    ChunkLength {
        /// Where the chunk begins.
        offset: u64,
        /// What it says its length is.
        length: u32,
    },
    /// Something in or before this chunk is damaged.
    #[error("the chunk at byte {offset} does not match its checksum")]
    Checksum {
        /// Where the chunk begins.
        offset: u64,
    },
    /// A section that does not exist or may not stand here.
    #[error("the chunk at byte {offset} belongs to section {section:#04x}, out of place")]
    Section {
        /// Where the chunk begins.
        offset: u64,
        /// What it says its section is.
        section: u8,
    },
    /// The header's numbers cannot be those of a store.
    #[error("the header at byte {offset} is impossible")]
    Header {
        /// Where its chunk begins.
        offset: u64,
    },
    /// A row is not above the one before it.
    #[error("a row of table {table:?} in the chunk at byte {offset} is out of order")]
    RowOrder {
        /// Whose row it is.
        table: Table,
        /// Where its chunk begins.
        offset: u64,
    },
    /// A meta row is malformed, unreasonably large, or contradicts the header.
    #[error("the meta rows before byte {offset} do not fit the header")]
    Meta {
        /// Where the chunk begins with which they end.
        offset: u64,
    },
    /// A history key is not of the form main, `_`, sub, flag.
    #[error("a history key in the chunk at byte {offset} is malformed")]
    HistoryKey {
        /// Where its chunk begins.
        offset: u64,
    },
    /// A change is not above the one before it, or above the revision of the store.
    #[error("revision {} sub {} in the chunk at byte {offset} is out of order",
        version.main.0, version.sub)]
    HistoryOrder {
        /// The change.
        version: Version,
        /// Where its chunk begins.
        offset: u64,
    },
    /// The bytes of a change are not a record.
    #[error("read a record in the chunk at byte {offset}")]
    Record {
        /// Where its chunk begins.
        offset: u64,
        /// What is wrong.
        source: BadRecord,
    },
    /// A section ends inside an entry.
    #[error("the section before byte {offset} ends inside an entry")]
    TornEntry {
        /// Where the next section begins.
        offset: u64,
    },
    /// The end counts other numbers of rows and records than came.
    #[error("the end at byte {offset} counts {rows} rows and {records} records, others came")]
    Counts {
        /// Where its chunk begins.
        offset: u64,
        /// Rows by its count.
        rows: u64,
        /// Records by its count.
        records: u64,
    },
    /// The end is not filled with zeros up to a multiple of 512.
    #[error("the padding of the end at byte {offset} is not as it must be")]
    Padding {
        /// Where its chunk begins.
        offset: u64,
    },
    /// The stream stops before its end.
    #[error("the checkpoint is cut off at byte {offset}")]
    Truncated {
        /// How many bytes there are.
        offset: u64,
    },
    /// The stream goes on behind its end.
    #[error("something follows the end of the checkpoint at byte {offset}")]
    Trailing {
        /// Where it should end.
        offset: u64,
    },
}
