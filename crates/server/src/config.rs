//! Everything an operator can decide, read once and checked once.
//!
//! ```text
//!   --name a   ETCD_NAME=a   name: a
//!        └─────────┼────────────┘
//!              Settings          one value per row of `flags::table`, which holds every default
//!                  │
//!               Config           typed and consistent; what the rest of the server sees
//! ```
//!
//! The flags, their spelling, the variables and the file are etcd's: a member of etcd starts with
//! MetaStore's binary in its place and nothing else changed. All 113 flags of etcd 3.7 are known.
//! Those without a part of the server behind them are accepted with a warning if that is harmless,
//! and refuse the start if ignoring them would be unsafe.
//!
//! ```
//! let config = server::config::Config::from_flags(&["--name=a", "--max-txn-ops=256"])?.config;
//! assert_eq!(config.data_dir.to_str(), Some("a.etcd"));
//! assert_eq!(config.limits.txn_ops, 256);
//! # Ok::<(), server::config::ConfigError>(())
//! ```
//!
//! This module opens no socket and, beside the configuration file, no file.

mod arguments;
mod build;
pub mod cli;
pub mod cluster;
pub mod duration;
mod environment;
mod error;
mod file;
pub mod flags;
mod gates;
mod help;
mod notice;
mod program;
mod settings;
mod urls;
mod value;

use std::path::PathBuf;
use std::time::Duration;

pub use arguments::{Arguments, Request};
pub use cluster::{Founding, FoundingError, InitialCluster, InitialState};
pub use environment::Variables;
pub use error::{ConfigError, InvalidConfig, UsageError, chain};
pub use gates::{FeatureGates, GATES, Gate, Stage};
pub use notice::Notice;
pub use program::{ETCD_VERSION, METASTORE_VERSION, Program};
pub use urls::{BindAddress, Scheme, Url, UrlError};
pub use value::{Kind, Value};

use settings::{Given, Settings};

/// Requests above this size are etcd's advice against.
pub const RECOMMENDED_REQUEST_BYTES: u64 = 10 * 1024 * 1024;

/// Requests cannot be allowed to be larger than this: each becomes one record of the log, and is in
/// memory a few times on its way.
pub const REQUEST_BYTES_MAX: u64 = 128 << 20;

/// A configuration and what there is to say about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// To be logged as soon as there is a log.
    pub notices: Vec<Notice>,
}

/// How a member runs. Only [`Config::load`] and [`Config::from_flags`] make one, so that every
/// value has been checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The member's name.
    pub name: String,
    /// Where it keeps everything.
    pub data_dir: PathBuf,
    /// What holds the data.
    pub engine: Engine,
    /// How RocksDB is set up.
    #[cfg(feature = "rocksdb")]
    pub rocksdb: storage::rocks::RocksOptions,
    /// Where it listens.
    pub listen: Listeners,
    /// Where clients are told to come.
    pub advertise_client_urls: Vec<Url>,
    /// What its first start does.
    pub initial_cluster: InitialCluster,
    /// The beat of the consensus.
    pub raft: RaftTiming,
    /// The log on disk.
    pub log: LogFiles,
    /// What a client may ask for.
    pub limits: Limits,
    /// When history is dropped.
    pub auto_compaction: AutoCompaction,
    /// How often an idle watcher hears of progress.
    pub watch_progress_interval: Duration,
    /// From when on applying a command is logged as slow.
    pub slow_apply: Duration,
    /// From when on a request is logged as slow.
    pub slow_request: Duration,
    /// How client connections are kept alive.
    pub keepalive: Keepalive,
    /// Whether JSON is served under `/v3/`.
    pub json_gateway: bool,
    /// Whose web pages may call: origins, or `*` for all.
    pub cors: Vec<String>,
    /// Whether other processes may listen on the same ports.
    pub share_ports: bool,
    /// What is logged and where.
    pub logging: Logging,
    /// Features that are on.
    pub gates: FeatureGates,
}

/// What holds the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Ordered maps in memory; durable through log and snapshot files.
    Memory,
    /// RocksDB, for data larger than memory.
    #[cfg(feature = "rocksdb")]
    RocksDb,
}

/// Where a member listens. Every URL can be bound without a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// gRPC, and HTTP if `http` is empty.
    pub client: Vec<Url>,
    /// HTTP alone.
    pub http: Vec<Url>,
    /// Other members.
    pub peer: Vec<Url>,
    /// Metrics and health alone.
    pub metrics: Vec<Url>,
}

/// The beat of the consensus: `0 < 5 × heartbeat ≤ election ≤ 50 s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTiming {
    /// Between two heartbeats of a leader; one tick.
    pub heartbeat: Duration,
    /// Without a heartbeat until an election.
    pub election: Duration,
}

impl RaftTiming {
    /// The election timeout in ticks.
    #[must_use]
    pub fn election_ticks(&self) -> u32 {
        let ticks = self.election.as_millis() / self.heartbeat.as_millis();
        u32::try_from(ticks).expect("an election takes at most 50,000 ticks")
    }
}

/// The log on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFiles {
    /// Size of a segment.
    pub segment_bytes: u64,
    /// Log written since the last snapshot that makes the next one due.
    pub snapshot_after_bytes: u64,
    /// Whether a write waits for the disk.
    pub sync: bool,
}

/// What a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of data above which writes are refused; `None` is no limit.
    pub quota_bytes: Option<u64>,
    /// Operations of a transaction.
    pub txn_ops: usize,
    /// Bytes of a request.
    pub request_bytes: usize,
    /// Open streams of a connection.
    pub streams: u32,
}

/// When history is dropped without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Never.
    Off,
    /// What is older than this.
    Periodic(Duration),
    /// All but so many revisions.
    Revision(u64),
}

/// How connections are kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence after which the client is pinged; `None` is never.
    pub interval: Option<Duration>,
    /// How long the client may take to answer; `None`: it is never pinged, for the answer would
    /// make no difference.
    pub timeout: Option<Duration>,
}

/// What is logged and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The least grave level.
    pub level: LogLevel,
    /// `None`: as the program that was started does.
    pub format: Option<LogFormat>,
    /// Every event goes to each of them.
    pub outputs: Vec<LogOutput>,
}

/// How grave an event is, least grave first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For those who look for a fault.
    Debug,
    /// What happens once or rarely.
    Info,
    /// Somebody should look at it.
    Warn,
    /// Something went wrong.
    Error,
    /// Our own code is wrong.
    Panic,
    /// The member stops.
    Fatal,
}

/// The look of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For programs: one object with etcd's keys.
    Json,
    /// For people.
    Console,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// The error stream.
    Stderr,
    /// The output stream.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

impl Config {
    /// Reads and checks everything.
    pub fn load(arguments: &Arguments, variables: &Variables) -> Result<Loaded, InvalidConfig> {
        if let Some(stray) = arguments.stray() {
            return Err(InvalidConfig::Stray(stray.to_owned()));
        }
        let given = match named_file(arguments, variables) {
            Some(path) => file::read(&path)?,
            None => {
                let mut given = Given::default();
                environment::read(variables, arguments, &mut given)?;
                given.values.extend(arguments.iter().map(|(name, value)| (name, value.clone())));
                given
            }
        };
        build::build(Settings::settle(given)?)
    }

    /// The configuration of a command line, without an environment.
    pub fn from_flags(words: &[&str]) -> Result<Loaded, ConfigError> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        match Request::parse(&words)? {
            Request::Start(arguments) => Ok(Config::load(&arguments, &[])?),
            // Nothing to start: of use to a program's command line only.
            Request::Help => Err(UsageError::Undefined("help".to_owned()).into()),
            Request::Version => Err(UsageError::Undefined("version".to_owned()).into()),
        }
    }
}

/// The configuration file: the flag before the variable.
fn named_file(arguments: &Arguments, variables: &Variables) -> Option<PathBuf> {
    let named = match arguments.get("config-file") {
        Some(Value::Text(path)) if !path.is_empty() => Some(path.as_str()),
        _ => environment::config_file(variables),
    };
    named.map(PathBuf::from)
}
