//! Brings a checkpoint into an engine.
//!
//! ```text
//! next() ─▶ CheckpointReader ─▶ commit, commit, … ─▶ end seen ─▶ last commit: the rows of meta
//! ```
//!
//! What it does not do: it does not clear an engine. After an error, or a crash before the last
//! commit, the engine holds rubbish without a row `APPLIED`: throw it away and begin with a new one.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{CheckpointError, CheckpointHeader, CheckpointReader, PAYLOAD_BYTES_MAX};
use crate::engine::{Batch, Engine, EngineError, EngineView};
use crate::schema::Table;
use crate::types::{Revision, Version};

/// Why a state could not be restored. `E` is what the source of the bytes can fail with.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError<E: std::error::Error + 'static> {
    /// The bytes did not come.
    #[error("fetch the checkpoint")]
    Source(#[source] E),
    /// The bytes are not a sound checkpoint.
    #[error("read the checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// The engine failed.
    #[error("fill the engine from the checkpoint")]
    Engine(#[source] EngineError),
    /// The engine holds something already.
    #[error("the engine to restore into is not empty")]
    NotEmpty,
}

/// Fills an empty engine from the stream whose pieces `next` gives, of any size; `None` is its end.
///
/// Commits about 128 KiB at a time, so that memory stays bounded whatever the size of the stream.
///
/// # Errors
/// See [`RestoreError`]; the engine must be thrown away then.
pub fn restore<E: std::error::Error + 'static>(
    next: &mut dyn FnMut() -> Result<Option<Bytes>, E>,
    engine: &mut dyn Engine,
) -> Result<CheckpointHeader, RestoreError<E>> {
    if !is_empty(&*engine.view()).map_err(RestoreError::Engine)? {
        return Err(RestoreError::NotEmpty);
    }
    let mut reader = CheckpointReader::new();
    while let Some(bytes) = next().map_err(RestoreError::Source)? {
        for piece in bytes.chunks(PAYLOAD_BYTES_MAX) {
            let mut batch = Batch::default();
            reader.push(piece, &mut batch)?;
            if !batch.writes.is_empty() {
                engine.commit(batch).map_err(RestoreError::Engine)?;
            }
        }
    }
    let mut batch = Batch::default();
    let summary = reader.finish(&mut batch)?;
    engine.commit(batch).map_err(RestoreError::Engine)?;
    Ok(summary.header)
}

fn is_empty(view: &dyn EngineView) -> Result<bool, EngineError> {
    let mut is_empty = true;
    for table in Table::ALL {
        view.scan(table, b"", &mut |_, _| {
            is_empty = false;
            ControlFlow::Break(())
        })?;
    }
    let end = Version { main: Revision::MAX, sub: u32::MAX };
    view.scan_history(Version::default(), end, &mut |_| {
        is_empty = false;
        ControlFlow::Break(())
    })?;
    Ok(is_empty)
}
