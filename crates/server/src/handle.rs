//! All that a request handler may touch of the member: hand a command over, ask, read a view.
//!
//! A [`NodeHandle`] holds no lock and no part of the state machine. Writes and questions go to the
//! core thread and come back through a oneshot; reads take a view and are served where they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use node::messages::{LeaseInfo, Query, QueryAnswer, Standing};
use prost::Message;
use state::alarms::Quota;
use state::command::{Alarm, Command, Operation};
use state::members::Member;
use state::mvcc::hash::{HashKv, hash_all, hash_kv};
use state::mvcc::range::ReadError;
use state::outcome::{AlarmMember, AlarmType, Applied};
use state::view::Reader;
use state::{ClusterId, LeaseId, MemberId, RequestId, Revision};
use tokio::sync::oneshot;

use crate::background;
use crate::core::{CoreInput, CoreSender};
use crate::reply::ReplyTo;

/// What every answer says about where it comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The cluster.
    pub cluster_id: u64,
    /// The member that serves the request.
    pub member_id: u64,
    /// Revision of the store.
    pub revision: i64,
    /// Term of the last entry this member has applied.
    pub raft_term: u64,
}

/// The answer to a command.
#[derive(Debug)]
pub struct Answer {
    /// With the revision of the store right after the command.
    pub header: Header,
    /// What came of it.
    pub applied: Applied,
}

/// Why a request was not served at all. For a write the outcome is unknown unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unserved {
    /// It took longer than the request timeout.
    #[error("request timed out")]
    Timeout,
    /// The member is stopping.
    #[error("server stopped")]
    Stopped,
    /// Nobody leads; nothing was written.
    #[error("no leader")]
    NoLeader,
    /// The leader changed while the request waited.
    #[error("leader changed")]
    LeaderChanged,
    /// Too much is waiting already; nothing was written.
    #[error("too many requests")]
    TooManyRequests,
}

/// Settings that handlers need, fixed at the start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Entries of each list of a transaction.
    pub max_txn_ops: usize,
    /// Size of a request as etcd logs it.
    pub max_request_bytes: usize,
    /// How long a proposal or a read barrier may take.
    pub request_timeout: Duration,
    /// Period of progress notifications of idle watchers.
    pub progress_interval: Duration,
    /// Smallest lifetime of a lease in seconds.
    pub lease_ttl_min_s: i64,
    /// HTTP/2 streams per connection.
    pub max_concurrent_streams: u32,
    /// The quota as configured, for `Status`: 0 means the default, negative means none.
    pub quota_setting: i64,
    /// The quota as enforced.
    pub quota: Quota,
    /// From when on a read is logged as slow.
    pub slow_read: Duration,
    /// From when on a request is logged as slow.
    pub slow_request: Duration,
    /// How long a client may leave a view of the data unread.
    pub unread_view: Duration,
}

/// What `Status` tells.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus {
    /// The leader, or 0.
    pub leader: u64,
    /// Highest log index known to be decided.
    pub committed: u64,
    /// Highest log index applied.
    pub applied: u64,
    /// Term of the last entry applied.
    pub term: u64,
    /// Bytes allocated for the data.
    pub db_size: u64,
    /// Bytes that hold data.
    pub db_size_in_use: u64,
    /// Decided cluster version, `major.minor.patch`.
    pub cluster_version: Option<String>,
}

/// See the module.
#[derive(Clone)]
pub struct NodeHandle(Arc<Inner>);

/// Facts that the core thread publishes for handlers.
#[derive(Debug, Default)]
pub struct Beacon {
    /// See [`Standing::sole_voter`].
    pub sole_voter: AtomicBool,
    /// The leader's id, or 0.
    pub leader: AtomicU64,
    /// Highest decided log index.
    pub committed: AtomicU64,
    /// The member has stopped for good.
    pub stopped: AtomicBool,
}

impl Beacon {
    /// Publishes a standing.
    pub fn set(&self, standing: &Standing) {
        self.leader.store(standing.leader.map_or(0, |id| id.0), Ordering::Release);
        self.committed.store(standing.committed.0, Ordering::Release);
        self.sole_voter.store(standing.sole_voter, Ordering::Release);
    }
}

struct Inner {
    core: CoreSender,
    reader: Reader,
    beacon: Arc<Beacon>,
    settings: Settings,
    cluster: ClusterId,
    member: MemberId,
    next_request: AtomicU64,
    next_lease: AtomicU64,
}

/// Where a handle gets its parts from.
pub struct HandleParts {
    /// To the core thread.
    pub core: CoreSender,
    /// The state.
    pub reader: Reader,
    /// What the core thread publishes.
    pub beacon: Arc<Beacon>,
    /// Fixed settings.
    pub settings: Settings,
    /// The cluster.
    pub cluster: ClusterId,
    /// This member.
    pub member: MemberId,
    /// Milliseconds since 1970 at the start: request and lease ids must differ from those of
    /// earlier runs, whose commands may still be in the log.
    pub started_ms: u64,
}

impl NodeHandle {
    /// Puts a handle together.
    #[must_use]
    pub fn new(parts: HandleParts) -> NodeHandle {
        // 20 bits for a million requests within each millisecond since the start, 42 bits of time.
        let first_request = (parts.started_ms & ((1 << 42) - 1)) << 20;
        // As etcd lays lease ids out: 15 bits of member, 40 bits of time, 8 bits of counter; here
        // the counter runs over into the time, which only has to be unique.
        let member_bits = (parts.member.0 & 0x7fff) << 48;
        let first_lease = member_bits | (parts.started_ms & 0xff_ffff_ffff) << 8;
        NodeHandle(Arc::new(Inner {
            core: parts.core,
            reader: parts.reader,
            beacon: parts.beacon,
            settings: parts.settings,
            cluster: parts.cluster,
            member: parts.member,
            next_request: AtomicU64::new(first_request + 1),
            next_lease: AtomicU64::new(first_lease + 1),
        }))
    }

    /// The header of an answer that shows the present.
    #[must_use]
    pub fn header(&self) -> Header {
        let published = self.0.reader.published();
        self.header_at(self.0.reader.revision(), published.term.0)
    }

    /// The header of an answer at `revision`.
    #[must_use]
    pub fn header_at(&self, revision: Revision, raft_term: u64) -> Header {
        Header {
            cluster_id: self.0.cluster.0,
            member_id: self.0.member.0,
            revision: revision.0,
            raft_term,
        }
    }

    /// This member.
    #[must_use]
    pub fn member_id(&self) -> MemberId {
        self.0.member
    }

    /// Fixed settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Opens views.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }

    /// The core thread's inbox.
    #[must_use]
    pub fn core(&self) -> &CoreSender {
        &self.0.core
    }

    /// Takes a command through the log and waits until it has been applied here.
    ///
    /// Not cancel safe in the sense that dropping the future does not withdraw the command.
    ///
    /// # Errors
    /// See [`Unserved`].
    pub async fn propose(&self, operation: Operation) -> Result<Answer, Unserved> {
        let request = RequestId(self.0.next_request.fetch_add(1, Ordering::Relaxed));
        let command = Command::new(request, operation).encode_to_vec();
        let (reply, answer) = ReplyTo::new(self.0.settings.request_timeout);
        let command = Bytes::from(command);
        self.send(CoreInput::Propose { request, command, reply })?;
        let (answer, term) = wait(answer).await?;
        Ok(Answer { header: self.header_at(answer.revision, term.0), applied: answer.applied })
    }

    /// Whether a read of the newest view is linearizable right now, without any round.
    ///
    /// Proof: writes are acknowledged after they are published to readers, and while this member
    /// is the only voter nobody else can acknowledge any.
    #[must_use]
    pub fn try_read_barrier(&self) -> bool {
        self.0.beacon.sole_voter.load(Ordering::Acquire)
    }

    /// Waits until a view taken from now on shows every write acknowledged before the call.
    ///
    /// # Errors
    /// See [`Unserved`].
    pub async fn read_barrier(&self) -> Result<(), Unserved> {
        if self.try_read_barrier() {
            return Ok(());
        }
        let (reply, answer) = ReplyTo::new(self.0.settings.request_timeout);
        self.send(CoreInput::ReadBarrier { reply })?;
        wait(answer).await
    }

    async fn query(&self, query: Query) -> Result<QueryAnswer, Unserved> {
        let request = RequestId(self.0.next_request.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = ReplyTo::new(self.0.settings.request_timeout);
        self.send(CoreInput::Query { request, query, reply })?;
        wait(answer).await
    }

    /// Renews a lease: its lifetime in seconds, `None` if there is no such lease.
    ///
    /// # Errors
    /// See [`Unserved`].
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<Option<i64>, Unserved> {
        match self.query(Query::KeepAlive(id)).await? {
            QueryAnswer::KeepAlive(ttl_s) => Ok(ttl_s),
            _ => Err(Unserved::NoLeader),
        }
    }

    /// How long a lease lives, with its keys if asked for; `None` if there is no such lease.
    ///
    /// # Errors
    /// See [`Unserved`].
    pub async fn lease_time_to_live(
        &self,
        id: LeaseId,
        keys: bool,
    ) -> Result<Option<LeaseInfo>, Unserved> {
        match self.query(Query::TimeToLive(id, keys)).await? {
            QueryAnswer::TimeToLive(info) => Ok(info),
            _ => Err(Unserved::NoLeader),
        }
    }

    /// All leases, first those that end first.
    ///
    /// # Errors
    /// See [`Unserved`].
    pub async fn leases(&self) -> Result<Vec<LeaseId>, Unserved> {
        match self.query(Query::Leases).await? {
            QueryAnswer::Leases(leases) => Ok(leases),
            _ => Err(Unserved::NoLeader),
        }
    }

    /// Waits until everything superseded so far has been removed.
    ///
    /// # Errors
    /// See [`Unserved`]. A held view can make this time out.
    pub async fn wait_swept(&self) -> Result<(), Unserved> {
        self.query(Query::Swept).await.map(|_| ())
    }

    /// An id for a lease whose client leaves the choice to us: positive, unique among members and
    /// over restarts.
    #[must_use]
    pub fn new_lease_id(&self) -> i64 {
        let id = self.0.next_lease.fetch_add(1, Ordering::Relaxed) & (u64::MAX >> 1);
        id.cast_signed()
    }

    /// Whether an operation of this cost still fits under the quota.
    #[must_use]
    pub fn quota_available(&self, cost: u64) -> bool {
        let size = self.0.reader.published().size;
        self.0.settings.quota.admits(size.total_bytes, cost)
    }

    /// Raises this member's NOSPACE alarm and waits until it is active.
    ///
    /// # Errors
    /// See [`Unserved`].
    pub async fn raise_nospace(&self) -> Result<(), Unserved> {
        let alarm = AlarmType::NO_SPACE.number();
        let alarm = Alarm { action: 1, member: self.0.member.0, alarm };
        self.propose(Operation::Alarm(alarm)).await.map(|_| ())
    }

    /// The members as applied here, in order of their ids.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.0.reader.published().tables.members.values().cloned().collect()
    }

    /// The active alarms.
    #[must_use]
    pub fn alarms(&self) -> Vec<AlarmMember> {
        self.0.reader.published().tables.alarms.iter().collect()
    }

    /// What `Status` tells.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let published = self.0.reader.published();
        let beacon = &self.0.beacon;
        NodeStatus {
            leader: beacon.leader.load(Ordering::Acquire),
            committed: beacon.committed.load(Ordering::Acquire).max(published.applied.0),
            applied: published.applied.0,
            term: published.term.0,
            db_size: published.size.total_bytes,
            db_size_in_use: published.size.in_use_bytes,
            cluster_version: published.tables.cluster_version.clone(),
        }
    }

    /// Hashes the history up to `revision`, on a thread of its own.
    ///
    /// # Errors
    /// The outer one: see [`Unserved`]; the inner one: the revision cannot be read.
    pub async fn hash_kv(&self, revision: i64) -> Result<Result<HashKv, ReadError>, Unserved> {
        let reader = self.0.reader.clone();
        self.beside(move || hash_kv(&reader, revision)).await
    }

    /// Hashes everything this member holds, on a thread of its own.
    ///
    /// # Errors
    /// As for [`NodeHandle::hash_kv`].
    pub async fn hash(&self) -> Result<Result<u32, ReadError>, Unserved> {
        let reader = self.0.reader.clone();
        self.beside(move || hash_all(&*reader.engine_view())).await
    }

    /// Runs long work in the background.
    async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unserved> {
        let (done, answer) = oneshot::channel();
        // A client that has gone needs no answer.
        let run = move || drop(done.send(work()));
        if let Err(error) = background::spawn("hash", run) {
            tracing::error!(%error, "failed to start a thread for a hash");
            return Err(Unserved::TooManyRequests);
        }
        answer.await.map_err(|_| Unserved::Stopped)
    }

    /// Hands a message to the core thread.
    ///
    /// # Errors
    /// The core thread is gone.
    pub fn send(&self, input: CoreInput) -> Result<(), Unserved> {
        self.0.core.send(input).map_err(|_| Unserved::Stopped)
    }
}

/// Waits for the core thread, which watches the timeout.
async fn wait<T>(answer: oneshot::Receiver<Result<T, Unserved>>) -> Result<T, Unserved> {
    answer.await.unwrap_or(Err(Unserved::Stopped))
}
