//! Requests: checked in etcd's order, then turned into commands.

use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::compare::{CompareTarget, TargetUnion};
use metastore_proto::etcdserverpb::request_op::Request;
use state::command::{self, TxnOperation};
use state::limits::PUT_OVERHEAD_BYTES;
use state::mvcc::range::is_filtered;

use super::overlap;
use crate::grpc::limits::TXN_DEPTH_MAX;
use crate::grpc::status::EtcdError;

/// A read.
///
/// # Errors
/// Without a key, or with a sort order or target that does not exist.
pub fn range(request: pb::RangeRequest) -> Result<command::Range, EtcdError> {
    if request.key.is_empty() {
        return Err(EtcdError::EmptyKey);
    }
    let order = pb::range_request::SortOrder::try_from(request.sort_order);
    let target = pb::range_request::SortTarget::try_from(request.sort_target);
    if order.is_err() || target.is_err() {
        return Err(EtcdError::InvalidSortOption);
    }
    Ok(command::Range {
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order: request.sort_order,
        sort_target: request.sort_target,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
        serializable: request.serializable,
    })
}

/// A read that is answered in pieces: in key order, of all keys.
///
/// # Errors
/// As [`range`]; or it asks for another order or leaves out keys by their revisions.
pub fn range_stream(request: pb::RangeRequest) -> Result<command::Range, EtcdError> {
    let range = range(request)?;
    let by_order = range.sort_order != pb::range_request::SortOrder::None as i32;
    if by_order && !in_key_order(&range) {
        return Err(EtcdError::StreamSortOrder);
    }
    if is_filtered(&range) {
        return Err(EtcdError::StreamFilter);
    }
    // A target alone means its order too. etcd overlooks that, and sends keys twice.
    if !in_key_order(&range) {
        return Err(EtcdError::StreamSortOrder);
    }
    Ok(range)
}

/// Whether the answer comes in the order of the keys, ascending.
///
/// A target other than the key with no order given is sorted by that target, so it does not count.
#[must_use]
pub fn in_key_order(range: &command::Range) -> bool {
    range.sort_target == pb::range_request::SortTarget::Key as i32
        && range.sort_order != pb::range_request::SortOrder::Descend as i32
}

/// A put.
///
/// # Errors
/// Without a key, or with a value or lease although it wants to keep what is there.
pub fn put(request: pb::PutRequest) -> Result<command::Put, EtcdError> {
    if request.key.is_empty() {
        return Err(EtcdError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(EtcdError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(EtcdError::LeaseProvided);
    }
    Ok(command::Put {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

/// A range deletion.
///
/// # Errors
/// Without a key.
pub fn delete_range(request: pb::DeleteRangeRequest) -> Result<command::DeleteRange, EtcdError> {
    if request.key.is_empty() {
        return Err(EtcdError::EmptyKey);
    }
    Ok(command::DeleteRange {
        key: request.key,
        range_end: request.range_end,
        prev_kv: request.prev_kv,
    })
}

/// A transaction of at most `ops_max` operations in each of its lists.
///
/// # Errors
/// The first thing wrong with it: size, compares, operations in order, and last whether a list
/// writes a key twice.
pub fn txn(request: pb::TxnRequest, ops_max: usize) -> Result<command::Txn, EtcdError> {
    let txn = nested_txn(request, ops_max, TXN_DEPTH_MAX)?;
    overlap::check(&txn.success)?;
    overlap::check(&txn.failure)?;
    Ok(txn)
}

/// Each level may be as wide as its parent has left room for, and inherits the rest.
fn nested_txn(
    request: pb::TxnRequest,
    ops_max: usize,
    depth_max: usize,
) -> Result<command::Txn, EtcdError> {
    let width = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(ops_left) = ops_max.checked_sub(width) else { return Err(EtcdError::TooManyOps) };
    let Some(depth_left) = depth_max.checked_sub(1) else { return Err(EtcdError::TooManyOps) };
    let compare = request.compare.into_iter().map(compare).collect::<Result<_, _>>()?;
    let ops = |ops: Vec<pb::RequestOp>| -> Result<Vec<command::TxnOp>, EtcdError> {
        ops.into_iter().map(|op| txn_op(op, ops_left, depth_left)).collect()
    };
    Ok(command::Txn { compare, success: ops(request.success)?, failure: ops(request.failure)? })
}

fn txn_op(
    op: pb::RequestOp,
    ops_max: usize,
    depth_max: usize,
) -> Result<command::TxnOp, EtcdError> {
    let operation = match op.request {
        Some(Request::RequestRange(request)) => TxnOperation::Range(range(request)?),
        Some(Request::RequestPut(request)) => TxnOperation::Put(put(request)?),
        Some(Request::RequestDeleteRange(request)) => {
            TxnOperation::DeleteRange(delete_range(request)?)
        }
        Some(Request::RequestTxn(request)) => {
            TxnOperation::Txn(nested_txn(request, ops_max, depth_max)?)
        }
        // etcd's odd word for an operation that says nothing.
        None => return Err(EtcdError::KeyNotFound),
    };
    Ok(command::TxnOp { operation: Some(operation) })
}

/// Keeps of the operands the one that belongs to the target; a wrong one counts as zero.
fn compare(compare: pb::Compare) -> Result<command::Compare, EtcdError> {
    if compare.key.is_empty() {
        return Err(EtcdError::EmptyKey);
    }
    let target = CompareTarget::try_from(compare.target).ok();
    let (number, value) = match (target, compare.target_union) {
        (Some(CompareTarget::Version), Some(TargetUnion::Version(number)))
        | (Some(CompareTarget::Create), Some(TargetUnion::CreateRevision(number)))
        | (Some(CompareTarget::Mod), Some(TargetUnion::ModRevision(number)))
        | (Some(CompareTarget::Lease), Some(TargetUnion::Lease(number))) => {
            (number, Default::default())
        }
        (Some(CompareTarget::Value), Some(TargetUnion::Value(value))) => (0, value),
        _ => Default::default(),
    };
    Ok(command::Compare {
        key: compare.key,
        range_end: compare.range_end,
        result: compare.result,
        target: compare.target,
        number,
        value,
    })
}

/// Bytes for which a put needs room in the quota.
#[must_use]
pub fn put_cost(request: &pb::PutRequest) -> u64 {
    PUT_OVERHEAD_BYTES + request.key.len() as u64 + request.value.len() as u64
}

/// Bytes for which a transaction needs room: those of its dearer list.
#[must_use]
pub fn txn_cost(request: &pb::TxnRequest) -> u64 {
    let sum = |ops: &[pb::RequestOp]| -> u64 {
        ops.iter()
            .map(|op| match &op.request {
                Some(Request::RequestPut(put)) => put_cost(put),
                Some(Request::RequestTxn(txn)) => txn_cost(txn),
                _ => 0,
            })
            .sum()
    };
    sum(&request.success).max(sum(&request.failure))
}

/// How a transaction gets its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnKind {
    /// Through the log.
    Writes,
    /// From the newest state.
    Reads,
    /// From whatever state this member has.
    ReadsStale,
}

/// Sorts a transaction by its operations in both lists. One inside another counts as writing, and
/// one without operations may be stale, both as in etcd.
#[must_use]
pub fn txn_kind(txn: &command::Txn) -> TxnKind {
    let mut stale = true;
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.operation {
            Some(TxnOperation::Range(range)) => stale &= range.serializable,
            _ => return TxnKind::Writes,
        }
    }
    if stale { TxnKind::ReadsStale } else { TxnKind::Reads }
}

#[cfg(test)]
mod tests;
