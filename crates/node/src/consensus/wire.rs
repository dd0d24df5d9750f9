//! The only file that knows the protobuf version of the `raft` crate: its messages to and from
//! bytes, its entries to and from those of the log.

use bytes::Bytes;
use protobuf::Message as _;
use state::MemberId;

use crate::messages::MembershipChange;
use crate::wal;

pub(super) use raft::eraftpb::{
    ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState, Message, MessageType,
    Snapshot,
};

/// Why bytes of a peer or of the engine are not what they should be.
pub(super) type WireError = protobuf::ProtobufError;

pub(super) fn encode(message: &Message) -> Bytes {
    Bytes::from(message.write_to_bytes().expect("all fields are optional and lengths fit"))
}

pub(super) fn decode(bytes: &Bytes) -> Result<Message, WireError> {
    let mut message = Message::default();
    message.merge_from_bytes(bytes)?;
    Ok(message)
}

pub(super) fn encode_conf_state(conf_state: &ConfState) -> Bytes {
    Bytes::from(conf_state.write_to_bytes().expect("all fields are optional and lengths fit"))
}

pub(super) fn decode_conf_state(bytes: &[u8]) -> Result<ConfState, WireError> {
    let mut conf_state = ConfState::default();
    conf_state.merge_from_bytes(bytes)?;
    Ok(conf_state)
}

pub(super) fn decode_conf_change(bytes: &[u8]) -> Result<ConfChange, WireError> {
    let mut change = ConfChange::default();
    change.merge_from_bytes(bytes)?;
    Ok(change)
}

/// The data of an entry that changes the membership.
pub(super) fn encode_conf_change(change: MembershipChange) -> Bytes {
    let kind = match change {
        MembershipChange::Voter(_) => ConfChangeType::AddNode,
        MembershipChange::Learner(_) => ConfChangeType::AddLearnerNode,
        MembershipChange::Removed(_) => ConfChangeType::RemoveNode,
    };
    let mut conf_change = ConfChange::default();
    conf_change.set_change_type(kind);
    conf_change.node_id = change.member().0;
    Bytes::from(conf_change.write_to_bytes().expect("two numbers fit"))
}

/// A message that puts one entry into the log.
pub(super) fn proposal(from: MemberId, kind: EntryType, data: Bytes, context: Bytes) -> Message {
    let mut entry = Entry::default();
    entry.set_entry_type(kind);
    entry.data = data;
    entry.context = context;
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgPropose);
    message.from = from.0;
    message.set_entries(vec![entry].into());
    message
}

pub(super) fn to_log(entry: &Entry) -> wal::Entry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => wal::EntryKind::Normal,
        EntryType::EntryConfChange => wal::EntryKind::ConfChange,
        EntryType::EntryConfChangeV2 => wal::EntryKind::ConfChangeV2,
    };
    let (data, context) = (entry.data.clone(), entry.context.clone());
    wal::Entry { term: entry.term, kind, data, context }
}

pub(super) fn from_log(index: u64, logged: wal::Entry) -> Entry {
    let mut entry = Entry::default();
    entry.set_entry_type(match logged.kind {
        wal::EntryKind::Normal => EntryType::EntryNormal,
        wal::EntryKind::ConfChange => EntryType::EntryConfChange,
        wal::EntryKind::ConfChangeV2 => EntryType::EntryConfChangeV2,
    });
    entry.index = index;
    entry.term = logged.term;
    entry.data = logged.data;
    entry.context = logged.context;
    entry
}

pub(super) fn hard_to_log(hard: &HardState) -> wal::HardState {
    wal::HardState { term: hard.term, vote: hard.vote, commit: hard.commit }
}

pub(super) fn hard_from_log(logged: wal::HardState) -> HardState {
    let wal::HardState { term, vote, commit } = logged;
    HardState { term, vote, commit, ..HardState::default() }
}
