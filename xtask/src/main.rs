//! The project's own tasks: `cargo xtask <task>`.
//!
//! | task | what it does |
//! |---|---|
//! | `tidy` | checks what the compiler and clippy cannot: edges, purity, lengths, names, links |
//! | `lint` | format, clippy, documentation, tidy: everything that needs no test run |
//! | `test` | all tests, and at the end one line that says how many passed and failed |
//! | `fuzz` | looks for bytes that make a parser panic; see `fuzz.rs` |
//! | `coverage` | how much of the product the tests reach; see `coverage.rs` |
//! | `ci` | `lint`, then `test` |
//! | `compat` | compares with etcd, request by request: `--requests N --seed S --engine E --scenes` |
//! | `compat-table` | writes the tables of `docs/compat.md` anew |
//!
//! Building and running the product is cargo's and the Makefile's business, not this program's.

mod coverage;
mod fuzz;
mod steps;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let root = &root();
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let passed = match task.as_str() {
        "tidy" => steps::tidy(root)?,
        "lint" => steps::lint(root)?,
        "test" => steps::test(root)?,
        "fuzz" => fuzz::fuzz(root, &arguments.collect::<Vec<_>>())?,
        "compat" => steps::compat(root, std::env::args().skip(2))?,
        "compat-table" => steps::compat_table(root)?,
        "coverage" => coverage::coverage(root)?,
        "ci" => steps::lint(root)? && steps::test(root)?,
        _ => {
            steps::say(
                "usage: cargo xtask tidy | lint | test | fuzz | coverage | ci | compat | compat-table",
            )?;
            return Ok(ExitCode::from(2));
        }
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The root of the checkout cargo runs this in, which need not be the one this was built in: they may
/// share a target directory.
fn root() -> PathBuf {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    folder.parent().expect("xtask lies in the checkout").to_path_buf()
}
