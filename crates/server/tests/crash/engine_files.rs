//! What a member does when RocksDB's files are lost, damaged or another member's, while its log is
//! sound.
//!
//! The log reaches back to what the engine had flushed, no further. So a lost engine is refused,
//! unless the log was never cut; damage is found by checksums, on opening or when it is read, and
//! either way the file is named.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use metastore_proto::etcdserverpb::RangeRequest;

use crate::damage::{copy_folder, files};
use crate::kills::ROCKSDB;
use crate::oracle::Oracle;
use crate::steps::{put, revision};
use crate::support::{Client, Ended, Member, block_on};

const VALUES: usize = 200;
const VALUE_BYTES: usize = 30 << 10;

/// Much of the log is released: the state is saved after each MiB.
const CUT: [&str; 2] = ["--log-segment-bytes=1048576", "--snapshot-log-bytes=1048576"];

/// A directory of a member that was stopped, and its newest revision.
struct Original {
    folder: tempfile::TempDir,
    flags: Vec<&'static str>,
    last: i64,
}

impl Original {
    fn new(sizes: &[&'static str]) -> Original {
        let folder = tempfile::tempdir().expect("make a temporary folder");
        let flags = [ROCKSDB.flags, sizes].concat();
        let mut member = Member::new(&folder.path().join("data"), &flags);
        member.must_start();
        let last = block_on(async {
            let mut client = member.client().await;
            let mut oracle = Oracle::default();
            for at in 0..VALUES {
                let key = format!("k{at}");
                put(&mut client, &mut oracle, &key, at, VALUE_BYTES).await.expect("it has room");
            }
            revision(&mut client).await
        });
        member.terminate();
        Original { folder, flags, last }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A copy, damaged and started.
    fn start(&self, damage: impl FnOnce(&Path)) -> (Member, Result<(), String>, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("make a temporary folder");
        let data = folder.path().join("data");
        copy_folder(&self.data(), &data);
        damage(&data.join("rocksdb"));
        let mut member = Member::new(&data, &self.flags);
        let started = member.start().map_err(|Ended { code, log }| {
            assert_eq!(code, Some(1), "exit status of a refusal; it said:\n{log}");
            assert!(!log.contains("panicked"), "the member panicked:\n{log}");
            log
        });
        (member, started, folder)
    }

    /// What a refused start says.
    fn refused(&self, damage: impl FnOnce(&Path)) -> String {
        let (_, started, _folder) = self.start(damage);
        started.expect_err("the damage goes unnoticed")
    }
}

/// The length of every value, or the first error.
async fn read_all(client: &mut Client) -> Result<usize, tonic::Status> {
    let mut bytes = 0;
    for at in 0..VALUES {
        let key = Bytes::from(format!("k{at}"));
        let answer = client.kv.range(RangeRequest { key, ..RangeRequest::default() }).await?;
        bytes += answer.into_inner().kvs.iter().map(|kv| kv.value.len()).sum::<usize>();
    }
    Ok(bytes)
}

#[test]
fn lost_foreign_and_damaged_files_of_the_engine_are_refused_with_their_names() {
    let original = Original::new(&CUT);
    let (mut member, started, _folder) = original.start(|_| ());
    started.expect("nothing is damaged");
    let whole = block_on(async { read_all(&mut member.client().await).await }).expect("sound");
    assert!(whole >= VALUES * VALUE_BYTES, "{whole}");
    member.kill();

    let said = original.refused(|engine| fs::remove_dir_all(engine).expect("a folder"));
    assert!(said.contains("do not fit together"), "{said}");

    let said = original.refused(|engine| fs::remove_file(engine.join("CURRENT")).expect("a file"));
    assert!(said.contains("no CURRENT"), "{said}");

    let mut lost = String::new();
    let said = original.refused(|engine| {
        let file = files(engine, ".sst").pop().expect("there is one");
        lost = file.file_name().expect("a name").to_string_lossy().into_owned();
        fs::remove_file(file).expect("a file");
    });
    assert!(said.contains(&lost), "{lost} is missing: {said}");

    let said = original.refused(|engine| {
        let other = tempfile::tempdir().expect("make a temporary folder");
        let mut flags = ROCKSDB.flags.to_vec();
        flags.push("--initial-cluster-token=other");
        let mut member = Member::new(&other.path().join("data"), &flags);
        member.must_start();
        member.terminate();
        fs::remove_dir_all(engine).expect("a folder");
        copy_folder(&other.path().join("data/rocksdb"), engine);
    });
    assert!(said.contains("belongs to"), "{said}");
}

#[test]
fn a_flipped_byte_in_a_file_is_never_served() {
    let original = Original::new(&CUT);
    let mut name = String::new();
    let (mut member, started, _folder) = original.start(|engine| {
        let size = |file: &PathBuf| fs::metadata(file).expect("a file").len();
        let file = files(engine, ".sst").into_iter().max_by_key(size).expect("there is one");
        name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let mut bytes = fs::read(&file).expect("a file");
        bytes[200] ^= 0x04;
        fs::write(&file, bytes).expect("a file");
    });
    let said = match started {
        Err(said) => said,
        Ok(()) => {
            let read = block_on(async { read_all(&mut member.client().await).await });
            let status = read.expect_err("a damaged block");
            member.wait_for_lines("failed to read from the engine", 1);
            format!("{status}\n{}", member.log())
        }
    };
    assert!(said.contains(&name), "{name} is damaged: {said}");
}

#[test]
fn a_lost_engine_comes_back_whole_from_a_log_that_was_never_cut() {
    let original = Original::new(&[]);
    let (member, started, _folder) =
        original.start(|engine| fs::remove_dir_all(engine).expect("a folder"));
    started.expect("the log has everything");
    let (last, whole) = block_on(async {
        let mut client = member.client().await;
        (revision(&mut client).await, read_all(&mut client).await.expect("sound"))
    });
    assert_eq!(last, original.last);
    assert!(whole >= VALUES * VALUE_BYTES, "{whole}");
}
