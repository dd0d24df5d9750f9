//! An engine for tests and the simulator that forgets what it has not flushed when it crashes.
//!
//! It behaves as an engine with a disk and without a log of its own does: what a commit changed is
//! visible at once, survives only from some later flush on, and always survives as whole batches.
//!
//! ```text
//! commit 1   commit 2   flush   commit 3   commit 4   crash ──▶ holds 1 and 2, durable_index of 2
//! └── durable ──────────┘       └── unflushed ────┘
//! ```
//!
//! ```
//! use state::LogIndex;
//! use state::engine::forgetful::{ForgetfulEngine, Values};
//! use state::engine::{Batch, Engine, Write};
//! use state::schema::{Table, meta};
//!
//! let applied = |index: u8| {
//!     let row = [0, 0, 0, 0, 0, 0, 0, index, 0, 0, 0, 0, 0, 0, 0, 1];
//!     let key = meta::APPLIED.into();
//!     Batch { writes: vec![Write::Put(Table::Meta, key, row.to_vec().into())] }
//! };
//! let mut engine = ForgetfulEngine::new(Values::OnDisk);
//! engine.commit(applied(1)).unwrap();
//! engine.flush();
//! engine.commit(applied(2)).unwrap();
//! assert_eq!(engine.crash().durable_index(), LogIndex(1));
//! ```
//!
//! What it does not do: it tears nothing and reports no errors; a batch is the unit of loss.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::memory::MemoryEngine;
use crate::engine::{Batch, Engine, EngineError, EngineSize, EngineView};
use crate::schema::{Table, meta};
use crate::types::LogIndex;

/// Which kind of engine a [`ForgetfulEngine`] passes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Its records stay in memory; see [`Engine::keeps_values_resident`].
    Resident,
    /// A reader must fetch each value.
    OnDisk,
}

/// Loses its unflushed batches in a crash.
#[derive(Clone)]
pub struct ForgetfulEngine {
    values: Values,
    /// What a crash leaves.
    durable: MemoryEngine,
    /// What leads from `durable` to `now`, oldest first.
    unflushed: VecDeque<Batch>,
    now: MemoryEngine,
}

impl ForgetfulEngine {
    /// An empty engine.
    #[must_use]
    pub fn new(values: Values) -> ForgetfulEngine {
        ForgetfulEngine {
            values,
            durable: MemoryEngine::new(),
            unflushed: VecDeque::new(),
            now: MemoryEngine::new(),
        }
    }

    /// Makes everything committed so far survive a crash.
    pub fn flush(&mut self) {
        self.flush_oldest(self.unflushed.len());
    }

    /// Makes the oldest `batches` of those not flushed survive: a flush that lags behind.
    pub fn flush_oldest(&mut self, batches: usize) {
        for batch in self.unflushed.drain(..batches.min(self.unflushed.len())) {
            self.durable.commit(batch).expect("the memory engine has nothing that can fail");
        }
    }

    /// Batches that a crash would lose.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.unflushed.len()
    }

    /// The engine as it is opened after a crash of the machine. Views taken before keep what they
    /// show.
    #[must_use]
    pub fn crash(self) -> ForgetfulEngine {
        ForgetfulEngine {
            values: self.values,
            now: self.durable.clone(),
            durable: self.durable,
            unflushed: VecDeque::new(),
        }
    }
}

impl Engine for ForgetfulEngine {
    fn commit(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.unflushed.push_back(batch.clone());
        self.now.commit(batch)
    }

    fn view(&self) -> Arc<dyn EngineView> {
        self.now.view()
    }

    /// # Panics
    /// If a row [`meta::APPLIED`] was flushed that is not 16 bytes long.
    fn durable_index(&self) -> LogIndex {
        let row = self.durable.view().get(Table::Meta, meta::APPLIED);
        match row.expect("the memory engine has nothing that can fail") {
            None => LogIndex(0),
            Some(row) => {
                let (index, _term) =
                    meta::decode_applied(&row).expect("APPLIED is a log index and a term");
                index
            }
        }
    }

    fn keeps_values_resident(&self) -> bool {
        self.values == Values::Resident
    }

    fn size(&self) -> EngineSize {
        self.now.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Write;
    use crate::engine::samples::{applied, put};
    use crate::types::Version;

    fn commit(engine: &mut ForgetfulEngine, index: u64) {
        let revision = i64::try_from(index).expect("small");
        let writes = vec![Write::Append(put(revision, 0, "k", "v")), applied(index, 1)];
        engine.commit(Batch { writes }).expect("memory");
    }

    fn revisions(engine: &ForgetfulEngine) -> Vec<i64> {
        let mut seen = Vec::new();
        let end = Version { main: crate::Revision::MAX, sub: 0 };
        engine
            .view()
            .scan_history(Version::default(), end, &mut |record| {
                seen.push(record.revision().0);
                std::ops::ControlFlow::Continue(())
            })
            .expect("memory");
        seen
    }

    #[test]
    fn a_crash_leaves_whole_batches_up_to_the_last_flush() {
        let mut engine = ForgetfulEngine::new(Values::Resident);
        assert_eq!(engine.durable_index(), LogIndex(0));
        for index in 1..=3 {
            commit(&mut engine, index);
        }
        engine.flush_oldest(2);
        commit(&mut engine, 4);
        assert_eq!(revisions(&engine), [1, 2, 3, 4]);
        assert_eq!((engine.durable_index(), engine.unflushed()), (LogIndex(2), 2));

        let mut engine = engine.crash();
        assert_eq!(revisions(&engine), [1, 2]);
        assert_eq!((engine.durable_index(), engine.unflushed()), (LogIndex(2), 0));

        // Life goes on, and a second crash without a flush loses only what came after the first.
        commit(&mut engine, 3);
        assert_eq!(revisions(&engine), [1, 2, 3]);
        assert_eq!(revisions(&engine.crash()), [1, 2]);
    }

    #[test]
    fn a_view_outlives_the_crash() {
        let mut engine = ForgetfulEngine::new(Values::OnDisk);
        commit(&mut engine, 1);
        let view = engine.view();
        let engine = engine.crash();
        assert!(!engine.keeps_values_resident());
        assert!(view.record(Version::first_of(crate::Revision(1))).expect("memory").is_some());
        assert_eq!(revisions(&engine), Vec::<i64>::new());
    }
}
