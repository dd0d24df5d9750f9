//! What an operator should know about a configuration that was accepted.
//!
//! The settings are read before the logs have somewhere to go, so that remarks are collected and
//! logged at the end by [`Notice::log`]. Where etcd makes the same remark, the words and keys are
//! etcd's.

use std::path::PathBuf;

use tracing::{info, warn};

/// A remark about a configuration that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A variable was used.
    Variable {
        /// The variable.
        name: String,
        /// Its value.
        value: String,
    },
    /// A variable looks like ours and is not.
    UnknownVariable(String),
    /// A variable whose flag only makes sense on a command line.
    SpecialVariable(String),
    /// The settings come from a file alone.
    File(PathBuf),
    /// A key of the file means nothing.
    UnknownKey(String),
    /// A setting is accepted and does nothing yet.
    NotYet {
        /// The flag.
        flag: &'static str,
        /// What happens instead.
        instead: &'static str,
    },
    /// A setting has a new name, which was set.
    Renamed {
        /// The old name.
        flag: &'static str,
        /// How to say it now.
        now: String,
    },
    /// A feature gate was turned on or off and nothing depends on it here.
    Gate(&'static str),
    /// Large requests hold up small ones.
    LargeRequests(u64),
    /// More data than etcd can bear; MetaStore can, its users may want to go back.
    LargeQuota(u64),
    /// The interval was too short and has been raised.
    ProgressInterval {
        /// What is used, in milliseconds.
        used_ms: u64,
    },
    /// Acknowledged writes can be lost.
    NoSync,
    /// Logs go to the standard error stream, which the system's journal reads.
    Journal,
}

impl Notice {
    /// Writes it to the log.
    pub fn log(&self) {
        match self {
            Notice::Variable { name, value } => info!(
                "variable-name" = %name,
                "variable-value" = %value,
                "recognized and used environment variable"
            ),
            Notice::UnknownVariable(name) => {
                warn!("environment-variable" = %name, "unrecognized environment variable");
            }
            Notice::SpecialVariable(name) => {
                warn!(key = %name, "cannot set special environment variable");
            }
            Notice::File(path) => info!(
                path = %path.display(),
                "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided"
            ),
            Notice::UnknownKey(key) => warn!(%key, "unrecognized key in the configuration file"),
            Notice::NotYet { flag, instead } => {
                warn!(flag = format!("--{flag}"), %instead, "setting has no effect");
            }
            Notice::Renamed { flag, now } => {
                warn!(flag = format!("--{flag}"), use_instead = %now, "setting has another name now");
            }
            Notice::Gate(gate) => warn!(%gate, "feature gate has no effect"),
            Notice::LargeRequests(bytes) => warn!(
                "max-request-bytes" = bytes,
                "recommended-request-bytes" = super::RECOMMENDED_REQUEST_BYTES,
                "exceeded recommended request limit"
            ),
            Notice::LargeQuota(bytes) => {
                warn!("quota-size-bytes" = bytes, "quota is larger than etcd's greatest, 8 GiB");
            }
            Notice::ProgressInterval { used_ms } => {
                warn!(used_ms, "watch-progress-notify-interval is too short and has been raised")
            }
            Notice::NoSync => {
                warn!(
                    "writes are not synced to disk: acknowledged data is lost if the machine stops"
                );
            }
            Notice::Journal => warn!("systemd/journal is written through stderr"),
        }
    }
}
