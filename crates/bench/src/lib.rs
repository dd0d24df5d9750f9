//! Measures a MetaStore binary, or any server with etcd's flags and API, from outside.
//!
//! ```text
//! bench bones  --server bin/metastore ─▶ a table: what, measured, limit, kept
//! bench large  --server bin/metastore ─▶ the same for data larger than memory
//! bench beside --server memory=bin/metastore --beside etcd=PATH
//!                                     ─▶ the same for several servers, with ratios to the last
//! ```
//!
//! The exit status is 1 if a limit is missed. What the numbers mean is told in
//! `docs/performance.md`; what this does not do is to compare the throughput of puts and gets, which
//! wants an idle machine and a client that is not ours.

mod activity;
mod beside;
mod bones;
mod disturbed;
mod large;
mod latency;
mod load;
mod loaded;
mod process;
mod report;
mod values;
mod wire;

use std::ffi::OsString;
use std::io::Write;

use anyhow::Result;
use clap::{Parser, Subcommand};

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
    /// Several servers in one run, turn by turn, with ratios to one of them
    Beside(beside::Options),
}

/// Does what a command line says, the program's name first, and writes the table to `out` as it
/// grows. A command line that makes no sense ends the process.
///
/// # Errors
/// A limit is missed, or nothing could be measured.
pub fn run(arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> Result<()> {
    let arguments = Arguments::parse_from(arguments);
    // One thread: the other processor is the server's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.command {
        Command::Bones(options) => runtime.block_on(bones::run(&options, out)),
        Command::Large(options) => runtime.block_on(large::run(&options, out)),
        Command::Beside(options) => runtime.block_on(beside::run(&options, out)),
    }
}
