//! A member of this build as a process of its own, and a client that talks to it.
//!
//! ```text
//! test ──▶ Member: metastore --data-dir … ──stderr──▶ lines, until it says that it is ready
//!   └────▶ Client: the plain gRPC clients of metastore-proto
//! ```
//!
//! Waiting is always for a line or for the end of the process, with a bound: a slow machine is slow,
//! not wrong. What the member has written to its log is kept for the message of a failed test.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Instant;

use child::ports::free_ports;
use child::{Follow, PATIENCE, READY, Running};
use metastore_proto::etcdserverpb::kv_client::KvClient;
use metastore_proto::etcdserverpb::lease_client::LeaseClient;
use metastore_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use metastore_proto::etcdserverpb::watch_client::WatchClient;
use tonic::transport::{Channel, Endpoint};

const IN_USE: &str = "Address already in use";
/// How many pairs of ports are tried.
const PORT_ATTEMPTS_MAX: u32 = 5;

/// A member that can be started, killed and started again on the same data.
#[derive(Debug)]
pub(crate) struct Member {
    data_dir: PathBuf,
    flags: Vec<String>,
    client_port: u16,
    running: Option<Running>,
    /// What it has said since it was last started.
    log: Vec<String>,
}

/// How a member ended that should have become ready.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// Everything it has said.
    pub(crate) log: String,
}

impl Member {
    /// Names the directory and the flags; starts nothing yet.
    pub(crate) fn new(data_dir: &Path, flags: &[&str]) -> Member {
        let mut member = Member {
            data_dir: data_dir.to_owned(),
            flags: Vec::new(),
            client_port: 0,
            running: None,
            log: Vec::new(),
        };
        member.set_flags(flags);
        member
    }

    /// The flags of the next start.
    pub(crate) fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    }

    /// Starts the process and waits until it serves.
    pub(crate) fn start(&mut self) -> Result<(), Ended> {
        // Another process may take a free port before the member does: then others are tried.
        for _ in 1..PORT_ATTEMPTS_MAX {
            match self.start_once() {
                Err(ended) if ended.log.contains(IN_USE) => {}
                started => return started,
            }
        }
        self.start_once()
    }

    /// Starts one that has to become ready.
    pub(crate) fn must_start(&mut self) {
        if let Err(Ended { code, log }) = self.start() {
            panic!("the member did not become ready, exit status {code:?}; it said:\n{log}");
        }
    }

    fn start_once(&mut self) -> Result<(), Ended> {
        self.spawn();
        self.wait_until_ready()
    }

    /// Starts the process and waits for nothing.
    pub(crate) fn spawn(&mut self) {
        assert!(self.running.is_none(), "the member runs already");
        let [client_port, peer_port] = free_ports();
        let client_url = format!("http://127.0.0.1:{client_port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_metastore"));
        command
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer_port}")])
            // A member's identity comes from these two, and its ports change from start to start.
            .args(["--initial-advertise-peer-urls", "http://127.0.0.1:2380"])
            .args(["--initial-cluster", "default=http://127.0.0.1:2380"])
            .args(&self.flags)
            .env_clear()
            .env("RUST_BACKTRACE", "1");
        let running = Running::start(&mut command, Follow::Stderr);
        self.client_port = client_port;
        self.log.clear();
        self.running = Some(running.expect("start the member's process"));
    }

    /// Waits for the line that says so, or for the end of the process.
    pub(crate) fn wait_until_ready(&mut self) -> Result<(), Ended> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.next_line(deadline) {
            if line.contains(READY) {
                return Ok(());
            }
        }
        let code = self.wait_for_end(deadline).and_then(|status| status.code());
        Err(Ended { code, log: self.log() })
    }

    /// The next line of its log; `None` when it has ended or is silent for too long.
    fn next_line(&mut self, deadline: Instant) -> Option<String> {
        let line = self.running.as_ref()?.next_line(deadline)?;
        self.log.push(line.clone());
        Some(line)
    }

    /// Waits until so many lines of the log contain this text, those said before included.
    pub(crate) fn wait_for_lines(&mut self, text: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log.iter().filter(|line| line.contains(text)).count() < count {
            let line = self.next_line(deadline);
            assert!(line.is_some(), "it did not say {text:?} {count} times, but:\n{}", self.log());
        }
    }

    /// Whether a line of the log that was read so far contains this text.
    pub(crate) fn has_said(&mut self, text: &str) -> bool {
        while self.next_line(Instant::now()).is_some() {}
        self.log.iter().any(|line| line.contains(text))
    }

    /// Ends the process at once and at any moment: `kill -9`.
    pub(crate) fn kill(&mut self) {
        let Some(running) = &mut self.running else { return };
        running.kill();
        self.wait_for_end(Instant::now() + PATIENCE);
        self.must_not_have_panicked();
    }

    /// Ends the process as a service manager does, and expects success.
    pub(crate) fn terminate(&mut self) {
        let running = self.running.as_ref().expect("the member runs");
        running.tell_to_stop().expect("it was not waited for");
        let status = self.wait_for_end(Instant::now() + PATIENCE);
        self.must_not_have_panicked();
        let code = status.and_then(|status| status.code());
        assert_eq!(code, Some(0), "exit status of a clean stop; it said:\n{}", self.log());
    }

    /// Reads the log to its end, which comes with the end of the process. One that does not end in
    /// time is killed.
    fn wait_for_end(&mut self, deadline: Instant) -> Option<ExitStatus> {
        while self.next_line(deadline).is_some() {}
        let mut running = self.running.take()?;
        if Instant::now() >= deadline {
            running.kill();
        }
        running.wait()
    }

    fn must_not_have_panicked(&self) {
        assert!(!self.log().contains("panicked"), "the member panicked:\n{}", self.log());
    }

    /// Everything it has said since it was started.
    pub(crate) fn log(&self) -> String {
        self.log.join("\n")
    }

    /// Its data.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.client_port).await.expect("a ready member takes connections")
    }
}

/// The services of one member over one connection.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) kv: KvClient<Channel>,
    pub(crate) watch: WatchClient<Channel>,
    pub(crate) lease: LeaseClient<Channel>,
    pub(crate) maintenance: MaintenanceClient<Channel>,
}

impl Client {
    async fn connect(port: u16) -> Result<Client, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
        let channel = endpoint.connect_timeout(PATIENCE).connect().await?;
        Ok(Client {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            watch: WatchClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            lease: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel),
        })
    }
}

/// Runs a test's asynchronous part to its end on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("build a runtime").block_on(future)
}
