//! Clients that stop reading: what they hold, and what others notice.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use metastore_proto::etcdserverpb::watch_request::RequestUnion;
use metastore_proto::etcdserverpb::{
    RangeStreamResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};

use super::Options;
use crate::activity::all_keys;
use crate::latency::{Latencies, median};
use crate::load::Data;
use crate::loaded::Loaded;
use crate::process::Server;
use crate::report::{Report, Row};
use crate::wire::{Connection, Responses, WINDOW_BYTES, method};

/// What one of them may hold.
const HELD_MIB_MAX: f64 = 16.0;
/// What the p99 of others may become, as a multiple.
const P99_RATIO_MAX: f64 = 1.2;
/// Streams that stall together: what each holds is seen better.
const STALLED_WATCHERS: u64 = 4;
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn measure(
    loaded: &Loaded,
    options: &Options,
    report: &mut Report<'_>,
) -> Result<()> {
    let held = stalled_list(loaded, options).await?;
    let what = format!("memory held by a stream of {} keys that is not read", options.keys);
    report.add(&Row::at_most(&what, held, HELD_MIB_MAX, " MiB", "most of what was seen"))?;
    stalled_watchers(loaded, options, report).await
}

/// MiB that the server grows by.
async fn stalled_list(loaded: &Loaded, options: &Options) -> Result<f64> {
    let connection = Connection::open(loaded.server.address, WINDOW_BYTES).await?;
    let before = resident_mib(&loaded.server)?;
    let list = all_keys(&loaded.data);
    let mut responses = connection.begin(method::RANGE_STREAM, &list, true).await?;
    responses.message::<RangeStreamResponse>().await?.context("a first message")?;
    let (end, mut most) = (Instant::now() + options.pace().lasting, before);
    while Instant::now() < end {
        tokio::time::sleep(LOOK_EVERY).await;
        most = most.max(resident_mib(&loaded.server)?);
    }
    // It can still be read to its end.
    let mut bytes = 0;
    responses.drain(&mut bytes).await?;
    let values = loaded.data.keys * u64::from(options.value_bytes);
    ensure!(bytes > values, "only {bytes} bytes of {values} came in the end");
    Ok(most - before)
}

/// How much the server grew and how late events were while puts went on.
#[derive(Clone, Copy)]
struct Turn {
    growth_mib: f64,
    p99_us: f64,
}

async fn stalled_watchers(
    loaded: &Loaded,
    options: &Options,
    report: &mut Report<'_>,
) -> Result<()> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    // Not counted: the first puts pay for what the later ones use.
    turn(loaded, options, 0).await?;
    for _ in 0..options.rounds {
        without.push(turn(loaded, options, 0).await?);
        with.push(turn(loaded, options, STALLED_WATCHERS).await?);
    }
    let growth = |turns: &[Turn]| median(turns.iter().map(|turn| turn.growth_mib));
    let p99 = |turns: &[Turn]| median(turns.iter().map(|turn| turn.p99_us));
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let held = (growth(&with) - growth(&without)) / STALLED_WATCHERS as f64;
    let detail = format!(
        "{} puts grow the server by {:.1} MiB, and by {:.1} MiB with {STALLED_WATCHERS} of them",
        options.rate * options.seconds,
        growth(&without),
        growth(&with),
    );
    report.add(&Row::at_most(
        "memory held by a watcher of all keys that is not read",
        held,
        HELD_MIB_MAX,
        " MiB",
        &detail,
    ))?;
    let ratio = p99(&with) / p99(&without);
    let detail = format!("{:.0} µs beside {:.0} µs without", p99(&with), p99(&without));
    let what = "p99 from put to event at a watcher beside them";
    report.add(&Row::at_most(what, ratio, P99_RATIO_MAX, "×", &detail))?;
    Ok(())
}

async fn turn(loaded: &Loaded, options: &Options, stalled: u64) -> Result<Turn> {
    let address = loaded.server.address;
    let mut held = Vec::new();
    for _ in 0..stalled {
        let connection = Connection::open(address, WINDOW_BYTES).await?;
        held.push(watch(&connection, &loaded.data).await?);
    }
    let puts = loaded.paced(options.pace());
    let before = resident_mib(&loaded.server)?;
    let reader = read_events(address, &loaded.data, puts.epoch, options.rate * options.seconds);
    puts.run().await?;
    let latencies = reader.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
    let growth_mib = resident_mib(&loaded.server)? - before;
    drop(held);
    Ok(Turn { growth_mib, p99_us: latencies.p99_us() })
}

/// Opens a watcher of all keys.
async fn watch(connection: &Connection, data: &Data) -> Result<Responses> {
    let create = WatchCreateRequest {
        key: data.key(0),
        range_end: data.end(),
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let mut responses = connection.begin(method::WATCH, &request, false).await?;
    let created: WatchResponse = responses.message().await?.context("the watch ended")?;
    ensure!(created.created && !created.canceled, "the watcher was refused: {created:?}");
    Ok(responses)
}

/// A watcher that reads `events` events, on a thread of its own: how late they were.
fn read_events(
    address: SocketAddr,
    data: &Data,
    epoch: Instant,
    events: u64,
) -> JoinHandle<Result<Latencies>> {
    let data = data.clone();
    let read = async move {
        let connection = Connection::open(address, WINDOW_BYTES).await?;
        let mut responses = watch(&connection, &data).await?;
        let (mut latencies, mut seen) = (Latencies::new(), 0);
        while seen < events {
            let response: WatchResponse = responses.message().await?.context("the watch ended")?;
            let now = epoch.elapsed();
            for event in response.events {
                let value = event.kv.context("an event has a key-value")?.value;
                let stamp = value.first_chunk().context("a value begins with a time")?;
                let due = Duration::from_nanos(u64::from_be_bytes(*stamp));
                latencies.record(now.saturating_sub(due));
                seen += 1;
            }
        }
        Ok(latencies)
    };
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(read)
    })
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn resident_mib(server: &Server) -> Result<f64> {
    Ok(server.resident_bytes()? as f64 / f64::from(1 << 20))
}
