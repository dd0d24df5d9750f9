//! Puts at a steady rate beside somebody who reads everything.

use anyhow::Result;

use super::{Loaded, Options};
use crate::activity::{Activity, Done};
use crate::latency::median;
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

/// p99 of one run with a reader, with those of the runs alone before and after it.
#[derive(Clone, Copy)]
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

pub(super) async fn measure(
    loaded: &Loaded,
    options: &Options,
    report: &mut Report<'_>,
) -> Result<()> {
    let alone = async || anyhow::Ok(loaded.paced(options).run().await?.p99_us());
    // Not counted: connections and caches are new.
    alone().await?;
    let mut noise = Vec::new();
    for reader in READERS {
        let (mut turns, mut did) = (Vec::new(), Done::default());
        let mut before_us = alone().await?;
        for _ in 0..options.rounds {
            let (latencies, done) = loaded.puts_beside(options, reader).await?;
            let after_us = alone().await?;
            turns.push(Turn { before_us, beside_us: latencies.p99_us(), after_us });
            before_us = after_us;
            did.times += done.times;
            did.bytes += done.bytes;
        }
        noise.extend(turns.iter().map(|turn| turn.noise()));
        let detail = format!(
            "p99 {:.0} µs beside {:.0} µs alone; it ended {} times, {} MB in all",
            median(turns.iter().map(|turn| turn.beside_us)),
            median(turns.iter().map(|turn| turn.before_us)),
            did.times,
            did.bytes / 1_000_000,
        );
        let ratio = median(turns.iter().map(|turn| turn.ratio()));
        let what = format!("p99 of {} put/s beside {}", options.rate, reader.name());
        report.add(&Row::at_most(&what, ratio, P99_RATIO_MAX, "×", &detail))?;
    }
    let measured = format!("{:.2}× between two runs alone (median)", median(noise));
    report.add(&Row::plain("noise of that p99", measured))?;
    Ok(())
}
