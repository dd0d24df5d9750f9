//! A clean restart keeps everything.

use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::lease_client::LeaseClient;
use metastore_proto::etcdserverpb::maintenance_client::MaintenanceClient;

use crate::member::{Member, put};

/// What a client can see of a member.
#[derive(Debug, PartialEq)]
struct Seen {
    keys: pb::RangeResponse,
    old: Result<pb::RangeResponse, String>,
    leases: Vec<i64>,
    granted_s: i64,
    alarms: Vec<pb::AlarmMember>,
    hash: (u32, i64, i64),
    members: Vec<pb::Member>,
}

async fn look(member: &Member) -> Seen {
    let mut kv = member.kv().await;
    let mut lease = LeaseClient::new(member.channel().await);
    let mut maintenance = MaintenanceClient::new(member.channel().await);
    let mut cluster =
        metastore_proto::etcdserverpb::cluster_client::ClusterClient::new(member.channel().await);
    let all = pb::RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        ..pb::RangeRequest::default()
    };
    let old = pb::RangeRequest { revision: 4, ..all.clone() };
    let gone = pb::RangeRequest { revision: 3, ..all.clone() };
    kv.range(gone).await.expect_err("compacted");
    let untermed = |response: pb::RangeResponse| {
        // Each start is a term of its own.
        let header = response.header.map(|header| pb::ResponseHeader { raft_term: 0, ..header });
        pb::RangeResponse { header, ..response }
    };
    let old = kv.range(old).await.map(|response| untermed(response.into_inner()));
    let leases = lease.lease_leases(pb::LeaseLeasesRequest {}).await.expect("leases").into_inner();
    let asked = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    let left = lease.lease_time_to_live(asked).await.expect("time to live").into_inner();
    assert_eq!(left.keys, ["leased"]);
    assert!(left.ttl > 1 && left.ttl <= left.granted_ttl, "{left:?}");
    let alarms = maintenance.alarm(pb::AlarmRequest::default()).await.expect("alarms");
    let hash = maintenance.hash_kv(pb::HashKvRequest::default()).await.expect("hash").into_inner();
    let members = cluster.member_list(pb::MemberListRequest::default()).await.expect("members");
    Seen {
        keys: untermed(kv.range(all).await.expect("range").into_inner()),
        old: old.map_err(|status| status.to_string()),
        leases: leases.leases.into_iter().map(|lease| lease.id).collect(),
        granted_s: left.granted_ttl,
        alarms: alarms.into_inner().alarms,
        hash: (hash.hash, hash.compact_revision, hash.hash_revision),
        members: members.into_inner().members,
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let mut member = Member::start(&[]);
    let mut kv = member.kv().await;
    let mut lease = LeaseClient::new(member.channel().await);
    lease.lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 7 }).await.expect("grant");
    for round in 0..20 {
        kv.put(put("often", &round.to_string())).await.expect("put");
        kv.put(put(&format!("key{round}"), "1")).await.expect("put");
    }
    kv.put(pb::PutRequest { lease: 7, ..put("leased", "1") }).await.expect("put");
    let delete = pb::DeleteRangeRequest { key: "key3".into(), ..Default::default() };
    kv.delete_range(delete).await.expect("delete");
    kv.compact(pb::CompactionRequest { revision: 4, physical: true }).await.expect("compact");
    let mut maintenance = MaintenanceClient::new(member.channel().await);
    let alarm = pb::AlarmRequest { action: 1, member_id: 99, alarm: 1 };
    maintenance.alarm(alarm).await.expect("alarm");
    let before = look(&member).await;
    assert_eq!(before.keys.count, 21);
    for round in 0..3 {
        member = member.stopped().await;
        member.start_again();
        assert_eq!(look(&member).await, before, "start {round}");
    }
    // The alarm holds, and can be ended.
    let mut kv = member.kv().await;
    let full = kv.put(put("often", "x")).await.expect_err("the alarm is active");
    assert_eq!(full.code(), tonic::Code::ResourceExhausted);
    let mut maintenance = MaintenanceClient::new(member.channel().await);
    let disarm = pb::AlarmRequest { action: 2, member_id: 99, alarm: 1 };
    maintenance.alarm(disarm).await.expect("alarm");
    let response = kv.put(put("often", "x")).await.expect("put").into_inner();
    let revision = before.keys.header.expect("a header").revision;
    assert_eq!(response.header.expect("a header").revision, revision + 1);
    member.stopped().await;
}
