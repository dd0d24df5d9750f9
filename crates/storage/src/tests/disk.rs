//! A disk in the memory of a test: the log's files and the snapshots on a [`Medium`].
//!
//! The crate's traits for folders end here, so that a run costs no real file.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use state::checkpoint::{CheckpointWriter, restore};
use state::engine::Engine;
use state::engine::memory::MemoryEngine;
use state::{LogIndex, State};

use super::crashes::Machine;
use super::medium::{Call, Inode, Lie, Medium, ROOT};
use super::member::{CLUSTER, Home};
use crate::files::{DurableFile, FileError};
use crate::folder::Names;
use crate::log_disk::segment_files::{SegmentFile, SegmentFiles};
use crate::log_disk::{LogDir, LogOptions};
use crate::log_start::Birth;
use crate::snapshots::snapshot_folder::{SnapshotFile, SnapshotFolder};
use crate::snapshots::{SnapshotFiles, SnapshotName};

const LOG: &str = "log";
const SNAP: &str = "snap";
const BORN: &str = "BORN";

/// A disk in use. Clones are the same disk.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    state: Arc<Mutex<(Medium, Vec<Call>)>>,
    lie: Option<Lie>,
}

/// Gives members a [`Disk`].
#[derive(Clone, Copy, Debug)]
pub(super) struct InMemory(pub(super) Option<Lie>);

/// A disk with the folders of the memory engine's member, and nothing in them.
pub(super) fn empty() -> Medium {
    let mut medium = Medium::new();
    for name in [LOG, SNAP] {
        medium.apply(&Call::MakeFolder { folder: ROOT, name: name.to_owned() });
    }
    medium.apply(&Call::SyncNames { folder: ROOT });
    medium
}

impl Machine for InMemory {
    type Home = Disk;

    fn run(
        &self,
        start: &Medium,
        life: impl FnOnce(&Disk) -> Result<(), String>,
    ) -> Result<Vec<Call>, String> {
        let state = Arc::new(Mutex::new((start.clone(), Vec::new())));
        let disk = Disk { state, lie: self.0 };
        life(&disk)?;
        let calls = std::mem::take(&mut disk.lock().1);
        Ok(calls)
    }
}

/// As in the data directory: a name and nothing else.
impl Birth for Disk {
    fn is_born(&self) -> Result<bool, FileError> {
        Ok(self.lock().0.find(ROOT, BORN).is_some())
    }

    fn mark_born(&self) -> Result<(), FileError> {
        if !self.is_born()? {
            self.call(Call::MakeFile { folder: ROOT, name: BORN.to_owned() });
            self.call(Call::SyncNames { folder: ROOT });
        }
        Ok(())
    }
}

/// The memory engine: whole states in files, of which the newest two are kept.
impl Home for Disk {
    fn calls(&self) -> usize {
        self.lock().1.len()
    }

    fn log(&self, options: LogOptions) -> LogDir {
        LogDir::on(Box::new(self.folder(LOG)), options)
    }

    fn open(&mut self) -> Result<Box<dyn Engine>, String> {
        let files = self.snapshots()?;
        let names = files.list().map_err(|error| error.to_string())?;
        let mut engine = Box::new(MemoryEngine::new());
        if let Some(name) = names.first() {
            let mut file = files.read(*name).map_err(|error| error.to_string())?;
            // A file under its final name is whole: an older one is never needed.
            restore(&mut || file.chunk(4096), &mut *engine)
                .map_err(|error| format!("restore {name}: {error:?}"))?;
        }
        Ok(engine)
    }

    fn save(&mut self, state: &State) -> Result<LogIndex, String> {
        let files = self.snapshots()?;
        let (index, term) = state.applied();
        let writer = CheckpointWriter::new(state.reader().engine_view(), CLUSTER);
        let mut writer = writer.map_err(|error| error.to_string())?;
        files
            .write(SnapshotName { index, term }, || writer.next_chunk())
            .map_err(|error| error.to_string())?;
        files.keep_newest(2).map_err(|error| error.to_string())?;
        Ok(index)
    }
}

impl Disk {
    fn snapshots(&self) -> Result<SnapshotFiles, String> {
        let folder = Arc::new(self.folder(SNAP));
        let files = SnapshotFiles::open_folder(folder, Path::new(SNAP));
        // Several syncs in a snapshot of a few hundred bytes.
        files.map(|files| files.with_sync_bytes(300)).map_err(|error| error.to_string())
    }

    fn folder(&self, name: &'static str) -> DiskFolder {
        let folder = self.lock().0.find(ROOT, name).expect("both are there from the beginning");
        DiskFolder { disk: self.clone(), name, folder }
    }

    fn lock(&self) -> MutexGuard<'_, (Medium, Vec<Call>)> {
        self.state.lock().expect("nobody panics with the lock")
    }

    fn call(&self, call: Call) {
        let mut state = self.lock();
        state.0.apply(&call);
        state.1.push(call);
    }
}

/// One of its folders.
#[derive(Clone, Debug)]
struct DiskFolder {
    disk: Disk,
    name: &'static str,
    folder: Inode,
}

impl DiskFolder {
    fn file(&self, name: &str) -> io::Result<OpenFile> {
        let found = self.disk.lock().0.find(self.folder, name);
        let file = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(OpenFile { folder: self.clone(), file, end: 0 })
    }

    fn make(&self, name: &str) -> io::Result<OpenFile> {
        self.disk.call(Call::MakeFile { folder: self.folder, name: name.to_owned() });
        self.file(name)
    }

    fn sizes(&self) -> Vec<(String, u64)> {
        let state = self.disk.lock();
        let names = state.0.names(self.folder);
        names.iter().map(|(name, file)| (name.clone(), state.0.bytes(*file).len() as u64)).collect()
    }
}

/// A file that is being written, or read.
#[derive(Debug)]
struct OpenFile {
    folder: DiskFolder,
    file: Inode,
    /// Where the next bytes go that are written front to back.
    end: usize,
}

impl OpenFile {
    fn put(&self, offset: usize, bytes: &[u8]) {
        let call = Call::Write { file: self.file, offset, bytes: bytes.to_vec() };
        self.folder.disk.call(call);
    }

    fn make_durable(&self) {
        if self.folder.disk.lie != Some(Lie::Bytes(self.folder.name)) {
            self.folder.disk.call(Call::Sync { file: self.file });
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.folder.disk.lock().0.bytes(self.file).to_vec()
    }
}

impl Names for DiskFolder {
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.file(from)?;
        let (from, to) = (from.to_owned(), to.to_owned());
        self.disk.call(Call::Rename { folder: self.folder, from, to });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.file(name)?;
        self.disk.call(Call::Remove { folder: self.folder, name: name.to_owned() });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.disk.lie != Some(Lie::Names(self.name)) {
            self.disk.call(Call::SyncNames { folder: self.folder });
        }
        Ok(())
    }
}

impl SegmentFiles for DiskFolder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.sizes())
    }

    fn allocate(&self, name: &str, bytes: u64) -> io::Result<u64> {
        let file = self.make(name)?;
        file.put(0, &vec![0; usize::try_from(bytes).expect("small files")]);
        file.make_durable();
        Ok(bytes)
    }

    fn fill(&self, name: &str, offset: u64, bytes: u64) -> io::Result<()> {
        let file = self.file(name)?;
        let offset = usize::try_from(offset).expect("small files");
        file.put(offset, &vec![0; usize::try_from(bytes).expect("small files")]);
        file.make_durable();
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(self.file(name)?))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.file(name)?;
        file.make_durable();
        Ok(file.bytes())
    }
}

impl SegmentFile for OpenFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.put(usize::try_from(offset).expect("small files"), bytes);
        Ok(bytes.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.make_durable();
        Ok(())
    }
}

impl SnapshotFolder for DiskFolder {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.sizes().into_iter().map(|(name, _)| name).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DurableFile>> {
        Ok(Box::new(self.make(name)?))
    }

    fn open(&self, name: &str) -> io::Result<(Box<dyn SnapshotFile>, u64)> {
        let bytes = self.file(name)?.bytes();
        let size = bytes.len() as u64;
        Ok((Box::new(io::Cursor::new(bytes)), size))
    }
}

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(self.end, bytes);
        self.end += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DurableFile for OpenFile {
    fn sync_data(&mut self) -> io::Result<()> {
        self.make_durable();
        Ok(())
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.make_durable();
        Ok(())
    }
}
