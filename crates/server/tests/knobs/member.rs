//! One member on free loopback ports with a data directory of its own.

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use child::ports::on_free_ports;
use child::{PATIENCE, Running, ServeError};
use metastore_proto::etcdserverpb::kv_client::KvClient;
use metastore_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use metastore_proto::etcdserverpb::{PutRequest, RangeRequest};
use tonic::transport::{Channel, Endpoint};

/// A running member; killed and its data removed when dropped.
pub(crate) struct Member {
    /// First, so that it has ended when its data is removed.
    running: Running,
    folder: tempfile::TempDir,
    flags: Vec<String>,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    /// Of the log since it became ready.
    said: RefCell<Vec<String>>,
}

impl Member {
    /// Starts the program with these flags beside those that every member gets.
    pub(crate) fn start(flags: &[&str]) -> Member {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let started = on_free_ports(|[client_port, peer_port]| {
            let folder = tempfile::tempdir().unwrap();
            let running = launch(folder.path(), &flags, client_port, peer_port)?;
            let (flags, said) = (flags.clone(), RefCell::default());
            Ok(Member { running, folder, flags, client_port, peer_port, said })
        });
        started.unwrap_or_else(|error: ServeError| panic!("with {flags:?}: {error}"))
    }

    /// Kills it and starts it on the same data, with these flags.
    pub(crate) fn crash(&mut self, flags: &[&str]) {
        self.running.kill();
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let started = launch(self.folder.path(), &self.flags, self.client_port, self.peer_port);
        self.said.get_mut().clear();
        self.running = started.unwrap_or_else(|error| panic!("not again: {error}"));
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
            match self.running.next_line(deadline) {
                Some(line) => said.push(line),
                None => panic!("no line with {words:?} among\n{}", said.join("\n")),
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
}

fn contains_in_order(line: &str, words: &[&str]) -> bool {
    let mut rest = line;
    words.iter().all(|word| {
        let after = rest.split_once(word).map(|(_, after)| after);
        after.inspect(|after| rest = after).is_some()
    })
}

/// Starts the process and waits until it is ready.
fn launch(
    folder: &Path,
    flags: &[String],
    client_port: u16,
    peer_port: u16,
) -> Result<Running, ServeError> {
    let client_url = format!("http://127.0.0.1:{client_port}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_metastore"));
    command
        .current_dir(folder)
        .env_clear()
        .args(["--data-dir=data", "--log-format=json", "--unsafe-no-fsync"])
        .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
        .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer_port}")])
        .args(flags);
    let (running, _) = Running::serve(&mut command, PATIENCE)?;
    Ok(running)
}

pub(crate) fn put(key: &str, value: impl Into<bytes::Bytes>) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.into(), ..PutRequest::default() }
}

pub(crate) fn get(key: &str, revision: i64) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), revision, ..RangeRequest::default() }
}
