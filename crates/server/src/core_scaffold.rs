//! Stand-in for the core thread's messages, until the machines it runs are here.

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use node::applier::{Query, QueryAnswer};
use state::apply::Answer;
use state::watch::{HubInput, StreamId};
use state::{RequestId, Term};
use tokio::sync::oneshot;

use crate::handle::Unserved;
use crate::watch_queue::WatchQueue;

/// What reaches the core thread.
#[allow(missing_docs)]
pub enum CoreInput {
    Propose {
        request: RequestId,
        command: Bytes,
        reply: oneshot::Sender<Result<(Answer, Term), Unserved>>,
    },
    ReadBarrier {
        reply: oneshot::Sender<Result<(), Unserved>>,
    },
    Query {
        request: RequestId,
        query: Query,
        reply: oneshot::Sender<QueryAnswer>,
    },
    OpenWatch {
        stream: StreamId,
        queue: Arc<WatchQueue>,
    },
    Watch(HubInput),
    Stop,
}

/// Sends to the core thread.
pub type CoreSender = mpsc::Sender<CoreInput>;
/// The core thread's inbox.
pub type CoreReceiver = mpsc::Receiver<CoreInput>;
