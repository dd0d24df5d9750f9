//! A server as a process: fresh data, free loopback ports, and ends of both kinds.
//!
//! Both servers get the same names and peer addresses, from which the ids of member and cluster are
//! derived: so these too must be equal.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// What etcd logs when it answers; ours says the same words.
const READY_LINE: &str = "ready to serve client requests";
/// How long a start or a stop may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many pairs of ports are tried: another process may be quicker.
const PORT_ATTEMPTS_MAX: u32 = 3;
/// Lines of the log that are kept for the report of a failed start.
const LOG_LINES_KEPT: usize = 20;

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
    binary: PathBuf,
    flags: Vec<String>,
    folder: tempfile::TempDir,
    child: Child,
    log: mpsc::Receiver<String>,
    /// Where clients connect.
    pub address: SocketAddr,
}

impl Server {
    /// Starts the binary on an empty folder and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it does not become ready; the error holds the end of its log.
    pub fn start(binary: &Path, flags: &[String]) -> Result<Server> {
        let mut attempt = 1;
        loop {
            let folder = tempfile::tempdir().context("make a folder for the server's data")?;
            let address = free_address()?;
            match launch(binary, flags, folder.path(), address) {
                Ok((child, log)) => {
                    let (binary, flags) = (binary.to_owned(), flags.to_vec());
                    return Ok(Server { binary, flags, folder, child, log, address });
                }
                Err(error) if attempt == PORT_ATTEMPTS_MAX => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    /// Ends it and starts it again on the same data, under the same address.
    ///
    /// # Errors
    ///
    /// If it does not stop, or not become ready again.
    pub fn restart(&mut self, end: End) -> Result<()> {
        match end {
            End::Graceful => self.terminate()?,
            End::Killed => self.kill(),
        }
        let (child, log) = launch(&self.binary, &self.flags, self.folder.path(), self.address)?;
        (self.child, self.log) = (child, log);
        Ok(())
    }

    /// Tells it to stop, and does not wait.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn tell_to_stop(&self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("tell it to stop")
    }

    fn terminate(&mut self) -> Result<()> {
        self.tell_to_stop()?;
        // The log ends when the process does, which can be waited for with a bound.
        let deadline = Instant::now() + PATIENCE;
        while self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        if Instant::now() >= deadline {
            bail!("{} does not stop", self.binary.display());
        }
        self.child.wait().context("wait for its end")?;
        Ok(())
    }

    fn kill(&mut self) {
        // Errors mean that it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(
    binary: &Path,
    flags: &[String],
    folder: &Path,
    address: SocketAddr,
) -> Result<(Child, mpsc::Receiver<String>)> {
    let client_url = format!("http://{address}");
    let peer_url = format!("http://{}", free_address()?);
    let mut child = Command::new(binary)
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
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let stderr = BufReader::new(child.stderr.take().context("its log")?);
    let (sender, log) = mpsc::channel();
    // Reads to the end, or the server would block on a full pipe; ends with the process.
    std::thread::spawn(move || {
        for line in stderr.split(b'\n').map_while(Result::ok) {
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut lines = Vec::new();
    while let Ok(line) = log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if line.contains(READY_LINE) {
            return Ok((child, log));
        }
        lines.push(line);
    }
    let _ = child.kill();
    let _ = child.wait();
    let end = lines.split_off(lines.len().saturating_sub(LOG_LINES_KEPT));
    bail!("{} did not become ready; it said:\n{}", binary.display(), end.join("\n"))
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a free port")?;
    Ok(listener.local_addr()?)
}
