//! Every Rust file is compiled: it is the root of a target, or a module leads to it.

use std::collections::BTreeSet;

use super::Violation;
use super::source::Source;
use super::tree::Tree;

/// Walks the modules from the roots and reports what was not reached.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<String> = tree.sources().map(|(path, _)| path.to_owned()).collect();
    next.retain(|path| is_root(tree, path));
    while let Some(path) = next.pop() {
        let Some((_, source)) = tree.sources().find(|(known, _)| *known == path) else { continue };
        if reached.insert(path.clone()) {
            next.extend(modules(&path, is_root(tree, &path), source));
        }
    }
    let dead = tree.sources().filter(|(path, _)| !reached.contains(*path));
    let violation = |path: &str| Violation {
        path: path.to_owned(),
        line: 0,
        rule: "dead",
        what: "no module leads here".to_owned(),
    };
    dead.map(|(path, _)| violation(path)).collect()
}

/// Whether cargo compiles the file by itself.
fn is_root(tree: &Tree, path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let manifest = |depth: usize| {
        let folder = parts.get(..parts.len().saturating_sub(depth)).unwrap_or_default();
        tree.text(&format!("{}/Cargo.toml", folder.join("/"))).is_some()
    };
    match parts.as_slice() {
        [.., "build.rs"] => manifest(1),
        [.., "src", "lib.rs" | "main.rs"] => manifest(2),
        [.., "src", "bin", _] => manifest(3),
        [.., "tests" | "benches" | "examples", "main.rs"] => false,
        [.., "tests" | "benches" | "examples", _] => manifest(2),
        [.., "tests" | "benches" | "examples" | "bin", _, "main.rs"] => manifest(3) || manifest(4),
        _ => false,
    }
}

/// Where the modules of a file lie: every place that the compiler would look at.
fn modules(path: &str, is_root: bool, source: &Source) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let own = match is_root || file == "mod.rs" {
        true => folder.to_owned(),
        false => path.trim_end_matches(".rs").to_owned(),
    };
    let mut found = Vec::new();
    for (index, line) in source.code.iter().enumerate() {
        let Some(name) = module_name(line) else { continue };
        found.push(format!("{own}/{name}.rs"));
        found.push(format!("{own}/{name}/mod.rs"));
        // The attribute before it may name the file.
        let above = index.checked_sub(1).and_then(|above| source.lines.get(above));
        let text = above.map_or(String::new(), String::clone) + &source.lines[index];
        if let Some(target) =
            text.split("#[path = \"").nth(1).and_then(|rest| rest.split('"').next())
        {
            found.push(join(folder, target));
        }
    }
    found
}

/// The name in `pub(crate) mod name;`.
fn module_name(line: &str) -> Option<&str> {
    let declaration = line.trim().strip_suffix(';')?;
    let (before, name) = declaration.rsplit_once("mod ")?;
    let is_declaration = before.is_empty() || before.ends_with(' ');
    let name = name.trim_start_matches("r#");
    (is_declaration && name.chars().all(super::source::is_name)).then_some(name)
}

fn join(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in target.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn a_file_that_no_module_leads_to_is_found() {
    let files = [
        ("crates/a/Cargo.toml", ""),
        ("crates/a/build.rs", ""),
        ("crates/a/src/lib.rs", "pub mod lease;\n// mod gone;\n"),
        ("crates/a/src/lease.rs", "mod table;\n"),
        ("crates/a/src/lease/table.rs", ""),
        ("crates/a/src/lease/lost.rs", ""),
        ("crates/a/src/gone.rs", ""),
        ("crates/a/tests/one.rs", "#[path = \"shared/parts.rs\"]\nmod parts;\n"),
        ("crates/a/tests/shared/parts.rs", ""),
        ("crates/a/tests/many/main.rs", "mod x;\n"),
        ("crates/a/tests/many/x.rs", ""),
    ];
    let expected = ["crates/a/src/gone.rs", "crates/a/src/lease/lost.rs"];
    assert_eq!(super::found(check, &files), expected.map(|path| (path.to_owned(), 0)));
}
