//! Every target plays its corpus and looks further for a moment; the planted one has to be found out.

use std::io::Write;

use super::*;

/// Beside the corpus, whose inputs are played first and outlive this.
const MOMENT_SECONDS: u32 = 3;
/// The planted panic takes a second; on a busy machine more.
const PLANTED_SECONDS: u32 = 60;

/// Whether a target held for a while, and what it said; `None` if it cannot be built here.
fn look(target: &str, seconds: u32) -> Option<(bool, String)> {
    if Command::new("c++").arg("--version").output().is_err() {
        let required = std::env::var_os("METASTORE_REQUIRE_TOOLS").is_some();
        assert!(!required, "METASTORE_REQUIRE_TOOLS is set, but there is no C++ compiler");
        // Past the capture of the test harness: what is skipped must not look as if it had passed.
        let _ = writeln!(std::io::stderr(), "SKIPPED fuzz target {target}: no C++ compiler");
        return None;
    }
    let fuzzer = Fuzzer::build(&crate::root(), target).expect("the fuzz target can be built");
    let mut command = fuzzer.command(&Wish::Glance(seconds)).expect("the cache can be written");
    let output = command.output().expect("the fuzz target starts");
    Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn must_hold(target: &str) {
    let corpus = std::fs::read_dir(crate::root().join("fuzz/corpus").join(target));
    assert!(corpus.expect("the corpus is kept").count() > 0, "the corpus of {target} is empty");
    let Some((held, said)) = look(target, MOMENT_SECONDS) else { return };
    let end = said.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
    assert!(held, "{target} broke:\n{}", &said[end..]);
    assert!(said.contains("DONE"), "{target} has not looked:\n{said}");
}

#[test]
fn no_log_makes_replay_panic() {
    must_hold("log");
}

#[test]
fn no_stream_makes_a_restore_panic() {
    must_hold("snapshot");
}

#[test]
fn no_batch_makes_apply_panic() {
    must_hold("commands");
}

#[test]
fn no_request_makes_the_server_panic() {
    must_hold("requests");
}

#[test]
fn the_planted_panic_is_found() {
    let Some((held, said)) = look("planted", PLANTED_SECONDS) else { return };
    assert!(!held && said.contains("the planted panic"), "it was not found:\n{said}");
}

#[test]
fn arguments_say_which_target_and_for_how_long() {
    let parsed = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&words).ok()
    };
    assert_eq!(parsed(&["log"]), Some(("log".to_owned(), Wish::Look(SECONDS))));
    assert_eq!(parsed(&["log", "--seconds", "5"]), Some(("log".to_owned(), Wish::Look(5))));
    let play = Wish::Play("crash".into());
    assert_eq!(parsed(&["log", "--input", "crash"]), Some(("log".to_owned(), play)));
    assert_eq!(parsed(&["log", "--seconds", "soon"]), None);
    assert_eq!(parsed(&[]), None);
}
