//! Keys that are equal in what a range is sorted by: their order is nobody's promise.
//!
//! etcd sorts with a library that keeps no order among equals; only for few keys does it happen to.
//! Two answers that differ in nothing else are the same answer. If the answer is cut at a limit,
//! which of the last equals are in it is as open as their order.

use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::request_op::Request;
use metastore_proto::etcdserverpb::response_op::Response;
use metastore_proto::mvccpb::KeyValue;
use prost::Message as _;

use crate::answer::Answer;
use crate::wire::Call;

/// Whether all that differs in these answers is the order of keys that are equal in what the
/// request sorts by.
pub(crate) fn are_all(call: &Call, etcd: &Answer, subject: &Answer) -> bool {
    if (etcd.code, &etcd.text) != (subject.code, &subject.text) {
        return false;
    }
    let (Some(request), Some(one), Some(other)) =
        (call.requests.first(), etcd.messages.first(), subject.messages.first())
    else {
        return false;
    };
    let (one, other) = (one.encode_to_vec(), other.encode_to_vec());
    match call.path.rsplit('/').next() {
        Some("Range") => {
            let Ok(request) = pb::RangeRequest::decode(&request[..]) else { return false };
            let ranges = [&one, &other].map(|bytes| pb::RangeResponse::decode(&bytes[..]).ok());
            let [Some(mut one), Some(mut other)] = ranges else { return false };
            untie(&request, &mut one);
            untie(&request, &mut other);
            one == other
        }
        Some("Txn") => {
            let Ok(request) = pb::TxnRequest::decode(&request[..]) else { return false };
            let txns = [&one, &other].map(|bytes| pb::TxnResponse::decode(&bytes[..]).ok());
            let [Some(mut one), Some(mut other)] = txns else { return false };
            untie_txn(&request, &mut one);
            untie_txn(&request, &mut other);
            one == other
        }
        _ => false,
    }
}

fn untie_txn(request: &pb::TxnRequest, response: &mut pb::TxnResponse) {
    let ops = if response.succeeded { &request.success } else { &request.failure };
    for (op, answer) in ops.iter().zip(&mut response.responses) {
        match (&op.request, &mut answer.response) {
            (Some(Request::RequestRange(range)), Some(Response::ResponseRange(answer))) => {
                untie(range, answer);
            }
            (Some(Request::RequestTxn(txn)), Some(Response::ResponseTxn(answer))) => {
                untie_txn(txn, answer);
            }
            _ => {}
        }
    }
}

/// Puts keys that are equal in what is sorted by into one order. Keys that are out of order are
/// left so: that would be a difference.
fn untie(request: &pb::RangeRequest, response: &mut pb::RangeResponse) {
    use pb::range_request::SortTarget;
    let target = request.sort_target();
    if target == SortTarget::Key {
        return;
    }
    let is_equal = |one: &KeyValue, other: &KeyValue| match target {
        SortTarget::Key => one.key == other.key,
        SortTarget::Version => one.version == other.version,
        SortTarget::Create => one.create_revision == other.create_revision,
        SortTarget::Mod => one.mod_revision == other.mod_revision,
        // Sorted by what is not shown.
        SortTarget::Value => request.keys_only || one.value == other.value,
    };
    let is_cut = response.more;
    let mut runs: Vec<&mut [KeyValue]> = response.kvs.chunk_by_mut(is_equal).collect();
    for run in &mut runs {
        run.sort_by(|one, other| one.key.cmp(&other.key));
    }
    if let Some(last) = runs.last_mut().filter(|_| is_cut) {
        let what = last[0].clone();
        // Of those cut apart only their number and what they are equal in can be compared.
        last.fill(match target {
            SortTarget::Version => KeyValue { version: what.version, ..KeyValue::default() },
            SortTarget::Create => {
                KeyValue { create_revision: what.create_revision, ..KeyValue::default() }
            }
            SortTarget::Mod => KeyValue { mod_revision: what.mod_revision, ..KeyValue::default() },
            SortTarget::Key | SortTarget::Value => {
                KeyValue { value: what.value, ..KeyValue::default() }
            }
        });
    }
}

#[test]
fn only_equals_may_change_places() {
    let kv =
        |key: &'static str, version| KeyValue { key: key.into(), version, ..KeyValue::default() };
    let request = pb::RangeRequest {
        sort_target: pb::range_request::SortTarget::Version.into(),
        ..pb::RangeRequest::default()
    };
    let untied = |kvs: Vec<KeyValue>, more| {
        let mut response = pb::RangeResponse { kvs, more, ..pb::RangeResponse::default() };
        untie(&request, &mut response);
        response
    };
    let one = untied(vec![kv("a", 1), kv("b", 1), kv("c", 2)], false);
    assert_eq!(one, untied(vec![kv("b", 1), kv("a", 1), kv("c", 2)], false));
    assert_ne!(one, untied(vec![kv("c", 2), kv("a", 1), kv("b", 1)], false));
    assert_eq!(
        untied(vec![kv("a", 1), kv("b", 2)], true),
        untied(vec![kv("a", 1), kv("x", 2)], true)
    );
    assert_ne!(
        untied(vec![kv("a", 1), kv("b", 2)], true),
        untied(vec![kv("x", 1), kv("b", 2)], true)
    );
}
