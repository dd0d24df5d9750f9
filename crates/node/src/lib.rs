//! How members agree on the data: raft, its log, and the application of what was decided.

// In reading order.
pub mod messages;

pub mod applier;
pub mod compactor;
pub mod consensus;
pub mod lessor;
pub mod wal;

pub mod limits;
