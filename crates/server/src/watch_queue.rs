//! The bounded queue between the core thread and the task of one watch stream.
//!
//! The core thread never waits: a queue that is full refuses, and the hub then leaves one word for
//! the stream, which it finds after everything that was queued before.

use std::collections::VecDeque;
use std::sync::Mutex;

use state::watch::StreamInput;
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
