//! Every change of files below some folders, as calls of a [`Medium`].
//!
//! ```text
//! RocksDB, std ─▶ libc_calls ─▶ recorder ─▶ kernel
//!                                  └▶ calls: make 000012.sst, write …, sync, sync names, …
//! ```
//!
//! One lock is held while the kernel works: the record has the calls in the order in which they were
//! done. Several folders are recorded at a time, each apart.
//!
//! Files that only C's streams write are not seen: RocksDB's text log is one. Nothing depends on it,
//! and no medium has it.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{OFlags, SeekFrom};

use crate::medium::{Call, Inode, Lie, Medium, ROOT};

/// Longer than anything takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

static STATE: Mutex<State> =
    Mutex::new(State { sessions: BTreeMap::new(), open: BTreeMap::new(), begun: 0 });
/// A call was recorded.
static RECORDED: Condvar = Condvar::new();

struct State {
    sessions: BTreeMap<u64, Session>,
    open: BTreeMap<c_int, OpenFile>,
    /// Sessions so far.
    begun: u64,
}

/// A folder that is being recorded.
struct Session {
    folder: Vec<u8>,
    medium: Medium,
    calls: Vec<Call>,
    lie: Option<Lie>,
}

/// A file, or a folder, that has been opened.
struct OpenFile {
    session: u64,
    inode: Inode,
    /// The name of the folder that it is or is in.
    folder: String,
    /// By which the number is known to stand for this file still.
    identity: (u64, u64),
}

/// A name in a folder that is being recorded.
struct Place {
    session: u64,
    /// Where it is.
    folder: Inode,
    folder_name: String,
    /// `None` is the folder of the session itself.
    name: Option<String>,
}

/// Records a folder until it is dropped.
pub(crate) struct Recorder(u64);

impl Recorder {
    /// Fills an empty folder with what the medium holds, and records from then on.
    pub(crate) fn begin(folder: &Path, medium: &Medium, lie: Option<Lie>) -> Recorder {
        fill(folder, medium, ROOT);
        let mut state = lock();
        state.begun += 1;
        let number = state.begun;
        let folder = folder.as_os_str().as_bytes().to_vec();
        let session = Session { folder, medium: medium.clone(), calls: Vec::new(), lie };
        state.sessions.insert(number, session);
        Recorder(number)
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> usize {
        lock().session(self.0).calls.len()
    }

    /// Waits until a file is removed whose name ends like this.
    pub(crate) fn wait_for_removal(&self, end: &str) -> Result<(), String> {
        let waits = |state: &mut State| {
            !state
                .session(self.0)
                .calls
                .iter()
                .any(|call| matches!(call, Call::Remove { name, .. } if name.ends_with(end)))
        };
        let waited = RECORDED.wait_timeout_while(lock(), PATIENCE, waits);
        let (_state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(format!("no {end} is removed")) } else { Ok(()) }
    }

    /// Ends the record. The files are what the calls make of them, or a call was missed.
    pub(crate) fn end(self) -> Result<Vec<Call>, String> {
        let session = lock().sessions.remove(&self.0).expect("it ends once");
        let folder = Path::new(std::ffi::OsStr::from_bytes(&session.folder));
        compare(folder, &session.medium, ROOT)?;
        Ok(session.calls)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        lock().sessions.remove(&self.0);
    }
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fill(folder: &Path, medium: &Medium, inode: Inode) {
    for (name, &inode) in medium.names(inode) {
        let path = folder.join(name);
        if medium.is_folder(inode) {
            fs::create_dir(&path).expect("a folder in an empty folder");
            fill(&path, medium, inode);
        } else {
            fs::write(&path, medium.bytes(inode)).expect("a file in an empty folder");
        }
    }
}

/// Whether a folder holds what the medium does, but for what no medium has.
fn compare(folder: &Path, medium: &Medium, inode: Inode) -> Result<(), String> {
    let names = medium.names(inode);
    let wrong = |name: &str, what: &str| Err(format!("{}: {what}", folder.join(name).display()));
    for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        let name = name.to_string_lossy();
        if !names.contains_key(&*name) && !name.starts_with("LOG") {
            return wrong(&name, "nobody made it");
        }
    }
    for (name, &inode) in names {
        let path = folder.join(name);
        if medium.is_folder(inode) {
            compare(&path, medium, inode)?;
        } else if fs::read(&path).ok().as_deref() != Some(medium.bytes(inode)) {
            return wrong(name, "it is not what the calls make of it");
        }
    }
    Ok(())
}

impl State {
    fn session(&mut self, number: u64) -> &mut Session {
        self.sessions.get_mut(&number).expect("it is being recorded")
    }

    fn record(&mut self, session: u64, call: Call) {
        let session = self.session(session);
        session.medium.apply(&call);
        session.calls.push(call);
        RECORDED.notify_all();
    }

    /// Where a path leads, if that is recorded.
    fn place(&self, path: &[u8]) -> Option<Place> {
        self.sessions.iter().find_map(|(&number, session)| {
            let rest = path.strip_prefix(&session.folder[..])?;
            if !rest.is_empty() && rest[0] != b'/' {
                return None;
            }
            let rest = String::from_utf8_lossy(rest);
            let mut names = rest.split('/').filter(|name| !name.is_empty()).peekable();
            let (mut folder, mut folder_name) = (ROOT, String::new());
            let mut name = names.next();
            while names.peek().is_some() {
                let inner = name.expect("there are more names");
                folder = session.medium.find(folder, inner)?;
                folder_name = inner.to_owned();
                name = names.next();
            }
            Some(Place { session: number, folder, folder_name, name: name.map(str::to_owned) })
        })
    }

    /// What is at a place.
    fn find(&mut self, place: &Place) -> Option<Inode> {
        let medium = &self.session(place.session).medium;
        place.name.as_ref().map_or(Some(ROOT), |name| medium.find(place.folder, name))
    }

    /// What a number stands for, if that is recorded.
    fn file(&mut self, fd: c_int) -> Option<(u64, Inode, Option<Lie>, String)> {
        let OpenFile { session, inode, ref folder, identity: opened } = *self.open.get(&fd)?;
        // Closed by C's streams, the number may be another's by now, and the session over.
        if identity(fd) != Some(opened) || !self.sessions.contains_key(&session) {
            self.open.remove(&fd);
            return None;
        }
        Some((session, inode, self.sessions[&session].lie, folder.clone()))
    }
}

#[allow(unsafe_code, reason = "numbers are what C passes")]
fn borrow<'a>(fd: c_int) -> BorrowedFd<'a> {
    // SAFETY: whoever called us holds it open for the time of the call.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

fn identity(fd: c_int) -> Option<(u64, u64)> {
    let status = rustix::fs::fstat(borrow(fd)).ok()?;
    Some((status.st_dev, status.st_ino))
}

pub(crate) fn opened(path: &[u8], flags: c_int, open: impl FnOnce() -> c_int) -> c_int {
    let mut state = lock();
    let Some(place) = state.place(path) else {
        drop(state);
        return open();
    };
    let found = state.find(&place);
    let fd = open();
    if fd < 0 {
        return fd;
    }
    let inode = match (found, &place.name) {
        (Some(inode), _) => {
            let medium = &state.session(place.session).medium;
            if flags & libc::O_TRUNC != 0 && !medium.bytes(inode).is_empty() {
                state.record(place.session, Call::Resize { file: inode, bytes: 0 });
            }
            inode
        }
        (None, Some(name)) if flags & libc::O_CREAT != 0 => {
            let call = Call::MakeFile { folder: place.folder, name: name.clone() };
            state.record(place.session, call);
            state.find(&place).expect("it has just been made")
        }
        // A file of C's streams.
        (None, _) => return fd,
    };
    let is_folder = state.session(place.session).medium.is_folder(inode);
    let folder = if is_folder { place.name.unwrap_or_default() } else { place.folder_name };
    let identity = identity(fd).expect("it has just been opened");
    state.open.insert(fd, OpenFile { session: place.session, inode, folder, identity });
    fd
}

pub(crate) fn written(
    fd: c_int,
    offset: Option<i64>,
    bytes: &[u8],
    write: impl FnOnce() -> isize,
) -> isize {
    let mut state = lock();
    let Some((session, file, ..)) = state.file(fd) else {
        drop(state);
        return write();
    };
    let offset = offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or_else(|| {
        let flags = rustix::fs::fcntl_getfl(borrow(fd)).expect("it is open");
        let is_end = flags.contains(OFlags::APPEND);
        let from = if is_end { SeekFrom::End(0) } else { SeekFrom::Current(0) };
        rustix::fs::seek(borrow(fd), from).expect("it is a file")
    });
    let written = write();
    if let Ok(count @ 1..) = usize::try_from(written) {
        let offset = usize::try_from(offset).expect("small files");
        state.record(session, Call::Write { file, offset, bytes: bytes[..count].to_vec() });
    }
    written
}

pub(crate) fn synced(fd: c_int, sync: impl FnOnce() -> c_int) -> c_int {
    let mut state = lock();
    let Some((session, inode, lie, name)) = state.file(fd) else {
        drop(state);
        return sync();
    };
    let is_folder = state.session(session).medium.is_folder(inode);
    let is_lie = match lie {
        Some(Lie::Names(liar)) => is_folder && liar == name,
        Some(Lie::Bytes(liar)) => !is_folder && liar == name,
        None => false,
    };
    if !is_lie {
        let call = match is_folder {
            true => Call::SyncNames { folder: inode },
            false => Call::Sync { file: inode },
        };
        state.record(session, call);
    }
    0
}

pub(crate) fn resized(fd: c_int, resize: impl FnOnce() -> c_int) -> c_int {
    let mut state = lock();
    let answer = resize();
    if let Some((session, file, ..)) = state.file(fd)
        && answer == 0
    {
        let bytes = rustix::fs::fstat(borrow(fd)).expect("it is open").st_size;
        let bytes = usize::try_from(bytes).expect("small files");
        if bytes != state.session(session).medium.bytes(file).len() {
            state.record(session, Call::Resize { file, bytes });
        }
    }
    answer
}

/// Room behind the end of a file is none of a reader's business, and takes the kernel a long time.
pub(crate) fn reserved(fd: c_int, reserve: impl FnOnce() -> c_int) -> c_int {
    let mut state = lock();
    let is_recorded = state.file(fd).is_some();
    drop(state);
    if is_recorded { 0 } else { reserve() }
}

pub(crate) fn renamed(from: &[u8], to: &[u8], rename: impl FnOnce() -> c_int) -> c_int {
    let mut state = lock();
    let places = (state.place(from), state.place(to));
    let answer = rename();
    if let ((Some(from), Some(to)), 0) = (places, answer)
        && state.find(&from).is_some()
    {
        assert!(from.folder == to.folder, "no medium moves a file from one folder to another");
        let (Some(from_name), Some(to_name)) = (from.name, to.name) else {
            panic!("the folder of the session is renamed");
        };
        let call = Call::Rename { folder: from.folder, from: from_name, to: to_name };
        state.record(from.session, call);
    }
    answer
}

pub(crate) fn removed(path: &[u8], remove: impl FnOnce() -> c_int) -> c_int {
    let mut state = lock();
    let place = state.place(path);
    let answer = remove();
    if let (Some(place), 0) = (place, answer)
        && state.find(&place).is_some()
        && let Some(name) = place.name
    {
        state.record(place.session, Call::Remove { folder: place.folder, name });
    }
    answer
}

pub(crate) fn made_folder(path: &[u8], make: impl FnOnce() -> c_int) -> c_int {
    let mut state = lock();
    let place = state.place(path);
    let answer = make();
    if let (Some(Place { session, folder, name: Some(name), .. }), 0) = (place, answer) {
        state.record(session, Call::MakeFolder { folder, name });
    }
    answer
}

pub(crate) fn closed(fd: c_int) {
    lock().open.remove(&fd);
}
