//! Answers on their way from the core thread to the threads of the connections.
//!
//! ```text
//!   core thread                              client-N thread
//!   answer ─┐
//!   answer ─┼─ Mail ── one message, one wake-up ──▶ postman ─▶ oneshot ─▶ request
//!   answer ─┘                                              └─▶ oneshot ─▶ request
//! ```
//!
//! To wake a request of another thread costs a system call. One turn of the core answers hundreds of
//! requests of few threads: their answers travel together, and the requests are woken where they are.
//! A request of a thread without a postman gets its answer directly.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use node::messages::QueryAnswer;
use state::Term;
use state::apply::Answer;
use tokio::sync::{mpsc, oneshot};

use crate::handle::Unserved;
use crate::limits::ANSWERS_PER_MESSAGE;

/// What a proposal is answered with: the outcome and the term of its entry.
pub type Proposed = (Answer, Term);

/// Where an answer goes, and until when it is waited for.
#[derive(Debug)]
pub struct ReplyTo<T> {
    request: oneshot::Sender<Result<T, Unserved>>,
    due: Instant,
    way: Option<Way>,
}

impl<T> ReplyTo<T> {
    /// The two ends of an answer to a request of the current thread. It is the answering side that
    /// has to watch the timeout: a timer for each request would cost more than its answer.
    #[must_use]
    pub fn new(timeout: Duration) -> (ReplyTo<T>, oneshot::Receiver<Result<T, Unserved>>) {
        let (request, answer) = oneshot::channel();
        let way = WAY.with(|way| way.get().cloned());
        (ReplyTo { request, due: Instant::now() + timeout, way }, answer)
    }

    /// Whether the answer comes too late: nobody waits any more, or nobody should.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.due <= now || self.request.is_closed()
    }
}

/// To a thread with a postman.
#[derive(Clone, Debug)]
struct Way {
    thread: usize,
    postman: mpsc::UnboundedSender<Vec<Delivery>>,
}

thread_local! {
    static WAY: OnceCell<Way> = const { OnceCell::new() };
}

/// Has answers to requests of this thread delivered together from now on. Called within its runtime,
/// once.
pub fn start_postman() {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    let (postman, mut mail) = mpsc::unbounded_channel::<Vec<Delivery>>();
    let thread = THREADS.fetch_add(1, Ordering::Relaxed);
    WAY.with(|way| way.set(Way { thread, postman })).expect("a thread has one postman");
    tokio::spawn(async move {
        while let Some(deliveries) = mail.recv().await {
            deliveries.into_iter().for_each(Delivery::hand_over);
        }
    });
}

/// An answer and the request it is for.
#[derive(Debug)]
pub struct Answered<T>(oneshot::Sender<Result<T, Unserved>>, Result<T, Unserved>);

impl<T> Answered<T> {
    fn hand_over(self) {
        // A request that has been given up needs no answer.
        let _ = self.0.send(self.1);
    }
}

/// An answer of any kind.
#[derive(Debug)]
pub enum Delivery {
    /// To a proposal.
    Proposed(Answered<Proposed>),
    /// To a read that waited for its turn.
    Read(Answered<()>),
    /// To a question.
    Query(Answered<QueryAnswer>),
}

impl Delivery {
    fn hand_over(self) {
        match self {
            Delivery::Proposed(answered) => answered.hand_over(),
            Delivery::Read(answered) => answered.hand_over(),
            Delivery::Query(answered) => answered.hand_over(),
        }
    }
}

impl From<Answered<Proposed>> for Delivery {
    fn from(answered: Answered<Proposed>) -> Delivery {
        Delivery::Proposed(answered)
    }
}

impl From<Answered<()>> for Delivery {
    fn from(answered: Answered<()>) -> Delivery {
        Delivery::Read(answered)
    }
}

impl From<Answered<QueryAnswer>> for Delivery {
    fn from(answered: Answered<QueryAnswer>) -> Delivery {
        Delivery::Query(answered)
    }
}

/// Answers that have not been sent yet, by thread.
#[derive(Debug, Default)]
pub struct Mail(Vec<(Way, Vec<Delivery>)>);

impl Mail {
    /// Answers a request, now or with the next [`Mail::send`].
    pub fn answer<T>(&mut self, reply: ReplyTo<T>, answer: Result<T, Unserved>)
    where
        Answered<T>: Into<Delivery>,
    {
        let answered = Answered(reply.request, answer);
        let Some(way) = reply.way else { return answered.hand_over() };
        // There are about as many threads as processors.
        let place = self.0.iter().position(|(to, _)| to.thread == way.thread);
        let place = place.unwrap_or_else(|| {
            self.0.push((way, Vec::new()));
            self.0.len() - 1
        });
        let (way, waiting) = &mut self.0[place];
        waiting.push(answered.into());
        // So many that their thread had better begin.
        if waiting.len() == ANSWERS_PER_MESSAGE {
            way.send(std::mem::take(waiting));
        }
    }

    /// Sends what has not been sent.
    pub fn send(&mut self) {
        for (way, waiting) in self.0.drain(..) {
            if !waiting.is_empty() {
                way.send(waiting);
            }
        }
    }
}

impl Way {
    fn send(&self, deliveries: Vec<Delivery>) {
        // A thread that has ended has no requests left.
        let _ = self.postman.send(deliveries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn a_thread_without_a_postman_gets_its_answer_at_once() {
        let (reply, mut answer) = ReplyTo::<()>::new(SOON);
        let mut mail = Mail::default();
        mail.answer(reply, Ok(()));
        assert_eq!(answer.try_recv(), Ok(Ok(())));
    }

    #[tokio::test]
    async fn answers_of_a_turn_travel_together() {
        start_postman();
        let mut mail = Mail::default();
        let (first, mut answer) = ReplyTo::<()>::new(SOON);
        let (second, other_answer) = ReplyTo::<()>::new(SOON);
        mail.answer(first, Ok(()));
        mail.answer(second, Err(Unserved::NoLeader));
        tokio::task::yield_now().await;
        answer.try_recv().expect_err("nothing has been sent");
        mail.send();
        assert_eq!(other_answer.await, Ok(Err(Unserved::NoLeader)));
        assert_eq!(answer.try_recv(), Ok(Ok(())));
    }

    #[tokio::test]
    async fn a_long_turn_sends_before_its_end() {
        start_postman();
        let mut mail = Mail::default();
        let (first, answer) = ReplyTo::<()>::new(SOON);
        mail.answer(first, Ok(()));
        for _ in 1..ANSWERS_PER_MESSAGE {
            let (reply, _given_up) = ReplyTo::<()>::new(SOON);
            mail.answer(reply, Ok(()));
        }
        assert_eq!(answer.await, Ok(Ok(())));
    }

    #[test]
    fn a_request_is_over_when_it_is_late_or_given_up() {
        let (reply, answer) = ReplyTo::<()>::new(SOON);
        let now = Instant::now();
        assert!(!reply.is_over(now) && reply.is_over(now + SOON));
        drop(answer);
        assert!(reply.is_over(now));
    }
}
