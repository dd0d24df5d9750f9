//! Streams that a client stops reading.
//!
//! A list of a gigabyte is read from one view of the data, which keeps superseded versions from
//! being removed for as long as it lives. A client may stop reading and never come back, while its
//! connection stays open: then nobody asks the stream for more, and it cannot end itself.
//!
//! ```text
//! client reads ─▶ stream ─▶ view             watchdog: handed over something 10 minutes ago?
//!    (stops)      asked for nothing          └─▶ takes the stream, and the view with it
//! client reads ─▶ no stream ─▶ an error
//! ```
//!
//! A client that reads slowly keeps its view: each message begins the time anew.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio_stream::Stream;
use tonic::Status;

use super::status::EtcdError;

/// Passes on what the inner stream yields, until nobody has asked for more for too long.
pub(crate) struct WhileRead<S> {
    held: Shared<S>,
    unread_max: Duration,
    watchdog: Option<AbortHandle>,
    ended: bool,
}

struct Held<S> {
    /// `None` once it has ended or was taken.
    stream: Option<Pin<Box<S>>>,
    touched: Instant,
}

struct Shared<S>(Arc<Mutex<Held<S>>>);

impl<S> Shared<S> {
    fn with<T>(&self, look: impl FnOnce(&mut Held<S>) -> T) -> T {
        look(&mut lock(&self.0))
    }
}

/// A panic of the stream is its request's; it is taken like any other.
fn lock<S>(held: &Mutex<Held<S>>) -> MutexGuard<'_, Held<S>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Send + 'static> WhileRead<S> {
    pub(crate) fn new(stream: S, unread_max: Duration) -> WhileRead<S> {
        let held = Held { stream: Some(Box::pin(stream)), touched: Instant::now() };
        let held = Shared(Arc::new(Mutex::new(held)));
        WhileRead { held, unread_max, watchdog: None, ended: false }
    }

    /// From the first message on: what has not begun is not held up by its client.
    fn set_watchdog(&mut self) {
        if self.watchdog.is_none() {
            let watching = watch(Arc::downgrade(&self.held.0), self.unread_max);
            self.watchdog = Some(tokio::spawn(watching).abort_handle());
        }
    }
}

async fn watch<S>(held: Weak<Mutex<Held<S>>>, unread_max: Duration) {
    loop {
        let Some(until) = take_if_unread(&held, unread_max) else { return };
        tokio::time::sleep_until(until.into()).await;
    }
}

/// When to look again; nothing once there is nothing to look after.
fn take_if_unread<S>(held: &Weak<Mutex<Held<S>>>, unread_max: Duration) -> Option<Instant> {
    let held = Shared(held.upgrade()?);
    let taken = held.with(|held| {
        let until = held.touched + unread_max;
        if held.stream.is_some() && Instant::now() < until {
            return Err(until);
        }
        Ok(held.stream.take())
    });
    match taken {
        Err(until) => return Some(until),
        Ok(None) => {}
        Ok(Some(_)) => tracing::info!(
            "took back the view of the data of a client that does not read what it asked for"
        ),
    }
    None
}

impl<S, T> Stream for WhileRead<S>
where
    S: Stream<Item = Result<T, Status>> + Send + 'static,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = self.held.with(|held| {
            held.touched = Instant::now();
            let Some(stream) = &mut held.stream else {
                return Poll::Ready(Some(Err(EtcdError::Timeout.into())));
            };
            let item = stream.as_mut().poll_next(context);
            if matches!(item, Poll::Ready(None | Some(Err(_)))) {
                held.stream = None;
            }
            item
        });
        match &item {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(_))) => self.set_watchdog(),
            Poll::Ready(_) => self.ended = true,
        }
        item
    }
}

impl<S> Drop for WhileRead<S> {
    fn drop(&mut self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use metastore_proto::etcdserverpb::kv_client::KvClient;
    use metastore_proto::etcdserverpb::maintenance_client::MaintenanceClient;
    use metastore_proto::etcdserverpb::{
        CompactionRequest, PutRequest, RangeRequest, SnapshotRequest,
    };
    use tokio_stream::StreamExt;
    use tonic::Code;

    use super::*;
    use crate::toy_member::{ToyMember, settings};

    const UNREAD_MAX: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn impatient() -> ToyMember {
        ToyMember::with(crate::handle::Settings { unread_view: UNREAD_MAX, ..settings() })
    }

    async fn fill(kv: &mut KvClient<tonic::transport::Channel>) {
        for number in 0..24 {
            let value = vec![b'x'; 512 << 10];
            let put =
                PutRequest { key: vec![number].into(), value: value.into(), ..Default::default() };
            kv.put(put).await.expect("put");
        }
    }

    #[tokio::test]
    async fn a_list_that_nobody_reads_does_not_hold_back_compaction() {
        let member = impatient();
        let mut kv = KvClient::new(member.channel().await);
        fill(&mut kv).await;
        let all =
            RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() };
        let mut list = KvClient::new(member.channel().await).range_stream(all).await;
        let list = list.as_mut().expect("begun").get_mut();
        list.message().await.expect("a message").expect("not the end");

        kv.put(PutRequest { key: vec![0].into(), ..Default::default() }).await.expect("put");
        let compact = CompactionRequest { revision: 26, physical: true };
        // Answered when what the list still shows has been removed.
        kv.compact(compact).await.expect("the view is gone in time");

        let error = loop {
            match list.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a list that was cut looks whole"),
                Err(status) => break status,
            }
        };
        assert_eq!((error.code(), error.message()), EtcdError::Timeout.row());
    }

    #[tokio::test]
    async fn a_snapshot_that_nobody_reads_ends_with_an_error() {
        let member = impatient();
        fill(&mut KvClient::new(member.channel().await)).await;
        let mut client = MaintenanceClient::new(member.channel().await);
        let mut snapshot = client.snapshot(SnapshotRequest {}).await.expect("begun").into_inner();
        snapshot.message().await.expect("a message").expect("not the end");
        // Reading nothing for a while is what this is about.
        tokio::time::sleep(3 * UNREAD_MAX).await;
        let error = loop {
            match snapshot.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a snapshot that was cut looks whole"),
                Err(status) => break status,
            }
        };
        assert_eq!(error.code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn a_reader_that_is_slow_keeps_its_stream_and_one_that_stops_loses_it() {
        let view = Arc::new(());
        let kept = Arc::downgrade(&view);
        let items = tokio_stream::iter(0..100).map(move |number| {
            let _view = &view;
            Ok::<_, Status>(number)
        });
        let mut stream = WhileRead::new(items, UNREAD_MAX);
        let begun = Instant::now();
        let mut read = 0;
        while begun.elapsed() < 3 * UNREAD_MAX {
            assert_eq!(stream.next().await.expect("more").expect("no error"), read);
            read += 1;
            tokio::time::sleep(UNREAD_MAX / 10).await;
        }
        let taken = async {
            while kept.upgrade().is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.expect("the view is gone");
        let error = stream.next().await.expect("an item").expect_err("an error");
        assert_eq!(error.code(), Code::Unavailable);
        assert!(stream.next().await.is_none(), "an error is the end");
    }
}
