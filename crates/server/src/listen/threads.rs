//! The threads behind the client port.

use std::io;
use std::thread::JoinHandle;

use axum::Router;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::accept::{Dealer, Dealt, Socket, accept};
use super::connection::Server;
use super::{Bound, ListenSettings, Shutdown};
use crate::grpc::Services;

/// Threads that serve. They end when the shutdown says so and the connections have ended.
#[derive(Debug)]
pub struct Frontend {
    threads: Vec<JoinHandle<()>>,
}

impl Frontend {
    /// Begins to serve what connects to `bound`.
    ///
    /// # Errors
    /// A thread or its runtime could not be started.
    pub fn start(
        bound: Vec<Bound>,
        services: Services,
        http: Router,
        shutdown: &Shutdown,
        settings: &ListenSettings,
    ) -> io::Result<Frontend> {
        assert!(settings.threads > 0, "no thread would serve");
        let server = Server::new(services, http, shutdown.clone(), settings);
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..settings.threads).map(|_| mpsc::unbounded_channel()).unzip();
        let dealer = Dealer::new(senders, settings.connections_max);
        // The first thread accepts as well: a hand-over to itself costs next to nothing.
        let mut accepting = Some((bound, dealer, shutdown.draining.clone()));
        let mut threads = Vec::with_capacity(settings.threads);
        for (number, connections) in receivers.into_iter().enumerate() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (server, accepting) = (server.clone(), accepting.take());
            let run = move || {
                if let Some((bound, dealer, draining)) = accepting {
                    for bound in bound {
                        runtime.spawn(accept(bound, dealer.clone(), draining.clone()));
                    }
                }
                serve(runtime, server, connections);
            };
            let name = format!("client-{number}");
            threads.push(std::thread::Builder::new().name(name).spawn(run)?);
        }
        Ok(Frontend { threads })
    }

    /// Waits until every thread has ended. Blocks; bounded once the shutdown has begun.
    ///
    /// # Panics
    /// If a thread has panicked: that is a defect here, for requests cannot make one panic.
    pub fn join(self) {
        for thread in self.threads {
            thread.join().expect("threads of the client port do not panic");
        }
    }
}

/// Serves the connections that are dealt to this thread, until there will be no more and all have
/// ended.
fn serve(runtime: Runtime, server: Server, mut connections: mpsc::UnboundedReceiver<Dealt>) {
    runtime.block_on(async {
        // Every connection holds a sender: when all are gone, the receiver says so.
        let (running, mut all_ended) = mpsc::channel::<()>(1);
        while let Some(Dealt { socket, place }) = connections.recv().await {
            let (server, running) = (server.clone(), running.clone());
            tokio::spawn(async move {
                match register(socket) {
                    Ok(Registered::Tcp(socket)) => server.serve(socket).await,
                    Ok(Registered::Unix(socket)) => server.serve(socket).await,
                    Err(error) => tracing::warn!(%error, "failed to register a connection"),
                }
                drop((place, running));
            });
        }
        drop(running);
        let nothing = all_ended.recv().await;
        assert!(nothing.is_none(), "connections send nothing");
    });
    // Work beside the runtime is not waited for: its client has gone.
    runtime.shutdown_background();
}

enum Registered {
    Tcp(TcpStream),
    Unix(UnixStream),
}

fn register(socket: Socket) -> io::Result<Registered> {
    Ok(match socket {
        Socket::Tcp(socket) => Registered::Tcp(TcpStream::from_std(socket)?),
        Socket::Unix(socket) => Registered::Unix(UnixStream::from_std(socket)?),
    })
}
