//! A large read in pieces, in constant memory.
//!
//! ```text
//! cursor ─▶ chunk ─▶ held back ─▶ message          header, more and count: only in the last
//!           chunk ─▶ held back ─▶ message          message, together with the last keys
//!           end ───────────────▶ last message
//! ```
//!
//! Nothing is read ahead of what the client takes but the one chunk held back, which is needed
//! because an empty last message would be mistaken for the end of a page. All chunks come from one
//! view, so a compaction meanwhile does not matter.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use metastore_proto::server::etcdserverpb::{RangeResponse, RangeStreamResponse};
use state::engine::EngineError;
use state::mvcc::range::{RangeChunk, RangeCursor};
use tokio_stream::Stream;
use tonic::Status;

use super::convert::response;
use super::limits::{STREAM_CHUNK_BYTES, STREAM_FIRST_CHUNK_BYTES};
use super::permit::Permit;
use super::status::EtcdError;
use crate::handle::Header;

/// Where chunks come from.
pub(crate) trait Chunks: Unpin {
    /// About `bytes_max` bytes more, or the end.
    fn next(&mut self, bytes_max: usize) -> Result<RangeChunk, EngineError>;
}

impl Chunks for RangeCursor {
    fn next(&mut self, bytes_max: usize) -> Result<RangeChunk, EngineError> {
        RangeCursor::next(self, bytes_max)
    }
}

/// The messages of one read.
pub(crate) struct RangeStream<C> {
    /// `None` once the last message is out.
    chunks: Option<C>,
    held: Vec<Bytes>,
    /// A message has gone out or is held back.
    begun: bool,
    /// For the last message; the revision comes with it.
    header: Header,
    _permit: Permit,
}

impl<C: Chunks> RangeStream<C> {
    pub(crate) fn new(chunks: C, header: Header, permit: Permit) -> RangeStream<C> {
        RangeStream { chunks: Some(chunks), held: vec![], begun: false, header, _permit: permit }
    }

    /// One step: a message, or nothing yet.
    fn step(&mut self) -> Result<Option<RangeResponse>, EtcdError> {
        let chunks = self.chunks.as_mut().expect("polled only before the end");
        let bytes_max = if self.begun { STREAM_CHUNK_BYTES } else { STREAM_FIRST_CHUNK_BYTES };
        let step = chunks.next(bytes_max);
        let mut chunk = step.map_err(|error| EtcdError::of_storage(&error))?;
        let Some(outcome) = chunk.end else {
            if chunk.kvs.is_empty() {
                return Ok(None);
            }
            self.begun = true;
            let kvs = std::mem::replace(&mut self.held, chunk.kvs);
            let message = RangeResponse { kvs, ..RangeResponse::default() };
            return Ok((!message.kvs.is_empty()).then_some(message));
        };
        self.chunks = None;
        let mut kvs = std::mem::take(&mut self.held);
        kvs.append(&mut chunk.kvs);
        let header = response::header_at(self.header, outcome.revision.0);
        Ok(Some(RangeResponse { header, kvs, more: outcome.more, count: outcome.count }))
    }
}

impl<C: Chunks> Stream for RangeStream<C> {
    type Item = Result<RangeStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.chunks.is_none() {
            return Poll::Ready(None);
        }
        match self.step() {
            Ok(Some(range)) => {
                Poll::Ready(Some(Ok(RangeStreamResponse { range_response: Some(range) })))
            }
            Ok(None) => {
                // A step is all that this thread gives one stream before it serves others.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => {
                self.chunks = None;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use state::Revision;
    use state::outcome::RangeOutcome;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::grpc::permit::Permits;

    struct Script(VecDeque<Result<RangeChunk, EngineError>>);

    impl Chunks for Script {
        fn next(&mut self, _bytes_max: usize) -> Result<RangeChunk, EngineError> {
            self.0.pop_front().expect("nobody asks after the end")
        }
    }

    fn chunk(keys: &[&'static str]) -> Result<RangeChunk, EngineError> {
        let kvs = keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect();
        Ok(RangeChunk { kvs, end: None })
    }

    fn last(keys: &[&'static str], count: i64) -> Result<RangeChunk, EngineError> {
        let end = RangeOutcome { revision: Revision(7), count, ..RangeOutcome::default() };
        Ok(RangeChunk { end: Some(end), ..chunk(keys)? })
    }

    /// Per message its keys and, if it is the last, the count.
    async fn messages(
        script: Vec<Result<RangeChunk, EngineError>>,
    ) -> Vec<Result<(Vec<Bytes>, Option<i64>), tonic::Code>> {
        let permit = Permits::default().take(0).expect("room");
        let header = Header { cluster_id: 1, member_id: 2, revision: 9, raft_term: 3 };
        let stream = RangeStream::new(Script(script.into()), header, permit);
        let messages = stream.map(|message| match message {
            Ok(RangeStreamResponse { range_response: Some(range) }) => {
                if let Some(header) = range.header {
                    assert_eq!(header.revision, 7);
                    return Ok((range.kvs, Some(range.count)));
                }
                assert_eq!((range.more, range.count), (false, 0));
                Ok((range.kvs, None))
            }
            Ok(empty) => panic!("a message without a response: {empty:?}"),
            Err(status) => Err(status.code()),
        });
        messages.collect().await
    }

    fn keys(keys: &[&'static str], count: Option<i64>) -> (Vec<Bytes>, Option<i64>) {
        (chunk(keys).expect("keys").kvs, count)
    }

    #[tokio::test]
    async fn the_last_message_has_the_last_keys_and_the_count() {
        let all = messages(vec![chunk(&["a", "b"]), chunk(&["c"]), last(&["d"], 4)]).await;
        assert_eq!(all, [Ok(keys(&["a", "b"], None)), Ok(keys(&["c", "d"], Some(4)))]);
    }

    #[tokio::test]
    async fn an_end_without_keys_joins_the_message_before_it() {
        let all = messages(vec![chunk(&["a"]), chunk(&[]), chunk(&["b"]), last(&[], 2)]).await;
        assert_eq!(all, [Ok(keys(&["a"], None)), Ok(keys(&["b"], Some(2)))]);
    }

    #[tokio::test]
    async fn nothing_found_is_one_message() {
        assert_eq!(messages(vec![chunk(&[]), last(&[], 0)]).await, [Ok(keys(&[], Some(0)))]);
    }

    #[tokio::test]
    async fn a_failing_disk_ends_the_stream_with_an_error() {
        let failed = Err(EngineError::Row { table: state::schema::Table::Meta });
        let all = messages(vec![chunk(&["a"]), chunk(&["b"]), failed]).await;
        assert_eq!(all, [Ok(keys(&["a"], None)), Err(tonic::Code::Internal)]);
    }
}
