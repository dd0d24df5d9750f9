//! `cargo xtask compat`: the comparison for as long as one likes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use compat::run::{Pair, etcd_folder};

/// Compares MetaStore with etcd, request by request.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server under test.
    #[arg(long)]
    subject: PathBuf,
    /// The server of reference; etcd as `compat/build` makes it, unless named.
    #[arg(long)]
    etcd: Option<PathBuf>,
    /// How many requests each of them gets.
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// What the requests are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The engine of the server under test.
    #[arg(long)]
    engine: Option<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let checkout = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let etcd = match arguments.etcd {
        Some(etcd) => etcd,
        None => etcd_folder(checkout)?.context("there is no Go to build etcd with")?.join("etcd"),
    };
    let subject_flags = arguments.engine.map(|engine| format!("--engine={engine}"));
    let pair = Pair {
        etcd,
        subject: arguments.subject,
        subject_flags: subject_flags.into_iter().collect(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(pair.run(arguments.requests, arguments.seed))?;
    let mut out = std::io::stdout();
    for (name, count) in &report.explained {
        writeln!(out, "explained {count} times: {name}")?;
    }
    writeln!(out, "{} requests from seed {}", report.requests_count, arguments.seed)?;
    match report.failure {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => {
            writeln!(out, "{failure}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
