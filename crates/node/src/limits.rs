//! Bounds of consensus and log, each with its unit and its reason.

/// Log writes on their way to disk at once. One is being synced while the next is being written;
/// a third would only wait behind the second and make its batch smaller.
pub const APPEND_SLOTS: usize = 2;

/// Bytes of commands that must wait before a write is begun beside one that is on its way. Each write
/// costs a sync and the rest of a block. With this bound a million puts by 512 clients took 541 bytes of
/// disk each, without it 597; with 4, 16 and 64 clients, throughput and latency were the same (measured
/// with twice the bound).
pub const COMPANY_BYTES: usize = 16 << 10;

/// Bytes of commands that one log entry may carry before the next entry is begun. Large enough to
/// amortise a sync, small enough that the first put of a full batch does not wait long for the
/// last. One command larger than this travels alone.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Bytes of commands that wait for a place in the log before clients are told to slow down.
pub const WAITING_BYTES_MAX: usize = 64 << 20;

/// Bytes of entries handed out for application and not yet applied, above which no new proposal
/// is taken: a slow engine fills the waiting room, not the memory.
pub const UNAPPLIED_BYTES_MAX: u64 = 64 << 20;

/// Bytes of entries proposed and not yet committed, as raft counts them: the data only.
pub const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;

/// Bytes of committed entries handed out at once.
pub const COMMITTED_BYTES_PER_READY_MAX: u64 = 8 << 20;

/// Bytes of entries handed out and not yet applied, above which no more are handed out: a start has
/// a whole log to apply, and what has been applied makes room for what follows.
pub const HANDED_OUT_BYTES_MAX: u64 = 16 << 20;

/// Bytes of entries in one message to a peer.
pub const PEER_MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// Unanswered append messages per peer.
pub const PEER_APPENDS_IN_FLIGHT_MAX: usize = 256;

/// Batches of reads that wait for a confirmation of leadership.
pub const READS_PENDING_MAX: usize = 1024;

/// Ticks without a write after which a marker covers what was written last.
pub const IDLE_TICKS: u32 = 5;

/// Ticks between heartbeats and the least number of silent ticks before an election.
pub const HEARTBEAT_TICKS: usize = 1;
/// See [`HEARTBEAT_TICKS`].
pub const ELECTION_TICKS: usize = 10;

/// Bytes of a log segment, unless one record alone is larger.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// Bytes of applied entries kept in memory for followers that are a little behind.
pub const FOLLOWER_BYTES: u64 = 4 << 20;

/// Bytes of entries above the applied one that a start writes again so that older segments can go
/// at once.
pub const REWRITE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of one log record: a length above this is damage, not data.
pub const RECORD_BYTES_MAX: u32 = 1 << 30;

/// Numbers in messages of peers at or above this are nonsense; it leaves room for every sum.
pub const PEER_NUMBER_MAX: u64 = 1 << 62;

const _: () = assert!(BATCH_BYTES_MAX < WAITING_BYTES_MAX);
const _: () = assert!((BATCH_BYTES_MAX as u64) < SEGMENT_BYTES);
const _: () = assert!(REWRITE_BYTES_MAX < SEGMENT_BYTES);
const _: () = assert!(HEARTBEAT_TICKS < ELECTION_TICKS);

/// Milliseconds of cluster time that the log's newest renewal of a lease speaks for: renewals within
/// it are answered without being logged, and a lease that a new leader inherits ends later by it.
pub const LEASE_RENEWAL_GRACE_MS: u64 = 1000;

/// With leases, cluster time reaches the log at least this often, in milliseconds, however idle the
/// member: time that the log does not know does not count after a restart, and leases end late by it.
pub const LEASE_TIME_MARK_MS: u64 = 5000;

/// A command of the member's own that has not been applied is proposed again after this, in
/// milliseconds: etcd's request timeout at default settings.
pub const OWN_COMMAND_RETRY_MS: u64 = 7000;

/// How long the member's own commands wait once the log has refused one, in milliseconds: long enough
/// for the disk to take something in between, short enough for a client that waits.
pub const OWN_COMMAND_PAUSE_MS: u64 = 100;

/// Longest time between two automatic compactions of a policy by time, in milliseconds; etcd's.
pub const COMPACTION_INTERVAL_MS_MAX: u64 = 60 * 60 * 1000;

/// Time between two automatic compactions of a policy by revisions, in milliseconds; etcd's.
pub const COMPACTION_REVISIONS_INTERVAL_MS: u64 = 5 * 60 * 1000;

/// Answers that one turn of the applier gathers before it shows what it has done: more than any
/// turn has with clients, so that only a replay is cut into pieces.
pub const ANSWERS_PER_PUBLISH: usize = 16_384;
