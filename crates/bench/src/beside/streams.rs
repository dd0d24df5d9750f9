//! What many streams do: clients that keep leases alive, watchers that come.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use metastore_proto::etcdserverpb::watch_request::RequestUnion;
use metastore_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    WatchCreateRequest, WatchRequest, WatchResponse,
};
use tokio::task::JoinSet;

use super::Options;
use super::comparison::{Comparison, Limit, Measured};
use super::footprint::per_s;
use crate::latency::median;
use crate::load::Data;
use crate::loaded::Loaded;
use crate::wire::{Connection, Responses, WINDOW_BYTES, method};

/// Clients that keep a lease alive, each on a stream of its own.
const CLIENTS: u64 = 1000;
/// Streams that share a connection.
const STREAMS_PER_CONNECTION: usize = 10;
/// Longer than any run.
const LEASE_S: i64 = 3600;
/// Watchers that are created at once.
const WATCHERS: u64 = 10_000;
/// Streams that they come on.
const WATCH_STREAMS: [u64; 2] = [1, 100];

/// How many keep-alives a second are answered when every client sends the next after the last.
pub(super) async fn keep_alives(
    servers: &[Loaded],
    options: &Options,
    comparison: &mut Comparison<'_>,
) -> Result<()> {
    let clients = options.sized(CLIENTS);
    let mut samples = vec![Vec::new(); servers.len()];
    for _ in 0..options.rounds {
        for (loaded, samples) in servers.iter().zip(&mut samples) {
            samples.push(keep_alives_per_s(loaded, clients, options.lasting).await?);
        }
    }
    let what = format!("keep-alives of {clients} clients, each on a stream");
    comparison.add(&what, Limit::None, &rates(samples))
}

async fn keep_alives_per_s(loaded: &Loaded, clients: u64, lasting: Duration) -> Result<f64> {
    let connections = connect(loaded.server.address, clients).await?;
    let mut streams = Vec::new();
    for connection in &connections {
        let grant = LeaseGrantRequest { ttl: LEASE_S, id: 0 };
        let granted: LeaseGrantResponse = connection.call(method::LEASE_GRANT, &grant).await?;
        let request = LeaseKeepAliveRequest { id: granted.id };
        let mut stream = connection.begin(method::LEASE_KEEP_ALIVE, &request, false).await?;
        kept_alive(&mut stream).await?;
        streams.push((stream, request));
    }
    let begin = Instant::now();
    let end = begin + lasting;
    let mut running = JoinSet::new();
    for (mut stream, request) in streams {
        running.spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < end {
                stream.send(&request)?;
                kept_alive(&mut stream).await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(client) = running.join_next().await {
        count += client??;
    }
    Ok(per_s(count, begin.elapsed()))
}

async fn kept_alive(stream: &mut Responses) -> Result<()> {
    let response: LeaseKeepAliveResponse = stream.message().await?.context("the stream ended")?;
    ensure!(response.ttl == LEASE_S, "lease {} lives for {} s", response.id, response.ttl);
    Ok(())
}

/// How many watchers a second are created, each of a key of its own, when each stream asks for all of
/// its watchers at once.
pub(super) async fn new_watchers(
    servers: &[Loaded],
    options: &Options,
    comparison: &mut Comparison<'_>,
) -> Result<()> {
    let watchers = options.sized(WATCHERS);
    for streams in WATCH_STREAMS.map(|streams| streams.min(watchers)) {
        let mut samples = vec![Vec::new(); servers.len()];
        for _ in 0..options.rounds {
            for (loaded, samples) in servers.iter().zip(&mut samples) {
                samples.push(watchers_per_s(loaded, streams, watchers / streams).await?);
            }
        }
        let what = format!("{} new watchers on each of {streams} streams", watchers / streams);
        comparison.add(&what, Limit::None, &rates(samples))?;
    }
    Ok(())
}

async fn watchers_per_s(loaded: &Loaded, streams: u64, each: u64) -> Result<f64> {
    let connections = connect(loaded.server.address, streams).await?;
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for (number, connection) in (0_u64..).zip(connections) {
        let data = loaded.data.clone();
        running.spawn(async move { watchers_on_one(&connection, &data, number, each).await });
    }
    // All streams stay open until all watchers are there.
    let mut open = Vec::new();
    while let Some(stream) = running.join_next().await {
        open.push(stream??);
    }
    Ok(per_s(streams * each, begin.elapsed()))
}

async fn watchers_on_one(
    connection: &Connection,
    data: &Data,
    stream: u64,
    watchers: u64,
) -> Result<Responses> {
    let create = |watcher: u64| {
        let key = data.key(data.scattered(stream * watchers + watcher));
        let create = WatchCreateRequest { key, ..WatchCreateRequest::default() };
        WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    };
    let mut responses = connection.begin(method::WATCH, &create(0), false).await?;
    for watcher in 1..watchers {
        responses.send(&create(watcher))?;
    }
    for _ in 0..watchers {
        let created: WatchResponse = responses.message().await?.context("the watch ended")?;
        ensure!(created.created && !created.canceled, "a watcher was refused: {created:?}");
    }
    Ok(responses)
}

/// A handle for each of so many streams, ten of which share a connection.
async fn connect(address: SocketAddr, streams: u64) -> Result<Vec<Connection>> {
    let streams = usize::try_from(streams)?;
    let mut connections = Vec::with_capacity(streams);
    while connections.len() < streams {
        let connection = Connection::open(address, WINDOW_BYTES).await?;
        let shared = STREAMS_PER_CONNECTION.min(streams - connections.len());
        connections.extend(std::iter::repeat_n(connection, shared));
    }
    Ok(connections)
}

fn rates(samples: Vec<Vec<f64>>) -> Vec<Measured> {
    let medians = samples.into_iter().map(median);
    medians.map(|value| Measured { value, text: format!("{value:.0}/s") }).collect()
}
