//! Spares of which nothing or only a part was filled when their process ended, on a real file system.
//!
//! ```text
//! allocated │ renamed │ filled: ▓▓░░  ▓▓▓░   the process ends anywhere here
//! ░░░░ .tmp │ .spare  │ .spare               the next uses what it finds, over and over
//! ```
//!
//! A block that is reserved and not written reads as zeros, and so does one that was written and not
//! synced when the power failed: the file system knows it by a mark of its own. Which of both it
//! was cannot be told from the bytes, and need not be.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::*;
use crate::files::preallocate;
use crate::folder::{Folder, Names};
use crate::log_disk::segment_files::{SegmentFiles, segment_name, spare_name, temporary_name};
use crate::log_disk::segment_path;

/// Several blocks of a file system.
const BYTES: u64 = 64 << 10;
const BITE: u64 = BYTES / 4;
/// A few to a segment, and none ends with a block.
const WRITE_BYTES: usize = 9_001;

fn options() -> LogOptions {
    LogOptions { segment_bytes: BYTES, ..LogOptions::default() }
}

/// A log in a folder, and all that was ever written to it.
struct Log {
    folder: tempfile::TempDir,
    written: Vec<LogWrite>,
    next: (SegmentId, u64),
}

impl Log {
    fn new() -> Log {
        let folder = tempfile::tempdir().expect("temporary folder");
        Log { folder, written: Vec::new(), next: (SegmentId(1), 0) }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn files(&self) -> Folder {
        Folder { path: self.path().to_path_buf(), durable: true }
    }

    /// Starts on what is there, writes so much, and ends: all of it at once, or one by one.
    fn live(&mut self, fill: Duration, writes: u64, at_once: bool) {
        let (sender, events) = channel();
        let report = move |event| match event {
            LogEvent::Persisted { number, .. } => sender.send(number).expect("the test listens"),
            event => panic!("{event:?}"),
        };
        let pace = Pace { space_retry: NEVER, fill, bite_bytes: BITE };
        let dir = LogDir::new(self.path(), options());
        let mut disk = dir.start_at(pace, Box::new(report)).expect("start");
        for number in 1..=writes {
            disk.append(self.next_write(number)).expect("append");
            if !at_once {
                assert_eq!(events.recv_timeout(PATIENCE), Ok(number));
            }
        }
        drop(disk);
        if at_once {
            assert_eq!(events.try_iter().collect::<Vec<_>>(), (1..=writes).collect::<Vec<_>>());
        }
        self.check();
    }

    fn next_write(&mut self, number: u64) -> LogWrite {
        let (segment, offset) = self.next;
        let count = self.written.len() as u64;
        let bytes: Bytes = (0..WRITE_BYTES).map(|at| fill_byte(count, at)).collect();
        let write = LogWrite { number, segment, offset, bytes };
        let end = offset + WRITE_BYTES as u64;
        let is_last = end + WRITE_BYTES as u64 > BYTES;
        self.next = if is_last { (SegmentId(segment.0 + 1), 0) } else { (segment, end) };
        self.written.push(write.clone());
        write
    }

    /// Everything written is there, and behind it there is nothing.
    fn check(&self) {
        let mut expected: BTreeMap<SegmentId, Vec<u8>> = BTreeMap::new();
        for write in &self.written {
            let segment = expected.entry(write.segment).or_default();
            assert_eq!(segment.len() as u64, write.offset);
            segment.extend_from_slice(&write.bytes);
        }
        let dir = LogDir::new(self.path(), options());
        let segments = dir.segments().expect("list");
        assert_eq!(segments, expected.keys().copied().collect::<Vec<_>>());
        for (segment, mut bytes) in expected {
            bytes.resize(usize::try_from(BYTES).expect("small"), 0);
            assert!(
                dir.read(segment).expect("read") == bytes,
                "{segment:?} is not what was written"
            );
        }
    }
}

/// Whether the file system of this folder reserves blocks.
fn reserves(folder: &Path) -> bool {
    let probe = File::create(folder.join("probe")).expect("create");
    let reserves = preallocate(&probe, BYTES).expect("there is room");
    fs::remove_file(folder.join("probe")).expect("remove");
    reserves
}

#[test]
fn a_process_that_ended_between_reserving_and_filling_leaves_spares_that_take_writes() {
    // The ends of its life: reserved, renamed, and after each bite.
    for bites in [None, Some(0), Some(1), Some(2), Some(3), Some(4)] {
        let mut log = Log::new();
        log.live(NEVER, 3, false);
        let files = log.files();
        let (temporary, spare) = (temporary_name(90), spare_name(90));
        let filled = files.allocate(&temporary, BYTES).expect("allocate");
        let made = fs::metadata(log.path().join(&temporary)).expect("it is there");
        assert_eq!(made.len(), BYTES);
        if reserves(log.path()) {
            assert_eq!(filled, 0, "reserved and no more");
            assert!(made.blocks() * 512 >= BYTES, "{} blocks", made.blocks());
        }
        if let Some(bites) = bites {
            files.rename(&temporary, &spare).expect("rename");
            files.sync_names().expect("sync");
            for bite in 0..bites {
                files.fill(&spare, bite * BITE, BITE).expect("fill");
            }
            let bytes = fs::read(log.path().join(&spare)).expect("read");
            assert!(bytes == vec![0; bytes.len()] && bytes.len() as u64 == BYTES, "{bites} bites");
        }
        // Through all spares, beside no filling and beside filling.
        log.live(NEVER, 30, true);
        log.live(Duration::ZERO, 30, false);
        log.live(NEVER, 5, false);
        assert!(!log.path().join(&temporary).exists());
    }
}

#[test]
fn a_log_that_stops_again_and_again_while_its_spares_are_filled_loses_nothing() {
    let mut log = Log::new();
    for life in 0..12 {
        // A stop does not wait for the filling: it ends after any bite.
        log.live(Duration::ZERO, life % 5, life % 2 == 0);
    }
    assert!(log.next.0 > SegmentId(3), "several spares were used");
}

#[test]
fn a_spare_without_any_blocks_is_used_like_one_that_has_them() {
    let mut log = Log::new();
    for number in 0..4 {
        let spare = File::create(log.path().join(spare_name(number))).expect("create");
        spare.set_len(BYTES).expect("set the size");
    }
    log.live(NEVER, 20, false);
    log.live(Duration::ZERO, 20, true);
}

#[test]
fn what_the_power_took_from_reserved_blocks_reads_as_zeros_and_is_written_again() {
    let mut log = Log::new();
    log.live(NEVER, 1, false);
    let segment = log.next.0;
    let file = OpenOptions::new().write(true).open(segment_path(log.path(), segment));
    let file = file.expect("the segment");
    // Written, in part behind the next block, and never synced.
    let end = log.next.1;
    file.write_all_at(&[7; WRITE_BYTES], end).expect("write");
    // A file system has it back as it was: the first block is another's, too, and keeps that.
    let block = end.next_multiple_of(4096);
    let behind = usize::try_from(block - end).expect("small");
    file.write_all_at(&vec![0; behind], end).expect("write");
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(&file, hole, block, BYTES - block) {
        // Where there are no holes there is no such mark either; zeros are written then.
        Err(Errno::OPNOTSUPP) => {
            let zeros = vec![0; usize::try_from(BYTES - block).expect("small")];
            file.write_all_at(&zeros, block).expect("write");
        }
        punched => punched.expect("punch a hole"),
    }
    drop(file);
    log.check();
    log.live(NEVER, 3, false);
    log.live(Duration::ZERO, 20, true);
    assert!(log.path().join(segment_name(segment)).exists());
}
