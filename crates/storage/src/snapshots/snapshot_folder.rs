//! What snapshot files need of a folder: names, and files that are written and read front to back.
//!
//! [`SnapshotFolder`] is a trait so that tests can cut the power at every call; see [`Names`]. It
//! does not know what a snapshot is.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};

use crate::files::{DurableFile, create_truncated};
use crate::folder::{Folder, Names};

/// What snapshot files need of a folder.
pub(crate) trait SnapshotFolder: Names + fmt::Debug {
    /// The names in it, in any order.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Creates a file, or empties the one of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn DurableFile>>;
    /// Opens a file at its beginning, and says how large it is.
    fn open(&self, name: &str) -> io::Result<(Box<dyn SnapshotFile>, u64)>;
}

/// An open file that is read front to back.
pub(crate) trait SnapshotFile: Read + Send + fmt::Debug {}

impl<T: Read + Send + fmt::Debug> SnapshotFile for T {}

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
}
