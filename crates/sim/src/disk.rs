//! A log disk with a cache, that keeps its word about what it acknowledged and nothing else.
//!
//! ```text
//! submitted ──▶ in the cache (reads see it) ──▶ on the medium ──▶ acknowledged, in order
//!    kill:          nothing, all, or a beginning of it was written; the cache survives
//!    power cut:     of what is not on the medium any sectors survive, the others keep old bytes
//! ```
//!
//! Files of new segments are empty, preallocated with zeros, or recycled with the old bytes of
//! another segment. The name of a file is durable with its first durable write; files that were
//! removed may come back after a power cut, because nobody synced the directory.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use node::messages::{LogWrite, SegmentId};
use node::wal::SegmentSource;

/// Small, so that records are torn in many ways.
const SECTOR: usize = 64;

/// A simulated log disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<SegmentId, File>,
    /// Writes that have not been acknowledged, oldest first.
    in_flight: VecDeque<Submitted>,
    /// Bytes in the cache that are not on the medium, oldest first.
    dirty: Vec<Dirty>,
    /// Old bytes for new files.
    spares: Vec<Vec<u8>>,
    /// Files removed since the last power cut.
    removed: Vec<(SegmentId, Vec<u8>)>,
    /// New files cannot be made.
    pub full: bool,
    /// Acknowledge what is only in the cache: a planted fault.
    pub acknowledges_early: bool,
    /// The most writes in flight at once.
    pub in_flight_max: usize,
    /// Writes that reached the medium before an older one.
    pub overtakes: u64,
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What reads see.
    cache: Vec<u8>,
    /// What survives a power cut.
    medium: Vec<u8>,
    /// Whether its name does.
    named: bool,
}

#[derive(Clone, Debug)]
struct Submitted {
    write: LogWrite,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Submitted,
    Cached,
    Durable,
}

#[derive(Clone, Debug)]
struct Dirty {
    number: u64,
    segment: SegmentId,
    offset: usize,
    bytes: Bytes,
}

/// A write or a sync failed: the member must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("simulated files are small")
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Disk {
    /// Takes a write.
    pub fn submit(&mut self, write: LogWrite) {
        self.in_flight.push_back(Submitted { write, stage: Stage::Submitted });
        self.in_flight_max = self.in_flight_max.max(self.in_flight.len());
    }

    /// Whether a write waits to be acknowledged.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Brings one write, not always the oldest, one step further. Returns the numbers of the writes
    /// that are now durable with all before them.
    pub fn step(&mut self, rng: &mut Rng) -> Vec<u64> {
        let open: Vec<usize> = (0..self.in_flight.len()).filter(|at| self.may_step(*at)).collect();
        if let Some(at) = rng.choice(&open) {
            self.step_one(*at, rng);
        }
        let done = if self.acknowledges_early { Stage::Cached } else { Stage::Durable };
        let mut acknowledged = Vec::new();
        while let Some(first) = self.in_flight.front() {
            let is_done = first.stage == Stage::Durable || first.stage == done;
            if !is_done {
                break;
            }
            acknowledged.push(first.write.number);
            self.in_flight.pop_front();
        }
        acknowledged
    }

    fn may_step(&self, at: usize) -> bool {
        let submitted = &self.in_flight[at];
        match submitted.stage {
            Stage::Submitted => !self.full || self.files.contains_key(&submitted.write.segment),
            Stage::Cached => true,
            Stage::Durable => false,
        }
    }

    fn step_one(&mut self, at: usize, rng: &mut Rng) {
        let LogWrite { number, segment, offset, bytes } = self.in_flight[at].write.clone();
        match self.in_flight[at].stage {
            Stage::Submitted => {
                self.cache(number, segment, offset, &bytes, rng);
                self.in_flight[at].stage = Stage::Cached;
            }
            Stage::Cached => {
                let file = self.files.get_mut(&segment).expect("it was written");
                put(&mut file.medium, place(offset), &bytes);
                file.named = true;
                self.dirty.retain(|dirty| (dirty.number, dirty.segment) != (number, segment));
                self.in_flight[at].stage = Stage::Durable;
                let older = self.in_flight.iter().take(at);
                self.overtakes +=
                    older.filter(|other| other.stage != Stage::Durable).count() as u64;
            }
            Stage::Durable => {}
        }
    }

    fn cache(&mut self, number: u64, segment: SegmentId, at: u64, bytes: &Bytes, rng: &mut Rng) {
        let spares = &mut self.spares;
        let file = self.files.entry(segment).or_insert_with(|| {
            let old = match rng.u8(..3) {
                0 => Vec::new(),
                1 => vec![0; 2000],
                _ => spares.pop().unwrap_or_default(),
            };
            File { cache: old.clone(), medium: old, named: false }
        });
        put(&mut file.cache, place(at), bytes);
        let (offset, bytes) = (place(at), bytes.clone());
        self.dirty.push(Dirty { number, segment, offset, bytes });
    }

    /// A write or sync fails, and whatever it had done stays done.
    pub fn fail(&mut self, rng: &mut Rng) -> Result<(), Failed> {
        if self.in_flight.is_empty() {
            return Ok(());
        }
        self.kill(rng);
        Err(Failed)
    }

    /// The process dies. What it had begun to write is in the cache in part.
    pub fn kill(&mut self, rng: &mut Rng) {
        for submitted in std::mem::take(&mut self.in_flight) {
            let LogWrite { number, segment, offset, bytes } = submitted.write;
            let may = !self.full || self.files.contains_key(&segment);
            if submitted.stage == Stage::Submitted && may && rng.bool() {
                let bytes = bytes.slice(..rng.usize(..=bytes.len()));
                self.cache(number, segment, offset, &bytes, rng);
            }
        }
        // Numbers begin anew with the next process; these bytes belong to nobody any more.
        self.dirty.iter_mut().for_each(|dirty| dirty.number = 0);
    }

    /// The power fails.
    pub fn power_cut(&mut self, rng: &mut Rng) {
        self.kill(rng);
        for dirty in std::mem::take(&mut self.dirty) {
            let Some(file) = self.files.get_mut(&dirty.segment) else { continue };
            tear(file, &dirty, rng);
        }
        self.files.retain(|_, file| file.named || rng.bool());
        for file in self.files.values_mut() {
            file.named = true;
            file.cache = file.medium.clone();
        }
        for (segment, bytes) in std::mem::take(&mut self.removed) {
            if rng.bool() {
                let file = File { cache: bytes.clone(), medium: bytes, named: true };
                self.files.entry(segment).or_insert(file);
            }
        }
    }

    /// Removes a segment; its file is deleted or kept for another.
    pub fn remove(&mut self, segment: SegmentId, rng: &mut Rng) {
        self.dirty.retain(|dirty| dirty.segment != segment);
        let Some(file) = self.files.remove(&segment) else { return };
        if rng.bool() {
            self.spares.push(file.medium);
        } else {
            self.removed.push((segment, file.medium));
        }
    }

    /// Removes the segments before `first`, oldest first.
    pub fn release(&mut self, first: SegmentId, rng: &mut Rng) {
        let old: Vec<SegmentId> = self.files.range(..first).map(|(id, _)| *id).collect();
        old.into_iter().for_each(|id| self.remove(id, rng));
    }

    /// Changes one bit somewhere; returns what to flip to undo it.
    pub fn flip(&mut self, rng: &mut Rng) -> Option<(SegmentId, usize, u8)> {
        let sizes: Vec<_> = self.files.iter().map(|(id, f)| (*id, f.cache.len())).collect();
        let (segment, size) = *rng.choice(&sizes)?;
        if size == 0 {
            return None;
        }
        let flipped = (segment, rng.usize(..size), 1 << rng.u8(..8));
        self.unflip(flipped);
        Some(flipped)
    }

    /// Changes the bits back.
    pub fn unflip(&mut self, (segment, at, bits): (SegmentId, usize, u8)) {
        if let Some(file) = self.files.get_mut(&segment) {
            file.cache[at] ^= bits;
        }
    }

    /// Ends a file early, as somebody would who takes rot for a torn tail.
    pub fn truncate(&mut self, segment: SegmentId, offset: u64) {
        self.files.retain(|id, _| *id <= segment);
        if let Some(file) = self.files.get_mut(&segment) {
            file.cache.truncate(place(offset));
            file.medium.truncate(place(offset));
        }
    }
}

/// Lets any sectors of a write reach the medium.
fn tear(file: &mut File, dirty: &Dirty, rng: &mut Rng) {
    let count = dirty.bytes.len().div_ceil(SECTOR);
    let kept: Vec<bool> = match rng.u8(..4) {
        0 => vec![false; count],
        1 => vec![true; count],
        2 => (0..count).map(|at| at < count / 2).collect(),
        _ => (0..count).map(|_| rng.bool()).collect(),
    };
    for (at, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
        let from = at * SECTOR;
        let to = (from + SECTOR).min(dirty.bytes.len());
        // The last sector of all may be cut in the middle.
        let to = if rng.u8(..8) == 0 { rng.usize(from..=to) } else { to };
        put(&mut file.medium, dirty.offset + from, &dirty.bytes[from..to]);
    }
}

impl SegmentSource for Disk {
    fn list(&self) -> Result<Vec<SegmentId>, std::io::Error> {
        Ok(self.files.keys().copied().collect())
    }

    fn read(&self, segment: SegmentId) -> Result<Bytes, std::io::Error> {
        let file = self.files.get(&segment).ok_or(std::io::ErrorKind::NotFound)?;
        Ok(Bytes::from(file.cache.clone()))
    }
}
