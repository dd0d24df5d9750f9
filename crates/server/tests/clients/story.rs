//! Client programs in languages other than Go, all of which tell the story of
//! `compat/clients/story.txt` in its very words, against etcd and against MetaStore with each of its engines.
//!
//! Each does what an application does with its client library: keys, transactions, a watch that goes
//! on over a kill and over a restart without loss or repetition, a lease that is renewed and one that
//! ends. `compat/clients/build` builds them; what each library leaves to its users stands in them.

use std::process::Command;

use crate::binaries::{self, checkout};
use crate::{difference, play};

fn tell(language: &str) {
    let Some(binaries) = binaries::find() else { return };
    let Some(program) = binaries::built("compat/clients/build", &[language]) else { return };
    let story = std::fs::read_to_string(checkout().join("compat/clients/story.txt"))
        .expect("the story is part of the checkout");
    let story: Vec<String> = story.lines().map(str::to_owned).collect();
    let ours = binaries.engines().map(|flags| (&binaries.subject, flags));
    std::thread::scope(|scope| {
        for (server, flags) in std::iter::once((&binaries.etcd, &[][..])).chain(ours) {
            let (program, story) = (&program, &story);
            scope.spawn(move || {
                let lines = play(server, flags, |member| {
                    let mut command = Command::new(program);
                    command.arg(member.endpoint());
                    command
                });
                if let Some(difference) = difference(story, &lines) {
                    panic!("{language} against {} {flags:?}:\n{difference}", server.display());
                }
            });
        }
    });
}

#[test]
fn the_rust_client_tells_the_story() {
    tell("rust");
}

#[test]
fn the_python_client_tells_the_story() {
    tell("python");
}

#[test]
fn the_node_client_tells_the_story() {
    tell("node");
}

#[test]
fn the_java_client_tells_the_story() {
    tell("java");
}

#[test]
fn every_language_has_its_test() {
    let folder = checkout().join("compat/clients");
    let entries = std::fs::read_dir(folder).expect("the folder of the client programs");
    let mut languages: Vec<String> = entries
        .map(|entry| entry.expect("a program"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect();
    languages.sort();
    assert_eq!(languages, ["java", "node", "python", "rust"]);
}
