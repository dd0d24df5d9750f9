//! What the client port answers to plain HTTP; `tests/clients` compares the same with etcd.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::member::Member;
use child::PATIENCE;

/// Status and body of a `GET`.
pub(crate) fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time that is not zero");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("send");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("receive");
    let (head, body) = response.split_once("\r\n\r\n").expect("a response has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

#[test]
fn versions_and_health_are_told_as_etcd_tells_them() {
    let mut member = Member::start(&[]);
    let version = r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#;
    let healthy = r#"{"health":"true","reason":""}"#;
    for (path, body) in [
        ("/version", version),
        ("/health", healthy),
        ("/health?serializable=true", healthy),
        ("/livez", "ok\n"),
        ("/readyz", "ok\n"),
        ("/readyz/linearizable_read", "ok\n"),
    ] {
        assert_eq!(get(member.client_port, path), (200, body.to_owned()), "{path}");
    }
    assert_eq!(get(member.client_port, "/nope").0, 404);
    member.stop();
}
