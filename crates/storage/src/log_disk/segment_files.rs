//! The folder of log segments as a file system sees it.
//!
//! ```text
//!   log/0000000000000007.wal     segment 7
//!   log/0000000000000003.spare   ready for use: its blocks are reserved
//!   log/0000000000000004.tmp     being made; worthless after a crash
//! ```
//!
//! [`SegmentFiles`] is a trait so that tests can put a disk under the threads; see [`Names`]. It knows
//! nothing of what a segment says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use node::messages::SegmentId;
use rustix::fs::Advice;

use crate::files::preallocate;
use crate::folder::{Folder, Names};
use crate::limits::PACED_SYNC_BYTES;

/// What the log disk needs of a folder.
pub(crate) trait SegmentFiles: Names {
    /// Names and sizes in bytes, in any order.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Creates a file of this size whose blocks are reserved, durably, and says how many of its bytes
    /// are filled already, from the front. On an error nothing is left.
    fn allocate(&self, name: &str, bytes: u64) -> io::Result<u64>;
    /// Fills a part of a file with zeros, durably.
    fn fill(&self, name: &str, offset: u64, bytes: u64) -> io::Result<()>;
    /// Opens for writing. Each call is a view of its own: an error of writing back is told once to
    /// each view, so two threads that shared one could hide it from each other.
    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>>;
    /// What is on the disk under this name: never what would be lost in a crash.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// The same once more, from the cache of the system where it can.
    fn read_again(&self, name: &str) -> io::Result<Vec<u8>> {
        self.read(name)
    }
}

/// An open segment.
pub(crate) trait SegmentFile: Send {
    /// Writes some of the bytes and says how many.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes everything written so far durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// What a name in the folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    Segment(SegmentId),
    Spare(u64),
    Temporary,
    Foreign,
}

impl FileName {
    pub(crate) fn parse(name: &str) -> FileName {
        let Some((stem, kind)) = name.split_once('.') else { return FileName::Foreign };
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if stem.len() != 16 || !stem.bytes().all(lower_hex) {
            return FileName::Foreign;
        }
        let Ok(number) = u64::from_str_radix(stem, 16) else { return FileName::Foreign };
        match kind {
            "wal" => FileName::Segment(SegmentId(number)),
            "spare" => FileName::Spare(number),
            "tmp" => FileName::Temporary,
            _ => FileName::Foreign,
        }
    }
}

pub(crate) fn segment_name(segment: SegmentId) -> String {
    format!("{:016x}.wal", segment.0)
}

pub(crate) fn spare_name(number: u64) -> String {
    format!("{number:016x}.spare")
}

pub(crate) fn temporary_name(number: u64) -> String {
    format!("{number:016x}.tmp")
}

struct OpenFile {
    file: File,
    durable: bool,
}

impl SegmentFiles for Folder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            names.push((name, entry.metadata()?.len()));
        }
        Ok(names)
    }

    fn allocate(&self, name: &str, bytes: u64) -> io::Result<u64> {
        let path = self.path.join(name);
        let made = reserve(&path, bytes, self.durable);
        if made.is_err() {
            // What was allocated so far is given back at once: on a full disk it may be what keeps
            // others alive. A file that stays is removed at the next start.
            let _ = fs::remove_file(&path);
        }
        made
    }

    fn fill(&self, name: &str, offset: u64, bytes: u64) -> io::Result<()> {
        if !self.durable {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        fill(&file, offset, bytes)?;
        file.sync_data()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        Ok(Box::new(OpenFile { file, durable: self.durable }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path.join(name))?;
        if self.durable {
            // A process that was killed leaves bytes that only the page cache has: what replay
            // builds on must be on the disk first. And a page that an earlier sync failed to write
            // looks clean in the cache: dropping the cache shows what the disk really holds.
            file.sync_data()?;
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_again(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }
}

fn reserve(path: &Path, bytes: u64, durable: bool) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let is_reserved = preallocate(&file, bytes)?;
    file.set_len(bytes)?;
    if !durable {
        return Ok(bytes);
    }
    if is_reserved {
        file.sync_all()?;
        return Ok(0);
    }
    let mut at = 0;
    while at < bytes {
        let bite = PACED_SYNC_BYTES.min(bytes - at);
        fill(&file, at, bite)?;
        file.sync_data()?;
        at += bite;
    }
    file.sync_all()?;
    Ok(bytes)
}

fn fill(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; 256 << 10];
    let end = offset + bytes;
    let mut at = offset;
    while at < end {
        let step = usize::try_from(end - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all_at(&zeros[..step], at)?;
        at += step as u64;
    }
    Ok(())
}

impl SegmentFile for OpenFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.durable { self.file.sync_data() } else { Ok(()) }
    }
}
