//! What the `raft` crate logs through `slog` becomes events of `tracing`, one level quieter: its
//! warnings oblige nobody, and what does is said by us.

use slog::{Drain, Level, Never, OwnedKVList, Record};

/// A logger for the `raft` crate.
pub(super) fn logger() -> slog::Logger {
    slog::Logger::root(Bridge, slog::o!())
}

struct Bridge;

impl Drain for Bridge {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let message = record.msg();
        match record.level() {
            Level::Critical => tracing::error!(target: "raft", "{message}"),
            Level::Error => tracing::warn!(target: "raft", "{message}"),
            Level::Warning => tracing::info!(target: "raft", "{message}"),
            Level::Info => tracing::debug!(target: "raft", "{message}"),
            Level::Debug | Level::Trace => tracing::trace!(target: "raft", "{message}"),
        }
        Ok(())
    }
}
