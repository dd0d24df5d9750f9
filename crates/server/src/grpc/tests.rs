//! The services over a real connection, against a member without a log.

use bytes::Bytes;
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::cluster_client::ClusterClient;
use metastore_proto::etcdserverpb::kv_client::KvClient;
use metastore_proto::etcdserverpb::lease_client::LeaseClient;
use metastore_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use metastore_proto::etcdserverpb::{auth_client::AuthClient, request_op, response_op};
use metastore_proto::mvccpb::KeyValue;
use metastore_proto::v3lockpb::{LockRequest, lock_client::LockClient};
use sha2::{Digest, Sha256};
use state::alarms::Quota;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::status::EtcdError;
use super::{ResponseFuture, Terms};
use crate::toy_member::{MEMBER, ToyMember, settings};

mod watch;

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn get(key: &'static str, range_end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.expect_err("it is refused");
    (status.code(), status.message().to_owned())
}

fn is(error: EtcdError) -> (Code, String) {
    let (code, text) = error.row();
    (code, text.to_owned())
}

fn keys(kvs: &[KeyValue]) -> Vec<&[u8]> {
    kvs.iter().map(|kv| &kv.key[..]).collect()
}

#[tokio::test]
async fn what_is_put_can_be_read_and_deleted() {
    let member = ToyMember::start();
    let mut kv = KvClient::new(member.channel().await);
    for (number, key) in ["a", "b", "c"].into_iter().enumerate() {
        let response = kv.put(put(key, "1")).await.expect("put").into_inner();
        let header = response.header.expect("a header");
        assert_eq!((header.revision, header.raft_term), (2 + number as i64, 2));
        assert_eq!(header.member_id, MEMBER.0);
        assert_eq!(response.prev_kv, None);
    }
    let again = pb::PutRequest { prev_kv: true, ..put("b", "2") };
    let previous = kv.put(again).await.expect("put").into_inner().prev_kv.expect("a version");
    assert_eq!((previous.mod_revision, &previous.value[..]), (3, &b"1"[..]));

    let old = pb::RangeRequest { revision: 3, limit: 1, ..get("a", "z") };
    let response = kv.range(old).await.expect("range").into_inner();
    assert_eq!(keys(&response.kvs), [b"a"]);
    assert_eq!((response.more, response.count), (true, 2));
    // The revision of the store, not the one asked for.
    assert_eq!(response.header.expect("a header").revision, 5);

    let delete = pb::DeleteRangeRequest { key: "b".into(), range_end: "z".into(), prev_kv: true };
    let response = kv.delete_range(delete.clone()).await.expect("delete").into_inner();
    assert_eq!((response.deleted, response.header.expect("a header").revision), (2, 6));
    assert_eq!(keys(&response.prev_kvs), [b"b", b"c"]);
    let response = kv.delete_range(delete).await.expect("delete").into_inner();
    assert_eq!((response.deleted, response.header.expect("a header").revision), (0, 6));

    let future = pb::RangeRequest { revision: 99, ..get("a", "") };
    assert_eq!(refused(kv.range(future).await), is(EtcdError::FutureRevision));
    let compact = pb::CompactionRequest { revision: 4, physical: true };
    let response = kv.compact(compact).await.expect("compact").into_inner();
    assert_eq!(response.header.expect("a header").revision, 6);
    assert_eq!(refused(kv.compact(compact).await), is(EtcdError::Compacted));
    let old = pb::RangeRequest { revision: 3, ..get("a", "") };
    assert_eq!(refused(kv.range(old).await), is(EtcdError::Compacted));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_in_etcds_words() {
    let member = ToyMember::start();
    let mut kv = KvClient::new(member.channel().await);
    assert_eq!(refused(kv.put(put("", "1")).await), is(EtcdError::EmptyKey));
    assert_eq!(refused(kv.range(get("", "z")).await), is(EtcdError::EmptyKey));
    let keeps = pb::PutRequest { ignore_value: true, ..put("absent", "") };
    assert_eq!(refused(kv.put(keeps).await), is(EtcdError::KeyNotFound));
    let leased = pb::PutRequest { lease: 99, ..put("a", "") };
    assert_eq!(refused(kv.put(leased).await), is(EtcdError::LeaseNotFound));
    let sorted = pb::RangeRequest { sort_order: 2, ..get("a", "z") };
    let mut stream = Messages::of(kv.range_stream(sorted).await);
    assert_eq!(refused(stream.next().await), is(EtcdError::StreamSortOrder));
    assert_eq!(member.handle.header().revision, 1);
}

/// A stream may fail before or after its headers; a client sees the same.
struct Messages<T>(Result<tonic::Streaming<T>, Status>);

impl<T> Messages<T> {
    fn of(answer: Result<tonic::Response<tonic::Streaming<T>>, Status>) -> Messages<T> {
        Messages(answer.map(tonic::Response::into_inner))
    }

    async fn next(&mut self) -> Result<Option<T>, Status> {
        match &mut self.0 {
            Ok(stream) => stream.message().await,
            Err(status) => Err(status.clone()),
        }
    }
}

#[tokio::test]
async fn sizes_are_limited_twice_by_the_command_and_by_the_message() {
    let member = ToyMember::start();
    let mut kv = KvClient::new(member.channel().await);
    let large = put("a", vec![0; settings().max_request_bytes]);
    assert_eq!(refused(kv.put(large).await), is(EtcdError::RequestTooLarge));
    let limit = settings().max_request_bytes + 512 * 1024;
    let huge = put("a", vec![0; limit]);
    let size = prost::Message::encoded_len(&huge);
    let text = format!("grpc: received message larger than max ({size} vs. {limit})");
    assert_eq!(refused(kv.put(huge).await), (Code::ResourceExhausted, text));
}

#[tokio::test]
async fn a_transaction_compares_and_then_does_one_of_two_lists() {
    let member = ToyMember::start();
    let mut kv = KvClient::new(member.channel().await);
    kv.put(put("a", "1")).await.expect("put");
    let op = |request| pb::RequestOp { request: Some(request) };
    let compare = pb::Compare {
        key: "a".into(),
        target: 3,
        target_union: Some(pb::compare::TargetUnion::Value("1".into())),
        ..Default::default()
    };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![
            op(request_op::Request::RequestPut(put("b", "2"))),
            op(request_op::Request::RequestRange(get("a", "z"))),
        ],
        failure: vec![],
    };
    let response = kv.txn(txn.clone()).await.expect("txn").into_inner();
    assert!(response.succeeded);
    assert_eq!(response.header.expect("a header").revision, 3);
    let Some(response_op::Response::ResponseRange(range)) = &response.responses[1].response else {
        panic!("another response than to a range: {response:?}");
    };
    assert_eq!(keys(&range.kvs), [b"a", b"b"]);
    assert_eq!(range.header, Some(pb::ResponseHeader { revision: 3, ..Default::default() }));

    let twice = pb::TxnRequest { success: vec![txn.success[0].clone(); 2], ..txn.clone() };
    assert_eq!(refused(kv.txn(twice).await), is(EtcdError::DuplicateKey));
    let reads = pb::TxnRequest { success: vec![txn.success[1].clone()], ..txn };
    let response = kv.txn(reads).await.expect("txn").into_inner();
    assert_eq!(response.header.expect("a header").revision, 3);
}

#[tokio::test]
async fn a_long_list_comes_whole_however_it_is_read() {
    let member = ToyMember::start();
    let mut kv = KvClient::new(member.channel().await).max_decoding_message_size(64 << 20);
    for number in 0..1500 {
        kv.put(put(format!("key{number:05}"), vec![b'v'; 4000])).await.expect("put");
    }
    let all = get("key", "kez");
    let stepped = kv.range(all.clone()).await.expect("range").into_inner();
    assert_eq!((stepped.kvs.len(), stepped.count, stepped.more), (1500, 1500, false));

    let sorted = pb::RangeRequest { sort_order: 2, sort_target: 3, ..all.clone() };
    let mut sorted = kv.range(sorted).await.expect("range").into_inner().kvs;
    sorted.reverse();
    assert_eq!(sorted, stepped.kvs);

    let limited = pb::RangeRequest { limit: 1499, ..all.clone() };
    for request in [all, limited] {
        let whole = kv.range(request.clone()).await.expect("range").into_inner();
        let mut stream = kv.range_stream(request).await.expect("stream").into_inner();
        let mut merged = pb::RangeResponse::default();
        let mut messages = 0;
        while let Some(message) = stream.message().await.expect("a message") {
            let part = message.range_response.expect("a response");
            assert!(merged.header.is_none(), "a message after the last");
            assert!(!part.kvs.is_empty(), "an empty message");
            assert!(prost::Message::encoded_len(&part) < 2 << 20);
            merged.kvs.extend(part.kvs);
            merged = pb::RangeResponse { kvs: merged.kvs, ..part };
            messages += 1;
        }
        assert_eq!(merged, whole);
        assert!(messages > 3, "{messages} messages");
    }
    let counted = pb::RangeRequest { count_only: true, ..get("key", "kez") };
    let mut stream = kv.range_stream(counted).await.expect("stream").into_inner();
    let only = stream.message().await.expect("a message").expect("one").range_response;
    assert_eq!(only.map(|range| (range.kvs.len(), range.count)), Some((0, 1500)));
    assert!(stream.message().await.expect("the end").is_none());
}

#[tokio::test]
async fn leases_are_granted_renewed_listed_and_revoked() {
    let member = ToyMember::start();
    let channel = member.channel().await;
    let (mut lease, mut kv) = (LeaseClient::new(channel.clone()), KvClient::new(channel));
    let grant = pb::LeaseGrantRequest { ttl: 1, id: 7 };
    let granted = lease.lease_grant(grant).await.expect("grant").into_inner();
    assert_eq!((granted.id, granted.ttl), (7, 2));
    assert_eq!(refused(lease.lease_grant(grant).await), is(EtcdError::LeaseExists));
    let ours = pb::LeaseGrantRequest { ttl: 600, id: 0 };
    let ours = lease.lease_grant(ours).await.expect("grant").into_inner();
    assert!(ours.id > 0, "chosen: {}", ours.id);
    kv.put(pb::PutRequest { lease: ours.id, ..put("k", "") }).await.expect("put");

    let asked = pb::LeaseTimeToLiveRequest { id: ours.id, keys: true };
    let left = lease.lease_time_to_live(asked).await.expect("time to live").into_inner();
    assert_eq!((left.granted_ttl, left.keys), (600, vec![Bytes::from("k")]));
    assert!((590..=600).contains(&left.ttl), "{} s left", left.ttl);
    let asked = pb::LeaseTimeToLiveRequest { id: 1234, keys: true };
    let left = lease.lease_time_to_live(asked).await.expect("time to live").into_inner();
    assert_eq!((left.id, left.ttl, left.granted_ttl), (1234, -1, 0));
    let leases = lease.lease_leases(pb::LeaseLeasesRequest {}).await.expect("leases").into_inner();
    let ids: Vec<i64> = leases.leases.iter().map(|lease| lease.id).collect();
    assert_eq!(ids, [7, ours.id]);

    let renewals = [ours.id, 1234, 7].map(|id| pb::LeaseKeepAliveRequest { id });
    let answers = lease.lease_keep_alive(tokio_stream::iter(renewals)).await.expect("a stream");
    let answers: Vec<_> = answers.into_inner().collect().await;
    let answers: Vec<(i64, i64)> = answers
        .into_iter()
        .map(|answer| answer.expect("an answer"))
        .map(|answer| (answer.id, answer.ttl))
        .collect();
    assert_eq!(answers, [(ours.id, 600), (1234, 0), (7, 2)]);

    lease.lease_revoke(pb::LeaseRevokeRequest { id: ours.id }).await.expect("revoke");
    let again = lease.lease_revoke(pb::LeaseRevokeRequest { id: ours.id }).await;
    assert_eq!(refused(again), is(EtcdError::LeaseNotFound));
    assert_eq!(kv.range(get("k", "")).await.expect("range").into_inner().count, 0);
}

#[tokio::test]
async fn a_full_member_says_so_before_anything_else_and_raises_its_alarm() {
    let member = ToyMember::with(crate::handle::Settings { quota: Quota(Some(1)), ..settings() });
    let channel = member.channel().await;
    let mut kv = KvClient::new(channel.clone());
    let mut maintenance = MaintenanceClient::new(channel.clone());
    // Not "key is not provided".
    assert_eq!(refused(kv.put(put("", "")).await), is(EtcdError::NoSpace));
    let grant =
        LeaseClient::new(channel).lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 1 }).await;
    assert_eq!(refused(grant), is(EtcdError::NoSpace));
    let list = pb::AlarmRequest::default();
    let alarms = maintenance.alarm(list).await.expect("alarms").into_inner().alarms;
    assert_eq!(alarms, [pb::AlarmMember { member_id: MEMBER.0, alarm: 1 }]);
    let status = maintenance.status(pb::StatusRequest {}).await.expect("status").into_inner();
    assert_eq!(status.errors, [format!("memberID:{} alarm:NOSPACE", MEMBER.0)]);
    let clear = pb::AlarmRequest { action: 2, member_id: MEMBER.0, alarm: 1 };
    let cleared = maintenance.alarm(clear).await.expect("alarms").into_inner().alarms;
    assert_eq!(cleared.len(), 1);
    let nonsense = pb::AlarmRequest { action: 9, ..clear };
    assert_eq!(refused(maintenance.alarm(nonsense).await), is(EtcdError::UnknownAlarmAction));
    kv.delete_range(pb::DeleteRangeRequest { key: "a".into(), ..Default::default() })
        .await
        .expect("deleting needs no room");
}

#[tokio::test]
async fn members_and_status_tell_who_this_is() {
    let member = ToyMember::start();
    let channel = member.channel().await;
    let list = pb::MemberListRequest { linearizable: true };
    let list = ClusterClient::new(channel.clone()).member_list(list).await.expect("members");
    let list = list.into_inner();
    let header = list.header.expect("a header");
    assert_eq!((header.revision, header.member_id), (0, MEMBER.0));
    assert_eq!(list.members.len(), 1);
    assert_eq!((&list.members[0].name[..], list.members[0].id), ("default", MEMBER.0));
    assert_eq!(list.members[0].peer_ur_ls, ["http://localhost:2380"]);

    let mut maintenance = MaintenanceClient::new(channel);
    let status = maintenance.status(pb::StatusRequest {}).await.expect("status").into_inner();
    assert_eq!((status.leader, &status.version[..]), (MEMBER.0, crate::config::ETCD_VERSION));
    assert_eq!((status.db_size_quota, status.is_learner), (2 << 30, false));
    assert_eq!(status.downgrade_info, Some(pb::DowngradeInfo::default()));
    assert!(status.raft_applied_index > 0 && status.raft_index >= status.raft_applied_index);

    let stay = pb::MoveLeaderRequest { target_id: MEMBER.0 };
    assert_eq!(maintenance.move_leader(stay).await.expect("it leads").into_inner().header, None);
    let nobody = pb::MoveLeaderRequest { target_id: 1 };
    assert_eq!(refused(maintenance.move_leader(nobody).await), is(EtcdError::BadLeaderTransferee));
    maintenance.defragment(pb::DefragmentRequest {}).await.expect("nothing to do");
}

#[tokio::test]
async fn a_snapshot_ends_with_its_checksum_and_hashes_name_their_revision() {
    let member = ToyMember::start();
    let channel = member.channel().await;
    let (mut kv, mut maintenance) =
        (KvClient::new(channel.clone()), MaintenanceClient::new(channel));
    for number in 0..100 {
        kv.put(put(format!("{number}"), vec![7; 1000])).await.expect("put");
    }
    let stream = maintenance.snapshot(pb::SnapshotRequest {}).await.expect("snapshot").into_inner();
    let messages: Vec<_> = stream.map(|message| message.expect("a message")).collect().await;
    let (digest, data) = messages.split_last().expect("a checksum");
    let bytes: Vec<u8> = data.iter().flat_map(|message| message.blob.to_vec()).collect();
    assert!(bytes.len() > 100_000 && bytes.len().is_multiple_of(512), "{} bytes", bytes.len());
    assert_eq!(digest.blob[..], Sha256::digest(&bytes)[..]);
    assert_eq!(data[0].remaining_bytes, (bytes.len() - data[0].blob.len()) as u64);

    let hash = maintenance.hash_kv(pb::HashKvRequest { revision: 50 }).await.expect("hash");
    let hash = hash.into_inner();
    assert_eq!((hash.hash_revision, hash.compact_revision), (50, -1));
    assert_eq!(hash.header.expect("a header").revision, 101);
    let future = maintenance.hash_kv(pb::HashKvRequest { revision: 500 }).await;
    assert_eq!(refused(future), is(EtcdError::FutureRevision));
    maintenance.hash(pb::HashRequest {}).await.expect("hash");
}

#[tokio::test]
async fn what_does_not_exist_says_so_like_any_grpc_server() {
    let member = ToyMember::start();
    let channel = member.channel().await;
    let unknown = |method: &str, service: &str| {
        (Code::Unimplemented, format!("unknown method {method} for service {service}"))
    };
    let add = ClusterClient::new(channel.clone()).member_add(pb::MemberAddRequest::default()).await;
    assert_eq!(refused(add), unknown("MemberAdd", "etcdserverpb.Cluster"));
    let downgrade = pb::DowngradeRequest::default();
    let downgrade = MaintenanceClient::new(channel.clone()).downgrade(downgrade).await;
    assert_eq!(refused(downgrade), unknown("Downgrade", "etcdserverpb.Maintenance"));
    let enable = AuthClient::new(channel.clone()).auth_enable(pb::AuthEnableRequest {}).await;
    assert_eq!(refused(enable), unknown("AuthEnable", "etcdserverpb.Auth"));
    let lock = LockClient::new(channel.clone()).lock(LockRequest::default()).await;
    assert_eq!(refused(lock), unknown("Lock", "v3lockpb.Lock"));
    for (path, text) in [
        ("/etcdserverpb.KV/Nothing", "unknown method Nothing for service etcdserverpb.KV"),
        ("/etcdserverpb.Watch/Look", "unknown method Look for service etcdserverpb.Watch"),
        ("/some.Service/Method", "unknown service some.Service"),
    ] {
        let answer = call(channel.clone(), path).await;
        assert_eq!(refused(answer), (Code::Unimplemented, text.to_owned()));
    }
}

async fn call(channel: Channel, path: &'static str) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("connected");
    let codec = tonic_prost::ProstCodec::<pb::StatusRequest, pb::StatusResponse>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    client.unary(Request::new(pb::StatusRequest {}), path, codec).await.map(drop)
}

#[tokio::test]
async fn metadata_is_checked_for_every_service() {
    let member = ToyMember::start();
    let mut kv = KvClient::new(member.channel().await);
    let mut request = Request::new(get("a", ""));
    request.metadata_mut().insert("hasleader", "true".parse().expect("ascii"));
    kv.range(request).await.expect("there is a leader");
    member.lose_leader();
    let mut request = Request::new(get("a", ""));
    request.metadata_mut().insert("hasleader", "true".parse().expect("ascii"));
    assert_eq!(refused(kv.range(request).await), is(EtcdError::NoLeader));
    let stale = pb::RangeRequest { serializable: true, ..get("a", "") };
    kv.range(stale).await.expect("needs no leader");
}

#[tokio::test]
async fn the_health_service_knows_the_server_as_a_whole() {
    use metastore_proto::grpc::health::v1::health_client::HealthClient;
    use metastore_proto::grpc::health::v1::{HealthCheckRequest, HealthListRequest};
    let member = ToyMember::start();
    let mut health = HealthClient::new(member.channel().await);
    let whole = HealthCheckRequest { service: String::new() };
    assert_eq!(health.check(whole).await.expect("known").into_inner().status, 1);
    let part = HealthCheckRequest { service: "etcdserverpb.KV".to_owned() };
    let mut watching = health.watch(part.clone()).await.expect("a stream").into_inner();
    assert_eq!(watching.message().await.expect("told").expect("once").status, 3);
    let all = health.list(HealthListRequest {}).await.expect("known").into_inner().statuses;
    assert_eq!(all.keys().collect::<Vec<_>>(), [""]);
    assert_eq!(all[""].status, 1);
    let part = health.check(part).await;
    assert_eq!(refused(part), (Code::NotFound, "unknown service".to_owned()));
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_own_request_only() {
    let handler = Box::pin(async { panic!("a defect, made on purpose") });
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.KV/Put");
    let response = ResponseFuture::Running {
        terms: Terms::default(),
        handler,
        path,
        begun: std::time::Instant::now(),
        slow: std::time::Duration::MAX,
    }
    .await;
    let status = Status::from_header_map(response.headers()).expect("a status");
    assert_eq!(status.code(), Code::Internal);
}
