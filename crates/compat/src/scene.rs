//! What randomized requests cannot show, because it takes its time or its place: each a short play of
//! its own, on fresh servers with flags of their own.
//!
//! | scene | what is compared |
//! |---|---|
//! | [`Scene::Progress`] | signs of progress by the clock: for whom, with which revision, for whom never |
//! | [`Scene::Expiry`] | leases that run out: which keys go in which revision, in which order, what is left |
//! | [`Scene::Quota`] | a full member: what it refuses in which words, what it allows, how it recovers |
//! | [`Scene::SlowWatcher`] | a watcher whose history is compacted before it has read it |
//! | [`Scene::Stop`] | SIGTERM: what calls under way, streams and new calls get |
//!
//! ```text
//! Scene ─▶ Stage ─┬─▶ etcd ──────▶ what was seen ─┐
//!                 └─▶ metastore ─▶ what was seen ─┴─▶ compare ─▶ differences
//! ```
//!
//! What is *not* compared, because etcd itself does it now so and now otherwise:
//!
//! - how often a timer has struck, and the order of what two timers do;
//! - which of two leases goes first that run out in the same half second;
//! - how much fits a quota: etcd counts pages of a file, MetaStore what the data takes;
//! - how many events a slow watcher gets before it is cut off: as many as the buffers of both ends
//!   hold. And a watcher that reads history may be quicker than a compaction; then it gets all of it.
//!   Either way its events must be the beginning of the history, without a gap;
//! - how long a stop takes, and how a stream is torn: by a status or by the end of its connection. Both
//!   mean `Unavailable` to a client library, and that is compared.

mod expiry;
mod listener;
mod progress;
mod quota;
mod slow_watcher;
mod stop;

use std::fmt;

use anyhow::Result;
use metastore_proto::etcdserverpb as pb;
use prost::Message;

use crate::answer::{Answer, Difference, compare, compare_messages};
use crate::driver::{Driver, Found};
use crate::fault::Fault;
use crate::run::Pair;
use crate::step::{Step, call};
use crate::wire::Connection;
use crate::{aside, schema};
use listener::Listener;

/// A play for two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// See the module.
    Progress,
    /// See the module.
    Expiry,
    /// See the module.
    Quota,
    /// See the module.
    SlowWatcher,
    /// See the module.
    Stop,
}

impl Scene {
    /// All of them.
    pub const ALL: [Scene; 5] =
        [Scene::Progress, Scene::Expiry, Scene::Quota, Scene::SlowWatcher, Scene::Stop];

    /// A difference that has to be found in this scene, for it is about it.
    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Scene::Progress => Fault::WrongProgressRevision,
            Scene::Expiry => Fault::EventWithoutPrevKv,
            Scene::Quota => Fault::WrongText,
            Scene::SlowWatcher => Fault::WrongCompactRevision,
            Scene::Stop => Fault::OtherEnd,
        }
    }

    /// Plays it with both and tells where they differ, the subject spoiled by the fault if there is
    /// one.
    ///
    /// # Errors
    ///
    /// If a server does not start, stop or listen.
    pub async fn play(self, pair: &Pair, fault: Option<Fault>) -> Result<Vec<Found>> {
        let mut stage = Stage::set(pair, self.flags(), fault).await?;
        match self {
            Scene::Progress => progress::play(&mut stage).await?,
            Scene::Expiry => expiry::play(&mut stage).await?,
            Scene::Quota => quota::play(&mut stage).await?,
            Scene::SlowWatcher => slow_watcher::play(&mut stage).await?,
            Scene::Stop => stop::play(&mut stage).await?,
        }
        Ok(stage.driver.found)
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Scene::Progress => &["--watch-progress-notify-interval=100ms"],
            // The shortest lease takes one and a half election timeouts, in whole seconds.
            Scene::Expiry => &["--heartbeat-interval=50", "--election-timeout=500"],
            Scene::Quota => &["--quota-backend-bytes=1048576"],
            Scene::SlowWatcher => &[],
            // etcd waits for open streams as long as a request may take: 5 s and two of these.
            Scene::Stop => &["--heartbeat-interval=20", "--election-timeout=100"],
        }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Two servers of a scene.
struct Stage {
    driver: Driver,
    fault: Option<Fault>,
}

impl Stage {
    async fn set(pair: &Pair, flags: &[&str], fault: Option<Fault>) -> Result<Stage> {
        let mut all = vec!["--unsafe-no-fsync".to_owned()];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut driver = pair.start_with(&all).await?;
        driver.plant(fault);
        Ok(Stage { driver, fault })
    }

    /// Makes a call of both and compares the answers.
    async fn call(&mut self, method: &str, request: &impl Message) -> Result<()> {
        self.driver.step(&Step::call(&path(method), request)).await
    }

    /// Asks both, each its own, and compares codes and texts only; tells etcd's answer and the other.
    async fn call_each(
        &mut self,
        method: &str,
        (etcd, subject): (&impl Message, &impl Message),
    ) -> (Answer, Answer) {
        let (one, other) = self.connections();
        let (etcd, subject) = (call(&path(method), etcd), call(&path(method), subject));
        let (one, other) = tokio::join!(one.call(&etcd), other.call(&subject));
        let mut answers = [(&etcd, one), (&subject, other)].map(|(call, reply)| {
            let mut answer = Answer::of(&call.path, reply);
            aside::put_aside(&mut answer);
            answer
        });
        self.spoil(&mut answers[1]);
        let [one, other] = answers;
        let only_statuses = |answer: &Answer| Answer { messages: Vec::new(), ..answer.clone() };
        for difference in compare(&only_statuses(&one), &only_statuses(&other)) {
            self.driver.report(etcd.to_string(), difference);
        }
        (one, other)
    }

    fn spoil(&mut self, answer: &mut Answer) {
        if self.fault.is_some_and(|fault| fault.spoil(answer)) {
            self.fault = None;
        }
    }

    fn connections(&self) -> (Connection, Connection) {
        let (etcd, subject) = self.driver.connections();
        (etcd.clone(), subject.clone())
    }

    /// Opens a watch stream at each, on these connections.
    async fn listen(
        &self,
        (etcd, subject): (&Connection, &Connection),
    ) -> Result<(Listener, Listener)> {
        let etcd = Listener::open(etcd, None).await?;
        Ok((etcd, Listener::open(subject, self.fault).await?))
    }

    /// Compares what was seen of each, as text.
    fn same(&mut self, place: &str, etcd: impl fmt::Display, subject: impl fmt::Display) {
        let difference = Difference::new(place, etcd, subject);
        if difference.etcd != difference.subject {
            self.driver.report("seen in this scene".to_owned(), difference);
        }
    }

    /// Compares two runs of watch responses, field by field.
    fn same_responses(
        &mut self,
        place: &str,
        etcd: &[pb::WatchResponse],
        subject: &[pb::WatchResponse],
    ) {
        self.same(&format!("{place}.len"), texts(etcd), texts(subject));
        for (index, (one, other)) in etcd.iter().zip(subject).enumerate() {
            let mut found = Vec::new();
            let (one, other) = (dynamic(one), dynamic(other));
            compare_messages(&format!("{place}[{index}]"), &one, &other, &mut found);
            for difference in found {
                self.driver.report("seen in this scene".to_owned(), difference);
            }
        }
    }
}

/// The path of `Service.Method`.
fn path(method: &str) -> String {
    format!("/etcdserverpb.{}", method.replace('.', "/"))
}

fn dynamic(response: &pb::WatchResponse) -> prost_reflect::DynamicMessage {
    schema::dynamic("etcdserverpb.WatchResponse", response)
}

/// How many there are of each, where their number is what differs.
fn texts(responses: &[pb::WatchResponse]) -> String {
    let texts = responses.iter().map(|response| {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        format!("watch {} at {revision}: {}", response.watch_id, response.events.len())
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn put(key: impl AsRef<[u8]>, value: impl Into<bytes::Bytes>) -> pb::PutRequest {
    let key = bytes::Bytes::copy_from_slice(key.as_ref());
    pb::PutRequest { key, value: value.into(), ..pb::PutRequest::default() }
}
