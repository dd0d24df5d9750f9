//! What a disk holds, and what of it survives when the calls stop.
//!
//! ```text
//! write  ─▶ cache            killed:   the cache is what there is
//! sync   ─▶ cache ─▶ medium  no power: the medium, and of what was not synced any sectors
//! rename ─▶ names, durable once the folder is synced; without power a beginning of what was done
//! ```
//!
//! A file's bytes and its name are two things here: who syncs a new file and not its folder may find
//! neither. Some file systems are kinder; none promises to be.
//!
//! What has been appended may survive in any parts, with zeros in between. File systems that write
//! the size behind the bytes (ext4 in its default mode, XFS, btrfs) keep a beginning of it, and some
//! files may be trusted to them: [`Medium::keeping_order`].
//!
//! It is a model and does nothing by itself: whoever records calls says what they were.

#![allow(dead_code, reason = "the disk of the memory engine has no folders in folders")]

use std::collections::BTreeMap;

use fastrand::Rng;

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
    /// Syncs of the files in the folder of this name do nothing.
    Bytes(&'static str),
    /// Syncs of the folder of this name do nothing.
    Names(&'static str),
}

/// A file or a folder, counted in the order in which they are made.
pub(super) type Inode = usize;

/// The folder in which everything is.
pub(super) const ROOT: Inode = 0;

/// A call that changes something.
#[derive(Clone, Debug)]
pub(super) enum Call {
    MakeFile { folder: Inode, name: String },
    MakeFolder { folder: Inode, name: String },
    Write { file: Inode, offset: usize, bytes: Vec<u8> },
    Resize { file: Inode, bytes: usize },
    Sync { file: Inode },
    SyncNames { folder: Inode },
    Rename { folder: Inode, from: String, to: String },
    Remove { folder: Inode, name: String },
}

impl Call {
    fn kind(&self) -> &'static str {
        match self {
            Call::MakeFile { .. } => "make",
            Call::MakeFolder { .. } => "make folder",
            Call::Write { .. } => "write",
            Call::Resize { .. } => "resize",
            Call::Sync { .. } => "sync",
            Call::SyncNames { .. } => "sync names",
            Call::Rename { .. } => "rename",
            Call::Remove { .. } => "remove",
        }
    }
}

/// How many there are of each kind.
pub(super) fn kinds(calls: &[Call]) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    calls.iter().for_each(|call| *kinds.entry(call.kind()).or_default() += 1);
    kinds
}

/// What a disk holds.
#[derive(Clone, Debug)]
pub(super) struct Medium {
    inodes: Vec<Content>,
    /// The name of a folder; see [`Medium::keeping_order`].
    in_order: Option<&'static str>,
}

#[derive(Clone, Debug)]
enum Content {
    File(File),
    Folder(Folder),
}

#[derive(Clone, Debug, Default)]
struct File {
    cache: Vec<u8>,
    medium: Vec<u8>,
    dirty: Vec<Dirty>,
    /// Whether what is appended survives from its beginning on, or not at all.
    in_order: bool,
}

/// A change of a file that no sync has followed.
#[derive(Clone, Debug)]
enum Dirty {
    Bytes { offset: usize, bytes: Vec<u8> },
    Size(usize),
}

type Names = BTreeMap<String, Inode>;

#[derive(Clone, Debug, Default)]
struct Folder {
    names: Names,
    in_order: bool,
    /// The names as they were after each change since the folder was synced, that moment included.
    since_sync: Vec<Names>,
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Medium {
    /// An empty folder.
    pub(super) fn new() -> Medium {
        Medium { inodes: vec![Content::Folder(Folder::default())], in_order: None }
    }

    /// The same, where files in folders of this name lose what was appended from the end only.
    pub(super) fn keeping_order(self, folder: &'static str) -> Medium {
        Medium { in_order: Some(folder), ..self }
    }

    pub(super) fn apply(&mut self, call: &Call) {
        match call {
            Call::MakeFile { folder, name } => {
                let in_order = self.folder_mut(*folder).in_order;
                self.make(*folder, name, Content::File(File { in_order, ..File::default() }));
            }
            Call::MakeFolder { folder, name } => {
                let in_order = self.in_order == Some(name);
                self.make(*folder, name, Content::Folder(Folder { in_order, ..Folder::default() }));
            }
            Call::Write { file, offset, bytes } => {
                let file = self.file_mut(*file);
                put(&mut file.cache, *offset, bytes);
                file.dirty.push(Dirty::Bytes { offset: *offset, bytes: bytes.clone() });
            }
            Call::Resize { file, bytes } => {
                let file = self.file_mut(*file);
                file.cache.resize(*bytes, 0);
                file.dirty.push(Dirty::Size(*bytes));
            }
            Call::Sync { file } => {
                let file = self.file_mut(*file);
                file.medium.clone_from(&file.cache);
                file.dirty.clear();
            }
            Call::SyncNames { folder } => self.folder_mut(*folder).since_sync.clear(),
            Call::Rename { folder, from, to } => self.change_names(*folder, |names| {
                let inode = names.remove(from).expect("what is renamed is there");
                names.insert(to.clone(), inode);
            }),
            Call::Remove { folder, name } => self.change_names(*folder, |names| {
                names.remove(name).expect("what is removed is there");
            }),
        }
    }

    /// The part of a call that was done when the process was killed within it.
    pub(super) fn apply_part(&mut self, call: &Call, rng: &mut Rng) {
        if let Call::Write { file, offset, bytes } = call {
            let whole = SECTOR * rng.usize(0..=bytes.len() / SECTOR);
            let bytes = bytes[..whole].to_vec();
            self.apply(&Call::Write { file: *file, offset: *offset, bytes });
        }
    }

    /// Loses what the power took: everything that was not synced, or a part of it.
    pub(super) fn lose_power(&mut self, is_strict: bool, rng: &mut Rng) {
        for inode in &mut self.inodes {
            match inode {
                Content::File(file) => file.lose_power(is_strict, rng),
                Content::Folder(folder) => folder.lose_power(is_strict, rng),
            }
        }
    }

    pub(super) fn is_folder(&self, inode: Inode) -> bool {
        matches!(self.inodes[inode], Content::Folder(_))
    }

    /// What a folder holds under a name.
    pub(super) fn find(&self, folder: Inode, name: &str) -> Option<Inode> {
        self.names(folder).get(name).copied()
    }

    pub(super) fn names(&self, folder: Inode) -> &BTreeMap<String, Inode> {
        match &self.inodes[folder] {
            Content::Folder(folder) => &folder.names,
            Content::File(_) => panic!("{folder} is a file"),
        }
    }

    /// What a reader of a file sees while there is power.
    pub(super) fn bytes(&self, file: Inode) -> &[u8] {
        match &self.inodes[file] {
            Content::File(file) => &file.cache,
            Content::Folder(_) => panic!("{file} is a folder"),
        }
    }

    fn make(&mut self, folder: Inode, name: &str, content: Content) {
        self.inodes.push(content);
        let made = self.inodes.len() - 1;
        self.change_names(folder, |names| {
            names.insert(name.to_owned(), made);
        });
    }

    fn change_names(&mut self, folder: Inode, change: impl FnOnce(&mut Names)) {
        let folder = self.folder_mut(folder);
        if folder.since_sync.is_empty() {
            folder.since_sync.push(folder.names.clone());
        }
        change(&mut folder.names);
        folder.since_sync.push(folder.names.clone());
    }

    fn file_mut(&mut self, inode: Inode) -> &mut File {
        match &mut self.inodes[inode] {
            Content::File(file) => file,
            Content::Folder(_) => panic!("{inode} is a folder"),
        }
    }

    fn folder_mut(&mut self, inode: Inode) -> &mut Folder {
        match &mut self.inodes[inode] {
            Content::Folder(folder) => folder,
            Content::File(_) => panic!("{inode} is a file"),
        }
    }
}

impl File {
    fn lose_power(&mut self, is_strict: bool, rng: &mut Rng) {
        let keep_all = !is_strict && rng.bool();
        let in_order = self.in_order;
        // In order the first that is lost takes all behind it along; it is seldom the very first.
        let mut is_over = is_strict;
        let mut survives = || {
            let survives =
                keep_all || !is_over && if in_order { rng.u8(..8) > 0 } else { rng.bool() };
            is_over |= in_order && !survives;
            survives
        };
        for change in self.dirty.drain(..) {
            match change {
                Dirty::Bytes { offset, bytes } => {
                    for (at, sector) in (offset..).step_by(SECTOR).zip(bytes.chunks(SECTOR)) {
                        if survives() {
                            put(&mut self.medium, at, sector);
                        }
                    }
                }
                Dirty::Size(bytes) => {
                    if survives() {
                        self.medium.resize(bytes, 0);
                    }
                }
            }
        }
        self.cache.clone_from(&self.medium);
    }
}

impl Folder {
    fn lose_power(&mut self, is_strict: bool, rng: &mut Rng) {
        let last = self.since_sync.len().saturating_sub(1);
        let kept = if is_strict { 0 } else { rng.usize(0..=last) };
        if let Some(names) = self.since_sync.get(kept) {
            self.names = names.clone();
        }
        self.since_sync.clear();
    }
}
