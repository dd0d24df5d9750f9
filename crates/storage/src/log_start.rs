//! The log of a member that starts: read, or begun if nobody was ever promised one.
//!
//! ```text
//!            ┌─ a log ──────────────────────────────▶ note that it is born ─▶ use it
//!   read it ─┤
//!            └─ none, or the very first write is torn
//!                    ├─ born, or the engine holds data: it is lost
//!                    └─ neither: write the first record, durably, and read it
//! ```
//!
//! An empty folder is the beginning of a new member or the loss of an old one. What tells them apart is
//! a note that follows the first write and precedes the first promise ([`Birth`]). Were it made
//! before that write is durable, a power cut in between would be taken for a loss.
//!
//! What it does not do: it does not know what the first write says, nor how the log and an engine
//! fit together.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::mpsc::channel;

use bytes::Bytes;
use node::messages::{LogWrite, SegmentId};
use node::wal::replay::Place;
use node::wal::{Recovered, ReplayError, SegmentSource, replay};
use state::{ClusterId, LogIndex, MemberId};

use crate::data_dir::DataDir;
use crate::files::FileError;
use crate::log_disk::{LogDir, LogError, LogEvent};

/// Where the log of a new cluster begins.
const BEGINNING: Place = Place { segment: SegmentId(1), offset: 0 };

/// Where it stands that a log has begun.
pub trait Birth {
    /// Whether it has.
    ///
    /// # Errors
    /// If it cannot be found out.
    fn is_born(&self) -> Result<bool, FileError>;

    /// Notes, durably, that it has.
    ///
    /// # Errors
    /// If the note cannot be written.
    fn mark_born(&self) -> Result<(), FileError>;
}

impl Birth for DataDir {
    fn is_born(&self) -> Result<bool, FileError> {
        DataDir::is_born(self)
    }

    fn mark_born(&self) -> Result<(), FileError> {
        DataDir::mark_born(self)
    }
}

/// There is no log to go on with.
#[derive(Debug, thiserror::Error)]
pub enum LogStartError {
    /// What is there cannot be read.
    #[error("read the log")]
    Read(#[from] ReplayError),
    /// The note of its birth cannot be read or written.
    #[error(transparent)]
    Birth(#[from] FileError),
    /// It was there once.
    #[error("the log is lost")]
    Lost,
    /// The first write cannot be made durable.
    #[error("begin the log")]
    Begin(#[source] LogError),
    /// The first write cannot be found again.
    #[error("the log is empty right after it was begun")]
    Empty,
}

/// Whose log it is, and where.
#[derive(Clone, Copy)]
pub struct LogStart<'a> {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub member: MemberId,
    /// Its folder.
    pub log: &'a (dyn Fn() -> LogDir + Sync),
    /// Whether it has ever begun.
    pub birth: &'a (dyn Birth + Sync),
}

impl LogStart<'_> {
    /// Reads the log behind what the engine holds; `None` if it has not begun.
    ///
    /// # Errors
    /// It is damaged or cannot be read.
    pub fn read(&self, applied: LogIndex) -> Result<Option<Recovered>, LogStartError> {
        let segments = Segments { folder: (self.log)(), seen: RefCell::default() };
        match replay(&segments, self.cluster, self.member, applied) {
            // The power failed within the very first write: nobody was promised anything.
            Err(ReplayError::Rot(BEGINNING)) if self.is_new(applied)? => Ok(None),
            replayed => Ok(replayed?),
        }
    }

    /// Goes on with what has been read, or begins the log with `first` if there is none.
    ///
    /// # Errors
    /// The log is lost, or cannot be begun.
    pub fn go_on_or_begin<E: From<LogStartError>>(
        &self,
        read: Option<Recovered>,
        applied: LogIndex,
        first: impl FnOnce() -> Result<LogWrite, E>,
    ) -> Result<Recovered, E> {
        let recovered = match read {
            Some(recovered) => recovered,
            None if self.is_new(applied).map_err(LogStartError::from)? => {
                begin((self.log)(), first()?).map_err(LogStartError::Begin)?;
                self.read(applied)?.ok_or(LogStartError::Empty)?
            }
            None => return Err(LogStartError::Lost.into()),
        };
        // From here on an empty log is a loss, not a beginning.
        self.birth.mark_born().map_err(LogStartError::from)?;
        Ok(recovered)
    }

    fn is_new(&self, applied: LogIndex) -> Result<bool, FileError> {
        Ok(applied == LogIndex(0) && !self.birth.is_born()?)
    }
}

/// Makes the first write of a log durable.
fn begin(log: LogDir, first: LogWrite) -> Result<(), LogError> {
    let (report, events) = channel();
    // Nobody listens any more once the write is durable.
    let mut disk = log.start(move |event| drop(report.send(event)))?;
    disk.append(first)?;
    loop {
        match events.recv() {
            Ok(LogEvent::Persisted { .. }) => return Ok(()),
            Ok(LogEvent::Failed(error)) => return Err(error),
            Ok(LogEvent::Full | LogEvent::SpaceAgain) => {}
            Err(_) => return Err(LogError::Panicked),
        }
    }
}

/// The folder of the log, read for replay. Replay looks at each segment twice: to read it again costs
/// less than to keep them all.
struct Segments {
    folder: LogDir,
    /// What has been read from the disk itself.
    seen: RefCell<BTreeSet<SegmentId>>,
}

impl SegmentSource for Segments {
    fn list(&self) -> Result<Vec<SegmentId>, std::io::Error> {
        self.folder.segments().map_err(std::io::Error::other)
    }

    fn read(&self, segment: SegmentId) -> Result<Bytes, std::io::Error> {
        let is_new = self.seen.borrow_mut().insert(segment);
        let read = if is_new { LogDir::read } else { LogDir::read_again };
        read(&self.folder, segment).map(Bytes::from).map_err(std::io::Error::other)
    }
}
