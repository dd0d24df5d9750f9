//! The gRPC services of etcd: which exist, what is checked before any of them, what they share.
//!
//! ```text
//!  HTTP/2 request ─▶ Services::call ─▶ metadata checks ─▶ by name of the service
//!                                                           │  kv, watch, lease, cluster,
//!                        status in etcd's words ◀───────────┘  maintenance, health
//! ```
//!
//! A handler does five things and no more: convert and validate the request, take a permit for its
//! bytes, hand it over to the [`NodeHandle`], convert the answer. It holds no lock. Reads run on a
//! view of the state, on the thread of the connection.
//!
//! For example `Put` without a key: the metadata is fine, the quota has room, the conversion says
//! [`EmptyKey`](status::EtcdError::EmptyKey), and the client reads `InvalidArgument`,
//! `etcdserver: key is not provided`.
//!
//! What is not here: users and tokens, locks and elections, changes of the membership. Their
//! methods answer like methods that do not exist.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response};
use metastore_proto::server::etcdserverpb::cluster_server::ClusterServer;
use metastore_proto::server::etcdserverpb::kv_server::KvServer;
use metastore_proto::server::etcdserverpb::lease_server::LeaseServer;
use metastore_proto::server::etcdserverpb::maintenance_server::MaintenanceServer;
use metastore_proto::server::grpc::health::v1::health_server::HealthServer;
use prost::Message;
use state::command::Operation;
use state::outcome::Outcome;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};
use tower::Service;

use crate::handle::{Header, NodeHandle};
use crate::listen::Shutdown;
use crate::slow;
use limits::GRPC_OVERHEAD_BYTES;
use permit::{Permit, Permits};
use status::{EtcdError, Takes};
use terms::Terms;

pub mod arrival;
mod binary;
mod cluster;
pub mod convert;
mod drain;
mod framed;
mod health;
mod in_turns;
mod kv;
mod lease;
pub mod limits;
mod maintenance;
pub mod permit;
mod pieces;
mod range_stream;
mod read;
mod size;
mod snapshot;
pub mod status;
mod terms;
mod unread;
mod watch;

/// The version of etcd's storage that a snapshot claims to be.
pub const STORAGE_VERSION: &str = "3.7.0";

/// All services. Cheap to clone: every connection has its own.
#[derive(Clone)]
pub struct Services {
    kv: KvServer<Shell>,
    shell: Shell,
    lease: LeaseServer<Shell>,
    cluster: ClusterServer<Shell>,
    maintenance: MaintenanceServer<Shell>,
    health: HealthServer<Shell>,
}

/// What every handler works with.
#[derive(Clone)]
pub(crate) struct Shell {
    handle: NodeHandle,
    permits: Permits,
    shutdown: Shutdown,
    /// Names watch streams; shared by all connections.
    last_stream: Arc<AtomicU64>,
}

/// The body of a request, wherever it comes from.
pub trait RequestBody: http_body::Body<Data = Bytes> + Send + 'static {}

impl<B: http_body::Body<Data = Bytes> + Send + 'static> RequestBody for B {}

/// The response to one request, on its way.
pub enum ResponseFuture {
    /// Known without asking a service.
    Ready(Option<Response<Body>>),
    /// A handler works on it.
    Running {
        /// The handler. Its panic fails its own request and nothing else.
        handler: Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>,
        /// What was called.
        path: PathAndQuery,
        /// When it was.
        begun: Instant,
        /// From when on it is slow.
        slow: Duration,
        /// What the client has asked for beside the answer.
        terms: Terms,
    },
}

impl Services {
    /// The services of the member behind `handle`, whose streams end with `shutdown`.
    #[must_use]
    pub fn new(handle: NodeHandle, shutdown: Shutdown) -> Services {
        let bytes_max = handle.settings().max_request_bytes + GRPC_OVERHEAD_BYTES;
        let shell =
            Shell { handle, permits: Permits::default(), shutdown, last_stream: Arc::default() };
        // Each service is generated on its own; what is the same for all of them stands here once.
        macro_rules! service {
            ($server:ident) => {
                $server::new(shell.clone())
                    .max_decoding_message_size(bytes_max)
                    .accept_compressed(CompressionEncoding::Gzip)
            };
        }
        Services {
            kv: service!(KvServer),
            lease: service!(LeaseServer),
            cluster: service!(ClusterServer),
            maintenance: service!(MaintenanceServer),
            health: service!(HealthServer),
            shell,
        }
    }

    /// Answers one request.
    #[must_use]
    pub fn call<B>(&self, mut request: Request<B>) -> ResponseFuture
    where
        B: RequestBody,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        if let Some(refusal) = arrival::refusal(&request) {
            return ResponseFuture::Ready(Some(refusal));
        }
        if let Err(error) = self.check_metadata(request.headers()) {
            return ready(error.into());
        }
        let Some(path) = request.uri().path_and_query().cloned() else {
            return ready(Status::unimplemented("malformed method name: \"\""));
        };
        let Some((service, method)) = split_path(&path) else {
            let path = path.path();
            return ready(Status::unimplemented(format!("malformed method name: \"{path}\"")));
        };
        arrival::forget_empty_encoding(request.headers_mut());
        let mut terms = Terms::of(request.headers());
        let handler = match service {
            "etcdserverpb.KV" => self.kv.clone().call(request),
            // Sends bytes as they are; see `framed`.
            "etcdserverpb.Watch" if method == watch::METHOD => {
                let response = watch::watch(&self.shell, request);
                return ResponseFuture::Ready(Some(terms.apply(response)));
            }
            "etcdserverpb.Watch" => return ready(status::unknown_method(service, method)),
            "etcdserverpb.Lease" => self.lease.clone().call(request),
            "etcdserverpb.Cluster" => self.cluster.clone().call(request),
            "etcdserverpb.Maintenance" => self.maintenance.clone().call(request),
            "grpc.health.v1.Health" => self.health.clone().call(request),
            "etcdserverpb.Auth" | "v3lockpb.Lock" | "v3electionpb.Election" => {
                return ready(status::unknown_method(service, method));
            }
            _ => return ready(Status::unimplemented(format!("unknown service {service}"))),
        };
        let slow = self.shell.handle.settings().slow_request;
        ResponseFuture::Running { handler, path, begun: Instant::now(), slow, terms }
    }

    /// What is asked of every call, whatever the service, in etcd's order.
    fn check_metadata(&self, headers: &HeaderMap) -> Result<(), EtcdError> {
        if let Some(version) = headers.get("client-api-version")
            && std::str::from_utf8(version.as_bytes()).is_err()
        {
            return Err(EtcdError::InvalidClientApiVersion);
        }
        let wants_leader = headers.get("hasleader").is_some_and(|value| value == "true");
        if wants_leader && self.shell.handle.status().leader == 0 {
            return Err(EtcdError::NoLeader);
        }
        Ok(())
    }
}

fn ready(status: Status) -> ResponseFuture {
    ResponseFuture::Ready(Some(status.into_http()))
}

/// `/package.Service/Method` in its two parts.
fn split_path(path: &PathAndQuery) -> Option<(&str, &str)> {
    path.path().strip_prefix('/')?.rsplit_once('/')
}

impl Future for ResponseFuture {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response<Body>> {
        let (handler, path, begun, slow, terms) = match &mut *self {
            ResponseFuture::Ready(response) => {
                return Poll::Ready(response.take().expect("a future is not polled after its end"));
            }
            ResponseFuture::Running { handler, path, begun, slow, terms } => {
                (handler, path, begun, slow, terms)
            }
        };
        // Nothing is left half done: handlers own no state, they convert and hand over.
        let poll = AssertUnwindSafe(|| handler.as_mut().poll(context));
        match std::panic::catch_unwind(poll) {
            Ok(Poll::Pending) if terms.is_over(context) => {
                Poll::Ready(terms.apply(terms::over().into_http()))
            }
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => {
                slow::unary(*begun, *slow, path.path());
                Poll::Ready(terms.apply(pieces::unfold(with_etcds_status(response, path))))
            }
            Ok(Poll::Ready(Err(never))) => match never {},
            Err(_panic) => {
                tracing::error!(path = path.path(), "a request handler panicked");
                Poll::Ready(Status::internal("etcdserver: request handler failed").into_http())
            }
        }
    }
}

/// Replaces the words of the gRPC library by etcd's where it failed the request on its own.
fn with_etcds_status(response: Response<Body>, path: &PathAndQuery) -> Response<Body> {
    // Only a response that failed before its first message has its status among the headers.
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    match status.code() {
        Code::Unimplemented if status.message().is_empty() => {
            let (service, method) = split_path(path).expect("it has been split before");
            status::unknown_method(service, method).into_http()
        }
        Code::OutOfRange | Code::Internal | Code::ResourceExhausted => {
            status::in_etcds_words(status, Takes::of(path.path())).into_http()
        }
        _ => response,
    }
}

impl Shell {
    /// Room for a request in memory, until the permit is dropped.
    fn admit(&self, request: &impl Message) -> Result<Permit, EtcdError> {
        self.permits.take(request.encoded_len())
    }

    /// Refuses early what would not fit the quota, and makes the whole cluster know.
    async fn check_quota(&self, cost_bytes: u64) -> Result<(), EtcdError> {
        if cost_bytes == 0 || self.handle.quota_available(cost_bytes) {
            return Ok(());
        }
        // The alarm is active before the client hears of it: clients list alarms next.
        self.handle.raise_nospace().await?;
        Err(EtcdError::NoSpace)
    }

    /// Puts the operation of an admitted request into the log and waits until this member has
    /// applied it.
    async fn propose(
        &self,
        operation: Operation,
        permit: &Permit,
    ) -> Result<(Header, Outcome), EtcdError> {
        let logged_bytes = size::logged_bytes(permit.request_bytes(), self.handle.member_id());
        if logged_bytes > self.handle.settings().max_request_bytes {
            return Err(EtcdError::RequestTooLarge);
        }
        let answer = self.handle.propose(operation).await?;
        Ok((answer.header, answer.applied?))
    }

    /// Waits until a read sees every write that was acknowledged before it arrived.
    async fn barrier(&self) -> Result<(), EtcdError> {
        if !self.handle.try_read_barrier() {
            self.handle.read_barrier().await?;
        }
        Ok(())
    }
}

/// The answer of the state machine belongs to another operation than the one proposed.
fn mismatched(outcome: &Outcome) -> ! {
    panic!("the state machine answered an operation with the outcome of another: {outcome:?}")
}

#[cfg(test)]
mod tests;
