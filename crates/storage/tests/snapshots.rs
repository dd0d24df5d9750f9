//! Snapshot files appear whole or not at all.

use std::fs;
use std::io::{self, Read};

use bytes::Bytes;
use state::{LogIndex, Term};
use storage::snapshots::{SnapshotFiles, SnapshotName, WriteError};

fn name(index: u64, term: u64) -> SnapshotName {
    SnapshotName { index: LogIndex(index), term: Term(term) }
}

fn write(files: &SnapshotFiles, name: SnapshotName, chunks: &[&[u8]]) -> u64 {
    let mut chunks = chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk));
    files.write(name, || Ok::<_, io::Error>(chunks.next())).expect("write")
}

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .expect("list")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn a_snapshot_is_written_from_chunks_and_read_back_in_either_way() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let files = SnapshotFiles::open(folder.path()).expect("open").with_sync_bytes(4);
    let bytes = write(&files, name(0x186a0, 3), &[b"whole ", b"", b"state"]);
    assert_eq!(names(&folder), ["00000000000186a0-0000000000000003.snap"]);
    let mut reader = files.read(name(0x186a0, 3)).expect("open");
    assert_eq!(reader.size_bytes(), bytes);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("read");
    assert_eq!(text, "whole state");
    let mut reader = files.read(name(0x186a0, 3)).expect("open");
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.chunk(4).expect("read") {
        chunks.push(chunk);
    }
    assert_eq!(chunks, [&b"whol"[..], b"e st", b"ate"]);
}

/// Something like keys and values: each like the one before, and none equal to another.
fn state() -> Vec<u8> {
    (0..5_000)
        .flat_map(|n| format!("registry/pods/default/web-{n:05} phase=Running").into_bytes())
        .collect()
}

fn content(files: &SnapshotFiles, name: SnapshotName) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    files.read(name).expect("open").read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_state_takes_less_room_in_its_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let files = SnapshotFiles::open(folder.path()).expect("open");
    let state = state();
    let chunks: Vec<&[u8]> = state.chunks(1000).collect();
    let bytes = write(&files, name(7, 1), &chunks);
    assert!(bytes * 2 < state.len() as u64, "{} bytes take {bytes}", state.len());
    let file = fs::metadata(files.path_of(name(7, 1))).expect("metadata");
    assert_eq!(file.len(), bytes);
    assert_eq!(content(&files, name(7, 1)).expect("read"), state);
}

#[test]
fn a_file_that_was_not_compressed_is_read_as_it_is() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let files = SnapshotFiles::open(folder.path()).expect("open");
    for plain in [&b""[..], b"abc", b"METACKPT and all the rest"] {
        fs::write(files.path_of(name(7, 1)), plain).expect("write");
        assert_eq!(content(&files, name(7, 1)).expect("read"), plain);
    }
}

/// Whether what is read is the state is for its own checksums to say: here nothing may panic, run on for ever or take
/// memory that was not there.
#[test]
fn a_damaged_file_is_an_error_or_other_bytes_and_no_more() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let files = SnapshotFiles::open(folder.path()).expect("open");
    let state = state();
    write(&files, name(7, 1), &[&state]);
    let sound = fs::read(files.path_of(name(7, 1))).expect("read");
    let mut random = fastrand::Rng::with_seed(11);
    let mut refused = 0;
    for turn in 0..2_000 {
        let mut bytes = sound.clone();
        // All of the frame's header, and places beyond.
        let at = if turn < 20 { turn } else { random.usize(..bytes.len()) };
        match random.u8(..3) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.u8(..8),
            _ => bytes[at] = random.u8(..),
        }
        fs::write(files.path_of(name(7, 1)), &bytes).expect("write");
        match content(&files, name(7, 1)) {
            Ok(content) => assert!(content.len() <= 4 * state.len(), "{} bytes", content.len()),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 500, "only {refused} of 2,000 were noticed by the frame itself");
}

#[test]
fn snapshots_are_listed_newest_first_and_pruned_to_the_newest() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let files = SnapshotFiles::open(folder.path()).expect("open");
    for (index, term) in [(20, 1), (3, 1), (0x100, 2), (20, 2)] {
        write(&files, name(index, term), &[b"state"]);
    }
    fs::write(folder.path().join("3-1.snap"), "").expect("a name that we do not write");
    let all = [name(0x100, 2), name(20, 2), name(20, 1), name(3, 1)];
    assert_eq!(files.list().expect("list"), all);
    assert_eq!(files.keep_newest(2).expect("prune"), [name(3, 1), name(20, 1)]);
    assert_eq!(files.list().expect("list"), all[..2]);
    assert_eq!(files.keep_newest(2).expect("prune"), []);
    assert_eq!(names(&folder).len(), 3, "what is not ours stays");
}

#[test]
fn a_snapshot_that_cannot_be_produced_leaves_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let files = SnapshotFiles::open(folder.path()).expect("open");
    write(&files, name(7, 1), &[b"the old one"]);
    let mut given = 0;
    let result = files.write(name(7, 1), || {
        given += 1;
        if given < 3 { Ok(Some(Bytes::from_static(b"new"))) } else { Err(io::Error::other("cut")) }
    });
    let error = result.expect_err("it cannot be produced");
    assert!(matches!(&error, WriteError::Content { name: n, .. } if *n == name(7, 1)));
    assert_eq!(error.to_string(), "produce snapshot 0000000000000007-0000000000000001.snap");
    assert_eq!(names(&folder), ["0000000000000007-0000000000000001.snap"]);
    let text = fs::read(files.path_of(name(7, 1))).expect("read");
    assert_eq!(text, b"the old one");
}

#[test]
fn while_it_is_written_a_snapshot_is_not_listed() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let files = SnapshotFiles::open(folder.path()).expect("open");
    let mut seen = Vec::new();
    let result = files.write(name(9, 1), || {
        seen.push(files.list()?.len());
        let chunk = Bytes::from_static(b"part");
        Ok::<_, storage::files::FileError>((seen.len() < 3).then_some(chunk))
    });
    assert_eq!(result.expect("write"), 8);
    assert_eq!(seen, [0, 0, 0]);
    assert_eq!(files.list().expect("list"), [name(9, 1)]);
}

#[test]
fn what_an_interrupted_write_left_is_removed_when_the_folder_is_opened() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let leftover = "0000000000000009-0000000000000001.snap.tmp";
    fs::write(folder.path().join(leftover), "half").expect("write");
    fs::write(folder.path().join("notes.tmp"), "mine").expect("write");
    SnapshotFiles::open(folder.path()).expect("open");
    assert_eq!(names(&folder), ["notes.tmp"]);
}

#[test]
fn a_pruned_snapshot_can_be_read_to_its_end_by_who_has_it_open() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let files = SnapshotFiles::open(folder.path()).expect("open");
    write(&files, name(1, 1), &[b"still here"]);
    let mut reader = files.read(name(1, 1)).expect("open");
    files.keep_newest(0).expect("prune");
    assert_eq!(reader.chunk(100).expect("read").as_deref(), Some(&b"still here"[..]));
    let error = files.read(name(1, 1)).expect_err("it is gone");
    assert_eq!(error.to_string(), format!("open {}", files.path_of(name(1, 1)).display()));
}

#[test]
fn a_snapshot_that_was_set_aside_is_kept_and_crowds_out_no_other() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let files = SnapshotFiles::open(folder.path()).expect("open");
    for index in [10, 20, 30] {
        write(&files, name(index, 1), &[b"state"]);
    }
    files.set_aside(name(30, 1)).expect("rename");
    files.set_aside(name(20, 1)).expect("rename");
    write(&files, name(15, 1), &[b"written later, from an earlier state"]);
    assert_eq!(files.keep_newest(2).expect("prune"), []);
    let files = SnapshotFiles::open(folder.path()).expect("open");
    assert_eq!(files.list().expect("list"), [name(15, 1), name(10, 1)]);
    assert_eq!(names(&folder).len(), 4, "what was set aside is still there");

    write(&files, name(25, 1), &[b"state"]);
    write(&files, name(40, 1), &[b"state"]);
    assert_eq!(files.keep_newest(2).expect("prune"), [name(10, 1), name(15, 1)]);
    let left = names(&folder);
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().any(|name| name.contains("1e-") && name.ends_with(".damaged")), "{left:?}");
}
