//! What goes on beside the puts: readers of everything, compactions.
//!
//! Each runs on a thread of its own, again and again while the puts are measured or once to its end,
//! and looks at as little as possible of what it gets: the machine's time shall be the server's.

use std::fmt;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use metastore_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, HashKvRequest, HashKvResponse, RangeRequest,
    RangeResponse, RangeStreamResponse, SnapshotRequest,
};

use crate::load::Data;
use crate::wire::{Connection, WINDOW_BYTES, method};

/// Keys of a page: what Kubernetes asks for.
pub(crate) const PAGE_KEYS: u64 = 500;
/// Compactions follow each other after so long: 10,000 puts at 5,000 a second.
const COMPACT_EVERY: Duration = Duration::from_secs(2);
/// What is done once may be over before a p99 means something: so long it counts as not over.
const ONCE_AT_LEAST: Duration = Duration::from_secs(1);
/// What is done once and takes longer fails the run.
const ONCE_AT_MOST: Duration = Duration::from_mins(5);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Activity {
    /// Begins to stream all keys and stops reading.
    HeldView,
    /// Streams all keys.
    ListStreamed,
    /// Lists all keys in pages.
    ListPaged,
    /// Downloads a snapshot.
    Snapshot,
    /// Hashes the history.
    HashKv,
    /// Compacts, physically, to the present.
    Compact,
    /// The same, once.
    CompactOnce,
}

/// What an activity has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Times it came to its end.
    pub(crate) times: u64,
    /// Bytes it was sent.
    pub(crate) bytes: u64,
    /// How long it took, if it was done once.
    pub(crate) took: Duration,
    /// Until when others were beside it, if it was done once.
    pub(crate) until: Option<Instant>,
}

impl Done {
    /// Adds what was done in another run.
    pub(crate) fn add(&mut self, other: Done) {
        self.times += other.times;
        self.bytes += other.bytes;
        self.took += other.took;
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.took > Duration::ZERO {
            write!(f, "done {} times, {:.2} s in all", self.times, self.took.as_secs_f64())
        } else {
            write!(f, "it ended {} times, {} MB in all", self.times, self.bytes / 1_000_000)
        }
    }
}

impl Activity {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Activity::HeldView => "a reader that holds a view of all keys",
            Activity::ListStreamed => "a streamed list of all keys",
            Activity::ListPaged => "a paginated list of all keys",
            Activity::Snapshot => "a snapshot download",
            Activity::HashKv => "HashKV",
            Activity::Compact => "physical compactions",
            Activity::CompactOnce => "a physical compaction",
        }
    }

    /// Repeats it for so long, on a thread of its own; or does it once, however long it takes.
    pub(crate) fn start(
        self,
        address: SocketAddr,
        data: &Data,
        lasting: Duration,
    ) -> JoinHandle<Result<Done>> {
        let data = data.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut done = Done::default();
                let once = matches!(self, Activity::CompactOnce);
                let end = Instant::now() + if once { ONCE_AT_MOST } else { lasting };
                let work = self.repeat(address, &data, end, &mut done);
                // Whatever is under way when the time is up is cut off.
                tokio::time::timeout_at(end.into(), work).await.unwrap_or(Ok(()))?;
                ensure!(!once || done.times == 1, "it has not ended after {ONCE_AT_MOST:?}");
                Ok(done)
            })
        })
    }

    async fn repeat(
        self,
        address: SocketAddr,
        data: &Data,
        end: Instant,
        done: &mut Done,
    ) -> Result<()> {
        let connection = Connection::open(address, WINDOW_BYTES).await?;
        while Instant::now() < end {
            match self {
                Activity::HeldView => hold(&connection, data, end, done).await?,
                Activity::ListStreamed => {
                    let list = all_keys(data);
                    let call = connection.begin(method::RANGE_STREAM, &list, true).await?;
                    call.drain(&mut done.bytes).await?;
                }
                Activity::ListPaged => list_pages(&connection, data, &mut done.bytes).await?,
                Activity::Snapshot => {
                    let snapshot = SnapshotRequest::default();
                    let call = connection.begin(method::SNAPSHOT, &snapshot, true).await?;
                    call.drain(&mut done.bytes).await?;
                }
                Activity::HashKv => {
                    let hash = HashKvRequest::default();
                    connection.call::<HashKvResponse>(method::HASH_KV, &hash).await?;
                }
                Activity::CompactOnce => {
                    let at_least = Instant::now() + ONCE_AT_LEAST;
                    done.took = compact(&connection, data).await?;
                    done.until = Some(at_least.max(Instant::now()));
                    done.times = 1;
                    return Ok(());
                }
                Activity::Compact => {
                    compact(&connection, data).await?;
                    tokio::time::sleep(COMPACT_EVERY).await;
                }
            }
            done.times += 1;
        }
        Ok(())
    }
}

/// A request for all keys.
pub(crate) fn all_keys(data: &Data) -> RangeRequest {
    RangeRequest { key: data.key(0), range_end: data.end(), ..RangeRequest::default() }
}

async fn hold(connection: &Connection, data: &Data, end: Instant, done: &mut Done) -> Result<()> {
    let mut responses = connection.begin(method::RANGE_STREAM, &all_keys(data), true).await?;
    let first: RangeStreamResponse = responses.message().await?.context("a first message")?;
    done.bytes += prost::Message::encoded_len(&first) as u64;
    tokio::time::sleep_until((end - Duration::from_millis(1)).into()).await;
    done.times = 1;
    std::future::pending().await
}

/// Reads all keys in pages of one revision.
pub(crate) async fn list_pages(
    connection: &Connection,
    data: &Data,
    bytes: &mut u64,
) -> Result<()> {
    let revision = revision(connection, data).await?;
    let limit = i64::try_from(PAGE_KEYS)?;
    for page in 0..data.keys.div_ceil(PAGE_KEYS) {
        // The keys are known: no need to look for the last one of the page before.
        let key = data.key(page * PAGE_KEYS);
        let request = RangeRequest { key, limit, revision, ..all_keys(data) };
        connection.begin(method::RANGE, &request, true).await?.drain(bytes).await?;
    }
    Ok(())
}

/// The revision of the store.
pub(crate) async fn revision(connection: &Connection, data: &Data) -> Result<i64> {
    let request = RangeRequest { key: data.key(0), keys_only: true, ..RangeRequest::default() };
    let response: RangeResponse = connection.call(method::RANGE, &request).await?;
    Ok(response.header.context("a response has a header")?.revision)
}

/// Compacts to the present and answers with how long it took until the garbage was gone.
pub(crate) async fn compact(connection: &Connection, data: &Data) -> Result<Duration> {
    let revision = revision(connection, data).await?;
    let begin = Instant::now();
    let request = CompactionRequest { revision, physical: true };
    connection.call::<CompactionResponse>(method::COMPACT, &request).await?;
    Ok(begin.elapsed())
}
