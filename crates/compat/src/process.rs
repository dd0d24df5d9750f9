//! A server as a process: fresh data, free loopback ports, and ends of both kinds.
//!
//! Both servers get the same names and peer addresses, from which the ids of member and cluster are
//! derived: so these too must be equal.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use child::ports::{free_ports, on_free_ports};
use child::{PATIENCE, Running};

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As a service manager ends it.
    Graceful,
    /// As a power cut ends its process.
    Killed,
}

/// A running server; killed and its data removed when dropped.
#[derive(Debug)]
pub struct Server {
    /// First, so that it has ended when its data is removed.
    running: Running,
    folder: tempfile::TempDir,
    binary: PathBuf,
    flags: Vec<String>,
    /// Where clients connect.
    pub address: SocketAddr,
}

impl Server {
    /// Starts the binary on an empty folder and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it does not become ready; the error holds its log.
    pub fn start(binary: &Path, flags: &[String]) -> Result<Server> {
        on_free_ports(|[port]| {
            let folder = tempfile::tempdir().context("make a folder for the server's data")?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let running = launch(binary, flags, folder.path(), address)?;
            let (binary, flags) = (binary.to_owned(), flags.to_vec());
            Ok(Server { binary, flags, folder, running, address })
        })
    }

    /// Ends it and starts it again on the same data, under the same address.
    ///
    /// # Errors
    ///
    /// If it does not stop, or not become ready again.
    pub fn restart(&mut self, end: End) -> Result<()> {
        match end {
            End::Graceful => {
                let ended = self.running.terminate();
                ended.with_context(|| format!("{} does not stop", self.binary.display()))?;
            }
            End::Killed => self.running.kill(),
        }
        self.running = launch(&self.binary, &self.flags, self.folder.path(), self.address)?;
        Ok(())
    }

    /// Tells it to stop, and does not wait.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn tell_to_stop(&self) -> Result<()> {
        self.running.tell_to_stop().context("tell it to stop")
    }
}

fn launch(binary: &Path, flags: &[String], folder: &Path, address: SocketAddr) -> Result<Running> {
    let client_url = format!("http://{address}");
    let [peer_port] = free_ports();
    let peer_url = format!("http://127.0.0.1:{peer_port}");
    let mut command = Command::new(binary);
    command
        .current_dir(folder)
        .env_clear()
        .args(["--name", "default", "--data-dir", "data"])
        .args([
            "--listen-client-urls",
            &client_url,
            "--advertise-client-urls",
            "http://127.0.0.1:2379",
        ])
        .args(["--listen-peer-urls", &peer_url])
        .args(["--initial-advertise-peer-urls", "http://127.0.0.1:2380"])
        .args(["--initial-cluster", "default=http://127.0.0.1:2380"])
        .args(flags);
    let (mut running, _) = Running::serve(&mut command, PATIENCE)?;
    running.ignore_lines();
    Ok(running)
}
