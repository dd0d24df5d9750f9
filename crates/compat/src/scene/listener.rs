//! One server's end of a watch stream, response by response.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::watch_request::RequestUnion;
use prost::Message as _;

use crate::fault::Fault;
use crate::wire::{Connection, Stream};

/// How long a response may take that is bound to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Listener {
    pub(super) stream: Stream,
    fault: Option<Fault>,
    has_spoiled: bool,
    waiting: VecDeque<pb::WatchResponse>,
}

impl Listener {
    pub(super) async fn open(connection: &Connection, fault: Option<Fault>) -> Result<Listener> {
        let stream = connection.begin("/etcdserverpb.Watch/Watch", &[]).await?;
        Ok(Listener { stream, fault, has_spoiled: false, waiting: VecDeque::new() })
    }

    pub(super) fn send(&mut self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        self.stream.send(&Bytes::from(request.encode_to_vec()));
    }

    /// Asks for a watcher and waits for the answer.
    pub(super) async fn watch(
        &mut self,
        create: pb::WatchCreateRequest,
    ) -> Result<pb::WatchResponse> {
        self.send(RequestUnion::CreateRequest(create));
        self.next().await
    }

    /// The next response; it is an error if none comes.
    pub(super) async fn next(&mut self) -> Result<pb::WatchResponse> {
        while self.waiting.is_empty() {
            let next = tokio::time::timeout(PATIENCE, self.stream.next()).await;
            let bytes = next.context("a response in time")?;
            let bytes =
                bytes.with_context(|| format!("the stream ended: {:?}", self.stream.reply))?;
            // Kept here instead.
            self.stream.reply.messages.clear();
            let mut response = pb::WatchResponse::decode(&bytes[..])?;
            if let Some(header) = &mut response.header {
                // What two runs of etcd differ in.
                header.raft_term = 0;
            }
            self.waiting.extend(match &mut self.fault {
                Some(fault) => fault.spoil_watch(response, &mut self.has_spoiled),
                None => vec![response],
            });
        }
        Ok(self.waiting.pop_front().expect("one came"))
    }

    /// Responses up to the first that is the last one wanted.
    pub(super) async fn until(
        &mut self,
        mut is_last: impl FnMut(&pb::WatchResponse) -> bool,
    ) -> Result<Vec<pb::WatchResponse>> {
        let mut responses = Vec::new();
        loop {
            responses.push(self.next().await?);
            if responses.last().is_some_and(&mut is_last) {
                return Ok(responses);
            }
        }
    }
}

/// A watcher of these keys.
pub(super) fn watcher(key: &'static str, range_end: &'static str) -> pb::WatchCreateRequest {
    let (key, range_end) = (key.into(), range_end.into());
    pb::WatchCreateRequest { key, range_end, ..pb::WatchCreateRequest::default() }
}
