//! RocksDB as the engine that a test crashes.
//!
//! A crash of the process leaves the files as they are. Here it is a copy of them: views of the
//! engine before the crash go on reading the old ones, as tests of the state machine expect.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use state::engine::{Batch, Engine, EngineError, EngineSize, EngineView};
use state::{ClusterId, LogIndex, MemberId};
use storage::rocks::{Owner, RocksEngine, RocksOptions};
use tempfile::TempDir;

#[path = "../../../state/tests/harness/mod.rs"]
mod state_harness;
pub(crate) use state_harness::Harness;

const OWNER: Owner = Owner { cluster: ClusterId(1), member: MemberId(2) };

/// Copies of a folder that is changing, until one opens.
const COPIES_MAX: usize = 20;

/// See the module.
#[derive(Clone)]
pub(crate) struct CrashingEngine(Arc<Mutex<Option<Running>>>);

struct Running {
    engine: RocksEngine,
    unflushed: usize,
    folder: TempDir,
}

fn options() -> RocksOptions {
    RocksOptions {
        cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
        flush_at_close: false,
        ..RocksOptions::default()
    }
}

impl CrashingEngine {
    pub(crate) fn new() -> CrashingEngine {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = RocksEngine::open(folder.path(), &options(), OWNER).expect("an empty folder");
        CrashingEngine::of(Running { engine, unflushed: 0, folder })
    }

    fn of(running: Running) -> CrashingEngine {
        CrashingEngine(Arc::new(Mutex::new(Some(running))))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Running) -> T) -> T {
        let mut running = self.0.lock().expect("tests do not panic while they hold it");
        work(running.as_mut().expect("not crashed yet"))
    }

    pub(crate) fn flush(&self) {
        self.with(|running| {
            running.engine.flusher().flush().expect("a disk");
            running.unflushed = 0;
        });
    }

    /// RocksDB flushes all or nothing.
    pub(crate) fn flush_oldest(&self, batches: usize) {
        if batches > 0 {
            self.flush();
        }
    }

    pub(crate) fn unflushed(&self) -> usize {
        self.with(|running| running.unflushed)
    }

    /// What is left of the engine after a crash; this handle and its clones are dead.
    pub(crate) fn crash(&mut self) -> CrashingEngine {
        let dead = self.0.lock().expect("tests do not panic").take().expect("not crashed yet");
        for _ in 0..COPIES_MAX {
            let folder = tempfile::tempdir().expect("a folder");
            match copy(dead.folder.path(), folder.path()) {
                // A compaction has just removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                copied => copied.expect("a disk"),
            }
            // A copy of the list of files that is older than the files may not fit them.
            let Ok(engine) = RocksEngine::open(folder.path(), &options(), OWNER) else { continue };
            let kept = CrashingEngine::of(Running { engine, unflushed: 0, folder });
            *self = kept.clone();
            return kept;
        }
        panic!("no copy of {} opens", dead.folder.path().display());
    }
}

/// The list of files first: what it lists is there already.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(from)? {
        files.push(entry?.file_name());
    }
    files.sort_by_key(|name| name.to_string_lossy().ends_with(".sst"));
    for name in files {
        fs::copy(from.join(&name), to.join(&name))?;
    }
    Ok(())
}

impl Engine for CrashingEngine {
    fn commit(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.with(|running| {
            running.unflushed += 1;
            running.engine.commit(batch)
        })
    }

    fn view(&self) -> Arc<dyn EngineView> {
        self.with(|running| running.engine.view())
    }

    fn durable_index(&self) -> LogIndex {
        self.with(|running| running.engine.durable_index())
    }

    fn keeps_values_resident(&self) -> bool {
        self.with(|running| running.engine.keeps_values_resident())
    }

    fn size(&self) -> EngineSize {
        self.with(|running| running.engine.size())
    }
}
