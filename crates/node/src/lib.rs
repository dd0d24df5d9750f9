//! How members agree on the data: raft, its log, and the application of what was decided.

pub mod applier;
pub mod consensus;
pub mod lessor;
pub mod limits;
pub mod messages;
pub mod wal;
