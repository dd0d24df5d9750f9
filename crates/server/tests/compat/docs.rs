//! Every command of the README and of the pages under `docs` is run, and shows what the page says.
//!
//! Each page gets a fresh member and one shell, in an empty folder, in which its commands run in
//! order. The page speaks of `127.0.0.1:2379`; the test puts the member's free port in its place.
//! What a page cannot do inside a test is stood in for:
//!
//! | on the page | in the test |
//! |---|---|
//! | `make target` | `make -n target`: the target exists. CI runs `make test` and `make run` themselves |
//! | `cargo … -p crate`, `cargo xtask task` | the crate and the task exist |
//! | `bin/metastore` | the subject of this build |
//! | `etcdctl watch …` | ends after the lines that the page shows |

use std::fmt::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process;

use child::finished::run;

use crate::binaries::{self, Binaries, checkout};
use crate::markdown::{Command, commands, is_shown};
use crate::member::Member;

/// Where pages say that the member is.
const ADDRESS_ON_PAGES: &str = "127.0.0.1:2379";

#[test]
fn every_command_on_the_pages_works_as_shown() {
    let Some(binaries) = binaries::find() else { return };
    let mut failures = String::new();
    let mut commands_count = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("a page");
        match try_page(binaries, &text) {
            Ok(count) => commands_count += count,
            Err(why) => writeln!(failures, "{}: {why}", page.display()).expect("a string"),
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(commands_count > 0, "no page has a command: the search for them is broken");
}

#[test]
fn a_wrong_command_or_output_on_a_page_is_found_out() {
    let Some(binaries) = binaries::find() else { return };
    let good = "```console\n$ etcdctl put a 1\nOK\n$ etcdctl get a --print-value-only\n1\n```";
    assert_eq!(try_page(binaries, good), Ok(2));
    for (page, line) in [
        ("```sh\netcdctl frobnicate\n```", 1),
        ("```console\n$ etcdctl put a 1\nFine\n```", 2),
        ("```console\n$ etcdctl put a 1\nOK\n$ etcdctl get a\na\n2\n```", 4),
        ("```sh\nfalse\ntrue\n```", 1),
        ("```sh\nmake coffee\n```", 1),
        ("```sh\ncargo test -p teapot\n```", 1),
        ("```sh\ncargo xtask coffee\n```", 1),
        ("```console\n$ etcdctl watch nothing --rev=9\n```\n```sh\nfalse\n```", 4),
    ] {
        let why = try_page(binaries, page).expect_err(page);
        assert!(why.starts_with(&format!("line {line}: ")), "{why}");
    }
}

/// The README, what stands beside it, and everything under `docs`.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = Vec::new();
    let mut folders = vec![checkout().join("docs")];
    pages.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| checkout().join(page)),
    );
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of pages") {
            let path = entry.expect("a page").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// Runs the commands of a page; tells how many, or which is wrong.
fn try_page(binaries: &Binaries, page: &str) -> Result<usize, String> {
    let commands = commands(page)?;
    if commands.is_empty() {
        return Ok(0);
    }
    let member = Member::start(&binaries.subject, &[]);
    let folder = member.folder().join("page");
    let stand_ins = stand_ins(binaries, &folder);
    let script = script(&commands).replace(ADDRESS_ON_PAGES, &member.endpoint());
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = process::Command::new("bash");
    shell
        .arg("-s")
        .current_dir(&folder)
        .env("PATH", format!("{}:{}:{path}", stand_ins.display(), binaries.folder.display()))
        .env("CHECKOUT", checkout())
        .env("ETCDCTL_ENDPOINTS", member.endpoint());
    let finished = run(&mut shell, script.as_bytes()).map_err(|error| format!("bash: {error}"))?;
    let output = String::from_utf8_lossy(&finished.stdout);
    let output = output.replace(&member.endpoint(), ADDRESS_ON_PAGES);
    for (index, command) in commands.iter().enumerate() {
        check(index, command, &output)
            .map_err(|why| format!("line {}: {}: {why}", command.line, command.text.trim()))?;
    }
    Ok(commands.len())
}

/// One script for the page, which marks where each command begins and how it ended.
fn script(commands: &[Command]) -> String {
    let mut script = PRELUDE.to_owned();
    for (index, Command { text, shows, .. }) in commands.iter().enumerate() {
        let lines = shows.as_ref().map_or(0, Vec::len);
        // A watch that is refused ends by itself.
        let is_endless = text.starts_with("etcdctl watch") && !is_error_shown(shows);
        let ends = if is_endless { format!("show {lines} ") } else { String::new() };
        // A block is many commands, and none of them may fail: the first that does ends the page.
        let strictly = if shows.is_none() { "set -e" } else { "set +e" };
        // From /dev/null: a command that reads must not swallow the rest of the script.
        write!(script, "echo '@@@ begin {index}'\n{strictly}\n{{\n{ends}{text}\n}} </dev/null\n")
            .expect("a string");
        writeln!(script, "echo \"@@@ end {index} $?\"").expect("a string");
    }
    script
}

/// `show 3 etcdctl watch key` ends the command after its third line.
const PRELUDE: &str = r#"
exec 2>&1
show() {
    local lines=$1 status
    shift
    exec {pipe}< <(exec "$@")
    local child=$!
    timeout 20 head -n "$lines" <&"$pipe"
    status=$?
    kill "$child"
    return $status
}
"#;

fn check(index: usize, command: &Command, output: &str) -> Result<(), String> {
    let begin = format!("@@@ begin {index}\n");
    let end = format!("@@@ end {index} ");
    let (_, rest) = output.split_once(&begin).ok_or("never ran")?;
    let (shown, rest) = rest.split_once(&end).ok_or(format!("did not end: {rest}"))?;
    let status = rest.lines().next().unwrap_or_default();
    let lines: Vec<String> = shown.lines().map(str::to_owned).collect();
    if (status == "0") == is_error_shown(&command.shows) {
        return Err(format!("status {status}\n{shown}"));
    }
    match &command.shows {
        Some(expected) if !is_shown(expected, &lines) => Err(format!("shows\n{shown}")),
        _ => Ok(()),
    }
}

/// Whether the page shows that the command fails.
fn is_error_shown(shows: &Option<Vec<String>>) -> bool {
    shows.iter().flatten().any(|line| line.starts_with("Error:"))
}

/// Puts the stand-ins for `make`, `cargo` and `bin/metastore` in place; tells where the first two are.
fn stand_ins(binaries: &Binaries, folder: &Path) -> PathBuf {
    let stand_ins = folder.join("stand-ins");
    std::fs::create_dir_all(&stand_ins).expect("make a folder");
    std::fs::create_dir_all(folder.join("bin")).expect("make a folder");
    symlink(&binaries.subject, folder.join("bin/metastore")).expect("link the subject");
    for (name, text) in [("make", MAKE), ("cargo", CARGO)] {
        let path = stand_ins.join(name);
        std::fs::write(&path, text).expect("write a stand-in");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("make it executable");
    }
    stand_ins
}

/// The target exists; nothing is run.
const MAKE: &str = r#"#!/bin/sh
PATH=${PATH#*:}
exec make --no-print-directory -n -C "$CHECKOUT" "$@" >/dev/null
"#;

/// The crate and the task exist; nothing is run.
const CARGO: &str = r#"#!/bin/sh
previous=
for word in "$@"; do
    case $previous in
        -p) test "$word" = xtask || test -d "$CHECKOUT/crates/$word" || exit 101 ;;
        xtask) grep -q "\"$word\" =>" "$CHECKOUT/xtask/src/main.rs" || exit 101 ;;
    esac
    previous=$word
done
"#;
