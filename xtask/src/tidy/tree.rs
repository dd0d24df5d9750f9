//! The texts of the checkout, by path.

use std::collections::BTreeMap;
use std::path::Path;

use super::source::Source;

/// Every text file that the rules look at.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    texts: BTreeMap<String, String>,
    sources: BTreeMap<String, Source>,
    /// Files of other kinds: they may be linked to.
    others: Vec<String>,
}

/// Folders that are not part of the project.
const SKIPPED: &[&str] = &[".git", "target", "bin", "metastore-data", "node_modules"];
/// Endings of the files that are read.
const READ: &[&str] = &["rs", "md", "toml", "txt"];

impl Tree {
    /// Reads a checkout.
    pub(crate) fn read(root: &Path) -> std::io::Result<Tree> {
        let mut tree = Tree::default();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                if kind.is_dir() {
                    if !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                        folders.push(path);
                    }
                    continue;
                }
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                let ending = path.extension().and_then(|ending| ending.to_str());
                if kind.is_file() && ending.is_some_and(|ending| READ.contains(&ending)) {
                    tree.insert(name, std::fs::read_to_string(&path)?);
                } else {
                    tree.others.push(name);
                }
            }
        }
        Ok(tree)
    }

    /// A tree of these texts.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.insert((*path).to_owned(), (*text).to_owned());
        }
        tree
    }

    fn insert(&mut self, path: String, text: String) {
        if path.ends_with(".rs") {
            self.sources.insert(path.clone(), Source::parse(&path, &text));
        }
        self.texts.insert(path, text);
    }

    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// One file's text.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Texts with this ending.
    pub(crate) fn texts<'a>(
        &'a self,
        ending: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        let texts = self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        texts.filter(move |(path, _)| path.ends_with(ending))
    }

    /// The Rust sources.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(path, source)| (path.as_str(), source))
    }

    /// Whether a file or a folder of this name exists.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        let mut paths = self.texts.keys().chain(&self.others);
        path.is_empty() || paths.any(|known| known == path || known.starts_with(&folder))
    }
}
