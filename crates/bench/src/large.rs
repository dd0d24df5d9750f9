//! Data larger than memory: the member's peak memory while it is loaded, listed, watched from the
//! beginning, snapshotted, compacted and started again.
//!
//! ```text
//! put 5 GB ─▶ list (stream, pages, count) ─▶ watch from 1 ─▶ snapshot ─▶ restart ─▶ kill, restart
//!       └──────── peak resident memory of each process, against one limit ────────────┘
//! ```
//!
//! The limit is about memory alone; times are told for information. What it does not do: it does
//! not empty the kernel's cache of files, which is not the member's memory.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use metastore_proto::etcdserverpb::watch_request::RequestUnion;
use metastore_proto::etcdserverpb::{
    RangeRequest, RangeResponse, SnapshotRequest, WatchCreateRequest, WatchRequest, WatchResponse,
};

use crate::activity::{all_keys, compact, list_pages};
use crate::load::{Data, in_order, put_all};
use crate::process::{Program, Server, folder};
use crate::report::{Report, Row};
use crate::values::Values;
use crate::wire::{Connection, WINDOW_BYTES, method};

/// Single keys read after a start.
const GETS: u64 = 20_000;

/// What to load, and what may be used for it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// The server's binary, and flags of its own if it shall have some
    #[arg(long)]
    server: Program,
    /// Bytes of values, together
    #[arg(long, default_value_t = 5_000_000_000)]
    bytes: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 16 << 10, value_parser = clap::value_parser!(u32).range(8..))]
    value_bytes: u32,
    /// Resident memory that the server may reach, in MiB
    #[arg(long, default_value_t = 1000)]
    limit_mib: u64,
    /// Where the data goes; a folder for temporary files unless given
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs all of it and fails if the limit is missed.
pub(crate) async fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    let folder = folder(options.dir.as_deref())?;
    let values = Values::like_objects(usize::try_from(options.value_bytes)?);
    let keys = options.bytes.div_ceil(u64::from(options.value_bytes));
    let large =
        Large { options, data: Data::new(keys, 32, values), path: folder.path().join("data") };
    let mut report = Report::new(out)?;
    large.first_life(&mut report).await?;
    large.second_life(&mut report).await?;
    large.third_life(&mut report).await?;
    ensure!(report.missed() == 0, "{} limits were missed", report.missed());
    Ok(())
}

struct Large<'a> {
    options: &'a Options,
    data: Data,
    path: PathBuf,
}

impl Large<'_> {
    fn start(&self) -> Result<Server> {
        Server::start(&self.options.server, &self.path)
    }

    /// Loads and reads everything in every way.
    async fn first_life(&self, report: &mut Report<'_>) -> Result<()> {
        let (server, data) = (self.start()?, &self.data);
        let begin = Instant::now();
        put_all(server.address, data, data.keys, in_order).await?;
        told(report, &format!("{} puts of {} bytes", data.keys, self.options.value_bytes), begin)?;
        self.memory(report, &server, "loading")?;

        let connection = Connection::open(server.address, WINDOW_BYTES).await?;
        let begin = Instant::now();
        let mut bytes = 0;
        let list = connection.begin(method::RANGE_STREAM, &all_keys(data), true).await?;
        list.drain(&mut bytes).await?;
        self.complete(bytes, "the streamed list")?;
        told(report, "a streamed list of everything", begin)?;
        let begin = Instant::now();
        let mut bytes = 0;
        list_pages(&connection, data, &mut bytes).await?;
        self.complete(bytes, "the paginated list")?;
        told(report, "a list in pages of 500", begin)?;
        self.count(&connection, report).await?;
        self.memory(report, &server, "listing")?;

        let begin = Instant::now();
        self.watch(&connection).await?;
        told(report, "a watch of everything that was written", begin)?;
        let begin = Instant::now();
        let mut bytes = 0;
        let snapshot = SnapshotRequest::default();
        let snapshot = connection.begin(method::SNAPSHOT, &snapshot, true).await?;
        snapshot.drain(&mut bytes).await?;
        self.complete(bytes, "the snapshot")?;
        told(report, "a snapshot", begin)?;
        self.memory(report, &server, "a watch and a snapshot")?;
        server.stop()
    }

    /// Starts after a clean stop, reads here and there, writes a tenth anew and compacts.
    async fn second_life(&self, report: &mut Report<'_>) -> Result<()> {
        let (server, data) = (self.start()?, &self.data);
        report.add(&Row::plain("start after a stop", format!("{:.2?}", server.started_in)))?;
        let connection = Connection::open(server.address, WINDOW_BYTES).await?;
        let begin = Instant::now();
        for turn in 0..GETS {
            let key = data.key(data.scattered(turn));
            let get = RangeRequest { key, ..RangeRequest::default() };
            let found: RangeResponse = connection.call(method::RANGE, &get).await?;
            ensure!(found.count == 1, "key {turn} is not there");
        }
        let each = begin.elapsed() / u32::try_from(GETS)?;
        report.add(&Row::plain("a get of a random key, one at a time", format!("{each:.1?}")))?;
        put_all(server.address, data, data.keys / 10, Data::scattered).await?;
        let took = compact(&connection, data).await?;
        report.add(&Row::plain("compaction of a tenth", format!("{took:.2?}")))?;
        self.memory(report, &server, "a start, gets, a tenth written anew and compacted")?;
        // Dropped, it is killed.
        drop(server);
        Ok(())
    }

    /// Starts after a kill: what the engine had not flushed is replayed.
    async fn third_life(&self, report: &mut Report<'_>) -> Result<()> {
        let server = self.start()?;
        report.add(&Row::plain("start after a kill", format!("{:.2?}", server.started_in)))?;
        let connection = Connection::open(server.address, WINDOW_BYTES).await?;
        self.count(&connection, report).await?;
        self.memory(report, &server, "a start after a kill")?;
        server.stop()
    }

    async fn count(&self, connection: &Connection, report: &mut Report<'_>) -> Result<()> {
        let begin = Instant::now();
        let count = RangeRequest { count_only: true, ..all_keys(&self.data) };
        let counted: RangeResponse = connection.call(method::RANGE, &count).await?;
        ensure!(counted.count == i64::try_from(self.data.keys)?, "{} keys", counted.count);
        told(report, "counting all keys", begin)
    }

    /// Reads the history from its beginning: each key was written once.
    async fn watch(&self, connection: &Connection) -> Result<()> {
        let all = all_keys(&self.data);
        let create = WatchCreateRequest {
            key: all.key,
            range_end: all.range_end,
            start_revision: 1,
            ..WatchCreateRequest::default()
        };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let mut responses = connection.begin(method::WATCH, &create, false).await?;
        let mut events = 0;
        while events < self.data.keys {
            let response: WatchResponse = responses.message().await?.context("the watch ended")?;
            ensure!(!response.canceled, "the watch was canceled: {}", response.cancel_reason);
            events += response.events.len() as u64;
        }
        Ok(())
    }

    fn complete(&self, bytes: u64, what: &str) -> Result<()> {
        let least = self.data.keys * u64::from(self.options.value_bytes);
        ensure!(bytes >= least, "{what} has {bytes} bytes, and the values alone {least}");
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn memory(&self, report: &mut Report<'_>, server: &Server, after: &str) -> Result<()> {
        let peak = server.peak_resident_bytes()? as f64 / f64::from(1 << 20);
        let now = server.resident_bytes()? / (1 << 20);
        let what = format!("peak resident memory after {after}");
        let detail = format!("{now} MiB now");
        report.add(&Row::at_most(&what, peak, self.options.limit_mib as f64, " MiB", &detail))
    }
}

fn told(report: &mut Report<'_>, what: &str, begin: Instant) -> Result<()> {
    let took: Duration = begin.elapsed();
    report.add(&Row::plain(what, format!("{took:.2?}")))
}
