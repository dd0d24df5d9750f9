//! A disk without room: writes are refused, everything else goes on, and nothing is lost.
//!
//! The disk is a small file system in memory, which takes the right to mount one. Where that is
//! missing the test says so and is skipped; `METASTORE_REQUIRE_MOUNT=1` makes that a failure.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use child::PATIENCE;
use metastore_proto::etcdserverpb::alarm_request::AlarmAction;
use metastore_proto::etcdserverpb::{AlarmRequest, AlarmType, CompactionRequest};

#[cfg(feature = "rocksdb")]
use crate::kills::ROCKSDB;
use crate::kills::{Engine, MEMORY, SMALL};
use crate::steps::{delete, put, revision};
use crate::support::{Client, Member, block_on};
use crate::verify::Promises;

const DISK_BYTES: usize = 24 << 20;
/// Taken by somebody else, until an operator removes it.
const OTHERS_BYTES: usize = 8 << 20;
const VALUE_BYTES: usize = 32 << 10;
const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

/// A small file system; unmounted when dropped.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// `None` if we may not mount one.
    fn mount() -> Option<Disk> {
        let folder = tempfile::tempdir().expect("make a temporary folder");
        let size = format!("size={DISK_BYTES}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(folder.path());
        let output = mount.output();
        if output.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Disk { folder });
        }
        let reason = format!("no file system of its own could be mounted: {output:?}");
        assert!(std::env::var_os("METASTORE_REQUIRE_MOUNT").is_none(), "{reason}");
        let _ = writeln!(std::io::stderr(), "skipped: {reason}");
        None
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Somebody else's file.
    fn others(&self) -> PathBuf {
        self.path().join("others")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still uses it keeps it alive; its name is free at once.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers_without_losing_anything() {
    fills_and_recovers(MEMORY);
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_full_disk_under_rocksdb_refuses_writes_serves_reads_and_recovers_without_losing_anything() {
    fills_and_recovers(ROCKSDB);
}

fn fills_and_recovers(engine: Engine) {
    let Some(disk) = Disk::mount() else { return };
    std::fs::write(disk.others(), vec![1; OTHERS_BYTES]).expect("half a disk is free");
    let mut member = Member::new(&disk.path().join("data"), &[engine.flags, &SMALL[..]].concat());
    let mut promises = Promises::default();
    member.must_start();
    let written = block_on(async { fill(&mut member.client().await, &mut promises).await });
    assert!(written > 50, "{written} values fit into half of the disk");

    block_on(async {
        let mut client = member.client().await;
        let deleted = delete(&mut client, &mut promises.oracle, "k", "k3").await;
        assert!(deleted.expect("deletes go on") > 10, "three of ten keys begin so");
        promises.check(&mut client, None).await.expect("reads go on and nothing is lost");
    });
    // Full as it is, it can be restarted with its reserve, and knows that it is full.
    member.kill();
    member.must_start();
    block_on(async {
        let mut client = member.client().await;
        promises.check(&mut client, None).await.expect("nothing is lost by a restart");
        let refused = put(&mut client, &mut promises.oracle, "k", 0, VALUE_BYTES).await;
        assert_eq!(refused.expect_err("there is no room").message(), NO_SPACE);
    });
    // Without a reserve it says so, and waits until there is room.
    let starts_without_room = if engine.keeps_room { 0 } else { 2 };
    for _ in 0..starts_without_room {
        member.kill();
        member.spawn();
        member.wait_for_lines("no room for the next log segment", 1);
    }
    std::fs::remove_file(disk.others()).expect("remove somebody else's file");
    if starts_without_room > 0 {
        member.wait_until_ready().expect("there is room again");
    }

    block_on(async {
        let mut client = member.client().await;
        let at = revision(&mut client).await;
        let compaction = CompactionRequest { revision: at, physical: true };
        client.kv.compact(compaction).await.expect("a compaction makes room");
        promises.check(&mut client, Some((at, true))).await.expect("what is left is right");
        write_again(&mut client, &mut promises).await;
    });
    for _ in 0..2 {
        member.kill();
        member.must_start();
        block_on(async {
            let mut client = member.client().await;
            promises.check(&mut client, None).await.expect("nothing is lost by a restart");
        });
    }
}

/// Writes until there is no more room; says how often.
async fn fill(client: &mut Client, promises: &mut Promises) -> usize {
    for at in 0..DISK_BYTES / VALUE_BYTES {
        let key = format!("k{at}");
        if let Err(status) = put(client, &mut promises.oracle, &key, at, VALUE_BYTES).await {
            assert_eq!(status.code(), tonic::Code::ResourceExhausted);
            assert_eq!(status.message(), NO_SPACE);
            return at;
        }
    }
    panic!("more was written than fits onto the disk");
}

/// As an operator does who has made room: clears the alarm, again if it comes back, and writes.
async fn write_again(client: &mut Client, promises: &mut Promises) {
    let deadline = Instant::now() + PATIENCE;
    let mut written = 0;
    while written < 50 {
        assert!(Instant::now() < deadline, "there is room, but after {written} writes none more");
        let alarms = AlarmRequest::default();
        let raised = client.maintenance.alarm(alarms).await.expect("list the alarms");
        for alarm in raised.into_inner().alarms {
            assert_eq!(alarm.alarm(), AlarmType::Nospace);
            let (member_id, alarm) = (alarm.member_id, alarm.alarm);
            let action = AlarmAction::Deactivate as i32;
            let clear = AlarmRequest { action, member_id, alarm };
            client.maintenance.alarm(clear).await.expect("clear the alarm");
        }
        let key = format!("again{}", written % 5);
        let done = put(client, &mut promises.oracle, &key, 1000 + written, VALUE_BYTES).await;
        written += usize::from(done.is_ok());
    }
}
