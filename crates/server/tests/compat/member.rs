//! One server, etcd or the subject, on free loopback ports with a fresh data directory.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::process::{Follow, PATIENCE, Running};

/// What etcd logs when it answers; ours says the same words.
const READY: &str = "ready to serve client requests";

/// A started member; stopped and its data removed when dropped.
#[derive(Debug)]
pub(crate) struct Member {
    binary: PathBuf,
    flags: Vec<String>,
    folder: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    running: Running,
}

impl Member {
    /// Starts the binary with these flags beside those that every member gets.
    pub(crate) fn start(binary: &Path, flags: &[String]) -> Member {
        let folder = tempfile::tempdir().expect("make a temporary folder");
        // Another process may take a free port before the member does: then try others.
        for _ in 0..PORT_ATTEMPTS_MAX {
            let [client_port, peer_port] = free_ports();
            if let Ok(running) = launch(binary, flags, folder.path(), client_port, peer_port) {
                let (binary, flags) = (binary.to_owned(), flags.to_vec());
                return Member { binary, flags, folder, client_port, peer_port, running };
            }
            let data = folder.path().join("data");
            if data.exists() {
                std::fs::remove_dir_all(&data).expect("remove what a failed start left");
            }
        }
        let [client_port, peer_port] = free_ports();
        match launch(binary, flags, folder.path(), client_port, peer_port) {
            Ok(_) => panic!("{} starts only at times", binary.display()),
            Err(log) => panic!("{} did not become ready; it said:\n{log}", binary.display()),
        }
    }

    /// Where clients reach it, as `host:port`.
    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Its process, whose memory is nobody's business but that of `tests/clients`.
    #[allow(dead_code, reason = "the sessions do not ask for it")]
    pub(crate) fn pid(&self) -> u32 {
        self.running.id()
    }

    /// A folder for the files of the commands.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops it as a service manager would and starts it on the same data.
    pub(crate) fn restart(&mut self) {
        let status = self.running.terminate();
        let code = status.and_then(|status| status.code());
        // etcd ends by the signal that it re-raises, ours with success: both are a clean end.
        assert!(matches!(code, None | Some(0)), "the member ended with status {code:?}");
        self.start_again();
    }

    /// Kills it and starts it on the same data.
    pub(crate) fn crash(&mut self) {
        self.running.kill();
        self.start_again();
    }

    fn start_again(&mut self) {
        let data = self.folder.path();
        self.running = launch(&self.binary, &self.flags, data, self.client_port, self.peer_port)
            .unwrap_or_else(|log| panic!("the member did not start again; it said:\n{log}"));
    }
}

/// How many pairs of ports are tried.
const PORT_ATTEMPTS_MAX: u32 = 3;

/// Starts the process and waits until it is ready; the error is its log.
fn launch(
    binary: &Path,
    flags: &[String],
    folder: &Path,
    client_port: u16,
    peer_port: u16,
) -> Result<Running, String> {
    let client_url = format!("http://127.0.0.1:{client_port}");
    let mut command = Command::new(binary);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .args(["--name", "default", "--data-dir", "data"])
        .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
        .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer_port}")])
        // Ids are derived from these two: with the same words both servers have the same ids.
        .args(["--initial-advertise-peer-urls", "http://127.0.0.1:2380"])
        .args(["--initial-cluster", "default=http://127.0.0.1:2380"])
        .args(flags);
    let mut running = Running::start(&mut command, Follow::Stderr)
        .map_err(|error| format!("cannot be started: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    let mut log = String::new();
    while let Some(line) = running.next_line(deadline) {
        if line.contains(READY) {
            return Ok(running);
        }
        log.push_str(&line);
        log.push('\n');
    }
    running.kill();
    Err(log)
}

/// Two ports that nobody listens on. Five digits each, so that tables have the same width.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("bind a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound above").port())
}
