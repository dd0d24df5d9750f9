//! Three members on a network that loses, repeats and reorders, and disks that forget what was in
//! flight: what one of them hands out, all of them do.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use node::consensus::{Config, Consensus, Holds, bootstrap};
use node::messages::{Committed, ConsensusInput, ConsensusOutput, LogWrite, Payload, ReadBatch};
use node::wal::replay;
use state::{LogIndex, MemberId, RequestId, Term};
use support::{CLUSTER, Disk};

struct Member {
    id: u64,
    consensus: Consensus,
    config: Config,
    disk: Disk,
    writes: VecDeque<LogWrite>,
    inbox: VecDeque<ConsensusInput>,
    to_apply: VecDeque<Committed>,
    handed_out: u64,
    engine: Holds,
    durable: Holds,
}

struct Cluster {
    rng: Rng,
    members: Vec<Member>,
    /// Messages on their way, and to whom.
    wire: Vec<(u64, Bytes)>,
    /// What was handed out by anybody.
    decided: BTreeMap<u64, (u64, Bytes)>,
    requests: u64,
    crashes: u64,
    installs: u64,
    reads: BTreeMap<ReadBatch, u64>,
    served: u64,
}

/// What a shell does: if the log begins behind a snapshot that the engine lacks, its file is there.
fn open(config: &Config, disk: &Disk, holds: &mut Holds) -> Consensus {
    let recovered = replay(disk, CLUSTER, config.member, holds.index).unwrap().unwrap();
    if let Some(mark) = recovered.snapshot.clone().filter(|mark| mark.index > holds.index.0) {
        (holds.index, holds.term) = (LogIndex(mark.index), Term(mark.term));
        holds.conf_state = mark.conf_state;
    }
    Consensus::open(config.clone(), recovered, holds).unwrap()
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        let mut rng = Rng::with_seed(seed);
        let rows: Vec<_> = (1..=3).map(|id| (MemberId(id), Bytes::from_static(b"r"))).collect();
        let members = (1..=3).map(|id| {
            let mut config = Config::new(CLUSTER, MemberId(id), rng.u64(..));
            config.slots = rng.usize(1..=4);
            config.company_bytes = *rng.choice(&[0, 20, 1 << 20]).unwrap();
            config.segment_bytes = rng.u64(300..3000);
            config.rewrite_bytes = *rng.choice(&[0, 1 << 20]).unwrap();
            config.follower_bytes = rng.u64(..500);
            config.handed_out_bytes = *rng.choice(&[0, 300, 1 << 20]).unwrap();
            let mut disk = Disk::default();
            disk.write(&bootstrap(&config, 99, &rows));
            Member {
                id,
                consensus: open(&config, &disk, &mut Holds::default()),
                config,
                disk,
                writes: VecDeque::new(),
                inbox: VecDeque::new(),
                to_apply: VecDeque::new(),
                handed_out: 0,
                engine: Holds::default(),
                durable: Holds::default(),
            }
        });
        let members = members.collect();
        Cluster {
            rng,
            members,
            wire: Vec::new(),
            decided: BTreeMap::new(),
            requests: 0,
            crashes: 0,
            installs: 0,
            reads: BTreeMap::new(),
            served: 0,
        }
    }

    fn turn(&mut self, at: usize) {
        let member = &mut self.members[at];
        let mut out = Vec::new();
        member.consensus.turn(1, &mut member.inbox, &mut |output| out.push(output)).unwrap();
        for output in out {
            let member = &mut self.members[at];
            match output {
                ConsensusOutput::Append(write) => member.writes.push_back(write),
                ConsensusOutput::Send { to, message } => self.wire.push((to.0, message)),
                ConsensusOutput::Apply(entries) => self.hand_out(at, entries),
                ConsensusOutput::Install { index, term, conf_state } => {
                    self.installs += 1;
                    let time = state::ClusterTime(0);
                    member.engine = Holds { index, term, time, conf_state };
                    member.durable = member.engine.clone();
                    member.handed_out = index.0;
                    member.to_apply.clear();
                    member.inbox.push_back(ConsensusInput::Applied { index });
                }
                ConsensusOutput::Release { first } => {
                    member.disk.segments.retain(|id, _| *id >= first);
                }
                ConsensusOutput::Discard { segments } => {
                    member.disk.segments.retain(|id, _| !segments.contains(id));
                }
                ConsensusOutput::ReadAt { batch, index } => {
                    let asked = self.reads.remove(&batch).expect("answered once");
                    assert!(index.0 >= asked, "a stale read: {index}, {asked} was decided before");
                    self.served += 1;
                }
                ConsensusOutput::ReadLost(batch) => {
                    self.reads.remove(&batch).expect("answered once");
                }
                ConsensusOutput::Refused { .. } | ConsensusOutput::Standing(_) => {}
            }
        }
    }

    fn hand_out(&mut self, at: usize, entries: Vec<Committed>) {
        let member = &mut self.members[at];
        for entry in &entries {
            let index = entry.index.0;
            assert_eq!(index, member.handed_out + 1, "member {}", member.id);
            member.handed_out = index;
            let says = match &entry.payload {
                Payload::Empty => Bytes::new(),
                Payload::Batch(batch) => batch.clone(),
                Payload::Membership(change) => change.context.clone(),
            };
            let said = (entry.term.0, says);
            let decided = self.decided.entry(index).or_insert_with(|| said.clone());
            assert!(*decided == said, "member {} has another entry {index}", member.id);
        }
        member.to_apply.extend(entries);
    }

    fn apply(&mut self, at: usize) {
        let member = &mut self.members[at];
        while let Some(entry) = member.to_apply.pop_front() {
            (member.engine.index, member.engine.term) = (entry.index, entry.term);
            if let Payload::Membership(change) = entry.payload {
                member.engine.conf_state = change.conf_state;
            }
        }
        let index = member.engine.index;
        member.inbox.push_back(ConsensusInput::Applied { index });
    }

    fn checkpoint(&mut self, at: usize) {
        let member = &mut self.members[at];
        member.durable = member.engine.clone();
        let index = member.durable.index;
        if index > LogIndex(0) {
            member.inbox.push_back(ConsensusInput::Checkpointed { index });
        }
    }

    fn propose(&mut self, at: usize) {
        self.requests += 1;
        let command = Bytes::from(self.requests.to_le_bytes().to_vec());
        let request = RequestId(self.requests);
        self.members[at].inbox.push_back(ConsensusInput::Propose { request, command });
    }

    fn persist(&mut self, at: usize) {
        let member = &mut self.members[at];
        if let Some(write) = member.writes.pop_front() {
            member.disk.write(&write);
            member.inbox.push_back(ConsensusInput::Persisted { number: write.number });
        }
    }

    fn crash(&mut self, at: usize) {
        self.crashes += 1;
        let member = &mut self.members[at];
        // Some of what was in flight got there.
        for write in member.writes.drain(..) {
            if self.rng.bool() {
                break;
            }
            member.disk.write(&write);
        }
        member.inbox.clear();
        member.to_apply.clear();
        member.config.seed = self.rng.u64(..);
        member.consensus = open(&member.config, &member.disk, &mut member.durable);
        member.engine = member.durable.clone();
        member.handed_out = member.durable.index.0;
        // Nobody is left who could answer.
        let mine = |batch: &ReadBatch| batch.0 % 3 == at as u64;
        self.reads.retain(|batch, _| !mine(batch));
    }

    fn deliver(&mut self, loses: bool) {
        if self.wire.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.wire.len());
        let (to, message) = match self.rng.u8(..20) {
            0 if loses => self.wire[at].clone(),
            _ => self.wire.swap_remove(at),
        };
        if loses && self.rng.u8(..20) == 0 {
            return;
        }
        let to = usize::try_from(to).unwrap() - 1;
        self.members[to].inbox.push_back(ConsensusInput::Peer(message));
        self.turn(to);
    }

    fn step(&mut self, loses: bool) {
        let at = self.rng.usize(..3);
        match self.rng.u32(..1000) {
            0..400 => self.deliver(loses),
            400..600 => self.persist(at),
            600..700 => self.apply(at),
            700..800 => self.members[at].inbox.push_back(ConsensusInput::Tick),
            800..960 => self.propose(at),
            960..980 => self.checkpoint(at),
            980..990 => {
                self.requests += 1;
                let batch = ReadBatch(self.requests * 3 + at as u64);
                let decided = self.decided.last_key_value().map_or(0, |(index, _)| *index);
                self.reads.insert(batch, decided);
                self.members[at].inbox.push_back(ConsensusInput::ReadIndex(batch));
            }
            _ if loses => self.crash(at),
            _ => {}
        }
        if self.rng.u8(..3) > 0 {
            self.turn(at);
        }
        if self.wire.len() > 200 {
            self.wire.swap_remove(0);
        }
    }

    fn leader_term(&self) -> Option<Term> {
        let standings = self.members.iter().map(|member| member.consensus.standing());
        standings.filter(|standing| standing.is_leader).map(|standing| standing.term).max()
    }
}

#[test]
fn what_one_member_hands_out_all_hand_out() {
    let (mut decided, mut crashes, mut installs, mut served) = (0, 0, 0, 0);
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for seed in 0..seeds.unwrap_or(60) {
        let mut cluster = Cluster::new(seed);
        (0..3000).for_each(|_| cluster.step(true));
        let before = cluster.decided.len();
        (0..6000).for_each(|_| cluster.step(false));
        assert!(cluster.leader_term().is_some(), "seed {seed}: nobody leads after healing");
        assert!(cluster.decided.len() > before, "seed {seed}: nothing is decided after healing");
        decided += cluster.decided.len();
        crashes += cluster.crashes;
        installs += cluster.installs;
        served += cluster.served;
    }
    let all = format!("{decided} decided, {crashes} crashes, {installs} installs, {served} reads");
    assert!(decided > 5000 && crashes > 500 && installs > 5 && served > 100, "{all}");
}
