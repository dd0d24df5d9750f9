//! The doors of a member: sockets, the threads behind them, and how they stop.
//!
//! ```text
//!  TCP, unix sockets ─▶ acceptor ─▶ dealt out in turn ─▶ thread 1: its connections, one runtime
//!                                                   └──▶ thread 2: …
//!  connection ─▶ HTTP/1 or HTTP/2 by its first bytes ─▶ gRPC by content type, else HTTP
//! ```
//!
//! A [`Door`] is a socket and what is served behind it: clients find gRPC and HTTP behind one door
//! or behind two, monitoring and other members have doors of their own. All share the threads.
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
//! What it does not do: TLS.

use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::grpc::Services;

mod accept;
mod authority;
mod bind;
mod connection;
mod gathering;
mod threads;

pub use bind::{BindError, Bound, ListenAddress, SocketOptions};
pub use threads::Frontend;

/// A socket and what is behind it.
#[derive(Debug)]
pub struct Door {
    /// Where connections come in.
    pub bound: Bound,
    /// What they find.
    pub serves: Serves,
}

/// What connections find.
#[derive(Clone)]
pub struct Serves {
    /// The services, if there are any behind this door.
    pub grpc: Option<Services>,
    /// Answers everything else.
    pub http: Router,
}

impl std::fmt::Debug for Serves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serves").field("grpc", &self.grpc.is_some()).finish_non_exhaustive()
    }
}

/// How the shell stops.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Take nothing new, finish what runs.
    pub draining: CancellationToken,
    /// Cut what still runs.
    pub closed: CancellationToken,
}

/// What threads and connections are told.
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

#[cfg(test)]
mod tests;
