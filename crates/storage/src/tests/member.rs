//! A member and its home, and the story of what it did.
//!
//! The member is the product's, but for the thread that moves its messages: consensus, state machine
//! and log disk. How its state comes to survive the process is the [`Home`]'s matter, as in the
//! product: the memory engine writes snapshot files, RocksDB is flushed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use node::consensus::{Config, Consensus, Holds, bootstrap};
use node::messages::{Committed, ConsensusInput, ConsensusOutput, LogWrite};
use node::wal::Recovered;
use prost::Message;
use state::alarms::Quota;
use state::command::{Command, Compact, DeleteRange, LeaseGrant, LeaseRevoke, Operation, Put};
use state::engine::{Engine, EngineView};
use state::members::Member as MemberRow;
use state::schema::{Table, meta};
use state::state::SweepProgress;
use state::{ClusterId, LogIndex, MemberId, RequestId, State};

use super::causes::chain;
use super::story::{Story, digest};

use crate::log_disk::{LogDir, LogDisk, LogEvent, LogOptions};
use crate::log_start::{Birth, LogStart, LogStartError};

pub(super) const CLUSTER: ClusterId = ClusterId(0xc1);
pub(super) const MEMBER: MemberId = MemberId(0xe1);
/// A handful of records: the log is cut often.
const SEGMENT_BYTES: u64 = 1200;
/// Longer than any write takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// More turns than any step needs.
const TURNS_MAX: usize = 1000;

/// Where a member lives: a disk with a log and an engine. A clone is the same disk, as another
/// process finds it.
pub(super) trait Home: Birth + Clone + Sync {
    /// How many calls have been made to the disk.
    fn calls(&self) -> usize;
    /// Its log.
    fn log(&self, options: LogOptions) -> LogDir;
    /// Opens the engine with what is durable of it.
    fn open(&mut self) -> Result<Box<dyn Engine>, String>;
    /// Makes the published state durable and says up to which entry.
    fn save(&mut self, state: &State) -> Result<LogIndex, String>;
    /// Waits until nothing is left to be done in the background.
    fn come_to_rest(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A running member.
pub(super) struct Member<H: Home> {
    consensus: Consensus,
    log: LogDisk,
    events: Receiver<LogEvent>,
    inbox: VecDeque<ConsensusInput>,
    in_flight: usize,
    state: State,
    /// The last entry that the engine held when it was opened, and what else.
    engine_at: (LogIndex, u64),
    /// The last entry that was there when it was opened.
    opened_at: LogIndex,
    requests: u64,
    /// Last, so that it is given up when everything in it is closed.
    home: H,
}

impl<H: Home> Member<H> {
    /// Opens what the disk holds, or founds a cluster on it if nobody was promised anything.
    pub(super) fn open(home: &H, story: &mut Story) -> Result<Self, String> {
        let mut home = home.clone();
        let engine = home.open()?;
        let saved = engine.durable_index();
        let digest = digest(&*engine.view())?;
        let state = State::open(engine, Quota(None)).map_err(|error| error.to_string())?;
        let (index, term) = state.applied();
        story.promise(home.calls(), LogIndex(0), saved);
        let row = state.reader().engine_view().get(Table::Meta, meta::CONF_STATE);
        let conf_state = row.map_err(|error| error.to_string())?.unwrap_or_default();
        let holds = Holds { index, term, time: state.time(), conf_state };
        let acknowledged = story.acknowledged();
        let text = |error: LogStartError| format!("{}, acknowledged {acknowledged}", chain(&error));
        let recovered = recover(&home, index).map_err(text)?;
        let opened_at = index.max(LogIndex(recovered.last_index()));
        let consensus = Consensus::open(config(), recovered, &holds);
        let consensus = consensus.map_err(|error| error.to_string())?;
        let (report, events) = channel();
        let log = log_dir(&home).start(move |event| drop(report.send(event)));
        let log = log.map_err(|error| error.to_string())?;
        let mut member = Member {
            consensus,
            log,
            events,
            inbox: VecDeque::new(),
            in_flight: 0,
            state,
            engine_at: (index, digest),
            opened_at,
            requests: 0,
            home,
        };
        member.settle(story)?;
        Ok(member)
    }

    /// Whether it had everything that it had promised when it was opened, and nothing else than
    /// what stood there then.
    pub(super) fn holds(&self, story: &Story) -> Result<(), String> {
        story.allows(self.opened_at, self.engine_at, &self.state)
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
            let progress = self.state.sweep().map_err(|error| error.to_string())?;
            self.state.publish();
            story.note_digest(&self.state)?;
            if progress == SweepProgress::Done {
                return Ok(());
            }
        }
        Err("sweeping does not come to an end".to_owned())
    }

    /// Makes the state durable outside the log, and cuts the log.
    pub(super) fn save(&mut self, story: &mut Story) -> Result<(), String> {
        let index = self.home.save(&self.state)?;
        story.promise(self.home.calls(), LogIndex(0), index);
        self.inbox.push_back(ConsensusInput::Checkpointed { index });
        self.settle(story)
    }

    /// What it shows.
    pub(super) fn view(&self) -> Arc<dyn EngineView> {
        self.state.reader().engine_view()
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
        let applied = self.state.apply_entry(index, term, payload.into());
        applied.map_err(|error| error.to_string())?;
        self.state.publish();
        // What was there when it was opened has been noted by the life that wrote it.
        if index > self.opened_at {
            story.note_entry(&self.state)?;
        }
        story.promise(self.home.calls(), index, LogIndex(0));
        self.inbox.push_back(ConsensusInput::Applied { index });
        Ok(())
    }
}

fn put(key: &str, bytes: usize) -> Operation {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Operation::Put(Put { key, value: vec![b'v'; bytes].into(), ..Put::default() })
}

fn config() -> Config {
    let mut config = Config::new(CLUSTER, MEMBER, 7);
    config.segment_bytes = SEGMENT_BYTES;
    // Old segments stay until a checkpoint, as with a log of real size.
    config.rewrite_bytes = 100;
    config.company_bytes = 0;
    config
}

fn log_dir<H: Home>(home: &H) -> LogDir {
    home.log(LogOptions { segment_bytes: SEGMENT_BYTES, ..LogOptions::default() })
}

/// As a member does it that starts.
fn recover<H: Home>(home: &H, applied: LogIndex) -> Result<Recovered, LogStartError> {
    let log = || log_dir(home);
    let start = LogStart { cluster: CLUSTER, member: MEMBER, log: &log, birth: home };
    let read = start.read(applied)?;
    start.go_on_or_begin(read, applied, || Ok(first_write()))
}

/// Begins the log of a new cluster of this one member.
fn first_write() -> LogWrite {
    let row = MemberRow { id: MEMBER.0, ..MemberRow::default() }.encode_to_vec();
    bootstrap(&config(), 99, &[(MEMBER, row.into())])
}
