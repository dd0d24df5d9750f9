//! When history is dropped without being asked: a clockwork that says which revision to compact to.
//!
//! Two policies, etcd's:
//!
//! ```text
//! Periodic, 3 h:   sample the revision every 6 minutes
//!   time      0h ── 1h ── 2h ── 3h ── 4h ── 5h
//!   compact                      ▲     ▲     ▲      to the sample of 0h, 1h, 2h
//!
//! Revisions, 1000: every 5 minutes, to the present revision less 1000
//! ```
//!
//! ```
//! use node::compactor::{Compactor, Policy};
//! use state::Revision;
//!
//! let mut compactor = Compactor::new(Policy::Revisions { keep: 1000 }, 0);
//! assert_eq!(compactor.next_tick_ms(), 300_000);
//! assert_eq!(compactor.tick(300_000, Revision(1500), true), Some(Revision(500)));
//! compactor.finished(Revision(500), 300_010);
//! // Nothing has been written since: nothing to do.
//! assert_eq!(compactor.tick(600_000, Revision(1500), true), None);
//! ```
//!
//! A compaction that fails is due again at the next tick. Only a leader compacts; the others go on
//! sampling, so that a new leader knows what the revision was a period ago.
//!
//! What it does not do: it proposes nothing and knows no clock; both are its caller's.

use std::collections::VecDeque;

use state::Revision;

use crate::limits::{COMPACTION_INTERVAL_MS_MAX, COMPACTION_REVISIONS_INTERVAL_MS};

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// That of this many milliseconds.
    Periodic {
        /// Greater than zero.
        period_ms: u64,
    },
    /// This many revisions.
    Revisions {
        /// Greater than zero.
        keep: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Compactor {
    policy: Policy,
    /// Between two ticks.
    step_ms: u64,
    next_tick_ms: u64,
    /// Time and revision; the first is the newest that is a period old, once there is one.
    samples: VecDeque<(u64, Revision)>,
    /// When the next compaction is due at the earliest.
    not_before_ms: u64,
    last: Option<Revision>,
}

/// Ticks within one interval between compactions, hence the precision of a period: a tenth.
const TICKS_PER_INTERVAL: u64 = 10;

impl Compactor {
    /// A clockwork that begins at `now_ms`; it wants to know the revision of that moment next.
    #[must_use]
    pub fn new(policy: Policy, now_ms: u64) -> Compactor {
        let (step_ms, not_before_ms) = match policy {
            Policy::Periodic { period_ms } => {
                assert!(period_ms > 0, "a period of nothing keeps nothing");
                let step_ms = (interval_ms(period_ms) / TICKS_PER_INTERVAL).max(1);
                (step_ms, now_ms.saturating_add(period_ms))
            }
            Policy::Revisions { keep } => {
                assert!(keep > 0, "no revisions to keep");
                (COMPACTION_REVISIONS_INTERVAL_MS, now_ms)
            }
        };
        Compactor {
            policy,
            step_ms,
            next_tick_ms: now_ms.saturating_add(step_ms),
            samples: VecDeque::new(),
            not_before_ms,
            last: None,
        }
    }

    /// Notes the revision at the beginning: with it the first period begins.
    pub fn begin(&mut self, now_ms: u64, revision: Revision) {
        self.samples.push_back((now_ms, revision));
    }

    /// When to call [`Compactor::tick`] next.
    #[must_use]
    pub fn next_tick_ms(&self) -> u64 {
        self.next_tick_ms
    }

    /// Takes note of the revision and says to which one to compact, if to any.
    pub fn tick(&mut self, now_ms: u64, revision: Revision, leads: bool) -> Option<Revision> {
        // A clockwork that was held up does not catch up.
        self.next_tick_ms = now_ms.saturating_add(self.step_ms);
        let target = match self.policy {
            Policy::Periodic { period_ms } => self.sampled(now_ms, period_ms, revision),
            Policy::Revisions { keep } => {
                let keep = i64::try_from(keep).unwrap_or(i64::MAX);
                Some(Revision(revision.0.saturating_sub(keep)))
            }
        };
        let due = leads && now_ms >= self.not_before_ms;
        target.filter(|target| due && target.0 > 0 && Some(*target) != self.last)
    }

    /// The history below `target` is gone, whoever has dropped it.
    pub fn finished(&mut self, target: Revision, now_ms: u64) {
        self.last = Some(target);
        if let Policy::Periodic { period_ms } = self.policy {
            // From the tick that asked for it: the time it took must not add up.
            let asked_ms = self.next_tick_ms.saturating_sub(self.step_ms).min(now_ms);
            self.not_before_ms = asked_ms.saturating_add(interval_ms(period_ms));
        }
    }

    /// The newest revision known to be a period old.
    fn sampled(&mut self, now_ms: u64, period_ms: u64, revision: Revision) -> Option<Revision> {
        self.samples.push_back((now_ms, revision));
        let is_old = |(at_ms, _): &(u64, Revision)| now_ms.saturating_sub(*at_ms) >= period_ms;
        while self.samples.get(1).is_some_and(is_old) {
            self.samples.pop_front();
        }
        self.samples.front().copied().filter(is_old).map(|(_, revision)| revision)
    }
}

/// Between two compactions of a policy by time.
fn interval_ms(period_ms: u64) -> u64 {
    period_ms.min(COMPACTION_INTERVAL_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const HOUR_MS: u64 = 60 * MINUTE_MS;

    /// Lives through `hours`, during which one revision is written a minute; what was compacted to
    /// at which minute. `leads` and `fails` are asked with the minute.
    fn life(
        policy: Policy,
        hours: u64,
        leads: impl Fn(u64) -> bool,
        fails: impl Fn(u64) -> bool,
    ) -> Vec<(u64, i64)> {
        let revision_at = |ms: u64| Revision(1 + i64::try_from(ms / MINUTE_MS).expect("small"));
        let mut compactor = Compactor::new(policy, 0);
        compactor.begin(0, revision_at(0));
        let mut compacted = Vec::new();
        while compactor.next_tick_ms() <= hours * HOUR_MS {
            let now_ms = compactor.next_tick_ms();
            let minute = now_ms / MINUTE_MS;
            if let Some(target) = compactor.tick(now_ms, revision_at(now_ms), leads(minute))
                && !fails(minute)
            {
                // It took a while.
                compactor.finished(target, now_ms + 1500);
                compacted.push((minute, target.0));
            }
        }
        compacted
    }

    fn always(_minute: u64) -> bool {
        true
    }

    fn never(_minute: u64) -> bool {
        false
    }

    #[test]
    fn a_long_period_is_kept_and_moves_on_hour_by_hour() {
        let policy = Policy::Periodic { period_ms: 3 * HOUR_MS };
        let compacted = life(policy, 6, always, never);
        assert_eq!(compacted, [(180, 1), (240, 61), (300, 121), (360, 181)]);
    }

    #[test]
    fn a_short_period_is_kept_and_moves_on_period_by_period() {
        let policy = Policy::Periodic { period_ms: 20 * MINUTE_MS };
        let compacted = life(policy, 1, always, never);
        assert_eq!(compacted, [(20, 1), (40, 21), (60, 41)]);
    }

    #[test]
    fn a_failure_is_tried_again_at_the_next_tick() {
        let policy = Policy::Periodic { period_ms: HOUR_MS };
        let compacted = life(policy, 3, always, |minute| minute < 80);
        // Ticks are six minutes apart; the next compaction is an hour after the one that worked.
        assert_eq!(compacted, [(84, 25), (144, 85)]);
        let policy = Policy::Revisions { keep: 10 };
        assert_eq!(life(policy, 1, always, |minute| minute < 52), [(55, 46), (60, 51)]);
    }

    #[test]
    fn a_follower_drops_nothing_and_knows_the_past_when_it_comes_to_lead() {
        let policy = Policy::Periodic { period_ms: HOUR_MS };
        assert_eq!(life(policy, 3, |minute| minute > 150, never), [(156, 97)]);
    }

    #[test]
    fn so_many_revisions_are_kept_every_five_minutes() {
        let policy = Policy::Revisions { keep: 50 };
        let compacted = life(policy, 1, always, never);
        assert_eq!(compacted, [(50, 1), (55, 6), (60, 11)]);
    }

    #[test]
    fn a_store_at_rest_is_compacted_once() {
        for policy in [Policy::Periodic { period_ms: HOUR_MS }, Policy::Revisions { keep: 2 }] {
            let mut compactor = Compactor::new(policy, 0);
            compactor.begin(0, Revision(9));
            let mut targets = Vec::new();
            while compactor.next_tick_ms() <= 10 * HOUR_MS {
                let now_ms = compactor.next_tick_ms();
                if let Some(target) = compactor.tick(now_ms, Revision(9), true) {
                    compactor.finished(target, now_ms);
                    targets.push(target);
                }
            }
            assert_eq!(targets.len(), 1, "{policy:?}: {targets:?}");
        }
    }

    #[test]
    fn samples_do_not_pile_up() {
        let mut compactor = Compactor::new(Policy::Periodic { period_ms: 10 * HOUR_MS }, 0);
        compactor.begin(0, Revision(1));
        for _ in 0..10_000 {
            let now_ms = compactor.next_tick_ms();
            let _ = compactor.tick(now_ms, Revision(5), false);
        }
        assert!(compactor.samples.len() <= 102, "{} samples", compactor.samples.len());
    }
}
