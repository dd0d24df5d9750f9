//! The members of the cluster as they have been applied. The consensus decides who votes; this
//! table is what clients are told.

use bytes::Bytes;
use prost::Message;

use crate::types::MemberId;

/// One member, and its row in [`crate::schema::Table::Member`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Member {
    /// Its id; see [`Member::member_id`].
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name; empty until it has started once.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where other members reach it, sorted.
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    #[prost(string, repeated, tag = "4")]
    pub client_urls: Vec<String>,
    /// It receives the log without a vote.
    #[prost(bool, tag = "5")]
    pub is_learner: bool,
}

impl Member {
    /// Its id.
    #[must_use]
    pub fn member_id(&self) -> MemberId {
        MemberId(self.id)
    }
}

/// The row key of a member: its id, big-endian.
#[must_use]
pub fn row_key(id: MemberId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}
