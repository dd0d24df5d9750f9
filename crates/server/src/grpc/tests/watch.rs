//! Watching, and how streams end.

use std::time::Duration;

use bytes::Bytes;
use compat::wire::{Call, Connection};
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::kv_client::KvClient;
use metastore_proto::etcdserverpb::lease_client::LeaseClient;
use metastore_proto::etcdserverpb::watch_client::WatchClient;
use metastore_proto::mvccpb::{Event, KeyValue};
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{is, put, refused};
use crate::grpc::status::EtcdError;
use crate::toy_member::ToyMember;

/// How long an answer may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

fn watch(create: pb::WatchCreateRequest) -> pb::WatchRequest {
    use pb::watch_request::RequestUnion;
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

fn watch_key(key: &'static str) -> pb::WatchRequest {
    watch(pb::WatchCreateRequest { key: key.into(), ..Default::default() })
}

struct Watching {
    requests: tokio::sync::mpsc::Sender<pb::WatchRequest>,
    responses: tonic::Streaming<pb::WatchResponse>,
}

impl Watching {
    async fn begin(channel: Channel) -> Watching {
        let (requests, outgoing) = tokio::sync::mpsc::channel(16);
        let watch = WatchClient::new(channel).watch(ReceiverStream::new(outgoing)).await;
        Watching { requests, responses: watch.expect("a stream").into_inner() }
    }

    async fn send(&self, request: pb::WatchRequest) {
        self.requests.send(request).await.expect("the stream is open");
    }

    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        let message = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        message.expect("something comes").map(|message| message.expect("not the end"))
    }
}

#[tokio::test]
async fn a_watcher_sees_the_past_from_its_start_and_then_the_present() {
    let member = ToyMember::start();
    let channel = member.channel().await;
    let mut kv = KvClient::new(channel.clone());
    kv.put(put("a", "1")).await.expect("put");
    kv.put(put("a", "2")).await.expect("put");
    let mut watching = Watching::begin(channel).await;
    let from = pb::WatchCreateRequest {
        key: "a".into(),
        start_revision: 3,
        prev_kv: true,
        ..Default::default()
    };
    watching.send(watch(from)).await;
    let created = watching.next().await.expect("created");
    assert!(created.created && !created.canceled);
    assert_eq!(created.header.expect("a header").revision, 3);
    let past = watching.next().await.expect("the past");
    assert_eq!(past.events[0].kv.as_ref().map(|kv| &kv.value[..]), Some(&b"2"[..]));
    assert_eq!(past.events[0].prev_kv.as_ref().map(|kv| &kv.value[..]), Some(&b"1"[..]));

    kv.delete_range(pb::DeleteRangeRequest { key: "a".into(), ..Default::default() })
        .await
        .expect("delete");
    let present = watching.next().await.expect("the present");
    let deleted = KeyValue { key: "a".into(), mod_revision: 4, ..Default::default() };
    let [Event { r#type: 1, kv: Some(kv), prev_kv: Some(before) }] = &present.events[..] else {
        panic!("something else than one deletion: {present:?}");
    };
    assert_eq!((kv, &before.value[..]), (&deleted, &b"2"[..]));
    assert_eq!(present.header.expect("a header").revision, 4);
}

#[tokio::test]
async fn a_stream_goes_on_when_its_client_has_said_all() {
    let member = ToyMember::start();
    let channel = member.channel().await;
    let mut watching = Watching::begin(channel.clone()).await;
    watching.send(watch_key("a")).await;
    watching.send(watch_key("b")).await;
    let ids = [watching.next().await, watching.next().await].map(|answer| {
        let answer = answer.expect("created");
        assert!(answer.created);
        answer.watch_id
    });
    assert_eq!(ids, [0, 1]);
    let Watching { requests, mut responses } = watching;
    drop(requests);
    KvClient::new(channel).put(put("b", "1")).await.expect("put");
    let next = tokio::time::timeout(PATIENCE, responses.message()).await.expect("an event");
    assert_eq!(next.expect("a response").expect("not the end").watch_id, 1);
}

#[tokio::test]
async fn watchers_are_cancelled_refused_and_tell_their_progress() {
    use pb::watch_request::RequestUnion;
    let member = ToyMember::start();
    let channel = member.channel().await;
    let mut watching = Watching::begin(channel).await;
    watching.send(watch_key("a")).await;
    assert!(watching.next().await.expect("created").created);
    let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
    watching.send(pb::WatchRequest { request_union: Some(progress) }).await;
    let answer = watching.next().await.expect("progress");
    assert_eq!((answer.watch_id, answer.header.expect("a header").revision), (-1, 1));

    let empty =
        pb::WatchCreateRequest { key: "b".into(), range_end: "a".into(), ..Default::default() };
    watching.send(watch(empty)).await;
    let refused = watching.next().await.expect("refused");
    assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
    assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");

    let cancel = RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 });
    watching.send(pb::WatchRequest { request_union: Some(cancel) }).await;
    let canceled = watching.next().await.expect("cancelled");
    assert_eq!((canceled.watch_id, canceled.canceled, canceled.created), (0, true, false));
}

/// A message of a stream, not compressed.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
    [&[0][..], &length, message].concat()
}

#[tokio::test]
async fn of_requests_that_come_together_those_before_one_that_fails_are_answered() {
    let member = ToyMember::start();
    let connection = Connection::open(([127, 0, 0, 1], member.port).into()).await.expect("open");
    let [a, b, c] = ["a", "b", "c"].map(|key| framed(&watch_key(key).encode_to_vec()));
    let oversize = [&[0][..], &(64_u32 << 20).to_be_bytes()].concat();
    let unreadable = "grpc: failed to unmarshal the received message: \
                      proto: cannot parse invalid wire-format data";
    for (fails, code, text) in [
        // A field that is cut off.
        (framed(&[0x0a, 0x05]), Code::Internal, unreadable),
        // Neither plain nor compressed.
        (vec![2, 0, 0, 0, 0], Code::Internal, "grpc: received unexpected payload format 2"),
        (
            oversize,
            Code::ResourceExhausted,
            "grpc: received message larger than max (67108864 vs. 2097152)",
        ),
    ] {
        let call = Call {
            path: "/etcdserverpb.Watch/Watch".to_owned(),
            // In one piece, so that they come together.
            body: Some([&a[..], &b, &fails, &c].concat().into()),
            ..Call::default()
        };
        let reply = connection.call(&call);
        let reply = tokio::time::timeout(PATIENCE, reply).await.expect("the stream ends");
        assert_eq!((reply.code, reply.text.as_str()), (Some(code as i32), text));
        let answer = |message: &Bytes| {
            let answer = pb::WatchResponse::decode(&message[..]).expect("a response");
            (answer.watch_id, answer.created, answer.canceled)
        };
        let answers: Vec<(i64, bool, bool)> = reply.messages.iter().map(answer).collect();
        assert_eq!(answers, [(0, true, false), (1, true, false)], "{text}");
    }
    // Nothing of them is in the way of the next.
    let channel = member.channel().await;
    let mut watching = Watching::begin(channel.clone()).await;
    watching.send(watch_key("a")).await;
    let created = watching.next().await.expect("created");
    assert_eq!((created.created, created.watch_id), (true, 0));
    KvClient::new(channel).put(put("a", "1")).await.expect("put");
    assert_eq!(watching.next().await.expect("an event").events.len(), 1);
    let others_left = async {
        while member.watch_streams() != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, others_left).await.expect("they give up their seats");
}

#[tokio::test]
async fn a_watcher_that_does_not_read_holds_nobody_up_and_loses_nothing() {
    let member = ToyMember::start();
    let mut watching = Watching::begin(member.channel().await).await;
    watching.send(watch_key("a")).await;
    assert!(watching.next().await.expect("created").created);
    let mut kv = KvClient::new(member.channel().await);
    // More than windows and queues can hold.
    for number in 0..400_i64 {
        kv.put(put("a", vec![b'v'; 64 << 10])).await.expect("put");
        assert_eq!(member.handle.header().revision, 2 + number);
    }
    let mut next = 2;
    while next < 402 {
        for event in watching.next().await.expect("events").events {
            assert_eq!(event.kv.expect("a version").mod_revision, next);
            next += 1;
        }
    }
}

#[tokio::test]
async fn streams_end_with_unavailable_when_the_member_stops() {
    let mut member = ToyMember::start();
    let channel = member.channel().await;
    let mut watching = Watching::begin(channel.clone()).await;
    watching.send(watch_key("a")).await;
    assert!(watching.next().await.expect("created").created);
    let (renew, renewals) = tokio::sync::mpsc::channel(1);
    let mut lease = LeaseClient::new(channel.clone());
    renew.send(pb::LeaseKeepAliveRequest { id: 1 }).await.expect("open");
    let answers = lease.lease_keep_alive(ReceiverStream::new(renewals)).await;
    let mut answers = answers.expect("a stream").into_inner();
    assert!(answers.message().await.expect("an answer").is_some());

    member.shutdown.draining.cancel();
    assert_eq!(refused(watching.next().await), is(EtcdError::Stopped));
    assert_eq!(refused(answers.message().await), is(EtcdError::Stopped));
    drop((watching, answers, renew, lease, channel));
    // Returns without being told to cut anything.
    let frontend = member.frontend.take().expect("running");
    let joined = tokio::task::spawn_blocking(move || frontend.join());
    tokio::time::timeout(PATIENCE, joined).await.expect("in time").expect("joined");
}
