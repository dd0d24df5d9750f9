//! The leader's clockwork of leases: renew, write down what must not be forgotten, expire when due.
//!
//! ```text
//!  keep-alive ─▶ has the log a renewal of the last second? ─ yes ─▶ answer at once
//!                  └─ no ─▶ LeaseRenew, one for all that came together ─▶ applied ─▶ answer
//!  deadline passed ─▶ LeaseExpire ─▶ applied only if no renewal got into the log before it
//! ```
//!
//! What a client has been told must outlive the leader that told it. So the log's newest renewal of
//! a lease speaks for the second that follows it, and a new reign adds that second to every lease
//! it inherits; whatever lies outside that second is logged before it is answered:
//!
//! ```text
//!  log    renewed at 5000, ttl 60 ──────────────▶ a new reign ends it at 5000 + 1000 + 60 000
//!  asked  5400 ✓ at once   6000 ✓ at once   6001 ─▶ waits for the log
//! ```
//!
//! A lease may end late by that second, never early. `docs/adr/2026-11-21-lease-renewals.md` has
//! the proof, and why nothing cheaper is safe.
//!
//! What this does not do: it changes no state. Whatever it decides goes through the log.

use std::collections::{BTreeMap, BTreeSet};

use state::command::{LeaseExpire, LeaseRenew, Operation};
use state::lease::{Lease, Leases, deadline};
use state::limits::EXPIRIES_PER_COMMAND;
use state::{ClusterTime, LeaseId, Term};

use crate::limits::{LEASE_RENEWAL_GRACE_MS, OWN_COMMAND_PAUSE_MS, OWN_COMMAND_RETRY_MS};

#[cfg(test)]
mod tests;

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
    /// Renewals that go beyond what the log says.
    renewed: BTreeMap<LeaseId, ClusterTime>,
    /// When those are looked through next.
    next_look: ClusterTime,
    /// Renewals that somebody waits for and that are not on their way into the log.
    unlogged: BTreeSet<LeaseId>,
    /// Renewals on their way into the log, with their times.
    logging: BTreeMap<LeaseId, ClusterTime>,
    /// Expiries on their way through the log, with the time to try again.
    expiring: BTreeMap<LeaseId, ClusterTime>,
    /// Nothing is proposed before: the log would not take it.
    paused_until: ClusterTime,
}

/// What a keep-alive gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// The lease lives for its whole lifetime from now on.
    Renewed {
        /// In seconds.
        ttl_s: i64,
    },
    /// The renewal must be in the log first: ask [`Lessor::logged`] when something has been
    /// applied.
    Logging,
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
                next_look: now,
                unlogged: BTreeSet::new(),
                logging: BTreeMap::new(),
                expiring: BTreeMap::new(),
                paused_until: now,
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
        if now <= after_grace(logged_at(lease)) {
            return KeepAlive::Renewed { ttl_s: lease.ttl_s };
        }
        let on_its_way = reign.logging.get(&id).is_some_and(|at| now <= after_grace(*at));
        if !on_its_way {
            reign.unlogged.insert(id);
        }
        KeepAlive::Logging
    }

    /// What has become of a keep-alive `asked` for at that time, which had to be logged.
    pub fn logged(
        &mut self,
        leases: &Leases,
        id: LeaseId,
        asked: ClusterTime,
        now: ClusterTime,
    ) -> KeepAlive {
        let Some(reign) = &mut self.reign else { return KeepAlive::NotLeader };
        let Some(lease) = leases.get(id) else { return KeepAlive::Unknown };
        let spoken_for = after_grace(logged_at(lease));
        if spoken_for < asked {
            return KeepAlive::Logging;
        }
        // The client counts from its answer: what the log can speak for is given to it.
        let renewed = reign.renewed.entry(id).or_insert(asked);
        *renewed = (*renewed).max(now.min(spoken_for));
        KeepAlive::Renewed { ttl_s: lease.ttl_s }
    }

    /// The log did not take something that [`Lessor::due`] had proposed: all of it is due again,
    /// after a pause.
    pub fn refused(&mut self, now: ClusterTime) {
        let Some(reign) = &mut self.reign else { return };
        reign.paused_until = ClusterTime(now.0.saturating_add(OWN_COMMAND_PAUSE_MS));
        reign.unlogged.extend(std::mem::take(&mut reign.logging).into_keys());
        for retry in reign.expiring.values_mut() {
            *retry = reign.paused_until.min(*retry);
        }
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
        reign.forget_what_is_logged(leases, now);
        if now < reign.paused_until {
            return;
        }
        if let Some(renew) = reign.renewals(leases) {
            propose(Operation::LeaseRenew(renew));
        }
        if let Some(expire) = reign.expiries(leases, now) {
            propose(Operation::LeaseExpire(expire));
        }
    }
}

impl Reign {
    fn ends(&self, id: LeaseId, lease: &Lease) -> ClusterTime {
        let renewed = self.renewed.get(&id).map(|at| deadline(*at, lease.ttl_s));
        // Of an inherited lease the log may not know the last renewal. One that was logged at the
        // very beginning of the reign has its whole lifetime before it anyway.
        let inherited = logged_at(lease) < self.since;
        let logged = if inherited { after_grace(lease.deadline) } else { lease.deadline };
        renewed.map_or(logged, |renewed| renewed.max(logged))
    }

    /// Keeps the table of renewals as small as the number of leases; once in a while, because it
    /// looks at all of them.
    fn forget_what_is_logged(&mut self, leases: &Leases, now: ClusterTime) {
        if now < self.next_look {
            return;
        }
        self.next_look = after_grace(now);
        self.renewed.retain(|id, at| {
            leases.get(*id).is_some_and(|lease| lease.deadline < deadline(*at, lease.ttl_s))
        });
        self.logging.retain(|id, at| leases.get(*id).is_some_and(|lease| logged_at(lease) < *at));
    }

    /// All renewals that somebody waits for.
    fn renewals(&mut self, leases: &Leases) -> Option<LeaseRenew> {
        let mut renew = LeaseRenew::default();
        for id in std::mem::take(&mut self.unlogged) {
            if let (Some(at), true) = (self.renewed.get(&id), leases.contains(id)) {
                self.logging.insert(id, *at);
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
        let retry = ClusterTime(now.0.saturating_add(OWN_COMMAND_RETRY_MS));
        self.expiring.extend(due.iter().map(|id| (*id, retry)));
        Some(LeaseExpire { ids: due.iter().map(|id| id.0).collect(), term: self.term.0 })
    }
}

/// The newest renewal that the log knows, or the grant.
fn logged_at(lease: &Lease) -> ClusterTime {
    let ttl_ms = deadline(ClusterTime(0), lease.ttl_s).0;
    ClusterTime(lease.deadline.0.saturating_sub(ttl_ms))
}

fn after_grace(time: ClusterTime) -> ClusterTime {
    ClusterTime(time.0.saturating_add(LEASE_RENEWAL_GRACE_MS))
}
