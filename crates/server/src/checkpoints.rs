//! When a member's state is saved, and by whom: a thread of its own, while writes go on.
//!
//! Saved is what the engine holds without the log: from then on the log before it can be cut. How
//! that is done is the engine's matter ([`Save`]): the memory engine's state is written to a
//! snapshot file, an engine with files of its own is flushed.
//!
//! A snapshot is due when the log has grown by twice what the last one held: snapshots then cost at
//! most about one and a half times the log before them, however the data grows, and a restart
//! replays at most about twice as much log as it loads data. (Measured against the data of the
//! moment, a store that is only ever added to would never be due: its data grows as fast as its
//! log.) For small data there is a floor, `--snapshot-log-bytes`; for a flush, which writes only
//! what is new, there is nothing else.
//!
//! ```text
//! data at the snapshot   0     1           3                                   9
//! log                    ├──1──┼─────2─────┼─────────────────6─────────────────┤
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use node::messages::{Committed, Payload};
use state::checkpoint::CheckpointWriter;
use state::engine::{EngineError, EngineView};
use state::{ClusterId, LogIndex, State, Term};
use storage::snapshots::{SnapshotFiles, SnapshotName};

use crate::background;
use crate::core::{CoreInput, CoreSender};
use crate::limits::{ROOM_LOOK_BYTES, SNAPSHOT_FILES_KEPT};

/// How the state of an engine comes to survive the process.
pub trait Save: Send + Sync {
    /// How much the log must have grown since the last save, which found `saved_bytes` of data where
    /// there are `data_bytes` now, until the next one is due.
    fn due_bytes(&self, saved_bytes: u64, data_bytes: u64) -> u64;

    /// Saves at least what `moment` shows, and says up to which entry. Long: runs on a thread of its
    /// own, and may end early once `given_up` is set.
    ///
    /// # Errors
    /// Nothing more is saved than before.
    fn save(&self, moment: Moment, given_up: &AtomicBool) -> Result<LogIndex, anyhow::Error>;

    /// Whether there is garbage on the disk that a save would let go of.
    fn frees_space(&self) -> bool {
        false
    }

    /// Whether the disk has the room that the engine needs to go on. A save that fails for want of it
    /// and leaves the engine as it was needs none: then the log fills the disk and says so.
    fn has_room(&self) -> bool {
        true
    }
}

/// A published state.
pub struct Moment {
    /// What the engine held.
    pub view: Arc<dyn EngineView>,
    /// The last entry applied to it.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
}

/// See the module.
pub struct Checkpoints {
    core: CoreSender,
    save: Arc<dyn Save>,
    /// Size of the data at the save under way, or the last one.
    saved_bytes: u64,
    /// Log bytes since the save under way, or the last one.
    log_bytes: u64,
    /// Log bytes since the last look for room.
    unlooked_bytes: u64,
    /// Whether a save is due that has not been begun, however little the log has grown.
    is_asked_for: bool,
    under_way: Option<UnderWay>,
}

/// A save that is being done.
struct UnderWay {
    thread: JoinHandle<()>,
    given_up: Arc<AtomicBool>,
}

/// Why the content of a snapshot ended early.
#[derive(Debug, thiserror::Error)]
enum ContentError {
    /// Nobody wants it any more.
    #[error("given up, because the member stops")]
    GivenUp,
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] EngineError),
}

impl Checkpoints {
    /// Saves by `save`, which last found `saved_bytes` of data, and reports to `core`.
    #[must_use]
    pub fn new(core: CoreSender, save: Arc<dyn Save>, saved_bytes: u64) -> Checkpoints {
        Checkpoints {
            core,
            save,
            saved_bytes,
            log_bytes: 0,
            unlooked_bytes: 0,
            is_asked_for: false,
            under_way: None,
        }
    }

    /// Counts what the log has grown by.
    pub fn count(&mut self, entries: &[Committed]) {
        for entry in entries {
            if let Payload::Batch(batch) = &entry.payload {
                self.log_bytes += batch.len() as u64;
                self.unlooked_bytes += batch.len() as u64;
            }
        }
    }

    /// Has the next save begin at once if it makes room.
    pub fn free_space(&mut self) {
        self.is_asked_for |= self.save.frees_space();
    }

    /// Begins to save the published state if the log has grown enough, or it was asked for.
    pub fn maybe_begin(&mut self, state: &State) {
        if self.under_way.is_some() {
            return;
        }
        let data_bytes = state.reader().published().size.total_bytes;
        let due_bytes = self.save.due_bytes(self.saved_bytes, data_bytes);
        if self.log_bytes < due_bytes && !self.is_asked_for {
            return;
        }
        self.is_asked_for = false;
        self.saved_bytes = data_bytes;
        let (index, term) = state.applied();
        let moment = Moment { view: state.reader().engine_view(), index, term };
        self.log_bytes = 0;
        let given_up = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&given_up);
        let (core, save) = (self.core.clone(), Arc::clone(&self.save));
        let work = move || {
            let work = || save.save(moment, &stop);
            // Without a report there would never be another save, and the log would grow.
            let done = catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err(anyhow::anyhow!("the saving thread panicked")));
            // The core thread may have ended meanwhile.
            let _ = core.send(CoreInput::Checkpointed(done.map_err(|error| format!("{error:#}"))));
        };
        match background::spawn("save", work) {
            Ok(thread) => self.under_way = Some(UnderWay { thread, given_up }),
            Err(error) => tracing::error!(%error, "failed to start the saving thread"),
        }
    }

    /// Whether the engine can go on; see [`Save::has_room`].
    #[must_use]
    pub fn has_room(&mut self) -> bool {
        self.unlooked_bytes = 0;
        self.save.has_room()
    }

    /// Whether so much was written since the last look for room that it is time for another.
    #[must_use]
    pub fn must_look_for_room(&self) -> bool {
        self.unlooked_bytes >= ROOM_LOOK_BYTES
    }

    /// Takes the result of a save: the entry up to which the log may be cut.
    pub fn finished(&mut self, done: Result<LogIndex, String>) -> Option<LogIndex> {
        self.end();
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

    fn end(&mut self) {
        if let Some(UnderWay { thread, given_up }) = self.under_way.take() {
            given_up.store(true, Ordering::Relaxed);
            // It has reported what it had to say, its panic included.
            let _ = thread.join();
        }
    }
}

/// No thread writes into the directory once its lock may be given to another process.
impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.end();
    }
}

/// Saves by writing a snapshot file.
pub struct SnapshotSave {
    files: Arc<SnapshotFiles>,
    cluster: ClusterId,
    /// Never after less log than this.
    least_bytes: u64,
}

impl SnapshotSave {
    /// Writes into `files` after `least_bytes` of log at least.
    #[must_use]
    pub fn new(files: Arc<SnapshotFiles>, cluster: ClusterId, least_bytes: u64) -> SnapshotSave {
        SnapshotSave { files, cluster, least_bytes }
    }
}

impl Save for SnapshotSave {
    fn due_bytes(&self, saved_bytes: u64, data_bytes: u64) -> u64 {
        // What was compacted since need not be written again.
        saved_bytes.min(data_bytes).saturating_mul(2).max(self.least_bytes)
    }

    fn save(&self, moment: Moment, given_up: &AtomicBool) -> Result<LogIndex, anyhow::Error> {
        let Moment { view, index, term } = moment;
        let mut writer = CheckpointWriter::new(view, self.cluster)?;
        self.files.write(SnapshotName { index, term }, || {
            match given_up.load(Ordering::Relaxed) {
                true => Err(ContentError::GivenUp),
                false => Ok(writer.next_chunk()?),
            }
        })?;
        self.files.keep_newest(SNAPSHOT_FILES_KEPT)?;
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use bytes::Bytes;
    use state::alarms::Quota;
    use state::apply::Entry;
    use state::command::{Command, Operation, Put, begin_batch, push_command};
    use state::engine::memory::MemoryEngine;
    use state::{ClusterTime, RequestId};

    use super::*;

    const BUDGET_BYTES: u64 = 100_000;

    struct World {
        state: State,
        checkpoints: Checkpoints,
        reports: Receiver<CoreInput>,
    }

    impl World {
        fn new(folder: &Path) -> World {
            let state = State::open(Box::new(MemoryEngine::new()), Quota(None)).expect("empty");
            let (core, reports) = channel();
            let files = Arc::new(SnapshotFiles::open(folder).expect("a folder"));
            let save = SnapshotSave::new(files, ClusterId(1), BUDGET_BYTES);
            let checkpoints = Checkpoints::new(core, Arc::new(save), 0);
            World { state, checkpoints, reports }
        }

        /// One entry with a put of this size, and the look for a snapshot that follows each turn.
        fn put(&mut self, bytes: usize) {
            let (key, value) = (Bytes::from_static(b"k"), Bytes::from(vec![b'x'; bytes]));
            let put = Operation::Put(Put { key, value, ..Put::default() });
            let mut batch = begin_batch(ClusterTime(1));
            let command = Command::new(RequestId(1), put);
            push_command(&mut batch, &prost::Message::encode_to_vec(&command));
            let (index, term) = (LogIndex(self.state.applied().0.0 + 1), Term(1));
            let batch = batch.freeze();
            let entry = Committed { index, term, payload: Payload::Batch(batch.clone()) };
            // The log is larger than the data, as if most of it were superseded.
            self.checkpoints.count(&[entry.clone(), entry.clone(), entry]);
            let applied = self.state.apply_entry(index, term, Entry::Batch(batch));
            applied.expect("the memory engine does not fail");
            self.state.publish();
            self.checkpoints.maybe_begin(&self.state);
        }

        fn report(&mut self) -> Option<LogIndex> {
            match self.reports.recv_timeout(Duration::from_secs(60)).expect("a report") {
                CoreInput::Checkpointed(done) => self.checkpoints.finished(done),
                _ => panic!("only snapshots are reported here"),
            }
        }

        fn is_writing(&self) -> bool {
            self.checkpoints.under_way.is_some()
        }
    }

    #[test]
    fn a_snapshot_is_written_when_the_log_has_outgrown_the_data_and_the_budget() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut world = World::new(folder.path());
        world.put(10_000);
        assert!(!world.is_writing(), "the budget is not used up");
        world.put(200_000);
        let applied = world.state.applied().0;
        assert_eq!(world.report(), Some(applied));
        let names = SnapshotFiles::open(folder.path()).expect("a folder").list().expect("a list");
        assert_eq!(names, [SnapshotName { index: applied, term: Term(1) }]);
        world.put(10_000);
        assert!(!world.is_writing(), "counting begins anew");
    }

    #[test]
    fn a_snapshot_that_fails_is_tried_again_with_the_next_budget() {
        let folder = tempfile::tempdir().expect("a folder");
        let gone = folder.path().join("gone");
        std::fs::create_dir(&gone).expect("a folder");
        let mut world = World::new(&gone);
        std::fs::remove_dir(&gone).expect("empty");
        world.put(200_000);
        assert!(world.is_writing());
        assert_eq!(world.report(), None);
        assert!(!world.is_writing());
        std::fs::create_dir(&gone).expect("a folder");
        world.put(10_000);
        assert!(!world.is_writing(), "not at once");
        world.put(600_000);
        let applied = world.state.applied().0;
        assert_eq!(world.report(), Some(applied));
    }

    #[test]
    fn nobody_writes_once_the_member_has_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        for _ in 0..20 {
            let mut world = World::new(folder.path());
            world.put(2_000_000);
            assert!(world.is_writing());
            drop(world.checkpoints);
            let left = std::fs::read_dir(folder.path()).expect("a folder");
            for entry in left {
                let name = entry.expect("an entry").file_name();
                assert!(name.to_string_lossy().ends_with(".snap"), "{name:?} is left");
            }
            // Its report, if it came to one, waits for nobody.
            assert!(world.reports.try_iter().count() <= 1);
        }
    }
}
