//! The folder of snapshot files as a file system sees it.
//!
//! [`SnapshotFolder`] is a trait so that tests can cut the power at every call. It knows names and
//! bytes, not what a snapshot is.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use crate::files::{DurableFile, create_truncated, sync_dir};

/// What snapshot files need of a folder.
pub(crate) trait SnapshotFolder: fmt::Debug + Send + Sync {
    /// The names in it, in any order.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Creates a file, or empties the one of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn DurableFile>>;
    /// Opens a file at its beginning, and says how large it is.
    fn open(&self, name: &str) -> io::Result<(Box<dyn SnapshotFile>, u64)>;
    /// Gives a file another name; durable after `sync_names`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; durable after `sync_names`.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file that is read front to back.
pub(crate) trait SnapshotFile: Read + Send + fmt::Debug {}

impl<T: Read + Send + fmt::Debug> SnapshotFile for T {}

/// A real folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl SnapshotFolder for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DurableFile>> {
        let file = create_truncated(&self.path.join(name)).map_err(|error| error.source)?;
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<(Box<dyn SnapshotFile>, u64)> {
        let file = File::open(self.path.join(name))?;
        let bytes = file.metadata()?.len();
        Ok((Box::new(file), bytes))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_dir(&self.path).map_err(|error| error.source)
    }
}
