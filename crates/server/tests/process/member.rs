//! One member in a folder of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::kv_client::KvClient;
use tonic::transport::{Channel, Endpoint};

use crate::child::{Follow, PATIENCE, Running};

/// What the log says when clients are served.
pub(crate) const READY: &str = "ready to serve client requests";

/// How often another port is tried when somebody was faster.
const PORT_ATTEMPTS_MAX: u32 = 5;

/// The program under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_metastore"))
}

/// The program under the name that makes it speak like etcd.
pub(crate) fn as_etcd(folder: &Path) -> PathBuf {
    let link = folder.join("etcd");
    std::os::unix::fs::symlink(binary(), &link).expect("make a link");
    link
}

/// A started member; killed and its folder removed when dropped.
pub(crate) struct Member {
    pub(crate) running: Running,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    /// What it has said until it was ready, that line included.
    pub(crate) log: Vec<String>,
    pub(crate) folder: tempfile::TempDir,
}

impl Member {
    /// Starts a member with these flags beside its addresses and its directory.
    pub(crate) fn start(flags: &[&str]) -> Member {
        let folder = tempfile::tempdir().expect("make a folder");
        let mut complaint = Vec::new();
        for _ in 0..PORT_ATTEMPTS_MAX {
            let [client, peer] = free_ports();
            let mut command = command(folder.path(), client, peer);
            match await_ready(command.args(flags)) {
                Ok((running, log)) => {
                    return Member { running, client_port: client, peer_port: peer, log, folder };
                }
                Err(log) => complaint = log,
            }
        }
        panic!("the member does not start; it says:\n{}", complaint.join("\n"));
    }

    /// Starts it again on the same ports and the same data.
    pub(crate) fn start_again(&mut self) {
        let mut command = command(self.folder.path(), self.client_port, self.peer_port);
        let (running, log) = await_ready(&mut command)
            .unwrap_or_else(|log| panic!("it does not start again:\n{}", log.join("\n")));
        (self.running, self.log) = (running, log);
    }

    /// Stops it as a service manager does.
    pub(crate) fn stop(&mut self) {
        let status = self.running.terminate().expect("it ends in time");
        assert_eq!(status.code(), Some(0), "a clean end");
    }

    /// As [`Member::stop`], while the clients of this thread live on.
    pub(crate) async fn stopped(self) -> Member {
        self.beside(Member::stop).await
    }

    /// Waits until it has ended by itself, while the clients of this thread live on.
    pub(crate) async fn ended(self) -> Member {
        let wait = |member: &mut Member| {
            let status = member.running.wait().expect("it ends in time");
            assert_eq!(status.code(), Some(0), "a clean end");
        };
        self.beside(wait).await
    }

    async fn beside(mut self, work: impl FnOnce(&mut Member) + Send + 'static) -> Member {
        let work = move || {
            work(&mut self);
            self
        };
        tokio::task::spawn_blocking(work).await.expect("the work does not panic")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A connection for gRPC.
    pub(crate) async fn channel(&self) -> Channel {
        let address = format!("http://127.0.0.1:{}", self.client_port);
        let endpoint = Endpoint::from_shared(address).expect("an address");
        endpoint.connect().await.expect("the member is ready")
    }

    pub(crate) async fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel().await)
    }
}

pub(crate) fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..pb::PutRequest::default()
    }
}

/// The program in a folder with nothing of ours in its environment.
pub(crate) fn bare(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// The program with addresses and the directory `data` below the folder.
pub(crate) fn command(folder: &Path, client: u16, peer: u16) -> Command {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let mut command = bare(binary(), folder);
    command
        .args(["--data-dir", "data"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")]);
    command
}

/// Starts it and waits until it serves; the error is its log.
pub(crate) fn await_ready(command: &mut Command) -> Result<(Running, Vec<String>), Vec<String>> {
    let running = Running::start(command, Follow::Stderr).expect("the program starts");
    let mut log = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while let Some(line) = running.next_line(deadline) {
        let ready = line.contains(READY);
        log.push(line);
        if ready {
            return Ok((running, log));
        }
    }
    Err(log)
}

/// Two ports that nobody listens on.
pub(crate) fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("bind a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound above").port())
}
