//! What the data is: the deterministic state machine of MetaStore.
//!
//! Feed two copies the same batches and they answer the same, hold the same bytes and hash the
//! same. Nothing here knows a thread, a socket, a file, a clock or a random number: cluster time
//! arrives in the batches, bytes live behind the [`engine::Engine`] port.

pub mod checkpoint;
pub mod command;
pub mod engine;
pub mod limits;
pub mod members;
pub mod mvcc;
pub mod outcome;
pub mod schema;
pub mod txn;
pub mod types;
pub mod view;
pub mod watch;

pub use types::{
    ClusterId, ClusterTime, KeyRange, LeaseId, LogIndex, MemberId, RangeEnd, RequestId, Revision,
    Term, Version,
};
