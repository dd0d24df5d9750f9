//! The same client program against MetaStore and against etcd: the same lines, or the test says which.
//!
//! ```text
//! compat/clientcheck ──┬──▶ etcd                  ──▶ lines ─┐
//!   (etcd's client)    └──▶ metastore, each engine ─▶ lines ─┴─▶ must be equal
//!
//! compat/clients/* ────┬──▶ etcd                  ──▶ lines ─┐
//!   (other languages)  └──▶ metastore, each engine ─▶ lines ─┴─▶ must be those of story.txt
//! ```
//!
//! The Go program, `clientcheck`, uses everything that applications use: keys, transactions, streams,
//! watches over a restart, leases, recipes, layers; and it sends by hand what no client library would.
//! The programs in other languages tell one story in the same words: `story`.
//! A line that begins with `@` asks for something to be done to the server, for example `@restart`.
//!
//! A program whose language is not installed says so and is skipped; with `METASTORE_REQUIRE_TOOLS=1`
//! it fails instead. `METASTORE_SESSION_SUBJECT=/path/to/binary` puts another server in the place of
//! ours: with etcd itself there, every scene passes.

#![allow(dead_code, reason = "the modules are shared with the comparison, which uses all of them")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use child::{Follow, PATIENCE, Running};

#[path = "../compat/binaries.rs"]
mod binaries;
#[path = "../compat/member.rs"]
mod member;
mod story;

use binaries::Binaries;
use member::Member;

/// What the program says once all scenes are played.
const END: &str = "@end";

/// Plays the scenes against both servers.
fn compare(scenes: &[&str]) {
    let Some(binaries) = binaries::find() else { return };
    let command = |member: &Member| {
        let mut command = Command::new(program(binaries));
        command.args(["-endpoint", &member.endpoint(), "-pid", &member.pid().to_string()]);
        command.args(scenes);
        command
    };
    let (expected, actual) = std::thread::scope(|scope| {
        let expected = scope.spawn(|| play(&binaries.etcd, &[], command));
        let engines = binaries.engines();
        let actual: Vec<_> =
            engines.map(|flags| (flags, play(&binaries.subject, flags, command))).collect();
        (expected.join().expect("etcd plays the scenes"), actual)
    });
    for (flags, actual) in actual {
        if let Some(difference) = difference(&expected, &actual) {
            panic!("{scenes:?}, ours with {flags:?}:\n{difference}");
        }
    }
}

/// Where two transcripts part, with what came before.
fn difference(expected: &[String], actual: &[String]) -> Option<String> {
    let count = expected.len().max(actual.len());
    let at = (0..count).find(|at| expected.get(*at) != actual.get(*at))?;
    let before = expected[..at].last().map_or("the beginning", String::as_str);
    let line = |lines: &[String]| lines.get(at).map_or("(nothing)".to_owned(), Clone::clone);
    Some(format!(
        "line {} after: {before}\nexpected: {}\n  actual: {}",
        at + 1,
        line(expected),
        line(actual)
    ))
}

/// Starts the server and the program, does what the program asks for, and gives its lines.
fn play(server: &Path, flags: &[String], command: impl Fn(&Member) -> Command) -> Vec<String> {
    let mut member = Member::start(server, flags);
    let endpoint = member.endpoint();
    let mut command = command(&member);
    let mut client = Running::start(&mut command, Follow::Stdout).expect("the program starts");
    let mut lines = Vec::new();
    loop {
        // A scene gives up by itself after three times the patience and says where it stood.
        let Some(line) = client.next_line(Instant::now() + PATIENCE * 4) else {
            panic!("{} ends early, after:\n{}", server.display(), lines.join("\n"));
        };
        match line.as_str() {
            "@restart" => member.restart(),
            "@kill" => member.crash(),
            END => return lines,
            _ => {
                assert!(!line.starts_with("FATAL"), "{}: {line}", server.display());
                lines.push(line.replace(&endpoint, "ENDPOINT"));
                continue;
            }
        }
        client.say("done");
    }
}

fn program(binaries: &Binaries) -> PathBuf {
    let program = binaries.folder.join("clientcheck");
    assert!(program.exists(), "{} is missing; compat/build makes it", program.display());
    program
}

#[test]
fn keys_and_transactions() {
    compare(&["kv", "txn", "stream", "compaction", "errors"]);
}

#[test]
fn watches_and_leases() {
    compare(&["watch", "fragments", "lease"]);
}

#[test]
fn recipes_and_layers() {
    compare(&["recipes", "layers", "naming"]);
}

#[test]
fn requests_that_no_client_library_sends() {
    compare(&["requests", "watches", "leases", "maintenance"]);
}

#[test]
fn sizes_at_the_limits_and_bytes_that_are_no_request() {
    compare(&["sizes", "wire"]);
}

#[test]
fn clients_go_on_over_a_restart() {
    compare(&["restart"]);
}

#[test]
fn streams_that_are_dropped_and_watchers_that_do_not_read() {
    compare(&["streams", "pressure"]);
}

#[test]
fn the_first_difference_is_told_with_what_came_before() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(difference(&lines("a\nb"), &lines("a\nb")), None);
    let told = difference(&lines("a\nb\nc"), &lines("a\nx\nc")).expect("they differ");
    assert_eq!(told, "line 2 after: a\nexpected: b\n  actual: x");
    let told = difference(&lines("a"), &lines("")).expect("they differ");
    assert_eq!(told, "line 1 after: the beginning\nexpected: a\n  actual: (nothing)");
}
