//! The threads behind the doors.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::accept::{Dealer, Dealt, Socket, accept};
use super::connection::Server;
use super::{Door, ListenSettings, Shutdown};

/// Tasks that a thread runs before it looks at its sockets and at answers of other threads again. The
/// library's number, 61, is for short tasks: behind a few long lists a put would wait for milliseconds to be
/// seen. Looking after every eighth costs a get a sixth more processor time.
const TASKS_PER_LOOK: u32 = 16;

/// Threads that serve. They end when the shutdown says so and the connections have ended.
#[derive(Debug)]
pub struct Frontend {
    threads: Vec<JoinHandle<()>>,
}

impl Frontend {
    /// Begins to serve what comes through the doors.
    ///
    /// # Errors
    /// A thread or its runtime could not be started.
    pub fn start(
        doors: Vec<Door>,
        shutdown: &Shutdown,
        settings: &ListenSettings,
    ) -> io::Result<Frontend> {
        assert!(settings.threads > 0, "no thread would serve");
        let (bound, servers): (Vec<_>, Vec<_>) = doors
            .into_iter()
            .map(|Door { bound, serves }| (bound, Server::new(serves, shutdown.clone(), settings)))
            .unzip();
        let servers: Arc<[Server]> = servers.into();
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..settings.threads).map(|_| mpsc::unbounded_channel()).unzip();
        let dealer = Dealer::new(senders, settings.connections_max);
        // The first thread accepts as well: a hand-over to itself costs next to nothing.
        let mut accepting = Some((bound, dealer, shutdown.draining.clone()));
        let mut threads = Vec::with_capacity(settings.threads);
        for (number, connections) in receivers.into_iter().enumerate() {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(TASKS_PER_LOOK)
                .global_queue_interval(TASKS_PER_LOOK)
                .build()?;
            let (servers, accepting) = (Arc::clone(&servers), accepting.take());
            let run = move || {
                if let Some((bound, dealer, draining)) = accepting {
                    for (door, bound) in bound.into_iter().enumerate() {
                        runtime.spawn(accept(bound, door, dealer.clone(), draining.clone()));
                    }
                }
                serve(runtime, &servers, connections);
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
fn serve(runtime: Runtime, servers: &[Server], mut connections: mpsc::UnboundedReceiver<Dealt>) {
    runtime.block_on(async {
        crate::reply::start_postman();
        // Every connection holds a sender: when all are gone, the receiver says so.
        let (running, mut all_ended) = mpsc::channel::<()>(1);
        while let Some(Dealt { socket, door, place }) = connections.recv().await {
            let (server, running) = (servers[door].clone(), running.clone());
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
