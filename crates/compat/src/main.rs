//! `cargo xtask compat`: the comparison for as long as one likes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use compat::run::{Pair, etcd_folder};
use compat::scene::Scene;

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
    /// Play the scenes, too: they take half a minute.
    #[arg(long)]
    scenes: bool,
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
    let mut out = std::io::stdout();
    for scene in Scene::ALL.into_iter().filter(|_| arguments.scenes) {
        let found = runtime.block_on(scene.play(&pair, None))?;
        writeln!(out, "{scene}: {} differences", found.len())?;
        for found in &found {
            writeln!(out, "{found}")?;
        }
        if !found.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
    }
    let report = runtime.block_on(pair.run(arguments.requests, arguments.seed))?;
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
