//! Snapshot files: whole states of the member, each in a file of its own, newest first.
//!
//! ```text
//!   snap/00000000000186a0-0000000000000003.snap       index 100000, term 3
//!   snap/00000000000249f0-0000000000000003.snap.tmp   being written; worthless after a crash
//!   snap/0000000000013880-0000000000000003.snap.damaged   set aside; not looked at any more
//! ```
//!
//! ```no_run
//! use bytes::Bytes;
//! use state::{LogIndex, Term};
//! use storage::snapshots::{SnapshotFiles, SnapshotName};
//!
//! let snapshots = SnapshotFiles::open("data/snap".as_ref())?;
//! let name = SnapshotName { index: LogIndex(100_000), term: Term(3) };
//! let mut chunks = vec![Bytes::from_static(b"the state")].into_iter();
//! snapshots.write(name, || Ok::<_, std::io::Error>(chunks.next()))?;
//! snapshots.keep_newest(2)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A file is an LZ4 frame, the format of the `lz4` command line tool. States are full of keys that resemble
//! their neighbours, and the disk is what a snapshot costs others most. Files without compression
//! can be read, too.
//!
//! A file under its final name is whole and durable. Whether its content is sound is for the reader
//! of the format to say; which of several to use, and what to do with a damaged one, is for the
//! caller, who knows how far back the log reaches.

pub(crate) mod snapshot_folder;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use state::{LogIndex, Term};

use crate::files::{FileError, PacedWriter};
use crate::folder::Folder;
use crate::limits::PACED_SYNC_BYTES;

use snapshot_folder::{SnapshotFile, SnapshotFolder};

/// Which state a snapshot holds. Ordered by age, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// The last entry that the state contains.
    pub index: LogIndex,
    /// That entry's term.
    pub term: Term,
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.snap", self.index.0, self.term.0)
    }
}

/// What the name of a snapshot that is being written ends with.
const TEMPORARY: &str = ".tmp";
/// What the name of a snapshot that was set aside ends with.
const DAMAGED: &str = ".damaged";

/// A file name that is not a snapshot's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a snapshot file")]
pub struct NotASnapshot;

impl FromStr for SnapshotName {
    type Err = NotASnapshot;

    fn from_str(name: &str) -> Result<SnapshotName, NotASnapshot> {
        let stem = name.strip_suffix(".snap").ok_or(NotASnapshot)?;
        let (index, term) = stem.split_once('-').ok_or(NotASnapshot)?;
        let number = |text| u64::from_str_radix(text, 16).map_err(|_| NotASnapshot);
        let parsed = SnapshotName { index: LogIndex(number(index)?), term: Term(number(term)?) };
        // Only the one spelling we write: two names must never stand for the same snapshot.
        if parsed.to_string() == name { Ok(parsed) } else { Err(NotASnapshot) }
    }
}

/// Writing a snapshot failed; no file of its name was made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E: std::error::Error + 'static> {
    /// The disk failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The state could not be produced.
    #[error("produce snapshot {name}")]
    Content {
        /// Which.
        name: SnapshotName,
        /// Why.
        source: E,
    },
}

/// The folder of snapshot files.
#[derive(Clone, Debug)]
pub struct SnapshotFiles {
    folder: Arc<dyn SnapshotFolder>,
    path: PathBuf,
    sync_bytes: u64,
}

impl SnapshotFiles {
    /// Takes over the folder, which must exist, and removes what an interrupted write has left. What
    /// is there then survives a power cut.
    ///
    /// # Errors
    /// If the folder cannot be listed or synced, or a leftover cannot be removed.
    pub fn open(path: &Path) -> Result<SnapshotFiles, FileError> {
        let folder = Folder { path: path.to_path_buf(), durable: true };
        SnapshotFiles::open_folder(Arc::new(folder), path)
    }

    /// The same with a folder of the caller's; `path` is what errors say.
    pub(crate) fn open_folder(
        folder: Arc<dyn SnapshotFolder>,
        path: &Path,
    ) -> Result<SnapshotFiles, FileError> {
        let path = path.to_path_buf();
        let files = SnapshotFiles { folder, path, sync_bytes: PACED_SYNC_BYTES };
        for name in files.names()? {
            let whole = name.strip_suffix(TEMPORARY);
            if whole.is_some_and(|name| SnapshotName::from_str(name).is_ok()) {
                files.remove(&name)?;
            }
        }
        // A process that was killed between giving a snapshot its name and syncing the folder left
        // a name that only the cache has. The log is cut for its sake: it must outlive the power.
        files.sync_names()?;
        Ok(files)
    }

    /// The same folder with another pace of syncing, to measure what the pace does.
    #[must_use]
    pub fn with_sync_bytes(self, sync_bytes: u64) -> SnapshotFiles {
        assert!(sync_bytes > 0, "a snapshot is synced after at least a byte");
        SnapshotFiles { sync_bytes, ..self }
    }

    /// The snapshots, newest first.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<SnapshotName>, FileError> {
        let mut found: Vec<SnapshotName> =
            self.names()?.iter().filter_map(|name| name.parse().ok()).collect();
        found.sort_unstable();
        found.reverse();
        Ok(found)
    }

    /// Writes a snapshot from the chunks that `next` gives until it gives `None`, and makes it
    /// durable. Returns the size of the file in bytes. One of the same name is replaced.
    ///
    /// # Errors
    /// If the disk or `next` fails; then nothing of it stays.
    pub fn write<E: std::error::Error + 'static>(
        &self,
        name: SnapshotName,
        mut next: impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<u64, WriteError<E>> {
        let temporary = format!("{name}{TEMPORARY}");
        let written = self.write_chunks(name, &temporary, &mut next);
        if written.is_err() {
            // A half-written state can be large, and the disk may be full. What cannot be removed
            // now is removed at the next start.
            let _ = self.folder.remove(&temporary);
        }
        let bytes = written?;
        self.rename_durably(&temporary, &name.to_string())?;
        Ok(bytes)
    }

    fn write_chunks<E: std::error::Error + 'static>(
        &self,
        name: SnapshotName,
        temporary: &str,
        next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<u64, WriteError<E>> {
        let path = self.path.join(temporary);
        let file = self.folder.create(temporary).map_err(FileError::new("create", &path))?;
        let writer = PacedWriter::new(file, self.sync_bytes);
        let frame = FrameInfo::new().block_size(BLOCK_SIZE).block_mode(BlockMode::Linked);
        let mut encoder = FrameEncoder::with_frame_info(frame, writer);
        while let Some(chunk) = next().map_err(|source| WriteError::Content { name, source })? {
            encoder.write_all(&chunk).map_err(FileError::new("write", &path))?;
        }
        let ended = encoder.finish().map_err(io::Error::from);
        let writer = ended.map_err(FileError::new("write", &path))?;
        let bytes = writer.written_bytes();
        writer.finish().map_err(FileError::new("sync", &path))?;
        Ok(bytes)
    }

    /// Opens a snapshot for reading from its beginning.
    ///
    /// # Errors
    /// If it does not exist or cannot be opened.
    pub fn read(&self, name: SnapshotName) -> Result<SnapshotReader, FileError> {
        let path = self.path_of(name);
        let opened = self.folder.open(&name.to_string());
        let (file, bytes) = opened.map_err(FileError::new("open", &path))?;
        Ok(SnapshotReader { content: Content::Unknown(file), path, bytes })
    }

    /// Removes all but the newest `count`, the oldest first, and says which. What was set aside goes
    /// when there are `count` newer ones.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn keep_newest(&self, count: usize) -> Result<Vec<SnapshotName>, FileError> {
        let mut kept = self.list()?;
        let mut surplus = kept.split_off(count.min(kept.len()));
        surplus.reverse();
        let mut names: Vec<String> = surplus.iter().map(SnapshotName::to_string).collect();
        let oldest = if kept.len() < count { None } else { kept.last() };
        let damaged = self.names()?.into_iter().filter(|name| {
            let stem = name.strip_suffix(DAMAGED).and_then(|stem| stem.parse().ok());
            stem.is_some_and(|name: SnapshotName| oldest.is_some_and(|oldest| name < *oldest))
        });
        names.extend(damaged);
        for name in &names {
            self.remove(name)?;
        }
        if !names.is_empty() {
            self.sync_names()?;
        }
        Ok(surplus)
    }

    /// Gives a snapshot that cannot be read another name, durably: it is kept for whoever wants to
    /// look into it, and no longer counts as one.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub fn set_aside(&self, name: SnapshotName) -> Result<(), FileError> {
        self.rename_durably(&name.to_string(), &format!("{name}{DAMAGED}"))
    }

    /// Where a snapshot is or would be.
    #[must_use]
    pub fn path_of(&self, name: SnapshotName) -> PathBuf {
        self.path.join(name.to_string())
    }

    fn names(&self) -> Result<Vec<String>, FileError> {
        self.folder.names().map_err(FileError::new("list", &self.path))
    }

    fn remove(&self, name: &str) -> Result<(), FileError> {
        self.folder.remove(name).map_err(FileError::new("remove", &self.path.join(name)))
    }

    fn rename_durably(&self, from: &str, to: &str) -> Result<(), FileError> {
        let renamed = self.folder.rename(from, to);
        renamed.map_err(FileError::new("rename to", &self.path.join(to)))?;
        self.sync_names()
    }

    fn sync_names(&self) -> Result<(), FileError> {
        self.folder.sync_names().map_err(FileError::new("sync folder", &self.path))
    }
}

/// The first bytes of an LZ4 frame.
const LZ4_MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
/// What is compressed in one piece: two of them are in memory.
const BLOCK_SIZE: BlockSize = BlockSize::Max256KB;

/// A file whose first bytes were looked at.
type Whole = io::Chain<io::Cursor<Vec<u8>>, Box<dyn SnapshotFile>>;

/// What a file holds.
#[derive(Debug)]
enum Content {
    /// Nothing of it was read. A file whose first block is lost is as damaged as any other.
    Unknown(Box<dyn SnapshotFile>),
    Plain(Whole),
    Lz4(Box<FrameDecoder<Whole>>),
}

impl Content {
    /// Looks at the first bytes, if nobody has.
    fn look(&mut self) -> io::Result<()> {
        let Content::Unknown(file) = self else { return Ok(()) };
        let mut magic = Vec::with_capacity(LZ4_MAGIC.len());
        file.take(LZ4_MAGIC.len() as u64).read_to_end(&mut magic)?;
        let is_compressed = magic == LZ4_MAGIC;
        let file = std::mem::replace(file, Box::new(io::empty()));
        let whole = io::Cursor::new(magic).chain(file);
        *self = match is_compressed {
            true => Content::Lz4(Box::new(FrameDecoder::new(whole))),
            false => Content::Plain(whole),
        };
        Ok(())
    }
}

impl Read for Content {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.look()?;
        match self {
            Content::Unknown(file) => file.read(bytes),
            Content::Plain(file) => file.read(bytes),
            Content::Lz4(file) => file.read(bytes),
        }
    }
}

/// An open snapshot file. It can be read to its end even after it was pruned.
#[derive(Debug)]
pub struct SnapshotReader {
    content: Content,
    path: PathBuf,
    bytes: u64,
}

impl SnapshotReader {
    /// The size of the file.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.bytes
    }

    /// The next part of the state, of at most `bytes_max` bytes; `None` at the end.
    ///
    /// # Errors
    /// If it cannot be read, or is not what was compressed.
    pub fn chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, FileError> {
        let mut chunk = Vec::with_capacity(bytes_max);
        (&mut self.content)
            .take(bytes_max as u64)
            .read_to_end(&mut chunk)
            .map_err(FileError::new("read", &self.path))?;
        Ok(if chunk.is_empty() { None } else { Some(chunk.into()) })
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.content.read(bytes)
    }
}
