//! Everything apply and reads can answer.

use bytes::Bytes;

use crate::mvcc::record::Record;
use crate::types::{LeaseId, MemberId, Revision};

/// The answer to one command: the same on every member, whatever it is.
pub type Applied = Result<Outcome, Refusal>;

/// What a command did.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A put.
    Put(PutOutcome),
    /// A range deletion.
    DeleteRange(DeleteOutcome),
    /// A transaction.
    Txn(TxnOutcome),
    /// A compaction: from now on nothing below its revision can be read.
    Compact,
    /// A lease exists.
    LeaseGrant {
        /// Its id.
        id: LeaseId,
        /// Its lifetime in seconds, as raised to the minimum.
        ttl_s: i64,
    },
    /// A lease is gone.
    LeaseRevoke,
    /// The alarms that the request concerns.
    Alarm(Vec<AlarmMember>),
    /// One of the cluster's own commands has been carried out.
    Done,
}

/// What a put did.
#[derive(Clone, Debug)]
pub struct PutOutcome {
    /// The revision of the put.
    pub revision: Revision,
    /// What was there before, if asked for.
    pub prev_kv: Option<Bytes>,
}

/// What a range deletion did.
#[derive(Clone, Debug)]
pub struct DeleteOutcome {
    /// The revision of the deletion, or of the store if nothing was there.
    pub revision: Revision,
    /// How many keys are gone.
    pub deleted: i64,
    /// What was there before, in key order, if asked for.
    pub prev_kvs: Vec<Bytes>,
}

/// What a read found.
#[derive(Clone, Debug, Default)]
pub struct RangeOutcome {
    /// The revision of the store when it was read, not the one asked for.
    pub revision: Revision,
    /// `KeyValue` messages as they go out on the wire.
    pub kvs: Vec<Bytes>,
    /// The limit left keys out.
    pub more: bool,
    /// Live keys in the range, whatever limit and filters.
    pub count: i64,
}

/// What a transaction did.
#[derive(Clone, Debug)]
pub struct TxnOutcome {
    /// The new revision if anything changed, else that of the store.
    pub revision: Revision,
    /// Whether the compares held.
    pub succeeded: bool,
    /// One per step of the list that was done.
    pub responses: Vec<TxnResponse>,
}

/// What a step of a transaction did.
#[derive(Clone, Debug)]
pub enum TxnResponse {
    /// A read; its revision is what the inner header shows.
    Range(RangeOutcome),
    /// A put.
    Put(PutOutcome),
    /// A range deletion.
    DeleteRange(DeleteOutcome),
    /// A transaction inside; its inner header stays empty.
    Txn(TxnOutcome),
}

/// One active alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmMember {
    /// Who raised it.
    pub member: MemberId,
    /// What is wrong.
    pub alarm: AlarmType,
}

/// What is wrong, by etcd's number. Any can be raised, listed and cleared; those that have no name here
/// do nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmType(i32);

impl AlarmType {
    /// The quota is used up: the cluster refuses to grow.
    pub const NO_SPACE: AlarmType = AlarmType(1);
    /// Members disagree about the data: the cluster refuses to change it.
    pub const CORRUPT: AlarmType = AlarmType(2);

    /// Reads etcd's number; 0 ("none") is `None`.
    #[must_use]
    pub fn from_number(number: i32) -> Option<AlarmType> {
        (number != 0).then_some(AlarmType(number))
    }

    /// etcd's number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

/// Why a command or a read was refused. Nothing has changed (see [`Refusal::NoSpace`] for the one
/// exception).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The revision can no longer be read.
    #[error("required revision has been compacted")]
    Compacted,
    /// The revision does not exist yet.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// The quota is used up. If the command was applied while it reached the quota it *has* taken
    /// effect, as in etcd.
    #[error("database space exceeded")]
    NoSpace,
    /// A CORRUPT alarm is active.
    #[error("corrupt cluster")]
    Corrupt,
    /// The key that a put wants to keep parts of is absent.
    #[error("key not found")]
    KeyNotFound,
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// The lease id is taken.
    #[error("lease already exists")]
    LeaseExists,
    /// The lease would live too long.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// The leader that decided this is no longer leader.
    #[error("leader changed")]
    StaleTerm,
    /// The action of an alarm request is not one.
    #[error("unknown alarm action")]
    UnknownAlarmAction,
}

/// One change that a command made, for watchers.
#[derive(Clone, Debug)]
pub struct Event {
    /// The new version of the key.
    pub record: Record,
    /// The version before it, if it was a put and is still known.
    pub previous: Option<Record>,
}
