//! Puts at a steady rate beside somebody who works, compared with the same puts alone.
//!
//! ```text
//! alone ── beside a list ── alone ── beside a snapshot ── alone      each so many seconds
//!    └────── a turn ─────────┴─────────── a turn ───────────┘
//! ```
//!
//! A shared machine is never the same for long: so each run beside somebody stands between two runs
//! alone, and what counts is the median of the ratios of several turns.

use std::fmt;

use crate::activity::{Activity, Done};
use crate::latency::{Timed, median};
use crate::load::Data;
use crate::loaded::{Loaded, Pace};

/// p99 of one run beside somebody, with those of the runs alone before and after it.
#[derive(Clone, Copy, Debug)]
struct Turn {
    before_us: f64,
    beside_us: f64,
    after_us: f64,
}

impl Turn {
    fn ratio(self) -> f64 {
        self.beside_us / self.before_us.midpoint(self.after_us)
    }

    /// What differs although nothing has changed.
    fn noise(self) -> f64 {
        self.before_us.max(self.after_us) / self.before_us.min(self.after_us)
    }
}

/// All turns with one activity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns {
    turns: Vec<Turn>,
    did: Done,
}

impl Turns {
    /// Makes one more turn after a run alone with this p99; answers with that of the run after it.
    pub(crate) async fn take(
        &mut self,
        loaded: &Loaded,
        pace: Pace,
        activity: Activity,
        keys: &Data,
        before_us: f64,
    ) -> anyhow::Result<f64> {
        let (puts, done) = loaded.puts_beside(pace, activity, keys).await?;
        let after_us = alone_us(loaded, pace).await?;
        self.turns.push(Turn { before_us, beside_us: beside_us(&puts, &done), after_us });
        self.did.add(done);
        Ok(after_us)
    }

    /// What the p99 becomes, as a multiple of what it is alone.
    pub(crate) fn ratio(&self) -> f64 {
        median(self.turns.iter().map(|turn| turn.ratio()))
    }

    /// What two runs alone differ in.
    pub(crate) fn noise(&self) -> f64 {
        median(self.turns.iter().map(|turn| turn.noise()))
    }
}

/// For people: the two p99, what runs alone differ in, and what was done beside the puts.
impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beside_us = median(self.turns.iter().map(|turn| turn.beside_us));
        let before_us = median(self.turns.iter().map(|turn| turn.before_us));
        let (noise, did) = (self.noise(), self.did);
        write!(f, "p99 {beside_us:.0} µs beside {before_us:.0} µs alone, noise {noise:.2}×; {did}")
    }
}

/// p99 of puts alone.
pub(crate) async fn alone_us(loaded: &Loaded, pace: Pace) -> anyhow::Result<f64> {
    Ok(loaded.paced(pace).run().await?.p99_us())
}

/// What is done once may end before the puts do: those that come later are not beside it.
fn beside_us(puts: &Timed, done: &Done) -> f64 {
    match done.until {
        Some(until) => puts.p99_us_until(until),
        None => puts.p99_us(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_run_between_two_alone_shows_and_a_slow_hour_does_not() {
        let turn = |before_us, beside_us, after_us| Turn { before_us, beside_us, after_us };
        let turns = vec![turn(100.0, 300.0, 200.0), turn(9000.0, 9000.0, 9000.0)];
        let turns = Turns { turns, did: Done::default() };
        assert!((turns.ratio() - 1.5).abs() < 1e-9, "{}", turns.ratio());
        assert!((turns.noise() - 1.5).abs() < 1e-9, "{}", turns.noise());
    }
}
