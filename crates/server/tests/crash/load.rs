//! Concurrent clients that write until the member is killed under them.
//!
//! ```text
//! writers     put, delete, txn on their own keys and on keys that all of them share
//! lessee      grants, attaches keys, renews, revokes
//! compactor   once, at a revision that has been checked
//! watcher     follows everything from the last checked revision on
//!     └──▶ Notes: what was answered, what was not, what was seen
//! ```
//!
//! Every value is unique, so that each event of the history has at most one request that made it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use child::PATIENCE;
use metastore_proto::etcdserverpb::{CompactionRequest, LeaseGrantRequest, LeaseKeepAliveRequest};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::keyspace::{Answer, Change, Keyspace, Op};
use crate::leases::{LeaseNote, TTL_LONG_S};
use crate::oracle::{Acknowledged, Attempt, History};
use crate::requests::{send, watch_all};
use crate::support::{Client, Member};

const WRITERS: u64 = 6;
const KEYS_SHARED: u64 = 12;
const KEYS_OWN: u64 = 8;
/// Keys under a prefix that one delete takes all at once.
const KEYS_OF_A_GROUP: u64 = 3;
/// The shortest lifetime that the member grants with the default timers.
const TTL_SHORT_S: i64 = 2;

/// One run of the clients.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Names the values.
    pub(crate) cycle: u64,
    pub(crate) seed: u64,
    /// Kill after this many answers ...
    pub(crate) answers: u64,
    /// ... or as soon as another file of data is being written into this folder.
    pub(crate) kill_in: Option<PathBuf>,
    /// Size of values.
    pub(crate) value_bytes: std::ops::Range<usize>,
    /// Compact here.
    pub(crate) compact_at: Option<i64>,
    /// What is known so far.
    pub(crate) keyspace: Arc<Keyspace>,
    pub(crate) revision: i64,
    pub(crate) leases: Vec<i64>,
}

/// What the clients know afterwards.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) leases: Vec<LeaseNote>,
    pub(crate) seen: History,
    pub(crate) compacted: Option<i64>,
    /// When the first answer came, and when the last answered request was sent.
    pub(crate) ran: Option<(Instant, Instant)>,
    /// Errors while the member was alive.
    pub(crate) surprises: Vec<String>,
}

impl Notes {
    fn answered(&mut self, asked: Instant) {
        let (from, until) = self.ran.unwrap_or((Instant::now(), asked));
        self.ran = Some((from, until.max(asked)));
    }

    fn add(&mut self, other: Notes) {
        self.acknowledged.extend(other.acknowledged);
        self.attempts.extend(other.attempts);
        self.leases.extend(other.leases);
        self.seen.extend(other.seen);
        self.compacted = self.compacted.max(other.compacted);
        self.ran = match (self.ran, other.ran) {
            (Some((from, until)), Some(other)) => Some((from.min(other.0), until.max(other.1))),
            (ran, other) => ran.or(other),
        };
        self.surprises.extend(other.surprises);
    }
}

/// When the member is killed.
#[derive(Debug)]
struct Trigger {
    answers: AtomicU64,
    at: u64,
    kill_in: Option<PathBuf>,
    /// The files of that folder before.
    there_already: BTreeSet<PathBuf>,
    pulled: Notify,
    killed: AtomicBool,
}

impl Trigger {
    fn answered(&self) {
        let count = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        if count >= self.at || self.is_being_written() {
            self.pulled.notify_one();
        }
    }

    fn is_being_written(&self) -> bool {
        let Some(folder) = &self.kill_in else { return false };
        !data_files(folder).is_subset(&self.there_already)
    }

    fn killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }
}

/// Snapshots that are being written, and files of an engine.
fn data_files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let is_data = |file: &PathBuf| file.extension().is_some_and(|e| e == "tmp" || e == "sst");
    files.filter(is_data).collect()
}

/// Lets the clients loose on a running member and kills it as planned.
pub(crate) async fn run(member: &mut Member, plan: &Plan) -> Notes {
    let trigger = Arc::new(Trigger {
        answers: AtomicU64::new(0),
        at: plan.answers,
        kill_in: plan.kill_in.clone(),
        there_already: plan.kill_in.as_deref().map(data_files).unwrap_or_default(),
        pulled: Notify::new(),
        killed: AtomicBool::new(false),
    });
    let mut tasks = JoinSet::new();
    let (watching, ready) = tokio::sync::oneshot::channel();
    tasks.spawn(watcher(member.client().await, plan.revision + 1, watching));
    ready.await.expect("the watcher says that it watches");
    for number in 0..WRITERS {
        let worker = Worker::new(member.client().await, &trigger, plan, number);
        tasks.spawn(worker.write());
    }
    tasks.spawn(Worker::new(member.client().await, &trigger, plan, WRITERS).hold_leases());
    if let Some(revision) = plan.compact_at {
        tasks.spawn(compactor(member.client().await, Arc::clone(&trigger), revision));
    }
    // Clients that have all ended have something to say that matters more.
    let pulled = tokio::time::timeout(PATIENCE, trigger.pulled.notified()).await;
    member.kill();
    trigger.killed.store(true, Ordering::Relaxed);
    let mut notes = Notes::default();
    let all = async {
        while let Some(done) = tasks.join_next().await {
            notes.add(done.expect("a client does not panic"));
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("clients of a killed member end");
    assert!(pulled.is_ok(), "too few answers; {:?}; it said:\n{}", notes.surprises, member.log());
    notes
}

/// One client.
struct Worker {
    client: Client,
    trigger: Arc<Trigger>,
    plan: Plan,
    number: u64,
    rng: fastrand::Rng,
    /// Makes values unique.
    next: u64,
    /// The newest revision it has seen.
    revision: i64,
    /// The last known revisions of shared keys.
    shared: BTreeMap<Bytes, i64>,
    notes: Notes,
}

impl Worker {
    fn new(client: Client, trigger: &Arc<Trigger>, plan: &Plan, number: u64) -> Worker {
        Worker {
            client,
            trigger: Arc::clone(trigger),
            number,
            rng: fastrand::Rng::with_seed(plan.seed ^ (number << 32)),
            next: 0,
            revision: plan.revision,
            shared: BTreeMap::new(),
            notes: Notes::default(),
            plan: plan.clone(),
        }
    }

    async fn write(mut self) -> Notes {
        while !self.trigger.killed() {
            let change = self.pick();
            if self.request(change).await.is_none() {
                break;
            }
        }
        self.notes
    }

    fn pick(&mut self) -> Change {
        match self.rng.u8(..100) {
            0..40 => {
                let key = self.own_key();
                Change::Write(vec![self.put(key, 0)])
            }
            40..60 => {
                let key = self.shared_key();
                Change::Write(vec![self.put(key, 0)])
            }
            60..68 => Change::Write(vec![delete_one(&self.shared_key())]),
            68..72 => Change::Write(vec![self.delete_group()]),
            72..84 => {
                let group = (0..KEYS_OF_A_GROUP).map(|at| self.group_key(at)).collect::<Vec<_>>();
                let mut ops: Vec<Op> = group.into_iter().map(|key| self.put(key, 0)).collect();
                ops.push(delete_one(&self.shared_key()));
                Change::Write(ops)
            }
            _ => self.branch(),
        }
    }

    /// Swaps a shared key if nobody else has written it since.
    fn branch(&mut self) -> Change {
        let key = self.shared_key();
        let known = self.shared.get(&key).copied();
        let mod_revision = known.unwrap_or_else(|| self.plan.keyspace.mod_revision(&key));
        let own = self.own_key();
        let then = vec![self.put(key.clone(), 0), self.put(own.clone(), 0), self.delete_group()];
        let otherwise = vec![self.put(own, 0), delete_one(&key)];
        Change::Branch { key, mod_revision, then, otherwise }
    }

    fn put(&mut self, key: Bytes, lease: i64) -> Op {
        self.next += 1;
        let mut value = format!("{}.{}.{}", self.plan.cycle, self.number, self.next).into_bytes();
        // Leases live long, and what hangs on them would soon be most of the data.
        let bytes = if lease == 0 { self.plan.value_bytes.clone() } else { 0..200 };
        let bytes = self.rng.usize(bytes);
        value.resize(value.len().max(bytes), self.rng.alphanumeric() as u8);
        Op::Put { key, value: value.into(), lease }
    }

    fn own_key(&mut self) -> Bytes {
        format!("own/{}/{}", self.number, self.rng.u64(..KEYS_OWN)).into()
    }

    fn shared_key(&mut self) -> Bytes {
        format!("shared/{}", self.rng.u64(..KEYS_SHARED)).into()
    }

    fn group_key(&self, at: u64) -> Bytes {
        format!("group/{}/{at}", self.number).into()
    }

    fn delete_group(&self) -> Op {
        let (from, to) = (format!("group/{}/", self.number), format!("group/{}0", self.number));
        Op::Delete { from: from.into(), to: to.into() }
    }

    /// Asks for the change and notes what comes of it: `None` if nothing is to be asked any more,
    /// `false` if it was refused.
    async fn request(&mut self, change: Change) -> Option<bool> {
        let asked = Instant::now();
        let attempt = Attempt { after: self.revision, change: change.clone() };
        match send(&mut self.client, &change).await {
            Ok((revision, answer)) => {
                self.learn(&change, revision, answer);
                self.notes.acknowledged.push(Acknowledged { revision, change, answer });
                self.answered(asked);
                Some(true)
            }
            // A short lease may have ended by now: nothing was done.
            Err(status) if status.code() == Code::NotFound => Some(false),
            Err(status) => {
                self.notes.attempts.push(attempt);
                self.failed(&status);
                None
            }
        }
    }

    fn learn(&mut self, change: &Change, revision: i64, answer: Answer) {
        self.revision = self.revision.max(revision);
        let Change::Branch { key, .. } = change else { return };
        self.shared.insert(key.clone(), if answer.succeeded { revision } else { 0 });
    }

    fn answered(&mut self, asked: Instant) {
        self.notes.answered(asked);
        self.trigger.answered();
    }

    fn failed(&mut self, status: &Status) {
        if !self.trigger.killed() {
            self.notes.surprises.push(format!("client {}: {status}", self.number));
        }
    }

    /// The client that holds leases; nobody else touches their keys.
    async fn hold_leases(mut self) -> Notes {
        let mut living = self.plan.leases.clone();
        let mut granted: i64 = 0;
        while !self.trigger.killed() {
            let going_on = match self.rng.u8(..10) {
                0..3 => {
                    granted += 1;
                    let cycle = i64::try_from(self.plan.cycle).expect("few cycles");
                    let is_short = self.rng.u8(..3) == 0;
                    let lease = (cycle + 1) * 1000 + granted;
                    let ttl_s = if is_short { TTL_SHORT_S } else { TTL_LONG_S + granted };
                    let going_on = self.grant(lease, ttl_s).await;
                    if going_on.is_some() && !is_short {
                        living.push(lease);
                    }
                    going_on
                }
                3..7 if !living.is_empty() => {
                    let lease = living[self.rng.usize(..living.len())];
                    self.attach(lease).await
                }
                7..9 if !living.is_empty() => {
                    let lease = living[self.rng.usize(..living.len())];
                    self.renew(lease).await
                }
                9 if living.len() > 20 => {
                    let lease = living.swap_remove(self.rng.usize(..living.len()));
                    self.revoke(lease).await
                }
                _ => Some(()),
            };
            if going_on.is_none() {
                break;
            }
            // Not every branch waits for an answer.
            tokio::task::yield_now().await;
        }
        self.notes
    }

    /// Grants a lease and attaches a first key.
    async fn grant(&mut self, lease: i64, ttl_s: i64) -> Option<()> {
        let asked = Instant::now();
        let request = LeaseGrantRequest { id: lease, ttl: ttl_s };
        match self.client.lease.lease_grant(request).await {
            Ok(answer) => {
                let ttl_s = answer.into_inner().ttl;
                let told = Instant::now();
                self.notes.leases.push(LeaseNote::Granted { lease, ttl_s, asked, told });
                self.answered(asked);
            }
            Err(status) => {
                let told = Instant::now();
                self.notes.leases.push(LeaseNote::GrantInDoubt { lease, ttl_s, asked, told });
                self.failed(&status);
                return None;
            }
        }
        self.attach(lease).await
    }

    async fn attach(&mut self, lease: i64) -> Option<()> {
        let key = Bytes::from(format!("lease/{lease}/{}", self.rng.u8(..3)));
        let put = self.put(key, lease);
        self.request(Change::Write(vec![put])).await.map(|_| ())
    }

    async fn renew(&mut self, lease: i64) -> Option<()> {
        let asked = Instant::now();
        let requests = tokio_stream::once(LeaseKeepAliveRequest { id: lease });
        let answer = async {
            let mut answers = self.client.lease.lease_keep_alive(requests).await?.into_inner();
            answers.message().await?.ok_or_else(|| Status::unavailable("the stream has ended"))
        };
        match answer.await {
            Ok(answer) => {
                if answer.ttl <= 0 {
                    self.notes.surprises.push(format!("lease {lease} could not be renewed"));
                }
                let told = Instant::now();
                self.notes.leases.push(LeaseNote::Renewed { lease, asked, told });
                // A renewal is answered before it is logged: it says nothing about the clock.
                self.trigger.answered();
                Some(())
            }
            Err(status) => {
                let told = Instant::now();
                self.notes.leases.push(LeaseNote::RenewalInDoubt { lease, told });
                self.failed(&status);
                None
            }
        }
    }

    async fn revoke(&mut self, lease: i64) -> Option<()> {
        let going_on = self.request(Change::EndLease(lease)).await.map(|_| ());
        self.notes.leases.push(match going_on {
            Some(()) => LeaseNote::Revoked { lease },
            None => LeaseNote::RevokeInDoubt { lease },
        });
        going_on
    }
}

fn delete_one(key: &Bytes) -> Op {
    let to = [key, &b"\0"[..]].concat();
    Op::Delete { from: key.clone(), to: to.into() }
}

async fn compactor(mut client: Client, trigger: Arc<Trigger>, revision: i64) -> Notes {
    let mut notes = Notes::default();
    let request = CompactionRequest { revision, physical: revision % 2 == 0 };
    match client.kv.compact(request).await {
        Ok(_) => notes.compacted = Some(revision),
        Err(_) if trigger.killed() => {}
        Err(status) => notes.surprises.push(format!("compaction at {revision}: {status}")),
    }
    notes
}

/// Follows everything until the member is gone.
async fn watcher(
    mut client: Client,
    from: i64,
    watching: tokio::sync::oneshot::Sender<()>,
) -> Notes {
    let mut notes = Notes::default();
    let mut stream = watch_all(&mut client, from).await.expect("a ready member takes watches");
    let _ = watching.send(());
    while let Ok(Some(answer)) = stream.message().await {
        for event in answer.events {
            let revision = event.kv.as_ref().expect("an event has a key").mod_revision;
            notes.seen.entry(revision).or_default().push(event);
        }
    }
    notes
}
