//! The pure crates touch no clock, file, socket, thread or random number, and never iterate in an
//! order that differs from run to run.
//!
//! Clippy bans single functions and types (`clippy.toml` in each crate); this bans whole modules.
//! Sources under `src` are held to it with their tests: what a test needs of the world, it does
//! under `tests/`.

use super::Violation;
use super::source::is_name;
use super::tree::Tree;

const PURE: &[&str] = &["crates/state/src/", "crates/node/src/", "crates/sim/src/"];

const BANNED: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "tokio",
    "Instant::now",
    "SystemTime",
    "thread_rng",
    "rand::",
    "RandomState",
    "HashMap",
    "HashSet",
];

/// What may not be taken out of `use std::{…}`.
const BANNED_OF_STD: &[&str] = &["fs", "net", "thread", "process", "env"];

/// Looks for what is banned in the code of the pure crates.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, source) in tree.sources() {
        if !PURE.iter().any(|pure| path.starts_with(pure)) {
            continue;
        }
        let mut violation = |line, what: &str| {
            let what = format!("`{what}` in a pure crate");
            found.push(Violation { path: path.to_owned(), line, rule: "purity", what });
        };
        let mut in_std_group = false;
        for (line, code) in source.code_lines() {
            for banned in BANNED.iter().filter(|banned| stands_in(code, banned)) {
                violation(line, banned);
            }
            in_std_group |= code.contains("use std::{");
            if in_std_group {
                for banned in BANNED_OF_STD.iter().filter(|banned| stands_in(code, banned)) {
                    violation(line, &format!("std::{banned}"));
                }
                in_std_group = !code.contains(';');
            }
        }
    }
    found
}

/// Whether the code has these words, and not as a part of longer ones.
fn stands_in(code: &str, words: &str) -> bool {
    code.match_indices(words).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        let after = code[start + words.len()..].chars().next();
        let ends = words.ends_with("::") || after.is_none_or(|c| !is_name(c));
        before.is_none_or(|c| !is_name(c)) && ends
    })
}

#[test]
fn the_world_is_found_in_a_pure_crate_and_only_there() {
    let text = "use std::{\n    fmt, thread,\n};\n/// std::fs in prose\nfn a() { std::fs::read(\"x\"); }\nlet operand::x = my_tokio;\nlet h: HashMap<u8, u8>;";
    let files = [("crates/state/src/a.rs", text), ("crates/storage/src/a.rs", text)];
    let expected = [2, 5, 7].map(|line| ("crates/state/src/a.rs".to_owned(), line));
    assert_eq!(super::found(check, &files), expected);
}
