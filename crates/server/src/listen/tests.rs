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

/// `Status` as etcdctl 3.4 asks it of `--endpoints http://127.0.0.1:24790`: the URL is its `:authority`.
const STATUS_OF_A_URL: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x3a\x01\x04\x00\x00\x00\x01\x83\x86\x45\x97\x60\xa9\x24\x88\x2d\x9d\xcb\x65\x71\xaf\
    \xa0\x66\xa9\x25\xa8\x75\x10\xac\x6e\x48\xd3\x6a\x3f\x41\x90\x9d\x29\xae\xe3\x0c\x04\x4e\xae\
    \x05\xc0\xb8\x6e\x09\xa7\x5f\x07\x5f\x8b\x1d\x75\xd0\x62\x0d\x26\x3d\x4c\x4d\x65\x64\
    \x00\x00\x05\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00";

#[tokio::test]
async fn a_request_whose_authority_is_a_url_is_served() {
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    let member = ToyMember::start();
    let mut socket =
        TcpStream::connect(("127.0.0.1", member.port)).await.expect("the member listens");
    socket.write_all(STATUS_OF_A_URL).await.expect("sent");
    let first_answer = async {
        loop {
            let mut head = [0; 9];
            socket.read_exact(&mut head).await.expect("the head of a frame");
            let mut payload = vec![0; usize::from(head[2]) | usize::from(head[1]) << 8];
            socket.read_exact(&mut payload).await.expect("the frame");
            if [HEADERS, RESET].contains(&head[3]) {
                break (head[3], payload);
            }
        }
    };
    let answered = tokio::time::timeout(Duration::from_secs(10), first_answer).await;
    let (kind, payload) = answered.expect("in time");
    // Number 8 of the table of headers: `:status: 200`.
    assert_eq!((kind, payload[0]), (HEADERS, 0x88), "{payload:x?}");
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
