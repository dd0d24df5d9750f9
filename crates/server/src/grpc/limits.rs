//! Bounds of the gRPC shell, each with its unit and its reason.

use std::time::Duration;

/// Bytes of requests that handlers work on at the same time, over all connections. More is answered
/// with "too many requests". Far above what a healthy member ever has in flight: it bounds memory,
/// not load.
pub const IN_FLIGHT_BYTES_MAX: u64 = 256 << 20;
const _: () = assert!(IN_FLIGHT_BYTES_MAX > crate::config::REQUEST_BYTES_MAX);

/// Charged for each request on top of its own bytes: what a task and its answer take.
pub const REQUEST_OVERHEAD_BYTES: u64 = 512;

/// What gRPC's framing and metadata may add to a request of the configured size; etcd's number.
pub const GRPC_OVERHEAD_BYTES: usize = 512 << 10;

/// Levels of transactions inside transactions. A log entry nests one message deeper than the
/// request, and both decoders stop at 100 messages, two per level: what is accepted here can be
/// read back from the log.
pub const TXN_DEPTH_MAX: usize = 40;
const _: () = assert!(2 * TXN_DEPTH_MAX + 4 < 100);

/// A read of up to so many keys is done at once; above, in steps, so that the connections which
/// share the thread are not held up.
pub const INLINE_READ_KEYS: u64 = 256;

/// Bytes of key-values that one step of a read collects. Some 100 µs of work: a put whose connection
/// shares the thread waits no longer.
pub const READ_STEP_BYTES: usize = 512 << 10;

/// Bytes of key-values in one message of a range stream, and of one step of its work. Two of them are
/// in memory at most.
pub const STREAM_CHUNK_BYTES: usize = 128 << 10;

/// Bytes of key-values up to which the answer to a read is encoded at once.
pub const WHOLE_RESPONSE_BYTES: usize = 512 << 10;

/// Bytes of key-values in each piece of a larger one: the time a step of a stream takes, too.
pub const PIECE_BYTES: usize = STREAM_CHUNK_BYTES;

/// Bytes of the first message of a range stream: small, so that the client can begin.
pub const STREAM_FIRST_CHUNK_BYTES: usize = 16 << 10;

/// How many times as long as it works a long stream rests while others come in.
pub const REST: u32 = 3;

/// What a long stream works before it looks whether to rest: as long as a put may wait for. A rest is at
/// least a millisecond, by which the runtime's clock ticks.
pub const WORK_MIN: Duration = Duration::from_micros(250);

/// The longest turn that counts: a message of [`STREAM_CHUNK_BYTES`] takes as long to make and send. More is
/// waiting for the client, which costs nobody anything and earns no rest.
pub const TURN_MAX: Duration = Duration::from_micros(200);

/// Bytes of data in one message of a snapshot; etcd's number.
pub const SNAPSHOT_MESSAGE_BYTES: usize = 32 << 10;

/// Chunks of a snapshot (about 128 KiB each) that are read before the client has taken the ones
/// before: hides the time of a hand-over between threads.
pub const SNAPSHOT_CHUNKS_AHEAD: usize = 2;

/// Clients tell a snapshot with a checksum by its size: the data is a multiple of this, and the 32
/// bytes of the checksum follow.
pub const SNAPSHOT_BLOCK_BYTES: u64 = 512;

/// Bytes of watch responses that are handed to the connection together. A client that stops reading
/// holds about two of them.
pub const WATCH_OUTBOX_BYTES: usize = 256 << 10;

/// Watch responses that are handed over together: bounds the time a stream works without looking
/// at its requests.
pub const WATCH_OUTBOX_RESPONSES: usize = 1024;

/// Requests of a watch stream that are taken together if they are there: their answers stay far below
/// [`WATCH_OUTBOX_BYTES`], and the thread serves others after some 50 µs.
pub const WATCH_REQUESTS_TOGETHER: usize = 64;
