//! One server, etcd or the subject, on free loopback ports with a fresh data directory.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use child::ports::on_free_ports;
use child::{PATIENCE, Running, ServeError};
use rustix::process::Signal;

/// A started member; stopped and its data removed when dropped.
#[derive(Debug)]
pub(crate) struct Member {
    /// First, so that it has ended when its data is removed.
    running: Running,
    folder: tempfile::TempDir,
    binary: PathBuf,
    flags: Vec<String>,
    client_port: u16,
    peer_port: u16,
}

impl Member {
    /// Starts the binary with these flags beside those that every member gets.
    pub(crate) fn start(binary: &Path, flags: &[String]) -> Member {
        let started = on_free_ports(|[client_port, peer_port]| {
            let folder = tempfile::tempdir().expect("make a temporary folder");
            let running = launch(binary, flags, folder.path(), client_port, peer_port)?;
            let (binary, flags) = (binary.to_owned(), flags.to_vec());
            Ok(Member { running, folder, binary, flags, client_port, peer_port })
        });
        started.unwrap_or_else(|error: ServeError| panic!("{error}"))
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
        let status = self.running.terminate().expect("it ends when it is asked to");
        // etcd ends by the signal that it re-raises, ours with success: both are a clean end.
        let is_clean = status.success() || status.signal() == Some(Signal::TERM.as_raw());
        assert!(is_clean, "the member ended with {status}");
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
            .unwrap_or_else(|error| panic!("not again: {error}"));
    }
}

/// Starts the process and waits until it is ready.
fn launch(
    binary: &Path,
    flags: &[String],
    folder: &Path,
    client_port: u16,
    peer_port: u16,
) -> Result<Running, ServeError> {
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
    let (running, _) = Running::serve(&mut command, PATIENCE)?;
    Ok(running)
}
