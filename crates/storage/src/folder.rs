//! A folder and the names in it, as a file system sees them.
//!
//! ```text
//!   rename a.tmp → a   remove b     the cache: a
//!   ── sync_names ──────────────▶   the disk:  a        before it any beginning of the two
//! ```
//!
//! [`Names`] is a trait so that tests can put a disk under the log and the snapshots that forgets
//! what is not synced, fails and fills up. It knows nothing of what the files say: each of the two
//! says in a trait of its own what else it needs of a folder.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::files::sync_dir;

/// What may happen to the names in a folder.
pub(crate) trait Names: Send + Sync {
    /// Gives a file another name; durable after `sync_names`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; durable after `sync_names`.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// A real folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// Without it nothing is synced or filled: for tests and throw-away members only.
    pub(crate) durable: bool,
}

impl Names for Folder {
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.durable { sync_dir(&self.path).map_err(|error| error.source) } else { Ok(()) }
    }
}
