//! The log disk on a real folder.

use std::fs;
use std::path::Path;

use super::*;

fn options(durable: bool) -> LogOptions {
    LogOptions { segment_bytes: SEGMENT_BYTES, durable, ..LogOptions::default() }
}

fn start(path: &Path, durable: bool) -> (LogDisk, Receiver<u64>) {
    let (sender, events) = channel();
    let report = move |event| match event {
        LogEvent::Persisted { number, .. } => sender.send(number).expect("the test listens"),
        event => panic!("{event:?}"),
    };
    (LogDir::new(path, options(durable)).start(report).expect("start"), events)
}

fn write(number: u64, segment: u64, offset: u64, bytes: &'static [u8]) -> LogWrite {
    LogWrite { number, segment: SegmentId(segment), offset, bytes: Bytes::from_static(bytes) }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("list");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn a_log_is_read_back_and_continued_where_it_ended() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (mut disk, events) = start(folder.path(), true);
    disk.append(write(1, 7, 0, b"seven")).expect("append");
    disk.append(write(2, 8, 0, b"eight")).expect("append");
    assert_eq!(events.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(events.recv_timeout(PATIENCE), Ok(2));
    drop(disk);

    let (mut disk, events) = start(folder.path(), true);
    disk.append(write(1, 8, 5, b", again")).expect("append");
    assert_eq!(events.recv_timeout(PATIENCE), Ok(1));
    drop(disk);

    let dir = LogDir::new(folder.path(), options(true));
    assert_eq!(dir.segments().expect("list"), [SegmentId(7), SegmentId(8)]);
    let bytes = dir.read(SegmentId(8)).expect("read");
    assert_eq!(bytes.len() as u64, SEGMENT_BYTES);
    assert!(bytes.starts_with(b"eight, again\0"));
    dir.remove(SegmentId(8)).expect("remove");
    assert_eq!(dir.segments().expect("list"), [SegmentId(7)]);
}

#[test]
fn what_an_earlier_run_left_is_used_or_removed_and_foreign_files_stay() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let put = |name: &str, bytes: u64| {
        fs::write(folder.path().join(name), vec![7; usize::try_from(bytes).expect("small")])
            .expect("write")
    };
    put("0000000000000003.tmp", 10);
    put("0000000000000004.spare", SEGMENT_BYTES);
    put("0000000000000005.spare", SEGMENT_BYTES);
    put("0000000000000006.spare", 10);
    put("notes.txt", 10);
    put("00000000000000AB.wal", 10);
    let (disk, _events) = start(folder.path(), true);
    drop(disk);
    assert_eq!(
        names(folder.path()),
        ["0000000000000004.spare", "0000000000000005.spare", "00000000000000AB.wal", "notes.txt"]
    );
    let dir = LogDir::new(folder.path(), options(true));
    assert_eq!(dir.segments().expect("list"), []);
}

#[test]
fn without_durability_a_write_is_reported_before_append_returns() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (mut disk, events) = start(folder.path(), false);
    for number in 1..=3 {
        disk.append(write(number, 1, number * 10, b"bytes")).expect("append");
        assert_eq!(events.try_recv(), Ok(number));
    }
    drop(disk);
    let bytes = LogDir::new(folder.path(), options(false)).read(SegmentId(1)).expect("read");
    assert_eq!(&bytes[30..35], b"bytes");
}

#[test]
fn a_missing_segment_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let dir = LogDir::new(folder.path(), options(true));
    let error = dir.read(SegmentId(9)).expect_err("it is missing");
    let name = folder.path().join("0000000000000009.wal");
    assert_eq!(error.to_string(), format!("read {}", name.display()));
}
