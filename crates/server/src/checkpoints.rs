//! When a snapshot is written, and by whom: a thread of its own, from a view, while writes go on.
//!
//! A snapshot is due when the log has grown by twice what the last one held, so that snapshots cost
//! at most half as many bytes as the log between them, and a restart replays at most about twice as
//! much log as it loads data. For small data there is a floor: `--snapshot-log-bytes`.

use std::sync::Arc;

use node::messages::{Committed, Payload};
use state::checkpoint::CheckpointWriter;
use state::engine::EngineView;
use state::{ClusterId, LogIndex, State, Term};
use storage::snapshots::{SnapshotFiles, SnapshotName};

use crate::core::{CoreInput, CoreSender};
use crate::limits::SNAPSHOT_FILES_KEPT;

/// See the module.
pub struct Checkpoints {
    core: CoreSender,
    snapshots: Arc<SnapshotFiles>,
    cluster: ClusterId,
    /// Never after less log than this.
    log_bytes_min: u64,
    /// Log bytes since the snapshot under way, or the last one.
    log_bytes: u64,
    /// Bytes of data in that snapshot.
    last_bytes: u64,
    under_way: bool,
}

impl Checkpoints {
    /// Writes into `snapshots`, of which the newest held what `state` holds now, and reports to
    /// `core`.
    #[must_use]
    pub fn new(
        core: CoreSender,
        snapshots: Arc<SnapshotFiles>,
        cluster: ClusterId,
        log_bytes_min: u64,
        state: &State,
    ) -> Checkpoints {
        let last_bytes = state.reader().published().size.total_bytes;
        Checkpoints {
            core,
            snapshots,
            cluster,
            log_bytes_min,
            log_bytes: 0,
            last_bytes,
            under_way: false,
        }
    }

    /// Counts what the log has grown by.
    pub fn count(&mut self, entries: &[Committed]) {
        for entry in entries {
            if let Payload::Batch(batch) = &entry.payload {
                self.log_bytes += batch.len() as u64;
            }
        }
    }

    /// Begins a snapshot of the published state if the log has grown enough.
    pub fn maybe_begin(&mut self, state: &State) {
        let due_bytes = self.last_bytes.saturating_mul(2).max(self.log_bytes_min);
        if self.under_way || self.log_bytes < due_bytes {
            return;
        }
        self.last_bytes = state.reader().published().size.total_bytes;
        let (index, term) = state.applied();
        let view = state.reader().engine_view();
        self.under_way = true;
        self.log_bytes = 0;
        let (core, snapshots, cluster) =
            (self.core.clone(), Arc::clone(&self.snapshots), self.cluster);
        let write = move || {
            let done = write(&snapshots, cluster, view, index, term);
            // The core thread may have ended meanwhile.
            let _ = core.send(CoreInput::Checkpointed(done.map_err(|error| format!("{error:#}"))));
        };
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(write);
        if let Err(error) = thread {
            self.under_way = false;
            tracing::error!(%error, "failed to start the snapshot thread");
        }
    }

    /// Takes the result of a snapshot: the entry up to which the log may be cut.
    pub fn finished(&mut self, done: Result<LogIndex, String>) -> Option<LogIndex> {
        self.under_way = false;
        match done {
            Ok(index) => {
                tracing::info!(index = index.0, "saved snapshot");
                Some(index)
            }
            Err(error) => {
                // The log still holds everything; the next attempt comes with the next budget.
                tracing::error!(%error, "failed to save a snapshot; keeping the log");
                None
            }
        }
    }
}

fn write(
    snapshots: &SnapshotFiles,
    cluster: ClusterId,
    view: Arc<dyn EngineView>,
    index: LogIndex,
    term: Term,
) -> Result<LogIndex, anyhow::Error> {
    let mut writer = CheckpointWriter::new(view, cluster)?;
    snapshots.write(SnapshotName { index, term }, || writer.next_chunk())?;
    snapshots.keep_newest(SNAPSHOT_FILES_KEPT)?;
    Ok(index)
}
