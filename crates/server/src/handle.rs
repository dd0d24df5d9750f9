//! Stand-in for the door to the machines: the interface that the shell needs, and a little model
//! behind it that tests script.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use state::command::Operation;
use state::members::Member;
use state::outcome::{AlarmMember, AlarmType, Applied, Outcome, PutOutcome, Refusal};
use state::view::Reader;
use state::{LeaseId, MemberId, Revision};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Who answers and how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// Of the store.
    pub revision: i64,
    /// Of the last entry applied.
    pub raft_term: u64,
}

/// What became of a command.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Right after it was applied.
    pub header: Header,
    /// The answer of the state machine.
    pub applied: Applied,
}

/// Why a request was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unserved {
    /// It took too long; whether it took effect is unknown.
    #[error("request timed out")]
    Timeout,
    /// The member stops.
    #[error("server stopped")]
    Stopped,
    /// Nobody leads.
    #[error("no leader")]
    NoLeader,
    /// Leadership changed meanwhile.
    #[error("leader changed")]
    LeaderChanged,
    /// Too much is waiting.
    #[error("too many requests")]
    TooManyRequests,
    /// The command does not fit the log.
    #[error("request is too large")]
    RequestTooLarge,
}

/// Why a hash could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhashed {
    /// The revision cannot be read.
    #[error("the revision cannot be hashed")]
    Refused(#[from] Refusal),
    /// The member did not get to it.
    #[error("the hash was not computed")]
    Unserved(#[from] Unserved),
}

/// A lease as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// As granted.
    pub granted_s: i64,
    /// What is left.
    pub remaining_s: i64,
    /// Keys attached.
    pub keys: Vec<Bytes>,
}

/// How the member is.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus {
    /// 0: none known.
    pub leader: u64,
    /// Highest entry known to be committed.
    pub committed: u64,
    /// Highest entry applied.
    pub applied: u64,
    /// Term of the last entry applied.
    pub term: u64,
    /// Bytes allocated.
    pub db_size: u64,
    /// Bytes in use.
    pub db_size_in_use: u64,
    /// As configured.
    pub quota: i64,
    /// `3.7.0`, once decided.
    pub cluster_version: Option<String>,
    /// Has no vote.
    pub is_learner: bool,
}

/// A checksum of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// The checksum.
    pub hash: u32,
    /// -1: never compacted.
    pub compact_revision: i64,
    /// What was hashed.
    pub hash_revision: i64,
}

/// A copy of the data on its way out.
pub struct Checkpoint {
    /// Of all chunks.
    pub total_bytes: u64,
    /// In order; ends early if the member stops.
    pub chunks: mpsc::Receiver<Bytes>,
}

/// What the shell needs of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Operations of one transaction.
    pub max_txn_ops: usize,
    /// Of a command.
    pub max_request_bytes: usize,
    /// For anything that needs the log or the leader.
    pub request_timeout: Duration,
    /// Of watchers that ask for it.
    pub progress_interval: Duration,
    /// What shorter leases are raised to.
    pub lease_ttl_min_s: i64,
    /// Per connection.
    pub max_concurrent_streams: u32,
}

/// How a member stops.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Take nothing new, finish what runs.
    pub draining: CancellationToken,
    /// Cut what still runs.
    pub closed: CancellationToken,
}

/// The door to the machines.
#[derive(Clone)]
pub struct NodeHandle {
    fake: Arc<Fake>,
}

struct Fake {
    settings: Settings,
    shutdown: Shutdown,
    model: Mutex<Model>,
}

/// The little model, for tests to script.
#[derive(Default)]
pub struct Model {
    /// Of the store.
    pub revision: i64,
    /// Leases and their lifetime.
    pub leases: BTreeMap<i64, i64>,
    /// What was proposed.
    pub proposed: Vec<Operation>,
    /// What the next proposals meet instead of being applied.
    pub refuse: Option<Result<Refusal, Unserved>>,
    /// Raised alarms.
    pub alarms: Vec<AlarmMember>,
    /// Nobody leads.
    pub leaderless: bool,
    /// Nothing fits any more.
    pub full: bool,
    /// What a snapshot holds.
    pub checkpoint: Vec<Bytes>,
}

/// Of the fake.
pub const MEMBER_ID: u64 = 0x8e9e_05c5_2164_694d;
const CLUSTER_ID: u64 = 0xcdf8_181e_3227_0b4f;

#[allow(
    clippy::unused_async,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    missing_docs,
    clippy::todo,
    clippy::unwrap_used,
    clippy::must_use_candidate,
    reason = "a stand-in"
)]
impl NodeHandle {
    pub fn fake() -> NodeHandle {
        let settings = Settings {
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            request_timeout: Duration::from_secs(7),
            progress_interval: Duration::from_secs(600),
            lease_ttl_min_s: 2,
            max_concurrent_streams: u32::MAX,
        };
        let model = Mutex::new(Model { revision: 1, ..Model::default() });
        NodeHandle { fake: Arc::new(Fake { settings, shutdown: Shutdown::default(), model }) }
    }

    pub fn script<T>(&self, change: impl FnOnce(&mut Model) -> T) -> T {
        change(&mut self.fake.model.lock().unwrap())
    }

    pub fn header(&self) -> Header {
        let revision = self.script(|model| model.revision);
        Header { cluster_id: CLUSTER_ID, member_id: MEMBER_ID, revision, raft_term: 2 }
    }

    pub async fn propose(&self, operation: Operation) -> Result<Answer, Unserved> {
        let applied = self.script(|model| {
            model.proposed.push(operation.clone());
            match model.refuse {
                Some(Ok(refusal)) => return Ok(Err(refusal)),
                Some(Err(unserved)) => return Err(unserved),
                None => {}
            }
            Ok(Ok(match operation {
                Operation::Put(_) => {
                    model.revision += 1;
                    Outcome::Put(PutOutcome { revision: Revision(model.revision), prev_kv: None })
                }
                Operation::Compact(_) => Outcome::Compact,
                Operation::LeaseGrant(grant) => {
                    let ttl_s = grant.ttl_s.max(grant.ttl_min_s);
                    model.leases.insert(grant.id, ttl_s);
                    Outcome::LeaseGrant { id: LeaseId(grant.id), ttl_s }
                }
                Operation::LeaseRevoke(revoke) => match model.leases.remove(&revoke.id) {
                    Some(_) => Outcome::LeaseRevoke,
                    None => return Ok(Err(Refusal::LeaseNotFound)),
                },
                Operation::Alarm(alarm) => {
                    let Some(kind) = AlarmType::from_number(alarm.alarm) else {
                        return Ok(Ok(Outcome::Alarm(model.alarms.clone())));
                    };
                    let row = AlarmMember { member: MemberId(alarm.member), alarm: kind };
                    match alarm.action {
                        0 => Outcome::Alarm(model.alarms.clone()),
                        1 => {
                            model.alarms.push(row);
                            Outcome::Alarm(vec![row])
                        }
                        2 => {
                            model.alarms.retain(|other| *other != row);
                            Outcome::Alarm(vec![row])
                        }
                        _ => return Ok(Err(Refusal::UnknownAlarmAction)),
                    }
                }
                _ => Outcome::Done,
            }))
        })?;
        Ok(Answer { header: self.header(), applied })
    }

    pub fn try_read_barrier(&self) -> bool {
        self.script(|model| !model.leaderless)
    }

    pub async fn read_barrier(&self) -> Result<(), Unserved> {
        if self.try_read_barrier() { Ok(()) } else { Err(Unserved::Timeout) }
    }

    pub fn reader(&self) -> &Reader {
        todo!()
    }

    pub async fn lease_keep_alive(&self, lease: LeaseId) -> Result<Option<i64>, Unserved> {
        Ok(self.script(|model| model.leases.get(&lease.0).copied()))
    }

    pub async fn lease_time_to_live(&self, lease: LeaseId) -> Result<Option<LeaseInfo>, Unserved> {
        Ok(self.script(|model| {
            model.leases.get(&lease.0).map(|ttl_s| LeaseInfo {
                granted_s: *ttl_s,
                remaining_s: *ttl_s - 1,
                keys: vec![Bytes::from_static(b"attached")],
            })
        }))
    }

    pub async fn leases(&self) -> Result<Vec<LeaseId>, Unserved> {
        Ok(self.script(|model| model.leases.keys().copied().map(LeaseId).collect()))
    }

    pub fn new_lease_id(&self) -> i64 {
        4711
    }

    pub fn quota_available(&self, _cost: u64) -> bool {
        self.script(|model| !model.full)
    }

    pub async fn raise_nospace(&self) {
        let member = MemberId(MEMBER_ID);
        self.script(|model| model.alarms.push(AlarmMember { member, alarm: AlarmType::NoSpace }));
    }

    pub async fn members(&self) -> Vec<Member> {
        vec![Member {
            id: MemberId(MEMBER_ID),
            name: "default".to_owned(),
            peer_urls: vec!["http://localhost:2380".to_owned()],
            client_urls: vec!["http://localhost:2379".to_owned()],
            is_learner: false,
        }]
    }

    pub fn alarms(&self) -> Vec<AlarmMember> {
        self.script(|model| model.alarms.clone())
    }

    pub fn status(&self) -> NodeStatus {
        NodeStatus {
            leader: self.script(|model| if model.leaderless { 0 } else { MEMBER_ID }),
            committed: 9,
            applied: 8,
            term: 2,
            db_size: 20_480,
            db_size_in_use: 16_384,
            quota: 0,
            cluster_version: Some("3.7.0".to_owned()),
            is_learner: false,
        }
    }

    pub async fn wait_swept(&self, _revision: i64) {}

    pub async fn hash_kv(&self, revision: i64) -> Result<HashKv, Unhashed> {
        let current = self.header().revision;
        if revision > current {
            return Err(Refusal::FutureRevision.into());
        }
        let hash_revision = if revision <= 0 { current } else { revision };
        Ok(HashKv { hash: 7, compact_revision: -1, hash_revision })
    }

    pub async fn hash(&self) -> Result<u32, Unserved> {
        Ok(5)
    }

    pub async fn checkpoint(&self) -> Result<Checkpoint, Unserved> {
        let chunks = self.script(|model| model.checkpoint.clone());
        let total_bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for chunk in chunks {
                if sender.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        Ok(Checkpoint { total_bytes, chunks: receiver })
    }

    pub fn settings(&self) -> &Settings {
        &self.fake.settings
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.fake.shutdown
    }
}
