//! Puts at a steady rate beside somebody who reads everything.

use anyhow::Result;

use super::Options;
use crate::activity::Activity;
use crate::disturbed::{Turns, alone_us};
use crate::loaded::Loaded;
use crate::report::{Report, Row};

/// What the p99 may become, as a multiple of what it is without the reader.
const P99_RATIO_MAX: f64 = 1.2;

const READERS: [Activity; 5] = [
    Activity::HeldView,
    Activity::ListStreamed,
    Activity::ListPaged,
    Activity::Snapshot,
    Activity::HashKv,
];

pub(super) async fn measure(
    loaded: &Loaded,
    options: &Options,
    report: &mut Report<'_>,
) -> Result<()> {
    let pace = options.pace();
    // Not counted: connections and caches are new.
    alone_us(loaded, pace).await?;
    for reader in READERS {
        let mut turns = Turns::default();
        let mut before_us = alone_us(loaded, pace).await?;
        for _ in 0..options.rounds {
            before_us = turns.take(loaded, pace, reader, &loaded.data, before_us).await?;
        }
        let what = format!("p99 of {} put/s beside {}", options.rate, reader.name());
        let detail = turns.to_string();
        report.add(&Row::at_most(&what, turns.ratio(), P99_RATIO_MAX, "×", &detail))?;
    }
    Ok(())
}
