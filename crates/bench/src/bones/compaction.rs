//! Compaction costs what the garbage costs, not what lives beside it.

use anyhow::{Context as _, Result};

use super::Options;
use crate::activity::{Activity, compact};
use crate::disturbed::alone_us;
use crate::latency::median;
use crate::load::Data;
use crate::loaded::Loaded;
use crate::report::{Report, Row};
use crate::values::Values;
use crate::wire::{Connection, WINDOW_BYTES};

/// Superseded revisions that each compaction removes.
const GARBAGE: u64 = 10_000;
/// What it may cost more among ten times the keys, as a multiple.
const RATIO_MAX: f64 = 1.25;
/// Compactions of each server.
const TURNS: u32 = 7;

pub(super) async fn measure(options: &Options, report: &mut Report<'_>) -> Result<()> {
    let many = Data::new(options.keys, 64, Values::like_objects(256));
    let few = many.with_keys(options.keys / 10);
    let few = Loaded::start(&options.server, options.folder()?, few).await?;
    let many = Loaded::start(&options.server, options.folder()?, many).await?;

    // In turn, so that whatever disturbs the machine disturbs both alike.
    let (mut few_ms, mut many_ms) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        few_ms.push(garbage_and_compaction(&few).await?);
        many_ms.push(garbage_and_compaction(&many).await?);
    }
    let (few_ms, many_ms) = (median(few_ms), median(many_ms));
    let detail = format!(
        "{many_ms:.1} ms among {} keys, {few_ms:.1} ms among {}",
        many.data.keys, few.data.keys
    );
    let what = format!("compacting {GARBAGE} superseded revisions among ten times the keys");
    report.add(&Row::at_most(&what, many_ms / few_ms, RATIO_MAX, "×", &detail))?;

    let alone_us = alone_us(&many, options.pace()).await?;
    let (beside, done) = many.puts_beside(options.pace(), Activity::Compact, &many.data).await?;
    let measured = format!(
        "{:.2}× (p99 {:.0} µs beside {alone_us:.0} µs alone; {} compactions)",
        beside.p99_us() / alone_us,
        beside.p99_us(),
        done.times
    );
    let what = format!("p99 of {} put/s beside {}", options.rate, Activity::Compact.name());
    report.add(&Row::plain(&what, measured))?;
    Ok(())
}

/// Milliseconds until garbage just made is gone.
async fn garbage_and_compaction(loaded: &Loaded) -> Result<f64> {
    let Loaded { server, data, .. } = loaded;
    loaded.put(GARBAGE, Data::scattered).await.context("make garbage")?;
    let connection = Connection::open(server.address, WINDOW_BYTES).await?;
    Ok(compact(&connection, data).await?.as_secs_f64() * 1e3)
}
