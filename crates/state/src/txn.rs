//! Stand-in for transactions: signatures only.

use crate::command;
use crate::outcome::{Refusal, TxnOutcome};
use crate::view::Reader;

/// Evaluates a transaction that only reads.
///
/// # Errors
/// A revision cannot be read.
#[allow(unused_variables, clippy::todo, clippy::missing_panics_doc)]
pub fn read_only(reader: &Reader, txn: &command::Txn) -> Result<TxnOutcome, Refusal> {
    todo!()
}
