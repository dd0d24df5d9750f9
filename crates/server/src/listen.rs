//! The client port: sockets, the threads behind them, and how they stop.
//!
//! ```text
//!  TCP, unix sockets ─▶ acceptor ─▶ dealt out in turn ─▶ thread 1: its connections, one runtime
//!                                                   └──▶ thread 2: …
//!  connection ─▶ HTTP/1 or HTTP/2 by its first bytes ─▶ gRPC by content type, else HTTP
//! ```
//!
//! Each thread runs a single-threaded runtime: handlers are short and hand their work over, and one
//! runtime over several threads costs a quarter more per request. A connection stays where it was
//! dealt.
//!
//! Binding and serving are two steps. A member binds at once, so that nobody else takes its address
//! and clients can connect; it serves when it has state to serve, and the kernel holds connections
//! until then.
//!
//! Stopping is bounded: no new connections and streams, unary requests may finish within the
//! grace period, watches and keep-alives end with `Unavailable`; then what is left is cut.
//!
//! What it does not do: TLS, and listeners for peers.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

mod accept;
mod connection;
mod threads;

pub use threads::Frontend;

/// How the shell stops.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Take nothing new, finish what runs.
    pub draining: CancellationToken,
    /// Cut what still runs.
    pub closed: CancellationToken,
}

/// What the threads and connections of the client port are told.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Threads that serve connections.
    pub threads: usize,
    /// HTTP/2 streams that a client may have open on one connection.
    pub max_concurrent_streams: u32,
    /// A connection that is silent for so long is asked for a sign of life; `None`: never.
    pub keepalive_interval: Option<Duration>,
    /// It is closed if none comes within this time.
    pub keepalive_timeout: Duration,
    /// What requests that run get to finish when the member stops.
    pub grace: Duration,
    /// Connections at the same time; see [`connections_max`].
    pub connections_max: usize,
}

impl ListenSettings {
    /// etcd's settings, on one thread per core.
    #[must_use]
    pub fn new(grace: Duration, max_concurrent_streams: u32) -> ListenSettings {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        ListenSettings {
            threads,
            max_concurrent_streams,
            keepalive_interval: Some(Duration::from_secs(2 * 60 * 60)),
            keepalive_timeout: Duration::from_secs(20),
            grace,
            connections_max: connections_max(),
        }
    }
}

/// Files that connections must leave to the rest of the member; etcd's number.
const FILES_RESERVED: u64 = 150;
/// Connections if the process may open as many files as it likes.
const CONNECTIONS_MAX_UNLIMITED: u64 = 1 << 20;

/// How many connections the process may have open: its files, less what else needs some.
#[must_use]
pub fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let connections = limit.map_or(CONNECTIONS_MAX_UNLIMITED, |files| {
        files.saturating_sub(FILES_RESERVED).clamp(1, CONNECTIONS_MAX_UNLIMITED)
    });
    usize::try_from(connections).expect("bounded by CONNECTIONS_MAX_UNLIMITED")
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A socket that listens; nobody accepts from it yet.
#[derive(Debug)]
pub enum Bound {
    /// A port.
    Tcp(std::net::TcpListener),
    /// A socket in the file system.
    Unix(UnixListener, PathBuf),
}

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port is taken, or is not ours to take.
    #[error("listen on {address}")]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// As above.
    #[error("listen on the unix socket {}", path.display())]
    Unix {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Bound {
    /// Takes an address. A socket file that an earlier run has left behind is replaced.
    ///
    /// # Errors
    /// Somebody else has it, or it does not exist here.
    pub fn bind(address: &ListenAddress) -> Result<Bound, BindError> {
        match address {
            ListenAddress::Tcp(address) => bind_tcp(*address)
                .map(Bound::Tcp)
                .map_err(|source| BindError::Tcp { address: *address, source }),
            ListenAddress::Unix(path) => bind_unix(path)
                .map(|listener| Bound::Unix(listener, path.clone()))
                .map_err(|source| BindError::Unix { path: path.clone(), source }),
        }
    }

    /// The port that was given out, for an address that asked for any.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Bound::Tcp(listener) => listener.local_addr().ok().map(|address| address.port()),
            Bound::Unix(..) => None,
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    // Only ever a socket: a typing error must not cost anybody a file.
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests;
