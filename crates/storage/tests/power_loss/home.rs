//! A member with RocksDB in a real folder, below which every call is recorded.

use std::path::PathBuf;
use std::sync::Arc;

use state::engine::Engine;
use state::{LogIndex, State};
use storage::data_dir::{DataDir, Stamp};
use storage::files::FileError;
use storage::log_disk::{LogDir, LogOptions};
use storage::log_start::Birth;
use storage::rocks::{Flusher, Owner, RocksEngine, RocksOptions};

use crate::causes::chain;
use crate::crashes::Machine;
use crate::medium::{Call, Lie, Medium};
use crate::member::{CLUSTER, Home, MEMBER};
use crate::recorder::Recorder;

/// What a member or its disk does wrong, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk does not keep what it promises.
    Disk(Lie),
    /// The log is cut without a flush.
    NoFlush,
}

/// Gives members a folder of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnFiles {
    fault: Option<Fault>,
    flush_at_close: bool,
}

impl OnFiles {
    /// For the life that is recorded.
    pub(crate) fn with(fault: Option<Fault>) -> OnFiles {
        OnFiles { fault, flush_at_close: true }
    }

    /// For the starts after a crash. There are thousands, and each ends as a crash does.
    pub(crate) fn for_starts() -> OnFiles {
        OnFiles { fault: None, flush_at_close: false }
    }
}

impl Machine for OnFiles {
    type Home = Folder;

    fn run(
        &self,
        start: &Medium,
        life: impl FnOnce(&Folder) -> Result<(), String>,
    ) -> Result<Vec<Call>, String> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("power-loss-");
        // Thousands of small files: in memory, where there is a place for that.
        let folder = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir());
        let folder = folder.map_err(|error| error.to_string())?;
        let lie = match self.fault {
            Some(Fault::Disk(lie)) => Some(lie),
            _ => None,
        };
        let home = Folder {
            path: folder.path().join("data"),
            recorder: Arc::new(Recorder::begin(folder.path(), start, lie)),
            machine: *self,
            open: None,
        };
        life(&home)?;
        Arc::into_inner(home.recorder).expect("every member is gone").end()
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    recorder: Arc<Recorder>,
    machine: OnFiles,
    open: Option<Arc<Open>>,
}

/// What a running member holds; closed in this order.
struct Open {
    flusher: Flusher,
    data_dir: DataDir,
}

impl Folder {
    fn opened(&self) -> &Open {
        self.open.as_deref().expect("the engine is opened before its log")
    }
}

impl Birth for Folder {
    fn is_born(&self) -> Result<bool, FileError> {
        self.opened().data_dir.is_born()
    }

    fn mark_born(&self) -> Result<(), FileError> {
        self.opened().data_dir.mark_born()
    }
}

impl Home for Folder {
    fn calls(&self) -> usize {
        self.recorder.calls()
    }

    fn log(&self, options: LogOptions) -> LogDir {
        LogDir::new(&self.opened().data_dir.log(), options)
    }

    fn open(&mut self) -> Result<Box<dyn Engine>, String> {
        let stamp = Stamp::new("rocksdb", CLUSTER, MEMBER);
        let data_dir = DataDir::open(&self.path, &stamp).map_err(|error| chain(&error))?;
        let options = RocksOptions {
            cache_bytes: 1 << 20,
            write_buffer_bytes: 64 << 10,
            // A handful of files, and thousands of starts.
            opening_threads: 1,
            flush_at_close: self.machine.flush_at_close,
            ..RocksOptions::default()
        };
        let owner = Owner { cluster: CLUSTER, member: MEMBER };
        let engine = RocksEngine::open(&data_dir.rocksdb(), &options, owner);
        let engine = engine.map_err(|error| chain(&error))?;
        self.open = Some(Arc::new(Open { flusher: engine.flusher(), data_dir }));
        Ok(Box::new(engine))
    }

    /// Waits until files have become one file, if there are any.
    fn come_to_rest(&self) -> Result<(), String> {
        match self.machine.fault {
            Some(Fault::NoFlush) => Ok(()),
            _ => self.recorder.wait_for_removal(".sst"),
        }
    }

    fn save(&mut self, state: &State) -> Result<LogIndex, String> {
        if self.machine.fault == Some(Fault::NoFlush) {
            return Ok(state.applied().0);
        }
        self.opened().flusher.flush().map_err(|error| chain(&error))
    }
}
