//! Makes a failing run small: fewer steps that still show the same difference.
//!
//! First the end of the run is tried alone, ever longer; then parts are left out, halves first.

use std::time::{Duration, Instant};

use super::Pair;
use crate::driver::Found;
use crate::generate::Profile;
use crate::step::Step;

/// How long it is tried; each attempt takes two fresh servers.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many steps of the end are tried first.
const TAIL_STEPS_MIN: usize = 8;

/// The same difference in fewer steps; `None` if no part of the run shows it.
pub(super) async fn minimise(
    pair: &Pair,
    profile: &Profile,
    steps: &[Step],
    found: &Found,
) -> Option<Vec<Step>> {
    let mut attempts = Attempts {
        pair,
        profile,
        place: kind(&found.difference.place),
        until: Instant::now() + PATIENCE,
    };
    let mut small = attempts.tail(steps).await?;
    let mut part = small.len() / 2;
    while part > 0 {
        let mut start = 0;
        while start < small.len() {
            let end = (start + part).min(small.len());
            let without: Vec<Step> = [&small[..start], &small[end..]].concat();
            if attempts.shows(&without).await? {
                small = without;
            } else {
                start = end;
            }
        }
        part /= 2;
    }
    Some(small)
}

struct Attempts<'a> {
    pair: &'a Pair,
    profile: &'a Profile,
    place: String,
    until: Instant,
}

impl Attempts<'_> {
    /// The shortest end of the run that shows the difference alone.
    async fn tail(&mut self, steps: &[Step]) -> Option<Vec<Step>> {
        let mut length = TAIL_STEPS_MIN;
        loop {
            let tail = &steps[steps.len().saturating_sub(length)..];
            if self.shows(tail).await? {
                return Some(tail.to_vec());
            }
            if length >= steps.len() {
                return None;
            }
            length *= 4;
        }
    }

    /// Whether these steps show the difference; no when the time is used up. `None` if the
    /// servers do not even start.
    async fn shows(&mut self, steps: &[Step]) -> Option<bool> {
        if Instant::now() >= self.until {
            return Some(false);
        }
        let mut driver = self.pair.start(self.profile).await.ok()?;
        for step in steps.iter().chain(&[Step::Settle]) {
            driver.step(step).await.ok()?;
            if !driver.found.is_empty() {
                break;
            }
        }
        Some(driver.found.iter().any(|found| kind(&found.difference.place) == self.place))
    }
}

/// A place without the numbers in it, which change when steps are left out.
fn kind(place: &str) -> String {
    place.chars().filter(|c| !c.is_ascii_digit()).collect()
}
