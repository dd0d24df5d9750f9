//! Streams that let others have their turn.
//!
//! A stream of prepared bytes always has a next message, and its connection would take one after the other
//! until the client's window is full: milliseconds in which no other connection of the thread is
//! served. Here each message is followed by a look at the others.
//!
//! ```text
//! nobody else   message ▪ message ▪ message ▪ message ▪ …
//! others        message ▪ message ▪ rest, three times as long ▪ message ▪ message ▪ …
//! ```
//!
//! Looking is not enough where processors are few: what a stream of hundreds of megabytes a second costs
//! the rest of the server, the kernel and the client is taken from everybody. So who streams everything while
//! other requests come in rests most of the time. With few others there are few milliseconds in which one
//! came in, and few rests.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;
use tokio_stream::Stream;

use super::limits::{REST, TURN_MAX, WORK_MIN};
use super::permit::Permits;

/// Passes on what the inner stream yields, at most one item each time it is polled.
pub(crate) struct InTurns<S> {
    stream: S,
    /// When the turn began that the last item was for: it ends when the connection asks for the next.
    turn: Option<Instant>,
    beside: Option<Beside>,
}

/// How a stream rests beside others.
struct Beside {
    /// Tells of others.
    permits: Permits,
    /// Those that had come in when it last rested or found that it need not.
    requests: u64,
    /// What it has taken since.
    worked: Duration,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Beside {
    /// Counts a turn; from time to time a rest follows.
    fn count(&mut self, turn: Duration) {
        // Most of a long turn is the client's, which does not read.
        self.worked += turn.min(TURN_MAX);
        if self.worked < WORK_MIN {
            return;
        }
        let worked = std::mem::take(&mut self.worked);
        let requests = self.permits.requests();
        if requests != std::mem::replace(&mut self.requests, requests) {
            self.rest = Some(Box::pin(tokio::time::sleep(REST * worked)));
        }
    }
}

impl<S> InTurns<S> {
    /// A stream that only lets others have their turn: one message in pieces, which somebody waits for.
    pub(crate) fn new(stream: S) -> InTurns<S> {
        InTurns { stream, turn: None, beside: None }
    }

    /// A stream that also rests while others come in, of whom `permits` tells.
    pub(crate) fn resting(stream: S, permits: Permits) -> InTurns<S> {
        let requests = permits.requests();
        let beside = Beside { permits, requests, worked: Duration::ZERO, rest: None };
        InTurns { stream, turn: None, beside: Some(beside) }
    }
}

impl<S: Stream + Unpin> Stream for InTurns<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if let Some(turn) = self.turn.take() {
            if let Some(beside) = &mut self.beside {
                beside.count(turn.elapsed());
            }
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(beside) = &mut self.beside
            && let Some(rest) = &mut beside.rest
        {
            ready!(rest.as_mut().poll(context));
            beside.rest = None;
        }
        let began = Instant::now();
        let item = ready!(Pin::new(&mut self.stream).poll_next(context));
        self.turn = item.is_some().then_some(began);
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

    /// How long a stream of turns takes on a clock that only moves for sleepers.
    async fn time_beside(others: impl Fn(&Permits)) -> Duration {
        const TURNS: u32 = 10;
        let permits = Permits::default();
        let begin = tokio::time::Instant::now();
        let mut stream = InTurns::resting(tokio_stream::iter(0..TURNS), permits.clone());
        while stream.next().await.is_some() {
            let turn = stream.turn.as_mut().expect("a turn has begun");
            *turn = turn.checked_sub(TURN_MAX / 2).expect("long after");
            others(&permits);
        }
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_rests_beside_others_and_one_alone_does_not() {
        assert_eq!(time_beside(|_| ()).await, Duration::ZERO);
        let worked = 10 * (TURN_MAX / 2);
        let beside = time_beside(|permits| drop(permits.take(0))).await;
        assert!(beside >= REST * worked, "rested {beside:?} of {worked:?}");
        assert!(beside < 2 * REST * worked, "rested {beside:?} of {worked:?}");
    }
}
