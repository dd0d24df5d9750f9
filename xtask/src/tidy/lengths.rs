//! Files and functions fit a reader: a function a screen, a file one idea.
//!
//! What is longer stands in `xtask/long.txt` with its length, one a line:
//!
//! ```text
//! crates/state/src/txn.rs::check 84
//! crates/server/src/flags.rs 1040
//! ```
//!
//! The list may only shrink: a length that has gone down is lowered there, one that fits is struck.

use std::collections::BTreeMap;

use super::Violation;
use super::tree::Tree;

/// A function on a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// From here a file deserves a thought: is it still one idea?
const FILE_LINES_TO_THINK: usize = 600;
/// A longer one is refused, outside tests.
const FILE_LINES_MAX: usize = 1000;

const KNOWN: &str = "xtask/long.txt";

/// Compares what is too long with what is known to be.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let too_long = too_long(tree);
    let (known, mut found) = known(tree.text(KNOWN).unwrap_or_default());
    for (name, (line, lines_count)) in &too_long {
        let path = name.split("::").next().unwrap_or(name).to_owned();
        let violation = |what| found.push(Violation { path, line: *line, rule: "length", what });
        match known.get(name.as_str()) {
            None => violation(format!("{name} has {lines_count} lines: part it")),
            Some((_, allowed)) if allowed < lines_count => {
                violation(format!("{name} has grown from {allowed} to {lines_count} lines"));
            }
            Some(_) => {}
        }
    }
    for (name, (line, allowed)) in &known {
        let actual = too_long.get(*name).map_or(0, |(_, lines_count)| *lines_count);
        if actual < *allowed {
            let what = match actual {
                0 => format!("{name} is short enough: strike it"),
                _ => format!("{name} has shrunk to {actual} lines: write that"),
            };
            found.push(Violation { path: KNOWN.to_owned(), line: *line, rule: "length", what });
        }
    }
    found
}

/// Files that are long, but not too long.
pub(crate) fn remarks(tree: &Tree) -> Vec<String> {
    let lengths = tree.sources().map(|(path, source)| (path, file_length(source)));
    let long =
        lengths.filter(|(_, length)| (FILE_LINES_TO_THINK..=FILE_LINES_MAX).contains(length));
    long.map(|(path, length)| format!("{path} has {length} lines: is it still one idea?")).collect()
}

/// Line and length of what is over a bound, by name.
fn too_long(tree: &Tree) -> BTreeMap<String, (usize, usize)> {
    let mut long = BTreeMap::new();
    for (path, source) in tree.sources() {
        let length = file_length(source);
        if length > FILE_LINES_MAX {
            long.insert(path.to_owned(), (0, length));
        }
        for function in source.functions() {
            if function.lines_count > FUNCTION_LINES_MAX && !source.is_test_line(function.line) {
                let name = format!("{path}::{}", function.name);
                // Two of one name in a file: the longer one counts.
                let entry = long.entry(name).or_insert((function.line, function.lines_count));
                *entry = (*entry).max((function.line, function.lines_count));
            }
        }
    }
    long
}

/// Lines of a file that are not tests.
fn file_length(source: &super::source::Source) -> usize {
    source.is_test.iter().filter(|is_test| !**is_test).count()
}

/// The list, by name, and its lines that are none.
fn known(text: &str) -> (BTreeMap<&str, (usize, usize)>, Vec<Violation>) {
    let (mut known, mut malformed) = (BTreeMap::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let entry =
            line.rsplit_once(' ').and_then(|(name, length)| Some((name, length.parse().ok()?)));
        match entry {
            Some((name, length)) => {
                known.insert(name, (index + 1, length));
            }
            None => malformed.push(Violation {
                path: KNOWN.to_owned(),
                line: index + 1,
                rule: "length",
                what: format!("not a name and a length: {line}"),
            }),
        }
    }
    (known, malformed)
}

#[cfg(test)]
fn function_of(lines_count: usize) -> String {
    format!("fn long() {{\n{}}}\n", "    a();\n".repeat(lines_count - 2))
}

#[test]
fn a_long_function_and_a_long_file_are_found() {
    let (fits, long) = (function_of(FUNCTION_LINES_MAX), function_of(FUNCTION_LINES_MAX + 1));
    let file = "// x\n".repeat(FILE_LINES_MAX + 1);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{file}{long}}}\n");
    let files = [("a.rs", fits.as_str()), ("b.rs", &long), ("c.rs", &file), ("d.rs", &tests)];
    let expected = [("b.rs".to_owned(), 1), ("c.rs".to_owned(), 0)];
    assert_eq!(super::found(check, &files), expected);
}

#[test]
fn the_list_of_long_ones_may_only_shrink() {
    let long = function_of(80);
    let places = |list: &str| super::found(check, &[("b.rs", &long), (KNOWN, list)]);
    assert_eq!(places("b.rs::long 80\n"), []);
    assert_eq!(places("b.rs::long 79\n"), [("b.rs".to_owned(), 1)], "it has grown");
    assert_eq!(places("b.rs::long 81\n"), [(KNOWN.to_owned(), 1)], "it has shrunk");
    assert_eq!(places("b.rs::long 80\nb.rs::gone 90\n"), [(KNOWN.to_owned(), 2)], "it is gone");
    assert_eq!(places("b.rs::long 80\nwhat\n"), [(KNOWN.to_owned(), 2)], "it is no entry");
}

#[test]
fn a_file_over_the_first_bound_is_remarked_upon() {
    let file = "// x\n".repeat(FILE_LINES_TO_THINK);
    assert_eq!(remarks(&Tree::of(&[("a.rs", &file), ("b.rs", "")])).len(), 1);
}
