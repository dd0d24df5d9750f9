//! The engine that a test crashes while a state machine owns it. Another engine is tested by putting
//! another type of this name and these functions in its place.

use std::sync::{Arc, Mutex};

use state::LogIndex;
use state::engine::forgetful::{ForgetfulEngine, Values};
use state::engine::{Batch, Engine, EngineError, EngineSize, EngineView};

/// A [`ForgetfulEngine`] that keeps values to itself, with a handle for the test to crash it.
#[derive(Clone)]
pub(crate) struct CrashingEngine(Arc<Mutex<Option<ForgetfulEngine>>>);

impl CrashingEngine {
    pub(crate) fn new() -> CrashingEngine {
        CrashingEngine::of(ForgetfulEngine::new(Values::OnDisk))
    }

    fn of(engine: ForgetfulEngine) -> CrashingEngine {
        CrashingEngine(Arc::new(Mutex::new(Some(engine))))
    }

    fn with<T>(&self, work: impl FnOnce(&mut ForgetfulEngine) -> T) -> T {
        let mut engine = self.0.lock().expect("tests do not panic while they hold it");
        work(engine.as_mut().expect("not crashed yet"))
    }

    pub(crate) fn flush(&self) {
        self.with(ForgetfulEngine::flush);
    }

    /// A flush that lags behind: the oldest batches survive from now on.
    pub(crate) fn flush_oldest(&self, batches: usize) {
        self.with(|engine| engine.flush_oldest(batches));
    }

    pub(crate) fn unflushed(&self) -> usize {
        self.with(|engine| engine.unflushed())
    }

    /// What is left of the engine after a crash; this handle and its clones are dead.
    pub(crate) fn crash(&mut self) -> CrashingEngine {
        let engine = self.0.lock().expect("tests do not panic").take().expect("not crashed yet");
        let kept = CrashingEngine::of(engine.crash());
        *self = kept.clone();
        kept
    }
}

impl Engine for CrashingEngine {
    fn commit(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.with(|engine| engine.commit(batch))
    }

    fn view(&self) -> Arc<dyn EngineView> {
        self.with(|engine| engine.view())
    }

    fn durable_index(&self) -> LogIndex {
        self.with(|engine| engine.durable_index())
    }

    fn keeps_values_resident(&self) -> bool {
        self.with(|engine| engine.keeps_values_resident())
    }

    fn size(&self) -> EngineSize {
        self.with(|engine| engine.size())
    }
}
