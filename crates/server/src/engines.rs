//! The engine that the configuration names: opened, and paired with how its state is saved.
//!
//! | engine | where its state is when the process has ended | saved by |
//! |---|---|---|
//! | memory | in a snapshot file, and the log behind it | writing the next snapshot file |
//! | rocksdb | in its own files, and the log behind their flush | flushing |
//!
//! This is the one place that tells engines apart. From here on a member has an
//! [`Engine`] and a [`Save`].

use std::sync::Arc;

use anyhow::{Result, bail};
use state::checkpoint::restore;
use state::engine::Engine;
use state::engine::memory::MemoryEngine;
use state::{ClusterId, LogIndex};
use storage::data_dir::DataDir;
use storage::snapshots::{SnapshotFiles, SnapshotName};

use crate::checkpoints::{Save, SnapshotSave};
use crate::config::{self, Config};
use crate::limits::SNAPSHOT_READ_BYTES;

/// An engine with what the data directory held for it.
pub struct OpenEngine {
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// How its state comes to survive the process.
    pub save: Arc<dyn Save>,
    /// Snapshots that could not be read and, as it turned out, were not needed: to be set aside
    /// once the log is found to reach back far enough without them.
    pub damaged: Vec<DamagedSnapshot>,
}

/// A snapshot file that is not sound.
pub struct DamagedSnapshot {
    files: Arc<SnapshotFiles>,
    name: SnapshotName,
}

impl DamagedSnapshot {
    /// Takes it out of the way, without removing it.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn set_aside(self) -> Result<()> {
        Ok(self.files.set_aside(self.name)?)
    }
}

/// The name of the engine, in the configuration and in the manifest of the data directory.
#[must_use]
pub fn name(engine: config::Engine) -> &'static str {
    match engine {
        config::Engine::Memory => "memory",
        #[cfg(feature = "rocksdb")]
        config::Engine::RocksDb => "rocksdb",
    }
}

/// Opens the engine with what `data_dir` holds for it.
///
/// # Errors
/// What it holds is damaged, somebody else's, or cannot be read.
pub fn open(config: &Config, data_dir: &DataDir) -> Result<OpenEngine> {
    match config.engine {
        config::Engine::Memory => open_memory(config, data_dir),
        #[cfg(feature = "rocksdb")]
        config::Engine::RocksDb => rocks::open(config, data_dir),
    }
}

/// Up to which entry the engine will hold everything once it is opened, if that can be told before: so that
/// the log behind it can be read meanwhile.
///
/// # Errors
/// The data directory cannot be read.
pub fn expected_index(config: &Config, data_dir: &DataDir) -> Result<Option<LogIndex>> {
    match config.engine {
        config::Engine::Memory => {
            let snapshots = SnapshotFiles::open(&data_dir.snapshots())?.list()?;
            Ok(Some(snapshots.first().map_or(LogIndex(0), |newest| newest.index)))
        }
        #[cfg(feature = "rocksdb")]
        config::Engine::RocksDb => Ok(None),
    }
}

fn open_memory(config: &Config, data_dir: &DataDir) -> Result<OpenEngine> {
    let cluster = data_dir.stamp().cluster;
    let files = Arc::new(SnapshotFiles::open(&data_dir.snapshots())?);
    let (engine, damaged) = restore_newest(&files, cluster)?;
    let least_bytes = config.log.snapshot_after_bytes;
    let save = Arc::new(SnapshotSave::new(Arc::clone(&files), cluster, least_bytes));
    let damaged = damaged.into_iter();
    let damaged = damaged.map(|name| DamagedSnapshot { files: Arc::clone(&files), name }).collect();
    Ok(OpenEngine { engine, save, damaged })
}

/// Fills the engine from the newest snapshot that is sound, and names those that are not. Whether
/// an older one will do is found when the log is read: it may no longer reach back that far.
fn restore_newest(
    snapshots: &SnapshotFiles,
    cluster: ClusterId,
) -> Result<(Box<MemoryEngine>, Vec<SnapshotName>)> {
    let mut damaged = Vec::new();
    for name in snapshots.list()? {
        let mut file = snapshots.read(name)?;
        let mut engine = MemoryEngine::new();
        match restore(&mut || file.chunk(SNAPSHOT_READ_BYTES), &mut engine) {
            Ok(header) if header.cluster != cluster => {
                bail!("{} belongs to {}", snapshots.path_of(name).display(), header.cluster)
            }
            Ok(_) => return Ok((Box::new(engine), damaged)),
            Err(error) => {
                let error = anyhow::Error::new(error);
                let file = snapshots.path_of(name).display().to_string();
                tracing::error!(file, "snapshot is damaged, trying the one before: {error:#}");
                damaged.push(name);
            }
        }
    }
    Ok((Box::new(MemoryEngine::new()), damaged))
}

#[cfg(feature = "rocksdb")]
mod rocks {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use anyhow::Result;
    use state::LogIndex;
    use storage::data_dir::DataDir;
    use storage::rocks::{Flusher, Owner, RocksEngine};

    use super::OpenEngine;
    use crate::checkpoints::{Moment, Save};
    use crate::config::Config;
    use crate::limits::{BUFFERS_OF_ROOM, UNFLUSHED_DELETIONS_MAX};

    pub(super) fn open(config: &Config, data_dir: &DataDir) -> Result<OpenEngine> {
        let stamp = data_dir.stamp();
        let owner = Owner { cluster: stamp.cluster, member: stamp.member };
        let path = data_dir.rocksdb();
        let engine = RocksEngine::open(&path, &config.rocksdb, owner)?;
        let save = FlushSave {
            flusher: engine.flusher(),
            least_bytes: config.log.snapshot_after_bytes,
            path,
            garbage_bytes: config.rocksdb.write_buffer_bytes,
            room_bytes: config.rocksdb.write_buffer_bytes.saturating_mul(BUFFERS_OF_ROOM),
        };
        Ok(OpenEngine { engine: Box::new(engine), save: Arc::new(save), damaged: Vec::new() })
    }

    /// Flushes the engine: what it holds is then in its own files.
    struct FlushSave {
        flusher: Flusher,
        least_bytes: u64,
        path: PathBuf,
        /// Garbage in files that is left there until the next flush, and what readers of history
        /// step over, are bounded by numbers of their own: the log may not grow at all.
        garbage_bytes: u64,
        room_bytes: u64,
    }

    impl Save for FlushSave {
        /// However much data there is: a flush writes only what is new.
        fn due_bytes(&self, _saved_bytes: u64, _data_bytes: u64) -> u64 {
            let is_due = self.flusher.unflushed_deletions() >= UNFLUSHED_DELETIONS_MAX
                || self.flusher.unflushed_garbage_bytes() >= self.garbage_bytes;
            if is_due { 0 } else { self.least_bytes }
        }

        fn save(&self, _moment: Moment, _given_up: &AtomicBool) -> Result<LogIndex> {
            Ok(self.flusher.flush()?)
        }

        /// Files are compacted without what is forgotten once they know that it is.
        fn frees_space(&self) -> bool {
            self.flusher.unflushed_deletions() > 0
        }

        /// RocksDB refuses every write once a flush of its own has failed, so it must not come to
        /// that: the data stops growing while there is still room for what is in memory.
        fn has_room(&self) -> bool {
            rustix::fs::statvfs(&self.path)
                .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= self.room_bytes)
        }
    }
}
