//! The leader's clockwork of leases: renew at once, write down at leisure, expire when due.
//!
//! ```text
//!  keep-alive ─▶ deadline moves here, answer at once
//!                    └─ once a second ─▶ LeaseRenew, one entry for all of them
//!  deadline passed ─▶ LeaseExpire ─▶ applied only if no renewal got into the log before it
//! ```
//!
//! A renewal that has not been logged yet is lost with its leader. That is at most a second's worth
//! of them, so a new reign adds that second to every lease it inherits.
//!
//! What this does not do: it changes no state. Whatever it decides goes through the log.

use std::collections::{BTreeMap, BTreeSet};

use state::command::{LeaseExpire, LeaseRenew, Operation};
use state::lease::{Lease, Leases, deadline};
use state::limits::EXPIRIES_PER_COMMAND;
use state::{ClusterTime, LeaseId, Term};

use crate::limits::{LEASE_EXPIRY_RETRY_MS, LEASE_RENEWAL_LOG_INTERVAL_MS};

/// See the module.
#[derive(Debug, Default)]
pub struct Lessor {
    /// The reign, if this member leads.
    reign: Option<Reign>,
}

#[derive(Debug)]
struct Reign {
    term: Term,
    since: ClusterTime,
    /// Renewals that the state does not know yet.
    renewed: BTreeMap<LeaseId, ClusterTime>,
    /// Those of them that have not been proposed yet.
    unlogged: BTreeSet<LeaseId>,
    next_log: ClusterTime,
    /// Expiries on their way through the log, with the time to try again.
    expiring: BTreeMap<LeaseId, ClusterTime>,
}

/// What a keep-alive gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// The lease lives for its whole lifetime from now on.
    Renewed {
        /// In seconds.
        ttl_s: i64,
    },
    /// There is no such lease.
    Unknown,
    /// Its time is over and its end is on the way: ask again when it has been applied.
    Ending,
    /// This member does not lead.
    NotLeader,
}

impl Lessor {
    /// Begins a reign in `term`, or ends it.
    pub fn lead(&mut self, term: Option<Term>, now: ClusterTime) {
        if self.reign.as_ref().map(|reign| reign.term) != term {
            self.reign = term.map(|term| Reign {
                term,
                since: now,
                renewed: BTreeMap::new(),
                unlogged: BTreeSet::new(),
                next_log: now,
                expiring: BTreeMap::new(),
            });
        }
    }

    /// Renews a lease.
    pub fn keep_alive(&mut self, leases: &Leases, id: LeaseId, now: ClusterTime) -> KeepAlive {
        let Some(reign) = &mut self.reign else { return KeepAlive::NotLeader };
        let Some(lease) = leases.get(id) else { return KeepAlive::Unknown };
        if reign.expiring.contains_key(&id) || reign.ends(id, lease) <= now {
            return KeepAlive::Ending;
        }
        reign.renewed.insert(id, now);
        reign.unlogged.insert(id);
        KeepAlive::Renewed { ttl_s: lease.ttl_s }
    }

    /// When the lease ends unless it is renewed.
    #[must_use]
    pub fn ends(&self, id: LeaseId, lease: &Lease) -> ClusterTime {
        match &self.reign {
            Some(reign) => reign.ends(id, lease),
            None => lease.deadline,
        }
    }

    /// What is due now, as commands for the log.
    pub fn due(&mut self, leases: &Leases, now: ClusterTime, mut propose: impl FnMut(Operation)) {
        let Some(reign) = &mut self.reign else { return };
        if now >= reign.next_log {
            reign.next_log = ClusterTime(now.0.saturating_add(LEASE_RENEWAL_LOG_INTERVAL_MS));
            if let Some(renew) = reign.renewals(leases) {
                propose(Operation::LeaseRenew(renew));
            }
        }
        if let Some(expire) = reign.expiries(leases, now) {
            propose(Operation::LeaseExpire(expire));
        }
    }

    /// When [`Lessor::due`] has something to do next, if nothing else happens.
    #[must_use]
    pub fn next_due(&self, leases: &Leases) -> Option<ClusterTime> {
        let reign = self.reign.as_ref()?;
        let expiry = leases.by_deadline().next().map(|(deadline, _)| deadline);
        let log = (!reign.unlogged.is_empty()).then_some(reign.next_log);
        expiry.into_iter().chain(log).min()
    }
}

impl Reign {
    fn ends(&self, id: LeaseId, lease: &Lease) -> ClusterTime {
        let renewed = self.renewed.get(&id).map(|at| deadline(*at, lease.ttl_s));
        let begun = lease.deadline.0.saturating_sub(deadline(ClusterTime(0), lease.ttl_s).0);
        // Its last renewal may have been lost with the leader before.
        let inherited = if begun < self.since.0 { LEASE_RENEWAL_LOG_INTERVAL_MS } else { 0 };
        let logged = ClusterTime(lease.deadline.0.saturating_add(inherited));
        renewed.map_or(logged, |renewed| renewed.max(logged))
    }

    /// All renewals since the last time; forgets those that the state knows by now.
    fn renewals(&mut self, leases: &Leases) -> Option<LeaseRenew> {
        self.renewed.retain(|id, at| {
            leases.get(*id).is_some_and(|lease| lease.deadline < deadline(*at, lease.ttl_s))
        });
        let mut renew = LeaseRenew::default();
        for id in std::mem::take(&mut self.unlogged) {
            if let Some(at) = self.renewed.get(&id) {
                renew.ids.push(id.0);
                renew.at_ms.push(at.0);
            }
        }
        (!renew.ids.is_empty()).then_some(renew)
    }

    fn expiries(&mut self, leases: &Leases, now: ClusterTime) -> Option<LeaseExpire> {
        self.expiring.retain(|id, retry| leases.contains(*id) && *retry > now);
        let due = leases
            .by_deadline()
            .take_while(|(deadline, _)| *deadline <= now)
            .map(|(_, id)| id)
            .filter(|id| !self.expiring.contains_key(id))
            .filter(|id| leases.get(*id).is_some_and(|lease| self.ends(*id, lease) <= now))
            .take(EXPIRIES_PER_COMMAND)
            .collect::<Vec<_>>();
        if due.is_empty() {
            return None;
        }
        let retry = ClusterTime(now.0.saturating_add(LEASE_EXPIRY_RETRY_MS));
        self.expiring.extend(due.iter().map(|id| (*id, retry)));
        Some(LeaseExpire { ids: due.iter().map(|id| id.0).collect(), term: self.term.0 })
    }
}
