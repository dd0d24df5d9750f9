//! A member on a [`Disk`], and the story of what it did.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use node::consensus::{Config, Consensus, Holds, bootstrap};
use node::messages::{Committed, ConsensusInput, ConsensusOutput, Payload, SegmentId};
use node::wal::replay::Place as LogPlace;
use node::wal::{Recovered, ReplayError, SegmentSource, replay};
use prost::Message;
use state::alarms::Quota;
use state::apply::Entry;
use state::checkpoint::{CheckpointWriter, restore};
use state::command::{Command, Compact, DeleteRange, LeaseGrant, LeaseRevoke, Operation, Put};
use state::engine::Engine;
use state::engine::memory::MemoryEngine;
use state::members::Member as MemberRow;
use state::mvcc::hash::{HashKv, hash_kv};
use state::schema::{Table, meta};
use state::state::SweepProgress;
use state::{ClusterId, LogIndex, MemberId, RequestId, Revision, State};

use super::medium::{Disk, Place};
use crate::log_disk::{LogDir, LogDisk, LogEvent, LogOptions};
use crate::snapshots::{SnapshotFiles, SnapshotName};

const CLUSTER: ClusterId = ClusterId(0xc1);
const MEMBER: MemberId = MemberId(0xe1);
/// A handful of records: the log is cut often.
const SEGMENT_BYTES: u64 = 1200;
/// Where the log of a new cluster begins.
const BEGINNING: LogPlace = LogPlace { segment: SegmentId(1), offset: 0 };
/// Longer than any write takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// More turns than any step needs.
const TURNS_MAX: usize = 1000;

/// How the state becomes durable outside the log.
pub(super) trait Durability {
    /// What is durable, or an empty engine.
    fn open(&self, disk: &Disk) -> Result<Box<dyn Engine>, String>;
    /// Makes the published state durable and says up to which entry.
    fn checkpoint(&self, disk: &Disk, state: &State) -> Result<LogIndex, String>;
}

/// The memory engine: whole states in files, of which the newest two are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshots;

impl Snapshots {
    fn files(disk: &Disk) -> Result<SnapshotFiles, String> {
        let folder = Arc::new(disk.folder(Place::Snapshots));
        let files = SnapshotFiles::open_folder(folder, Path::new("snap"));
        // Several syncs in a snapshot of a few hundred bytes.
        files.map(|files| files.with_sync_bytes(300)).map_err(|error| error.to_string())
    }
}

impl Durability for Snapshots {
    fn open(&self, disk: &Disk) -> Result<Box<dyn Engine>, String> {
        let files = Snapshots::files(disk)?;
        let names = files.list().map_err(|error| error.to_string())?;
        let mut engine = Box::new(MemoryEngine::new());
        if let Some(name) = names.first() {
            let mut file = files.read(*name).map_err(|error| error.to_string())?;
            // A file under its final name is whole: an older one is never needed.
            restore(&mut || file.chunk(4096), &mut *engine)
                .map_err(|error| format!("restore {name}: {error:?}"))?;
        }
        Ok(engine)
    }

    fn checkpoint(&self, disk: &Disk, state: &State) -> Result<LogIndex, String> {
        let files = Snapshots::files(disk)?;
        let (index, term) = state.applied();
        let writer = CheckpointWriter::new(state.reader().engine_view(), CLUSTER);
        let mut writer = writer.map_err(|error| error.to_string())?;
        files
            .write(SnapshotName { index, term }, || writer.next_chunk())
            .map_err(|error| error.to_string())?;
        files.keep_newest(2).map_err(|error| error.to_string())?;
        Ok(index)
    }
}

/// What a state holds, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    revision: Revision,
    hash: HashKv,
    leases: usize,
}

/// What was acknowledged when, and what the state held after each entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// The newest entry that was acknowledged before any of the calls.
    base: LogIndex,
    /// Entries with the number of calls that had been made when they were acknowledged.
    acknowledged: Vec<(usize, LogIndex)>,
    contents: BTreeMap<LogIndex, Content>,
}

impl Story {
    /// The newest entry that had been acknowledged when so many calls had been made.
    pub(super) fn acknowledged_after(&self, calls: usize) -> LogIndex {
        let before = self.acknowledged.iter().filter(|(at, _)| *at <= calls);
        before.map(|(_, index)| *index).max().unwrap_or(self.base).max(self.base)
    }

    /// The story as known to a start after a crash.
    pub(super) fn told_to(&self, acknowledged: LogIndex) -> Story {
        Story { base: acknowledged, acknowledged: Vec::new(), contents: self.contents.clone() }
    }
}

/// A running member.
pub(super) struct Member<D: Durability> {
    disk: Disk,
    durability: D,
    consensus: Consensus,
    log: LogDisk,
    events: Receiver<LogEvent>,
    inbox: VecDeque<ConsensusInput>,
    in_flight: usize,
    state: State,
    /// The last entry that was there when it was opened.
    opened_at: LogIndex,
    requests: u64,
}

impl<D: Durability> Member<D> {
    /// Opens what the disk holds, or founds a cluster on it if nobody was promised anything.
    pub(super) fn open(disk: &Disk, durability: D, story: &mut Story) -> Result<Self, String> {
        let engine = durability.open(disk)?;
        let state = State::open(engine, Quota(None)).map_err(|error| error.to_string())?;
        let (index, term) = state.applied();
        let row = state.reader().engine_view().get(Table::Meta, meta::CONF_STATE);
        let conf_state = row.map_err(|error| error.to_string())?.unwrap_or_default();
        let holds = Holds { index, term, time: state.time(), conf_state };
        let is_new = index == LogIndex(0) && story.base == LogIndex(0);
        let recovered = match recover(disk, index) {
            // As the server does it: nobody was promised anything.
            Ok(None) | Err(ReplayError::Rot(BEGINNING)) if is_new => {
                found(disk)?;
                recover(disk, index).map_err(|error| error.to_string())?
            }
            recovered => recovered.map_err(|error| error.to_string())?,
        };
        let recovered = recovered.ok_or(format!("the log is lost, acknowledged {}", story.base))?;
        let opened_at = index.max(LogIndex(recovered.last_index()));
        let consensus = Consensus::open(config(), recovered, &holds);
        let consensus = consensus.map_err(|error| error.to_string())?;
        let (report, events) = channel();
        let log = log_dir(disk).start(move |event| drop(report.send(event)));
        let log = log.map_err(|error| error.to_string())?;
        let mut member = Member {
            disk: disk.clone(),
            durability,
            consensus,
            log,
            events,
            inbox: VecDeque::new(),
            in_flight: 0,
            state,
            opened_at,
            requests: 0,
        };
        member.settle(story)?;
        Ok(member)
    }

    /// Whether it had everything up to an entry when it was opened, and what stood there then.
    pub(super) fn holds(&self, acknowledged: LogIndex, story: &Story) -> Result<(), String> {
        if self.opened_at < acknowledged {
            let opened_at = self.opened_at;
            return Err(format!("it holds {opened_at}, acknowledged was {acknowledged}"));
        }
        // A leader's first entry, which follows, changes nothing.
        let (now, then) = (content(&self.state)?, story.contents.get(&self.opened_at));
        if then.is_some_and(|then| *then != now) {
            return Err(format!("at {} it held {then:?}, now {now:?}", self.opened_at));
        }
        Ok(())
    }

    /// Puts one key and waits until it is acknowledged.
    pub(super) fn put(&mut self, key: &str, bytes: usize, story: &mut Story) -> Result<(), String> {
        self.propose(put(key, bytes));
        self.settle(story)
    }

    /// Puts keys one after the other without waiting: their writes overlap.
    pub(super) fn put_together(
        &mut self,
        keys: &[&str],
        bytes: usize,
        story: &mut Story,
    ) -> Result<(), String> {
        for key in keys {
            self.propose(put(key, bytes));
            self.turn(story)?;
        }
        self.settle(story)
    }

    /// Keys come and go with a lease, and one is deleted.
    pub(super) fn lease_and_delete(&mut self, id: i64, story: &mut Story) -> Result<(), String> {
        let id = id + 1;
        self.propose(Operation::LeaseGrant(LeaseGrant { id, ttl_s: 60, ttl_min_s: 2 }));
        let leased = Put { key: "leased".into(), lease: id, ..Put::default() };
        self.propose(Operation::Put(leased));
        self.settle(story)?;
        self.propose(Operation::DeleteRange(DeleteRange {
            key: "b".into(),
            ..DeleteRange::default()
        }));
        if id % 2 == 0 {
            self.propose(Operation::LeaseRevoke(LeaseRevoke { id }));
        }
        self.settle(story)
    }

    /// Gives up the history but for the last change, and removes it.
    pub(super) fn compact(&mut self, story: &mut Story) -> Result<(), String> {
        self.propose(Operation::Compact(Compact { revision: self.state.revision().0 - 1 }));
        self.settle(story)?;
        for _ in 0..TURNS_MAX {
            if self.state.sweep().map_err(|error| error.to_string())? == SweepProgress::Done {
                return Ok(());
            }
        }
        Err("sweeping does not come to an end".to_owned())
    }

    /// Makes the state durable outside the log, and cuts the log.
    pub(super) fn checkpoint(&mut self, story: &mut Story) -> Result<(), String> {
        let index = self.durability.checkpoint(&self.disk, &self.state)?;
        self.inbox.push_back(ConsensusInput::Checkpointed { index });
        self.settle(story)
    }

    /// Stops cleanly.
    pub(super) fn stop(mut self, story: &mut Story) -> Result<(), String> {
        for _ in 0..TURNS_MAX {
            let mut outputs = Vec::new();
            let stopped = self.consensus.stop(&mut |output| outputs.push(output));
            for output in outputs {
                self.take(output, story)?;
            }
            self.settle(story)?;
            if stopped {
                return Ok(());
            }
        }
        Err("the member does not stop".to_owned())
    }

    fn propose(&mut self, operation: Operation) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let command = Bytes::from(Command::new(request, operation).encode_to_vec());
        self.inbox.push_back(ConsensusInput::Propose { request, command });
    }

    /// Turns until nothing moves any more.
    fn settle(&mut self, story: &mut Story) -> Result<(), String> {
        for _ in 0..TURNS_MAX {
            self.turn(story)?;
            if !self.inbox.is_empty() {
                continue;
            }
            if self.in_flight == 0 {
                return Ok(());
            }
            match self.events.recv_timeout(PATIENCE) {
                Ok(LogEvent::Persisted { number, .. }) => {
                    self.in_flight -= 1;
                    self.inbox.push_back(ConsensusInput::Persisted { number });
                }
                other => return Err(format!("the log disk says {other:?}")),
            }
        }
        Err("the member does not come to rest".to_owned())
    }

    fn turn(&mut self, story: &mut Story) -> Result<(), String> {
        let mut outputs = Vec::new();
        let now_ms = 1000;
        self.consensus
            .turn(now_ms, &mut self.inbox, &mut |output| outputs.push(output))
            .map_err(|error| error.to_string())?;
        outputs.into_iter().try_for_each(|output| self.take(output, story))
    }

    fn take(&mut self, output: ConsensusOutput, story: &mut Story) -> Result<(), String> {
        match output {
            ConsensusOutput::Append(write) => {
                self.in_flight += 1;
                self.log.append(write).map_err(|error| error.to_string())
            }
            ConsensusOutput::Apply(entries) => {
                entries.into_iter().try_for_each(|entry| self.apply(entry, story))
            }
            ConsensusOutput::Release { first } => {
                self.log.release(first);
                Ok(())
            }
            ConsensusOutput::Discard { segments } => {
                self.log.discard(&segments).map_err(|error| error.to_string())
            }
            ConsensusOutput::Standing(_) => Ok(()),
            other => Err(format!("a lone member says {other:?}")),
        }
    }

    /// What is applied is acknowledged: it was durable before.
    fn apply(&mut self, entry: Committed, story: &mut Story) -> Result<(), String> {
        let Committed { index, term, payload } = entry;
        let payload = match payload {
            Payload::Empty => Entry::Empty,
            Payload::Batch(batch) => Entry::Batch(batch),
            Payload::Membership(change) => Entry::Membership {
                member: change.member,
                row: change.context,
                conf_state: change.conf_state,
            },
        };
        let applied = self.state.apply_entry(index, term, payload);
        applied.map_err(|error| error.to_string())?;
        self.state.publish();
        story.contents.insert(index, content(&self.state)?);
        story.acknowledged.push((self.disk.calls(), index));
        self.inbox.push_back(ConsensusInput::Applied { index });
        Ok(())
    }
}

fn put(key: &str, bytes: usize) -> Operation {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Operation::Put(Put { key, value: vec![b'v'; bytes].into(), ..Put::default() })
}

fn content(state: &State) -> Result<Content, String> {
    let hash = hash_kv(state.reader(), 0).map_err(|error| error.to_string())?;
    Ok(Content { revision: state.revision(), hash, leases: state.leases().len() })
}

fn config() -> Config {
    let mut config = Config::new(CLUSTER, MEMBER, 7);
    config.segment_bytes = SEGMENT_BYTES;
    // Old segments stay until a checkpoint, as with a log of real size.
    config.rewrite_bytes = 100;
    config.company_bytes = 0;
    config
}

fn log_dir(disk: &Disk) -> LogDir {
    let options = LogOptions { segment_bytes: SEGMENT_BYTES, ..LogOptions::default() };
    LogDir::on(Box::new(disk.folder(Place::Log)), options)
}

struct Source(LogDir);

impl SegmentSource for Source {
    fn list(&self) -> Result<Vec<SegmentId>, std::io::Error> {
        self.0.segments().map_err(std::io::Error::other)
    }

    fn read(&self, segment: SegmentId) -> Result<Bytes, std::io::Error> {
        Ok(self.0.read(segment).map_err(std::io::Error::other)?.into())
    }
}

fn recover(disk: &Disk, applied: LogIndex) -> Result<Option<Recovered>, ReplayError> {
    replay(&Source(log_dir(disk)), CLUSTER, MEMBER, applied)
}

/// Begins the log of a new cluster of this one member.
fn found(disk: &Disk) -> Result<(), String> {
    let row = MemberRow { id: MEMBER.0, ..MemberRow::default() }.encode_to_vec();
    let write = bootstrap(&config(), 99, &[(MEMBER, row.into())]);
    let (report, events) = channel();
    let log = log_dir(disk).start(move |event| drop(report.send(event)));
    let mut log = log.map_err(|error| error.to_string())?;
    log.append(write).map_err(|error| error.to_string())?;
    match events.recv_timeout(PATIENCE) {
        Ok(LogEvent::Persisted { .. }) => Ok(()),
        other => Err(format!("the log disk says {other:?}")),
    }
}
