//! Signs of progress by the clock.
//!
//! Timers strike when they like, so that what counts is not how often a sign came but what it said: for
//! each watcher the responses are compared without repetitions, up to the second sign of each that is
//! due one. By then a watcher that is due none would have had its own.

use std::collections::BTreeMap;

use anyhow::Result;
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::watch_request::RequestUnion;

use super::listener::{Listener, watcher};
use super::{Stage, put};

/// A watcher with signs of progress, one without, and one that begins in the future.
const TOLD: i64 = 0;
const UNTOLD: i64 = 1;
const LATER: i64 = 2;
/// Signs of each watcher at one revision that are waited for.
const SIGNS: usize = 2;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.call("KV.Put", &put("a", "1")).await?;
    let (etcd, subject) = stage.connections();
    let (mut etcd, mut subject) = stage.listen((&etcd, &subject)).await?;
    for create in [
        pb::WatchCreateRequest { progress_notify: true, ..watcher("a", "") },
        watcher("a", ""),
        pb::WatchCreateRequest { progress_notify: true, start_revision: 4, ..watcher("a", "") },
    ] {
        let (one, other) = tokio::try_join!(etcd.watch(create.clone()), subject.watch(create))?;
        stage.same_responses("created", &[one], &[other]);
    }
    // Nothing has happened; a write that nobody watches; one that all three do.
    for (writes, revision, due) in
        [(None, 2, &[TOLD][..]), (Some("z"), 3, &[TOLD]), (Some("a"), 4, &[TOLD, LATER])]
    {
        if let Some(key) = writes {
            stage.call("KV.Put", &put(key, "2")).await?;
        }
        let (one, other) =
            tokio::try_join!(heard(&mut etcd, revision, due), heard(&mut subject, revision, due))?;
        for id in [TOLD, UNTOLD, LATER] {
            let of = |heard: &BTreeMap<i64, Vec<_>>| heard.get(&id).cloned().unwrap_or_default();
            stage.same_responses(&format!("watch {id} at {revision}"), &of(&one), &of(&other));
        }
    }
    for listener in [&mut etcd, &mut subject] {
        listener.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: TOLD }));
    }
    let (one, other) = tokio::try_join!(after_cancel(&mut etcd), after_cancel(&mut subject))?;
    stage.same_responses("after the cancel", &one, &other);
    Ok(())
}

/// What came at this revision, without repetitions, until each of these watchers has had its signs.
async fn heard(
    listener: &mut Listener,
    revision: i64,
    due: &[i64],
) -> Result<BTreeMap<i64, Vec<pb::WatchResponse>>> {
    let mut heard: BTreeMap<i64, Vec<pb::WatchResponse>> = BTreeMap::new();
    let mut signs: BTreeMap<i64, usize> = BTreeMap::new();
    while !due.iter().all(|id| signs.get(id).is_some_and(|count| *count >= SIGNS)) {
        let response = listener.next().await?;
        // A sign that was under way before the write.
        if response.header.as_ref().is_some_and(|header| header.revision < revision) {
            continue;
        }
        if response.events.is_empty() {
            *signs.entry(response.watch_id).or_default() += 1;
        }
        let before = heard.entry(response.watch_id).or_default();
        if before.last() != Some(&response) {
            before.push(response);
        }
    }
    Ok(heard)
}

/// From the cancel of the first watcher until the last has had its signs: only the last has some.
async fn after_cancel(listener: &mut Listener) -> Result<Vec<pb::WatchResponse>> {
    let canceled = listener.until(|response| response.canceled).await?;
    let mut responses: Vec<pb::WatchResponse> =
        canceled.into_iter().skip_while(|r| !r.canceled).collect();
    for _ in 0..SIGNS {
        let response = listener.next().await?;
        if responses.last() != Some(&response) {
            responses.push(response);
        }
    }
    Ok(responses)
}
