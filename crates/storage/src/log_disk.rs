//! The disk of the raft log: makes log writes durable, two at a time, and reports them in order.
//!
//! ```text
//!              ┌─ lane 1: write, sync ─┐
//!   append ──▶─┤                       ├─▶ reports, strictly in order: Persisted 1, 2, 3 …
//!              └─ lane 2: write, sync ─┘
//!                      ▲ takes the next segment
//!   release ─▶ preparer: allocates, fills and recycles segments ahead of need ─▶ Full, SpaceAgain
//! ```
//!
//! While one write is syncing the next is on its way, so the disk is never idle between them. A
//! write that waits for a lane joins the others that wait: they share one sync.
//!
//! ```no_run
//! use bytes::Bytes;
//! use node::messages::{LogWrite, SegmentId};
//! use storage::log_disk::{LogDir, LogOptions};
//!
//! let log = LogDir::new("data/log".as_ref(), LogOptions::default());
//! for segment in log.segments()? {
//!     let bytes = log.read(segment)?; // replay
//! }
//! let mut disk = log.start(|event| println!("{event:?}"))?;
//! let bytes = Bytes::from_static(b"record");
//! disk.append(LogWrite { number: 1, segment: SegmentId(1), offset: 0, bytes })?;
//! # Ok::<(), storage::log_disk::LogError>(())
//! ```
//!
//! **After a failed write or sync nothing is reported persisted any more**, not even an earlier
//! write that a sync in flight may yet confirm: the error may have dropped its pages too. Nothing is
//! retried. [`LogEvent::Failed`] is the last event; the member must stop.
//!
//! **A full disk is met early**: the blocks of segments are reserved ahead, so that a write
//! into them needs no more room. When that fails the log goes on in the reserve and says
//! [`LogEvent::Full`]; if the reserve runs out as well, writes wait for room and nothing is lost.
//!
//! What it does not do: frame, checksum or cut the log, nor clear a recycled segment. Old bytes
//! stand behind the new ones, and the format must tell them apart.

mod company;
mod lane;
mod preparer;
pub(crate) mod segment_files;
mod shared;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use node::messages::{LogWrite, SegmentId};

use crate::files::FileError;
use crate::folder::Folder;
use crate::limits::{LOG_FILL_BITE_BYTES, LOG_FILL_PACE, LOG_SPACE_RETRY};
pub use company::Companion;
use lane::Lane;
use segment_files::{FileName, SegmentFiles, segment_name};
use shared::{Pace, Shared};

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// What a segment is allocated with. A write that needs more gets a file of its own size.
    pub segment_bytes: u64,
    /// Writes in flight at the same time, each on a thread of its own.
    pub lanes: usize,
    /// `false` syncs nothing and loses acknowledged writes in a power cut: for throw-away members.
    pub durable: bool,
    /// Whether a sync that would be alone in flight gets a second one beside it.
    pub companion: Companion,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 16 << 20,
            lanes: 2,
            durable: true,
            companion: Companion::default(),
        }
    }
}

/// What the log disk reports, from one thread at a time.
#[derive(Debug)]
pub enum LogEvent {
    /// The write of this number survives a crash, and so do all before it.
    Persisted {
        /// See [`LogWrite::number`].
        number: u64,
        /// How long the sync took that made it so; zero without syncs.
        sync_time: Duration,
    },
    /// There is no room for the next segment; the log goes on in its reserve. Take no new data.
    Full,
    /// The reserve is whole again.
    SpaceAgain,
    /// The disk failed. Nothing is reported after this.
    Failed(LogError),
}

/// The log's disk failed: the member must stop.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A write could not be made or synced; it and all after it may be lost.
    #[error("make log write {number} durable")]
    Write {
        /// See [`LogWrite::number`].
        number: u64,
        /// Which operation on which file.
        source: FileError,
    },
    /// One of the disk's own threads panicked; the message stands in the log of the process.
    #[error("a thread of the log disk panicked")]
    Panicked,
    /// The log disk has failed before and takes no more writes.
    #[error("write to a log disk that has failed")]
    Stopped,
}

/// Where a segment is, or would be, in the folder of a log.
#[must_use]
pub fn segment_path(folder: &Path, segment: SegmentId) -> PathBuf {
    folder.join(segment_name(segment))
}

/// The folder of the log before it is written: for replay, and for reading a log at rest.
pub struct LogDir {
    files: Box<dyn SegmentFiles>,
    path: PathBuf,
    options: LogOptions,
}

impl LogDir {
    /// Names the folder, which must exist; touches nothing yet.
    #[must_use]
    pub fn new(path: &Path, options: LogOptions) -> LogDir {
        let files = Box::new(Folder { path: path.to_path_buf(), durable: options.durable });
        LogDir { files, path: path.to_path_buf(), options }
    }

    /// On files of a test's own.
    #[cfg(test)]
    pub(crate) fn on(files: Box<dyn SegmentFiles>, options: LogOptions) -> LogDir {
        LogDir { files, path: PathBuf::from("log"), options }
    }

    /// The segments, oldest first. A file that is not named like a segment is left out.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn segments(&self) -> Result<Vec<SegmentId>, LogError> {
        let mut segments: Vec<SegmentId> = self
            .list()?
            .into_iter()
            .filter_map(|(name, _)| match FileName::parse(&name) {
                FileName::Segment(segment) => Some(segment),
                _ => None,
            })
            .collect();
        segments.sort_unstable();
        Ok(segments)
    }

    /// A whole segment as the disk has it, whatever stands behind the last record included.
    ///
    /// What is returned is durable: a replay may build on it and acknowledge it.
    ///
    /// # Errors
    /// If it cannot be read, or cannot be made durable first.
    pub fn read(&self, segment: SegmentId) -> Result<Vec<u8>, LogError> {
        let name = segment_name(segment);
        Ok(self.files.read(&name).map_err(FileError::new("read", &self.path.join(name)))?)
    }

    /// The same once more, from the cache of the system where it can.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read_again(&self, segment: SegmentId) -> Result<Vec<u8>, LogError> {
        let name = segment_name(segment);
        Ok(self.files.read_again(&name).map_err(FileError::new("read", &self.path.join(name)))?)
    }

    /// Removes a segment, durably: for one that replay has found to lie behind the log's end.
    ///
    /// # Errors
    /// If it cannot be removed or the folder cannot be synced.
    pub fn remove(&self, segment: SegmentId) -> Result<(), LogError> {
        let name = segment_name(segment);
        self.files.remove(&name).map_err(FileError::new("remove", &self.path.join(name)))?;
        Ok(self.files.sync_names().map_err(FileError::new("sync folder", &self.path))?)
    }

    /// Starts the threads. Events are given to `report`, one at a time and in order, mostly on a
    /// thread of the disk; it must neither panic nor wait for the caller of `append`.
    ///
    /// # Errors
    /// If the folder cannot be put in order, or a fresh log finds no room for its first segment.
    pub fn start(
        self,
        report: impl Fn(LogEvent) + Send + Sync + 'static,
    ) -> Result<LogDisk, LogError> {
        let pace = Pace {
            space_retry: LOG_SPACE_RETRY,
            fill: LOG_FILL_PACE,
            bite_bytes: LOG_FILL_BITE_BYTES,
        };
        self.start_at(pace, Box::new(report))
    }

    fn start_at(
        self,
        pace: Pace,
        report: Box<dyn Fn(LogEvent) + Send + Sync>,
    ) -> Result<LogDisk, LogError> {
        assert!(self.options.lanes > 0, "a log disk without a lane writes nothing");
        assert!(self.options.segment_bytes > 0, "a segment holds at least a byte");
        let lanes = self.options.lanes;
        let shared = Arc::new(Shared::new(self, pace, report));
        preparer::put_in_order(&shared)?;
        LogDisk::spawn(shared, lanes)
    }

    fn list(&self) -> Result<Vec<(String, u64)>, FileError> {
        self.files.list().map_err(FileError::new("list", &self.path))
    }
}

/// The running disk of one log. Dropping it finishes what was handed over, except what waits for
/// room on a full disk, and joins the threads.
pub struct LogDisk {
    shared: Arc<Shared>,
    /// The caller's own way to the disk, for [`LogDisk::append_inline`].
    own_lane: Lane,
    lanes: Vec<JoinHandle<()>>,
    preparer: Option<JoinHandle<()>>,
}

impl LogDisk {
    fn spawn(shared: Arc<Shared>, lanes: usize) -> Result<LogDisk, LogError> {
        let mut disk = LogDisk {
            shared: Arc::clone(&shared),
            own_lane: Lane::default(),
            lanes: Vec::new(),
            preparer: None,
        };
        let spawn = |name: String, run: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(name.clone())
                .spawn(move || {
                    let _watch = shared.fail_on_panic();
                    run(&shared);
                })
                .map_err(FileError::new("start thread", name.as_ref()))
        };
        disk.preparer = Some(spawn("log-preparer".to_owned(), preparer::run)?);
        for number in 1..=lanes {
            disk.lanes.push(spawn(format!("log-lane-{number}"), lane::run)?);
        }
        Ok(disk)
    }

    /// Hands a write to the lanes; `Persisted` with its number is reported when it is durable.
    ///
    /// Returns at once unless very many writes are waiting. Without durability it writes here and
    /// now, and reports before it returns.
    ///
    /// # Errors
    /// [`LogError::Stopped`] if the disk has failed, which was reported.
    pub fn append(&mut self, write: LogWrite) -> Result<(), LogError> {
        if self.shared.options.durable {
            return self.shared.enqueue(write);
        }
        let event = self.append_inline(write)?;
        event.into_iter().for_each(|event| self.shared.push_event(event));
        Ok(())
    }

    /// Makes a write durable on the calling thread if none is in flight, and returns its event
    /// instead of reporting it: saves a lone write two hand-offs between threads. Otherwise hands it
    /// to the lanes and returns `None`.
    ///
    /// # Errors
    /// [`LogError::Stopped`] if the disk has failed, which was reported.
    pub fn append_inline(&mut self, write: LogWrite) -> Result<Option<LogEvent>, LogError> {
        if !self.shared.begin_alone(&write)? {
            self.shared.enqueue(write)?;
            return Ok(None);
        }
        let number = write.number;
        let done = self.own_lane.execute(&self.shared, &[write]);
        Ok(self.shared.end_alone(number, done))
    }

    /// The writes handed over and not yet reported.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }

    /// Segments before `first` are no longer needed: they are recycled or removed, oldest first, in
    /// the background. No write may name one of them any more.
    pub fn release(&mut self, first: SegmentId) {
        self.shared.release(first);
    }

    /// These segments hold nothing that counts, whatever their place in the order: removes them,
    /// durably. Only right after a start, when replay has found such segments; it waits for the disk.
    ///
    /// # Errors
    /// If one cannot be removed or the folder cannot be synced.
    pub fn discard(&mut self, segments: &[SegmentId]) -> Result<(), LogError> {
        let Shared { files, path, .. } = &*self.shared;
        for segment in self.shared.forget(segments) {
            let name = segment_name(segment);
            files.remove(&name).map_err(FileError::new("remove", &path.join(name)))?;
        }
        Ok(files.sync_names().map_err(FileError::new("sync folder", path))?)
    }

    /// Room may have been made on a full disk: look now instead of at the next retry.
    pub fn look_for_space(&mut self) {
        self.shared.look_for_space();
    }
}

impl Drop for LogDisk {
    fn drop(&mut self) {
        // The lanes first: what they still have to write may need another segment. A panic was
        // reported as `Failed` by the thread itself.
        self.shared.stop();
        for lane in self.lanes.drain(..) {
            let _ = lane.join();
        }
        self.shared.lanes_have_ended();
        if let Some(preparer) = self.preparer.take() {
            let _ = preparer.join();
        }
    }
}
