//! Leases as the log knows them: who they are, until when they live, which keys hang on them.
//!
//! Time is cluster time, carried by the batches: a lease granted in a batch of time `t` lives until
//! `t + ttl`. Renewals arrive in bulk, each with its own time. No clock is read here; deciding that
//! a lease is over is the leader's business (`node::lessor`), carrying it out is
//! [`crate::command::LeaseExpire`], which spares leases renewed meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::types::{ClusterTime, LeaseId};

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its granted lifetime in seconds.
    pub ttl_s: i64,
    /// When it ends unless it is renewed.
    pub deadline: ClusterTime,
    /// The keys whose newest version is attached to it.
    pub keys: BTreeSet<Bytes>,
}

/// All leases.
#[derive(Debug, Default)]
pub struct Leases {
    by_id: BTreeMap<LeaseId, Lease>,
    /// Earliest deadline first.
    by_deadline: BTreeSet<(ClusterTime, LeaseId)>,
}

/// A row of [`crate::schema::Table::Lease`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LeaseRow {
    /// Granted lifetime in seconds.
    #[prost(int64, tag = "1")]
    pub ttl_s: i64,
    /// Deadline in cluster time.
    #[prost(uint64, tag = "2")]
    pub deadline_ms: u64,
}

/// The row key of a lease: its id, big-endian.
#[must_use]
pub fn row_key(id: LeaseId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}

/// The deadline of a lease of `ttl_s` seconds renewed at `time`.
#[must_use]
pub fn deadline(time: ClusterTime, ttl_s: i64) -> ClusterTime {
    let ttl_ms = u64::try_from(ttl_s).unwrap_or(0).saturating_mul(1000);
    ClusterTime(time.0.saturating_add(ttl_ms))
}

impl Leases {
    /// The lease of this id.
    #[must_use]
    pub fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    /// Whether the id is taken.
    #[must_use]
    pub fn contains(&self, id: LeaseId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// All leases in the order of their deadlines.
    pub fn by_deadline(&self) -> impl Iterator<Item = (ClusterTime, LeaseId)> + '_ {
        self.by_deadline.iter().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn insert(&mut self, id: LeaseId, ttl_s: i64, deadline: ClusterTime) {
        let lease = Lease { ttl_s, deadline, keys: BTreeSet::new() };
        let before = self.by_id.insert(id, lease);
        assert!(before.is_none(), "{id} is granted twice");
        self.by_deadline.insert((deadline, id));
    }

    /// Moves the deadline; never to an earlier one, so that renewals may arrive in any order.
    pub(crate) fn renew(&mut self, id: LeaseId, at: ClusterTime) -> Option<&Lease> {
        let lease = self.by_id.get_mut(&id)?;
        let renewed = deadline(at, lease.ttl_s);
        if renewed > lease.deadline {
            self.by_deadline.remove(&(lease.deadline, id));
            lease.deadline = renewed;
            self.by_deadline.insert((renewed, id));
        }
        Some(lease)
    }

    pub(crate) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.by_id.remove(&id)?;
        self.by_deadline.remove(&(lease.deadline, id));
        Some(lease)
    }

    /// Attaches a key. A lease that is gone is fine: its keys are being deleted.
    pub(crate) fn attach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.insert(Bytes::copy_from_slice(key));
        }
    }

    pub(crate) fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_never_shortens_a_lease() {
        let mut leases = Leases::default();
        leases.insert(LeaseId(7), 10, ClusterTime(10_000));
        leases.renew(LeaseId(7), ClusterTime(5_000));
        leases.renew(LeaseId(7), ClusterTime(1_000));
        assert_eq!(leases.get(LeaseId(7)).expect("granted").deadline, ClusterTime(15_000));
        assert_eq!(leases.by_deadline().collect::<Vec<_>>(), [(ClusterTime(15_000), LeaseId(7))]);
    }
}
