//! Streams that end when the member stops.
//!
//! Clients leave watches and keep-alives open and never close them, so a stopping member ends them:
//! with `Unavailable`, which tells a client to go on elsewhere. A mere reset would tell it to give
//! up.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::status::EtcdError;

/// Passes on what the inner stream yields until the token is cancelled or an error has passed.
pub(crate) struct UntilDrained<S> {
    /// `None` once it has ended.
    stream: Option<Pin<Box<S>>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> UntilDrained<S> {
    pub(crate) fn new(stream: S, draining: &CancellationToken) -> UntilDrained<S> {
        let draining = Box::pin(draining.clone().cancelled_owned());
        UntilDrained { stream: Some(Box::pin(stream)), draining }
    }
}

impl<S, T> Stream for UntilDrained<S>
where
    S: Stream<Item = Result<T, Status>>,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        if this.draining.as_mut().poll(context).is_ready() {
            this.stream = None;
            return Poll::Ready(Some(Err(EtcdError::Stopped.into())));
        }
        let item = std::task::ready!(stream.as_mut().poll_next(context));
        if !matches!(item, Some(Ok(_))) {
            this.stream = None;
        }
        Poll::Ready(item)
    }
}
