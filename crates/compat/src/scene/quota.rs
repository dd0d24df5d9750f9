//! A member that is full.
//!
//! Sizes differ between the servers, but a put that is larger than the whole quota is refused by both, at the
//! same revision. So most of the scene is played with such puts, and every field is compared. Only the last
//! part fills both for real; there each is full when it is, and codes and texts are compared.

use anyhow::{Result, ensure};
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::alarm_request::AlarmAction;
use metastore_proto::etcdserverpb::request_op::Request;
use prost::Message;

use super::{Stage, put};
use crate::answer::Answer;
use crate::process::End;
use crate::step::Step;

/// More than the quota, less than the largest request.
const TOO_MUCH_BYTES: usize = 1_200_000;
/// Bytes of each value that fills a member, and how many of them are more than enough: etcd looks at the
/// size of its file ten times a second.
const FILLING_BYTES: usize = 64 << 10;
const FILLINGS_MAX: usize = 10_000;
/// etcd's number of the alarm.
const NOSPACE: i32 = 1;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.call("KV.Put", &put("a", "1")).await?;
    stage.call("Lease.LeaseGrant", &pb::LeaseGrantRequest { id: 1, ttl: 1000 }).await?;
    // Whatever is wrong with it, or whether it would come to pass: what costs too much raises the alarm.
    let much = || put("much", vec![b'x'; TOO_MUCH_BYTES]);
    for request in [
        Much::Put(much()),
        Much::Put(pb::PutRequest { key: "".into(), ..much() }),
        Much::Put(pb::PutRequest { ignore_value: true, ..much() }),
        Much::Put(pb::PutRequest { lease: 99, ..much() }),
        Much::Txn(txn(vec![], vec![Request::RequestPut(much())])),
        Much::Txn(txn(
            vec![Request::RequestTxn(txn(vec![], vec![Request::RequestPut(much())]))],
            vec![],
        )),
    ] {
        match &request {
            Much::Put(put) => stage.call("KV.Put", put).await?,
            Much::Txn(txn) => stage.call("KV.Txn", txn).await?,
        }
        look(stage).await?;
        while_full(stage).await?;
        disarm(stage).await?;
        stage.call("KV.Put", &put("a", "2")).await?;
    }
    // It outlives its process.
    stage.call("KV.Put", &much()).await?;
    for end in [End::Graceful, End::Killed] {
        stage.driver.step(&Step::Restart(end)).await?;
        look(stage).await?;
        stage.call("KV.Put", &put("a", "3")).await?;
    }
    disarm(stage).await?;
    stage.call("KV.Put", &put("a", "4")).await?;
    for_real(stage).await
}

enum Much {
    Put(pb::PutRequest),
    Txn(pb::TxnRequest),
}

fn txn(success: Vec<Request>, failure: Vec<Request>) -> pb::TxnRequest {
    let ops = |requests: Vec<Request>| {
        requests.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect()
    };
    pb::TxnRequest { compare: Vec::new(), success: ops(success), failure: ops(failure) }
}

fn alarm(action: AlarmAction, member_id: u64, alarm: i32) -> pb::AlarmRequest {
    pb::AlarmRequest { action: action.into(), member_id, alarm }
}

/// What can be seen of the alarm.
async fn look(stage: &mut Stage) -> Result<()> {
    for kind in [0, NOSPACE, 2] {
        stage.call("Maintenance.Alarm", &alarm(AlarmAction::Get, 0, kind)).await?;
    }
    stage.call("Maintenance.Status", &pb::StatusRequest {}).await
}

/// Everything that may be asked of a full member, and what may not.
async fn while_full(stage: &mut Stage) -> Result<()> {
    let range = pb::RangeRequest { key: "a".into(), ..pb::RangeRequest::default() };
    let delete = pb::DeleteRangeRequest { key: "b".into(), ..pb::DeleteRangeRequest::default() };
    let small = Request::RequestPut(put("b", "1"));
    let touch = pb::PutRequest { ignore_value: true, ignore_lease: true, ..put("a", "") };
    stage.call("KV.Put", &put("b", "1")).await?;
    stage.call("KV.Put", &touch).await?;
    stage.call("KV.Put", &put("", "")).await?;
    stage.call("KV.Range", &range).await?;
    stage.call("KV.RangeStream", &range).await?;
    for txn in [
        txn(vec![small.clone()], vec![]),
        txn(vec![Request::RequestRange(range.clone())], vec![small.clone()]),
        txn(vec![Request::RequestTxn(txn(vec![], vec![small]))], vec![]),
        txn(vec![Request::RequestRange(range)], vec![]),
        txn(vec![Request::RequestDeleteRange(delete.clone())], vec![]),
        txn(vec![], vec![]),
    ] {
        stage.call("KV.Txn", &txn).await?;
    }
    stage.call("KV.DeleteRange", &delete).await?;
    stage.call("Lease.LeaseGrant", &pb::LeaseGrantRequest { id: 2, ttl: 1000 }).await?;
    stage.call("Lease.LeaseGrant", &pb::LeaseGrantRequest { id: 1, ttl: i64::MAX }).await?;
    stage.call("Lease.LeaseKeepAlive", &pb::LeaseKeepAliveRequest { id: 1 }).await?;
    stage.call("Lease.LeaseTimeToLive", &pb::LeaseTimeToLiveRequest { id: 1, keys: true }).await?;
    stage.call("Lease.LeaseRevoke", &pb::LeaseRevokeRequest { id: 2 }).await?;
    stage.call("Lease.LeaseLeases", &pb::LeaseLeasesRequest {}).await?;
    let revision = stage.driver.world.revision;
    stage.call("KV.Compact", &pb::CompactionRequest { revision, physical: true }).await?;
    stage.call("KV.Compact", &pb::CompactionRequest { revision: 1, physical: false }).await?;
    stage.call("Maintenance.Defragment", &pb::DefragmentRequest {}).await?;
    stage.call("Maintenance.Snapshot", &pb::SnapshotRequest {}).await?;
    stage.call("Cluster.MemberList", &pb::MemberListRequest { linearizable: true }).await
}

/// The alarm goes when its member and its kind are named, and only then.
async fn disarm(stage: &mut Stage) -> Result<()> {
    let own = own_id(stage).await?;
    for (member, kind) in [(0, NOSPACE), (own, 2), (own, 0), (own, NOSPACE), (own, NOSPACE)] {
        stage.call("Maintenance.Alarm", &alarm(AlarmAction::Deactivate, member, kind)).await?;
    }
    look(stage).await
}

/// The member's id: the same at both, as the scene has found by now.
async fn own_id(stage: &mut Stage) -> Result<u64> {
    let request = pb::MemberListRequest { linearizable: false };
    let (etcd, _) = stage.call_each("Cluster.MemberList", (&request, &request)).await;
    let list: pb::MemberListResponse = message(&etcd)?;
    Ok(list.members.first().map_or(0, |member| member.id))
}

fn message<M: Message + Default>(answer: &Answer) -> Result<M> {
    let message = answer.messages.first().map(Message::encode_to_vec).unwrap_or_default();
    Ok(M::decode(&message[..])?)
}

/// Fills both until both refuse, makes room, and goes on.
async fn for_real(stage: &mut Stage) -> Result<()> {
    let (etcd, subject) = stage.connections();
    let mut full_count = 0;
    for connection in [etcd, subject] {
        for number in 0..FILLINGS_MAX {
            let filling = put(format!("fill{number}"), vec![b'x'; FILLING_BYTES]);
            let reply = connection.call(&crate::step::call(&super::path("KV.Put"), &filling)).await;
            if reply.code != Some(0) {
                full_count += 1;
                break;
            }
        }
    }
    ensure!(full_count == 2, "only {full_count} servers of two have a quota");
    let one_more = put("fill", vec![b'x'; FILLING_BYTES]);
    stage.call_each("KV.Put", (&one_more, &one_more)).await;
    // Without room the alarm comes back.
    let disarm = alarm(AlarmAction::Deactivate, own_id(stage).await?, NOSPACE);
    for _ in 0..2 {
        stage.call_each("Maintenance.Alarm", (&disarm, &disarm)).await;
        stage.call_each("KV.Put", (&one_more, &one_more)).await;
    }
    let delete = pb::DeleteRangeRequest {
        key: "fill".into(),
        range_end: "film".into(),
        ..pb::DeleteRangeRequest::default()
    };
    let (one, other) = stage.call_each("KV.DeleteRange", (&delete, &delete)).await;
    let compact = |answer: &Answer| pb::CompactionRequest {
        revision: answer.revision().unwrap_or(0),
        physical: true,
    };
    stage.call_each("KV.Compact", (&compact(&one), &compact(&other))).await;
    let defragment = pb::DefragmentRequest {};
    stage.call_each("Maintenance.Defragment", (&defragment, &defragment)).await;
    stage.call_each("Maintenance.Alarm", (&disarm, &disarm)).await;
    // There is room for as much again as all that was taken at once.
    for _ in 0..4 {
        stage.call_each("KV.Put", (&one_more, &one_more)).await;
    }
    let get = alarm(AlarmAction::Get, 0, 0);
    let (one, other) = stage.call_each("Maintenance.Alarm", (&get, &get)).await;
    let alarms = |answer: &Answer| {
        Ok::<_, anyhow::Error>(message::<pb::AlarmResponse>(answer)?.alarms.len())
    };
    let (one, other) = (alarms(&one)?, alarms(&other)?);
    stage.same("alarms at the end", one, other);
    Ok(())
}
