//! Where a member listens, what it serves there, and how it treats connections.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use child::PATIENCE;
use child::ports::free_ports;

use crate::member::{Member, get, put};

/// Status and body of a GET; nothing if the connection is closed without an answer.
async fn http(port: u16, path: &str) -> (String, String) {
    http_from(port, path, "http://nobody").await.1
}

async fn http_from(port: u16, path: &str, origin: &str) -> (String, (String, String)) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (head.to_ascii_lowercase(), (status.to_owned(), body.to_owned()))
}

const NOT_FOUND: &str = "404 page not found\n";
const VERSION: &str = r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#;
const HEALTHY: &str = r#"{"health":"true","reason":""}"#;

fn is(status: &str, body: &str) -> (String, String) {
    (status.to_owned(), body.to_owned())
}

#[tokio::test]
async fn clients_monitoring_and_members_find_what_is_theirs_and_nothing_else() {
    let [http_port, metrics_port] = free_ports();
    let member = Member::start(&[
        &format!("--listen-client-http-urls=http://127.0.0.1:{http_port}"),
        &format!("--listen-metrics-urls=http://127.0.0.1:{metrics_port}"),
    ]);
    // gRPC has a door of its own, without HTTP behind it.
    member.kv().await.put(put("a", "1")).await.unwrap();
    assert_eq!(http(member.client_port, "/health").await, is("404", NOT_FOUND));

    assert_eq!(http(http_port, "/health").await, is("200", HEALTHY));
    assert_eq!(http(http_port, "/version").await, is("200", VERSION));

    assert_eq!(http(metrics_port, "/health").await, is("200", HEALTHY));
    assert_eq!(http(metrics_port, "/livez").await, is("200", "ok\n"));
    assert_eq!(http(metrics_port, "/readyz/linearizable_read").await, is("200", "ok\n"));
    assert_eq!(http(metrics_port, "/version").await, is("404", NOT_FOUND));
    assert_eq!(http(metrics_port, "/metrics").await, is("404", NOT_FOUND));

    assert_eq!(http(member.peer_port, "/version").await, is("200", VERSION));
    assert_eq!(http(member.peer_port, "/health").await, is("404", NOT_FOUND));
    let channel = format!("http://127.0.0.1:{}", member.peer_port);
    let channel = tonic::transport::Endpoint::from_shared(channel).unwrap().connect().await;
    let mut kv = metastore_proto::etcdserverpb::kv_client::KvClient::new(channel.unwrap());
    kv.range(get("a", 0)).await.expect_err("members are not served as clients are");
}

#[tokio::test]
async fn http_and_grpc_share_a_door_unless_told_otherwise() {
    let member = Member::start(&["--cors=http://a.example,http://b.example"]);
    member.kv().await.put(put("a", "1")).await.unwrap();
    assert_eq!(http(member.client_port, "/health").await, is("200", HEALTHY));
    // Pages of the two sites may call, others are not told that they may.
    let admitted = "access-control-allow-origin: http://b.example\r\n";
    let (head, _) = http_from(member.client_port, "/version", "http://b.example").await;
    assert!(head.contains(admitted), "{head}");
    let (head, _) = http_from(member.client_port, "/version", "http://c.example").await;
    assert!(!head.contains("access-control"), "{head}");
}

#[tokio::test]
async fn unix_sockets_serve_clients() {
    let member = Member::start(&[]);
    let path = member.folder().join("client.sock");
    // The last of several flags counts; the port of the first one stays free.
    let url = format!("unix://{}", path.display());
    let other = Member::start(&["--listen-client-urls", &url]);
    let mut socket = tokio::net::UnixStream::connect(&path).await.unwrap();
    socket.write_all(b"GET /health HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(HEALTHY), "{answer}");
    drop(other);
}

/// HTTP/2 by hand: what a member says on a connection on which its client says nothing.
struct Frames(TcpStream);

struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

const SETTINGS: u8 = 4;
const PING: u8 = 6;

impl Frames {
    async fn connect(port: u16) -> Frames {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        // Settings of no content: everything as usual.
        socket.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
        Frames(socket)
    }

    /// The next frame; `None` when the member closes the connection.
    async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("in time")
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind: head[3], flags: head[4], payload })
    }
}

#[tokio::test]
async fn a_silent_connection_is_pinged_and_closed_if_it_stays_silent() {
    let member = Member::start(&[
        "--grpc-keepalive-interval=100ms",
        "--grpc-keepalive-timeout=150ms",
        "--max-concurrent-streams=7",
    ]);
    let mut frames = Frames::connect(member.client_port).await;
    let settings = frames.next().await.unwrap();
    assert_eq!((settings.kind, settings.flags), (SETTINGS, 0));
    // Identifier 3 is the number of streams.
    let streams = settings.payload.chunks(6).find(|entry| entry[..2] == [0, 3]);
    assert_eq!(streams.unwrap()[2..], [0, 0, 0, 7]);
    let mut pinged = None;
    while let Some(frame) = frames.next().await {
        if frame.kind == PING && frame.flags == 0 {
            pinged.get_or_insert_with(Instant::now);
        }
    }
    let waited = pinged.expect("a ping before the end").elapsed();
    assert!(waited >= Duration::from_millis(100), "closed {waited:?} after the ping");
}

#[tokio::test]
async fn a_connection_is_not_pinged_if_the_answer_makes_no_difference() {
    let member = Member::start(&["--grpc-keepalive-interval=50ms", "--grpc-keepalive-timeout=0s"]);
    let mut silent = Frames::connect(member.client_port).await;
    let mut kv = member.kv().await;
    // Long enough for several pings; what happens meanwhile is ordinary work.
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        kv.put(put("a", "1")).await.unwrap();
    }
    while let Ok(frame) = tokio::time::timeout(Duration::ZERO, silent.read()).await {
        assert_ne!(frame.expect("still open").kind, PING);
    }
}

#[test]
fn a_port_is_shared_by_processes_that_ask_for_it() {
    let first = Member::start(&["--socket-reuse-port"]);
    let url = format!("http://127.0.0.1:{}", first.client_port);
    let second = Member::start(&["--socket-reuse-port", "--listen-client-urls", &url]);
    drop(second);
}
