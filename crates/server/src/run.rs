//! The life of the process: bind, open, serve, stop.
//!
//! ```text
//! bind addresses ─▶ open the member ─▶ publish ─▶ serve ─▶ SIGTERM, SIGINT or a failure
//!                                                             └▶ drain clients ─▶ settle the log
//! ```
//!
//! Addresses are taken first, so that a mistake in them is found before the data is touched;
//! clients that connect early wait until the member has something to say.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::boot::{self, Running};
use crate::compactor;
use crate::config::{BindAddress, Config, Url};
use crate::core::CoreInput;
use crate::grpc::Services;
use crate::handle::NodeHandle;
use crate::http::{self, Origins};
use crate::limits::{SETTLE_MAX, SETTLE_POLL};
use crate::listen::{
    Bound, Door, Frontend, ListenAddress, ListenSettings, Serves, Shutdown, SocketOptions,
};

/// Runs a member until it is told to stop.
///
/// # Errors
/// It could not start, or it had to stop because it could not keep its promises any more.
pub fn run(config: &Config) -> Result<()> {
    let sockets = Sockets::bind(config)?;
    let member = boot::start(config)?;
    let runtime =
        Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(serve(config, member, sockets))
}

async fn serve(config: &Config, mut member: Running, sockets: Sockets) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    let shutdown = Shutdown::default();
    let begun = tokio::select! {
        ready = begin(config, &member, sockets, &shutdown) => ready.map(Some),
        _ = terminate.recv() => Ok(None),
        _ = interrupt.recv() => Ok(None),
    };
    if let Ok(Some(_)) = begun {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("received SIGTERM, stopping"),
            _ = interrupt.recv() => tracing::info!("received SIGINT, stopping"),
            // The member has failed: its own error says why.
            _ = &mut member.ended => {}
        }
    }
    let (frontend, failed) = match begun {
        Ok(frontend) => (frontend, Ok(())),
        Err(error) => (None, Err(error)),
    };
    // If the core thread has something to say, it is the cause of everything else.
    stop(member, frontend, &shutdown).await.and(failed)
}

async fn begin(
    config: &Config,
    member: &Running,
    sockets: Sockets,
    shutdown: &Shutdown,
) -> Result<Frontend> {
    member.become_ready(config).await?;
    let handle = &member.handle;
    let settings = handle.settings();
    let mut listen = ListenSettings::new(settings.request_timeout, settings.max_concurrent_streams);
    // A ping whose answer makes no difference need not be sent.
    listen.keepalive_interval = config.keepalive.timeout.and(config.keepalive.interval);
    listen.keepalive_timeout = config.keepalive.timeout.unwrap_or(listen.keepalive_timeout);
    let services = Services::new(handle.clone(), shutdown.clone());
    let doors = sockets.doors(handle, services, Origins(config.cors.clone().into()));
    let frontend = Frontend::start(doors, shutdown, &listen).context("start to serve")?;
    for url in &config.listen.client {
        tracing::info!(
            traffic = "grpc+http",
            address = url.as_str(),
            "serving client traffic insecurely; this is strongly discouraged!"
        );
    }
    if let Some(policy) = compactor::policy(&config.auto_compaction) {
        tokio::spawn(compactor::run(policy, handle.clone(), shutdown.draining.clone()));
    }
    tracing::info!(
        name = config.name,
        member = format!("{:x}", handle.member_id().0),
        cluster = format!("{:x}", handle.header().cluster_id),
        "ready to serve client requests"
    );
    Ok(frontend)
}

/// Clients first, so that what they have been promised is in the log; then the log.
async fn stop(member: Running, frontend: Option<Frontend>, shutdown: &Shutdown) -> Result<()> {
    shutdown.draining.cancel();
    if let Some(frontend) = frontend {
        frontend.join();
    }
    shutdown.closed.cancel();
    // A core thread that has failed takes no messages any more.
    let _ = member.handle.send(CoreInput::Stop);
    let begun = Instant::now();
    while !member.core.is_finished() {
        anyhow::ensure!(begun.elapsed() < SETTLE_MAX, "the log does not come to rest");
        tokio::time::sleep(SETTLE_POLL).await;
    }
    match member.core.join() {
        Ok(ended) => ended?,
        Err(_) => anyhow::bail!("the core thread panicked"),
    }
    drop(member.data_dir);
    tracing::info!("stopped");
    Ok(())
}

/// The sockets of a member, each for its kind of visitors.
struct Sockets {
    clients: Vec<Bound>,
    http: Vec<Bound>,
    peers: Vec<Bound>,
    monitoring: Vec<Bound>,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Sockets> {
        let options = SocketOptions { reuse_port: config.share_ports };
        let bind = |urls: &[Url]| -> Result<Vec<Bound>> {
            urls.iter().map(|url| Ok(Bound::bind(&address(url)?, options)?)).collect()
        };
        Ok(Sockets {
            clients: bind(&config.listen.client)?,
            http: bind(&config.listen.http)?,
            peers: bind(&config.listen.peer)?,
            monitoring: bind(&config.listen.metrics)?,
        })
    }

    fn doors(self, handle: &NodeHandle, services: Services, origins: Origins) -> Vec<Door> {
        let full = http::router(handle.clone(), origins);
        let plain = |http| Serves { grpc: None, http };
        // HTTP that has doors of its own is not behind those of gRPC as well.
        let beside_grpc = if self.http.is_empty() { full.clone() } else { http::nothing() };
        let clients = Serves { grpc: Some(services), http: beside_grpc };
        let kinds = [
            (self.clients, clients),
            (self.http, plain(full)),
            (self.peers, plain(http::peers(handle.clone()))),
            (self.monitoring, plain(http::monitoring(handle.clone()))),
        ];
        let doors = kinds.into_iter().flat_map(|(sockets, serves)| {
            sockets.into_iter().map(move |bound| Door { bound, serves: serves.clone() })
        });
        doors.collect()
    }
}

fn address(url: &Url) -> Result<ListenAddress> {
    Ok(match url.bind_address()? {
        BindAddress::Tcp(address) => ListenAddress::Tcp(address),
        BindAddress::Unix(path) => ListenAddress::Unix(path),
    })
}
