//! What the tasks run, and how their outcome is told.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::tidy::{self, tree::Tree};

/// Checks the tree; tells whether it is tidy.
pub(crate) fn tidy(root: &Path) -> anyhow::Result<bool> {
    let tree = Tree::read(root).context("read the checkout")?;
    let report = tidy::check(&tree);
    for remark in &report.remarks {
        say(&format!("note: {remark}"))?;
    }
    for violation in &report.violations {
        say(&violation.to_string())?;
    }
    say(&format!("tidy: {} files, {} violations", tree.len(), report.violations.len()))?;
    Ok(report.violations.is_empty())
}

/// Format, clippy, documentation and tidy: all of them, so that one run shows every complaint.
pub(crate) fn lint(root: &Path) -> anyhow::Result<bool> {
    let mut passed = true;
    for (arguments, variables) in LINTS {
        say(&format!("cargo {}", arguments.join(" ")))?;
        let mut command = cargo(root);
        let status = command.args(*arguments).envs(variables.iter().copied()).status();
        passed &= status.context("start cargo")?.success();
    }
    passed &= tidy(root)?;
    say(if passed { "lint: passed" } else { "lint: FAILED" })?;
    Ok(passed)
}

/// What the server has beside the memory engine. `make run` builds without it: a checkout without this
/// feature has been compiled, too, by the time the tests begin.
const EVERY_ENGINE: &str = "server/rocksdb";

/// The arguments of a cargo run, and its environment.
type CargoRun = (&'static [&'static str], &'static [(&'static str, &'static str)]);

const LINTS: &[CargoRun] = &[
    (&["fmt", "--all", "--check"], &[]),
    (&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"], &[]),
    (&["fmt", "--manifest-path", "compat/clients/rust/Cargo.toml", "--check"], &[]),
    (
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            EVERY_ENGINE,
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    ),
    (
        &["doc", "--workspace", "--no-deps", "--features", EVERY_ENGINE, "--locked"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    ),
];

/// The arguments of all test runs. The second is of a binary without RocksDB: that it says so is all
/// that is different about it.
const TESTS: &[&[&str]] = &[
    &["test", "--workspace", "--features", EVERY_ENGINE, "--no-fail-fast", "--locked"],
    &["test", "--workspace", "--test", "process", "--locked", "--", "engines::"],
];

/// Runs all tests to the end and closes with `N passed, N failed`.
pub(crate) fn test(root: &Path) -> anyhow::Result<bool> {
    let mut counts = Counts::default();
    let mut succeeded = true;
    for arguments in TESTS {
        succeeded &= test_run(root, arguments, &mut counts)?;
    }
    say(&format!("{} passed, {} failed", counts.passed, counts.failed))?;
    Ok(succeeded && counts.failed == 0)
}

fn test_run(root: &Path, arguments: &[&str], counts: &mut Counts) -> anyhow::Result<bool> {
    let mut child =
        cargo(root).args(arguments).stdout(Stdio::piped()).spawn().context("start cargo")?;
    let output = child.stdout.take().context("cargo's output")?;
    let failed_before = counts.failed;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        counts.add(&line);
        say(&line)?;
    }
    let succeeded = child.wait().context("wait for cargo")?.success();
    // A test binary that dies, or one that does not build, has no line of its own.
    if !succeeded && counts.failed == failed_before {
        say("the tests could not all be built and run")?;
        counts.failed += 1;
    }
    Ok(succeeded)
}

/// Builds the server and compares it with etcd for as long as the arguments say; they are those of
/// the program in `crates/compat`.
pub(crate) fn compat(root: &Path, arguments: impl Iterator<Item = String>) -> anyhow::Result<bool> {
    let arguments: Vec<String> = arguments.collect();
    let is_rocksdb = arguments.iter().any(|argument| argument.contains("rocksdb"));
    let engine = if is_rocksdb { "rocksdb" } else { "memory" };
    let mut built = Command::new(root.join("scripts/build"));
    if !built.args([engine, "fast"]).status().context("build the server")?.success() {
        return Ok(false);
    }
    let target =
        Command::new(root.join("scripts/target-dir")).output().context("find the build")?;
    let target = String::from_utf8(target.stdout).context("a folder")?;
    let subject = Path::new(target.trim()).join("fast/metastore");
    let mut compared = cargo(root);
    compared.args(["run", "--quiet", "--package=compat", "--locked", "--", "--subject"]);
    compared.arg(subject).args(arguments);
    Ok(compared.status().context("start cargo")?.success())
}

/// Writes the tables of `docs/compat.md` as the code has them.
pub(crate) fn compat_table(root: &Path) -> anyhow::Result<bool> {
    let mut command = cargo(root);
    command.args(["test", "--quiet", "--package=compat", "--lib", "--locked", "surface"]);
    let status = command.env("UPDATE_GOLDENFILES", "1").status();
    Ok(status.context("start cargo")?.success())
}

/// Tests that have run, over all test binaries.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl Counts {
    /// Takes the closing line of one test binary; other lines are nothing.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let number_before = |label: &str| -> u64 {
            let words: Vec<&str> = result.split([' ', ';', '.']).collect();
            let at = words.iter().position(|word| *word == label);
            at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
        };
        self.passed += number_before("passed");
        self.failed += number_before("failed");
    }
}

/// The cargo that runs this program, in the checkout.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Writes a line for the person who started the task.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("write to standard output")
}

#[test]
fn counts_of_all_test_binaries_are_added_up() {
    let mut counts = Counts::default();
    for line in [
        "running 3 tests",
        "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1s",
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished",
    ] {
        counts.add(line);
    }
    assert_eq!(counts, Counts { passed: 13, failed: 2 });
}
