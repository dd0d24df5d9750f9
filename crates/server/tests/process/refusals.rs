//! Starts that are refused: the exit code and the words.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use child::finished::{Finished, run};
use child::ports::free_ports;

use crate::member::{Member, bare, binary, command};

fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("make a folder");
    let finished = run(bare(binary(), folder.path()).args(arguments), b"").expect("it runs");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("ours").collect();
    assert!(left.is_empty(), "{arguments:?} leaves {left:?}");
    (finished.code, said(&finished))
}

fn said(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stderr).into_owned()
}

#[test]
fn a_command_line_that_cannot_be_read_ends_with_2_and_the_usage() {
    for arguments in [
        &["--nonsense"][..],
        &["--heartbeat-interval", "soon"],
        &["--snapshot-count"],
        &["--listen-client-urls", "ftp://127.0.0.1:1"],
    ] {
        let (code, text) = refused(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(text.contains("Usage:"), "{arguments:?}: {text}");
    }
}

#[test]
fn settings_that_make_no_sense_end_with_1_and_the_reason() {
    for (arguments, reason) in [
        (
            &["--listen-client-urls", "http://example.com:2379"][..],
            "expected IP in URL for binding",
        ),
        (
            &[
                "--initial-cluster=other=http://127.0.0.1:2380",
                // Found out after listening: on ports that nobody has.
                "--listen-client-urls=http://127.0.0.1:0",
                "--advertise-client-urls=http://127.0.0.1:0",
                "--listen-peer-urls=http://127.0.0.1:0",
            ],
            "in the initial cluster",
        ),
        (&["--cert-file", "x"], "TLS is not available"),
        (&["--auth-token", "jwt"], "--auth-token"),
        (&["--config-file", "absent.yaml"], "absent.yaml"),
        (&["word"], "is not a valid flag"),
    ] {
        let (code, text) = refused(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {text}");
        assert!(text.contains(reason), "{arguments:?}: {text}");
    }
}

#[test]
fn an_address_in_use_is_named() {
    let folder = tempfile::tempdir().expect("make a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = taken.local_addr().expect("bound").port();
    let [free, _] = free_ports();
    for (client, peer) in [(port, free), (free, port)] {
        let finished = run(&mut command(folder.path(), client, peer), b"").expect("it runs");
        let text = said(&finished);
        assert_eq!(finished.code, Some(1), "{text}");
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
        assert!(text.to_lowercase().contains("address already in use"), "{text}");
        assert!(!folder.path().join("data").exists(), "nothing is touched");
    }
}

#[test]
fn a_second_process_on_the_same_directory_is_refused_and_the_first_serves_on() {
    let mut member = Member::start(&[]);
    let [client, peer] = free_ports();
    let finished = run(&mut command(member.folder.path(), client, peer), b"").expect("it runs");
    let text = said(&finished);
    assert_eq!(finished.code, Some(1), "{text}");
    assert!(text.contains("data"), "the directory is named: {text}");
    assert!(text.contains("another process") || text.contains("in use"), "{text}");
    assert_eq!(crate::http::get(member.client_port, "/health").0, 200);
    member.stop();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().expect("make a folder");
    std::fs::write(folder.path().join("data"), "a file").expect("write");
    let [client, peer] = free_ports();
    let finished = run(&mut command(folder.path(), client, peer), b"").expect("it runs");
    let text = said(&finished);
    assert_eq!(finished.code, Some(1), "{text}");
    assert!(text.contains("data"), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_directory_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().expect("make a folder");
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("member/snap")).expect("make folders");
    std::fs::write(data.join("member/snap/db"), "not ours").expect("write");
    let [client, peer] = free_ports();
    let finished = run(&mut command(folder.path(), client, peer), b"").expect("it runs");
    let text = said(&finished);
    assert_eq!(finished.code, Some(1), "{text}");
    assert!(text.contains("data"), "{text}");
    assert_eq!(std::fs::read(data.join("member/snap/db")).expect("there"), b"not ours");
}

#[test]
fn a_damaged_log_is_refused_and_the_place_is_named() {
    let mut member = Member::start(&[]);
    member.stop();
    let log = PathBuf::from("data/log");
    let files = std::fs::read_dir(member.folder.path().join(&log))
        .expect("the log")
        .map(|file| file.expect("a file").path());
    let segment = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "wal");
    let first = &files.filter(segment).min().expect("a segment");
    // In the first batch behind the header; the mark of the clean stop says that all is there.
    flip(first, 64 + 30);
    let mut again = command(member.folder.path(), member.client_port, member.peer_port);
    let finished = run(&mut again, b"").expect("it runs");
    let text = said(&finished);
    assert_eq!(finished.code, Some(1), "{text}");
    assert!(text.contains(&log.display().to_string()), "its folder is named: {text}");
    assert!(text.contains("segment 2 at byte 64"), "and the place in it: {text}");
    assert!(!text.contains("panicked"), "{text}");
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = std::fs::read(file).expect("read");
    bytes[offset] ^= 1;
    std::fs::write(file, bytes).expect("write");
}
