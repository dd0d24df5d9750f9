//! A log disk in memory and a lone member on it.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs, reason = "tests")]

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use node::consensus::{Config, Consensus, Holds, bootstrap};
use node::messages::{
    Committed, ConsensusInput, ConsensusOutput, LogWrite, Payload, Refused, SegmentId, Standing,
};
use node::wal::{Recovered, ReplayError, SegmentSource, replay};
use state::{ClusterId, LogIndex, MemberId, RequestId};

/// Segments as byte strings. Every write is whole and durable at once.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub segments: BTreeMap<SegmentId, Vec<u8>>,
}

impl Disk {
    pub fn write(&mut self, write: &LogWrite) {
        let segment = self.segments.entry(write.segment).or_default();
        let start = usize::try_from(write.offset).unwrap();
        let end = start + write.bytes.len();
        assert!(segment.len() <= start, "nothing is written twice in a segment");
        segment.resize(end, 0);
        segment[start..end].copy_from_slice(&write.bytes);
    }

    pub fn newest(&mut self) -> &mut Vec<u8> {
        self.segments.values_mut().last().unwrap()
    }
}

impl SegmentSource for Disk {
    fn list(&self) -> Result<Vec<SegmentId>, std::io::Error> {
        Ok(self.segments.keys().copied().collect())
    }

    fn read(&self, segment: SegmentId) -> Result<Bytes, std::io::Error> {
        Ok(Bytes::from(self.segments[&segment].clone()))
    }
}

pub const CLUSTER: ClusterId = ClusterId(0xc1);
pub const ME: MemberId = MemberId(0xe1);

/// The defaults, but for small commands that are to be written side by side.
pub fn config() -> Config {
    let mut config = Config::new(CLUSTER, ME, 7);
    config.company_bytes = 0;
    config
}

/// Commands of a batch, without what the state machine would make of them.
pub fn commands(batch: &[u8]) -> Vec<Bytes> {
    let mut rest = &batch[state::command::BATCH_HEADER_BYTES..];
    let mut commands = Vec::new();
    while let Some((first, tail)) = rest.split_first() {
        // Test commands are shorter than 128 bytes: their length is one byte.
        let (command, more) = tail.split_at(usize::from(*first));
        commands.push(Bytes::copy_from_slice(command));
        rest = more;
    }
    commands
}

/// A lone member whose disk and engine do as told.
pub struct Lone {
    pub consensus: Consensus,
    pub disk: Disk,
    pub holds: Holds,
    pub now_ms: u64,
    pub inbox: VecDeque<ConsensusInput>,
    /// Writes not yet on disk.
    pub writes: VecDeque<LogWrite>,
    pub applied: Vec<Committed>,
    pub standing: Standing,
    pub refused: Vec<(RequestId, Refused)>,
    pub reads: Vec<ConsensusOutput>,
    pub released: Vec<SegmentId>,
    pub discarded: Vec<SegmentId>,
}

impl Lone {
    pub fn born() -> Lone {
        Lone::born_with(config())
    }

    pub fn born_with(config: Config) -> Lone {
        let mut disk = Disk::default();
        disk.write(&bootstrap(&config, 99, &[(ME, Bytes::from_static(b"row"))]));
        Lone::open(disk, config, Holds::default())
    }

    pub fn open(disk: Disk, config: Config, holds: Holds) -> Lone {
        let recovered = recover(&disk, holds.index).unwrap().unwrap();
        let consensus = Consensus::open(config, recovered, &holds).unwrap();
        Lone {
            consensus,
            disk,
            holds,
            now_ms: 1000,
            inbox: VecDeque::new(),
            writes: VecDeque::new(),
            applied: Vec::new(),
            standing: Standing::default(),
            refused: Vec::new(),
            reads: Vec::new(),
            released: Vec::new(),
            discarded: Vec::new(),
        }
    }

    pub fn turn(&mut self) {
        let mut out = Vec::new();
        self.consensus.turn(self.now_ms, &mut self.inbox, &mut |o| out.push(o)).unwrap();
        out.into_iter().for_each(|output| self.take(output));
    }

    pub fn take(&mut self, output: ConsensusOutput) {
        match output {
            ConsensusOutput::Append(write) => self.writes.push_back(write),
            ConsensusOutput::Apply(entries) => self.applied.extend(entries),
            ConsensusOutput::Standing(standing) => self.standing = standing,
            ConsensusOutput::Refused { request, why } => self.refused.push((request, why)),
            ConsensusOutput::Release { first } => self.released.push(first),
            ConsensusOutput::Discard { segments } => self.discarded.extend(segments),
            read @ (ConsensusOutput::ReadAt { .. } | ConsensusOutput::ReadLost(_)) => {
                self.reads.push(read);
            }
            other @ (ConsensusOutput::Send { .. } | ConsensusOutput::Install { .. }) => {
                panic!("a lone member says {other:?}")
            }
        }
    }

    /// Makes the oldest write durable.
    pub fn persist_one(&mut self) {
        let write = self.writes.pop_front().expect("a write in flight");
        self.disk.write(&write);
        self.inbox.push_back(ConsensusInput::Persisted { number: write.number });
        self.turn();
    }

    /// Reports everything handed out as applied, and lets all writes become durable.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            if let Some(last) = self.applied.last() {
                self.inbox.push_back(ConsensusInput::Applied { index: last.index });
            }
            self.turn();
            if self.writes.is_empty() {
                return;
            }
            self.persist_one();
        }
        panic!("the log does not come to rest");
    }

    pub fn propose(&mut self, request: u64, command: &str) {
        let command = Bytes::copy_from_slice(command.as_bytes());
        self.inbox.push_back(ConsensusInput::Propose { request: RequestId(request), command });
    }

    /// The commands applied, in order.
    pub fn story(&self) -> Vec<String> {
        let mut story = Vec::new();
        for entry in &self.applied {
            if let Payload::Batch(batch) = &entry.payload {
                for command in commands(batch) {
                    story.push(String::from_utf8(command.to_vec()).unwrap());
                }
            }
        }
        story
    }

    /// What the engine would hold if it were checkpointed now.
    pub fn checkpoint(&self) -> Holds {
        let mut holds = self.holds.clone();
        for entry in &self.applied {
            (holds.index, holds.term) = (entry.index, entry.term);
            match &entry.payload {
                Payload::Membership(change) => holds.conf_state = change.conf_state.clone(),
                Payload::Batch(batch) => {
                    holds.time = state::command::batch_time(batch).unwrap();
                }
                Payload::Empty => {}
            }
        }
        holds
    }

    /// Power cut: what is not on disk is gone.
    pub fn restart(self, config: Config, holds: Holds) -> Lone {
        Lone::open(self.disk, config, holds)
    }
}

pub fn recover(disk: &Disk, applied: LogIndex) -> Result<Option<Recovered>, ReplayError> {
    replay(disk, CLUSTER, ME, applied)
}
