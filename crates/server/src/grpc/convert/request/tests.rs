//! Each check of each request, and their order.

use bytes::Bytes;

use super::*;

fn key() -> Bytes {
    Bytes::from_static(b"key")
}

fn put_op(key: &'static str) -> pb::RequestOp {
    let put = pb::PutRequest { key: key.as_bytes().into(), ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestPut(put)) }
}

fn range_op(key: &'static str, serializable: bool) -> pb::RequestOp {
    let key = key.as_bytes().into();
    let range = pb::RangeRequest { key, serializable, ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestRange(range)) }
}

fn txn_op_of(txn: pb::TxnRequest) -> pb::RequestOp {
    pb::RequestOp { request: Some(Request::RequestTxn(txn)) }
}

fn txn_of(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success, ..Default::default() }
}

#[test]
fn a_range_needs_a_key_first_and_a_known_order_second() {
    let wrong = pb::RangeRequest { sort_order: 3, ..Default::default() };
    assert_eq!(range(wrong.clone()), Err(EtcdError::EmptyKey));
    assert_eq!(range(pb::RangeRequest { key: key(), ..wrong }), Err(EtcdError::InvalidSortOption));
    let wrong = pb::RangeRequest { key: key(), sort_target: -1, ..Default::default() };
    assert_eq!(range(wrong), Err(EtcdError::InvalidSortOption));
    // Odd numbers have a meaning of their own.
    let odd = pb::RangeRequest { key: key(), limit: -1, revision: -1, ..Default::default() };
    let range = range(odd).expect("nothing else is checked");
    assert_eq!((range.limit, range.revision), (-1, -1));
}

#[test]
fn every_field_of_a_range_arrives() {
    let request = pb::RangeRequest {
        key: key(),
        range_end: "end".into(),
        limit: 1,
        revision: 2,
        sort_order: 2,
        sort_target: 3,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 4,
        max_mod_revision: 5,
        min_create_revision: 6,
        max_create_revision: 7,
    };
    let expected = command::Range {
        key: key(),
        range_end: "end".into(),
        limit: 1,
        revision: 2,
        sort_order: 2,
        sort_target: 3,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 4,
        max_mod_revision: 5,
        min_create_revision: 6,
        max_create_revision: 7,
    };
    assert_eq!(range(request), Ok(expected));
}

#[test]
fn a_stream_comes_in_key_order_and_leaves_nothing_out() {
    let request = |sort_order, sort_target| pb::RangeRequest {
        key: key(),
        sort_order,
        sort_target,
        ..Default::default()
    };
    assert!(range_stream(request(0, 0)).is_ok());
    assert!(range_stream(request(1, 0)).is_ok());
    for (order, target) in [(2, 0), (1, 1), (2, 4), (0, 4)] {
        let refused = range_stream(request(order, target));
        assert_eq!(refused, Err(EtcdError::StreamSortOrder), "order {order}, target {target}");
    }
    let filtered = pb::RangeRequest { min_create_revision: 1, ..request(0, 0) };
    assert_eq!(range_stream(filtered), Err(EtcdError::StreamFilter));
    assert_eq!(range_stream(pb::RangeRequest::default()), Err(EtcdError::EmptyKey));
}

#[test]
fn a_put_is_checked_key_first_then_value_then_lease() {
    let mut request = pb::PutRequest {
        value: "value".into(),
        ignore_value: true,
        lease: 1,
        ignore_lease: true,
        ..Default::default()
    };
    assert_eq!(put(request.clone()), Err(EtcdError::EmptyKey));
    request.key = key();
    assert_eq!(put(request.clone()), Err(EtcdError::ValueProvided));
    request.value = Bytes::new();
    assert_eq!(put(request.clone()), Err(EtcdError::LeaseProvided));
    request.lease = 0;
    let put = put(request).expect("a touch is legal");
    assert!(put.ignore_value && put.ignore_lease);
}

#[test]
fn a_deletion_needs_a_key() {
    let request = pb::DeleteRangeRequest { range_end: "z".into(), ..Default::default() };
    assert_eq!(delete_range(request), Err(EtcdError::EmptyKey));
}

#[test]
fn a_transaction_is_as_wide_as_its_longest_list() {
    let wide = txn_of(vec![put_op("a"), put_op("b"), put_op("c")]);
    assert!(txn(wide.clone(), 3).is_ok());
    assert_eq!(txn(wide, 2), Err(EtcdError::TooManyOps));
    let compares = vec![pb::Compare { key: key(), ..Default::default() }; 3];
    let wide = pb::TxnRequest { compare: compares, ..Default::default() };
    assert_eq!(txn(wide, 2), Err(EtcdError::TooManyOps));
}

#[test]
fn a_transaction_inside_gets_the_room_its_parent_left() {
    let inner = |width: usize| txn_op_of(txn_of(vec![range_op("a", false); width]));
    assert!(txn(txn_of(vec![inner(3), inner(3)]), 5).is_ok());
    assert_eq!(txn(txn_of(vec![inner(3), inner(4)]), 5), Err(EtcdError::TooManyOps));
}

#[test]
fn transactions_are_nested_no_deeper_than_the_log_can_hold() {
    let nest = |depth: usize| {
        (1..depth).fold(txn_of(vec![put_op("a")]), |inner, _| txn_of(vec![txn_op_of(inner)]))
    };
    assert_eq!(txn(nest(TXN_DEPTH_MAX + 1), 1000), Err(EtcdError::TooManyOps));
    let deepest = txn(nest(TXN_DEPTH_MAX), 1000).expect("this deep is fine");
    let operation = command::Operation::Txn(deepest);
    let command = command::Command::new(state::RequestId(1), operation);
    let bytes = prost::Message::encode_to_vec(&command);
    let again: command::Command = prost::Message::decode(&bytes[..]).expect("the log is readable");
    assert_eq!(again, command);
}

#[test]
fn compares_are_checked_before_operations_and_those_before_duplicates() {
    let mut request = pb::TxnRequest {
        compare: vec![pb::Compare::default()],
        success: vec![put_op("a"), put_op("a"), pb::RequestOp::default()],
        failure: vec![put_op("")],
    };
    assert_eq!(txn(request.clone(), 128), Err(EtcdError::EmptyKey));
    request.compare[0].key = key();
    assert_eq!(txn(request.clone(), 128), Err(EtcdError::KeyNotFound));
    request.success.pop();
    assert_eq!(txn(request.clone(), 128), Err(EtcdError::EmptyKey));
    request.failure.pop();
    assert_eq!(txn(request.clone(), 128), Err(EtcdError::DuplicateKey));
    request.success.pop();
    assert!(txn(request, 128).is_ok());
}

#[test]
fn a_compare_counts_only_the_operand_of_its_target() {
    let with = |target, target_union| {
        let compare = pb::Compare { key: key(), target, target_union, ..Default::default() };
        super::compare(compare).map(|compare| (compare.number, compare.value))
    };
    let value = || Some(TargetUnion::Value("v".into()));
    assert_eq!(with(0, Some(TargetUnion::Version(7))), Ok((7, Bytes::new())));
    assert_eq!(with(1, Some(TargetUnion::CreateRevision(7))), Ok((7, Bytes::new())));
    assert_eq!(with(2, Some(TargetUnion::ModRevision(7))), Ok((7, Bytes::new())));
    assert_eq!(with(3, value()), Ok((0, "v".into())));
    assert_eq!(with(4, Some(TargetUnion::Lease(-7))), Ok((-7, Bytes::new())));
    // Another operand, none, or a target that nobody knows: zero.
    assert_eq!(with(0, Some(TargetUnion::ModRevision(7))), Ok((0, Bytes::new())));
    assert_eq!(with(2, value()), Ok((0, Bytes::new())));
    assert_eq!(with(3, None), Ok((0, Bytes::new())));
    assert_eq!(with(9, Some(TargetUnion::Version(7))), Ok((0, Bytes::new())));
}

#[test]
fn the_quota_is_asked_for_the_dearer_list() {
    let put = pb::PutRequest { key: key(), value: "value".into(), ..Default::default() };
    assert_eq!(put_cost(&put), 256 + 3 + 5);
    let inner = txn_op_of(txn_of(vec![put_op("ab")]));
    let request = pb::TxnRequest {
        success: vec![put_op("a")],
        failure: vec![range_op("a", false), inner, put_op("b")],
        ..Default::default()
    };
    assert_eq!(txn_cost(&request), 258 + 257);
    assert_eq!(txn_cost(&txn_of(vec![range_op("a", false)])), 0);
}

#[test]
fn only_plain_reads_make_a_transaction_that_reads() {
    let kind = |success, failure| {
        let request = pb::TxnRequest { success, failure, ..Default::default() };
        txn_kind(&txn(request, 128).expect("valid"))
    };
    assert_eq!(kind(vec![range_op("a", false)], vec![range_op("b", true)]), TxnKind::Reads);
    assert_eq!(kind(vec![range_op("a", true)], vec![]), TxnKind::ReadsStale);
    assert_eq!(kind(vec![], vec![]), TxnKind::ReadsStale);
    assert_eq!(kind(vec![range_op("a", true)], vec![put_op("b")]), TxnKind::Writes);
    assert_eq!(kind(vec![txn_op_of(txn_of(vec![]))], vec![]), TxnKind::Writes);
}
