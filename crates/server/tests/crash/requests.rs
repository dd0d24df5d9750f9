//! A [`Change`] as the request that a client sends for it, and a watch of everything.

use bytes::Bytes;
use metastore_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use metastore_proto::etcdserverpb::request_op::Request;
use metastore_proto::etcdserverpb::response_op::Response;
use metastore_proto::etcdserverpb::watch_request::RequestUnion;
use metastore_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, LeaseRevokeRequest, PutRequest, RequestOp, ResponseHeader,
    TxnRequest, WatchCreateRequest, WatchRequest, WatchResponse,
};
use tonic::{Status, Streaming};

use crate::keyspace::{Answer, Change, Op};
use crate::support::Client;

/// Asks for a change: the revision and the answer.
pub(crate) async fn send(client: &mut Client, change: &Change) -> Result<(i64, Answer), Status> {
    let (header, answer) = match change {
        Change::Write(ops) => match &ops[..] {
            [Op::Put { key, value, lease }] => {
                let answer = client.kv.put(put_request(key, value, *lease)).await?.into_inner();
                (answer.header, Answer::default())
            }
            [Op::Delete { from, to }] => {
                let answer = client.kv.delete_range(delete_request(from, to)).await?.into_inner();
                (answer.header, Answer { deleted: answer.deleted, succeeded: false })
            }
            _ => {
                let (header, answer) = txn(client, Vec::new(), ops, &[]).await?;
                // Without a condition it always succeeds.
                (header, Answer { succeeded: false, ..answer })
            }
        },
        Change::Branch { key, mod_revision, then, otherwise } => {
            let compare = Compare {
                result: CompareResult::Equal as i32,
                target: CompareTarget::Mod as i32,
                key: key.clone(),
                range_end: Bytes::new(),
                target_union: Some(TargetUnion::ModRevision(*mod_revision)),
            };
            txn(client, vec![compare], then, otherwise).await?
        }
        Change::EndLease(lease) => {
            let request = LeaseRevokeRequest { id: *lease };
            (client.lease.lease_revoke(request).await?.into_inner().header, Answer::default())
        }
    };
    Ok((header.expect("every answer has a header").revision, answer))
}

type Header = Option<ResponseHeader>;

async fn txn(
    client: &mut Client,
    compare: Vec<Compare>,
    then: &[Op],
    otherwise: &[Op],
) -> Result<(Header, Answer), Status> {
    let requests = |ops: &[Op]| {
        let request = |op: &Op| match op {
            Op::Put { key, value, lease } => Request::RequestPut(put_request(key, value, *lease)),
            Op::Delete { from, to } => Request::RequestDeleteRange(delete_request(from, to)),
        };
        ops.iter().map(|op| RequestOp { request: Some(request(op)) }).collect()
    };
    let request = TxnRequest { compare, success: requests(then), failure: requests(otherwise) };
    let answer = client.kv.txn(request).await?.into_inner();
    let deleted = answer.responses.iter().map(|part| match &part.response {
        Some(Response::ResponseDeleteRange(part)) => part.deleted,
        _ => 0,
    });
    let deleted = deleted.sum();
    Ok((answer.header, Answer { deleted, succeeded: answer.succeeded }))
}

fn put_request(key: &Bytes, value: &Bytes, lease: i64) -> PutRequest {
    PutRequest { key: key.clone(), value: value.clone(), lease, ..PutRequest::default() }
}

fn delete_request(from: &Bytes, to: &Bytes) -> DeleteRangeRequest {
    DeleteRangeRequest { key: from.clone(), range_end: to.clone(), prev_kv: false }
}

/// Opens a watch of all keys.
pub(crate) async fn watch_all(
    client: &mut Client,
    start_revision: i64,
) -> Result<Streaming<WatchResponse>, Status> {
    let all = Bytes::from_static(b"\0");
    let create = WatchCreateRequest {
        key: all.clone(),
        range_end: all,
        start_revision,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The stream of requests stays open, as a client's does.
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::once(request),
        tokio_stream::pending::<WatchRequest>(),
    );
    let mut stream = client.watch.watch(requests).await?.into_inner();
    let created = stream.message().await?.is_some_and(|answer| answer.created);
    assert!(created, "the first answer to a watch says that it was created");
    Ok(stream)
}
