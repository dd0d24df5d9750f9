//! Birth and restart: from what the log and the engine hold to a running machine.
//!
//! ```text
//! bootstrap ──▶ first write ──▶ disk ──▶ replay ──▶ Recovered ─┐
//!                                        engine ──▶ Holds ─────┴─▶ Consensus::open
//! ```
//!
//! The engine may be behind the log, never ahead of it: it only holds entries whose records were
//! durable. What lies between is handed out again.

use bytes::Bytes;
use raft::RawNode;
use state::{ClusterId, ClusterTime, LogIndex, MemberId, Term};

use crate::limits;
use crate::messages::{LogWrite, MembershipChange, SegmentId};
use crate::wal::writer::Origin;
use crate::wal::{Batch, Entry, EntryKind, HardState, Recovered, SnapshotMark, Writer};

use super::clock::Clock;
use super::pipeline::Pipeline;
use super::proposals::Proposals;
use super::reads::Reads;
use super::tail::Tail;
use super::wire::{self, ConfState, WireError};
use super::{Consensus, Gate, log_bridge};

/// What a member has to know about itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub member: MemberId,
    /// Different for every start: it spreads elections and names read rounds.
    pub seed: u64,
    /// See [`crate::limits::APPEND_SLOTS`].
    pub slots: usize,
    /// See [`crate::limits::COMPANY_BYTES`].
    pub company_bytes: usize,
    /// See [`crate::limits::HEARTBEAT_TICKS`].
    pub heartbeat_ticks: usize,
    /// See [`crate::limits::ELECTION_TICKS`].
    pub election_ticks: usize,
    /// See [`crate::limits::SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// See [`crate::limits::FOLLOWER_BYTES`].
    pub follower_bytes: u64,
    /// See [`crate::limits::REWRITE_BYTES_MAX`].
    pub rewrite_bytes: u64,
    /// See [`crate::limits::HANDED_OUT_BYTES_MAX`].
    pub handed_out_bytes: u64,
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new(cluster: ClusterId, member: MemberId, seed: u64) -> Config {
        Config {
            cluster,
            member,
            seed,
            slots: limits::APPEND_SLOTS,
            company_bytes: limits::COMPANY_BYTES,
            heartbeat_ticks: limits::HEARTBEAT_TICKS,
            election_ticks: limits::ELECTION_TICKS,
            segment_bytes: limits::SEGMENT_BYTES,
            follower_bytes: limits::FOLLOWER_BYTES,
            rewrite_bytes: limits::REWRITE_BYTES_MAX,
            handed_out_bytes: limits::HANDED_OUT_BYTES_MAX,
        }
    }
}

/// What the engine has made durable.
///
/// If the log begins behind a snapshot that the engine lacks ([`Recovered::snapshot`]), the member
/// stopped in the middle of installing it. Its file was durable before the log said so: it is
/// installed first, and then the engine holds that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// The last entry it has applied; 0 if none.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// The cluster time it has reached.
    pub time: ClusterTime,
    /// Voters and learners at that entry, as [`crate::messages::Membership`] gave them.
    pub conf_state: Bytes,
}

/// Log and engine do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log has lost entries that were durable once.
    #[error("the log ends at {last}, but the engine holds {applied}")]
    LogBehind {
        /// The last entry of the log.
        last: LogIndex,
        /// What the engine holds.
        applied: LogIndex,
    },
    /// Entries that are needed are in neither.
    #[error("the log begins at {first}, but the engine holds only {applied}")]
    LogAhead {
        /// The first entry of the log.
        first: LogIndex,
        /// What the engine holds.
        applied: LogIndex,
    },
    /// They tell different stories.
    #[error("at {index} the log holds {logged} and the engine {applied}")]
    Diverged {
        /// Where.
        index: LogIndex,
        /// What the log says.
        logged: Term,
        /// What the engine says.
        applied: Term,
    },
    /// The log says that something is decided which it does not hold.
    #[error("the log ends at {last}, but says that {commit} is decided")]
    CommitBeyondLog {
        /// The last entry of the log.
        last: LogIndex,
        /// What it says.
        commit: LogIndex,
    },
    /// The membership cannot be read.
    #[error("decode the membership")]
    Members(#[from] WireError),
    /// Nobody votes.
    #[error("the membership names no voter")]
    NoVoter,
    /// Raft refuses to start.
    #[error("start raft")]
    Raft(#[from] raft::Error),
}

/// The first write of a new cluster of these members, each with what the applier shall know about
/// it. It must be durable before the log is replayed for the first time.
///
/// All members of the cluster begin with the same entries, decided by agreement of those who
/// started them: one for each member, in the order of their ids.
#[must_use]
pub fn bootstrap(config: &Config, salt: u32, members: &[(MemberId, Bytes)]) -> LogWrite {
    let mut members = members.to_vec();
    members.sort_by_key(|(member, _)| *member);
    let count = members.len() as u64;
    let voters = members.iter().map(|(member, _)| member.0).collect();
    let voters = ConfState { voters, ..ConfState::default() };
    let entries = members.into_iter().map(|(member, context)| Entry {
        term: 1,
        kind: EntryKind::ConfChange,
        data: wire::encode_conf_change(MembershipChange::Voter(member)),
        context,
    });
    let hard = HardState { term: 1, vote: 0, commit: count };
    let batch = Batch {
        hard: Some(hard),
        snapshot: Some(SnapshotMark {
            index: 0,
            term: 0,
            conf_state: wire::encode_conf_state(&voters),
        }),
        first_index: 1,
        entries: entries.collect(),
        ..Batch::default()
    };
    let origin = Origin {
        cluster: config.cluster,
        member: config.member,
        salt,
        segment: SegmentId(1),
        number: 1,
        older: Vec::new(),
    };
    Writer::new(origin, hard, config.segment_bytes).append(batch, 0)
}

/// Membership and hard state to start from, checked against each other.
fn reconcile(recovered: &Recovered, holds: &Holds) -> Result<(HardState, ConfState), OpenError> {
    let (applied, first) = (holds.index.0, recovered.first_index);
    let last = recovered.last_index();
    if first > applied + 1 {
        let first = LogIndex(first);
        return Err(OpenError::LogAhead { first, applied: holds.index });
    }
    if last < applied {
        return Err(OpenError::LogBehind { last: LogIndex(last), applied: holds.index });
    }
    let at = applied.checked_sub(first).and_then(|at| usize::try_from(at).ok());
    let logged = at.and_then(|at| recovered.entries.get(at));
    if let Some(entry) = logged.filter(|entry| entry.term != holds.term.0) {
        let (index, logged) = (holds.index, Term(entry.term));
        return Err(OpenError::Diverged { index, logged, applied: holds.term });
    }
    let mut hard = recovered.hard;
    // The commit index rides with later writes: the engine may know better.
    hard.commit = hard.commit.max(applied);
    if hard.commit > last {
        let commit = LogIndex(hard.commit);
        return Err(OpenError::CommitBeyondLog { last: LogIndex(last), commit });
    }
    let members = match &recovered.snapshot {
        Some(mark) if applied <= mark.index => wire::decode_conf_state(&mark.conf_state)?,
        _ => wire::decode_conf_state(&holds.conf_state)?,
    };
    if members.voters.is_empty() {
        return Err(OpenError::NoVoter);
    }
    Ok((hard, members))
}

impl Consensus {
    /// Starts the machine from what the log holds and what the engine has made durable.
    ///
    /// It does nothing until its first write is durable; the first turn asks for it.
    ///
    /// # Errors
    /// Log and engine do not fit together.
    pub fn open(
        config: Config,
        recovered: Recovered,
        holds: &Holds,
    ) -> Result<Consensus, OpenError> {
        assert!(config.slots > 0, "a log without a slot never writes");
        let (hard, members) = reconcile(&recovered, holds)?;
        let (applied, first) = (holds.index.0, recovered.first_index);
        let (writer, again) = begin_segment(&config, &recovered, holds, hard, &members);
        let time = last_time(&recovered).max(holds.time);
        let entries = recovered.entries.into_iter().zip(first..);
        let entries = entries.filter(|(_, index)| *index > applied);
        let entries = entries.map(|(entry, index)| wire::from_log(index, entry));
        let start = wire::hard_from_log(hard);
        let base = (applied, holds.term.0);
        let tail = Tail::new(start, members.clone(), base, entries);
        let raw = RawNode::new(&raft_config(&config, applied), tail, &log_bridge::logger())?;
        let pipeline = Pipeline { term: (hard.term, 0), ..Pipeline::default() };
        Ok(Consensus {
            gate: Gate::Closed(Box::new(again), recovered.covered, recovered.void),
            raw,
            writer,
            pipeline,
            proposals: Proposals::default(),
            reads: Reads::new(config.member.0, config.seed),
            clock: Clock::new(time),
            reached: time,
            members: [(applied, members)].into(),
            applied,
            handed_out: applied,
            checkpointed: applied,
            installing: 0,
            removed: false,
            led: false,
            quiet_ticks: 0,
            standing: None,
            config,
        })
    }
}

/// The writer, and what its first record says again: everything that nobody vouches for, or, if
/// that is little, everything the engine lacks, so that no older segment is needed.
fn begin_segment(
    config: &Config,
    recovered: &Recovered,
    holds: &Holds,
    hard: HardState,
    members: &ConfState,
) -> (Writer, Batch) {
    let entries_from = |index: u64| {
        let at = usize::try_from(index.saturating_sub(recovered.first_index));
        at.ok().and_then(|at| recovered.entries.get(at..)).unwrap_or_default()
    };
    let missing = entries_from(holds.index.0 + 1);
    let bytes = missing.iter().map(|entry| entry.data.len() + entry.context.len());
    let little = bytes.sum::<usize>() as u64 <= config.rewrite_bytes;
    // Without its mark, entries from before a snapshot would come back.
    let whole = little || recovered.again_snapshot;
    let mut again = Batch { hard: Some(hard), ..Batch::default() };
    let mut older = recovered.segments.clone();
    if whole {
        let conf_state = wire::encode_conf_state(members);
        let (index, term) = (holds.index.0, holds.term.0);
        again.snapshot = Some(SnapshotMark { index, term, conf_state });
        again.first_index = index + 1;
        again.entries = missing.to_vec();
        again.oldest = Some(recovered.next_segment);
        older.clear();
    } else if let Some(from) = recovered.again_from {
        again.first_index = from.max(recovered.first_index);
        again.entries = entries_from(again.first_index).to_vec();
    }
    let origin = Origin {
        cluster: config.cluster,
        member: config.member,
        salt: recovered.salt,
        segment: recovered.next_segment,
        number: recovered.covered + 1,
        older,
    };
    (Writer::new(origin, hard, config.segment_bytes), again)
}

/// The time of the last batch in the log.
fn last_time(recovered: &Recovered) -> ClusterTime {
    let batches = recovered.entries.iter().rev().filter(|entry| entry.kind == EntryKind::Normal);
    let mut times = batches.filter_map(|entry| state::command::batch_time(&entry.data).ok());
    times.next().unwrap_or_default()
}

fn raft_config(config: &Config, applied: u64) -> raft::Config {
    raft::Config {
        id: config.member.0,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        applied,
        max_size_per_msg: limits::PEER_MESSAGE_BYTES_MAX,
        max_inflight_msgs: limits::PEER_APPENDS_IN_FLIGHT_MAX,
        check_quorum: true,
        pre_vote: true,
        max_uncommitted_size: limits::UNCOMMITTED_BYTES_MAX,
        max_committed_size_per_ready: limits::COMMITTED_BYTES_PER_READY_MAX,
        ..raft::Config::default()
    }
}
