//! One server's end of a watch stream: its responses, sorted as they come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use metastore_proto::etcdserverpb as pb;
use prost::Message as _;

use super::NO_WATCHER;
use crate::fault::Fault;
use crate::schema;
use crate::wire::Stream;

/// How long a response that is due may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take where one is missing on purpose.
const PATIENCE_WITH_FAULT: Duration = Duration::from_secs(1);
/// How long one request for progress is waited for before it counts as dropped.
const PROGRESS_PATIENCE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct WatchSide {
    pub(super) stream: Stream,
    /// What is done to the responses before they count.
    pub(super) fault: Option<Fault>,
    pub(super) has_spoiled: bool,
    /// Answers about watchers, in their order.
    control: VecDeque<pb::WatchResponse>,
    /// Responses with events, by watcher.
    events: BTreeMap<i64, Vec<pb::WatchResponse>>,
    progress: Vec<pb::WatchResponse>,
    /// How many answers about progress may still come because it was asked for more than once.
    late_count: u32,
    /// Watchers that exist as far as this server has said.
    known: BTreeSet<i64>,
    /// Responses that nobody may send: for a watcher that does not exist, or with unknown fields.
    strays: Vec<pb::WatchResponse>,
}

impl WatchSide {
    pub(super) fn new(stream: Stream) -> WatchSide {
        WatchSide {
            stream,
            fault: None,
            has_spoiled: false,
            control: VecDeque::new(),
            events: BTreeMap::new(),
            progress: Vec::new(),
            late_count: 0,
            known: BTreeSet::new(),
            strays: Vec::new(),
        }
    }

    /// Takes the next response in; tells whether there was one.
    async fn pull(&mut self) -> bool {
        let Some(bytes) = self.stream.next().await else { return false };
        // Kept here instead.
        self.stream.reply.messages.clear();
        let descriptor = schema::method(super::PATH).expect("one of etcd's").output();
        let is_known = schema::decode(descriptor, &bytes)
            .is_some_and(|message| message.unknown_fields().next().is_none());
        match pb::WatchResponse::decode(&bytes[..]) {
            Ok(response) if is_known => {
                let responses = match &mut self.fault {
                    Some(fault) => fault.spoil_watch(response, &mut self.has_spoiled),
                    None => vec![response],
                };
                responses.into_iter().for_each(|response| self.sort(response));
            }
            _ => self.strays.push(pb::WatchResponse {
                cancel_reason: format!("{} bytes that are no response", bytes.len()),
                ..pb::WatchResponse::default()
            }),
        }
        true
    }

    fn sort(&mut self, mut response: pb::WatchResponse) {
        // What two runs of etcd differ in.
        if let Some(header) = &mut response.header {
            header.raft_term = 0;
        }
        let id = response.watch_id;
        if response.created || response.canceled {
            if response.created && !response.canceled {
                self.known.insert(id);
            } else if response.canceled && response.compact_revision == 0 && !response.created {
                self.known.remove(&id);
            }
            self.control.push_back(response);
        } else if id == NO_WATCHER && response.events.is_empty() && !self.known.contains(&id) {
            match self.late_count.checked_sub(1) {
                Some(left) => self.late_count = left,
                None => self.progress.push(response),
            }
        } else if self.known.contains(&id) {
            self.events.entry(id).or_default().push(response);
        } else {
            self.strays.push(response);
        }
    }

    /// The next answer about a watcher, if it comes.
    pub(super) async fn control(&mut self) -> Option<pb::WatchResponse> {
        let patience = self.patience();
        let wait = async { while self.control.is_empty() && self.pull().await {} };
        // Too late is as good as never: the answer is missing.
        let _ = tokio::time::timeout(patience, wait).await;
        self.control.pop_front()
    }

    /// The responses for a watcher that is due so many events.
    pub(super) async fn events(&mut self, id: i64, events_count: usize) -> Vec<pb::WatchResponse> {
        let patience = self.patience();
        let wait = async { while self.events_count(id) < events_count && self.pull().await {} };
        let _ = tokio::time::timeout(patience, wait).await;
        self.events.remove(&id).unwrap_or_default()
    }

    /// The responses for the only watcher, up to those of this revision.
    pub(super) async fn events_until(&mut self, revision: i64) -> Vec<pb::WatchResponse> {
        let patience = self.patience();
        let wait = async { while self.last_revision() < revision && self.pull().await {} };
        let _ = tokio::time::timeout(patience, wait).await;
        self.events.remove(&0).unwrap_or_default()
    }

    fn last_revision(&self) -> i64 {
        let last = self.events.get(&0).and_then(|all| all.last()?.events.last()?.kv.as_ref());
        last.map_or(0, |kv| kv.mod_revision)
    }

    fn events_count(&self, id: i64) -> usize {
        self.events.get(&id).map_or(0, |all| all.iter().map(|one| one.events.len()).sum())
    }

    /// Whether an answer to a request for progress is there, or comes soon.
    pub(super) async fn progress(&mut self) -> bool {
        let wait = async { while self.progress.is_empty() && self.pull().await {} };
        let _ = tokio::time::timeout(PROGRESS_PATIENCE, wait).await;
        !self.progress.is_empty()
    }

    fn patience(&self) -> Duration {
        if self.fault.is_some() { PATIENCE_WITH_FAULT } else { PATIENCE }
    }

    /// Progress was asked for so many times more than the one answer that is compared.
    pub(super) fn asked_again(&mut self, count: u32) {
        // Those that have come already are the same answer: nothing was written between them.
        let come = self.progress.split_off(self.progress.len().min(1)).len();
        self.late_count += count.saturating_sub(u32::try_from(come).unwrap_or(u32::MAX));
    }

    pub(super) fn take_progress(&mut self) -> Vec<pb::WatchResponse> {
        std::mem::take(&mut self.progress)
    }

    pub(super) fn take_strays(&mut self) -> Vec<pb::WatchResponse> {
        std::mem::take(&mut self.strays)
    }

    /// How the stream ended, for the report.
    pub(super) fn ending(&self) -> String {
        let reply = &self.stream.reply;
        match (&reply.broken, reply.code) {
            (Some(broken), _) => format!("nothing, the stream broke: {broken}"),
            (None, Some(code)) => format!("nothing, the stream ended: {code} {}", reply.text),
            (None, None) => "nothing".to_owned(),
        }
    }
}
