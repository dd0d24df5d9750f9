//! Changes of the membership: one at a time, proposed by a leader that stays.
//!
//! A change takes effect here when it is handed out; the applier only records it. It is refused
//! while another is pending, because raft would log an empty entry in its place and say nothing
//! (T8), and a leader does not remove itself, because raft panics when it is gone (T7): leadership
//! is handed over first.

use bytes::Bytes;
use raft::StateRole;
use state::{LogIndex, MemberId};

use crate::messages::{Fatal, Membership, MembershipChange, Payload, Refused};

use super::Consensus;
use super::wire::{self, Entry, EntryType};

impl Consensus {
    pub(super) fn propose_membership(
        &mut self,
        change: MembershipChange,
        context: Bytes,
    ) -> Result<(), Refused> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader || raft.lead_transferee.is_some() {
            return Err(Refused::NoLeader);
        }
        if change == MembershipChange::Removed(self.config.member) {
            return Err(Refused::LeaderRemoval);
        }
        if raft.has_pending_conf() {
            return Err(Refused::MembershipPending);
        }
        let data = wire::encode_conf_change(change);
        let kind = EntryType::EntryConfChange;
        let message = wire::proposal(self.config.member, kind, data, context);
        self.raw.raft.step(message).map_err(|_| Refused::Overloaded)
    }

    /// Lets a decided change take effect. One that cannot is refused by every member alike.
    pub(super) fn change_membership(&mut self, entry: Entry) -> Result<Payload, Fatal> {
        let index = LogIndex(entry.index);
        let Ok(change) = wire::decode_conf_change(&entry.data) else {
            return Err(Fatal::Consensus(format!("decode the membership change at {index}")));
        };
        let Ok(members) = self.raw.apply_conf_change(&change) else {
            return Ok(Payload::Empty);
        };
        if change.node_id == self.config.member.0 {
            let progress = self.raw.raft.prs();
            self.removed = progress.get(change.node_id).is_none();
        }
        let conf_state = wire::encode_conf_state(&members);
        self.members.push_back((entry.index, members));
        Ok(Payload::Membership(Membership {
            member: MemberId(change.node_id),
            context: entry.context,
            conf_state,
        }))
    }
}
