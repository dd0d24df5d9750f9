//! What a million small keys take: memory, disk, and time to start with them.
//!
//! The disk counts what everybody writes: its number is worth something on an idle machine only.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Options;
use crate::load::{Data, in_order, put_all};
use crate::process::{Server, disk_written_bytes};
use crate::report::{Report, Row};

/// What our memory may be, as a multiple of the other server's.
const MEMORY_RATIO_MAX: f64 = 1.0;
/// What our restart may take, as a multiple of the other server's.
const RESTART_RATIO_MAX: f64 = 0.5;

struct Footprint {
    puts_per_s: f64,
    resident_mib: f64,
    resident_restarted_mib: f64,
    written_per_put: f64,
    restart_s: f64,
}

impl Footprint {
    fn text(&self) -> String {
        format!(
            "{:.0} MiB resident ({:.0} MiB after a restart), {:.2} s to restart, {:.0} bytes \
             written to the disk per put, {:.0} put/s",
            self.resident_mib,
            self.resident_restarted_mib,
            self.restart_s,
            self.written_per_put,
            self.puts_per_s
        )
    }
}

pub(super) async fn measure(options: &Options, report: &mut Report<'_>) -> Result<()> {
    let ours = footprint(&options.server, options).await?;
    let what = format!("{} keys of 64 bytes with values of 256", options.keys);
    report.add(&Row::plain(&what, ours.text()))?;
    let Some((name, binary)) = &options.beside else { return Ok(()) };
    let other = footprint(binary, options).await?;
    report.add(&Row::plain(&format!("{what}, {name}"), other.text()))?;
    let memory = ours.resident_mib / other.resident_mib;
    let what = format!("resident memory {} s after the last put, of {name}'s", options.settle);
    let detail = format!("{:.0} MiB to {:.0} MiB", ours.resident_mib, other.resident_mib);
    report.add(&Row::at_most(&what, memory, MEMORY_RATIO_MAX, "×", &detail))?;
    let restart = ours.restart_s / other.restart_s;
    let detail = format!("{:.2} s to {:.2} s", ours.restart_s, other.restart_s);
    let what = format!("restart to the ready line, of {name}'s");
    report.add(&Row::at_most(&what, restart, RESTART_RATIO_MAX, "×", &detail))?;
    let written = ours.written_per_put / other.written_per_put;
    let measured = format!("{written:.2}× of {name}'s");
    report.add(&Row::plain("bytes written to disk per put", measured))?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
async fn footprint(binary: &Path, options: &Options) -> Result<Footprint> {
    let folder = options.folder()?;
    let data_dir = folder.path().join("data");
    let data = Data::new(options.keys, 64, 256);
    let server = Server::start(binary, &data_dir)?;
    let written_before = disk_written_bytes(folder.path())?;
    let begin = Instant::now();
    put_all(server.address, &data, data.keys, in_order).await?;
    let puts_per_s = options.keys as f64 / begin.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(options.settle)).await;
    let mib = f64::from(1 << 20);
    let resident_mib = server.resident_bytes()? as f64 / mib;
    let written_after = disk_written_bytes(folder.path())?;
    let written = written_before.zip(written_after).map_or(f64::NAN, |(a, b)| (b - a) as f64);
    let written_per_put = written / options.keys as f64;
    server.stop()?;
    let server = Server::start(binary, &data_dir)?;
    let restart_s = server.started_in.as_secs_f64();
    let resident_restarted_mib = server.resident_bytes()? as f64 / mib;
    server.stop()?;
    Ok(Footprint { puts_per_s, resident_mib, resident_restarted_mib, written_per_put, restart_s })
}
