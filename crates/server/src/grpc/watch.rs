//! `etcdserverpb.Watch`: changes as they happen.
//!
//! Each stream has a task that drives its [`WatchStream`], which knows all the rules; this file only
//! moves things:
//!
//! ```text
//! client ── requests ─▶ task ── watch, leave ─▶ core thread
//!                        │  ◀── WatchQueue ──────── │
//! client ◀── body ◀── channel, 1 run of responses
//! ```
//!
//! The channel makes the task wait for its client: while responses wait there, nothing more is
//! produced, and what happens meanwhile goes into the queue, which when full costs the stream its
//! place among the live ones and nothing else.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::watch_request::RequestUnion;
use state::watch::{
    CATCH_UP_BYTES_MAX, CATCH_UP_REVISIONS_MAX, FRAGMENT_OVERHEAD_BYTES, HubInput, Outbox,
    ReadEverything, Sender, StreamConfig, StreamId, WatchCreate, WatchRequest, WatchStream,
};
use state::{ClusterId, MemberId, Term};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Status, Streaming};
use tonic_prost::ProstDecoder;

use super::arrival;
use super::drain::UntilDrained;
use super::framed;
use super::limits::{
    GRPC_OVERHEAD_BYTES, WATCH_OUTBOX_BYTES, WATCH_OUTBOX_RESPONSES, WATCH_REQUESTS_TOGETHER,
};
use super::status::{EtcdError, Takes, in_etcds_words};
use super::{RequestBody, Shell};
use crate::core::CoreInput;
use crate::handle::NodeHandle;
use crate::watch_queue::WatchQueue;

/// The method of the service.
pub(super) const METHOD: &str = "Watch";

/// Opens a stream.
pub(super) fn watch<B: RequestBody>(shell: &Shell, request: Request<B>) -> Response<Body>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let bytes_max = shell.handle.settings().max_request_bytes + GRPC_OVERHEAD_BYTES;
    let decoder = ProstDecoder::<pb::WatchRequest>::default();
    let compression = arrival::compression(request.headers());
    let body = request.into_body();
    let requests = Streaming::new_request(decoder, body, compression, Some(bytes_max));
    let (responses, body) = mpsc::channel(1);
    match Task::open(shell, requests, responses) {
        Ok(task) => {
            tokio::spawn(task.run());
            framed::response(UntilDrained::new(ReceiverStream::new(body), &shell.shutdown.draining))
        }
        Err(error) => Status::from(error).into_http(),
    }
}

/// A stream's place at the hub. Given up when dropped, even if the stream ends by a defect.
struct Seat {
    handle: NodeHandle,
    stream: StreamId,
}

impl Seat {
    fn tell(&self, input: HubInput) {
        // A core thread that is gone has no hub either.
        let _ = self.handle.send(CoreInput::Watch(input));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.tell(HubInput::Leave { stream: self.stream });
    }
}

/// What drives one stream.
struct Task {
    shell: Shell,
    seat: Seat,
    stream: WatchStream,
    outbox: Outbox,
    queue: Arc<WatchQueue>,
    /// `None` when the client has said all it wants to say. It still wants to listen.
    requests: Option<Streaming<pb::WatchRequest>>,
    responses: mpsc::Sender<Result<Bytes, Status>>,
    opened: Instant,
}

/// What a task may wait for.
enum Happened {
    Request(Result<Option<pb::WatchRequest>, Status>),
    Input(state::watch::StreamInput),
    Tick,
    ClientGone,
}

impl Task {
    fn open(
        shell: &Shell,
        requests: Streaming<pb::WatchRequest>,
        responses: mpsc::Sender<Result<Bytes, Status>>,
    ) -> Result<Task, EtcdError> {
        let stream = StreamId(shell.last_stream.fetch_add(1, Ordering::Relaxed) + 1);
        let settings = shell.handle.settings();
        let header = shell.handle.header();
        let config = StreamConfig {
            stream,
            sender: Sender {
                cluster: ClusterId(header.cluster_id),
                member: MemberId(header.member_id),
                term: Term(header.raft_term),
            },
            fragment_bytes: settings.max_request_bytes + FRAGMENT_OVERHEAD_BYTES,
            progress_period_ms: progress_period_ms(settings.progress_interval, stream),
            catch_up_revisions_max: CATCH_UP_REVISIONS_MAX,
            catch_up_bytes_max: CATCH_UP_BYTES_MAX,
        };
        let queue = Arc::new(WatchQueue::default());
        shell.handle.send(CoreInput::OpenWatch { stream, queue: Arc::clone(&queue) })?;
        Ok(Task {
            shell: shell.clone(),
            seat: Seat { handle: shell.handle.clone(), stream },
            stream: WatchStream::new(config, 0),
            outbox: Outbox::new(WATCH_OUTBOX_BYTES, WATCH_OUTBOX_RESPONSES),
            queue,
            requests: Some(requests),
            responses,
            opened: Instant::now(),
        })
    }

    async fn run(mut self) {
        let ended = self.serve().await;
        if let Err(status) = ended {
            // If the client has gone away there is nobody to tell. What came before what failed is answered.
            if !self.outbox.is_empty() {
                let framed = self.outbox.take().framed().clone();
                let _ = self.responses.send(Ok(framed)).await;
            }
            let _ = self.responses.send(Err(status)).await;
        }
        for input in self.stream.close() {
            self.seat.tell(input);
        }
    }

    /// Runs until the client is gone or the stream has failed.
    async fn serve(&mut self) -> Result<(), Status> {
        loop {
            self.tell_hub()?;
            if !self.outbox.is_empty() {
                let framed = self.outbox.take().framed().clone();
                if self.responses.send(Ok(framed)).await.is_err() {
                    return Ok(());
                }
            }
            let working = self.stream.has_work(self.shell.handle.reader());
            match self.wait(working).await {
                None => self.step()?,
                Some(Happened::Request(request)) => {
                    self.request(request)?;
                    self.requests_with_it()?;
                }
                Some(Happened::Input(input)) => self.stream.receive(input),
                Some(Happened::Tick) => self.stream.tick(self.now_ms()),
                Some(Happened::ClientGone) => return Ok(()),
            }
        }
    }

    /// The next thing that happens. With work to do it looks but does not wait, and not at the
    /// queue: requests are answered soon even by a stream that has a lot to catch up with.
    async fn wait(&mut self, working: bool) -> Option<Happened> {
        let Task { stream, queue, requests, responses, opened, .. } = self;
        let listening = requests.is_some();
        let request = async {
            match requests {
                Some(requests) => requests.message().await,
                None => std::future::pending().await,
            }
        };
        let tick = async {
            match stream.next_tick_ms() {
                Some(tick_ms) => {
                    tokio::time::sleep_until((*opened + Duration::from_millis(tick_ms)).into())
                        .await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            request = request, if listening => Some(Happened::Request(request)),
            () = responses.closed() => Some(Happened::ClientGone),
            () = tick, if !working => Some(Happened::Tick),
            input = queue.pop(), if !working && stream.wants_input() => {
                Some(Happened::Input(input))
            }
            // Others on this thread come first, then the work.
            () = tokio::task::yield_now(), if working => None,
        }
    }

    fn step(&mut self) -> Result<(), Status> {
        let handle = &self.shell.handle;
        self.stream.set_term(Term(handle.header().raft_term));
        let done = self.stream.step(handle.reader(), &mut self.outbox);
        done.map_err(|error| EtcdError::of_storage(&error).into())
    }

    fn request(&mut self, request: Result<Option<pb::WatchRequest>, Status>) -> Result<(), Status> {
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => {
                self.requests = None;
                return Ok(());
            }
            Err(status) if status.code() == tonic::Code::Cancelled => {
                return Err(EtcdError::WatchCanceled.into());
            }
            Err(status) => return Err(in_etcds_words(status, Takes::Stream)),
        };
        // A request of a newer client, with nothing in it that this server knows, says nothing.
        let Some(request) = request.request_union.map(watch_request) else { return Ok(()) };
        let handle = &self.shell.handle;
        self.stream.set_term(Term(handle.header().raft_term));
        self.stream.request(request, handle.reader(), &ReadEverything, &mut self.outbox);
        Ok(())
    }

    /// Takes what has come together with a request: a client that watches thousands of keys asks for all
    /// of them at once, and their answers need not leave one by one.
    fn requests_with_it(&mut self) -> Result<(), Status> {
        for _ in 1..WATCH_REQUESTS_TOGETHER {
            let Some(requests) = &mut self.requests else { break };
            // Whoever waits next registers who is to be woken.
            let mut look = Context::from_waker(Waker::noop());
            let Poll::Ready(request) = pin!(requests.message()).poll(&mut look) else { break };
            self.request(request)?;
        }
        Ok(())
    }

    fn tell_hub(&mut self) -> Result<(), EtcdError> {
        for input in self.stream.take_hub_inputs() {
            self.shell.handle.send(CoreInput::Watch(input))?;
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).expect("runs for less than 2^64 ms")
    }
}

fn watch_request(request: RequestUnion) -> WatchRequest {
    match request {
        RequestUnion::CreateRequest(create) => WatchRequest::Create(
            WatchCreate {
                key: create.key,
                range_end: create.range_end,
                start_revision: create.start_revision,
                progress_notify: create.progress_notify,
                prev_kv: create.prev_kv,
                watch_id: create.watch_id,
                fragment: create.fragment,
                ..WatchCreate::default()
            }
            .filtered(&create.filters),
        ),
        RequestUnion::CancelRequest(cancel) => WatchRequest::Cancel { watch_id: cancel.watch_id },
        RequestUnion::ProgressRequest(_) => WatchRequest::Progress,
    }
}

/// The interval and up to a tenth more, so that streams opened together do not all speak at once.
fn progress_period_ms(interval: Duration, stream: StreamId) -> u64 {
    // Spreads consecutive numbers over 0..1024: Fibonacci hashing.
    let spread = stream.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54;
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    interval_ms.saturating_add(interval_ms / 10 * spread / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_speak_at_different_times_but_at_most_a_tenth_late() {
        let period = |stream| progress_period_ms(Duration::from_secs(600), StreamId(stream));
        let periods: Vec<u64> = (1..=100).map(period).collect();
        assert!(periods.iter().all(|period| (600_000..=660_000).contains(period)), "{periods:?}");
        let distinct: std::collections::BTreeSet<&u64> = periods.iter().collect();
        assert!(distinct.len() > 90, "{} of 100 differ", distinct.len());
    }
}
