//! Reads a checkpoint from whatever pieces it arrives in, and believes nothing.
//!
//! ```text
//! push(bytes) ─▶ one chunk ─ checksum ─▶ section's bytes ─▶ whole entries ─ order, form ─▶ Batch
//!                                              └─ the rest waits for the next chunk
//! ```
//!
//! Rows of the table of meta are held back until the last checksum and all counts have been seen:
//! an engine that has no row `APPLIED` holds a restore that did not finish.
//!
//! What it does not do: it stores nothing and knows no engine; [`restore`](super::restore) does that.

use bytes::Bytes;

use super::writer::padding;
use super::{
    CHUNK_CRC_BYTES, CHUNK_HEAD_BYTES, CheckpointError, CheckpointHeader, END_BYTES, FLAG_PUT,
    FLAG_TOMBSTONE, FORMAT_VERSION, MAGIC, PAYLOAD_BYTES_MAX, PREAMBLE_BYTES, RECORD_HEAD_BYTES,
    ROW_HEAD_BYTES, SECTION_END, SECTION_HEADER, SECTION_HISTORY,
};
use crate::engine::{Batch, Write};
use crate::mvcc::record::Record;
use crate::schema::{Table, meta};
use crate::types::{Revision, Version};

/// What the held-back rows may take: a real state has a few hundred bytes.
const META_BYTES_MAX: usize = 1024 * 1024;

/// What a whole stream held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSummary {
    /// Where the state stands.
    pub header: CheckpointHeader,
    /// Rows of all tables.
    pub rows: u64,
    /// Records of the history.
    pub records: u64,
    /// Length of the stream.
    pub bytes: u64,
    /// CRC-32C of the stream without its checksums.
    pub crc32c: u32,
}

/// Checks a stream and turns it into writes; see the [module](super) for the format.
///
/// Holds one chunk, the largest entry and the rows of the table of meta.
#[derive(Default)]
pub struct CheckpointReader {
    /// The preamble or chunk that is not complete yet.
    buffer: Vec<u8>,
    /// Where `buffer` begins.
    offset: u64,
    crc: u32,
    stage: Stage,
    header: Option<CheckpointHeader>,
    /// The beginning of an entry that the next chunk goes on with.
    pending: Vec<u8>,
    last_key: Option<Bytes>,
    last_version: Option<Version>,
    meta: Vec<Write>,
    meta_bytes: usize,
    rows: u64,
    records: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Preamble,
    /// The last chunk was of this section; only a full one lets its section go on.
    Chunks {
        section: u8,
        was_full: bool,
    },
    Done,
}

impl CheckpointReader {
    /// A reader at the first byte.
    #[must_use]
    pub fn new() -> CheckpointReader {
        CheckpointReader::default()
    }

    /// Where the state stands, as soon as the stream has said so.
    #[must_use]
    pub fn header(&self) -> Option<&CheckpointHeader> {
        self.header.as_ref()
    }

    /// Takes the next bytes of the stream and adds to `batch` what they complete.
    ///
    /// # Errors
    /// The stream is refused: everything handed out so far must be thrown away.
    pub fn push(&mut self, mut bytes: &[u8], batch: &mut Batch) -> Result<(), CheckpointError> {
        while !bytes.is_empty() {
            let missing = self.missing_bytes()?;
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            self.buffer.extend_from_slice(taken);
            bytes = rest;
            // A head says how much follows it; then it is complete only with that.
            if self.missing_bytes()? == 0 {
                let mut buffer = std::mem::take(&mut self.buffer);
                self.take(&buffer, batch)?;
                self.offset += buffer.len() as u64;
                buffer.clear();
                self.buffer = buffer;
            }
        }
        Ok(())
    }

    /// Says that there are no more bytes, and adds the rows of the table of meta to `batch`.
    ///
    /// # Errors
    /// The stream is not complete.
    pub fn finish(self, batch: &mut Batch) -> Result<CheckpointSummary, CheckpointError> {
        let header = match (self.stage, self.header) {
            (Stage::Done, Some(header)) => header,
            _ => {
                let offset = self.offset + self.buffer.len() as u64;
                return Err(CheckpointError::Truncated { offset });
            }
        };
        batch.writes.extend(self.meta);
        Ok(CheckpointSummary {
            header,
            rows: self.rows,
            records: self.records,
            bytes: self.offset,
            crc32c: self.crc,
        })
    }

    /// How many bytes `buffer` lacks to be looked at.
    fn missing_bytes(&self) -> Result<usize, CheckpointError> {
        let wanted = match self.stage {
            Stage::Preamble => PREAMBLE_BYTES,
            Stage::Done => return Err(CheckpointError::Trailing { offset: self.offset }),
            Stage::Chunks { .. } => match self.buffer.first_chunk::<CHUNK_HEAD_BYTES>() {
                None => CHUNK_HEAD_BYTES,
                Some(&[_, a, b, c, d]) => {
                    let length = u32::from_be_bytes([a, b, c, d]);
                    let offset = self.offset;
                    let payload = usize::try_from(length)
                        .ok()
                        .filter(|payload| (1..=PAYLOAD_BYTES_MAX).contains(payload))
                        .ok_or(CheckpointError::ChunkLength { offset, length })?;
                    CHUNK_HEAD_BYTES + payload + CHUNK_CRC_BYTES
                }
            },
        };
        Ok(wanted - self.buffer.len())
    }

    /// Takes the preamble or a whole chunk.
    fn take(&mut self, bytes: &[u8], batch: &mut Batch) -> Result<(), CheckpointError> {
        let Stage::Chunks { section: last, was_full } = self.stage else {
            return self.take_preamble(bytes);
        };
        let offset = self.offset;
        let split = bytes.split_last_chunk::<CHUNK_CRC_BYTES>();
        let (covered, crc) = split.expect("a whole chunk has a checksum");
        self.crc = crc32c::crc32c_append(self.crc, covered);
        if self.crc != u32::from_be_bytes(*crc) {
            return Err(CheckpointError::Checksum { offset });
        }

        let (section, payload) = (covered[0], &covered[CHUNK_HEAD_BYTES..]);
        let is_full = payload.len() == PAYLOAD_BYTES_MAX;
        let goes_on = section == last && was_full;
        if !goes_on {
            if rank(section).is_none_or(|rank_now| Some(rank_now) <= rank(last))
                || (self.header.is_none() && section != SECTION_HEADER)
            {
                return Err(CheckpointError::Section { offset, section });
            }
            if !self.pending.is_empty() {
                return Err(CheckpointError::TornEntry { offset });
            }
            self.last_key = None;
        }
        self.stage = Stage::Chunks { section, was_full: is_full };
        match (section, Table::from_prefix(section)) {
            (SECTION_HEADER, _) => self.take_header(payload),
            (SECTION_END, _) => self.take_end(payload),
            (_, Some(table)) => {
                self.take_entries(payload, |reader, bytes| reader.take_rows(table, bytes, batch))
            }
            _ => self.take_entries(payload, |reader, bytes| reader.take_records(bytes, batch)),
        }
    }

    fn take_preamble(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        let Some((magic, &[a, b, c, d])) = bytes
            .split_first_chunk::<8>()
            .and_then(|(magic, rest)| Some((magic, rest.first_chunk::<4>()?)))
        else {
            return Err(CheckpointError::Magic);
        };
        if *magic != MAGIC {
            return Err(CheckpointError::Magic);
        }
        match u32::from_be_bytes([a, b, c, d]) {
            FORMAT_VERSION => {}
            0 => return Err(CheckpointError::Version { version: 0 }),
            version => return Err(CheckpointError::Newer { version, newest: FORMAT_VERSION }),
        }
        self.crc = crc32c::crc32c(bytes);
        // Every section ranks above "none".
        self.stage = Stage::Chunks { section: 0, was_full: false };
        Ok(())
    }

    fn take_header(&mut self, payload: &[u8]) -> Result<(), CheckpointError> {
        let header = payload.try_into().ok().and_then(CheckpointHeader::decode);
        self.header = Some(header.ok_or(CheckpointError::Header { offset: self.offset })?);
        Ok(())
    }

    /// Lets `take` have the entries in `payload`, of which it says how many bytes it used, and keeps
    /// the beginning of the one that is not whole.
    fn take_entries(
        &mut self,
        payload: &[u8],
        take: impl FnOnce(&mut Self, &[u8]) -> Result<usize, CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let mut bytes = std::mem::take(&mut self.pending);
        if bytes.is_empty() {
            let used = take(self, payload)?;
            bytes.extend_from_slice(&payload[used..]);
        } else {
            bytes.extend_from_slice(payload);
            let used = take(self, &bytes)?;
            bytes.drain(..used);
        }
        self.pending = bytes;
        Ok(())
    }

    fn take_rows(
        &mut self,
        table: Table,
        bytes: &[u8],
        batch: &mut Batch,
    ) -> Result<usize, CheckpointError> {
        let offset = self.offset;
        let mut rest = bytes;
        while let Some((key, value, after)) = split_row(rest) {
            if self.last_key.as_ref().is_some_and(|last| &last[..] >= key) {
                return Err(CheckpointError::RowOrder { table, offset });
            }
            rest = after;
            let key = Bytes::copy_from_slice(key);
            self.last_key = Some(key.clone());
            self.rows += 1;
            let size = key.len() + value.len();
            let row = Write::Put(table, key, Bytes::copy_from_slice(value));
            if table == Table::Meta {
                self.meta_bytes += size;
                self.meta.push(row);
            } else {
                batch.writes.push(row);
            }
        }
        if table == Table::Meta && self.meta_bytes + rest.len() > META_BYTES_MAX {
            return Err(CheckpointError::Meta { offset });
        }
        Ok(bytes.len() - rest.len())
    }

    fn take_records(&mut self, bytes: &[u8], batch: &mut Batch) -> Result<usize, CheckpointError> {
        let offset = self.offset;
        let newest = self.header.map_or(Revision(0), |header| header.revision);
        let mut rest = bytes;
        while let Some((head, wire, after)) = split_record(rest) {
            let (version, tombstone) =
                read_history_key(head).ok_or(CheckpointError::HistoryKey { offset })?;
            if self.last_version.is_some_and(|last| last >= version) || version.main > newest {
                return Err(CheckpointError::HistoryOrder { version, offset });
            }
            let record = Record::from_wire(version, tombstone, wire)
                .map_err(|source| CheckpointError::Record { offset, source })?;
            rest = after;
            self.last_version = Some(version);
            self.records += 1;
            batch.writes.push(Write::Append(record));
        }
        Ok(bytes.len() - rest.len())
    }

    fn take_end(&mut self, payload: &[u8]) -> Result<(), CheckpointError> {
        let offset = self.offset;
        let Some((counts, zeros)) = payload.split_first_chunk::<END_BYTES>() else {
            return Err(CheckpointError::Padding { offset });
        };
        if zeros.len() != padding(offset) || zeros.iter().any(|&byte| byte != 0) {
            return Err(CheckpointError::Padding { offset });
        }
        let ([rows, records], []) = counts.as_chunks::<8>() else {
            return Err(CheckpointError::Padding { offset });
        };
        let (rows, records) = (u64::from_be_bytes(*rows), u64::from_be_bytes(*records));
        if (rows, records) != (self.rows, self.records) {
            return Err(CheckpointError::Counts { offset, rows, records });
        }
        self.check_meta().ok_or(CheckpointError::Meta { offset })?;
        self.stage = Stage::Done;
        Ok(())
    }

    /// `None` if the rows contradict the header.
    fn check_meta(&self) -> Option<()> {
        let header = self.header?;
        let row = |name| {
            self.meta.iter().find_map(|write| match write {
                Write::Put(_, key, value) if key == name => Some(&value[..]),
                _ => None,
            })
        };
        let rows = [row(meta::APPLIED), row(meta::REVISION), row(meta::COMPACTED)];
        let mut expected = CheckpointHeader::of_rows(header.cluster, rows)?;
        let newest = self.last_version.map_or(Revision(0), |version| version.main);
        expected.revision = expected.revision.max(newest);
        (expected == header).then_some(())
    }
}

/// Where a section stands; `None` if there is none of that name.
fn rank(section: u8) -> Option<usize> {
    match section {
        SECTION_HEADER => Some(0),
        SECTION_HISTORY => Some(Table::ALL.len() + 1),
        SECTION_END => Some(Table::ALL.len() + 2),
        _ => Some(Table::from_prefix(section)?.position() + 1),
    }
}

/// Key, value and what follows; `None` if the row is not whole.
fn split_row(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&[a, b, c, d, e, f, g, h], rest) = bytes.split_first_chunk::<ROW_HEAD_BYTES>()?;
    let (key, rest) = rest.split_at_checked(length([a, b, c, d])?)?;
    let (value, rest) = rest.split_at_checked(length([e, f, g, h])?)?;
    Some((key, value, rest))
}

/// Key and flag, record and what follows; `None` if the entry is not whole.
fn split_record(bytes: &[u8]) -> Option<(&[u8; 18], &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<RECORD_HEAD_BYTES>()?;
    let (key, record_length) = head.split_first_chunk::<18>()?;
    let (record, rest) = rest.split_at_checked(length(*record_length.first_chunk()?)?)?;
    Some((key, record, rest))
}

fn length(bytes: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

/// The version and whether it is a tombstone; `None` if the key is malformed.
fn read_history_key(head: &[u8; 18]) -> Option<(Version, bool)> {
    let (main, rest) = head.split_first_chunk::<8>()?;
    let [b'_', sub @ .., flag] = rest else { return None };
    let main = i64::from_be_bytes(*main);
    let sub = u32::try_from(u64::from_be_bytes(sub.try_into().ok()?)).ok()?;
    let tombstone = match *flag {
        FLAG_PUT => false,
        FLAG_TOMBSTONE => true,
        _ => return None,
    };
    (main > 0).then_some((Version { main: Revision(main), sub }, tombstone))
}
