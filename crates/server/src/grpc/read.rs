//! Reads of keys, without holding up the thread they run on.
//!
//! ```text
//! few keys ─────────────────────▶ read at once, where the request arrived
//! many keys in key order ───────▶ steps of a cursor, others run in between
//! many keys sorted or filtered ─▶ a thread of its own: nothing can be told before all are read
//! ```
//!
//! Connections share a few threads, each of which serves one thing at a time: a list of a gigabyte
//! must not delay the puts beside it.

use std::time::Instant;

use bytes::Bytes;
use state::command;
use state::mvcc::range::{RangeCursor, is_filtered, range};
use state::outcome::{RangeOutcome, TxnOutcome};

use super::Shell;
use super::convert::request::in_key_order;
use super::limits::{INLINE_READ_KEYS, READ_STEP_BYTES};
use super::status::EtcdError;
use crate::slow;

/// How a read is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Inline,
    Steps,
    Thread,
}

impl Shell {
    /// Reads keys.
    pub(super) async fn read(&self, request: command::Range) -> Result<RangeOutcome, EtcdError> {
        if !request.serializable {
            self.barrier().await?;
        }
        let begun = Instant::now();
        let outcome = match self.path(&request) {
            Path::Inline => range(self.handle.reader(), &request).map_err(EtcdError::of_read)?,
            Path::Steps => self.read_in_steps(request.clone()).await?,
            Path::Thread => {
                let (reader, request) = (self.handle.reader().clone(), request.clone());
                let read = on_a_thread(move || range(&reader, &request)).await?;
                read.map_err(EtcdError::of_read)?
            }
        };
        slow::read(begun, self.handle.settings().slow_read, &request, &outcome);
        Ok(outcome)
    }

    /// Evaluates a transaction that only reads; see `txn_kind` for when it needs the barrier.
    pub(super) async fn read_txn(&self, txn: command::Txn) -> Result<TxnOutcome, EtcdError> {
        let reader = self.handle.reader();
        let few = txn.success.iter().chain(&txn.failure).all(|op| match &op.operation {
            Some(command::TxnOperation::Range(range)) => self.path(range) == Path::Inline,
            _ => false,
        });
        if few {
            return state::txn::read_only(reader, &txn).map_err(EtcdError::of_read);
        }
        let reader = reader.clone();
        let outcome = on_a_thread(move || state::txn::read_only(&reader, &txn)).await?;
        outcome.map_err(EtcdError::of_read)
    }

    fn path(&self, request: &command::Range) -> Path {
        let keys = request.keys();
        let steps = in_key_order(request) && !is_filtered(request);
        let limit = u64::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let few = keys.as_single().is_some()
            || (request.count_only && !is_filtered(request))
            || (steps && limit.is_some_and(|limit| limit <= INLINE_READ_KEYS));
        // Counting costs a descent of the tree: only where the request does not tell.
        if few || self.handle.reader().latest().index().count(&keys) <= INLINE_READ_KEYS {
            Path::Inline
        } else if steps {
            Path::Steps
        } else {
            Path::Thread
        }
    }

    async fn read_in_steps(&self, request: command::Range) -> Result<RangeOutcome, EtcdError> {
        let cursor = RangeCursor::open(self.handle.reader(), request);
        let mut cursor = cursor.map_err(EtcdError::of_read)?;
        let mut kvs: Vec<Bytes> = Vec::new();
        loop {
            let step = cursor.next(READ_STEP_BYTES);
            let mut chunk = step.map_err(|error| EtcdError::of_storage(&error))?;
            if kvs.is_empty() {
                kvs = chunk.kvs;
            } else {
                kvs.append(&mut chunk.kvs);
            }
            if let Some(outcome) = chunk.end {
                return Ok(RangeOutcome { kvs, ..outcome });
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Runs work that takes long beside the threads of the connections. It fails only if the work
/// panics or the member stops.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EtcdError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_cancelled) => Err(EtcdError::Stopped),
    }
}
