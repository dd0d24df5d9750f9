//! The bounded queue between the core thread and the task of one watch stream.
//!
//! The core thread never waits: a queue that is full refuses, and the hub then leaves one word for
//! the stream, which it finds after everything that was queued before.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use state::watch::{HubInput, StreamId, StreamInput};
use tokio::sync::Notify;

use crate::limits::WATCH_QUEUE_INPUTS;

/// See the module.
#[derive(Debug, Default)]
pub struct WatchQueue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    inputs: VecDeque<StreamInput>,
    word: Option<StreamInput>,
}

impl WatchQueue {
    /// Adds an input; `false` if the queue is full.
    pub fn push(&self, input: StreamInput) -> bool {
        let taken = self.with(|waiting| {
            let room = waiting.inputs.len() < WATCH_QUEUE_INPUTS;
            if room {
                waiting.inputs.push_back(input);
            }
            room
        });
        if taken {
            self.arrived.notify_one();
        }
        taken
    }

    /// Leaves word behind everything that is queued.
    pub fn leave_word(&self, input: StreamInput) {
        self.with(|waiting| waiting.word = Some(input));
        self.arrived.notify_one();
    }

    /// The next input, if there is one.
    #[must_use]
    pub fn try_pop(&self) -> Option<StreamInput> {
        self.with(|waiting| waiting.inputs.pop_front().or_else(|| waiting.word.take()))
    }

    /// The next input. Cancel safe: an input is taken only when it is returned.
    pub async fn pop(&self) -> StreamInput {
        loop {
            if let Some(input) = self.try_pop() {
                return input;
            }
            self.arrived.notified().await;
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        // A poisoned lock guards a queue that is whole: no operation on it can panic half-way.
        let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&mut waiting)
    }
}

/// The queues of all streams that are open, on the core thread's side.
#[derive(Debug, Default)]
pub struct WatchQueues(HashMap<StreamId, Arc<WatchQueue>>);

impl WatchQueues {
    /// A stream has opened.
    pub fn open(&mut self, stream: StreamId, queue: Arc<WatchQueue>) {
        self.0.insert(stream, queue);
    }

    /// Hears what a stream says to the hub: it may leave.
    pub fn hear(&mut self, input: &HubInput) {
        if let HubInput::Leave { stream } = input {
            self.0.remove(stream);
        }
    }

    /// How many streams are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Adds an input to a stream's queue; `false` if it is full.
    pub fn push(&self, stream: StreamId, input: StreamInput) -> bool {
        // A stream that has just ended takes everything.
        self.0.get(&stream).is_none_or(|queue| queue.push(input))
    }

    /// Leaves word for a stream.
    pub fn leave_word(&self, stream: StreamId, input: StreamInput) {
        if let Some(queue) = self.0.get(&stream) {
            queue.leave_word(input);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use state::Revision;
    use state::watch::Token;

    use super::*;

    fn reached(token: u64) -> StreamInput {
        StreamInput::Reached { token: Token(token), revision: Revision(1) }
    }

    fn token(input: Option<StreamInput>) -> Option<u64> {
        match input? {
            StreamInput::Reached { token, .. } => Some(token.0),
            _ => None,
        }
    }

    #[test]
    fn a_full_queue_refuses_and_word_is_found_behind_everything_in_it() {
        let queue = WatchQueue::default();
        let room = WATCH_QUEUE_INPUTS as u64;
        for number in 0..room {
            assert!(queue.push(reached(number)));
        }
        assert!(!queue.push(reached(room)), "it is full");
        queue.leave_word(StreamInput::Lagged { through: Revision(7) });
        for number in 0..room {
            assert_eq!(token(queue.try_pop()), Some(number));
        }
        let word = queue.try_pop();
        assert!(matches!(word, Some(StreamInput::Lagged { through: Revision(7) })), "{word:?}");
        assert!(queue.try_pop().is_none());
        assert!(queue.push(reached(1)), "there is room again");
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_an_input_and_by_word() {
        let queue = Arc::new(WatchQueue::default());
        for word in [false, true] {
            let waiting = tokio::spawn({
                let queue = Arc::clone(&queue);
                async move { queue.pop().await }
            });
            tokio::task::yield_now().await;
            if word {
                queue.leave_word(reached(9));
            } else {
                assert!(queue.push(reached(9)));
            }
            let input = waiting.await.expect("the task does not panic");
            assert_eq!(token(Some(input)), Some(9));
        }
    }

    #[tokio::test]
    async fn giving_up_waiting_loses_nothing() {
        let queue = WatchQueue::default();
        for number in 0..10 {
            let mut waiting = Box::pin(queue.pop());
            let now = std::future::poll_fn(|context| {
                std::task::Poll::Ready(waiting.as_mut().poll(context).is_pending())
            });
            assert!(now.await);
            assert!(queue.push(reached(number)));
            drop(waiting);
            assert_eq!(token(Some(queue.pop().await)), Some(number));
        }
    }
}
