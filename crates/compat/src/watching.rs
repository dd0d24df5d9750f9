//! Watch streams of both servers, compared at quiet points.
//!
//! ```text
//! one writer ──▶ server ──▶ witness: one watcher of everything ──▶ log of all events
//!                  │                                                 │ what each watcher is due
//!                  └──────▶ stream ─▶ responses by watcher ◀─────────┘
//! ```
//!
//! Nobody waits for a time. When no write is under way the witness has seen every event up to the
//! store's revision; from its log follows what each watcher is due, and for that much is waited.
//! Then the responses of both servers are compared: one by one for a watcher that was up to date
//! when the writes came, event by event for one that was catching up meanwhile, because how history
//! is parted depends on when the server comes to it.

mod due;
mod side;
mod witness;

use std::collections::BTreeMap;

use anyhow::Result;
use bytes::Bytes;
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::watch_request::RequestUnion;
use metastore_proto::mvccpb::Event;
use prost::Message as _;

use crate::answer::{Difference, compare_messages};
use crate::schema;
use crate::wire::Connection;
pub(crate) use due::{Log, PIECE};
use side::WatchSide;
pub(crate) use witness::Witness;

const PATH: &str = "/etcdserverpb.Watch/Watch";
/// The id of answers that belong to no watcher.
const NO_WATCHER: i64 = -1;
/// How often progress is asked for: a request that comes while a watcher is behind is dropped.
const PROGRESS_ATTEMPTS_MAX: u32 = 60;

/// One stream at each server.
#[derive(Debug)]
pub(crate) struct WatchPair {
    etcd: WatchSide,
    subject: WatchSide,
    watchers: BTreeMap<i64, Watcher>,
}

/// A watcher that both servers have.
#[derive(Clone, Debug)]
struct Watcher {
    create: pb::WatchCreateRequest,
    /// The first revision whose events have not been compared.
    next: i64,
    /// The store's revision at the last quiet point: nothing sent since is older.
    since: i64,
    /// It was up to date at the last quiet point: its responses are the same one by one.
    is_live: bool,
    /// It asked for history that is gone: the server has said so, and sends nothing.
    is_cut: bool,
}

/// What a step on a stream found, and which of the messages were seen.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Where the two differ.
    pub(crate) differences: Vec<Difference>,
    /// The responses of both, for the record of what was compared.
    pub(crate) responses: Vec<(pb::WatchResponse, pb::WatchResponse)>,
    /// A watcher of history was created that is due nothing: from its stream alone nobody can tell
    /// when the server has found that out.
    pub(crate) is_behind: bool,
}

impl Observed {
    fn put(&mut self, place: &str, etcd: impl std::fmt::Display, subject: impl std::fmt::Display) {
        self.differences.push(Difference::new(place, etcd, subject));
    }

    fn compare(&mut self, place: &str, etcd: &pb::WatchResponse, subject: &pb::WatchResponse) {
        let name = "etcdserverpb.WatchResponse";
        let (one, other) = (schema::dynamic(name, etcd), schema::dynamic(name, subject));
        compare_messages(place, &one, &other, &mut self.differences);
        self.responses.push((etcd.clone(), subject.clone()));
    }

    fn compare_lists(
        &mut self,
        place: &str,
        etcd: &[pb::WatchResponse],
        subject: &[pb::WatchResponse],
    ) {
        if etcd.len() != subject.len() {
            self.put(&format!("{place}.len"), shape(etcd), shape(subject));
        }
        for (index, (one, other)) in etcd.iter().zip(subject).enumerate() {
            self.compare(&format!("{place}[{index}]"), one, other);
        }
    }
}

impl WatchPair {
    /// Opens a stream at both.
    pub(crate) async fn open(etcd: &Connection, subject: &Connection) -> Result<WatchPair> {
        Ok(WatchPair {
            etcd: WatchSide::new(etcd.begin(PATH, &[]).await?),
            subject: WatchSide::new(subject.begin(PATH, &[]).await?),
            watchers: BTreeMap::new(),
        })
    }

    /// The ids of its watchers.
    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.watchers.keys().copied()
    }

    /// Lets through what a fault does to the subject's responses.
    pub(crate) fn plant(&mut self, fault: Option<crate::fault::Fault>) {
        self.subject.fault = fault;
        self.subject.has_spoiled = false;
    }

    /// Whether a planted fault has met something to spoil.
    pub(crate) fn has_spoiled(&self) -> bool {
        self.subject.has_spoiled
    }

    /// Sends a request to both and waits for the answers that etcd owes. No write is under way.
    pub(crate) async fn send(&mut self, request: &pb::WatchRequest, log: &Log) -> Observed {
        let mut observed = Observed::default();
        match &request.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                self.send_both(request);
                self.create(create, log, &mut observed).await;
            }
            Some(RequestUnion::CancelRequest(cancel)) => {
                if self.watchers.contains_key(&cancel.watch_id) {
                    // What is under way may be lost by a cancel, so that nothing may be.
                    self.settle_into(log, &mut observed).await;
                    self.send_both(request);
                    self.control("cancel", &mut observed).await;
                    self.watchers.remove(&cancel.watch_id);
                } else {
                    self.send_both(request);
                }
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress(request, log, &mut observed).await
            }
            None => self.send_both(request),
        }
        observed
    }

    fn send_both(&mut self, request: &pb::WatchRequest) {
        let bytes = Bytes::from(request.encode_to_vec());
        self.etcd.stream.send(&bytes);
        self.subject.stream.send(&bytes);
    }

    /// Says that no request follows. Events go on.
    pub(crate) fn half_close(&mut self) {
        self.etcd.stream.close();
        self.subject.stream.close();
    }

    async fn create(
        &mut self,
        create: &pb::WatchCreateRequest,
        log: &Log,
        observed: &mut Observed,
    ) {
        let Some(answer) = self.control("create", observed).await else { return };
        if answer.canceled {
            return;
        }
        let now = log.revision();
        let start = if create.start_revision == 0 { now + 1 } else { create.start_revision };
        let is_cut = start < log.compacted();
        let is_live = start > now;
        observed.is_behind = !is_live && !is_cut && log.due(create, start, is_live).is_empty();
        let create = create.clone();
        let watcher = Watcher { create, next: start, since: now, is_live, is_cut };
        self.watchers.insert(answer.watch_id, watcher);
        if is_cut {
            self.control("compaction", observed).await;
        }
    }

    /// Waits for one answer about a watcher from both; etcd's, unless it did not come.
    async fn control(&mut self, what: &str, observed: &mut Observed) -> Option<pb::WatchResponse> {
        let (etcd, subject) = tokio::join!(self.etcd.control(), self.subject.control());
        match (&etcd, &subject) {
            (Some(one), Some(other)) => observed.compare(&format!("watch {what}"), one, other),
            (None, None) => {}
            (one, other) => observed.put(
                &format!("watch {what}"),
                one.as_ref().map_or_else(|| self.etcd.ending(), response_text),
                other.as_ref().map_or_else(|| self.subject.ending(), response_text),
            ),
        }
        etcd
    }

    async fn progress(&mut self, request: &pb::WatchRequest, log: &Log, observed: &mut Observed) {
        self.settle_into(log, observed).await;
        let (now, all) = (log.revision(), self.watchers.values());
        let is_due =
            !self.watchers.is_empty() && all.clone().all(|w| w.next <= now + 1 && !w.is_cut);
        self.send_both(request);
        if !is_due {
            // Whoever answers nevertheless is found out at the next quiet point.
            return;
        }
        let mut again_count = 0;
        for _ in 0..PROGRESS_ATTEMPTS_MAX {
            let (etcd, subject) = tokio::join!(self.etcd.progress(), self.subject.progress());
            if etcd && subject {
                break;
            }
            // One of them has not noticed yet that its watchers are up to date.
            self.send_both(request);
            again_count += 1;
        }
        self.etcd.asked_again(again_count);
        self.subject.asked_again(again_count);
        self.compare_progress(observed);
    }

    fn compare_progress(&mut self, observed: &mut Observed) {
        let (etcd, subject) = (self.etcd.take_progress(), self.subject.take_progress());
        observed.compare_lists("watch progress", &etcd, &subject);
    }

    /// Waits until every watcher has what it is due, and compares. No write is under way.
    pub(crate) async fn settle(&mut self, log: &Log) -> Observed {
        let mut observed = Observed::default();
        self.settle_into(log, &mut observed).await;
        self.compare_progress(&mut observed);
        observed
    }

    async fn settle_into(&mut self, log: &Log, observed: &mut Observed) {
        let ids: Vec<i64> = self.watchers.keys().copied().collect();
        for id in ids {
            let watcher = self.watchers.get_mut(&id).expect("its key was taken above");
            if watcher.is_cut {
                continue;
            }
            let due = log.due(&watcher.create, watcher.next, watcher.is_live);
            let exactly = watcher.is_live;
            let store = watcher.since..=log.revision();
            watcher.since = log.revision();
            watcher.is_live |= watcher.next <= log.revision();
            watcher.next = watcher.next.max(log.revision() + 1);
            let (etcd, subject) =
                tokio::join!(self.etcd.events(id, due.len()), self.subject.events(id, due.len()));
            let place = format!("watch {id}");
            for (who, responses) in [("etcd", &etcd), ("subject", &subject)] {
                let flaws = due::flaws(responses, &due, store.clone());
                observed.differences.extend(flaws.into_iter().map(|flaw| {
                    Difference::new(format!("{place}: {who} against its own history"), "", flaw)
                }));
            }
            if exactly {
                observed.compare_lists(&place, &etcd, &subject);
            } else {
                observed.compare_lists(&place, &[joined(&etcd)], &[joined(&subject)]);
            }
        }
        let (etcd, subject) = (self.etcd.take_strays(), self.subject.take_strays());
        observed.compare_lists("watch strays", &etcd, &subject);
    }
}

/// All events of these responses in one, without what depends on how they were parted.
fn joined(responses: &[pb::WatchResponse]) -> pb::WatchResponse {
    let events: Vec<Event> =
        responses.iter().flat_map(|response| response.events.clone()).collect();
    pb::WatchResponse { events, ..pb::WatchResponse::default() }
}

/// How events are spread over responses: `[rev 5: 2 events, rev 6: 1 events]`.
fn shape(responses: &[pb::WatchResponse]) -> String {
    let parts = responses.iter().map(|response| {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        format!("rev {revision}: {} events", response.events.len())
    });
    format!("[{}]", parts.collect::<Vec<_>>().join(", "))
}

fn response_text(response: &pb::WatchResponse) -> String {
    schema::text(&schema::dynamic("etcdserverpb.WatchResponse", response))
}
