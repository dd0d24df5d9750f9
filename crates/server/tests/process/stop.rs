//! Stopping: within a bound, whatever clients hold open, and telling them so.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::lease_client::LeaseClient;
use metastore_proto::etcdserverpb::watch_client::WatchClient;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::member::{Member, put};

/// Requests in flight may take as long as a request may; nothing else may take time.
const STOP_TIME_MAX: Duration = Duration::from_secs(7);
/// For what comes before and after the wait on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

fn signal(member: &Member, name: &str) {
    let pid = member.running.id();
    let kill = format!("kill -{name} {pid}");
    let asked = Command::new("bash").args(["-c", &kill]).status().expect("bash starts");
    assert!(asked.success(), "the member runs until it is asked to stop");
}

async fn streams_end_with_unavailable(name: &str) {
    let mut member = Member::start(&[]);
    let mut watches = Vec::new();
    for number in 0..20 {
        let create = pb::WatchCreateRequest {
            key: format!("{number}").into(),
            ..pb::WatchCreateRequest::default()
        };
        let union = pb::watch_request::RequestUnion::CreateRequest(create);
        let request = pb::WatchRequest { request_union: Some(union) };
        // The client never ends its side.
        let requests = tokio_stream::once(request).chain(tokio_stream::pending());
        let mut client = WatchClient::new(member.channel().await);
        let mut stream = client.watch(requests).await.expect("a stream").into_inner();
        assert!(stream.message().await.expect("an answer").expect("an answer").created);
        watches.push(stream);
    }
    let mut lease = LeaseClient::new(member.channel().await);
    lease.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 5 }).await.expect("grant");
    let requests =
        tokio_stream::once(pb::LeaseKeepAliveRequest { id: 5 }).chain(tokio_stream::pending());
    let mut beats = lease.lease_keep_alive(requests).await.expect("a stream").into_inner();
    assert_eq!(beats.message().await.expect("a beat").expect("a beat").ttl, 60);

    let begun = Instant::now();
    signal(&member, name);
    for stream in &mut watches {
        let status = stream.message().await.expect_err("the stream ends");
        // A client resumes its watches after this code and no other.
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    let status = beats.message().await.expect_err("the stream ends");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let status = member.running.wait().expect("it ends in time");
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < STOP_TIME_MAX, "it took {:?}", begun.elapsed());
    let refused = TcpStream::connect(("127.0.0.1", member.client_port));
    assert!(refused.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn sigterm_ends_open_streams_with_unavailable() {
    streams_end_with_unavailable("TERM").await;
}

#[tokio::test]
async fn sigint_ends_open_streams_with_unavailable() {
    streams_end_with_unavailable("INT").await;
}

#[tokio::test]
async fn requests_in_flight_are_answered_and_what_was_answered_is_kept() {
    let member = Member::start(&[]);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let mut kv = member.kv().await;
        writers.spawn(async move {
            let mut acknowledged = 0_u32;
            // The bound is beyond what can be written before the signal is seen.
            for round in 0..1_000_000 {
                match kv.put(put(&format!("{writer}/{round}"), "1")).await {
                    Ok(_) => acknowledged += 1,
                    Err(status) => return (writer, acknowledged, status),
                }
            }
            panic!("the member never stops");
        });
    }
    // Each has an answer before the signal.
    let mut kv = member.kv().await;
    loop {
        let first = pb::RangeRequest {
            key: "0/50".into(),
            range_end: "0/500".into(),
            count_only: true,
            ..pb::RangeRequest::default()
        };
        if kv.range(first).await.expect("range").into_inner().count > 0 {
            break;
        }
    }
    signal(&member, "TERM");
    let mut acknowledged = Vec::new();
    while let Some(ended) = writers.join_next().await {
        let (writer, count, status) = ended.expect("no writer panics");
        // Refused or cut off: never answered wrongly.
        assert!(
            matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal),
            "{status:?}"
        );
        acknowledged.push((writer, count));
    }
    let mut member = member.ended().await;
    member.start_again();
    let mut kv = member.kv().await;
    for (writer, count) in acknowledged {
        let keys = pb::RangeRequest {
            key: format!("{writer}/").into(),
            range_end: format!("{writer}0").into(),
            count_only: true,
            ..pb::RangeRequest::default()
        };
        let kept = kv.range(keys).await.expect("range").into_inner().count;
        // One more may have been written whose answer did not arrive.
        assert!(kept >= i64::from(count), "{writer}: {kept} of {count}");
    }
    member.stopped().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_hold_up_the_stop() {
    let mut member = Member::start(&[]);
    let silent: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(("127.0.0.1", member.client_port)).expect("connect"))
        .collect();
    let begun = Instant::now();
    member.stop();
    assert!(begun.elapsed() < STOP_TIME_MAX, "it took {:?}", begun.elapsed());
    drop(silent);
}

#[tokio::test]
async fn a_client_that_hangs_holds_up_the_stop_no_longer_than_a_request_may_take() {
    let mut member = Member::start(&[]);
    let mut kv = member.kv().await;
    kv.put(put("a", "1")).await.expect("put");
    let begun = Instant::now();
    // Its connection lives on this thread, which does nothing else now.
    member.stop();
    assert!(begun.elapsed() < STOP_TIME_MAX + SLACK, "it took {:?}", begun.elapsed());
    drop(kv);
}

#[test]
fn a_second_signal_does_no_harm() {
    let mut member = Member::start(&[]);
    signal(&member, "TERM");
    let pid = member.running.id();
    // It may be gone already.
    let kill = format!("kill -TERM {pid} 2>/dev/null; kill -INT {pid} 2>/dev/null; true");
    Command::new("bash").args(["-c", &kill]).status().expect("bash starts");
    let status = member.running.wait().expect("it ends in time");
    assert_eq!(status.code(), Some(0));
}
