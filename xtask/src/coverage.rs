//! How much of the product the tests reach that run inside one process.
//!
//! ```text
//! tests of state, node, storage, sim; unit tests of server ─▶ lines reached, crate by crate ─▶ ≥ 70 %
//! ```
//!
//! ```text
//! cargo xtask coverage
//! state             95 %  4210 of 4427 lines
//! ```
//!
//! It needs `cargo install cargo-llvm-cov --locked` and `rustup component add llvm-tools`. What it does
//! not count: RocksDB, which is left out, generated code, and whatever only the tests reach that start
//! the server as a process (they cut it short with signals, and then it tells nothing).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::steps::{cargo, say};

/// Of all lines together; less fails.
const PERCENT_MIN: u64 = 70;

const TEST: [&str; 4] = ["llvm-cov", "test", "--no-report", "--locked"];
/// All their tests run inside one process.
const PURE: [&str; 4] = ["--package=state", "--package=node", "--package=storage", "--package=sim"];
/// Of the server, the unit tests do.
const SERVER: [&str; 2] = ["--package=server", "--lib"];
const REPORT: [&str; 4] = ["llvm-cov", "report", "--json", "--summary-only"];

/// Runs the tests and prints the figures; tells whether enough is reached.
pub(crate) fn coverage(root: &Path) -> anyhow::Result<bool> {
    let clean = vec!["llvm-cov", "clean", "--workspace"];
    for arguments in [clean, [&TEST[..], &PURE].concat(), [&TEST[..], &SERVER].concat()] {
        say(&format!("cargo {}", arguments.join(" ")))?;
        if !cargo(root).args(&arguments).status().context("start cargo")?.success() {
            say("coverage needs passing tests, `cargo install cargo-llvm-cov --locked` and \
                 `rustup component add llvm-tools`")?;
            return Ok(false);
        }
    }
    let report = cargo(root).args(REPORT).output().context("start cargo")?;
    let report = serde_json::from_slice(&report.stdout).context("read what cargo-llvm-cov says")?;
    judge(&by_crate(&report, root).context("find the figures in what cargo-llvm-cov says")?)
}

/// Lines that can be reached, and that were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    count: u64,
    covered: u64,
}

impl Lines {
    fn percent(self) -> u64 {
        self.covered * 100 / self.count.max(1)
    }

    fn add(&mut self, other: Lines) {
        self.count += other.count;
        self.covered += other.covered;
    }
}

/// Sums the files of each folder under `crates`; other files are not the product's.
fn by_crate(report: &Value, root: &Path) -> Option<BTreeMap<String, Lines>> {
    let mut crates: BTreeMap<String, Lines> = BTreeMap::new();
    for file in report["data"][0]["files"].as_array()? {
        let lines = &file["summary"]["lines"];
        let lines = Lines { count: lines["count"].as_u64()?, covered: lines["covered"].as_u64()? };
        let path = Path::new(file["filename"].as_str()?);
        let Ok(path) = path.strip_prefix(root.join("crates")) else { continue };
        let name = path.iter().next()?.to_str()?;
        crates.entry(name.to_owned()).or_default().add(lines);
    }
    Some(crates)
}

fn judge(crates: &BTreeMap<String, Lines>) -> anyhow::Result<bool> {
    let mut total = Lines::default();
    for (name, lines) in crates {
        total.add(*lines);
        say(&format!(
            "{name:<16} {:>3} %  {} of {} lines",
            lines.percent(),
            lines.covered,
            lines.count
        ))?;
    }
    let is_enough = total.percent() >= PERCENT_MIN;
    let verdict = if is_enough { "passed" } else { "FAILED" };
    say(&format!(
        "coverage: {} % of {} lines, at least {PERCENT_MIN} %: {verdict}",
        total.percent(),
        total.count
    ))?;
    Ok(is_enough)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that looks like one inside does not deceive.
    const ROOT: &str = "/home/you/crates/metastore";

    fn report(covered: u64) -> Value {
        let file = |name: &str, count: u64, covered: u64| {
            let lines = serde_json::json!({ "count": count, "covered": covered });
            serde_json::json!({ "filename": name, "summary": { "lines": lines } })
        };
        let files = [
            file("/home/you/crates/metastore/crates/state/src/a.rs", 60, covered),
            file("/home/you/crates/metastore/crates/state/src/b.rs", 20, 20),
            file("/home/you/crates/metastore/crates/node/src/a.rs", 20, 20),
            file("/home/you/crates/metastore/xtask/src/main.rs", 1000, 0),
        ];
        serde_json::json!({ "data": [{ "files": files }] })
    }

    #[test]
    fn files_are_summed_crate_by_crate() {
        let crates = by_crate(&report(30), Path::new(ROOT)).expect("figures");
        let expected = [
            ("node".to_owned(), Lines { count: 20, covered: 20 }),
            ("state".to_owned(), Lines { count: 80, covered: 50 }),
        ];
        assert_eq!(crates, BTreeMap::from(expected));
    }

    #[test]
    fn seven_of_ten_lines_are_enough_and_fewer_are_not() {
        assert!(judge(&by_crate(&report(30), Path::new(ROOT)).expect("figures")).expect("output"));
        assert!(!judge(&by_crate(&report(29), Path::new(ROOT)).expect("figures")).expect("output"));
    }

    #[test]
    fn a_report_without_figures_is_no_report() {
        assert_eq!(by_crate(&serde_json::json!({ "data": [] }), Path::new(ROOT)), None);
    }
}
