//! Knows which leases there must be and how long they still have.
//!
//! ```text
//!   asked       told                                   now
//!   ├──── granted ────┤                                 │
//!   ├◀──────────── it has lost at most this ───────────▶│   never too early
//!                     ├◀─ run ─▶┤ down ├◀─── run ────▶│    at least this, while it was up
//! ```
//!
//! The member's clock stands still while the member is down, so that a lease may end late by as
//! long as it was, and by the second that a new reign adds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::keyspace::Keyspace;

/// Seconds that a lease may have more than the clients' clocks say: one that a new reign adds, one
/// for rounding.
const LATE_S: i64 = 2;

/// What clients know of all leases.
#[derive(Debug, Default)]
pub(crate) struct LeaseBook {
    leases: BTreeMap<i64, Fact>,
    /// When the member certainly ran and its clock was logged.
    runs: Vec<(Instant, Instant)>,
}

#[derive(Debug)]
struct Fact {
    ttl_s: i64,
    /// It has its whole time at the earliest from here.
    full_from: Instant,
    /// And at the latest from here.
    full_until: Instant,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Granted,
    GrantInDoubt,
    RevokeInDoubt,
    Gone,
}

/// What happened between a client and a lease. Times are taken before asking, and after the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseNote {
    Granted { lease: i64, ttl_s: i64, asked: Instant, told: Instant },
    GrantInDoubt { lease: i64, ttl_s: i64, asked: Instant, told: Instant },
    Renewed { lease: i64, asked: Instant, told: Instant },
    RenewalInDoubt { lease: i64, told: Instant },
    Revoked { lease: i64 },
    RevokeInDoubt { lease: i64 },
}

/// A lease as the member tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) lease: i64,
    pub(crate) granted_s: i64,
    pub(crate) remaining_s: i64,
    pub(crate) keys: Vec<Bytes>,
}

/// A broken promise about a lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LeaseViolation {
    #[error("lease {lease} of {ttl_s} s is gone")]
    Lost { lease: i64, ttl_s: i64 },
    #[error("lease {lease} is there, but it was never granted, or had ended")]
    Unasked { lease: i64 },
    #[error("lease {lease} has {granted_s} s, granted were {ttl_s} s")]
    Granted { lease: i64, granted_s: i64, ttl_s: i64 },
    #[error("lease {lease} has {remaining_s} s left, which should be {least} to {most} s")]
    Remaining { lease: i64, remaining_s: i64, least: i64, most: i64 },
    #[error("lease {lease} holds {told:?}, which should be {expected:?}")]
    Keys { lease: i64, told: Vec<Bytes>, expected: Vec<Bytes> },
}

impl LeaseBook {
    /// Writes down what happened, in its order.
    pub(crate) fn note(&mut self, note: LeaseNote) {
        let mut grant = |lease, ttl_s, full_from, full_until, standing| {
            self.leases.insert(lease, Fact { ttl_s, full_from, full_until, standing });
        };
        match note {
            LeaseNote::Granted { lease, ttl_s, asked, told } => {
                grant(lease, ttl_s, asked, told, Standing::Granted);
            }
            LeaseNote::GrantInDoubt { lease, ttl_s, asked, told } => {
                grant(lease, ttl_s, asked, told, Standing::GrantInDoubt);
            }
            LeaseNote::Renewed { lease, asked, told } => {
                let fact = self.fact(lease);
                (fact.full_from, fact.full_until) = (asked, told);
            }
            LeaseNote::RenewalInDoubt { lease, told } => self.fact(lease).full_until = told,
            LeaseNote::Revoked { lease } => self.fact(lease).standing = Standing::Gone,
            LeaseNote::RevokeInDoubt { lease } => {
                self.fact(lease).standing = Standing::RevokeInDoubt;
            }
        }
    }

    /// From the first to the second the member ran, and logged its clock at the end.
    pub(crate) fn ran(&mut self, from: Instant, until: Instant) {
        self.runs.push((from, until));
    }

    fn fact(&mut self, lease: i64) -> &mut Fact {
        self.leases.get_mut(&lease).expect("only a granted lease is renewed or revoked")
    }

    /// The leases whose time may be over.
    pub(crate) fn may_have_ended(&self, now: Instant) -> Vec<i64> {
        let over = self.leases.iter().filter(|(_, fact)| fact.may_have_ended(now));
        over.map(|(lease, _)| *lease).collect()
    }

    /// The leases that certainly live and have a while to go.
    pub(crate) fn living(&self) -> Vec<i64> {
        let long = self
            .leases
            .iter()
            .filter(|(_, fact)| fact.standing == Standing::Granted && fact.ttl_s > TTL_LONG_S);
        long.map(|(lease, _)| *lease).collect()
    }

    /// Compares with all that the member tells, asked for between `from` and `until`.
    pub(crate) fn check(
        &mut self,
        told: &[Told],
        keyspace: &Keyspace,
        from: Instant,
        until: Instant,
    ) -> Result<(), LeaseViolation> {
        for one in told {
            self.check_one(one, keyspace, from, until)?;
        }
        for (&lease, fact) in &mut self.leases {
            if told.iter().any(|one| one.lease == lease) {
                fact.standing = Standing::Granted;
            } else if fact.standing == Standing::Granted && !fact.may_have_ended(until) {
                return Err(LeaseViolation::Lost { lease, ttl_s: fact.ttl_s });
            } else {
                fact.standing = Standing::Gone;
            }
        }
        Ok(())
    }

    fn check_one(
        &self,
        told: &Told,
        keyspace: &Keyspace,
        from: Instant,
        until: Instant,
    ) -> Result<(), LeaseViolation> {
        let Told { lease, granted_s, remaining_s, .. } = *told;
        let fact = self.leases.get(&lease).filter(|fact| fact.standing != Standing::Gone);
        let Some(fact) = fact else { return Err(LeaseViolation::Unasked { lease }) };
        let ttl_s = fact.ttl_s;
        if granted_s != ttl_s {
            return Err(LeaseViolation::Granted { lease, granted_s, ttl_s });
        }
        let ran = self.run_time(fact.full_until, from);
        let most = ttl_s.min(ttl_s - seconds(ran) + LATE_S);
        // Up to a second less is shown, and a second of it may be begun.
        let least = ttl_s - seconds(until.saturating_duration_since(fact.full_from)) - 2;
        if remaining_s > most || remaining_s < least {
            return Err(LeaseViolation::Remaining { lease, remaining_s, least, most });
        }
        let expected = keyspace.keys_of(lease);
        if told.keys != expected {
            return Err(LeaseViolation::Keys { lease, told: told.keys.clone(), expected });
        }
        Ok(())
    }

    /// How long the member's clock has certainly gone on since.
    fn run_time(&self, since: Instant, now: Instant) -> Duration {
        let runs = self
            .runs
            .iter()
            .map(|(from, until)| (*until).min(now).saturating_duration_since((*from).max(since)));
        runs.sum()
    }
}

/// Leases above this do not end while the tests run.
pub(crate) const TTL_LONG_S: i64 = 500;

impl Fact {
    fn may_have_ended(&self, now: Instant) -> bool {
        seconds(now.saturating_duration_since(self.full_from)) >= self.ttl_s
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).expect("tests are short")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn told(remaining_s: i64) -> Told {
        Told { lease: 7, granted_s: 600, remaining_s, keys: Vec::new() }
    }

    /// A lease of 600 s that was granted 100 s ago; the member ran for 50 s since.
    fn book() -> (LeaseBook, Instant) {
        let asked = Instant::now();
        let mut book = LeaseBook::default();
        book.note(LeaseNote::Granted { lease: 7, ttl_s: 600, asked, told: asked });
        book.ran(asked + 10 * SECOND, asked + 60 * SECOND);
        (book, asked + 100 * SECOND)
    }

    fn check(told: &[Told]) -> Result<(), LeaseViolation> {
        let (mut book, now) = book();
        book.check(told, &Keyspace::default(), now, now)
    }

    #[test]
    fn a_lease_with_a_time_that_can_be_right_passes() {
        for remaining_s in [498, 520, 552] {
            assert_eq!(check(&[told(remaining_s)]), Ok(()));
        }
    }

    #[test]
    fn a_lease_with_too_much_or_too_little_time_is_noticed() {
        for remaining_s in [497, 553, 600] {
            let found = check(&[told(remaining_s)]);
            assert!(matches!(found, Err(LeaseViolation::Remaining { .. })), "{found:?}");
        }
    }

    #[test]
    fn a_lost_lease_and_one_that_came_back_are_noticed() {
        assert_eq!(check(&[]), Err(LeaseViolation::Lost { lease: 7, ttl_s: 600 }));
        let (mut book, now) = book();
        book.note(LeaseNote::Revoked { lease: 7 });
        let found = book.check(&[told(520)], &Keyspace::default(), now, now);
        assert_eq!(found, Err(LeaseViolation::Unasked { lease: 7 }));
    }

    #[test]
    fn other_keys_and_another_lifetime_are_noticed() {
        let found = check(&[Told { keys: vec![Bytes::from_static(b"k")], ..told(520) }]);
        assert!(matches!(found, Err(LeaseViolation::Keys { .. })), "{found:?}");
        let found = check(&[Told { granted_s: 60, ..told(20) }]);
        assert!(matches!(found, Err(LeaseViolation::Granted { .. })), "{found:?}");
    }

    #[test]
    fn a_lease_may_be_gone_when_its_time_is_over_and_not_before() {
        let (book, now) = book();
        assert_eq!(book.may_have_ended(now), [0_i64; 0]);
        assert_eq!(book.may_have_ended(now + 500 * SECOND), [7]);
    }
}
