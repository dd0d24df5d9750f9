//! The whole conversation between the two machines, the disk, the peers and the clients.
//!
//! ```text
//!   clients ── Propose, ReadIndex ─▶ Consensus ── Apply ─▶ Applier ── Reply, Deliver ─▶ clients
//!   peers ──── Peer ───────────────▶    │  ▲                  │
//!   disk ◀──── Append, Release ─────────┘  └── Applied, ──────┘
//!        ───── Persisted ──────────────▶       Checkpointed, Propose
//! ```
//!
//! Time enters with each turn as milliseconds of a clock that never runs backwards.

use std::collections::BTreeSet;

use bytes::Bytes;
use state::apply::{Answer, Entry};
use state::watch::HubInput;
use state::{LeaseId, LogIndex, MemberId, RequestId, Term};

/// What happens to a `Consensus`.
#[derive(Debug)]
pub enum ConsensusInput {
    /// A heartbeat interval has passed.
    Tick,
    /// Put this encoded [`state::command::Command`] into the log.
    Propose {
        /// Who waits for it.
        request: RequestId,
        /// The command.
        command: Bytes,
    },
    /// Put a change of the membership into the log.
    ProposeMembership {
        /// Who waits for it.
        request: RequestId,
        /// What becomes of whom.
        change: MembershipChange,
        /// What the applier shall know about it, opaque to the consensus: an encoded member row.
        context: Bytes,
    },
    /// Tell when a read that begins now would see every write acknowledged before.
    ReadIndex(ReadBatch),
    /// A message of another member.
    Peer(Bytes),
    /// The log write of this number, and all before it, will survive a crash.
    Persisted {
        /// See [`LogWrite::number`].
        number: u64,
    },
    /// The applier has done everything up to here.
    Applied {
        /// The last entry done.
        index: LogIndex,
    },
    /// The state at this entry has been made durable outside the log, which may be cut below it.
    Checkpointed {
        /// The entry.
        index: LogIndex,
    },
}

/// What becomes of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// It votes.
    Voter(MemberId),
    /// It receives the log and does not vote.
    Learner(MemberId),
    /// It belongs to the cluster no longer.
    Removed(MemberId),
}

impl MembershipChange {
    /// Whom it concerns.
    #[must_use]
    pub fn member(self) -> MemberId {
        match self {
            MembershipChange::Voter(member)
            | MembershipChange::Learner(member)
            | MembershipChange::Removed(member) => member,
        }
    }
}

/// Names one round of confirming leadership; never used twice by a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadBatch(pub u64);

/// What a `Consensus` wants done.
#[derive(Debug)]
pub enum ConsensusOutput {
    /// Write this to the log; answer with [`ConsensusInput::Persisted`], in order.
    Append(LogWrite),
    /// The log no longer needs the segments before this one: they may be reused.
    Release {
        /// The oldest segment still needed.
        first: SegmentId,
    },
    /// These segments hold nothing that counts, whatever their place in the order.
    Discard {
        /// The segments.
        segments: Vec<SegmentId>,
    },
    /// The log begins anew behind a snapshot that has been received: replace the data by it, then
    /// answer with [`ConsensusInput::Applied`]. Its file is durable, and so is the log's word of it.
    Install {
        /// The last entry that the snapshot contains.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// Voters and learners at that entry, in the encoding that `Consensus::open` takes.
        conf_state: Bytes,
    },
    /// Send to a peer.
    Send {
        /// Who.
        to: MemberId,
        /// What; opaque to the shell.
        message: Bytes,
    },
    /// These entries are decided: apply them in order.
    Apply(Vec<Committed>),
    /// Reads of this batch may be served once this entry is applied.
    ReadAt {
        /// Which reads.
        batch: ReadBatch,
        /// The entry.
        index: LogIndex,
    },
    /// Leadership changed before the batch was confirmed: ask again under a new name.
    ReadLost(ReadBatch),
    /// The proposal did not enter the log.
    Refused {
        /// Whose.
        request: RequestId,
        /// Why.
        why: Refused,
    },
    /// The member's standing in its cluster has changed.
    Standing(Standing),
}

/// Why a proposal did not enter the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much is waiting already.
    #[error("too many requests in flight")]
    Overloaded,
    /// Nobody leads.
    #[error("no leader")]
    NoLeader,
    /// Another change of the membership has not been applied yet.
    #[error("a membership change is in progress")]
    MembershipPending,
    /// A leader does not remove itself: it hands over first.
    #[error("the leader cannot be removed")]
    LeaderRemoval,
}

/// What happens to an `Applier`.
#[derive(Debug)]
pub enum ApplierInput {
    /// These entries are decided.
    Apply(Vec<Committed>),
    /// The member's standing has changed.
    Standing(Standing),
    /// A question about leases or sweeping.
    Query {
        /// Who waits.
        request: RequestId,
        /// What for.
        query: Query,
    },
    /// A watch stream begins or ends its interest in keys.
    Watch(HubInput),
    /// One of the member's own commands did not enter the log.
    Refused(RequestId),
    /// Nobody waits any more for the answers to these queries.
    Withdrawn(BTreeSet<RequestId>),
    /// A disk is full, the log's or the engine's: the cluster must not grow the data.
    LogFull,
}

/// A question that only the owner of the data can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Renew a lease.
    KeepAlive(LeaseId),
    /// How long a lease lives, and with which keys if the flag is set.
    TimeToLive(LeaseId, bool),
    /// All leases.
    Leases,
    /// Wait until everything superseded so far has been removed.
    Swept,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryAnswer {
    /// To [`Query::KeepAlive`]: the lifetime in seconds; `None` if there is no such lease.
    KeepAlive(Option<i64>),
    /// To [`Query::TimeToLive`]; `None` if there is no such lease.
    TimeToLive(Option<LeaseInfo>),
    /// To [`Query::Leases`]: first those that end first.
    Leases(Vec<LeaseId>),
    /// To [`Query::Swept`].
    Swept,
    /// Only the leader knows.
    NotLeader,
}

/// What is known of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Granted lifetime in seconds.
    pub granted_s: i64,
    /// Whole seconds until it ends; 0 or below if its end is on the way.
    pub remaining_s: i64,
    /// Its keys, if asked for.
    pub keys: Vec<Bytes>,
}

/// What an `Applier` wants done.
#[derive(Debug)]
pub enum ApplierOutput {
    /// The answer to a command, with the term of its entry.
    Reply(Answer, Term),
    /// The answer to a query.
    Answer(RequestId, QueryAnswer),
    /// Put this command into the log, on the member's own account.
    Propose(RequestId, Bytes),
    /// Everything up to this entry is done.
    Applied(LogIndex),
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The current term.
    pub term: Term,
    /// Who leads it; `None` if nobody is known to.
    pub leader: Option<MemberId>,
    /// Whether it is this member.
    pub is_leader: bool,
    /// This member leads, is the only voter and has committed an entry of its term: then whatever
    /// it has applied is the newest there is, and reads need no round.
    pub sole_voter: bool,
    /// The highest entry known to be decided.
    pub committed: LogIndex,
}

/// An entry that the cluster has decided.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its place in the log.
    pub index: LogIndex,
    /// The term in which it was proposed.
    pub term: Term,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A new leader's first entry: nothing.
    Empty,
    /// A batch of commands; see [`state::command::decode_batch`].
    Batch(Bytes),
    /// The membership changed; the consensus has taken note already.
    Membership(Membership),
}

impl From<Payload> for Entry {
    fn from(payload: Payload) -> Entry {
        match payload {
            Payload::Empty => Entry::Empty,
            Payload::Batch(batch) => Entry::Batch(batch),
            Payload::Membership(change) => Entry::Membership {
                member: change.member,
                row: change.context,
                conf_state: change.conf_state,
            },
        }
    }
}

/// A change of the membership.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The member concerned.
    pub member: MemberId,
    /// What the proposer said about it, opaque to the consensus: an encoded member row.
    pub context: Bytes,
    /// Voters and learners after the change, in the encoding that `Consensus::open` takes.
    pub conf_state: Bytes,
}

/// Names a log segment; ascending, never used twice by a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// One write to the log. Writes are numbered from 1 and never overlap; the next may be started
/// before this one is durable, but each is acknowledged only after all before it.
#[derive(Clone, Debug)]
pub struct LogWrite {
    /// Its number.
    pub number: u64,
    /// The segment it belongs to. A segment that has not been named before is a new one.
    pub segment: SegmentId,
    /// Where in the segment, in bytes.
    pub offset: u64,
    /// The bytes, framed with length and checksum.
    pub bytes: Bytes,
}

/// The member must stop: its disk or its invariants can no longer be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log holds something that cannot be.
    #[error("consensus: {0}")]
    Consensus(String),
    /// The storage engine failed.
    #[error("storage engine failed")]
    Engine(#[from] state::engine::EngineError),
    /// A committed batch cannot be read.
    #[error("decode the committed batch at {index}")]
    Batch {
        /// Which entry.
        index: LogIndex,
        /// What is wrong with it.
        source: state::command::CommandError,
    },
}
