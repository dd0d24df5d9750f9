//! Why a configuration is refused.
//!
//! Two kinds, because scripts tell them apart: a command line that cannot be read ends with exit
//! code 2 and the usage; one that can be read and makes no sense ends with exit code 1. Where etcd
//! refuses the same thing, the words are etcd's.

use std::error::Error;
use std::path::PathBuf;

use super::cluster::FoundingError;
use super::duration::GoDuration;
use super::urls::{NotBindable, UrlError};
use super::value::ValueError;

/// Why a member does not start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line cannot be read: exit code 2.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The settings make no sense together, or cannot be met: exit code 1.
    #[error(transparent)]
    Invalid(#[from] InvalidConfig),
}

/// What is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such flag.
    #[error("flag provided but not defined: -{0}")]
    Undefined(String),
    /// Dashes without a name.
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    /// The flag is the last word.
    #[error("flag needs an argument: -{0}")]
    NoValue(&'static str),
    /// Not a value of the flag.
    #[error("invalid value {value:?} for flag -{flag}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What was written.
        value: String,
        /// Why not.
        source: ValueError,
    },
    /// Not a truth value.
    #[error("invalid boolean value {value:?} for -{flag}")]
    Switch {
        /// The flag.
        flag: &'static str,
        /// What was written.
        value: String,
        /// Why not.
        source: ValueError,
    },
    /// A word that is not text.
    #[error("argument {0:?} is not UTF-8")]
    NotText(std::ffi::OsString),
}

/// What is wrong with settings that could be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// A word where a flag should be.
    #[error("{0:?} is not a valid flag")]
    Stray(String),
    /// Flag and variable say different things, or the same: the operator decides which to drop.
    #[error(
        "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag): {0}"
    )]
    Shadowed(String),
    /// Both spellings of a variable are set and differ.
    #[error("environment variables {0} and {1} are both set, to different values")]
    TwoVariables(String, String),
    /// Not a value of the variable's flag.
    #[error("invalid value {value:?} for {variable}")]
    Variable {
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
        /// Why not.
        source: ValueError,
    },
    /// The configuration file cannot be read.
    #[error("open {path}")]
    OpenFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The configuration file is neither YAML nor JSON.
    #[error("read configuration file {path}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The configuration file is not a list of keys with values.
    #[error("configuration file {path} does not hold keys with values")]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
    /// A key of the file has a value of the wrong type.
    #[error("key {key} of the configuration file takes {wanted}")]
    KeyType {
        /// The key.
        key: String,
        /// What it takes.
        wanted: &'static str,
    },
    /// A key of the file has a value that does not parse.
    #[error("key {key} of the configuration file")]
    KeyValue {
        /// The key.
        key: String,
        /// Why not.
        source: ValueError,
    },
    /// The setting is not available, and going on without it would be unsafe.
    #[error("{setting} cannot be used with this version: {why}")]
    Unsafe {
        /// The flag or key.
        setting: String,
        /// Why it is refused rather than ignored.
        why: &'static str,
    },
    /// The engine is not in this binary.
    #[error(
        "--engine={0}: this binary was built without RocksDB; \
         build one with `make build`"
    )]
    Engine(String),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] NotBindable),
    /// A listener needs certificates.
    #[error("listen on {0}: TLS is not available in this version")]
    ListenTls(String),
    /// Nothing to serve clients on.
    #[error("--listen-client-urls is empty: no client could reach this member")]
    NoListener,
    /// HTTP and gRPC on one URL although they were to be apart.
    #[error(
        "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {0}"
    )]
    SameListener(String),
    /// Clients would be told to come to the default address.
    #[error("--advertise-client-urls is required when --listen-client-urls is set explicitly")]
    NotAdvertised,
    /// A heartbeat must take time.
    #[error("--heartbeat-interval must be >0 (set to {0}ms)")]
    Heartbeat(u64),
    /// A lost heartbeat must not cost an election.
    #[error(
        "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
    )]
    ElectionShort {
        /// In milliseconds.
        election: u64,
        /// In milliseconds.
        heartbeat: u64,
    },
    /// A lost leader must be noticed.
    #[error("--election-timeout[{0}ms] is too long, and should be set less than 50000ms")]
    ElectionLong(u64),
    /// See etcd's proxy.
    #[error("v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"")]
    ProxyFallback,
    /// The list of founders does not parse.
    #[error("error setting up initial cluster")]
    InitialCluster {
        /// Why not.
        source: UrlError,
    },
    /// The member cannot found its cluster.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// Neither periodic nor revision.
    #[error("unknown auto-compaction-mode {0:?}")]
    CompactionMode(String),
    /// Not a retention of its mode.
    #[error("error parsing CompactionRetention: time: invalid duration {0:?}")]
    CompactionRetention(String),
    /// A period of nothing.
    #[error("--compact-hash-check-time must be >0 (set to {0})")]
    CompactHashCheckTime(GoDuration),
    /// One gate needs another.
    #[error("enabling feature gate {0} requires enabling feature gate {1}")]
    GateNeeds(&'static str, &'static str),
    /// No such logger.
    #[error("unknown logger option {0:?}")]
    Logger(String),
    /// No such format.
    #[error("unknown log format: {0}, supported values json, console")]
    LogFormat(String),
    /// `default` stands alone.
    #[error("multi logoutput for \"default\" is not supported yet")]
    LogOutputs,
    /// A number that no part of the server can work with.
    #[error("--{flag} must be between {least} and {most} (set to {value})")]
    OutOfBounds {
        /// The flag.
        flag: &'static str,
        /// What was written.
        value: u64,
        /// The least that works.
        least: u64,
        /// The most that works.
        most: u64,
    },
}

/// An error and its causes on one line, each once.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
