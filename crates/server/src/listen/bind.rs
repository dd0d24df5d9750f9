//! Taking an address.
//!
//! ```text
//! 127.0.0.1:2379   that address
//! 0.0.0.0:2379     every address, of IPv6 as well where the machine has it
//! [::]:2379        the same
//! /run/meta.sock   a socket file; one that an earlier run has left behind is replaced
//! ```
//!
//! "Every address" means both families because that is what Go makes of it, and clients of a member
//! of etcd that listens on `0.0.0.0` may come by IPv6.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// Connections that the kernel holds until they are accepted; it takes no more than
/// `net.core.somaxconn`, whose default this is.
const BACKLOG: i32 = 4096;

/// How sockets are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Several processes may listen on the port, and the kernel deals connections out among them.
    pub reuse_port: bool,
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
    /// Takes an address.
    ///
    /// # Errors
    /// Somebody else has it, or it does not exist here.
    pub fn bind(address: &ListenAddress, options: SocketOptions) -> Result<Bound, BindError> {
        match address {
            ListenAddress::Tcp(address) => bind_tcp(*address, options)
                .map(Bound::Tcp)
                .map_err(|source| BindError::Tcp { address: *address, source: source.into() }),
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

fn bind_tcp(address: SocketAddr, options: SocketOptions) -> Result<std::net::TcpListener, Errno> {
    if address.ip().is_unspecified() {
        let every = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
        match listen(every, options) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if address.is_ipv4() => {}
            done => return done,
        }
    }
    listen(address, options)
}

fn listen(address: SocketAddr, options: SocketOptions) -> Result<std::net::TcpListener, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    // A restart does not wait until the last connections of the run before are forgotten.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if options.reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
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
