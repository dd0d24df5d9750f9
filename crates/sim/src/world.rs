//! One member, its disk, its engine and its clients, moved by one seed.
//!
//! Each step does one thing: a client proposes, the disk takes a step, time passes, the engine
//! applies or checkpoints, the process is killed, the power fails, a write fails, the disk fills up.
//! At the end everything heals, and all that was ever acknowledged must be there.

use std::collections::VecDeque;

use bytes::Bytes;
use fastrand::Rng;
use node::consensus::{Config, Consensus, Holds, bootstrap};
use node::messages::{Committed, ConsensusInput, ConsensusOutput, Payload, ReadBatch};
use node::wal::{Recovered, ReplayError, replay};
use state::{ClusterId, LogIndex, MemberId, RequestId};

use crate::disk::Disk;
use crate::oracle::{Oracle, Violation};

const CLUSTER: ClusterId = ClusterId(0xc1);
const MEMBER: MemberId = MemberId(0xe1);

/// A fault put in on purpose, to see that the net catches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    /// None.
    #[default]
    Nothing,
    /// The disk acknowledges what is only in its cache.
    DiskAcknowledgesEarly,
    /// The shell reports every write durable as soon as it is asked for.
    ShellAcknowledgesEarly,
    /// The shell does so for the first write of a start only.
    ShellSkipsTheGate,
    /// A start takes rot for a torn tail.
    RotIsCut,
}

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries handed out.
    pub acknowledged: usize,
    /// Starts after a kill, a power cut or a failed write.
    pub crashes: u64,
    /// Starts that cut a torn tail.
    pub tails_cut: u64,
    /// Flipped bits that made a start be refused.
    pub rot_refused: u64,
    /// The most writes in flight at once.
    pub in_flight_max: usize,
    /// Writes that reached the medium before an older one.
    pub overtakes: u64,
    /// Segments given up.
    pub released: u64,
    /// A hash of everything that was said, in order.
    pub trace: u64,
}

/// Runs one seed.
///
/// # Errors
/// A promise was broken; the text says which.
pub fn run(seed: u64, steps: u32, planted: Planted) -> Result<Report, Violation> {
    let mut world = World::new(seed, planted)?;
    for _ in 0..steps {
        world.step()?;
    }
    world.heal()?;
    Ok(world.finish())
}

struct World {
    rng: Rng,
    planted: Planted,
    config: Config,
    disk: Disk,
    consensus: Consensus,
    inbox: VecDeque<ConsensusInput>,
    now_ms: u64,
    oracle: Oracle,
    /// Handed out and not yet applied.
    to_apply: VecDeque<Committed>,
    /// What the engine has applied, and what of it is durable.
    engine: Holds,
    durable: Holds,
    requests: u64,
    reads: u64,
    /// How often each thing happens in this run, of 1000.
    odds: [u32; 8],
    report: Report,
}

const PROPOSE: usize = 0;
const DISK: usize = 1;
const TICK: usize = 2;
const APPLY: usize = 3;
const CHECKPOINT: usize = 4;
const KILL: usize = 5;
const POWER: usize = 6;
const FAULT: usize = 7;

impl World {
    fn new(seed: u64, planted: Planted) -> Result<World, Violation> {
        let mut rng = Rng::with_seed(seed);
        let mut config = Config::new(CLUSTER, MEMBER, rng.u64(..));
        config.slots = if rng.bool() { 2 } else { rng.usize(1..=4) };
        config.company_bytes = *rng.choice(&[0, 100, 1 << 20]).expect("three");
        config.segment_bytes = rng.u64(300..4000);
        config.rewrite_bytes = *rng.choice(&[0, 200, 1 << 20]).expect("three");
        config.handed_out_bytes = *rng.choice(&[0, 300, 1 << 20]).expect("three");
        let odds = [
            rng.u32(50..500),
            rng.u32(100..600),
            rng.u32(10..200),
            rng.u32(50..300),
            rng.u32(1..60),
            rng.u32(0..20),
            rng.u32(0..20),
            rng.u32(0..20),
        ];
        let mut disk = Disk::default();
        let mut oracle = Oracle::default();
        let first = bootstrap(&config, rng.u32(..), &[(MEMBER, Bytes::from_static(b"row"))]);
        oracle.appended(&first);
        oracle.persisted(first.number);
        disk.submit(first);
        for _ in 0..2 {
            disk.step(&mut rng);
        }
        disk.acknowledges_early = planted == Planted::DiskAcknowledgesEarly;
        let consensus = start(&mut disk, &config, &Holds::default(), planted)?.1;
        Ok(World {
            rng,
            planted,
            config,
            disk,
            consensus,
            inbox: VecDeque::new(),
            now_ms: 0,
            oracle,
            to_apply: VecDeque::new(),
            engine: Holds::default(),
            durable: Holds::default(),
            requests: 0,
            reads: 0,
            odds,
            report: Report::default(),
        })
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.now_ms += self.rng.u64(0..3);
        let mut dice = self.rng.u32(..self.odds.iter().sum::<u32>());
        let mut what = 0;
        while dice >= self.odds[what] {
            dice -= self.odds[what];
            what += 1;
        }
        match what {
            PROPOSE => self.propose(),
            DISK => self.disk_step(),
            TICK => self.inbox.push_back(ConsensusInput::Tick),
            APPLY => self.apply(),
            CHECKPOINT => self.checkpoint(),
            KILL => {
                self.disk.kill(&mut self.rng);
                return self.restart();
            }
            POWER => {
                self.disk.power_cut(&mut self.rng);
                return self.restart();
            }
            FAULT => return self.fault(),
            _ => unreachable!("eight kinds of steps"),
        }
        // Inputs often come together.
        if self.rng.u8(..4) > 0 { self.turn() } else { Ok(()) }
    }

    fn propose(&mut self) {
        for _ in 0..self.rng.u32(1..6) {
            self.requests += 1;
            let size = self.rng.usize(..300);
            let mut command = self.requests.to_le_bytes().to_vec();
            command.resize(8 + size, 7);
            let request = RequestId(self.requests);
            self.inbox.push_back(ConsensusInput::Propose { request, command: command.into() });
        }
        if self.rng.u8(..8) == 0 {
            self.reads += 1;
            self.inbox.push_back(ConsensusInput::ReadIndex(ReadBatch(self.reads)));
        }
    }

    fn disk_step(&mut self) {
        let persisted = self.disk.step(&mut self.rng);
        if self.planted == Planted::ShellAcknowledgesEarly {
            return;
        }
        for number in persisted {
            if number == 1 && self.planted == Planted::ShellSkipsTheGate {
                continue;
            }
            self.oracle.persisted(number);
            self.inbox.push_back(ConsensusInput::Persisted { number });
        }
    }

    fn apply(&mut self) {
        for _ in 0..self.rng.u32(1..4) {
            let Some(entry) = self.to_apply.pop_front() else { break };
            (self.engine.index, self.engine.term) = (entry.index, entry.term);
            match entry.payload {
                Payload::Membership(change) => self.engine.conf_state = change.conf_state,
                Payload::Batch(batch) => {
                    self.engine.time = state::command::batch_time(&batch).expect("our own batch");
                }
                Payload::Empty => {}
            }
            self.inbox.push_back(ConsensusInput::Applied { index: entry.index });
        }
    }

    fn checkpoint(&mut self) {
        self.durable = self.engine.clone();
        self.inbox.push_back(ConsensusInput::Checkpointed { index: self.durable.index });
    }

    fn fault(&mut self) -> Result<(), Violation> {
        match self.rng.u8(..4) {
            0 => self.disk.full = !self.disk.full,
            1 if self.disk.fail(&mut self.rng).is_err() => return self.restart(),
            2 => {
                self.stop()?;
                self.rot()?;
                self.disk.kill(&mut self.rng);
                return self.restart();
            }
            _ => {}
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Violation> {
        let mut outputs = Vec::new();
        let turn = self.consensus.turn(self.now_ms, &mut self.inbox, &mut |o| outputs.push(o));
        turn.map_err(|error| error.to_string())?;
        outputs.into_iter().try_for_each(|output| self.take(output))
    }

    fn take(&mut self, output: ConsensusOutput) -> Result<(), Violation> {
        self.trace(&output);
        match output {
            ConsensusOutput::Append(write) => {
                self.oracle.appended(&write);
                let number = write.number;
                self.disk.submit(write);
                let early = match self.planted {
                    Planted::ShellAcknowledgesEarly => true,
                    Planted::ShellSkipsTheGate => number == 1,
                    _ => false,
                };
                if early {
                    self.oracle.persisted(number);
                    self.inbox.push_back(ConsensusInput::Persisted { number });
                }
            }
            ConsensusOutput::Apply(entries) => {
                self.oracle.handed_out(&entries)?;
                self.to_apply.extend(entries);
            }
            ConsensusOutput::Release { first } => {
                self.report.released += 1;
                self.disk.release(first, &mut self.rng);
            }
            ConsensusOutput::Discard { segments } => {
                for segment in segments {
                    self.disk.remove(segment, &mut self.rng);
                }
            }
            ConsensusOutput::ReadAt { index, .. } if index.0 < self.oracle.last() => {
                let last = self.oracle.last();
                return Err(format!("a read may be served at {index}, but {last} is applied"));
            }
            ConsensusOutput::Send { .. } | ConsensusOutput::Install { .. } => {
                return Err(format!("a lone member says {output:?}"));
            }
            ConsensusOutput::ReadAt { .. }
            | ConsensusOutput::ReadLost(_)
            | ConsensusOutput::Refused { .. }
            | ConsensusOutput::Standing(_) => {}
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Violation> {
        self.report.crashes += 1;
        self.inbox.clear();
        self.to_apply.clear();
        self.engine = self.durable.clone();
        self.config.seed = self.rng.u64(..);
        // The process clock begins anew.
        self.now_ms = self.rng.u64(..1000);
        let (recovered, consensus) =
            start(&mut self.disk, &self.config, &self.durable, self.planted)?;
        self.report.tails_cut += u64::from(recovered.cut.is_some());
        self.oracle.recovered(&recovered, self.durable.index.0)?;
        self.consensus = consensus;
        Ok(())
    }

    /// Stops cleanly: everything durable and vouched for.
    fn stop(&mut self) -> Result<(), Violation> {
        self.disk.full = false;
        for _ in 0..10_000 {
            let mut outputs = Vec::new();
            let done = self.consensus.stop(&mut |output| outputs.push(output));
            outputs.into_iter().try_for_each(|output| self.take(output))?;
            if done && !self.disk.is_busy() {
                return Ok(());
            }
            self.disk_step();
            self.turn()?;
        }
        Err("the log does not come to rest".to_owned())
    }

    /// A bit flips while the member is down. Either the start is refused, or nothing is missing.
    fn rot(&mut self) -> Result<(), Violation> {
        let Some(flipped) = self.disk.flip(&mut self.rng) else { return Ok(()) };
        let found = loop {
            let found = replay(&self.disk, CLUSTER, MEMBER, self.durable.index);
            match (&found, self.planted) {
                (Err(ReplayError::Rot(place)), Planted::RotIsCut) => {
                    self.disk.truncate(place.segment, place.offset);
                }
                _ => break found,
            }
        };
        match found {
            Ok(Some(recovered)) => {
                let seen = self.oracle.clone().recovered(&recovered, self.durable.index.0);
                seen.map_err(|what| format!("{what}, and {flipped:?} was flipped"))?;
            }
            Ok(None) => return Err("after one flipped bit there is no log".to_owned()),
            Err(_) => self.report.rot_refused += 1,
        }
        self.disk.unflip(flipped);
        Ok(())
    }

    /// Ends all faults: the member must become whole and take a write.
    fn heal(&mut self) -> Result<(), Violation> {
        self.disk.power_cut(&mut self.rng);
        self.disk.full = false;
        self.restart()?;
        self.requests += 1;
        let command = Bytes::from(self.requests.to_le_bytes().to_vec());
        let request = RequestId(self.requests);
        self.inbox.push_back(ConsensusInput::Propose { request, command });
        let before = self.oracle.acknowledged();
        for _ in 0..10_000 {
            self.turn()?;
            self.disk_step();
            self.apply();
            let written = self.oracle.acknowledged() > before + 1;
            if written && self.inbox.is_empty() && !self.disk.is_busy() {
                return self.missing();
            }
        }
        Err("the healed member does not take a write".to_owned())
    }

    fn missing(&self) -> Result<(), Violation> {
        let (last, promised) = (self.oracle.last(), self.oracle.acknowledged_through());
        if last < promised {
            return Err(format!("{promised} was acknowledged, the healed member is at {last}"));
        }
        Ok(())
    }

    fn finish(mut self) -> Report {
        self.report.acknowledged = self.oracle.acknowledged();
        self.report.in_flight_max = self.disk.in_flight_max;
        self.report.overtakes = self.disk.overtakes;
        self.report
    }

    fn trace(&mut self, output: &ConsensusOutput) {
        match output {
            ConsensusOutput::Append(write) => {
                self.note(&[1, write.number, write.segment.0, write.offset]);
                for bytes in write.bytes.chunks(8) {
                    let word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
                    self.note(&[word]);
                }
            }
            ConsensusOutput::Release { first } => self.note(&[2, first.0]),
            ConsensusOutput::Discard { segments } => self.note(&[3, segments.len() as u64]),
            ConsensusOutput::Apply(entries) => {
                self.note(&[4]);
                entries.iter().for_each(|entry| self.note(&[entry.index.0, entry.term.0]));
            }
            ConsensusOutput::ReadAt { batch, index } => self.note(&[5, batch.0, index.0]),
            ConsensusOutput::ReadLost(batch) => self.note(&[6, batch.0]),
            ConsensusOutput::Refused { request, .. } => self.note(&[7, request.0]),
            ConsensusOutput::Standing(now) => {
                self.note(&[8, now.term.0, now.committed.0, u64::from(now.sole_voter)]);
            }
            ConsensusOutput::Send { to, .. } => self.note(&[9, to.0]),
            ConsensusOutput::Install { index, .. } => self.note(&[10, index.0]),
        }
    }

    fn note(&mut self, words: &[u64]) {
        for word in words {
            // FNV-1a, by words.
            self.report.trace = (self.report.trace ^ word).wrapping_mul(0x100_0000_01b3);
        }
    }
}

fn start(
    disk: &mut Disk,
    config: &Config,
    holds: &Holds,
    planted: Planted,
) -> Result<(Recovered, Consensus), Violation> {
    let recovered = loop {
        match replay(disk, CLUSTER, MEMBER, LogIndex(holds.index.0)) {
            Ok(Some(recovered)) => break recovered,
            Ok(None) => return Err("there is no log".to_owned()),
            Err(ReplayError::Rot(place)) if planted == Planted::RotIsCut => {
                disk.truncate(place.segment, place.offset);
            }
            Err(error) => return Err(format!("a start is refused: {error}")),
        }
    };
    let consensus = Consensus::open(config.clone(), recovered.clone(), holds)
        .map_err(|error| format!("a start fails: {error}"))?;
    Ok((recovered, consensus))
}
