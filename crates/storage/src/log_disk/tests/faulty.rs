//! A disk in memory that loses what is not synced, fails, fills up and can be held between steps.
//!
//! A file has durable bytes and pending writes; a name is durable only after the folder is synced.
//! A failed sync drops the pending writes and answers "fine" the next time, as Linux does, except to
//! views that were open and have not been told.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use node::messages::LogWrite;

use crate::folder::Names;
use crate::log_disk::segment_files::{SegmentFile, SegmentFiles, segment_name};

/// Longer than any step takes, so that a test that would hang fails instead.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
pub(super) struct FaultyDisk(Arc<(Mutex<World>, Condvar)>);

#[derive(Default)]
pub(super) struct World {
    files: Vec<Inode>,
    pub(super) names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pub(super) faults: Faults,
    /// Syncs that are held, by ticket, and how far each may go.
    held: BTreeMap<u64, Stage>,
    ticket_next: u64,
    /// The view behind each ticket, and the one that wrote last.
    holders: BTreeMap<u64, u64>,
    writer: u64,
    view_next: u64,
    pub(super) syncs: u64,
    pub(super) prepared: u64,
    /// Bytes of spares that were filled.
    pub(super) filled: u64,
    /// A filling waits for the test.
    pub(super) is_filling: bool,
    /// What must never be: found by the disk itself.
    pub(super) violations: Vec<String>,
    /// The durable names after each change, for tests of crashes between changes.
    pub(super) history: Vec<Vec<String>>,
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<(u64, usize, Vec<u8>)>,
    write_next: u64,
    /// Failed syncs so far.
    errors: u64,
    /// How many of them were told, if all views are one (planted).
    told: u64,
}

#[derive(Default)]
pub(super) struct Faults {
    /// How many more files fit; `None` is without limit.
    pub(super) room: Option<u64>,
    /// Each write is cut at a random place, and now and then interrupted.
    pub(super) short_writes: Option<fastrand::Rng>,
    /// The sync that fails, counted down.
    pub(super) sync_fails_in: Option<u64>,
    /// The write that fails, counted down.
    pub(super) write_fails_in: Option<u64>,
    pub(super) prepare_fails: bool,
    /// A file system that needs new blocks for every write has none.
    pub(super) fill_is_full: bool,
    /// Every filling waits for the test, with its file open.
    pub(super) hold_fills: bool,
    /// Every sync waits for the test.
    pub(super) hold_syncs: bool,
    pub(super) planted: Planted,
}

/// Faults that a correct log disk cannot survive: the checks must find each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Planted {
    #[default]
    None,
    /// Syncs say "done" and do nothing.
    SyncLies,
    /// So do those of the folder.
    SyncNamesLies,
    /// All views of a file are one: an error is told to one of them only.
    OneView,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    Waiting,
    MayAct,
    HasActed,
    MayReturn,
}

struct View {
    number: u64,
    disk: FaultyDisk,
    inode: usize,
    told: u64,
}

impl FaultyDisk {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.0.lock().expect("no test thread panics with the lock")
    }

    /// Waits until `ready` says so.
    pub(super) fn wait_until(&self, ready: impl Fn(&World) -> bool) -> MutexGuard<'_, World> {
        let (world, timeout) = self
            .0
            .1
            .wait_timeout_while(self.world(), PATIENCE, |world| !ready(world))
            .expect("no test thread panics with the lock");
        assert!(!timeout.timed_out(), "the disk never got there: held {:?}", world.held);
        world
    }

    /// Fillings wait no more.
    pub(super) fn let_fill(&self) {
        self.world().faults.hold_fills = false;
        self.0.1.notify_all();
    }

    /// Waits until this many syncs are held, and names them in the order in which they came.
    pub(super) fn held(&self, count: usize) -> Vec<u64> {
        self.wait_until(|world| world.held.len() == count).held.keys().copied().collect()
    }

    /// Waits until two syncs are held, and names the one of the view that did not write.
    pub(super) fn held_companion(&self) -> u64 {
        let held = self.held(2);
        let world = self.world();
        let mut others = held.into_iter().filter(|ticket| world.holders[ticket] != world.writer);
        others.next().expect("two views, and one of them wrote")
    }

    /// Lets a held sync take effect, without returning to its caller.
    pub(super) fn act(&self, ticket: u64) {
        self.advance(ticket, Stage::MayAct);
        drop(self.wait_until(|world| world.held[&ticket] == Stage::HasActed));
    }

    /// Lets a held sync do all it has left.
    pub(super) fn finish(&self, ticket: u64) {
        self.advance(ticket, Stage::MayReturn);
        drop(self.wait_until(|world| !world.held.contains_key(&ticket)));
    }

    fn advance(&self, ticket: u64, stage: Stage) {
        self.world().held.insert(ticket, stage);
        self.0.1.notify_all();
    }

    /// Holds no more, and lets go of what is held.
    pub(super) fn let_go(&self) {
        let mut world = self.world();
        world.faults.hold_syncs = false;
        world.held.values_mut().for_each(|stage| *stage = Stage::MayReturn);
        drop(world);
        self.0.1.notify_all();
    }

    /// Whether this write would be found after a power cut now.
    pub(super) fn survives(&self, write: &LogWrite) -> bool {
        let world = self.world();
        let Some(inode) = world.durable_names.get(&segment_name(write.segment)) else {
            return false;
        };
        let begin = usize::try_from(write.offset).expect("small offsets");
        world.files[*inode].durable.get(begin..begin + write.bytes.len())
            == Some(write.bytes.as_ref())
    }

    fn stage(&self, ticket: Option<u64>, stage: Stage) {
        let Some(ticket) = ticket else { return };
        drop(self.wait_until(|world| world.held[&ticket] >= stage));
    }

    fn acted(&self, ticket: Option<u64>) {
        let Some(ticket) = ticket else { return };
        let mut world = self.world();
        let stage = world.held.get_mut(&ticket).expect("it is held");
        *stage = (*stage).max(Stage::HasActed);
        drop(world);
        self.0.1.notify_all();
    }
}

impl World {
    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn note_names(&mut self) {
        for names in [&self.names, &self.durable_names] {
            self.history.push(names.keys().cloned().collect());
        }
    }
}

fn io_error() -> io::Error {
    rustix::io::Errno::IO.into()
}

fn counted_down(counter: &mut Option<u64>) -> bool {
    match counter {
        Some(0) => {
            *counter = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl Names for FaultyDisk {
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.inode(from)?;
        world.names.remove(from);
        world.names.insert(to.to_owned(), inode);
        world.note_names();
        drop(world);
        self.0.1.notify_all();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.inode(name)?;
        world.names.remove(name);
        if let Some(room) = &mut world.faults.room {
            *room += 1;
        }
        world.note_names();
        drop(world);
        self.0.1.notify_all();
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = self.world();
        if world.faults.planted != Planted::SyncNamesLies {
            world.durable_names = world.names.clone();
        }
        world.note_names();
        Ok(())
    }
}

impl SegmentFiles for FaultyDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let world = self.world();
        let size = |inode: &usize| world.files[*inode].durable.len() as u64;
        Ok(world.names.iter().map(|(name, inode)| (name.clone(), size(inode))).collect())
    }

    fn allocate(&self, name: &str, bytes: u64) -> io::Result<u64> {
        let mut world = self.world();
        if world.faults.prepare_fails {
            return Err(io_error());
        }
        match &mut world.faults.room {
            Some(0) => return Err(rustix::io::Errno::NOSPC.into()),
            Some(room) => *room -= 1,
            None => {}
        }
        let durable = vec![0; usize::try_from(bytes).expect("small files")];
        world.files.push(Inode { durable, ..Inode::default() });
        let inode = world.files.len() - 1;
        world.names.insert(name.to_owned(), inode);
        world.prepared += 1;
        drop(world);
        self.0.1.notify_all();
        Ok(0)
    }

    fn fill(&self, name: &str, offset: u64, bytes: u64) -> io::Result<()> {
        let mut world = self.world();
        if world.faults.prepare_fails {
            return Err(io_error());
        }
        if world.faults.fill_is_full {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        let inode = world.inode(name)?;
        if world.faults.hold_fills {
            world.is_filling = true;
            drop(world);
            self.0.1.notify_all();
            world = self.wait_until(|world| !world.faults.hold_fills);
            world.is_filling = false;
        }
        let is_spare = |(name, of): (&String, &usize)| *of == inode && name.ends_with(".spare");
        if !world.names.iter().any(is_spare) {
            world.violations.push(format!("what was {name} is filled while it is in use"));
        }
        let end = usize::try_from(offset + bytes).expect("small files");
        let begin = usize::try_from(offset).expect("small files");
        world.files[inode].durable[begin..end].fill(0);
        world.filled += bytes;
        drop(world);
        self.0.1.notify_all();
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let mut world = self.world();
        let inode = world.inode(name)?;
        let told = world.files[inode].errors;
        world.view_next += 1;
        let number = world.view_next;
        Ok(Box::new(View { number, disk: self.clone(), inode, told }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let world = self.world();
        Ok(world.files[world.inode(name)?].durable.clone())
    }
}

impl SegmentFile for View {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut world = self.disk.world();
        if counted_down(&mut world.faults.write_fails_in) {
            return Err(io_error());
        }
        let mut count = bytes.len();
        if let Some(random) = &mut world.faults.short_writes {
            if random.u8(..) < 20 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            count = random.usize(1..=count);
        }
        let name_of = |names: &BTreeMap<String, usize>| {
            names.iter().find(|(_, inode)| **inode == self.inode).map(|(name, _)| name.clone())
        };
        let (now, durable) = (name_of(&world.names), name_of(&world.durable_names));
        if durable.as_ref().is_some_and(|name| name.ends_with(".wal")) && durable != now {
            world.violations.push(format!("{now:?} is written under the durable name {durable:?}"));
        }
        let begin = usize::try_from(offset).expect("small offsets");
        world.writer = self.number;
        let file = &mut world.files[self.inode];
        file.pending.push((file.write_next, begin, bytes[..count].to_vec()));
        file.write_next += 1;
        Ok(count)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut world = self.disk.world();
        world.syncs += 1;
        let bound = world.files[self.inode].write_next;
        let ticket = world.faults.hold_syncs.then_some(world.ticket_next);
        if let Some(ticket) = ticket {
            world.ticket_next += 1;
            world.held.insert(ticket, Stage::Waiting);
            world.holders.insert(ticket, self.number);
        }
        drop(world);
        self.disk.0.1.notify_all();
        self.disk.stage(ticket, Stage::MayAct);
        let result = self.write_back(bound);
        self.disk.acted(ticket);
        self.disk.stage(ticket, Stage::MayReturn);
        if let Some(ticket) = ticket {
            self.disk.world().held.remove(&ticket);
            self.disk.0.1.notify_all();
        }
        result
    }
}

impl View {
    fn write_back(&mut self, bound: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        let planted = world.faults.planted;
        if planted == Planted::SyncLies {
            return Ok(());
        }
        let fails = counted_down(&mut world.faults.sync_fails_in);
        let file = &mut world.files[self.inode];
        let (mine, later) = std::mem::take(&mut file.pending)
            .into_iter()
            .partition::<Vec<_>, _>(|(number, _, _)| *number < bound);
        file.pending = later;
        if fails {
            file.errors += 1;
        } else {
            for (_, begin, bytes) in mine {
                let end = begin + bytes.len();
                file.durable.resize(file.durable.len().max(end), 0);
                file.durable[begin..end].copy_from_slice(&bytes);
            }
        }
        let told = if planted == Planted::OneView { &mut file.told } else { &mut self.told };
        if std::mem::replace(told, file.errors) < file.errors { Err(io_error()) } else { Ok(()) }
    }
}
