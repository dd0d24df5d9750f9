//! Leases that run out.
//!
//! ```text
//! lease   1        4, 5 (together)      6 (renewed)        3
//! ────────┼────────┼────────────────────┼──────────────────┼─────▶ time
//! keys    a, b     d | e                f stays            m, n
//! ```
//!
//! etcd looks for such leases every half second; those that run out a second apart go one after the
//! other, and of those that run out together either may go first.

use std::time::Duration;

use anyhow::Result;
use metastore_proto::etcdserverpb as pb;
use metastore_proto::mvccpb::event::EventType;
use prost::Message as _;

use super::listener::watcher;
use super::{Stage, path, put};

/// A small part of its time to live: a busy machine may be late.
const RENEWED_EVERY: Duration = Duration::from_millis(250);
/// The lease that is renewed until the others have run out.
const RENEWED: i64 = 6;
/// Ids and seconds to live.
const LEASES: [(i64, i64); 6] = [(1, 1), (2, 1), (3, 5), (4, 3), (5, 3), (RENEWED, 2)];

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let (etcd, subject) = stage.connections();
    let (mut etcd_events, mut events) = stage.listen((&etcd, &subject)).await?;
    let everything = pb::WatchCreateRequest { prev_kv: true, ..watcher("\0", "\0") };
    let (one, other) =
        tokio::try_join!(etcd_events.watch(everything.clone()), events.watch(everything))?;
    stage.same_responses("created", &[one], &[other]);
    fill(stage).await?;

    // A stream each, on which the same lease is renewed over and over.
    let keep = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(RENEWED_EVERY);
        let keep_alive = path("Lease.LeaseKeepAlive");
        let (Ok(mut one), Ok(mut other)) =
            (etcd.begin(&keep_alive, &[]).await, subject.begin(&keep_alive, &[]).await)
        else {
            return;
        };
        loop {
            ticks.tick().await;
            let request = pb::LeaseKeepAliveRequest { id: RENEWED }.encode_to_vec().into();
            one.send(&request);
            other.send(&request);
        }
    });
    let is_last = |response: &pb::WatchResponse| {
        response.events.iter().any(|event| {
            event.r#type() == EventType::Delete && event.kv.as_ref().is_some_and(|kv| kv.key == "n")
        })
    };
    let (one, other) = tokio::try_join!(etcd_events.until(is_last), events.until(is_last))?;
    stage.same_responses("gone", &in_one_order(one), &in_one_order(other));
    for id in [1, 2, 3, 4, 5, 99] {
        look(stage, id).await?;
    }
    stage.call("Lease.LeaseKeepAlive", &pb::LeaseKeepAliveRequest { id: RENEWED }).await?;
    stage.call("Lease.LeaseLeases", &pb::LeaseLeasesRequest {}).await?;

    keep.abort();
    let is_last = |response: &pb::WatchResponse| !response.events.is_empty();
    let (one, other) = tokio::try_join!(etcd_events.until(is_last), events.until(is_last))?;
    stage.same_responses("the renewed one gone", &one, &other);
    look(stage, RENEWED).await?;
    let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    stage.call("KV.Range", &all).await?;
    // What expired is free again.
    stage.call("Lease.LeaseGrant", &pb::LeaseGrantRequest { id: 1, ttl: 1000 }).await?;
    stage.call("Lease.LeaseTimeToLive", &pb::LeaseTimeToLiveRequest { id: 1, keys: true }).await
}

/// Leases and their keys: one has none, one has given a key away, one has lost one to no lease at all.
async fn fill(stage: &mut Stage) -> Result<()> {
    for (id, ttl) in LEASES {
        stage.call("Lease.LeaseGrant", &pb::LeaseGrantRequest { id, ttl }).await?;
    }
    for (key, lease) in [
        ("m", 1),
        ("b", 1),
        ("a", 1),
        ("c", 1),
        ("c", 0),
        ("m", 3),
        ("n", 3),
        ("d", 4),
        ("e", 5),
        ("f", RENEWED),
    ] {
        stage.call("KV.Put", &pb::PutRequest { lease, ..put(key, key) }).await?;
    }
    Ok(())
}

/// Everything that can be asked about a lease that is gone.
async fn look(stage: &mut Stage, id: i64) -> Result<()> {
    for keys in [true, false] {
        let request = pb::LeaseTimeToLiveRequest { id, keys };
        stage.call("Lease.LeaseTimeToLive", &request).await?;
    }
    stage.call("Lease.LeaseKeepAlive", &pb::LeaseKeepAliveRequest { id }).await?;
    stage.call("Lease.LeaseRevoke", &pb::LeaseRevokeRequest { id }).await?;
    stage.call("KV.Put", &pb::PutRequest { lease: id, ..put("x", "") }).await
}

/// The responses with those of the two leases that run out together in the order of their keys, the
/// revisions staying where they were.
fn in_one_order(mut responses: Vec<pb::WatchResponse>) -> Vec<pb::WatchResponse> {
    let of = |key: &str, response: &pb::WatchResponse| {
        response.events.iter().any(|event| {
            event.r#type() == EventType::Delete && event.kv.as_ref().is_some_and(|kv| kv.key == key)
        })
    };
    let first = responses.iter().position(|response| of("d", response));
    let second = responses.iter().position(|response| of("e", response));
    if let (Some(first), Some(second)) = (first, second)
        && first > second
    {
        responses.swap(first, second);
        let (revision, other) = (revision(&responses[first]), revision(&responses[second]));
        set_revision(&mut responses[first], other);
        set_revision(&mut responses[second], revision);
    }
    responses
}

fn revision(response: &pb::WatchResponse) -> i64 {
    response.header.as_ref().map_or(0, |header| header.revision)
}

fn set_revision(response: &mut pb::WatchResponse, revision: i64) {
    if let Some(header) = &mut response.header {
        header.revision = revision;
    }
    for kv in response.events.iter_mut().filter_map(|event| event.kv.as_mut()) {
        kv.mod_revision = revision;
    }
}
