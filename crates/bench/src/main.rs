//! Measures a MetaStore binary, or any server with etcd's flags and API, from outside.
//!
//! ```text
//! bench bones --server bin/metastore ─▶ a table: what, measured, limit, kept
//! bench large --server bin/metastore ─▶ the same for data larger than memory
//! ```
//!
//! The exit status is 1 if a limit is missed. What the numbers mean is told in
//! `docs/performance.md`; what this does not do is to compare throughput, which wants an idle
//! machine and a client that is not ours.

mod activity;
mod bones;
mod large;
mod latency;
mod load;
mod process;
mod report;
mod wire;

use anyhow::Result;
use clap::{Parser, Subcommand};

// The client shares the machine with the server: it should cost little.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about = "Measures a MetaStore binary from outside")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The properties that later work cannot change, each against its limit
    Bones(bones::Options),
    /// Data larger than memory: peak memory while it is loaded, read in every way and started with
    Large(large::Options),
}

fn main() -> Result<()> {
    // One thread: the other processor is the server's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = std::io::stdout().lock();
    match Arguments::parse().command {
        Command::Bones(options) => runtime.block_on(bones::run(&options, &mut out)),
        Command::Large(options) => runtime.block_on(large::run(&options, &mut out)),
    }
}
