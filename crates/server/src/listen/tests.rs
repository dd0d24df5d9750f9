//! Sockets, protocols and the end, over real connections.

use std::io;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use metastore_proto::etcdserverpb::kv_client::KvClient;
use metastore_proto::etcdserverpb::{PutRequest, RangeRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::grpc::Services;
use crate::toy_member::ToyMember;

async fn http1(port: u16, request: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("the member listens");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("text");
    answer
}

#[tokio::test]
async fn http_and_grpc_share_the_port() {
    let member = ToyMember::start();
    let mut kv = KvClient::new(member.channel().await);
    kv.put(PutRequest { key: "a".into(), ..Default::default() }).await.expect("put");
    let request = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = http1(member.port, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("{\"health\":\"true\",\"reason\":\"\"}"), "{answer}");
}

#[tokio::test]
async fn a_request_without_host_is_a_bad_one() {
    let member = ToyMember::start();
    let answer = http1(member.port, "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
}

#[tokio::test]
async fn a_stale_unix_socket_is_replaced_and_a_file_is_not() {
    let member = ToyMember::start();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("client.sock");
    drop(UnixListener::bind(&path).expect("an earlier run"));
    let address = ListenAddress::Unix(path.clone());
    let bound = Bound::bind(&address, SocketOptions::default()).expect("bound");

    let shutdown = Shutdown::default();
    let grpc = Some(Services::new(member.handle.clone(), shutdown.clone()));
    let serves = Serves {
        grpc,
        http: crate::http::router(member.handle.clone(), crate::http::Origins::all()),
    };
    let settings = ListenSettings { threads: 1, ..ListenSettings::new(Duration::ZERO, 100) };
    let frontend = Frontend::start(vec![Door { bound, serves }], &shutdown, &settings);
    let frontend = frontend.expect("started");
    let socket_path = path.clone();
    let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
    let connector = tower::service_fn(move |_| {
        let path = socket_path.clone();
        async move {
            let socket = tokio::net::UnixStream::connect(path).await?;
            Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(socket))
        }
    });
    let channel = endpoint.connect_with_connector(connector).await.expect("connected");
    let range = RangeRequest { key: "a".into(), ..Default::default() };
    KvClient::new(channel).range(range).await.expect("range");

    shutdown.draining.cancel();
    let joined = tokio::task::spawn_blocking(move || frontend.join());
    tokio::time::timeout(Duration::from_secs(10), joined).await.expect("in time").expect("joined");
    assert!(!path.exists(), "the socket file stays behind");

    std::fs::write(&path, "precious").expect("written");
    Bound::bind(&address, SocketOptions::default()).expect_err("a file is in the way");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
}

#[tokio::test]
async fn a_connection_that_idles_does_not_hold_back_the_end() {
    let mut member = ToyMember::start();
    let silent = TcpStream::connect(("127.0.0.1", member.port)).await.expect("connected");
    let idle = member.channel().await;
    KvClient::new(idle.clone())
        .range(RangeRequest { key: "a".into(), ..Default::default() })
        .await
        .expect("range");
    member.shutdown.draining.cancel();
    let frontend = member.frontend.take().expect("running");
    let joined = tokio::task::spawn_blocking(move || frontend.join());
    tokio::time::timeout(Duration::from_secs(10), joined).await.expect("in time").expect("joined");
    let again = TcpStream::connect(("127.0.0.1", member.port)).await;
    assert!(again.is_err(), "the address is still taken");
    drop((silent, idle));
}

fn bind(address: impl Into<std::net::SocketAddr>) -> Result<Bound, BindError> {
    Bound::bind(&ListenAddress::Tcp(address.into()), SocketOptions::default())
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let first = bind(([127, 0, 0, 1], 0)).expect("a free port");
    let port = first.port().expect("a port");
    let error = bind(([127, 0, 0, 1], port)).expect_err("taken");
    assert_eq!(error.to_string(), format!("listen on 127.0.0.1:{port}"));
}

#[test]
fn every_address_means_both_families() {
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for ip in ["0.0.0.0", "::"] {
        let ip: std::net::IpAddr = ip.parse().expect("an address");
        if ip.is_ipv6() && !has_ipv6 {
            continue;
        }
        let bound = bind((ip, 0)).expect("a free port");
        let port = bound.port().expect("a port");
        let reached = std::net::TcpStream::connect(("127.0.0.1", port));
        reached.unwrap_or_else(|error| panic!("{ip} by IPv4: {error}"));
        if has_ipv6 {
            let reached = std::net::TcpStream::connect(("::1", port));
            reached.unwrap_or_else(|error| panic!("{ip} by IPv6: {error}"));
        }
    }
    let bound = bind(([127, 0, 0, 1], 0)).expect("a free port");
    let port = bound.port().expect("a port");
    assert!(std::net::TcpStream::connect(("::1", port)).is_err(), "one address means one");
}

#[test]
fn a_port_is_shared_only_by_those_who_ask_for_it() {
    let shared = SocketOptions { reuse_port: true };
    let address = |port| ListenAddress::Tcp(([127, 0, 0, 1], port).into());
    let first = Bound::bind(&address(0), shared).expect("a free port");
    let port = first.port().expect("a port");
    Bound::bind(&address(port), shared).expect("shared");
    Bound::bind(&address(port), SocketOptions::default()).expect_err("not shared");
}
