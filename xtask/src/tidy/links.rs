//! Links between the pages of the project lead somewhere.

use super::Violation;
use super::tree::Tree;

/// Follows every link that does not leave the project.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.texts(".md") {
        let mut in_block = false;
        for (index, line) in text.lines().enumerate() {
            in_block ^= line.trim_start().starts_with("```");
            for target in links(line).filter(|_| !in_block) {
                if !tree.exists(&resolve(path, target)) {
                    let what = format!("a link to nothing: {target}");
                    let path = path.to_owned();
                    found.push(Violation { path, line: index + 1, rule: "links", what });
                }
            }
        }
    }
    found
}

/// The targets of `[text](target)` on a line that are files of ours.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains(':'))
}

/// A link on a page, as a path from the root.
fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn a_link_to_nothing_is_found() {
    let page = "[up](../README.md) [gone](gone.md)\n[web](https://a.b/c.md) [here](#here)\n[folder](../crates)\n```\n[code](x)\n```\n[part](b.md#part)";
    let files = [
        ("README.md", "[tour](docs/a.md)"),
        ("docs/a.md", page),
        ("docs/b.md", ""),
        ("crates/a/src/lib.rs", ""),
    ];
    assert_eq!(super::found(check, &files), [("docs/a.md".to_owned(), 1)]);
}
