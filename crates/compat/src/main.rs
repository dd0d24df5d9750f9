//! `cargo xtask compat`: the comparison for as long as one likes.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use compat::driver::{Driver, Program};
use compat::generate::{Generator, Profile};

/// Compares MetaStore with etcd, request by request.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server of reference.
    #[arg(long)]
    etcd: PathBuf,
    /// The server under test.
    #[arg(long)]
    subject: PathBuf,
    /// How many requests each of them gets.
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// What the requests are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many differences are shown before it gives up.
    #[arg(long, default_value_t = 1)]
    differences_max: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let profile = Profile { request_bytes_max: 64 << 10, txn_ops_max: 16 };
    let etcd = Program { binary: &arguments.etcd, flags: &[] };
    let subject = Program { binary: &arguments.subject, flags: &[] };
    let mut driver = Driver::start(etcd, subject, &profile.flags()).await?;
    let mut generator = Generator::new(arguments.seed, profile);
    while driver.requests_count < arguments.requests
        && driver.found.len() < arguments.differences_max
    {
        let step = generator.step(&driver.world);
        driver.step(&step).await?;
    }
    let mut out = std::io::stdout();
    for found in &driver.found {
        writeln!(out, "{found}")?;
    }
    writeln!(
        out,
        "{} requests, seed {}, revision {}, {} differences",
        driver.requests_count,
        arguments.seed,
        driver.world.revision,
        driver.found.len()
    )?;
    Ok(())
}
