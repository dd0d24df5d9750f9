//! Small forms with a reason each.
//!
//! | rule | why |
//! |---|---|
//! | no `{source}` in `#[error]` | the chain is printed once, at the top; else causes appear twice |
//! | no `.unwrap()` outside tests | `expect("why it cannot fail")` says what was proved |
//! | no `#[ignore]` | a test that does not run proves nothing |
//! | no `#[should_panic]` | it passes for any panic: catch it and look at it |
//! | `allow` with `reason = "…"` | else nobody knows when it may go |
//! | `TODO until <condition>: …` | a thing to do needs an end |

use super::Violation;
use super::source::is_name;
use super::tree::Tree;

/// Looks at every line of every source.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, source) in tree.sources() {
        for (index, code) in source.code.iter().enumerate() {
            let line = index + 1;
            let mut violation = |what: &str| {
                let what = what.to_owned();
                found.push(Violation { path: path.to_owned(), line, rule: "form", what });
            };
            if code.contains("#[error(") && source.lines[index].contains("{source") {
                violation("the cause is `source`, not a part of the message");
            }
            if code.contains(".unwrap()") && !source.is_test_line(line) {
                violation("`.unwrap()` outside tests");
            }
            if code.contains("#[ignore") {
                violation("an ignored test");
            }
            if code.contains("#[should_panic") {
                violation("`should_panic` passes for any panic");
            }
            let is_allow = ["#[allow(", "#![allow(", "#[expect(", "#![expect("]
                .iter()
                .any(|attribute| code.contains(attribute));
            if is_allow && !attribute_from(&source.code[index..]).contains("reason") {
                violation("an `allow` without its reason");
            }
            if let Some(what) = unfinished(&source.comments[index]) {
                violation(what);
            }
        }
    }
    found
}

/// The attribute that begins on the first of these lines.
fn attribute_from(lines: &[String]) -> String {
    let ends = |line: &String| line.contains(")]");
    let end = lines.iter().position(ends).map_or(lines.len(), |end| end + 1);
    lines[..end].join(" ")
}

/// What is wrong with a comment about something to do.
fn unfinished(comment: &str) -> Option<&'static str> {
    let mut words = comment.split(|c: char| !is_name(c)).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        match word {
            "TODO" if words.next() != Some("until") || !comment.contains(": ") => {
                return Some("a TODO says until when: `TODO until <condition>: …`");
            }
            "FIXME" | "XXX" => return Some("a thing to do is a `TODO until <condition>: …`"),
            _ => {}
        }
    }
    None
}

#[test]
fn each_form_has_a_violation_that_is_found() {
    let lines = [
        "#[error(\"read: {source}\")]",
        "#[error(\"read {name}\")]",
        "let a = b.unwrap();",
        "let a = b.unwrap_or(\".unwrap()\");",
        "#[ignore = \"slow\"]",
        "#[should_panic]",
        "#[allow(dead_code)]",
        "#[allow(dead_code, reason = \"read by the debugger\")]",
        "// TODO: later",
        "// TODO until engines have views: copy less",
        "// FIXME",
        "let todo = TODO;",
    ];
    let expected = [1, 3, 5, 6, 7, 9, 11].map(|line| ("a.rs".to_owned(), line));
    assert_eq!(super::found(check, &[("a.rs", &lines.join("\n"))]), expected);
}

#[test]
fn tests_may_unwrap() {
    let text = "#[test]\nfn a() {\n    b.unwrap();\n}\n";
    assert_eq!(super::found(check, &[("crates/a/src/lib.rs", text)]), []);
}
