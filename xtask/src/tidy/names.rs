//! Files are named by their idea; a drawer for everything is no idea, and a report is no document.

use super::Violation;
use super::tree::Tree;

const DRAWERS: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "types2"];

/// Looks at the names of all files.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, _) in tree.texts("") {
        let mut violation = |what| {
            found.push(Violation { path: path.to_owned(), line: 0, rule: "names", what });
        };
        for part in path.split('/') {
            let stem = part.split('.').next().unwrap_or(part);
            if path.ends_with(".rs") && DRAWERS.contains(&stem) {
                violation(format!("`{stem}` names no idea"));
            }
        }
        let upper = path.to_uppercase();
        if ["_REPORT.MD", "_STATUS.MD", "_SUMMARY.MD"].iter().any(|end| upper.ends_with(end)) {
            violation("documents describe the present; history is in commits and decisions".into());
        }
        if path.ends_with("/mod.rs") && !path.contains("/tests/") {
            violation("a module `foo` is `foo.rs` beside `foo/`".into());
        }
    }
    found
}

#[test]
fn drawers_and_reports_are_found() {
    let files = [
        "a/src/utils.rs",
        "a/src/common/b.rs",
        "a/src/lease.rs",
        "docs/TEST_REPORT.md",
        "a/b/mod.rs",
    ];
    let places = super::found(check, &files.map(|path| (path, "")));
    let expected = ["a/b/mod.rs", "a/src/common/b.rs", "a/src/utils.rs", "docs/TEST_REPORT.md"];
    assert_eq!(places, expected.map(|path| (path.to_owned(), 0)));
}
