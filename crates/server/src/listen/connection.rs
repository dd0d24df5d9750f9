//! One connection: its protocol, its requests, its end.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tower::ServiceExt;

use super::authority::ReadableAuthority;
use super::gathering::Gathering;
use super::{ListenSettings, Serves, Shutdown};
use crate::grpc::{ResponseFuture, arrival};

/// What a client may send on a stream, and on a connection, before the server has read it. Large
/// enough that neither a large put nor many small ones wait for the other side.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes of the headers of one request; tokens can be long.
const HEADERS_BYTES_MAX: u32 = 64 << 10;
/// Streams that a client may have opened and reset before the server came to look at them. Beyond,
/// the connection is closed: that is an attack. Clients that give up many calls at once are not.
const RESET_STREAMS_MAX: usize = 1000;
/// How long an HTTP/1 client may take to send its headers; etcd's number.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Serves connections. Cheap to clone: each connection has its own.
#[derive(Clone)]
pub(super) struct Server {
    serves: Serves,
    shutdown: Shutdown,
    grace: Duration,
    protocols: Builder<TokioExecutor>,
}

impl Server {
    pub(super) fn new(serves: Serves, shutdown: Shutdown, settings: &ListenSettings) -> Server {
        let mut protocols = Builder::new(TokioExecutor::new());
        protocols
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(settings.max_concurrent_streams)
            .max_header_list_size(HEADERS_BYTES_MAX)
            .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
            .keep_alive_interval(settings.keepalive_interval)
            .keep_alive_timeout(settings.keepalive_timeout)
            // gRPC has no use for it.
            .auto_date_header(false);
        Server { serves, shutdown, grace: settings.grace, protocols }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Server { protocols, shutdown, grace, .. } = &self;
        let serves = self.serves.clone();
        let service = hyper::service::service_fn(move |request| respond(&serves, request));
        let socket = Gathering::new(ReadableAuthority::new(socket));
        let connection = protocols.serve_connection(TokioIo::new(socket), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.draining.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = shutdown.closed.cancelled() => return,
                    () = tokio::time::sleep(*grace) => return,
                }
            }
        };
        if let Err(error) = ended {
            // Clients vanish all the time, and probes send nonsense.
            tracing::debug!(error, "a connection ended with an error");
        }
    }
}

/// The response to a request of either kind.
enum Responding {
    Grpc(ResponseFuture),
    Http(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

impl Future for Responding {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Responding::Grpc(response) => Pin::new(response).poll(context),
            Responding::Http(response) => response.as_mut().poll(context),
        }
        .map(Ok)
    }
}

fn respond(serves: &Serves, request: Request<Incoming>) -> Responding {
    if !names_its_host(&request) {
        return Responding::Http(Box::pin(std::future::ready(bad_request())));
    }
    if let Some(services) = &serves.grpc
        && request.version() == Version::HTTP_2
    {
        if arrival::is_grpc(request.headers()) {
            return Responding::Grpc(services.call(request));
        }
        // Nothing else that is posted here speaks HTTP/2.
        if request.method() == Method::POST {
            let answer = arrival::not_grpc(request.headers());
            return Responding::Http(Box::pin(std::future::ready(answer)));
        }
    }
    let answer = serves.http.clone().oneshot(request);
    Responding::Http(Box::pin(async move {
        match answer.await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }))
}

fn names_its_host(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_10
        || request.uri().authority().is_some()
        || request.headers().contains_key(header::HOST)
}

fn bad_request() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
