//! Stand-in for the reads of keys: signatures only.

use bytes::Bytes;

use crate::command;
use crate::outcome::{RangeOutcome, Refusal};
use crate::view::Reader;

/// A read in steps.
pub struct RangeCursor {}

/// What one step found.
pub struct RangeChunk {
    /// `KeyValue` messages as they go out on the wire.
    pub kvs: Vec<Bytes>,
    /// Set with the last keys; its `kvs` are empty.
    pub done: Option<RangeOutcome>,
}

/// Reads keys.
///
/// # Errors
/// The revision cannot be read.
#[allow(unused_variables, clippy::todo, clippy::missing_panics_doc)]
pub fn range(reader: &Reader, request: &command::Range) -> Result<RangeOutcome, Refusal> {
    todo!()
}

#[allow(unused_variables, clippy::todo, clippy::missing_panics_doc)]
impl RangeCursor {
    /// Begins a read.
    ///
    /// # Errors
    /// The revision cannot be read.
    pub fn open(reader: &Reader, request: &command::Range) -> Result<RangeCursor, Refusal> {
        todo!()
    }

    /// Goes on with it.
    ///
    /// # Errors
    /// The view has been taken away.
    pub fn next(&mut self, max_bytes: usize) -> Result<RangeChunk, Refusal> {
        todo!()
    }
}
