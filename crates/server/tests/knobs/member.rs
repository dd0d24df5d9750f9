//! One member on free loopback ports with a data directory of its own.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use metastore_proto::etcdserverpb::kv_client::KvClient;
use metastore_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use metastore_proto::etcdserverpb::{PutRequest, RangeRequest};
use tonic::transport::{Channel, Endpoint};

/// How long anything may take before a test gives it up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const PORT_ATTEMPTS_MAX: u32 = 3;

/// A running member; killed and its data removed when dropped.
pub(crate) struct Member {
    folder: tempfile::TempDir,
    flags: Vec<String>,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    child: Child,
    log: Receiver<String>,
    /// Of the log since it became ready.
    said: RefCell<Vec<String>>,
}

impl Member {
    /// Starts the program with these flags beside those that every member gets.
    pub(crate) fn start(flags: &[&str]) -> Member {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut said = String::new();
        // Another process may take a free port before the member does: then others are tried.
        for _ in 0..PORT_ATTEMPTS_MAX {
            let folder = tempfile::tempdir().unwrap();
            let [client_port, peer_port] = free_ports();
            match launch(folder.path(), &flags, client_port, peer_port) {
                Ok((child, log)) => {
                    let said = RefCell::default();
                    return Member { folder, flags, client_port, peer_port, child, log, said };
                }
                Err(log) => said = log,
            }
        }
        panic!("the member did not start with {flags:?}; it said:\n{said}");
    }

    /// Kills it and starts it on the same data, with these flags.
    pub(crate) fn crash(&mut self, flags: &[&str]) {
        self.end();
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let started = launch(self.folder.path(), &self.flags, self.client_port, self.peer_port);
        self.said.get_mut().clear();
        (self.child, self.log) = started.unwrap_or_else(|log| panic!("not again:\n{log}"));
    }

    /// Waits for a line of the log that contains `words`, in their order.
    pub(crate) fn log_line(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.said.borrow_mut();
        let mut next = 0;
        loop {
            if let Some(line) = said[next..].iter().find(|line| contains_in_order(line, words)) {
                return line.clone();
            }
            next = said.len();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => said.push(line),
                Err(_) => panic!("no line with {words:?} among\n{}", said.join("\n")),
            }
        }
    }

    /// The log as far as it was waited for.
    pub(crate) fn log_so_far(&self) -> String {
        self.said.borrow().join("\n")
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.client_port));
        endpoint.unwrap().connect().await.unwrap()
    }

    pub(crate) async fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel().await)
    }

    pub(crate) async fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel().await)
    }

    /// The folder that holds the data directory, for socket files and the like.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn end(&mut self) {
        // Errors mean that it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}

fn contains_in_order(line: &str, words: &[&str]) -> bool {
    let mut rest = line;
    words.iter().all(|word| {
        let after = rest.split_once(word).map(|(_, after)| after);
        after.inspect(|after| rest = after).is_some()
    })
}

/// Starts the process and waits until it is ready; the error is its log.
fn launch(
    folder: &Path,
    flags: &[String],
    client_port: u16,
    peer_port: u16,
) -> Result<(Child, Receiver<String>), String> {
    let client_url = format!("http://127.0.0.1:{client_port}");
    let mut child = Command::new(env!("CARGO_BIN_EXE_metastore"))
        .current_dir(folder)
        .env_clear()
        .args(["--data-dir=data", "--log-format=json", "--unsafe-no-fsync"])
        .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
        .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer_port}")])
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, log) = channel();
    // The thread ends with the pipe, that is with the child.
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            // Nobody listens any more: go on reading, or the child would block on a full pipe.
            let _ = sender.send(line);
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut said = String::new();
    while let Ok(line) = log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if line.contains("ready to serve client requests") {
            return Ok((child, log));
        }
        said.push_str(&line);
        said.push('\n');
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(said)
}

/// Ports that nobody listens on.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

pub(crate) fn put(key: &str, value: impl Into<bytes::Bytes>) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.into(), ..PutRequest::default() }
}

pub(crate) fn get(key: &str, revision: i64) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), revision, ..RangeRequest::default() }
}
