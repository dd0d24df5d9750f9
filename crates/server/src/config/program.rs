//! As which program we were started, and what version we say we are.
//!
//! Scripts and test suites call the server `etcd` through a link and compare what it prints; then
//! `--version` and the logs have etcd's form. Called by its own name it says what it is.

use std::fmt::Write;

/// The version of etcd whose API is served. Clients parse it, so that it is plain.
pub const ETCD_VERSION: &str = "3.7.3";

/// Our own version.
pub const METASTORE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The name under which the server was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// As a replacement of etcd.
    Etcd,
    /// As itself.
    Metastore,
}

impl Program {
    /// From the first word of the command line, which may be a path.
    #[must_use]
    pub fn named(argv0: &str) -> Program {
        match argv0.rsplit('/').next() {
            Some("etcd") => Program::Etcd,
            _ => Program::Metastore,
        }
    }

    /// The name in usage and error lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Program::Etcd => "etcd",
            Program::Metastore => "metastore",
        }
    }

    /// What `--version` prints. As etcd: its four lines, of which scripts read the first.
    #[must_use]
    pub fn version_text(self) -> String {
        let revision = option_env!("METASTORE_GIT_SHA").unwrap_or("not recorded");
        let platform = format!("{}/{}", std::env::consts::OS, go_arch());
        let mut text = String::new();
        let written = match self {
            Program::Etcd => write!(
                text,
                "etcd Version: {ETCD_VERSION}\nGit SHA: {revision}\n\
                 Go Version: none, MetaStore {METASTORE_VERSION} is written in Rust\n\
                 Go OS/Arch: {platform}\n"
            ),
            Program::Metastore => write!(
                text,
                "metastore Version: {METASTORE_VERSION}\netcd API Version: {ETCD_VERSION}\n\
                 Git SHA: {revision}\nOS/Arch: {platform}\n"
            ),
        };
        written.expect("a string takes everything");
        text
    }
}

/// The processor's name in etcd's world.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
