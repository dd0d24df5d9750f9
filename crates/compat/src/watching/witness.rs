//! One watcher of everything at each server, from which it is known what has happened.

use anyhow::Result;
use bytes::Bytes;
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::watch_request::RequestUnion;
use prost::Message as _;

use super::side::WatchSide;
use super::{Log, Observed, PATH};
use crate::wire::Connection;

/// The watcher that comes and goes.
const PASS_ID: i64 = 77;

/// The witnesses of both servers.
#[derive(Debug)]
pub(crate) struct Witness {
    etcd: WatchSide,
    subject: WatchSide,
}

impl Witness {
    /// Sees every event that follows. No write is under way.
    pub(crate) async fn open(etcd: &Connection, subject: &Connection) -> Result<Witness> {
        let mut witness = Witness {
            etcd: WatchSide::new(etcd.begin(PATH, &[]).await?),
            subject: WatchSide::new(subject.begin(PATH, &[]).await?),
        };
        witness.send_both(RequestUnion::CreateRequest(everything()));
        for side in [&mut witness.etcd, &mut witness.subject] {
            anyhow::ensure!(side.control().await.is_some(), "no witness: {}", side.ending());
        }
        Ok(witness)
    }

    /// Waits until both servers have looked after all watchers that read history. They do so for
    /// all of them in one pass: one more of them, which is due the newest event, tells of it.
    pub(crate) async fn pass(&mut self, log: &Log) -> Observed {
        let mut observed = Observed::default();
        let create = pb::WatchCreateRequest {
            start_revision: log.revision(),
            watch_id: PASS_ID,
            ..everything()
        };
        let due = log.due(&create, log.revision(), false).len();
        let cancel = pb::WatchCancelRequest { watch_id: PASS_ID };
        let create = (RequestUnion::CreateRequest(create), due);
        for (request, due) in [create, (RequestUnion::CancelRequest(cancel), 0)] {
            self.send_both(request);
            let (etcd, subject) = tokio::join!(self.etcd.control(), self.subject.control());
            observed.compare_lists("watch of all history", etcd.as_slice(), subject.as_slice());
            let (etcd, subject) =
                tokio::join!(self.etcd.events(PASS_ID, due), self.subject.events(PASS_ID, due));
            observed.compare_lists("watch of all history", &etcd, &subject);
        }
        observed
    }

    fn send_both(&mut self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        let bytes = Bytes::from(request.encode_to_vec());
        self.etcd.stream.send(&bytes);
        self.subject.stream.send(&bytes);
    }

    /// Waits until both have seen everything up to this revision, and compares what they saw.
    pub(crate) async fn advance(&mut self, revision: i64, log: &mut Log) -> Observed {
        let mut observed = Observed::default();
        if revision > log.revision() {
            let (etcd, subject) =
                tokio::join!(self.etcd.events_until(revision), self.subject.events_until(revision));
            observed.compare_lists("watch of everything", &etcd, &subject);
            log.extend(etcd.into_iter().flat_map(|response| response.events), revision);
        }
        observed
    }
}

/// A watcher of every key, from now on.
fn everything() -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        prev_kv: true,
        ..pb::WatchCreateRequest::default()
    }
}
