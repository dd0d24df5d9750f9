//! Every table beside the history, with an example row each.
//!
//! | table | key | value | example |
//! |---|---|---|---|
//! | `Meta` | name | see [`meta`] | `applied` → log index 17, term 2 |
//! | `Lease` | lease id, 8 bytes big-endian | `LeaseRow` | `…32695410dcc0ca06` → ttl 60 s, deadline |
//! | `Member` | member id, 8 bytes big-endian | `MemberRow` | `8e9e05c52164694d` → `default`, URLs |
//! | `Alarm` | member id, alarm type (one byte, or four) | empty | `8e9e05c52164694d`, 1 (NOSPACE) |
//! | `User`, `Role` | name | reserved for authentication | |
//!
//! Each table has a one-byte prefix, so that an engine with one ordered key space can hold them all.
//! A prefix is never used for anything else again; `k`, reserved once, stays unused.

/// A table of small rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Single values: what has been applied, compacted, decided.
    Meta = b'm',
    /// Leases by id.
    Lease = b'l',
    /// Members by id.
    Member = b'c',
    /// Active alarms.
    Alarm = b'a',
    /// Users by name.
    User = b'u',
    /// Roles by name.
    Role = b'r',
}

impl Table {
    /// All tables, in the order of their prefixes.
    pub const ALL: [Table; 6] =
        [Table::Alarm, Table::Member, Table::Lease, Table::Meta, Table::Role, Table::User];

    /// Where [`Table::ALL`] has it.
    #[must_use]
    pub fn position(self) -> usize {
        Table::ALL.iter().position(|&other| other == self).expect("ALL lists every table")
    }

    /// The byte in front of each key in an engine with one key space.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self as u8
    }

    /// The table with this prefix.
    #[must_use]
    pub fn from_prefix(prefix: u8) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.prefix() == prefix)
    }
}

/// Row keys of [`Table::Meta`]. Numbers are 8 bytes, big-endian.
pub mod meta {
    use crate::types::{LogIndex, Revision, Term};

    /// Log index and term of the last entry whose effects the engine holds: 16 bytes.
    pub const APPLIED: &[u8] = b"applied";
    /// Cluster time of the last batch applied.
    pub const CLUSTER_TIME: &[u8] = b"cluster-time";
    /// Revision of the store; needed when compaction has removed the newest change.
    pub const REVISION: &[u8] = b"revision";
    /// Lowest revision that may be read; absent before the first compaction.
    pub const COMPACTED: &[u8] = b"compacted";
    /// Revision up to which superseded versions have been removed.
    pub const SWEPT: &[u8] = b"swept";
    /// Cluster version as text, `3.7.0`.
    pub const CLUSTER_VERSION: &[u8] = b"cluster-version";
    /// Voters and learners at the applied index, as the consensus needs them on opening.
    pub const CONF_STATE: &[u8] = b"conf-state";

    /// The row at [`APPLIED`].
    #[must_use]
    pub fn encode_applied(index: LogIndex, term: Term) -> [u8; 16] {
        (u128::from(index.0) << 64 | u128::from(term.0)).to_be_bytes()
    }

    /// Reads the row at [`APPLIED`]; `None` if it is not 16 bytes long.
    #[must_use]
    pub fn decode_applied(row: &[u8]) -> Option<(LogIndex, Term)> {
        let (index, term) = row.split_first_chunk::<8>()?;
        let term = u64::from_be_bytes(term.try_into().ok()?);
        Some((LogIndex(u64::from_be_bytes(*index)), Term(term)))
    }

    /// A row that is a revision: [`REVISION`], [`COMPACTED`], [`SWEPT`].
    #[must_use]
    pub fn encode_revision(revision: Revision) -> [u8; 8] {
        revision.0.to_be_bytes()
    }

    /// Reads a row that is a revision; `None` if it is not 8 bytes long or negative.
    #[must_use]
    pub fn decode_revision(row: &[u8]) -> Option<Revision> {
        let number = i64::from_be_bytes(row.try_into().ok()?);
        (number >= 0).then_some(Revision(number))
    }
}
