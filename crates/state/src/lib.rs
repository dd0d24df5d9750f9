//! What the data is: the deterministic state machine of MetaStore.
//!
//! Feed two copies the same batches and they answer the same, hold the same bytes and hash the
//! same. Nothing here knows a thread, a socket, a file, a clock or a random number: cluster time
//! arrives in the batches, bytes live behind the [`engine::Engine`] port.

// In reading order.
pub mod types;

pub mod command;
pub mod outcome;

pub mod alarms;
pub mod apply;
pub mod lease;
pub mod members;
pub mod mvcc;
pub mod state;
pub mod txn;

pub mod view;
pub mod watch;

pub mod checkpoint;
pub mod engine;
pub mod limits;
pub mod schema;

pub use state::State;

pub use types::{
    ClusterId, ClusterTime, KeyRange, LeaseId, LogIndex, MemberId, RangeEnd, RequestId, Revision,
    Term, Version,
};
