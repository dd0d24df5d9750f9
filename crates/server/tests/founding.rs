//! A first start that was cut short, at any step and within the very first write of the log, leaves
//! nothing in the way of the next.
//!
//! ```text
//! data dir ─ LOCK ─ log/ ─ snap/ ─ MANIFEST ─ rocksdb/ ─ first segment ─ first write ─ BORN ┄┄ ready
//!     └────────┴──────┴──────┴─────────┴──────────┴────────────┴─────────────┘
//!                the next start is a first start like any other
//!                                                               behind BORN a lost log is refused
//! ```
//!
//! The steps are [`server::boot`]'s, in this process. Kills of the real one at these steps are in
//! `crash`, power cuts at each call of [`storage::log_start`] in `storage`.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use node::consensus::{self, bootstrap};
use prost::Message as _;
use server::boot::{self, Running};
use server::config::Config;
use server::config::cli::{Outcome, decide};
use server::core::CoreInput;
use state::command::{Operation, Put};
use state::members::Member;
use storage::data_dir::{DataDir, Stamp};
use tempfile::TempDir;

/// As large as they may be at least, so that a start fills little.
const SEGMENT_BYTES: u64 = 1 << 20;

/// Written whole or not at all, when the power fails.
const SECTOR: usize = 64;

const FIRST_SEGMENT: &str = "log/0000000000000001.wal";

fn engines() -> &'static [&'static str] {
    if cfg!(feature = "rocksdb") { &["memory", "rocksdb"] } else { &["memory"] }
}

fn config(data: &Path, engine: &str) -> Config {
    let data = data.to_str().expect("temporary folders have plain names");
    let line = [
        "metastore".to_owned(),
        format!("--data-dir={data}"),
        format!("--engine={engine}"),
        format!("--log-segment-bytes={SEGMENT_BYTES}"),
    ];
    match decide(line.map(Into::into), &[]) {
        Outcome::Start(_, loaded) => loaded.config,
        Outcome::Print { stderr, .. } => panic!("{stderr}"),
    }
}

/// A data directory, and the files that a first start makes in it.
struct Scene {
    folder: TempDir,
    engine: &'static str,
}

impl Scene {
    fn new(engine: &'static str) -> Scene {
        let folder = tempfile::tempdir().expect("make a temporary folder");
        fs::create_dir(folder.path().join("data")).expect("the folder is empty");
        Scene { folder, engine }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn config(&self) -> Config {
        config(&self.data(), self.engine)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.data().join(name), bytes).expect("write into a temporary folder");
    }

    /// Up to the point where the directory has its manifest.
    fn stamp(&self) -> Stamp {
        let founding = self.config().initial_cluster.found().expect("a cluster of one");
        let stamp = Stamp::new(self.engine, founding.cluster_id, founding.member_id);
        drop(DataDir::open(&self.data(), &stamp).expect("it is new"));
        stamp
    }

    /// The same, and what the first write is going to be.
    fn first_write(&self) -> Vec<u8> {
        let stamp = self.stamp();
        let mut config = consensus::Config::new(stamp.cluster, stamp.member, 7);
        config.segment_bytes = SEGMENT_BYTES;
        let peer_urls = vec!["http://localhost:2380".to_owned()];
        let row = Member { id: stamp.member.0, peer_urls, ..Member::default() };
        let write = bootstrap(&config, 7, &[(stamp.member, row.encode_to_vec().into())]);
        assert_eq!(write.offset, 0, "it begins the log");
        write.bytes.to_vec()
    }

    /// A segment that begins with these bytes.
    fn write_segment(&self, bytes: &[u8]) {
        let mut segment = bytes.to_vec();
        segment.resize(usize::try_from(SEGMENT_BYTES).expect("a MiB"), 0);
        self.write(FIRST_SEGMENT, &segment);
    }

    /// Starts a member, and ends with what that leads to.
    fn start(&self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let config = self.config();
            let member = ready(&config).await?;
            assert_eq!(revision(&member), 1, "nothing has been written to a new member");
            let put = Put { key: "k".into(), value: Bytes::from_static(b"v"), ..Put::default() };
            member.handle.propose(Operation::Put(put)).await.map_err(|error| error.to_string())?;
            stop(member).await;
            let member = ready(&config).await?;
            assert_eq!(revision(&member), 2, "what was acknowledged is there");
            stop(member).await;
            Ok(())
        })
    }
}

async fn ready(config: &Config) -> Result<Running, String> {
    let member = boot::start(config).map_err(|error| format!("{error:#}"))?;
    member.become_ready(config).await.map_err(|error| format!("{error:#}"))?;
    Ok(member)
}

fn revision(member: &Running) -> i64 {
    member.handle.header().revision
}

async fn stop(member: Running) {
    member.handle.send(CoreInput::Stop).expect("it runs");
    member.ended.await.expect_err("nothing is sent, it is dropped");
    member.core.join().expect("it does not panic").expect("nothing fails");
}

/// What a start leaves that was cut short, step by step.
fn leave(scene: &Scene, step: usize) -> Option<&'static str> {
    let with_rocksdb = scene.engine == "rocksdb";
    let rocksdb = scene.data().join("rocksdb");
    let make = |name: &str| fs::create_dir(scene.data().join(name)).expect("it is new");
    Some(match step {
        0 => "an empty directory",
        1 => {
            scene.write("LOCK", b"");
            "a lock file"
        }
        2 => {
            make("log");
            "the folder of the log"
        }
        3 => {
            make("log");
            make("snap");
            scene.write("MANIFEST.tmp", b"{\"magic\": \"metast");
            "a torn manifest that has no name yet"
        }
        4 => {
            scene.stamp();
            "a manifest"
        }
        5 => {
            scene.stamp();
            fs::remove_dir(scene.data().join("log")).expect("it is empty");
            "a manifest whose folders were lost"
        }
        6 if with_rocksdb => {
            scene.stamp();
            fs::create_dir(&rocksdb).expect("it is new");
            "the folder of an engine"
        }
        7 if with_rocksdb => {
            scene.stamp();
            fs::create_dir(&rocksdb).expect("it is new");
            scene.write("rocksdb/IDENTITY", b"0c9c");
            scene.write("rocksdb/MANIFEST-000001", b"\0\0\0");
            scene.write("rocksdb/000001.dbtmp", b"MANIFEST-0000");
            "an engine without a beginning"
        }
        6 | 7 => {
            scene.stamp();
            scene.write("snap/0000000000000001-0000000000000001.snap.tmp", b"half a sn");
            "the beginning of a snapshot"
        }
        8 => {
            scene.stamp();
            scene.write("log/0000000000000001.tmp", &[0; 4096]);
            "a segment that is being made"
        }
        9 => {
            scene.stamp();
            scene.write("log/0000000000000001.spare", &[0; 1 << 20]);
            "a segment that nobody uses"
        }
        10 => {
            scene.stamp();
            scene.write_segment(b"");
            "a segment in which nothing is written"
        }
        11 => {
            scene.stamp();
            scene.write(FIRST_SEGMENT, b"");
            "a segment without a size"
        }
        12 => {
            let bytes = scene.first_write();
            scene.write_segment(&bytes);
            "the first write, whole"
        }
        13 => {
            let bytes = scene.first_write();
            scene.write_segment(&bytes);
            scene.write("BORN.tmp", b"");
            "a note of birth that has no name yet"
        }
        _ => return None,
    })
}

#[test]
fn a_first_start_that_was_cut_short_is_begun_anew() {
    for engine in engines() {
        for step in 0.. {
            let scene = Scene::new(engine);
            let Some(left) = leave(&scene, step) else { break };
            scene.start().unwrap_or_else(|error| panic!("{engine}, {left}: {error}"));
        }
    }
}

/// Each way in which the power can tear the write: any of its sectors are there.
fn torn(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let sectors = bytes.len().div_ceil(SECTOR);
    assert!(sectors <= 7, "{sectors} sectors can be torn in too many ways");
    (0..1_u32 << sectors).map(|kept| {
        let mut torn = bytes.to_vec();
        for (sector, bytes) in torn.chunks_mut(SECTOR).enumerate() {
            if kept >> sector & 1 == 0 {
                bytes.fill(0);
            }
        }
        torn
    })
}

#[test]
fn a_first_write_that_was_torn_is_begun_anew() {
    for engine in engines() {
        let bytes = Scene::new(engine).first_write();
        for torn in torn(&bytes) {
            let scene = Scene::new(engine);
            scene.stamp();
            scene.write_segment(&torn);
            scene.start().unwrap_or_else(|error| panic!("{engine}, {torn:?}: {error}"));
        }
    }
}

#[test]
fn a_first_write_that_is_torn_later_is_a_loss() {
    for engine in engines() {
        let bytes = Scene::new(engine).first_write();
        for torn in torn(&bytes).filter(|torn| *torn != bytes) {
            let scene = Scene::new(engine);
            scene.stamp();
            scene.write_segment(&torn);
            scene.write("BORN", b"");
            let error = scene.start().expect_err("a member that lived has lost its log");
            assert!(error.contains("log"), "{engine}, {torn:?}: {error}");
        }
    }
}

/// With a log that is gone but for this much of its first write.
fn without_its_log(scene: &Scene, left: Option<&[u8]>) -> Result<(), String> {
    let log = scene.data().join("log");
    for file in fs::read_dir(&log).expect("it has a log") {
        fs::remove_file(file.expect("a file").path()).expect("it is ours");
    }
    if let Some(left) = left {
        scene.write_segment(left);
    }
    scene.start()
}

#[test]
fn a_member_that_has_lived_and_lost_its_log_is_not_begun_anew() {
    for engine in engines() {
        let first_write = Scene::new(engine).first_write();
        for left in [None, Some(&[][..]), Some(&first_write[..SECTOR])] {
            let scene = Scene::new(engine);
            scene.start().expect("it lives");
            let error = without_its_log(&scene, left).expect_err("what it promised is lost");
            assert!(error.contains("has lost its log"), "{engine}, {left:?}: {error}");
        }
    }
}
