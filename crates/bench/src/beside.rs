//! Several servers in one run, turn by turn, each against its limits and beside one of them.
//!
//! ```text
//! for each server:  1 M keys ─▶ bytes written, memory, restarts
//!                   1 M overwrites of 10,000 keys ─▶ bytes written
//! then in turn:     A B C A B C …   counts, lists, keep-alives, new watchers
//!                   A B C A B C …   p99 of paced puts, alone and beside a compaction, a list of
//!                                   500 MB, a snapshot
//! ```
//!
//! A server is given as `NAME=COMMAND`; the one behind `--beside` is what the others are compared
//! with. The stores of a million keys stay up together and are used by everything that does not care
//! what else there is in them; overwrites have a fresh one.
//!
//! ```text
//! bench beside --server memory=bin/metastore --server 'rocksdb=bin/metastore --engine=rocksdb' \
//!     --beside etcd=compat/bin/etcd
//! ```
//!
//! What it does not do: the throughput of puts and gets; see the document.

mod comparison;
mod footprint;
mod lists;
mod overwrites;
mod steady;
mod streams;

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::load::Data;
use crate::loaded::{Loaded, Pace};
use crate::process::{Program, folder, load_average};
use crate::report::Report;
use crate::values::Values;
use comparison::Comparison;

/// One group of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Group {
    /// Bytes written, memory and restart with a million keys.
    Footprint,
    /// Bytes written when few keys are written often.
    Overwrites,
    /// Counting and listing.
    Lists,
    /// Keep-alives of many clients.
    KeepAlives,
    /// New watchers.
    Watchers,
    /// Puts at a steady rate beside a compaction, a list and a snapshot.
    Steady,
}

/// What to measure, and how long.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// A server as NAME=COMMAND, the command with flags if it shall have some; several are allowed
    #[arg(long, required = true)]
    server: Vec<Subject>,
    /// The one that the others are compared with
    #[arg(long)]
    beside: Option<Subject>,
    /// Only these, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<Group>,
    /// All numbers of keys, clients and watchers are divided by this
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    shrink: u64,
    /// How long each run of puts or keep-alives lasts
    #[arg(long = "seconds", default_value = "4", value_parser = seconds)]
    lasting: Duration,
    /// Puts per second where their latency counts
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How often each comparison is made; medians count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds between the last put and the look at the memory; what else waits until a server has no
    /// more to write waits no longer
    #[arg(long, default_value = "30", value_parser = seconds)]
    settle: Duration,
    /// Values that no compressor makes smaller; otherwise they are like real objects
    #[arg(long)]
    incompressible: bool,
    /// Where the data goes; a folder for temporary files unless given
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Exit with 0 whatever the limits say
    #[arg(long)]
    report_only: bool,
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// A server and what it is called in the table.
#[derive(Clone, Debug)]
struct Subject {
    name: String,
    program: Program,
}

impl FromStr for Subject {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Subject> {
        let (name, program) = text.split_once('=').context("NAME=COMMAND is expected")?;
        ensure!(!name.is_empty() && !name.contains(['/', ' ']), "{name:?} is no name");
        Ok(Subject { name: name.to_owned(), program: program.parse()? })
    }
}

impl Options {
    fn wants(&self, group: Group) -> bool {
        self.only.is_empty() || self.only.contains(&group)
    }

    /// So many, or fewer if the run shall be small.
    fn sized(&self, count: u64) -> u64 {
        count.div_ceil(self.shrink)
    }

    fn pace(&self) -> Pace {
        Pace { rate: self.rate, lasting: self.lasting }
    }

    /// Keys of 64 bytes.
    fn data(&self, keys: u64, value_bytes: usize) -> Data {
        let values = match self.incompressible {
            true => Values::incompressible(value_bytes),
            false => Values::like_objects(value_bytes),
        };
        Data::new(keys, 64, values)
    }

    /// A server without data, in a fresh folder.
    fn start(&self, subject: &Subject, data: Data) -> Result<Loaded> {
        Loaded::empty(&subject.program, folder(self.dir.as_deref())?, data)
            .with_context(|| format!("start {}", subject.name))
    }
}

/// Measures and prints to `out`, as it goes.
///
/// # Errors
/// A limit is missed, or nothing could be measured.
pub(crate) async fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "load average before: {}\n", load_average())?;
    let columns = ["what", "server", "measured", "of the other's"];
    let mut comparison = Comparison {
        reference: options.beside.as_ref(),
        servers: &options.server,
        report: Report::with_columns(out, &columns)?,
    };
    if options.wants(Group::Overwrites) {
        overwrites::measure(options, &mut comparison).await.context("overwrites")?;
    }
    let others =
        [Group::Footprint, Group::Lists, Group::KeepAlives, Group::Watchers, Group::Steady];
    if others.into_iter().any(|group| options.wants(group)) {
        on_the_store(options, &mut comparison).await?;
    }
    let missed = comparison.report.missed();
    writeln!(out, "\nload average after: {}", load_average())?;
    match missed {
        0 => Ok(()),
        _ if options.report_only => Ok(()),
        missed => bail!("limits missed: {missed}"),
    }
}

/// What is measured with a million keys in the store.
async fn on_the_store(options: &Options, comparison: &mut Comparison<'_>) -> Result<()> {
    let loaded = footprint::load_and_measure(options, comparison).await.context("footprint")?;
    if options.wants(Group::Lists) {
        lists::measure(&loaded, options, comparison).await.context("lists")?;
    }
    if options.wants(Group::KeepAlives) {
        streams::keep_alives(&loaded, options, comparison).await.context("keep-alives")?;
    }
    if options.wants(Group::Watchers) {
        streams::new_watchers(&loaded, options, comparison).await.context("watchers")?;
    }
    if options.wants(Group::Steady) {
        steady::measure(&loaded, options, comparison).await.context("steady puts")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_name_and_a_command() {
        let subject: Subject = "a=bin/b --engine=rocksdb".parse().expect("a server");
        assert_eq!(subject.name, "a");
        assert!(subject.program.is_rocksdb());
        for text in ["bin/b", "=bin/b", "bin/b --engine=rocksdb", "a="] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
