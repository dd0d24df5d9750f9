//! Watchers whose history is compacted before they have got it.
//!
//! ```text
//! watcher    reads nothing while 400 revisions come and all but the last are compacted
//! then reads 2, 3, 4, … 140 │ canceled, compact_revision 401
//!            the beginning, without a gap, as far as the buffers reach
//! ```

use std::slice::from_ref;

use anyhow::{Result, ensure};
use bytes::Bytes;
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::watch_request::RequestUnion;

use super::listener::{Listener, watcher};
use super::{Stage, put};
use crate::wire::Connection;

/// What a client lets the server send ahead: little, and the least that HTTP/2 allows.
const WINDOW_BYTES: u32 = 65_535;
/// Together far more than both ends hold for a stream.
const VALUE_BYTES: usize = 32 << 10;
const WRITES: i64 = 400;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let (etcd, subject) = stage.connections();
    let etcd = Connection::open_with_window(etcd.address(), WINDOW_BYTES).await?;
    let subject = Connection::open_with_window(subject.address(), WINDOW_BYTES).await?;
    let (mut one, mut other) = stage.listen((&etcd, &subject)).await?;
    // Nobody reads what comes for this one.
    let (created, by_subject) =
        tokio::try_join!(one.watch(watcher("k", "")), other.watch(watcher("k", "")))?;
    stage.same_responses("created", &[created], &[by_subject]);
    for _ in 0..WRITES {
        stage.call("KV.Put", &put("k", Bytes::from(vec![b'x'; VALUE_BYTES]))).await?;
    }
    let now = stage.driver.world.revision;
    stage.call("KV.Compact", &pb::CompactionRequest { revision: now, physical: true }).await?;
    let is_cut = |response: &pb::WatchResponse| response.canceled;
    let (by_etcd, by_subject) = tokio::try_join!(one.until(is_cut), other.until(is_cut))?;
    for responses in [&by_etcd, &by_subject] {
        let count = beginning(responses, 2)?;
        ensure!((1..WRITES).contains(&count), "{count} of {WRITES} came before the cut");
    }
    stage.same_responses(
        "the cut",
        &by_etcd[by_etcd.len() - 1..],
        &by_subject[by_subject.len() - 1..],
    );
    after_the_cut(stage, (&mut one, &mut other), now).await?;
    while_catching_up(stage, (&mut one, &mut other)).await
}

/// How many events came; they have to be those from this revision on, one in each. How many there are
/// cannot be compared, and so neither server is taken for the measure of the other.
fn beginning(responses: &[pb::WatchResponse], first: i64) -> Result<i64> {
    let revisions = responses.iter().flat_map(|response| &response.events);
    let revisions = revisions.filter_map(|event| event.kv.as_ref()).map(|kv| kv.mod_revision);
    let mut next = first;
    for revision in revisions {
        ensure!(revision == next, "revision {revision} came where {next} was due");
        next += 1;
    }
    Ok(next - first)
}

/// The id is taken until the client gives it back; a new watcher gets what the compaction has left.
async fn after_the_cut(
    stage: &mut Stage,
    (one, other): (&mut Listener, &mut Listener),
    compacted: i64,
) -> Result<()> {
    let again =
        pb::WatchCreateRequest { watch_id: 5, start_revision: compacted, ..watcher("k", "") };
    let cancel = |watch_id| RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id });
    let progress = || RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
    for (requests, answers) in [
        (vec![progress(), cancel(0)], 1),
        (vec![RequestUnion::CreateRequest(again)], 2),
        (vec![cancel(5), cancel(0)], 1),
    ] {
        for listener in [&mut *one, &mut *other] {
            requests.iter().for_each(|request| listener.send(request.clone()));
        }
        for _ in 0..answers {
            let (by_etcd, by_subject) = tokio::try_join!(one.next(), other.next())?;
            stage.same_responses("after the cut", &[by_etcd], &[by_subject]);
        }
    }
    Ok(())
}

/// A watcher begins in history that is compacted while it reads. It is cut off or it is quicker; what it
/// has got until then has no gap, and if both were cut off it was with the same words.
async fn while_catching_up(
    stage: &mut Stage,
    (one, other): (&mut Listener, &mut Listener),
) -> Result<()> {
    let first = stage.driver.world.revision + 1;
    for _ in 0..WRITES {
        stage.call("KV.Put", &put("k", Bytes::from(vec![b'x'; VALUE_BYTES]))).await?;
    }
    let now = stage.driver.world.revision;
    for listener in [&mut *one, &mut *other] {
        let create = pb::WatchCreateRequest { start_revision: first, ..watcher("k", "") };
        listener.send(RequestUnion::CreateRequest(create));
    }
    stage.call("KV.Compact", &pb::CompactionRequest { revision: now, physical: false }).await?;
    let is_over = |response: &pb::WatchResponse| {
        let last = response.events.last().and_then(|event| event.kv.as_ref());
        response.canceled || last.is_some_and(|kv| kv.mod_revision == now)
    };
    let (by_etcd, by_subject) = tokio::try_join!(one.until(is_over), other.until(is_over))?;
    for responses in [&by_etcd, &by_subject] {
        let count = beginning(responses, first)?;
        let is_cut = responses.last().is_some_and(|last| last.canceled);
        ensure!(is_cut || count == WRITES, "{count} events of {WRITES}, and no word why");
    }
    stage.same_responses("created in history", &by_etcd[..1], &by_subject[..1]);
    let (Some(last), Some(other_last)) = (by_etcd.last(), by_subject.last()) else { return Ok(()) };
    if last.canceled && other_last.canceled {
        stage.same_responses("the cut in history", from_ref(last), from_ref(other_last));
    }
    Ok(())
}
