//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Log writes that one thread makes durable with a single sync. More than that waits for the next
/// thread: an endless batch would never be acknowledged.
pub(crate) const LOG_BATCH_WRITES_MAX: usize = 64;

/// Log writes handed over and not yet reported. One more blocks the caller until the disk catches
/// up; a caller that batches what waits stays far below.
pub(crate) const LOG_WRITES_WAITING_MAX: usize = 1024;

/// Ready segments that are made in advance: the next one and the reserve for a full disk.
pub(crate) const LOG_SPARES_AHEAD: usize = 2;

/// Ready segments that are kept when released ones could be recycled. The two above what is made
/// in advance absorb a cut that frees several at once.
pub(crate) const LOG_SPARES_MAX: usize = 4;

/// How much of a ready segment is filled in one bite. The log's own sync waits behind one at most.
pub(crate) const LOG_FILL_BITE_BYTES: u64 = 256 << 10;

/// Time between two bites. A bite is left out if the log grew by more than one since the last: filling
/// keeps ahead of a log that grows by up to 2.5 MB/s, and leaves the disk to one that grows faster.
pub(crate) const LOG_FILL_PACE: Duration = Duration::from_millis(100);

/// A full disk is tried again this often. Seldom enough to cost nothing, often enough that an
/// operator who freed space sees the member recover at once.
pub(crate) const LOG_SPACE_RETRY: Duration = Duration::from_secs(1);

/// A large write is synced each time this much of it is dirty, so that the log's own sync never
/// waits behind more than this (see `examples/log_disk_bench.rs` for the measurement).
pub(crate) const PACED_SYNC_BYTES: u64 = 1 << 20;

/// RocksDB syncs a file it writes each time this much of it is dirty, for the same reason.
#[cfg(feature = "rocksdb")]
pub(crate) const ROCKS_SYNC_BYTES: u64 = PACED_SYNC_BYTES;

/// Files of 64 MiB that RocksDB keeps open: beyond that it opens one per look-up again.
#[cfg(feature = "rocksdb")]
pub(crate) const ROCKS_OPEN_FILES: i32 = 4096;

/// RocksDB's list of files begins anew at this size; it is read on opening.
#[cfg(feature = "rocksdb")]
pub(crate) const ROCKS_MANIFEST_BYTES: usize = 64 << 20;

/// What RocksDB's files take is asked for at most once in so many milliseconds: often enough for an
/// operator who waits for space, seldom enough not to be seen in a profile.
#[cfg(feature = "rocksdb")]
pub(crate) const ROCKS_LOOK_MS: u64 = 100;

/// RocksDB's own log of what it does; two files of this size are kept.
#[cfg(feature = "rocksdb")]
pub(crate) const ROCKS_LOG_FILE_BYTES: usize = 8 << 20;

/// A manifest is a few hundred bytes; what is longer is not ours and is not read into memory.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 10;
