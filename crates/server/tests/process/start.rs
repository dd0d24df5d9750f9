//! Starting: what is printed, what the environment may lack, how long it takes.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use child::finished::run;
use child::ports::free_ports;
use child::{Follow, PATIENCE, READY, Running};

use crate::http;
use crate::member::{Member, as_etcd, await_ready, bare, binary, command};

#[test]
fn help_and_version_are_printed_and_are_no_failures() {
    let folder = tempfile::tempdir().expect("make a folder");
    let etcd = as_etcd(folder.path());
    for (program, argument, first) in [
        (binary(), "--version", "metastore Version: "),
        (&etcd, "--version", "etcd Version: 3.7.3"),
        (binary(), "--help", "Member:"),
        (&etcd, "-h", "Member:"),
    ] {
        let finished = run(bare(program, folder.path()).arg(argument), b"").expect("it runs");
        let text = String::from_utf8(finished.stdout).expect("text");
        let start: String = text.trim_start().chars().take(60).collect();
        assert!(start.starts_with(first), "{argument}: {start}");
        assert_eq!(finished.code, Some(0), "{argument}");
    }
}

#[test]
fn started_as_etcd_it_prints_the_version_in_etcds_lines() {
    let folder = tempfile::tempdir().expect("make a folder");
    let etcd = as_etcd(folder.path());
    let finished = run(bare(&etcd, folder.path()).arg("--version"), b"").expect("it runs");
    let text = String::from_utf8(finished.stdout).expect("text");
    let labels: Vec<&str> =
        text.lines().map(|line| line.split(": ").next().expect("a label")).collect();
    assert_eq!(labels, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]);
}

#[test]
fn started_as_etcd_it_logs_json_with_etcds_keys() {
    let folder = tempfile::tempdir().expect("make a folder");
    let etcd = as_etcd(folder.path());
    let [client, peer] = free_ports();
    let plain = command(folder.path(), client, peer);
    let mut command = bare(&etcd, folder.path());
    let (mut running, log) = await_ready(command.args(plain.get_args())).expect("it starts");
    for line in &log {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for key in ["level", "ts", "caller", "msg"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
    let ready: serde_json::Value =
        serde_json::from_str(log.last().expect("the line it waits for")).expect("JSON");
    assert_eq!(ready["msg"], "ready to serve client requests");
    assert_eq!(ready["level"], "info");
    assert_eq!(running.terminate().expect("it ends").code(), Some(0));
}

#[test]
fn the_environment_may_configure_it_and_may_hold_what_nobody_knows() {
    let folder = tempfile::tempdir().expect("make a folder");
    let [client, peer] = free_ports();
    let client_url = format!("http://127.0.0.1:{client}");
    let peer_url = format!("http://127.0.0.1:{peer}");
    let mut command = bare(binary(), folder.path());
    command
        .env("ETCD_NAME", "from-the-environment")
        .env("ETCD_LISTEN_CLIENT_URLS", &client_url)
        .env("ETCD_ADVERTISE_CLIENT_URLS", &client_url)
        .env("ETCD_LISTEN_PEER_URLS", &peer_url)
        .env("ETCD_INITIAL_ADVERTISE_PEER_URLS", &peer_url)
        .env("ETCD_INITIAL_CLUSTER", format!("from-the-environment={peer_url}"))
        .env("ETCD_UNSUPPORTED_ARCH", "arm64")
        .env("ETCD_VERIFY", "all");
    let (mut running, log) = await_ready(&mut command).expect("it starts");
    assert!(log.iter().any(|line| line.contains("ETCD_VERIFY")), "it is said: {log:?}");
    assert!(folder.path().join("from-the-environment.etcd").is_dir(), "the directory of the name");
    assert_eq!(http::get(client, "/health").0, 200);
    assert_eq!(running.terminate().expect("it ends").code(), Some(0));
}

#[test]
fn a_file_may_configure_it() {
    let folder = tempfile::tempdir().expect("make a folder");
    let [client, peer] = free_ports();
    let file = format!(
        "name: filed\ndata-dir: here\nlisten-client-urls: http://127.0.0.1:{client}\n\
         advertise-client-urls: http://127.0.0.1:{client}\n\
         listen-peer-urls: http://127.0.0.1:{peer}\n\
         initial-advertise-peer-urls: http://127.0.0.1:{peer}\n\
         initial-cluster: filed=http://127.0.0.1:{peer}\n"
    );
    std::fs::write(folder.path().join("config.yaml"), file).expect("write the file");
    let mut command = bare(binary(), folder.path());
    let (mut running, log) =
        await_ready(command.args(["--config-file", "config.yaml"])).expect("it starts");
    assert!(log.last().expect("ready").contains("filed"));
    assert!(folder.path().join("here").is_dir());
    assert_eq!(http::get(client, "/health").0, 200);
    assert_eq!(running.terminate().expect("it ends").code(), Some(0));
}

#[test]
fn the_last_of_several_flags_wins_and_their_order_does_not_matter() {
    let flags = ["--snapshot-count=5", "--unsafe-no-fsync", "--strict-reconfig-check=false"];
    let again = ["-snapshot-count", "7", "--quota-backend-bytes=1", "--quota-backend-bytes=0"];
    let mut member = Member::start(&[&flags[..], &again[..]].concat());
    assert_eq!(http::get(member.client_port, "/health").0, 200);
    member.stop();
}

#[test]
fn what_it_keeps_is_not_for_others_to_read() {
    let mut member = Member::start(&[]);
    let mode = std::fs::metadata(member.data_dir()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    member.stop();
}

#[test]
fn a_terminal_may_be_all_it_has() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let folder = tempfile::tempdir().expect("make a folder");
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).expect("ours");
    unlockpt(&terminal).expect("ours");
    let name = ptsname(&terminal, Vec::new()).expect("it has a name");
    let side = || {
        let name = name.to_str().expect("a path");
        let file = std::fs::OpenOptions::new().read(true).write(true).open(name);
        Stdio::from(file.expect("open our side"))
    };
    let [client, peer] = free_ports();
    let mut command = command(folder.path(), client, peer);
    command.stdin(side()).stdout(side()).stderr(side());
    let mut child = command.spawn().expect("it starts");
    drop(command);
    // A member that does not come up ends, and with it the lines.
    let lines = BufReader::new(std::fs::File::from(terminal)).lines();
    let ready = lines.map_while(Result::ok).find(|line| line.contains(READY));
    assert!(ready.is_some(), "it serves");
    assert_eq!(http::get(client, "/health").0, 200);
    child.kill().expect("it runs");
    child.wait().expect("it is ours");
}

#[test]
fn starting_takes_well_below_a_second() {
    const STARTS: usize = 10;
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let mut member = Member::start(&["--unsafe-no-fsync"]);
        took.push(begun.elapsed());
        member.running.kill();
    }
    took.sort();
    // The half that the machine disturbed least: other tests run beside this one.
    assert!(took[STARTS / 2] < Duration::from_secs(1), "{took:?}");
}

#[test]
fn somebody_who_does_not_read_its_log_does_not_stop_it() {
    let folder = tempfile::tempdir().expect("make a folder");
    let [client, peer] = free_ports();
    let mut command = command(folder.path(), client, peer);
    // The output is closed: whatever it logs meets a broken pipe.
    let (running, log) = await_ready(&mut command).expect("it starts");
    assert!(!log.is_empty());
    drop(running);
    let mut shell = bare(std::path::Path::new("bash"), folder.path());
    let words: Vec<String> = std::iter::once(binary().display().to_string())
        .chain(command.get_args().map(|word| word.to_string_lossy().into_owned()))
        .collect();
    let script = format!("exec {} --log-level debug 2> >(head -n 1 >&2)", words.join(" "));
    let mut running = Running::start(shell.args(["-c", &script]), Follow::Stderr).expect("bash");
    let deadline = Instant::now() + PATIENCE;
    running.next_line(deadline).expect("the one line that is read");
    while std::net::TcpStream::connect(("127.0.0.1", client)).is_err() {
        assert!(Instant::now() < deadline, "it ended when nobody read its log");
        std::thread::yield_now();
    }
    assert_eq!(http::get(client, "/health").0, 200);
    running.kill();
}
