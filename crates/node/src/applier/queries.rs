//! Questions that only the owner of the data can answer: about leases, and about what is being removed.
//!
//! ```text
//! KeepAlive ──▶ lessor ─▶ at once │ when the renewal is in the log │ when the lease's end is decided
//! TimeToLive, Leases ──▶ at once
//! Swept ───────────────▶ when nothing superseded is left: see `sweep`
//! ```
//!
//! Whoever stops waiting says so, and is forgotten. What is found changes nothing by itself: a
//! renewal goes through the log, as the lessor decides.

use std::collections::BTreeSet;

use state::{ClusterTime, LeaseId, RequestId};

use super::{Applier, ApplierShell};
use crate::lessor::KeepAlive;
use crate::messages::{ApplierOutput, LeaseInfo, Query, QueryAnswer};

impl Applier {
    pub(super) fn answer(
        &mut self,
        now: ClusterTime,
        request: RequestId,
        query: Query,
        shell: &mut dyn ApplierShell,
    ) {
        let answer = match query {
            Query::KeepAlive(id) => {
                let kept = self.lessor.keep_alive(self.state.leases(), id, now);
                return self.answer_keep_alive(request, id, now, kept, shell);
            }
            Query::TimeToLive(..) | Query::Leases if !self.standing.is_leader => {
                QueryAnswer::NotLeader
            }
            Query::TimeToLive(id, keys) => QueryAnswer::TimeToLive(self.lease_info(id, keys, now)),
            Query::Leases => {
                let leases = self.state.leases();
                QueryAnswer::Leases(leases.by_deadline().map(|(_, id)| id).collect())
            }
            Query::Swept => return self.waiting_for_sweep.push(request),
        };
        shell.emit(ApplierOutput::Answer(request, answer));
    }

    fn lease_info(&self, id: LeaseId, keys: bool, now: ClusterTime) -> Option<LeaseInfo> {
        let lease = self.state.leases().get(id)?;
        let ends = self.lessor.ends(id, lease).0.cast_signed();
        // Truncated as etcd does it: a lease granted this instant has one second less in whole.
        let remaining_ms = ends.saturating_sub(now.0.cast_signed()).saturating_sub(1);
        let keys = if keys { lease.keys.iter().cloned().collect() } else { Vec::new() };
        Some(LeaseInfo { granted_s: lease.ttl_s, remaining_s: remaining_ms / 1000, keys })
    }

    fn answer_keep_alive(
        &mut self,
        request: RequestId,
        id: LeaseId,
        asked: ClusterTime,
        kept: KeepAlive,
        shell: &mut dyn ApplierShell,
    ) {
        let answer = match kept {
            KeepAlive::Renewed { ttl_s } => QueryAnswer::KeepAlive(Some(ttl_s)),
            KeepAlive::Unknown => QueryAnswer::KeepAlive(None),
            KeepAlive::NotLeader => QueryAnswer::NotLeader,
            KeepAlive::Ending => return self.ending.push((request, id)),
            KeepAlive::Logging => return self.logging.push((request, id, asked)),
        };
        shell.emit(ApplierOutput::Answer(request, answer));
    }

    /// Keep-alives that had to wait are answered when their renewal is in the log, or the lease is
    /// gone.
    pub(super) fn answer_late(&mut self, now: ClusterTime, shell: &mut dyn ApplierShell) {
        for (request, id, asked) in std::mem::take(&mut self.logging) {
            let kept = self.lessor.logged(self.state.leases(), id, asked, now);
            self.answer_keep_alive(request, id, asked, kept, shell);
        }
        for (request, id) in std::mem::take(&mut self.ending) {
            self.answer(now, request, Query::KeepAlive(id), shell);
        }
    }

    pub(super) fn withdraw(&mut self, requests: &BTreeSet<RequestId>) {
        self.ending.retain(|(request, _)| !requests.contains(request));
        self.logging.retain(|(request, ..)| !requests.contains(request));
        self.waiting_for_sweep.retain(|request| !requests.contains(request));
    }
}
