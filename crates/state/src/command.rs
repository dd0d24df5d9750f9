//! Everything the log can say, and how it is written down.
//!
//! One entry of the raft log carries a *batch*: all commands that waited when the turn began, with
//! the cluster time at which the leader put them together.
//!
//! ```text
//! byte 0      format version, 1
//! bytes 1-8   cluster time in ms, little-endian
//! then        per command: length as a varint, the command as protobuf
//! ```
//!
//! The schema is ours, not etcd's: the log must stay readable for years whatever the wire does.
//! Field numbers are never reused; a command of a newer version than this program knows is a
//! [`CommandError`], which stops the member before it could apply half of what others applied.
//!
//! Requests are stored as the client meant them (a put that keeps the value says so), because only
//! the state at the time of apply can resolve them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::types::{ClusterTime, KeyRange, LeaseId, RequestId};

/// The version of the batch encoding that this program writes.
pub const BATCH_FORMAT: u8 = 1;
/// Bytes in front of the first command of a batch.
pub const BATCH_HEADER_BYTES: usize = 9;

/// One request on its way through the log.
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    /// Who waits for the answer; see [`Command::request_id`].
    #[prost(fixed64, tag = "1")]
    pub request: u64,
    /// The user on whose behalf it runs; absent without authentication and for our own commands.
    #[prost(message, optional, tag = "2")]
    pub caller: Option<Caller>,
    /// What to do.
    #[prost(oneof = "Operation", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21")]
    pub operation: Option<Operation>,
}

impl Command {
    /// A command without a caller.
    #[must_use]
    pub fn new(request: RequestId, operation: Operation) -> Command {
        Command { request: request.0, caller: None, operation: Some(operation) }
    }

    /// Who waits for the answer.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        RequestId(self.request)
    }
}

/// The user a command acts for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Caller {
    /// Name of the user.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Revision of the auth store when the user was identified.
    #[prost(uint64, tag = "2")]
    pub auth_revision: u64,
}

/// What a command does.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Operation {
    /// Set one key.
    #[prost(message, tag = "10")]
    Put(Put),
    /// Delete the keys of a range.
    #[prost(message, tag = "11")]
    DeleteRange(DeleteRange),
    /// Compare, then do one of two lists.
    #[prost(message, tag = "12")]
    Txn(Txn),
    /// Give up reading below a revision.
    #[prost(message, tag = "13")]
    Compact(Compact),
    /// Create a lease.
    #[prost(message, tag = "14")]
    LeaseGrant(LeaseGrant),
    /// End a lease at a client's wish and delete its keys.
    #[prost(message, tag = "15")]
    LeaseRevoke(LeaseRevoke),
    /// End leases whose time is over, unless they were renewed meanwhile.
    #[prost(message, tag = "16")]
    LeaseExpire(LeaseExpire),
    /// Record renewals.
    #[prost(message, tag = "17")]
    LeaseRenew(LeaseRenew),
    /// List, raise or clear alarms.
    #[prost(message, tag = "18")]
    Alarm(Alarm),
    /// A member tells its name and client URLs.
    #[prost(message, tag = "19")]
    Publish(Publish),
    /// The leader decides the cluster version.
    #[prost(message, tag = "20")]
    ClusterVersion(ClusterVersion),
    /// Read keys, at this place in the order of all commands; only inside a transaction.
    #[prost(message, tag = "21")]
    Range(Range),
}

/// A read of keys, as `RangeRequest` of etcd means it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Range {
    /// First key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// See [`KeyRange::from_request`].
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// At most so many keys; 0 and below: no limit.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// The revision to read at; 0 and below: the newest.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// 0 none, 1 ascending, 2 descending.
    #[prost(int32, tag = "5")]
    pub sort_order: i32,
    /// 0 key, 1 version, 2 create revision, 3 mod revision, 4 value.
    #[prost(int32, tag = "6")]
    pub sort_target: i32,
    /// Leave the values out.
    #[prost(bool, tag = "7")]
    pub keys_only: bool,
    /// Only count.
    #[prost(bool, tag = "8")]
    pub count_only: bool,
    /// Bounds on the revisions of the keys, inclusive; 0: no bound.
    #[prost(int64, tag = "9")]
    pub min_mod_revision: i64,
    /// See `min_mod_revision`.
    #[prost(int64, tag = "10")]
    pub max_mod_revision: i64,
    /// See `min_mod_revision`.
    #[prost(int64, tag = "11")]
    pub min_create_revision: i64,
    /// See `min_mod_revision`.
    #[prost(int64, tag = "12")]
    pub max_create_revision: i64,
    /// The client accepts a stale answer. Decides only how the read gets its revision.
    #[prost(bool, tag = "13")]
    pub serializable: bool,
}

impl Range {
    /// The keys it names.
    #[must_use]
    pub fn keys(&self) -> KeyRange {
        KeyRange::from_request(self.key.clone(), self.range_end.clone())
    }
}

/// Set one key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Put {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its new value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The lease to attach it to; see [`Put::lease_id`].
    #[prost(int64, tag = "3")]
    pub lease: i64,
    /// Answer with what was there before.
    #[prost(bool, tag = "4")]
    pub prev_kv: bool,
    /// Keep the value that is there.
    #[prost(bool, tag = "5")]
    pub ignore_value: bool,
    /// Keep the lease that is there.
    #[prost(bool, tag = "6")]
    pub ignore_lease: bool,
}

impl Put {
    /// The lease to attach the key to.
    #[must_use]
    pub fn lease_id(&self) -> LeaseId {
        LeaseId(self.lease)
    }
}

/// Delete the keys of a range.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteRange {
    /// First key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// See [`KeyRange::from_request`].
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// Answer with what was there before.
    #[prost(bool, tag = "3")]
    pub prev_kv: bool,
}

impl DeleteRange {
    /// The keys it names.
    #[must_use]
    pub fn keys(&self) -> KeyRange {
        KeyRange::from_request(self.key.clone(), self.range_end.clone())
    }
}

/// Compare, then do one of two lists.
#[derive(Clone, PartialEq, Message)]
pub struct Txn {
    /// All must hold for `success` to be done.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// Done in order if all compares hold.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<TxnOp>,
    /// Done in order otherwise.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<TxnOp>,
}

/// One step of a transaction.
#[derive(Clone, PartialEq, Message)]
pub struct TxnOp {
    /// What to do; a server never logs an empty one.
    #[prost(oneof = "TxnOperation", tags = "1, 2, 3, 4")]
    pub operation: Option<TxnOperation>,
}

/// What a step of a transaction does.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum TxnOperation {
    /// Read keys.
    #[prost(message, tag = "1")]
    Range(Range),
    /// Set one key.
    #[prost(message, tag = "2")]
    Put(Put),
    /// Delete the keys of a range.
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRange),
    /// A transaction inside.
    #[prost(message, tag = "4")]
    Txn(Txn),
}

/// A condition on one key or on all keys of a range.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Compare {
    /// First key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// See [`KeyRange::from_request`].
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// 0 equal, 1 greater, 2 less, 3 not equal; others hold always, as in etcd.
    #[prost(int32, tag = "3")]
    pub result: i32,
    /// 0 version, 1 create revision, 2 mod revision, 3 value, 4 lease; others count as equal.
    #[prost(int32, tag = "4")]
    pub target: i32,
    /// What a number is compared with: the operand that belongs to `target`, or 0.
    #[prost(int64, tag = "5")]
    pub number: i64,
    /// What a value is compared with: the operand that belongs to `target`, or empty.
    #[prost(bytes = "bytes", tag = "6")]
    pub value: Bytes,
}

impl Compare {
    /// The keys it names.
    #[must_use]
    pub fn keys(&self) -> KeyRange {
        KeyRange::from_request(self.key.clone(), self.range_end.clone())
    }
}

/// Give up reading below a revision.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Compact {
    /// The lowest revision that stays readable.
    #[prost(int64, tag = "1")]
    pub revision: i64,
}

/// Create a lease.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LeaseGrant {
    /// Chosen by the client or by the member that took the request.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// As asked for, in seconds.
    #[prost(int64, tag = "2")]
    pub ttl_s: i64,
    /// What a smaller one is raised to, in seconds: part of the command so that members with
    /// different settings still agree.
    #[prost(int64, tag = "3")]
    pub ttl_min_s: i64,
}

/// End a lease at a client's wish.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LeaseRevoke {
    /// Which.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// End leases whose time is over.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LeaseExpire {
    /// Which. One that has been renewed past the batch's time stays.
    #[prost(int64, repeated, tag = "1")]
    pub ids: Vec<i64>,
    /// The term of the leader that says so; refused once the term has moved.
    #[prost(uint64, tag = "2")]
    pub term: u64,
}

/// Record renewals, in bulk.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LeaseRenew {
    /// Which leases.
    #[prost(int64, repeated, tag = "1")]
    pub ids: Vec<i64>,
    /// The cluster time of each renewal, in the same order.
    #[prost(uint64, repeated, tag = "2")]
    pub at_ms: Vec<u64>,
}

/// List, raise or clear alarms.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Alarm {
    /// 0 list, 1 raise, 2 clear.
    #[prost(int32, tag = "1")]
    pub action: i32,
    /// Whose alarm.
    #[prost(uint64, tag = "2")]
    pub member: u64,
    /// 0 any, 1 NOSPACE, 2 CORRUPT.
    #[prost(int32, tag = "3")]
    pub alarm: i32,
}

/// A member tells how it can be reached.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Publish {
    /// Which member.
    #[prost(uint64, tag = "1")]
    pub member: u64,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where clients reach it.
    #[prost(string, repeated, tag = "3")]
    pub client_urls: Vec<String>,
}

/// The leader decides the cluster version.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ClusterVersion {
    /// `major.minor.patch`.
    #[prost(string, tag = "1")]
    pub version: String,
}

/// Starts the encoding of a batch; commands are added with [`push_command`].
#[must_use]
pub fn begin_batch(time: ClusterTime) -> BytesMut {
    let mut batch = BytesMut::with_capacity(512);
    batch.put_u8(BATCH_FORMAT);
    batch.put_u64_le(time.0);
    batch
}

/// Adds one encoded command to a batch.
pub fn push_command(batch: &mut BytesMut, command: &[u8]) {
    batch.reserve(command.len() + 5);
    prost::encoding::encode_varint(command.len() as u64, batch);
    batch.put_slice(command);
}

/// The cluster time of a batch, without decoding its commands.
///
/// # Errors
/// The bytes are not a batch that this program can read.
pub fn batch_time(batch: &[u8]) -> Result<ClusterTime, CommandError> {
    match batch {
        [BATCH_FORMAT, rest @ ..] if rest.len() >= 8 => {
            let time = rest[..8].try_into().expect("eight bytes");
            Ok(ClusterTime(u64::from_le_bytes(time)))
        }
        [] => Err(CommandError::Torn),
        [BATCH_FORMAT, ..] => Err(CommandError::Torn),
        [version, ..] => Err(CommandError::Format { version: *version }),
    }
}

/// Decodes a batch. Keys and values share the memory of `batch`.
///
/// # Errors
/// The bytes are not a batch that this program can read.
pub fn decode_batch(mut batch: Bytes) -> Result<(ClusterTime, Vec<Command>), CommandError> {
    let time = batch_time(&batch)?;
    batch.advance(BATCH_HEADER_BYTES);
    let mut commands = Vec::new();
    while batch.has_remaining() {
        let len = prost::encoding::decode_varint(&mut batch).map_err(|_| CommandError::Torn)?;
        let len = usize::try_from(len).map_err(|_| CommandError::Torn)?;
        if len > batch.remaining() {
            return Err(CommandError::Torn);
        }
        let command = Command::decode(batch.split_to(len))?;
        let known = match &command.operation {
            None => false,
            Some(Operation::Txn(txn)) => knows_all_steps(txn),
            Some(_) => true,
        };
        if !known {
            return Err(CommandError::Unknown { request: command.request_id() });
        }
        commands.push(command);
    }
    Ok((time, commands))
}

/// Whether no step of a transaction, nested ones included, is of a kind that only a newer program
/// knows. The depth is bounded: protobuf decoding refuses a hundred levels.
fn knows_all_steps(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match &op.operation {
        None => false,
        Some(TxnOperation::Txn(inner)) => knows_all_steps(inner),
        Some(_) => true,
    })
}

/// The log says something this program cannot read.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A newer program wrote it.
    #[error("the log holds a batch of format {version}, this program reads {BATCH_FORMAT}")]
    Format {
        /// The format it has.
        version: u8,
    },
    /// It ends inside a command.
    #[error("a batch ends inside a command")]
    Torn,
    /// A command is not protobuf.
    #[error("decode a command")]
    Command(#[from] prost::DecodeError),
    /// A newer program wrote it.
    #[error("{request} asks for an operation that this program does not know")]
    Unknown {
        /// Which request.
        request: RequestId,
    },
}
