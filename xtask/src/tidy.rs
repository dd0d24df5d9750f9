//! Rules of the tree that neither the compiler nor clippy knows, each with the violation that it finds.
//!
//! ```text
//! crates/state/src/lease.rs:40: purity: `std::thread` in a pure crate
//! └─ where                      └─ rule └─ what
//! ```
//!
//! A check looks at a [`tree::Tree`] of texts, read from disk or written in a test; every rule has a
//! test with a planted violation. What is checked is text, not types: a rule that needs types
//! belongs to clippy.

mod dead;
mod edges;
mod form;
mod lengths;
mod links;
mod names;
mod purity;
mod source;
pub(crate) mod tree;

use std::fmt;

use tree::Tree;

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// The file, relative to the checkout.
    pub(crate) path: String,
    /// The line, counted from 1; 0 if it is the file as a whole.
    pub(crate) line: usize,
    /// The rule's short name.
    pub(crate) rule: &'static str,
    /// What is wrong.
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { path, line, rule, what } = self;
        match line {
            0 => write!(f, "{path}: {rule}: {what}"),
            _ => write!(f, "{path}:{line}: {rule}: {what}"),
        }
    }
}

/// What the checks found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Broken rules.
    pub(crate) violations: Vec<Violation>,
    /// What deserves a thought but breaks no rule.
    pub(crate) remarks: Vec<String>,
}

/// Runs all checks.
pub(crate) fn check(tree: &Tree) -> Report {
    let mut report = Report { violations: Vec::new(), remarks: lengths::remarks(tree) };
    for check in CHECKS {
        report.violations.extend(check(tree));
    }
    report.violations.sort();
    report
}

const CHECKS: &[fn(&Tree) -> Vec<Violation>] = &[
    dead::check,
    edges::check,
    form::check,
    lengths::check,
    links::check,
    names::check,
    purity::check,
];

/// The places that a check finds in a tree of these files.
#[cfg(test)]
fn found(check: fn(&Tree) -> Vec<Violation>, files: &[(&str, &str)]) -> Vec<(String, usize)> {
    check(&Tree::of(files)).into_iter().map(|found| (found.path, found.line)).collect()
}

#[test]
fn the_project_is_tidy() {
    let report = check(&Tree::read(&crate::root()).expect("read the checkout"));
    let lines: Vec<String> = report.violations.iter().map(Violation::to_string).collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}
