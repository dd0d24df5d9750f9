//! Runs the scripts under `testdata/log`: comment, commands, `---`, recorded answers.
//!
//! A script drives the real member, writer and replay on segments in memory: writes stay in flight
//! until the script makes them durable, tears them or loses them. It reads as a tutorial of what
//! survives. `UPDATE_GOLDENFILES=1` records the answers anew.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use std::fmt::Write as _;
use std::path::Path;

use node::consensus::{Config, Holds};
use node::messages::{ConsensusInput, LogWrite, SegmentId};
use node::wal::segment::HEADER_BYTES;
use node::wal::{Recovered, ReplayError, replay};
use state::MemberId;
use support::{CLUSTER, Disk, Lone, config, recover};

/// A member that runs, or what it has left on disk.
#[derive(Default)]
struct World {
    running: Option<Lone>,
    disk: Disk,
    engine: Holds,
    config: Option<Config>,
}

/// A record as it lies on disk, whether its checksum is right or not.
struct OnDisk {
    segment: SegmentId,
    offset: usize,
    bytes: usize,
    number: u64,
    synced_through: u64,
}

impl World {
    fn run(&mut self, line: &str) -> String {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split_whitespace();
        match command {
            "begin" => self.begin(rest),
            "put" => self.put(words),
            "sync" => self.sync(),
            "settle" => self.settle(),
            "idle" => self.idle(),
            "checkpoint" => self.checkpoint(),
            "stop" => self.stop(),
            "crash" => self.crash(words),
            "open" => self.open(),
            "open-as" => self.open_as(MemberId(rest.parse().unwrap())),
            "log" => self.log(),
            "rot" => self.rot(rest.parse().unwrap()),
            "remove" => {
                self.disk.segments.remove(&segment(rest)).expect("the segment is there");
                String::new()
            }
            "rename" => {
                let old = self.disk.segments.remove(&segment(words.next().unwrap())).unwrap();
                self.disk.segments.insert(segment(words.next().unwrap()), old);
                String::new()
            }
            "leftover" => {
                // The newest segment was made of the file of this one.
                let old = self.disk.segments[&segment(rest)].clone();
                let newest = self.disk.newest();
                let behind = old.get(newest.len()..).expect("the older one is longer");
                newest.extend_from_slice(behind);
                format!("{} old bytes behind the newest segment\n", behind.len())
            }
            "format" => self.format(rest.parse().unwrap()),
            other => panic!("no command {other:?}"),
        }
    }

    fn member(&mut self) -> &mut Lone {
        self.running.as_mut().expect("the member runs")
    }

    fn begin(&mut self, segment_bytes: &str) -> String {
        let mut config = config();
        // Only what nobody vouches for is said again, so that old segments stay to be looked at.
        config.rewrite_bytes = 0;
        config.segment_bytes = segment_bytes.parse().unwrap_or(config.segment_bytes);
        let running = Some(Lone::born_with(config.clone()));
        *self = World { running, config: Some(config), ..World::default() };
        self.settle()
    }

    fn put<'a>(&mut self, commands: impl Iterator<Item = &'a str>) -> String {
        let member = self.member();
        for command in commands {
            member.propose(1, command);
        }
        let before = member.writes.len();
        member.turn();
        let mut out = String::new();
        for write in member.writes.iter().skip(before) {
            out += &describe(write, "on its way");
        }
        if out.is_empty() { "waits for a slot\n".to_owned() } else { out }
    }

    fn sync(&mut self) -> String {
        let member = self.member();
        let (before, in_flight) = (member.story().len(), member.writes.len());
        let mut out = describe(member.writes.front().expect("in flight"), "durable");
        member.persist_one();
        for write in member.writes.iter().skip(in_flight - 1) {
            out += &describe(write, "on its way");
        }
        out + &told(member, before)
    }

    fn settle(&mut self) -> String {
        let member = self.member();
        let before = member.story().len();
        member.settle();
        told(member, before)
    }

    fn idle(&mut self) -> String {
        let member = self.member();
        for _ in 0..10 {
            member.inbox.push_back(ConsensusInput::Tick);
            member.turn();
            if let Some(write) = member.writes.front() {
                let out = describe(write, "durable");
                member.persist_one();
                return out;
            }
        }
        "nothing to say\n".to_owned()
    }

    /// The engine makes durable what it has applied.
    fn checkpoint(&mut self) -> String {
        let member = self.member();
        let holds = member.checkpoint();
        let index = holds.index;
        member.inbox.push_back(ConsensusInput::Checkpointed { index });
        member.settle();
        self.engine = holds;
        self.idle();
        let mut out = format!("the engine holds everything up to entry {}\n", index.0);
        if let Some(first) = self.member().released.pop() {
            self.member().disk.segments.retain(|id, _| *id >= first);
            writeln!(out, "segments before {} are given up", first.0).unwrap();
        }
        out
    }

    fn stop(&mut self) -> String {
        let mut out = self.settle();
        for _ in 0..10 {
            let member = self.member();
            let mut said = Vec::new();
            let settled = member.consensus.stop(&mut |output| said.push(output));
            said.into_iter().for_each(|output| member.take(output));
            if settled {
                self.disk = self.running.take().unwrap().disk;
                return out + "stopped\n";
            }
            if let Some(write) = member.writes.front() {
                out += &describe(write, "durable");
            }
            member.settle();
        }
        panic!("the log does not come to rest");
    }

    /// Each write in flight, oldest first, is `whole`, `torn` or, if nothing is said, lost.
    fn crash<'a>(&mut self, fates: impl Iterator<Item = &'a str>) -> String {
        let member = self.running.take().expect("the member runs");
        self.disk = member.disk;
        let mut fates = fates.fuse();
        let mut out = String::new();
        for write in member.writes {
            let fate = fates.next().unwrap_or("lost");
            let half = write.bytes.len() / 2;
            match fate {
                "whole" => self.disk.write(&write),
                "torn" => {
                    let mut bytes = write.bytes.to_vec();
                    bytes[half..].fill(0);
                    self.disk.write(&LogWrite { bytes: bytes.into(), ..write.clone() });
                }
                "lost" => {}
                other => panic!("no fate {other:?}"),
            }
            out += &describe(&write, fate);
        }
        assert_eq!(fates.next(), None, "fewer writes were in flight");
        out
    }

    fn open(&mut self) -> String {
        match recover(&self.disk, self.engine.index) {
            Ok(Some(recovered)) => {
                let out = found(&recovered);
                let config = self.config.clone().expect("begun");
                let disk = std::mem::take(&mut self.disk);
                self.running = Some(Lone::open(disk, config, self.engine.clone()));
                out + &self.settle()
            }
            Ok(None) => "there is no log\n".to_owned(),
            Err(error) => refused(&error),
        }
    }

    fn open_as(&mut self, member: MemberId) -> String {
        match replay(&self.disk, CLUSTER, member, self.engine.index) {
            Ok(_) => "opened\n".to_owned(),
            Err(error) => refused(&error),
        }
    }

    fn log(&mut self) -> String {
        let mut out = String::new();
        for id in self.disk().segments.keys() {
            write!(out, "segment {}:", id.0).unwrap();
            for record in self.records().iter().filter(|record| record.segment == *id) {
                let OnDisk { number, synced_through, .. } = record;
                write!(out, " {number} (vouches for {synced_through})").unwrap();
            }
            out.push('\n');
        }
        out
    }

    fn rot(&mut self, number: u64) -> String {
        let records = self.records();
        let record = records.iter().rfind(|record| record.number == number).expect("on disk");
        let at = record.offset + record.bytes - 1;
        self.disk.segments.get_mut(&record.segment).unwrap()[at] ^= 1;
        format!("record {number} in segment {} is damaged\n", record.segment.0)
    }

    /// A program with a newer format began the newest segment.
    fn format(&mut self, format: u8) -> String {
        let header = self.disk.newest();
        header[8] = format;
        let crc = crc32c::crc32c(&header[..60]);
        header[60..64].copy_from_slice(&crc.to_le_bytes());
        String::new()
    }

    fn disk(&self) -> &Disk {
        self.running.as_ref().map_or(&self.disk, |member| &member.disk)
    }

    fn records(&self) -> Vec<OnDisk> {
        let mut records = Vec::new();
        for (segment, bytes) in &self.disk().segments {
            let mut offset = HEADER_BYTES;
            while let Some(record) = record_at(bytes, *segment, offset) {
                offset += record.bytes;
                records.push(record);
            }
        }
        records
    }
}

fn segment(text: &str) -> SegmentId {
    SegmentId(text.parse().unwrap())
}

fn record_at(bytes: &[u8], segment: SegmentId, offset: usize) -> Option<OnDisk> {
    let frame = bytes.get(offset..offset + 18)?;
    let length = usize::try_from(u32::from_le_bytes(frame[..4].try_into().unwrap())).unwrap();
    let number = u64::from_le_bytes(frame[8..16].try_into().unwrap());
    let lag = u64::from(u16::from_le_bytes(frame[16..18].try_into().unwrap()));
    let whole = length > 0 && offset + length <= bytes.len();
    whole.then(|| OnDisk { segment, offset, bytes: length, number, synced_through: number - lag })
}

fn describe(write: &LogWrite, what: &str) -> String {
    let from = if write.offset == 0 { HEADER_BYTES } else { 0 };
    let record = record_at(&write.bytes, write.segment, from).expect("a write is one record");
    let segment = write.segment.0;
    let begins = if write.offset == 0 { ", which it begins" } else { "" };
    format!("record {} in segment {segment}{begins}: {what}\n", record.number)
}

/// What became known since the story had this length.
fn told(member: &Lone, before: usize) -> String {
    let new = &member.story()[before..];
    if new.is_empty() { String::new() } else { format!("applied: {}\n", new.join(" ")) }
}

fn found(recovered: &Recovered) -> String {
    let Recovered { covered, through, .. } = recovered;
    let mut out = format!("records 1 to {through}, of which 1 to {covered} are vouched for\n");
    if let Some(place) = recovered.cut {
        writeln!(out, "a torn tail is cut off: {place}").unwrap();
    }
    out
}

fn refused(error: &ReplayError) -> String {
    format!("refused: {error}\n")
}

fn play(text: &str) -> String {
    let mut world = World::default();
    let mut out = String::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let mut answers = String::new();
        for line in block.lines().take_while(|line| *line != "---") {
            writeln!(out, "{line}").unwrap();
            let command = line.split('#').next().unwrap_or("").trim();
            if !command.is_empty() {
                answers += &world.run(command);
            }
        }
        writeln!(out, "---\n{answers}").unwrap();
    }
    out.trim_end().to_owned() + "\n"
}

#[test]
fn a_script_with_a_wrong_answer_is_noticed() {
    let right = play("begin\nput a=1\nsync");
    assert!(right.contains("applied: a=1"), "{right}");
    assert_ne!(right.replace("a=1", "a=2").replace("put a=2", "put a=1"), play(&right));
    assert_eq!(right, play(&right));
}

#[test]
fn the_scripts_have_the_recorded_answers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/log");
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "{} scripts in {}", paths.len(), folder.display());
    for path in paths {
        let recorded = std::fs::read_to_string(&path).unwrap();
        let played = play(&recorded);
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(&path, &played).unwrap();
        } else {
            assert_eq!(played, recorded, "{} has other answers", path.display());
        }
    }
}
