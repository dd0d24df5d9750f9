//! Streams that let others have their turn.
//!
//! A stream of prepared bytes always has a next message, and its connection would take one after the other
//! until the client's window is full: milliseconds in which no other connection of the thread is
//! served. Here each message is followed by a look at the others.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio_stream::Stream;

/// Passes on what the inner stream yields, at most one item each time it is polled.
pub(crate) struct InTurns<S> {
    stream: S,
    /// The last poll yielded an item.
    had_its_turn: bool,
}

impl<S> InTurns<S> {
    pub(crate) fn new(stream: S) -> InTurns<S> {
        InTurns { stream, had_its_turn: false }
    }
}

impl<S: Stream + Unpin> Stream for InTurns<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if std::mem::take(&mut self.had_its_turn) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let item = ready!(Pin::new(&mut self.stream).poll_next(context));
        self.had_its_turn = item.is_some();
        Poll::Ready(item)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn two_streams_of_one_thread_take_turns() {
        let order = RefCell::new(String::new());
        let run = async |name: char| {
            let mut stream = InTurns::new(tokio_stream::iter(0..3));
            while stream.next().await.is_some() {
                order.borrow_mut().push(name);
            }
        };
        tokio::join!(run('a'), run('b'));
        // Whoever begins a round, nobody goes twice in it.
        let order = order.into_inner();
        assert_eq!(order.len(), 6);
        for round in [&order[0..2], &order[2..4], &order[4..6]] {
            assert!(["ab", "ba"].contains(&round), "{order}");
        }
    }
}
