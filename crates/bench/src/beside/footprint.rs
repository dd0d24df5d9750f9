//! What a million small keys take: memory, disk, and time to start with them.
//!
//! The disk counts what everybody writes: its number is worth something on an idle machine only.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::comparison::{Comparison, Limit, Measured};
use super::{Group, Options};
use crate::latency::median;
use crate::load::in_order;
use crate::loaded::Loaded;
use crate::process::disk_written_bytes;

/// Keys of the store.
pub(super) const KEYS: u64 = 1_000_000;
/// Bytes of a value, there.
pub(super) const VALUE_BYTES: usize = 256;
/// What may be written to disk for a put, as a multiple of the other's.
pub(super) const WRITTEN: Limit = Limit::OfReference { memory: Some(0.6), rocksdb: Some(1.0) };
/// What memory may be resident.
const MEMORY: Limit = Limit::OfReference { memory: Some(1.0), rocksdb: Some(0.7) };
/// What a restart may take.
const RESTART: Limit = Limit::OfReference { memory: Some(0.5), rocksdb: None };
/// Restarts of each server.
const RESTARTS: u32 = 3;

/// Of one server.
struct Footprint {
    puts_per_s: f64,
    written_per_put: f64,
    resident_mib: f64,
    restart_s: f64,
}

/// Loads all servers, one after the other, and leaves them up.
pub(super) async fn load_and_measure(
    options: &Options,
    comparison: &mut Comparison<'_>,
) -> Result<Vec<Loaded>> {
    let (mut servers, mut footprints) = (Vec::new(), Vec::new());
    for subject in comparison.subjects() {
        let loaded = options.start(subject, options.data(options.sized(KEYS), VALUE_BYTES))?;
        if options.wants(Group::Footprint) {
            let (loaded, footprint) = measure(loaded, options).await?;
            servers.push(loaded);
            footprints.push(footprint);
        } else {
            loaded.put(loaded.data.keys, in_order).await?;
            loaded.quiet(options.settle).await?;
            servers.push(loaded);
        }
    }
    if options.wants(Group::Footprint) {
        report(&footprints, options, comparison)?;
    }
    Ok(servers)
}

async fn measure(mut loaded: Loaded, options: &Options) -> Result<(Loaded, Footprint)> {
    let written = Written::begin(&loaded)?;
    let begin = Instant::now();
    loaded.put(loaded.data.keys, in_order).await?;
    let took = begin.elapsed();
    tokio::time::sleep(options.settle).await;
    let resident_mib = mib(loaded.server.resident_bytes()?);
    let written_per_put = written.per_put(&loaded, loaded.data.keys)?;
    let mut restarts_s = Vec::new();
    for _ in 0..RESTARTS {
        loaded = loaded.restarted()?;
        restarts_s.push(loaded.server.started_in.as_secs_f64());
    }
    let footprint = Footprint {
        puts_per_s: per_s(loaded.data.keys, took),
        written_per_put,
        resident_mib,
        restart_s: median(restarts_s),
    };
    Ok((loaded, footprint))
}

fn report(
    footprints: &[Footprint],
    options: &Options,
    comparison: &mut Comparison<'_>,
) -> Result<()> {
    let keys = options.sized(KEYS);
    let written: Vec<Measured> =
        footprints.iter().map(|of| written(of.written_per_put, of.puts_per_s)).collect();
    let what = format!("bytes written to disk per put, {keys} new keys");
    comparison.add(&what, WRITTEN, &written)?;
    let each = |value: fn(&Footprint) -> f64, unit: &str, digits: usize| -> Vec<Measured> {
        let text = |value: f64| format!("{value:.digits$} {unit}");
        let values = footprints.iter().map(value);
        values.map(|value| Measured { value, text: text(value) }).collect()
    };
    let what = format!(
        "resident memory {} s after the last put, {keys} keys",
        options.settle.as_secs_f64()
    );
    comparison.add(&what, MEMORY, &each(|of| of.resident_mib, "MiB", 0))?;
    let what = format!("restart to the ready line, {keys} keys");
    comparison.add(&what, RESTART, &each(|of| of.restart_s, "s", 2))
}

/// What the disk had written before a load.
pub(super) struct Written(Option<u64>);

impl Written {
    pub(super) fn begin(loaded: &Loaded) -> Result<Written> {
        Ok(Written(disk_written_bytes(loaded.folder())?))
    }

    /// What it has written since for each of so many puts; not a number where no disk counts.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub(super) fn per_put(&self, loaded: &Loaded, puts: u64) -> Result<f64> {
        let after = disk_written_bytes(loaded.folder())?;
        Ok(self.0.zip(after).map_or(f64::NAN, |(before, after)| (after - before) as f64)
            / puts as f64)
    }
}

/// For the table.
pub(super) fn written(per_put: f64, puts_per_s: f64) -> Measured {
    let text = if per_put.is_nan() {
        "not measured: no disk counts what is written".to_owned()
    } else {
        format!("{per_put:.0} B ({puts_per_s:.0} put/s)")
    };
    Measured { value: per_put, text }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn per_s(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
