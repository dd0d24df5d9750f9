//! What the driver knows of the servers' state: enough to ask questions that are near the edge.
//!
//! It is learned from etcd's answers, so that a wrong answer of the subject cannot mislead it.

use std::collections::BTreeSet;

use crate::answer::Answer;

/// The state as far as it is known.
#[derive(Clone, Debug)]
pub struct World {
    /// The store's revision.
    pub revision: i64,
    /// Where the history begins; 0 if nothing was ever compacted.
    pub compacted: i64,
    /// Every revision that was compacted to.
    pub compactions: BTreeSet<i64>,
    /// Leases that were granted and not revoked.
    pub leases: BTreeSet<i64>,
    /// Whether the servers have been started anew since those were granted.
    pub restarted: bool,
}

impl World {
    /// The state of a fresh server.
    #[must_use]
    pub fn new() -> World {
        World {
            revision: 1,
            compacted: 0,
            compactions: BTreeSet::new(),
            leases: BTreeSet::new(),
            restarted: false,
        }
    }

    /// Learns from one of etcd's answers.
    pub fn learn(&mut self, answer: &Answer) {
        self.revision = self.revision.max(answer.revision().unwrap_or(0));
    }

    /// Learns that the history was cut.
    pub fn compacted_to(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision);
        self.compactions.insert(revision);
    }
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}
