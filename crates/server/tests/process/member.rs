//! One member in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use child::ports::on_free_ports;
use child::{PATIENCE, Running, ServeError};
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::kv_client::KvClient;
use tonic::transport::{Channel, Endpoint};

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
        let started = on_free_ports(|[client_port, peer_port]| {
            let folder = tempfile::tempdir().expect("make a folder");
            let mut command = command(folder.path(), client_port, peer_port);
            let (running, log) = await_ready(command.args(flags))?;
            Ok(Member { running, client_port, peer_port, log, folder })
        });
        started.unwrap_or_else(|error: ServeError| panic!("{error}"))
    }

    /// Starts it again on the same ports and the same data.
    pub(crate) fn start_again(&mut self) {
        let mut command = command(self.folder.path(), self.client_port, self.peer_port);
        let (running, log) =
            await_ready(&mut command).unwrap_or_else(|error| panic!("not again: {error}"));
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

/// Starts it and waits until it serves; with what it has said.
pub(crate) fn await_ready(command: &mut Command) -> Result<(Running, Vec<String>), ServeError> {
    Running::serve(command, PATIENCE)
}
