//! Bounds of the server, each with its unit and its reason.

use std::time::Duration;

/// Inputs that one turn of the core thread takes together: bounds how long a turn holds up the
/// answers of its first request.
pub const CORE_INPUTS_PER_TURN: usize = 4096;

/// Removing garbage rests so many times as long as it takes while there is something else to do.
pub const SWEEP_REST: u32 = 3;

/// Lateness that a piece of that makes up for, so that none takes more than a third of it: longer than a turn
/// takes, shorter than a member is held up that was stopped and continued. No rest is longer, either.
pub const SWEEP_LATE_MAX: Duration = Duration::from_millis(300);

/// How soon the core thread looks again at garbage that a held view keeps from being removed; twice as
/// long each time, up to the second.
pub const SWEEP_RETRY: Duration = Duration::from_millis(1);
/// See [`SWEEP_RETRY`].
pub const SWEEP_RETRY_MAX: Duration = Duration::from_millis(64);

/// Answers after which a message to the thread of their connections leaves before the end of the turn:
/// a wake-up for so many costs nothing, and their thread need not wait for the rest.
pub const ANSWERS_PER_MESSAGE: usize = 64;

/// How often the core thread looks for requests that have waited too long or whose clients have gone: it
/// visits all that wait. A timeout is late by up to this.
pub const OVERDUE_LOOK: Duration = Duration::from_millis(250);

/// A block that no allocator serves from its small pages.
pub const ALLOCATOR_NUDGE_BYTES: usize = 1 << 20;

/// Longest wait for the log to come to rest at a stop, several times what a slow disk takes; a log that
/// was left restless is as good as after a crash.
pub const SETTLE_MAX: Duration = Duration::from_secs(30);

/// Pause between two looks at whether it has.
pub const SETTLE_POLL: Duration = Duration::from_millis(2);

/// Turns that wait for one watch stream before it has to go on from history.
pub const WATCH_QUEUE_INPUTS: usize = 128;

/// Snapshot files kept: the newest, and one to fall back to.
pub const SNAPSHOT_FILES_KEPT: usize = 2;

/// Deletions of history that an engine with files keeps in memory before it is asked to flush: readers
/// of the history step over each of them, which takes 10 ms for this many.
#[cfg(feature = "rocksdb")]
pub const UNFLUSHED_DELETIONS_MAX: u64 = 100_000;

/// Room that an engine with files must find on its disk, in write buffers: for the one that is being
/// flushed, the one that fills meanwhile, and what is written before the lack of room is noticed.
#[cfg(feature = "rocksdb")]
pub const BUFFERS_OF_ROOM: u64 = 3;

/// Log bytes after which the disk is looked at for room, whatever the time: a fast disk is full before a
/// clock strikes.
pub const ROOM_LOOK_BYTES: u64 = 256 << 10;

/// Bytes of a snapshot file read at a time.
pub const SNAPSHOT_READ_BYTES: usize = 1 << 20;

/// How long a client that is sent a part of the data may leave the next one unread. What it reads
/// from is kept for it meanwhile, and is in the way of compaction.
pub const UNREAD_VIEW_MAX: Duration = Duration::from_secs(600);

/// Pause between two attempts to publish a member that has just started.
pub const READY_POLL: Duration = Duration::from_millis(20);
