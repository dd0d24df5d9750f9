//! Which crate may use which: the arrows of the architecture, as a table.
//!
//! A new arrow is a change of the architecture: a decision record first, then a line here.

use super::Violation;
use super::tree::Tree;

/// Each crate, what it may use of ours, and what only its tests may use.
const EDGES: &[(&str, &[&str], &[&str])] = &[
    ("metastore-proto", &[], &[]),
    ("metastore-client", &["metastore-proto"], &[]),
    ("state", &[], &[]),
    ("node", &["state"], &[]),
    ("storage", &["state", "node"], &[]),
    ("server", &["metastore-proto", "state", "node", "storage"], &["bench", "child", "compat"]),
    ("ctl", &["metastore-client", "storage"], &[]),
    ("sim", &["state", "node"], &[]),
    ("child", &[], &[]),
    ("bench", &["child", "metastore-proto"], &[]),
    ("compat", &["child", "metastore-proto"], &[]),
    ("xtask", &[], &[]),
    // Packages outside the workspace: the fuzz targets, and the client program in Rust.
    ("fuzz", &["metastore-proto", "state", "node", "server"], &[]),
    ("rust", &[], &[]),
];

/// What the pure crates may not use: clocks, sockets, threads, randomness, engines. Their tests and
/// benchmarks may: those measure and drive from outside.
const IMPURE: &[&str] =
    &["tokio", "tonic", "hyper", "axum", "mio", "rand", "getrandom", "rocksdb", "rustix", "rayon"];

const PURE: &[&str] = &["state", "node", "sim"];

/// Compares each manifest with the table.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.texts("/Cargo.toml") {
        let folder = path.trim_end_matches("/Cargo.toml");
        let name = folder.rsplit('/').next().unwrap_or(folder);
        let violation = |line, what| Violation { path: path.to_owned(), line, rule: "edges", what };
        let Some((_, uses, tests_use)) = EDGES.iter().find(|(known, ..)| *known == name) else {
            found.push(violation(0, format!("the crate {name} is not in the table of edges")));
            continue;
        };
        for dependency in dependencies(text) {
            let used = dependency.name.as_str();
            let is_ours = EDGES.iter().any(|(known, ..)| *known == used);
            let is_allowed =
                uses.contains(&used) || (dependency.is_for_tests && tests_use.contains(&used));
            if is_ours && !is_allowed {
                found.push(violation(dependency.line, format!("{name} may not use {used}")));
            }
            let is_impure = IMPURE.contains(&used) && !dependency.is_for_tests;
            if PURE.contains(&name) && is_impure {
                found.push(violation(dependency.line, format!("{used} in the pure crate {name}")));
            }
        }
    }
    found
}

struct Dependency {
    name: String,
    line: usize,
    is_for_tests: bool,
}

fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (index, raw) in manifest.lines().enumerate() {
        let line = raw.trim();
        if let Some(title) = line.strip_prefix('[') {
            section = title.trim_end_matches(']').to_owned();
            continue;
        }
        let kind = section.rsplit('.').next().unwrap_or_default();
        if !kind.ends_with("dependencies") || line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default().to_owned();
        found.push(Dependency { name, line: index + 1, is_for_tests: kind == "dev-dependencies" });
    }
    found
}

#[test]
fn an_arrow_that_is_not_in_the_table_is_found() {
    let files = [
        ("crates/state/Cargo.toml", "[dependencies]\nbytes = \"1\"\nnode.workspace = true\n"),
        (
            "crates/node/Cargo.toml",
            "[dependencies]\nstate.workspace = true\ntokio = \"1\"\n[dev-dependencies]\nrustix = \"1\"\n",
        ),
        ("crates/extra/Cargo.toml", "[package]\nname = \"extra\"\n"),
    ];
    let expected = [
        ("crates/extra/Cargo.toml", 0),
        ("crates/node/Cargo.toml", 3),
        ("crates/state/Cargo.toml", 3),
    ];
    assert_eq!(super::found(check, &files), expected.map(|(path, line)| (path.to_owned(), line)));
}
