//! A server that is told to stop.
//!
//! | at the moment of the signal | what its client sees |
//! |---|---|
//! | a list on its way | all of it, and success |
//! | a snapshot on its way | all of it, and success |
//! | a watch, a keep-alive | `Unavailable`: client libraries connect elsewhere |
//! | a new call on an old connection | it is not carried out |
//! | a new connection | is refused |

use std::time::Duration;

use anyhow::{Result, ensure};
use metastore_proto::etcdserverpb as pb;
use prost::Message as _;
use tokio::net::TcpStream;

use super::listener::watcher;
use super::{Stage, path, put};
use crate::answer::Answer;
use crate::aside;
use crate::fault::Fault;
use crate::step::call;
use crate::wire::{Connection, Stream};

/// What a client lets the server send ahead: little, so that a list is on its way for as long as it likes.
const WINDOW_BYTES: u32 = 65_535;
/// A list of so many values is larger than what both ends hold.
const VALUES: usize = 16;
const VALUE_BYTES: usize = 1 << 20;
/// How often it is tried whether nobody listens any more, and how many times.
const TRIED_EVERY: Duration = Duration::from_millis(5);
const TRIES_MAX: usize = 6_000;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    for number in 0..VALUES {
        stage.call("KV.Put", &put(format!("{number:02}"), vec![b'x'; VALUE_BYTES])).await?;
    }
    stage.call("Lease.LeaseGrant", &pb::LeaseGrantRequest { id: 1, ttl: 1000 }).await?;
    let (etcd, subject) = stage.connections();
    let (one, other) = tokio::try_join!(UnderWay::begin(&etcd), UnderWay::begin(&subject))?;
    stage.driver.terminate()?;
    let fault = stage.fault;
    let (one, other) = tokio::try_join!(one.seen(None), other.seen(fault))?;
    for (one, other) in one.into_iter().zip(other) {
        stage.same("at the stop", one, other);
    }
    Ok(())
}

/// What is under way with one server when it is told to stop.
struct UnderWay {
    connection: Connection,
    list: Stream,
    snapshot: Stream,
    watch: Stream,
    renewals: Stream,
}

impl UnderWay {
    async fn begin(connection: &Connection) -> Result<UnderWay> {
        let slow = Connection::open_with_window(connection.address(), WINDOW_BYTES).await?;
        let all =
            pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        let list = begin(&slow, "KV.Range", all.encode_to_vec()).await?;
        let snapshot = begin(&slow, "Maintenance.Snapshot", Vec::new()).await?;
        let connection = Connection::open(connection.address()).await?;
        let create = pb::watch_request::RequestUnion::CreateRequest(watcher("w", ""));
        let create = pb::WatchRequest { request_union: Some(create) };
        let mut watch = connection.begin(&path("Watch.Watch"), &[]).await?;
        watch.send(&create.encode_to_vec().into());
        let mut renewals = connection.begin(&path("Lease.LeaseKeepAlive"), &[]).await?;
        renewals.send(&pb::LeaseKeepAliveRequest { id: 1 }.encode_to_vec().into());
        ensure!(watch.next().await.is_some(), "no watcher: {:?}", watch.reply);
        ensure!(renewals.next().await.is_some(), "no renewal: {:?}", renewals.reply);
        Ok(UnderWay { connection, list, snapshot, watch, renewals })
    }

    /// What its clients see after the signal, a line for each.
    async fn seen(self, fault: Option<Fault>) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let address = self.connection.address();
        let mut ticks = tokio::time::interval(TRIED_EVERY);
        let mut tries_count = 0;
        while TcpStream::connect(address).await.is_ok() {
            ticks.tick().await;
            tries_count += 1;
            ensure!(tries_count < TRIES_MAX, "{address} still listens");
        }
        // The connections that there are hear of it in their turn.
        let new = call(&path("KV.Put"), &put("new", "1"));
        while self.connection.call(&new).await.code == Some(0) {
            ticks.tick().await;
            tries_count += 1;
            ensure!(tries_count < TRIES_MAX, "{address} still serves");
        }
        for (method, stream) in [("KV.Range", self.list), ("Maintenance.Snapshot", self.snapshot)] {
            lines.push(whole(method, stream).await);
        }
        for (name, mut stream) in [("watch", self.watch), ("renewals", self.renewals)] {
            while stream.next().await.is_some() {}
            let code = match (fault, stream.reply.code_for_clients()) {
                (Some(Fault::OtherEnd), 14) => 1,
                (_, code) => code,
            };
            lines.push(format!(
                "{name}: code {code} after {} messages",
                stream.reply.messages.len()
            ));
        }
        Ok(lines)
    }
}

/// How an answer that was on its way has ended: what is in it is compared elsewhere, here that it is whole.
async fn whole(method: &str, mut stream: Stream) -> String {
    while stream.next().await.is_some() {}
    let mut answer = Answer::of(&path(method), stream.reply);
    aside::put_aside(&mut answer);
    let field = |name| answer.messages.first().and_then(|message| message.get_field_by_name(name));
    let count = field("count").map(|count| count.to_string());
    let (code, text, messages) = (answer.code, &answer.text, answer.messages.len());
    format!("{method}: {code:?} {text:?}, {messages} messages, count {count:?}")
}

/// Begins a call with one request, and waits until it is being answered.
async fn begin(connection: &Connection, method: &str, request: Vec<u8>) -> Result<Stream> {
    let mut stream = connection.begin(&path(method), &[]).await?;
    stream.send(&request.into());
    stream.close();
    stream.answered().await;
    Ok(stream)
}
