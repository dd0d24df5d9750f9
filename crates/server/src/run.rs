//! The life of the process: bind, open, serve, stop.
//!
//! ```text
//! bind addresses ─▶ open the member ─▶ publish ─▶ serve ─▶ SIGTERM, SIGINT or a failure
//!                                                             └▶ drain clients ─▶ settle the log
//! ```
//!
//! Addresses are taken first, so that a mistake in them is found before the data is touched;
//! clients that connect early wait until the member has something to say.

use anyhow::{Context as _, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::boot::{self, Running};
use crate::compactor;
use crate::config::{BindAddress, Config, Url};
use crate::core::CoreInput;
use crate::grpc::Services;
use crate::http;
use crate::listen::{Bound, Frontend, ListenAddress, ListenSettings, Shutdown};

/// Runs a member until it is told to stop.
///
/// # Errors
/// It could not start, or it had to stop because it could not keep its promises any more.
pub fn run(config: &Config) -> Result<()> {
    let clients = bind(&config.listen.client)?;
    // Held, so that nobody else takes what this member has told its cluster.
    let _peers = bind(&config.listen.peer)?;
    let member = boot::start(config)?;
    let runtime =
        Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(serve(config, member, clients))
}

async fn serve(config: &Config, mut member: Running, clients: Vec<Bound>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    let shutdown = Shutdown::default();
    let mut frontend = None;
    tokio::select! {
        ready = begin(config, &member, clients, &shutdown) => frontend = Some(ready?),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if frontend.is_some() {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("received SIGTERM, stopping"),
            _ = interrupt.recv() => tracing::info!("received SIGINT, stopping"),
            // The member has failed: its own error says why.
            _ = &mut member.ended => {}
        }
    }
    stop(member, frontend, &shutdown)
}

async fn begin(
    config: &Config,
    member: &Running,
    clients: Vec<Bound>,
    shutdown: &Shutdown,
) -> Result<Frontend> {
    member.become_ready(config).await?;
    let handle = &member.handle;
    let settings = handle.settings();
    let mut listen = ListenSettings::new(settings.request_timeout, settings.max_concurrent_streams);
    listen.keepalive_interval = config.keepalive.interval;
    listen.keepalive_timeout = config.keepalive.timeout.unwrap_or(listen.keepalive_timeout);
    let services = Services::new(handle.clone(), shutdown.clone());
    let router = http::router(handle.clone());
    let frontend = Frontend::start(clients, services, router, shutdown, &listen)
        .context("start the client port")?;
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
fn stop(member: Running, frontend: Option<Frontend>, shutdown: &Shutdown) -> Result<()> {
    shutdown.draining.cancel();
    if let Some(frontend) = frontend {
        frontend.join();
    }
    shutdown.closed.cancel();
    // A core thread that has failed takes no messages any more.
    let _ = member.handle.send(CoreInput::Stop);
    match member.core.join() {
        Ok(ended) => ended?,
        Err(_) => anyhow::bail!("the core thread panicked"),
    }
    drop(member.data_dir);
    tracing::info!("stopped");
    Ok(())
}

fn bind(urls: &[Url]) -> Result<Vec<Bound>> {
    let bind = |url: &Url| -> Result<Bound> {
        let address = match url.bind_address()? {
            BindAddress::Tcp(address) => ListenAddress::Tcp(address),
            BindAddress::Unix(path) => ListenAddress::Unix(path),
        };
        Ok(Bound::bind(&address)?)
    };
    urls.iter().map(bind).collect()
}
