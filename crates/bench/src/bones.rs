//! The properties that later work cannot change, each measured against its limit.
//!
//! ```text
//! readers      1 M keys of 1 KB ─▶ p99 of paced puts: alone, and beside each reader of everything
//! counting     the same keys    ─▶ counts now and in the past, pages at the start, middle and end
//! stalled      the same keys    ─▶ memory of clients that stop reading, and what others notice
//! compaction   100 k, 1 M keys  ─▶ the time that 10 k superseded revisions take among them
//! ```
//!
//! Every comparison is made within one run and most of them turn by turn, because a shared machine
//! is never the same for long. What it does not do: compare servers; that is [`crate::beside`].

mod compaction;
mod counting;
mod readers;
mod stalled;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::load::Data;
use crate::loaded::{Loaded, Pace};
use crate::process::{Program, folder, load_average};
use crate::report::Report;
use crate::values::Values;

/// One group of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bone {
    /// Puts beside readers of everything.
    Readers,
    /// Counting and paging.
    Counting,
    /// Clients that stop reading.
    Stalled,
    /// What a compaction costs.
    Compaction,
}

/// What to measure, and how long.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// The server's binary, and flags of its own if it shall have some
    #[arg(long)]
    server: Program,
    /// Only these, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<Bone>,
    /// Keys in the store
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    keys: u64,
    /// Bytes of a value where lists count: a million of them are a gigabyte
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(8..))]
    value_bytes: u16,
    /// How long each run of puts lasts
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Puts per second
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How often each comparison is made; medians count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where the data goes; a folder for temporary files unless given
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Exit with 0 whatever the limits say
    #[arg(long)]
    report_only: bool,
}

impl Options {
    fn wants(&self, bone: Bone) -> bool {
        self.only.is_empty() || self.only.contains(&bone)
    }

    fn pace(&self) -> Pace {
        Pace { rate: self.rate, lasting: Duration::from_secs(self.seconds) }
    }

    fn values(&self) -> Values {
        Values::like_objects(usize::from(self.value_bytes))
    }

    /// A fresh folder, removed when dropped.
    fn folder(&self) -> Result<TempDir> {
        folder(self.dir.as_deref())
    }
}

/// Measures and prints to `out`, as it goes.
///
/// # Errors
/// A limit is missed, or nothing could be measured.
pub(crate) async fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "load average before: {}\n", load_average())?;
    let mut report = Report::new(out)?;
    let shared = [Bone::Readers, Bone::Counting, Bone::Stalled];
    if shared.into_iter().any(|bone| options.wants(bone)) {
        let data = Data::new(options.keys, 64, options.values());
        let loaded = Loaded::start(&options.server, options.folder()?, data).await?;
        if options.wants(Bone::Counting) {
            counting::measure(&loaded, &mut report).await.context("counting")?;
        }
        if options.wants(Bone::Stalled) {
            stalled::measure(&loaded, options, &mut report).await.context("stalled clients")?;
        }
        if options.wants(Bone::Readers) {
            readers::measure(&loaded, options, &mut report).await.context("readers")?;
        }
    }
    if options.wants(Bone::Compaction) {
        compaction::measure(options, &mut report).await.context("compaction")?;
    }
    let missed = report.missed();
    writeln!(out, "\nload average after: {}", load_average())?;
    match missed {
        0 => Ok(()),
        _ if options.report_only => Ok(()),
        missed => bail!("limits missed: {missed}"),
    }
}
