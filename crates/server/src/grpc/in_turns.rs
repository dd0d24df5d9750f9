//! Streams that let others have their turn.
//!
//! A stream of prepared bytes always has a next message, and its connection would take one after the other
//! until the client's window is full: milliseconds in which no other connection of the thread is
//! served. Here each message is followed by a look at the others.
//!
//! ```text
//! nobody else   message ▪ message ▪ message ▪ message ▪ …
//! others        message ▪ message ▪ rests as long as that took ▪ message ▪ …
//! ```
//!
//! Looking is not enough where processors are few: what a stream of hundreds of megabytes a second costs
//! the rest of the server, the kernel and the client is taken from everybody. So who streams everything while
//! other requests come in rests half of the time. With few others there are few turns in which one came
//! in, and few rests.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;
use tokio_stream::Stream;

use super::limits::{REST_MAX, REST_MIN};
use super::permit::Permits;

/// Passes on what the inner stream yields, at most one item each time it is polled.
pub(crate) struct InTurns<S> {
    stream: S,
    /// Tells of other requests, if it is to rest beside them.
    others: Option<Permits>,
    /// The last poll yielded an item.
    turn: Option<Turn>,
    /// Time taken beside others and not rested yet.
    owed: Duration,
    rest: Option<Pin<Box<Sleep>>>,
}

/// From the making of a message until the connection asks for the next one.
struct Turn {
    began: Instant,
    /// Those that had come in by then.
    requests: u64,
}

impl<S> InTurns<S> {
    /// A stream that only lets others have their turn: one message in pieces, which somebody waits for.
    pub(crate) fn new(stream: S) -> InTurns<S> {
        InTurns { stream, others: None, turn: None, owed: Duration::ZERO, rest: None }
    }

    /// A stream that also rests while others come in, of whom `permits` tells.
    pub(crate) fn resting(stream: S, permits: Permits) -> InTurns<S> {
        InTurns { others: Some(permits), ..InTurns::new(stream) }
    }

    fn requests(&self) -> u64 {
        self.others.as_ref().map_or(0, Permits::requests)
    }

    /// What the turn that has ended costs.
    fn end(&mut self, turn: &Turn) {
        if self.requests() == turn.requests {
            return;
        }
        // Most of a long turn is the client's, which does not read.
        self.owed += turn.began.elapsed().min(REST_MAX);
        if self.owed >= REST_MIN {
            let rest = std::mem::take(&mut self.owed);
            self.rest = Some(Box::pin(tokio::time::sleep(rest)));
        }
    }
}

impl<S: Stream + Unpin> Stream for InTurns<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if let Some(turn) = self.turn.take() {
            self.end(&turn);
            if self.rest.is_none() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        let turn = Turn { began: Instant::now(), requests: self.requests() };
        let item = ready!(Pin::new(&mut self.stream).poll_next(context));
        self.turn = item.is_some().then_some(turn);
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

    /// How long a stream of turns of 2 ms each takes on a clock that only moves for sleepers.
    async fn time_beside(others: impl Fn(&Permits)) -> Duration {
        const TURNS: u32 = 10;
        let permits = Permits::default();
        let begin = tokio::time::Instant::now();
        let mut stream = InTurns::resting(tokio_stream::iter(0..TURNS), permits.clone());
        while stream.next().await.is_some() {
            let turn = stream.turn.as_mut().expect("a turn has begun");
            turn.began = turn.began.checked_sub(Duration::from_millis(2)).expect("long after");
            others(&permits);
        }
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_beside_others_rests_as_long_as_it_works_and_one_alone_does_not() {
        assert_eq!(time_beside(|_| ()).await, Duration::ZERO);
        let beside = time_beside(|permits| drop(permits.take(0))).await;
        assert!(beside >= Duration::from_millis(20), "rested {beside:?} of 20 ms");
        assert!(beside < Duration::from_millis(60), "rested {beside:?}, three times too long");
    }
}
