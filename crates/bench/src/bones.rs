//! The properties that later work cannot change, each measured against its limit.
//!
//! ```text
//! readers      1 M keys of 1 KB ─▶ p99 of paced puts: alone, and beside each reader of everything
//! counting     the same keys    ─▶ counts now and in the past, pages at the start, middle and end
//! stalled      the same keys    ─▶ memory of clients that stop reading, and what others notice
//! compaction   100 k, 1 M keys  ─▶ the time that 10 k superseded revisions take among them
//! footprint    1 M small keys   ─▶ memory, restart, bytes written; beside another server if given
//! ```
//!
//! Every comparison is made within one run and most of them turn by turn, because a shared machine
//! is never the same for long. What it does not do: the throughput of clients; see the document.

mod compaction;
mod counting;
mod footprint;
mod readers;
mod stalled;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::activity::{Activity, Done};
use crate::latency::Latencies;
use crate::load::{Data, Paced, in_order, put_all};
use crate::process::{Server, load_average};
use crate::report::Report;

/// A server is left alone after the preload until it writes nothing more, but not for longer.
const QUIET_WITHIN: Duration = Duration::from_mins(1);
/// It counts as quiet after so long without a write.
const QUIET: Duration = Duration::from_secs(2);

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
    /// Memory, disk and restart.
    Footprint,
}

/// What to measure, and how long.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// The server's binary
    #[arg(long)]
    server: PathBuf,
    /// Another server for the footprint, as NAME=BINARY
    #[arg(long, value_parser = named_binary)]
    beside: Option<(String, PathBuf)>,
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
    /// Seconds between the last put and the look at the memory
    #[arg(long, default_value_t = 30)]
    settle: u64,
    /// Where the data goes; a folder for temporary files unless given
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Exit with 0 whatever the limits say
    #[arg(long)]
    report_only: bool,
}

fn named_binary(text: &str) -> Result<(String, PathBuf)> {
    let (name, binary) = text.split_once('=').context("NAME=BINARY is expected")?;
    Ok((name.to_owned(), binary.into()))
}

impl Options {
    fn wants(&self, bone: Bone) -> bool {
        self.only.is_empty() || self.only.contains(&bone)
    }

    fn lasting(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// A fresh folder, removed when dropped.
    fn folder(&self) -> Result<TempDir> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("bones-");
        match &self.dir {
            Some(dir) => builder.tempdir_in(dir),
            None => builder.tempdir(),
        }
        .context("make a data folder")
    }
}

/// A running server with data in it.
struct Loaded {
    // Dropped first: the folder goes after its server.
    server: Server,
    data: Data,
    _folder: TempDir,
}

impl Loaded {
    async fn start(binary: &Path, folder: TempDir, data: Data) -> Result<Loaded> {
        let server = Server::start(binary, &folder.path().join("data"))?;
        put_all(server.address, &data, data.keys, in_order).await.context("load the keys")?;
        let loaded = Loaded { server, data, _folder: folder };
        loaded.quiet().await?;
        Ok(loaded)
    }

    /// Waits until the server has no more to write.
    async fn quiet(&self) -> Result<()> {
        let end = Instant::now() + QUIET_WITHIN;
        let mut written = self.server.written_bytes()?;
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.server.written_bytes()?;
            if now == written || Instant::now() > end {
                return Ok(());
            }
            written = now;
        }
    }

    fn paced(&self, options: &Options) -> Paced<'_> {
        Paced {
            address: self.server.address,
            data: &self.data,
            rate: options.rate,
            lasting: options.lasting(),
            epoch: Instant::now(),
        }
    }

    /// Puts at the rate with something beside them.
    async fn puts_beside(&self, options: &Options, what: Activity) -> Result<(Latencies, Done)> {
        let beside = what.start(self.server.address, &self.data, options.lasting());
        let latencies = self.paced(options).run().await?;
        let done = beside.join().map_err(|_| anyhow::anyhow!("{} panicked", what.name()))?;
        Ok((latencies, done.with_context(|| what.name())?))
    }
}

/// Measures and prints to `out`, as it goes.
///
/// # Errors
/// A limit is missed, or nothing could be measured.
pub(crate) async fn run(options: &Options, out: &mut impl std::io::Write) -> Result<()> {
    writeln!(out, "load average before: {}\n", load_average())?;
    let mut report = Report::new(out)?;
    let shared = [Bone::Readers, Bone::Counting, Bone::Stalled];
    if shared.into_iter().any(|bone| options.wants(bone)) {
        let data = Data::new(options.keys, 64, usize::from(options.value_bytes));
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
    if options.wants(Bone::Footprint) {
        footprint::measure(options, &mut report).await.context("footprint")?;
    }
    let missed = report.missed();
    writeln!(out, "\nload average after: {}", load_average())?;
    match missed {
        0 => Ok(()),
        _ if options.report_only => Ok(()),
        missed => bail!("limits missed: {missed}"),
    }
}
