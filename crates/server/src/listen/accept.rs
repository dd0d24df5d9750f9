//! Takes connections and deals them out to the threads, in turn.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::Bound;

/// How long to wait after an error that the next attempt would meet again, such as too many open
/// files.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A connection on its way to its thread.
pub(super) struct Dealt {
    pub(super) socket: Socket,
    /// Which door it came through.
    pub(super) door: usize,
    /// Its place among all connections.
    pub(super) place: OwnedSemaphorePermit,
}

pub(super) enum Socket {
    Tcp(std::net::TcpStream),
    Unix(UnixStream),
}

/// Gives each thread its turn. The queues are bounded by the places there are.
#[derive(Clone)]
pub(super) struct Dealer {
    threads: Vec<mpsc::UnboundedSender<Dealt>>,
    next: Arc<AtomicUsize>,
    places: Arc<Semaphore>,
}

impl Dealer {
    pub(super) fn new(
        threads: Vec<mpsc::UnboundedSender<Dealt>>,
        connections_max: usize,
    ) -> Dealer {
        let places = Arc::new(Semaphore::new(connections_max));
        Dealer { threads, next: Arc::default(), places }
    }

    fn deal(&self, dealt: Dealt) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        // A thread that is gone is one that stops: the connection is dropped and the client hears
        // that it is closed.
        let _ = self.threads[turn].send(dealt);
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Accepts from one socket until told to stop; then the address is free again.
pub(super) async fn accept(bound: Bound, door: usize, dealer: Dealer, draining: CancellationToken) {
    let listener = match listen(bound) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "failed to register a listening socket");
            return;
        }
    };
    let accepting = async {
        loop {
            let places = Arc::clone(&dealer.places);
            let place = places.acquire_owned().await.expect("the places are never closed");
            match listener.accept().await {
                Ok(socket) => dealer.deal(Dealt { socket, door, place }),
                // The client has gone before it was its turn.
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection; trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    };
    tokio::select! {
        () = draining.cancelled() => {}
        () = accepting => {}
    }
    listener.leave();
}

fn listen(bound: Bound) -> io::Result<Listener> {
    Ok(match bound {
        Bound::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
        Bound::Unix(listener, path) => Listener::Unix(UnixListener::from_std(listener)?, path),
    })
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

impl Listener {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Tcp(listener) => {
                let (socket, _peer) = listener.accept().await?;
                // Answers are small and somebody waits for them.
                socket.set_nodelay(true)?;
                Ok(Socket::Tcp(socket.into_std()?))
            }
            Listener::Unix(listener, _) => {
                let (socket, _peer) = listener.accept().await?;
                Ok(Socket::Unix(socket.into_std()?))
            }
        }
    }

    fn leave(self) {
        if let Listener::Unix(_, path) = &self
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, path = %path.display(), "failed to remove a socket file");
        }
    }
}
