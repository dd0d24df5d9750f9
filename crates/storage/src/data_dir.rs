//! A member's data directory: its layout, its stamp and its lock.
//!
//! ```text
//!   <data-dir>/   mode 0700
//!     LOCK        held by the running process, empty
//!     MANIFEST    whose directory this is, in JSON
//!     log/        see log_disk
//!     snap/       see snapshots; of the memory engine
//!     rocksdb/    see rocks; of the engine of that name
//!     BORN        empty; written when the log has begun: without a log it is a loss
//! ```
//!
//! ```no_run
//! use state::{ClusterId, MemberId};
//! use storage::data_dir::{DataDir, Stamp};
//!
//! let stamp = Stamp::new("memory", ClusterId(0xc1), MemberId(0xa1));
//! let data_dir = DataDir::open("default.metastore".as_ref(), &stamp)?;
//! println!("the log is in {}", data_dir.log().display());
//! # Ok::<(), storage::data_dir::DataDirError>(())
//! ```
//!
//! Opening creates what is missing, in an order in which a crash after any step leaves a directory
//! that opens again: the manifest comes last, and before it there is nothing of value. A directory
//! that is not ours is refused before anything is written into it.
//!
//! It does not look into the log, the snapshots or the files of an engine.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use state::{ClusterId, MemberId};

use crate::files::{FileError, create_dir, temporary_name, write_atomically};
use crate::limits::MANIFEST_BYTES_MAX;

/// The layout that this version writes, and the newest that it understands.
pub const FORMAT: u32 = 1;

const MAGIC: &str = "metastore data directory";
const MANIFEST: &str = "MANIFEST";
const LOCK: &str = "LOCK";
const LOG: &str = "log";
const SNAP: &str = "snap";
const ROCKSDB: &str = "rocksdb";
/// Empty; there since the log has been begun.
const BORN: &str = "BORN";

/// Whose directory it is, fixed when it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The storage engine whose state the directory holds: its name in the configuration.
    pub engine: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub member: MemberId,
}

impl Stamp {
    /// Puts the three together.
    #[must_use]
    pub fn new(engine: &str, cluster: ClusterId, member: MemberId) -> Stamp {
        Stamp { engine: engine.to_owned(), cluster, member }
    }
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process has it open.
    #[error("data directory {} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It holds somebody else's files.
    #[error(
        "data directory {} holds {entry:?}, which is not ours: name an empty or a new directory",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the files.
        entry: String,
    },
    /// It is etcd's.
    #[error(
        "data directory {} belongs to etcd (it holds member/wal) and cannot be used in place: \
         name an empty or a new directory",
        path.display()
    )]
    Etcd {
        /// The directory.
        path: PathBuf,
    },
    /// It holds a log or a snapshot, but nothing says whose.
    #[error(
        "data directory {} holds data in {folder}/ but has no MANIFEST: \
         restore the MANIFEST or name an empty directory",
        path.display()
    )]
    ManifestLost {
        /// The directory.
        path: PathBuf,
        /// Where the data is.
        folder: &'static str,
    },
    /// The manifest cannot be understood.
    #[error("read the manifest of data directory {}", path.display())]
    ManifestDamaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A newer version wrote it.
    #[error(
        "data directory {} has format {found}, and this version knows formats up to {FORMAT}: \
         start it with the version that wrote it or a newer one",
        path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It was created with another storage engine.
    #[error(
        "data directory {} was created with engine {found:?}, not {wanted:?}: \
         start with engine {found:?} or name an empty directory",
        path.display()
    )]
    OtherEngine {
        /// The directory.
        path: PathBuf,
        /// Its engine.
        found: String,
        /// The one asked for.
        wanted: String,
    },
    /// It belongs to another cluster.
    #[error("data directory {} belongs to {found}, not to {wanted}", path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Its cluster.
        found: ClusterId,
        /// The one asked for.
        wanted: ClusterId,
    },
    /// It belongs to another member of the cluster.
    #[error("data directory {} belongs to {found}, not to {wanted}", path.display())]
    OtherMember {
        /// The directory.
        path: PathBuf,
        /// Its member.
        found: MemberId,
        /// The one asked for.
        wanted: MemberId,
    },
}

/// What can be wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not the JSON we write.
    #[error("parse it as JSON")]
    Json(#[from] serde_json::Error),
    /// It is JSON of another program.
    #[error("its magic is {found:?}, not {MAGIC:?}")]
    Magic {
        /// What stands there.
        found: String,
    },
    /// No version writes this.
    #[error("its format is {found}, which never was")]
    Format {
        /// What stands there.
        found: u32,
    },
    /// An id is not 16 hexadecimal digits.
    #[error("its {field} is {found:?}, not 16 hexadecimal digits")]
    Id {
        /// Which.
        field: &'static str,
        /// What stands there.
        found: String,
    },
}

/// The manifest as it stands in the file. Ids are text: many readers of JSON cut large numbers.
#[derive(Serialize, Deserialize)]
struct Manifest {
    magic: String,
    format: u32,
    engine: String,
    cluster: String,
    member: String,
}

/// The part of a manifest that every format has.
#[derive(Deserialize)]
struct Heading {
    magic: String,
    format: u32,
}

/// An open data directory, locked for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    stamp: Stamp,
    /// The lock goes with the last handle to the file.
    _lock: File,
}

impl DataDir {
    /// Opens the directory of the member that the stamp describes, and creates it if there is none.
    ///
    /// # Errors
    /// If it is in use, not ours, of a newer format, or another member's. Nothing in it is changed
    /// then.
    pub fn open(path: &Path, stamp: &Stamp) -> Result<DataDir, DataDirError> {
        create_dir(path)?;
        refuse_foreign(path)?;
        let lock = lock(path)?;
        // Now that nobody else creates or changes it, look again.
        refuse_foreign(path)?;
        match read_manifest(path)? {
            Some(found) => refuse_other(path, &found, stamp)?,
            None => create(path, stamp)?,
        }
        warn_if_others_can_read(path);
        // A crash while it was created may have left the folders out; they are needed from here on.
        create_dir(&path.join(LOG))?;
        create_dir(&path.join(SNAP))?;
        Ok(DataDir { path: path.to_path_buf(), stamp: stamp.clone(), _lock: lock })
    }

    /// Reads the stamp of a directory without locking or changing it: `None` if it does not exist
    /// or was never completely created. An existing member takes its identity from here.
    ///
    /// # Errors
    /// If the directory is not ours, or its manifest is damaged or of a newer format.
    pub fn stamp_of(path: &Path) -> Result<Option<Stamp>, DataDirError> {
        if !path.exists() {
            return Ok(None);
        }
        refuse_foreign(path)?;
        read_manifest(path)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    #[must_use]
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Whether the member has ever had a log; see [`DataDir::mark_born`].
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn is_born(&self) -> Result<bool, FileError> {
        let path = self.path.join(BORN);
        path.try_exists().map_err(FileError::new("look for", &path))
    }

    /// Notes, durably, that the log has begun: from now on a missing log is a loss and not the
    /// beginning of a new member.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn mark_born(&self) -> Result<(), FileError> {
        if self.is_born()? { Ok(()) } else { write_atomically(&self.path.join(BORN), b"") }
    }

    /// The folder of the log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// The folder of the snapshot files.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.path.join(SNAP)
    }

    /// The folder of RocksDB's files; it is made by that engine.
    #[must_use]
    pub fn rocksdb(&self) -> PathBuf {
        self.path.join(ROCKSDB)
    }
}

/// Refuses a directory that holds anything while it has no manifest, except what an interrupted
/// creation leaves. With a manifest it is ours, whatever else somebody has put there.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    if path.join(MANIFEST).exists() {
        return Ok(());
    }
    if path.join("member").join("wal").exists() {
        return Err(DataDirError::Etcd { path: path.to_path_buf() });
    }
    let temporary = temporary_name(Path::new(MANIFEST));
    for entry in names_in(path)? {
        let folder = match entry.as_str() {
            LOG => LOG,
            SNAP => SNAP,
            ROCKSDB => ROCKSDB,
            // The root of a file system of its own has this from the beginning.
            LOCK | "lost+found" => continue,
            name if Path::new(name) == temporary => continue,
            _ => return Err(DataDirError::Foreign { path: path.to_path_buf(), entry }),
        };
        if !names_in(&path.join(folder))?.is_empty() {
            return Err(DataDirError::ManifestLost { path: path.to_path_buf(), folder });
        }
    }
    Ok(())
}

fn names_in(path: &Path) -> Result<Vec<String>, FileError> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    };
    list().map_err(FileError::new("list", path))
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let name = path.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(FileError::new("create", &name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: path.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(FileError::new("lock", &name)(error).into()),
    }
}

fn create(path: &Path, stamp: &Stamp) -> Result<(), DataDirError> {
    create_dir(&path.join(LOG))?;
    create_dir(&path.join(SNAP))?;
    let manifest = Manifest {
        magic: MAGIC.to_owned(),
        format: FORMAT,
        engine: stamp.engine.clone(),
        cluster: format!("{:016x}", stamp.cluster.0),
        member: format!("{:016x}", stamp.member.0),
    };
    let mut text = serde_json::to_vec_pretty(&manifest).expect("strings and a number are JSON");
    text.push(b'\n');
    Ok(write_atomically(&path.join(MANIFEST), &text)?)
}

fn read_manifest(path: &Path) -> Result<Option<Stamp>, DataDirError> {
    let name = path.join(MANIFEST);
    let file = match File::open(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(FileError::new("open", &name))?,
    };
    let mut text = Vec::new();
    file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(FileError::new("read", &name))?;
    let damaged = |source| DataDirError::ManifestDamaged { path: path.to_path_buf(), source };
    // The heading first: what follows may look different in a format that we do not know.
    let heading: Heading = serde_json::from_slice(&text).map_err(|error| damaged(error.into()))?;
    if heading.magic != MAGIC {
        return Err(damaged(ManifestError::Magic { found: heading.magic }));
    }
    match heading.format {
        FORMAT => {}
        0 => return Err(damaged(ManifestError::Format { found: 0 })),
        found => return Err(DataDirError::Newer { path: path.to_path_buf(), found }),
    }
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| damaged(error.into()))?;
    let cluster = parse_id("cluster", manifest.cluster).map_err(damaged)?;
    let member = parse_id("member", manifest.member).map_err(damaged)?;
    Ok(Some(Stamp::new(&manifest.engine, ClusterId(cluster), MemberId(member))))
}

fn parse_id(field: &'static str, text: String) -> Result<u64, ManifestError> {
    if text.len() == 16
        && text.bytes().all(|b| b.is_ascii_hexdigit())
        && let Ok(id) = u64::from_str_radix(&text, 16)
    {
        return Ok(id);
    }
    Err(ManifestError::Id { field, found: text })
}

fn refuse_other(path: &Path, found: &Stamp, wanted: &Stamp) -> Result<(), DataDirError> {
    let path = path.to_path_buf();
    if found.cluster != wanted.cluster {
        let (found, wanted) = (found.cluster, wanted.cluster);
        return Err(DataDirError::OtherCluster { path, found, wanted });
    }
    if found.member != wanted.member {
        let (found, wanted) = (found.member, wanted.member);
        return Err(DataDirError::OtherMember { path, found, wanted });
    }
    if found.engine != wanted.engine {
        let (found, wanted) = (found.engine.clone(), wanted.engine.clone());
        return Err(DataDirError::OtherEngine { path, found, wanted });
    }
    Ok(())
}

/// We create it for its owner alone; an operator who made it by hand may have wished otherwise.
fn warn_if_others_can_read(path: &Path) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = format!("{mode:o}"),
            "the data directory is open to other users; 700 is recommended"
        );
    }
}
