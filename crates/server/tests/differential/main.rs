//! MetaStore beside etcd, request by request: the driver of `crates/compat` with the binary of this
//! build, on each engine that it has.
//!
//! ```text
//! driver ─┬─▶ etcd      ─┐
//!         └─▶ metastore ─┴─▶ every field of every answer, every watch stream: the same
//! ```
//!
//! A failure prints the difference, the fewest steps that show it, and how to repeat the run. More
//! requests than here: `cargo xtask compat --requests 1000000 --seed 7`. Without Go there is no etcd
//! to compare with, and the tests say that they are skipped.

mod faults;
mod scenes;
mod surface;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use compat::explained;
use compat::run::{Pair, Report, etcd_folder};

/// Requests of a comparison; the seed is fixed, so that it passes or fails for the change at hand.
const REQUESTS: usize = 20_000;
const SEED: u64 = 1;

#[test]
fn etcd_and_metastore_answer_alike_on_the_memory_engine() {
    alike("memory");
}

#[test]
fn etcd_and_metastore_answer_alike_on_rocksdb() {
    alike("rocksdb");
}

fn alike(engine: &str) {
    let Some(pair) = pair(engine) else { return };
    let report = run(&pair, REQUESTS);
    assert!(report.failure.is_none(), "on {engine}\n{}", report.failure.unwrap_or_default());
    assert!(report.requests_count >= REQUESTS, "only {} requests", report.requests_count);
    surface::must_be_covered(&report.coverage);
    // An explanation that is not needed any more would hide what it once explained.
    let stale = explained::TABLE.iter().map(|entry| entry.name);
    let mut stale = stale.filter(|name| !report.explained.contains_key(name) && *name != OF_TIME);
    assert_eq!(stale.next(), None, "never needed");
}

/// Whether it shows depends on how long after its grant a lease meets a restart.
const OF_TIME: &str = "Lease expiry";

/// What two runs of etcd differ in is put aside, and nothing needs to be explained: so what is
/// explained elsewhere is MetaStore's.
#[test]
fn etcd_answers_like_itself() {
    let Some(pair) = pair("memory") else { return };
    let pair = Pair { subject: pair.etcd.clone(), subject_flags: Vec::new(), ..pair };
    let report = run(&pair, 6_000);
    assert!(report.failure.is_none(), "{}", report.failure.unwrap_or_default());
    // Each hashes the pages of its own file.
    let explained: Vec<&str> = report.explained.keys().copied().collect();
    assert!(explained.iter().all(|name| *name == "`Maintenance.Hash`"), "{explained:?}");
}

fn run(pair: &Pair, requests_count: usize) -> Report {
    say(&format!("{requests_count} requests from seed {SEED}"));
    block_on(pair.run(requests_count, SEED)).expect("both servers start and stop")
}

/// etcd and the binary of this build with this engine; `None` if one of them is missing here.
fn pair(engine: &str) -> Option<Pair> {
    let checkout = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let Some(folder) = etcd_folder(checkout).expect("etcd can be built") else {
        let required = std::env::var_os("METASTORE_REQUIRE_TOOLS").is_some();
        assert!(!required, "METASTORE_REQUIRE_TOOLS is set, but Go is not installed");
        say("SKIPPED: Go is not installed, so there is no etcd to compare with");
        return None;
    };
    let subject = PathBuf::from(env!("CARGO_BIN_EXE_metastore"));
    if engine == "rocksdb" && cfg!(not(feature = "rocksdb")) {
        say(&format!("SKIPPED: this build has no engine {engine}"));
        return None;
    }
    let subject_flags = vec![format!("--engine={engine}")];
    Some(Pair { etcd: folder.join("etcd"), subject, subject_flags })
}

/// Past the capture of the test harness: a skipped comparison must not look like a passed one.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "comparison with etcd: {line}");
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("build a runtime").block_on(future)
}
