//! A response body of messages that are framed already.
//!
//! Watch responses are put together byte by byte where the events are known, gRPC's prefix
//! included. Passing them through the gRPC library would copy each of them once more; here a run of
//! them becomes one piece of the HTTP body.
//!
//! ```text
//! stream of Bytes ─▶ DATA | 0 len message | 0 len message | … ─▶ trailers grpc-status
//! ```

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use tokio_stream::Stream;
use tonic::Status;
use tonic::body::Body;

/// The response whose messages are `stream`, and whose status is the error that ends it. A stream
/// that ends without one has lost its producer to a defect: its client must not take that for the
/// end of what there is.
pub(super) fn response<S>(stream: S) -> Response<Body>
where
    S: Stream<Item = Result<Bytes, Status>> + Send + Unpin + 'static,
{
    let mut response = Response::new(Body::new(FramedBody { stream: Some(stream) }));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

struct FramedBody<S> {
    /// `None` once the trailers are out.
    stream: Option<S>,
}

impl<S> http_body::Body for FramedBody<S>
where
    S: Stream<Item = Result<Bytes, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let status = match ready!(Pin::new(stream).poll_next(context)) {
            Some(Ok(messages)) => return Poll::Ready(Some(Ok(Frame::data(messages)))),
            Some(Err(status)) => status,
            None => Status::internal("etcdserver: request handler failed"),
        };
        self.stream = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))))
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Text that no header can hold: the code still tells what to do.
        trailers.insert("grpc-status", HeaderValue::from(status.code() as i32));
    }
    trailers
}
