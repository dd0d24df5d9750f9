//! The server's messages and everybody else's are the same bytes.

use bytes::Bytes;
use metastore_proto::etcdserverpb::{self as normal, ResponseHeader};
use metastore_proto::mvccpb::KeyValue;
use metastore_proto::server;
use metastore_proto::v3electionpb;
use prost::Message;
use server::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, RangeStreamResponse, ResponseOp, TxnResponse,
    response_op::Response,
};

fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: u64::MAX, member_id: 1, revision: 300, raft_term: 2 })
}

fn key_value(key: &str) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        create_revision: 2,
        mod_revision: 300,
        version: 7,
        value: vec![b'v'; 200].into(),
        lease: -1,
    }
}

fn encoded(key: &str) -> Bytes {
    key_value(key).encode_to_vec().into()
}

/// What the server sends, as the client reads it; and that the client would write the same.
fn read<T: Message + Default>(sent: &impl Message) -> T {
    let bytes = sent.encode_to_vec();
    assert_eq!(bytes.len(), sent.encoded_len());
    let read = T::decode(&bytes[..]).expect("the client can read it");
    assert_eq!(read.encode_to_vec(), bytes);
    read
}

#[test]
fn a_client_reads_the_key_values_that_the_server_prepared() {
    let kvs = vec![encoded("a"), encoded("b")];
    let range = RangeResponse { header: header(), kvs, more: true, count: 9 };
    let read_range: normal::RangeResponse = read(&range);
    assert_eq!(read_range.kvs, [key_value("a"), key_value("b")]);
    assert_eq!((read_range.header, read_range.more, read_range.count), (header(), true, 9));

    let stream = RangeStreamResponse { range_response: Some(range) };
    let read_stream: normal::RangeStreamResponse = read(&stream);
    assert_eq!(read_stream.range_response, Some(read_range));

    let leader =
        server::v3electionpb::LeaderResponse { header: header(), kv: encoded("candidate") };
    assert_eq!(read::<v3electionpb::LeaderResponse>(&leader).kv, Some(key_value("candidate")));
}

#[test]
fn a_transaction_carries_prepared_key_values_at_every_depth() {
    let put = PutResponse { header: header(), prev_kv: encoded("p") };
    let delete = DeleteRangeResponse { header: header(), deleted: 1, prev_kvs: vec![encoded("d")] };
    let range = RangeResponse { kvs: vec![encoded("r")], count: 1, ..Default::default() };
    let op = |response| ResponseOp { response: Some(response) };
    let inner = TxnResponse {
        header: Some(ResponseHeader::default()),
        succeeded: false,
        responses: vec![op(Response::ResponseDeleteRange(delete))],
    };
    let txn = TxnResponse {
        header: header(),
        succeeded: true,
        responses: vec![
            op(Response::ResponsePut(put)),
            op(Response::ResponseRange(range)),
            op(Response::ResponseTxn(inner)),
        ],
    };

    let read_txn: normal::TxnResponse = read(&txn);
    let responses: Vec<_> =
        read_txn.responses.into_iter().map(|op| op.response.expect("a response")).collect();
    use normal::response_op::Response as Read;
    let [Read::ResponsePut(put), Read::ResponseRange(range), Read::ResponseTxn(inner)] =
        &responses[..]
    else {
        panic!("other responses than sent: {responses:?}");
    };
    assert_eq!(put.prev_kv, Some(key_value("p")));
    assert_eq!(range.kvs, [key_value("r")]);
    let Some(Read::ResponseDeleteRange(delete)) = &inner.responses[0].response else {
        panic!("another inner response than sent: {inner:?}");
    };
    assert_eq!(delete.prev_kvs, [key_value("d")]);
}

#[test]
fn no_previous_key_value_is_absent_and_not_empty() {
    let put = PutResponse { header: header(), prev_kv: Bytes::new() };
    assert_eq!(read::<normal::PutResponse>(&put).prev_kv, None);
}
