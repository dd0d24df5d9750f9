//! Writes a checkpoint chunk by chunk, as fast as the caller pulls.
//!
//! ```text
//! view ── scan from where the last chunk ended ─▶ [head | entries … 128 KiB | crc] ─▶ next_chunk()
//!                                                          └─ carried over ─▶ next chunk
//! ```
//!
//! What it does not do: it has no thread and no queue. A caller that does not pull costs the view it
//! holds and nothing else.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    ALIGNMENT, CHUNK_CRC_BYTES, CHUNK_HEAD_BYTES, CheckpointHeader, END_BYTES, FLAG_PUT,
    FLAG_TOMBSTONE, FORMAT_VERSION, HEADER_BYTES, MAGIC, PAYLOAD_BYTES_MAX, PREAMBLE_BYTES,
    RECORD_HEAD_BYTES, ROW_HEAD_BYTES, SECTION_END, SECTION_HEADER, SECTION_HISTORY,
};
use crate::engine::{ContentSize, EngineError, EngineView, SectionSize};
use crate::mvcc::record::Record;
use crate::schema::{Table, meta};
use crate::types::{ClusterId, Revision, Version};

/// Above every version.
const HISTORY_END: Version = Version { main: Revision::MAX, sub: u32::MAX };

/// Turns a view into the bytes of a checkpoint; see the [module](super) for the format.
///
/// Holds the view, one chunk and the largest entry.
pub struct CheckpointWriter {
    view: Arc<dyn EngineView>,
    header: CheckpointHeader,
    next: Next,
    /// Bytes of the current section that did not fit into the chunk before.
    carried: Bytes,
    /// Checksum of everything written, without the checksums.
    crc: u32,
    written_bytes: u64,
    total_bytes: u64,
    rows: u64,
    records: u64,
}

/// What comes next.
enum Next {
    Header,
    /// The rows from `from` on of the table at this position of [`Table::ALL`].
    Rows {
        position: usize,
        from: Vec<u8>,
    },
    History {
        from: Version,
    },
    End,
    Nothing,
}

impl CheckpointWriter {
    /// Prepares the stream of `view`.
    ///
    /// Knowing the size beforehand takes a pass over all data, unless the engine keeps count
    /// ([`EngineView::content_size`]): call it where that may take its time.
    ///
    /// # Errors
    /// The storage failed, or a row of the table of meta is malformed.
    pub fn new(
        view: Arc<dyn EngineView>,
        cluster: ClusterId,
    ) -> Result<CheckpointWriter, EngineError> {
        let header = read_header(&*view, cluster)?;
        let content = match view.content_size() {
            Some(content) => content,
            None => count(&*view)?,
        };
        Ok(CheckpointWriter {
            view,
            header,
            next: Next::Header,
            carried: Bytes::new(),
            crc: 0,
            written_bytes: 0,
            total_bytes: stream_bytes(&content),
            rows: 0,
            records: 0,
        })
    }

    /// Where the state stands.
    #[must_use]
    pub fn header(&self) -> &CheckpointHeader {
        &self.header
    }

    /// The length of the whole stream: a multiple of 512.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn remaining_bytes(&self) -> u64 {
        self.total_bytes - self.written_bytes
    }

    /// The next bytes of the stream, at most about 128 KiB; `None` when all have been given.
    ///
    /// # Errors
    /// The storage failed. The stream cannot go on then.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            let (section, payload) = match std::mem::replace(&mut self.next, Next::Nothing) {
                Next::Nothing => return Ok(None),
                Next::Header => {
                    self.next = Next::Rows { position: 0, from: Vec::new() };
                    (SECTION_HEADER, self.chunk_of(&self.header.encode()))
                }
                Next::Rows { position, from } => {
                    let Some(&table) = Table::ALL.get(position) else {
                        self.next = Next::History { from: Version::default() };
                        continue;
                    };
                    (table.prefix(), self.fill_rows(table, position, from)?)
                }
                Next::History { from } => (SECTION_HISTORY, self.fill_history(from)?),
                Next::End => (SECTION_END, self.end()),
            };
            // A section without content, or whose last chunk was exactly full.
            if payload.len() > CHUNK_HEAD_BYTES {
                return Ok(Some(self.seal(section, payload)));
            }
        }
    }

    /// A chunk that begins with `payload`; its head is still open.
    fn chunk_of(&self, payload: &[u8]) -> Vec<u8> {
        let mut chunk =
            Vec::with_capacity(CHUNK_HEAD_BYTES + PAYLOAD_BYTES_MAX.min(payload.len() + 4096));
        chunk.resize(CHUNK_HEAD_BYTES, 0);
        chunk.extend_from_slice(payload);
        chunk
    }

    fn fill_rows(
        &mut self,
        table: Table,
        position: usize,
        from: Vec<u8>,
    ) -> Result<Vec<u8>, EngineError> {
        let mut chunk = self.chunk_of_carried();
        let mut last = None;
        if !is_full(&chunk) {
            let rows = &mut self.rows;
            self.view.scan(table, &from, &mut |key, value| {
                *rows += 1;
                put_length(&mut chunk, key.len());
                put_length(&mut chunk, value.len());
                chunk.extend_from_slice(key);
                chunk.extend_from_slice(value);
                if !is_full(&chunk) {
                    return ControlFlow::Continue(());
                }
                // The least key above this one is where to go on.
                last = Some([key, b"\0"].concat());
                ControlFlow::Break(())
            })?;
        }
        self.next = if self.carry(&mut chunk) {
            Next::Rows { position, from: last.unwrap_or(from) }
        } else {
            Next::Rows { position: position + 1, from: Vec::new() }
        };
        Ok(chunk)
    }

    fn fill_history(&mut self, from: Version) -> Result<Vec<u8>, EngineError> {
        let mut chunk = self.chunk_of_carried();
        let mut last = None;
        if !is_full(&chunk) {
            chunk.reserve_exact(CHUNK_HEAD_BYTES + PAYLOAD_BYTES_MAX + 4096);
            let records = &mut self.records;
            self.view.scan_history(from, HISTORY_END, &mut |record| {
                *records += 1;
                put_record(&mut chunk, record);
                if !is_full(&chunk) {
                    return ControlFlow::Continue(());
                }
                last = Some(record.version());
                ControlFlow::Break(())
            })?;
        }
        self.next = if self.carry(&mut chunk) {
            Next::History { from: last.map_or(from, after) }
        } else {
            Next::End
        };
        Ok(chunk)
    }

    /// A chunk that begins with what did not fit into the one before.
    fn chunk_of_carried(&mut self) -> Vec<u8> {
        let fitting = self.carried.len().min(PAYLOAD_BYTES_MAX);
        let carried = self.carried.split_to(fitting);
        self.chunk_of(&carried)
    }

    /// Whether the section may go on after this chunk. Keeps what does not fit into it.
    fn carry(&mut self, chunk: &mut Vec<u8>) -> bool {
        let is_full = is_full(chunk);
        if chunk.len() > CHUNK_HEAD_BYTES + PAYLOAD_BYTES_MAX {
            assert!(self.carried.is_empty(), "{} bytes carried twice", self.carried.len());
            self.carried = chunk.split_off(CHUNK_HEAD_BYTES + PAYLOAD_BYTES_MAX).into();
        }
        is_full
    }

    fn end(&self) -> Vec<u8> {
        let mut chunk = self.chunk_of(&self.rows.to_be_bytes());
        chunk.extend_from_slice(&self.records.to_be_bytes());
        chunk.resize(chunk.len() + padding(self.written_bytes), 0);
        chunk
    }

    /// Fills in the head, adds the checksum, and before the first chunk the preamble.
    fn seal(&mut self, section: u8, mut chunk: Vec<u8>) -> Bytes {
        let length = u32::try_from(chunk.len() - CHUNK_HEAD_BYTES).expect("128 KiB at most");
        chunk[0] = section;
        chunk[1..CHUNK_HEAD_BYTES].copy_from_slice(&length.to_be_bytes());
        if self.written_bytes == 0 {
            chunk.splice(0..0, MAGIC.into_iter().chain(FORMAT_VERSION.to_be_bytes()));
        }
        self.crc = crc32c::crc32c_append(self.crc, &chunk);
        chunk.extend_from_slice(&self.crc.to_be_bytes());
        self.written_bytes += chunk.len() as u64;
        let (written, total) = (self.written_bytes, self.total_bytes);
        assert!(written <= total, "wrote {written} bytes, computed {total}");
        if section == SECTION_END {
            assert!(written == total, "wrote {written} bytes, computed {total}");
        }
        Bytes::from(chunk)
    }
}

fn is_full(chunk: &[u8]) -> bool {
    chunk.len() >= CHUNK_HEAD_BYTES + PAYLOAD_BYTES_MAX
}

/// The least version above this one.
fn after(Version { main, sub }: Version) -> Version {
    match sub.checked_add(1) {
        Some(sub) => Version { main, sub },
        None => Version::first_of(main.next()),
    }
}

fn put_length(chunk: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("requests are far below 4 GiB");
    chunk.extend_from_slice(&length.to_be_bytes());
}

fn put_record(chunk: &mut Vec<u8>, record: &Record) {
    let Version { main, sub } = record.version();
    chunk.extend_from_slice(&main.0.to_be_bytes());
    chunk.push(b'_');
    chunk.extend_from_slice(&u64::from(sub).to_be_bytes());
    chunk.push(if record.is_put() { FLAG_PUT } else { FLAG_TOMBSTONE });
    put_length(chunk, record.bytes().len());
    chunk.extend_from_slice(record.bytes());
}

fn read_header(view: &dyn EngineView, cluster: ClusterId) -> Result<CheckpointHeader, EngineError> {
    let malformed = || EngineError::Row { table: Table::Meta };
    let applied = view.get(Table::Meta, meta::APPLIED)?;
    let revision = view.get(Table::Meta, meta::REVISION)?;
    let compacted = view.get(Table::Meta, meta::COMPACTED)?;
    let rows = [applied.as_deref(), revision.as_deref(), compacted.as_deref()];
    let mut header = CheckpointHeader::of_rows(cluster, rows).ok_or_else(malformed)?;
    // The row may be older than the newest change, which then says it.
    let from = Version::first_of(header.revision.next());
    view.scan_changes(from, HISTORY_END, &mut |record| {
        header.revision = record.revision();
        ControlFlow::Continue(())
    })?;
    Ok(header)
}

/// Counts what a view holds by looking at all of it.
fn count(view: &dyn EngineView) -> Result<ContentSize, EngineError> {
    let mut content = ContentSize::default();
    for (table, size) in Table::ALL.into_iter().zip(&mut content.tables) {
        view.scan(table, b"", &mut |key, value| {
            size.add((key.len() + value.len()) as u64);
            ControlFlow::Continue(())
        })?;
    }
    view.scan_changes(Version::default(), HISTORY_END, &mut |record| {
        content.history.add(record.wire_bytes());
        ControlFlow::Continue(())
    })?;
    Ok(content)
}

/// The length of the stream of such a state.
fn stream_bytes(content: &ContentSize) -> u64 {
    const OVERHEAD: u64 = (CHUNK_HEAD_BYTES + CHUNK_CRC_BYTES) as u64;
    let section = |size: &SectionSize, head_bytes: usize| {
        let bytes = size.bytes + size.entries * head_bytes as u64;
        bytes + bytes.div_ceil(PAYLOAD_BYTES_MAX as u64) * OVERHEAD
    };
    let tables: u64 = content.tables.iter().map(|size| section(size, ROW_HEAD_BYTES)).sum();
    let start = (PREAMBLE_BYTES + HEADER_BYTES) as u64 + OVERHEAD;
    let before_end = start + tables + section(&content.history, RECORD_HEAD_BYTES);
    before_end + OVERHEAD + END_BYTES as u64 + padding(before_end) as u64
}

/// Zeros in the end when it begins at this offset.
pub(super) fn padding(end_offset: u64) -> usize {
    const END_CHUNK_BYTES: u64 = (CHUNK_HEAD_BYTES + END_BYTES + CHUNK_CRC_BYTES) as u64;
    const STEP: u64 = ALIGNMENT as u64;
    let unpadded = end_offset + END_CHUNK_BYTES;
    usize::try_from(unpadded.next_multiple_of(STEP) - unpadded).expect("below 512")
}
