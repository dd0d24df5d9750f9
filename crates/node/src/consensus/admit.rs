//! Which messages of peers may reach raft: it panics on nonsense, and believes some of it.
//!
//! That a message comes from whom it names is checked by the shell, which knows the connection.

use raft::{Raft, StateRole};

use crate::limits::PEER_NUMBER_MAX;

use super::tail::Tail;
use super::wire::{Message, MessageType};

/// Why a message does not reach raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Inadmissible {
    /// It is for somebody else.
    #[error("meant for another member")]
    Receiver,
    /// It is of a kind that members do not send each other.
    #[error("of a kind that peers do not send")]
    Kind,
    /// A number in it is out of any range.
    #[error("numbers out of range")]
    Number,
    /// Its term does not fit its kind.
    #[error("a term that does not fit its kind")]
    Term,
    /// It speaks of entries that this log does not have.
    #[error("speaks of entries beyond the log")]
    BeyondLog,
    /// Its entries are not a piece of a log.
    #[error("entries that do not follow one another")]
    Entries,
    /// Its snapshot is not one.
    #[error("a snapshot without a place or without voters")]
    Snapshot,
    /// A vote for an election in which this member has since received other entries.
    #[error("a vote while entries are on their way to disk")]
    StaleVote,
}

/// Checks a message before raft sees it.
pub(super) fn admit(raft: &Raft<Tail>, message: &Message) -> Result<(), Inadmissible> {
    use MessageType as M;
    let kind = message.get_msg_type();
    if message.to != raft.id || message.from == 0 || message.from == raft.id {
        return Err(Inadmissible::Receiver);
    }
    let numbers = [
        message.term,
        message.index,
        message.log_term,
        message.commit,
        message.commit_term,
        message.reject_hint,
        message.request_snapshot,
    ];
    if numbers.iter().any(|number| *number > PEER_NUMBER_MAX) {
        return Err(Inadmissible::Number);
    }
    match kind {
        M::MsgHup | M::MsgBeat | M::MsgUnreachable | M::MsgSnapStatus | M::MsgCheckQuorum => {
            return Err(Inadmissible::Kind);
        }
        // A second forward of it is fatal to raft: it is asked for at the leader.
        M::MsgTransferLeader => return Err(Inadmissible::Kind),
        M::MsgPropose | M::MsgReadIndex => {
            if message.term != 0 {
                return Err(Inadmissible::Term);
            }
            if message.entries.is_empty() {
                return Err(Inadmissible::Entries);
            }
        }
        _ if message.term == 0 => return Err(Inadmissible::Term),
        _ => {}
    }
    let last = raft.raft_log.last_index();
    match kind {
        M::MsgHeartbeat if message.commit > last => Err(Inadmissible::BeyondLog),
        M::MsgAppend => admit_append(message),
        M::MsgSnapshot => admit_snapshot(message),
        M::MsgAppendResponse if message.index > last || message.request_snapshot > last => {
            Err(Inadmissible::BeyondLog)
        }
        // T6: winning now would make a leader whose own log is not durable, which raft asserts.
        M::MsgRequestVoteResponse | M::MsgRequestPreVoteResponse
            if raft.raft_log.persisted != last && raft.state != StateRole::Leader =>
        {
            Err(Inadmissible::StaleVote)
        }
        M::MsgReadIndexResp if message.entries.len() != 1 => Err(Inadmissible::Entries),
        _ => Ok(()),
    }
}

fn admit_append(message: &Message) -> Result<(), Inadmissible> {
    // Term 0 "matches" any index beyond the log.
    if message.log_term == 0 && message.index > 0 {
        return Err(Inadmissible::Entries);
    }
    let (mut index, mut term) = (message.index, message.log_term);
    for entry in message.entries.iter() {
        if entry.index != index + 1 || entry.term < term || entry.term > message.term {
            return Err(Inadmissible::Entries);
        }
        (index, term) = (entry.index, entry.term);
    }
    if term > message.term {
        return Err(Inadmissible::Entries);
    }
    Ok(())
}

fn admit_snapshot(message: &Message) -> Result<(), Inadmissible> {
    let metadata = message.get_snapshot().get_metadata();
    let members = metadata.get_conf_state();
    let mut ids: Vec<u64> = members.voters.iter().chain(members.learners.iter()).copied().collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    let placed = (1..=PEER_NUMBER_MAX).contains(&metadata.index)
        && (1..=message.term).contains(&metadata.term);
    if !placed || members.voters.is_empty() || ids.len() != count || ids.contains(&0) {
        return Err(Inadmissible::Snapshot);
    }
    Ok(())
}
