//! A disk that remembers every call, and what survives when they stop.
//!
//! ```text
//! write  ─▶ cache            killed:   the cache is what there is
//! sync   ─▶ cache ─▶ medium  no power: the medium, and of what was not synced any sectors
//! rename ─▶ names, durable once the folder is synced; without power a beginning of what was done
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;

use crate::files::DurableFile;
use crate::log_disk::segment_files::{SegmentFile, SegmentFiles};
use crate::snapshots::folder::{SnapshotFile, SnapshotFolder};

/// What is written whole or not at all. Small, so that records are torn in many ways; a real one is
/// eight times as large, so the header of a segment, which has this size, is never torn.
const SECTOR: usize = 64;

/// How calls come to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// The process ends; what it has written stays in the cache.
    Killed,
    /// The process ends in the middle of the next call.
    KilledWithin,
    /// The power fails, and nothing survives that was not synced.
    PowerStrict,
    /// The power fails, and of what was not synced anything may survive.
    PowerMixed,
}

impl Crash {
    pub(super) const ALL: [Crash; 4] =
        [Crash::Killed, Crash::KilledWithin, Crash::PowerStrict, Crash::PowerMixed];
}

/// A promise that the disk does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// An honest disk.
    None,
    /// Syncs of segments do nothing.
    LogSync,
    /// Syncs of the log's folder do nothing.
    LogNames,
    /// Syncs of snapshots do nothing.
    SnapshotSync,
    /// Syncs of the snapshots' folder do nothing.
    SnapshotNames,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Log,
    Snapshots,
}

/// A call that changes something. Files are counted in the order in which they are made.
#[derive(Clone, Debug)]
enum Call {
    Make { place: Place, name: String },
    Write { file: usize, offset: usize, bytes: Vec<u8> },
    Sync { file: usize },
    Rename { place: Place, from: String, to: String },
    Remove { place: Place, name: String },
    SyncNames { place: Place },
}

impl Call {
    fn kind(&self) -> &'static str {
        match self {
            Call::Make { .. } => "make",
            Call::Write { .. } => "write",
            Call::Sync { .. } => "sync",
            Call::Rename { .. } => "rename",
            Call::Remove { .. } => "remove",
            Call::SyncNames { .. } => "sync names",
        }
    }
}

/// What a disk holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Medium {
    files: Vec<File>,
    folders: [Folder; 2],
}

#[derive(Clone, Debug, Default)]
struct File {
    cache: Vec<u8>,
    medium: Vec<u8>,
    dirty: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    names: BTreeMap<String, usize>,
    /// The names as they were after each change since the folder was synced, that moment included.
    since_sync: Vec<BTreeMap<String, usize>>,
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Medium {
    fn apply(&mut self, call: &Call) {
        match call {
            Call::Make { place, name } => {
                self.files.push(File::default());
                let file = self.files.len() - 1;
                self.change_names(*place, |names| {
                    names.insert(name.clone(), file);
                });
            }
            Call::Write { file, offset, bytes } => {
                let file = &mut self.files[*file];
                put(&mut file.cache, *offset, bytes);
                file.dirty.push((*offset, bytes.clone()));
            }
            Call::Sync { file } => {
                let file = &mut self.files[*file];
                for (offset, bytes) in file.dirty.drain(..) {
                    put(&mut file.medium, offset, &bytes);
                }
            }
            Call::Rename { place, from, to } => self.change_names(*place, |names| {
                let file = names.remove(from).expect("what is renamed is there");
                names.insert(to.clone(), file);
            }),
            Call::Remove { place, name } => {
                self.change_names(*place, |names| {
                    names.remove(name);
                });
            }
            Call::SyncNames { place } => self.folders[*place as usize].since_sync.clear(),
        }
    }

    fn change_names(&mut self, place: Place, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        let folder = &mut self.folders[place as usize];
        if folder.since_sync.is_empty() {
            folder.since_sync.push(folder.names.clone());
        }
        change(&mut folder.names);
        folder.since_sync.push(folder.names.clone());
    }

    /// Loses what the power took.
    fn lose_power(&mut self, crash: Crash, rng: &mut Rng) {
        for folder in &mut self.folders {
            let last = folder.since_sync.len().saturating_sub(1);
            let kept = if crash == Crash::PowerMixed { rng.usize(0..=last) } else { 0 };
            if let Some(names) = folder.since_sync.get(kept) {
                folder.names = names.clone();
            }
            folder.since_sync.clear();
        }
        for file in &mut self.files {
            let keep_file = crash == Crash::PowerMixed && rng.bool();
            for (offset, bytes) in file.dirty.drain(..) {
                for (at, sector) in (offset..).step_by(SECTOR).zip(bytes.chunks(SECTOR)) {
                    if keep_file || (crash == Crash::PowerMixed && rng.bool()) {
                        put(&mut file.medium, at, sector);
                    }
                }
            }
            file.cache.clone_from(&file.medium);
        }
    }

    fn file(&self, place: Place, name: &str) -> io::Result<usize> {
        let file = self.folders[place as usize].names.get(name);
        file.copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A disk in use. Clones are the same disk.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    state: Arc<Mutex<(Medium, Vec<Call>)>>,
    lie: Lie,
}

impl Disk {
    pub(super) fn new(medium: Medium, lie: Lie) -> Disk {
        Disk { state: Arc::new(Mutex::new((medium, Vec::new()))), lie }
    }

    /// How many calls there were.
    pub(super) fn calls(&self) -> usize {
        self.lock().1.len()
    }

    /// How many of each kind.
    pub(super) fn kinds(&self) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        self.lock().1.iter().for_each(|call| *kinds.entry(call.kind()).or_default() += 1);
        kinds
    }

    /// What a disk that began as `start` holds when so many of these calls were made.
    pub(super) fn after(
        &self,
        start: &Medium,
        calls: usize,
        crash: Crash,
        rng: &mut Rng,
    ) -> Medium {
        let mut medium = start.clone();
        let state = self.lock();
        state.1[..calls].iter().for_each(|call| medium.apply(call));
        match crash {
            Crash::Killed => {}
            Crash::KilledWithin => {
                if let Some(Call::Write { file, offset, bytes }) = state.1.get(calls) {
                    let whole = SECTOR * rng.usize(0..=bytes.len() / SECTOR);
                    let bytes = bytes[..whole].to_vec();
                    medium.apply(&Call::Write { file: *file, offset: *offset, bytes });
                }
            }
            Crash::PowerStrict | Crash::PowerMixed => medium.lose_power(crash, rng),
        }
        medium
    }

    pub(super) fn folder(&self, place: Place) -> DiskFolder {
        DiskFolder { disk: self.clone(), place }
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
pub(super) struct DiskFolder {
    disk: Disk,
    place: Place,
}

impl DiskFolder {
    fn file(&self, name: &str) -> io::Result<OpenFile> {
        let file = self.disk.lock().0.file(self.place, name)?;
        Ok(OpenFile { disk: self.disk.clone(), place: self.place, file, end: 0 })
    }

    fn make(&self, name: &str) -> io::Result<OpenFile> {
        self.disk.call(Call::Make { place: self.place, name: name.to_owned() });
        self.file(name)
    }

    fn rename_file(&self, from: &str, to: &str) -> io::Result<()> {
        self.file(from)?;
        let (from, to) = (from.to_owned(), to.to_owned());
        self.disk.call(Call::Rename { place: self.place, from, to });
        Ok(())
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.file(name)?;
        self.disk.call(Call::Remove { place: self.place, name: name.to_owned() });
        Ok(())
    }

    fn sync_folder(&self) {
        let lies = match self.place {
            Place::Log => Lie::LogNames,
            Place::Snapshots => Lie::SnapshotNames,
        };
        if self.disk.lie != lies {
            self.disk.call(Call::SyncNames { place: self.place });
        }
    }

    fn sizes(&self) -> Vec<(String, u64)> {
        let state = self.disk.lock();
        let names = &state.0.folders[self.place as usize].names;
        let size = |file: &usize| state.0.files[*file].cache.len() as u64;
        names.iter().map(|(name, file)| (name.clone(), size(file))).collect()
    }
}

/// A file that is being written, or read.
#[derive(Debug)]
struct OpenFile {
    disk: Disk,
    place: Place,
    file: usize,
    /// Where the next bytes go that are written front to back.
    end: usize,
}

impl OpenFile {
    fn put(&self, offset: usize, bytes: &[u8]) {
        self.disk.call(Call::Write { file: self.file, offset, bytes: bytes.to_vec() });
    }

    fn make_durable(&self) {
        let lies = match self.place {
            Place::Log => Lie::LogSync,
            Place::Snapshots => Lie::SnapshotSync,
        };
        if self.disk.lie != lies {
            self.disk.call(Call::Sync { file: self.file });
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.disk.lock().0.files[self.file].cache.clone()
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

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_file(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.remove_file(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.sync_folder();
        Ok(())
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

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_file(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.remove_file(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.sync_folder();
        Ok(())
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
