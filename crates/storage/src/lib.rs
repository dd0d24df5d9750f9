//! Where bytes live: the data directory, the log's files and the snapshot files.
//!
//! ```text
//!   <data-dir>/            data_dir    one member's, stamped and locked
//!     MANIFEST  LOCK
//!     log/                 log_disk    segments of the raft log, two durable writes in flight
//!     snap/                snapshots   whole states, newest first
//!     rocksdb/             rocks       the engine for data larger than memory (feature `rocksdb`)
//! ```
//!
//! Start with [`data_dir::DataDir::open`]: it gives the folders that [`log_disk::LogDir`] and
//! [`snapshots::SnapshotFiles`] work in.
//!
//! A member that starts reads its log, or begins one, by [`log_start::LogStart`].
//!
//! This crate moves bytes. What they say, records, checksums and the meaning of a snapshot, belongs to
//! `node`, which it asks only whether there is a log. It is synchronous; the log disk brings threads of its own.

pub mod data_dir;
pub mod files;
mod folder;
mod limits;
pub mod log_disk;
pub mod log_start;
#[cfg(feature = "rocksdb")]
pub mod rocks;
pub mod snapshots;

#[cfg(test)]
mod tests;
