//! Runs the fuzz targets of `fuzz/`: libFuzzer on the stable compiler.
//!
//! ```text
//! cargo xtask fuzz log --seconds 600        looks for an input that makes the target panic
//! cargo xtask fuzz log --input crash-1f0c   plays one again
//! ```
//!
//! The package is built apart from everything else, with coverage counters and the address
//! sanitizer, which the stable compiler offers only when told to behave as its own bootstrap does.
//! The build and what is found lie in the user's cache, outside the checkout. Inputs worth keeping
//! are put into `fuzz/corpus/<target>` by hand; tests play those and then look further for a moment.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::steps::say;

/// What the compiler has to add. Comparisons are traced so that the fuzzer learns magic numbers.
const RUSTFLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Zsanitizer=address",
];
/// Without a wish: long enough to find what is easily found.
const SECONDS: u32 = 60;
/// Larger inputs say nothing new and slow everything down.
const INPUT_BYTES_MAX: u32 = 4096;
/// An input that takes so long is a find as well.
const INPUT_SECONDS_MAX: u32 = 10;

/// What is asked of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// Look for finds, for so many seconds, and keep what brings something new.
    Look(u32),
    /// Look for a moment and keep nothing.
    Glance(u32),
    /// Play this input.
    Play(PathBuf),
}

/// `fuzz TARGET [--seconds N | --glance N | --input FILE]`; tells whether the target held.
pub(crate) fn fuzz(root: &Path, arguments: &[String]) -> anyhow::Result<bool> {
    let (target, wish) = parse(arguments)?;
    let fuzzer = Fuzzer::build(root, &target)?;
    let mut command = fuzzer.command(&wish)?;
    let held = command.status().context("start the fuzz target")?.success();
    if !held {
        say(&format!("an input that breaks {target} is in {}", fuzzer.finds.display()))?;
    }
    Ok(held)
}

fn parse(arguments: &[String]) -> anyhow::Result<(String, Wish)> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(match words[..] {
        [target] => (target.to_owned(), Wish::Look(SECONDS)),
        [target, "--seconds", seconds] => {
            (target.to_owned(), Wish::Look(seconds.parse().context("read --seconds")?))
        }
        [target, "--glance", seconds] => {
            (target.to_owned(), Wish::Glance(seconds.parse().context("read --glance")?))
        }
        [target, "--input", input] => (target.to_owned(), Wish::Play(input.into())),
        _ => bail!("usage: cargo xtask fuzz TARGET [--seconds N | --glance N | --input FILE]"),
    })
}

/// A target that has been built.
struct Fuzzer {
    program: PathBuf,
    corpus: PathBuf,
    /// Where inputs go that break it.
    finds: PathBuf,
}

impl Fuzzer {
    fn build(root: &Path, target: &str) -> anyhow::Result<Fuzzer> {
        let source = root.join("fuzz/src/bin").join(format!("{target}.rs"));
        ensure!(source.exists(), "there is no fuzz target {target}");
        let cache = cache_folder()?.join("fuzz");
        let host = host()?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let status = cargo
            .current_dir(root.join("fuzz"))
            .args(["build", "--quiet", "--locked", "--bin", target])
            // With a target named, build scripts and macros are spared the sanitizer.
            .args(["--target", &host, "--target-dir"])
            .arg(&cache)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\u{1f}"))
            .status()
            .context("start cargo")?;
        ensure!(status.success(), "the fuzz target {target} cannot be built");
        Ok(Fuzzer {
            program: cache.join(host).join("debug").join(target),
            corpus: root.join("fuzz/corpus").join(target),
            finds: cache.join("finds").join(target),
        })
    }

    fn command(&self, wish: &Wish) -> anyhow::Result<Command> {
        let new = self.finds.join(if matches!(wish, Wish::Glance(_)) { "glance" } else { "new" });
        if matches!(wish, Wish::Glance(_)) && new.exists() {
            std::fs::remove_dir_all(&new).context("empty the folder of a glance")?;
        }
        std::fs::create_dir_all(&new).context("make the folder of finds")?;
        let mut command = Command::new(&self.program);
        command
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-artifact_prefix={}/", self.finds.display()));
        match wish {
            Wish::Look(seconds) | Wish::Glance(seconds) => command
                .arg(format!("-max_total_time={seconds}"))
                .arg(format!("-max_len={INPUT_BYTES_MAX}"))
                // What is new goes into the first folder; the corpus is only read.
                .args([&new, &self.corpus]),
            Wish::Play(input) => command.arg(input),
        };
        Ok(command)
    }
}

/// The same as the scripts': `compat/build`, for example.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    Ok(cache.or_else(home).context("HOME is needed for the cache folder")?.join("metastore"))
}

/// The machine that the compiler runs on, as it calls it.
fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc names its host")?.to_owned())
}

#[cfg(test)]
mod tests;
