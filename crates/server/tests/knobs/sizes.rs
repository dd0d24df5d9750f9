//! `--max-request-bytes`, `--quota-backend-bytes`.

use crate::member::{Member, get, put};

#[tokio::test]
async fn the_largest_request_is_the_one_that_etcd_takes() {
    // The same URLs and token give a member of etcd the same id, on which the last byte depends.
    let identity = [
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
    ];
    for (token, largest) in [("etcd-cluster", 1_572_840), ("t3", 1_572_839)] {
        let token = format!("--initial-cluster-token={token}");
        let member = Member::start(&[identity[0], identity[1], &token]);
        let mut kv = member.kv().await;
        kv.put(put("a", vec![b'x'; largest])).await.unwrap();
        let refused = kv.put(put("a", vec![b'x'; largest + 1])).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert_eq!(refused.message(), "etcdserver: request is too large");
    }
}

#[tokio::test]
async fn a_value_larger_than_a_file_of_the_log_survives_a_crash() {
    let flags = ["--max-request-bytes=33554432", "--log-segment-bytes=1048576"];
    let mut member = Member::start(&flags);
    let large = vec![b'x'; 20 << 20];
    let mut kv = member.kv().await.max_decoding_message_size(64 << 20);
    kv.put(put("small", "1")).await.unwrap();
    for key in ["a", "b"] {
        kv.put(put(key, large.clone())).await.unwrap();
    }
    kv.put(put("small", "2")).await.unwrap();
    member.crash(&flags);
    let mut kv = member.kv().await.max_decoding_message_size(64 << 20);
    for key in ["a", "b"] {
        let kvs = kv.range(get(key, 0)).await.unwrap().into_inner().kvs;
        assert!(kvs[0].value == large, "{key} has {} bytes", kvs[0].value.len());
    }
    assert_eq!(kv.range(get("small", 0)).await.unwrap().into_inner().kvs[0].value, "2");
}
