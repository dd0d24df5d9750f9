//! `--quota-backend-bytes`: a full member, and the way back.

#[cfg(feature = "rocksdb")]
use std::time::Instant;

#[cfg(feature = "rocksdb")]
use child::PATIENCE;
use metastore_proto::etcdserverpb::kv_client::KvClient;
use metastore_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use metastore_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, CompactionRequest, DefragmentRequest, DeleteRangeRequest,
    StatusRequest, StatusResponse,
};
use tonic::transport::Channel;

use crate::member::{Member, get, put};

/// Thirteen pages of etcd's: with less it could not even start.
const QUOTA: i64 = 53_248;
const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

async fn status(maintenance: &mut MaintenanceClient<Channel>) -> StatusResponse {
    maintenance.status(StatusRequest {}).await.unwrap().into_inner()
}

async fn alarms(maintenance: &mut MaintenanceClient<Channel>) -> Vec<AlarmMember> {
    maintenance.alarm(AlarmRequest::default()).await.unwrap().into_inner().alarms
}

/// Clears the one alarm that there is.
async fn clear_alarm(maintenance: &mut MaintenanceClient<Channel>) {
    let [AlarmMember { member_id, alarm }] = alarms(maintenance).await[..] else {
        panic!("one alarm");
    };
    let request = AlarmRequest { action: 2, member_id, alarm };
    let cleared = maintenance.alarm(request).await.unwrap().into_inner().alarms;
    assert_eq!(cleared, [AlarmMember { member_id, alarm }]);
    assert_eq!(alarms(maintenance).await, []);
}

/// Overwrites one key until the member is full; how often that worked.
async fn fill(kv: &mut KvClient<Channel>, puts_max: usize) -> usize {
    fill_with(kv, puts_max, 4096).await
}

async fn fill_with(kv: &mut KvClient<Channel>, puts_max: usize, bytes: usize) -> usize {
    for number in 0..puts_max {
        if let Err(refused) = kv.put(put("a", vec![b'x'; bytes])).await {
            assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
            assert_eq!(refused.message(), NO_SPACE);
            return number;
        }
    }
    panic!("{puts_max} values of {bytes} bytes fit");
}

#[tokio::test]
async fn a_full_member_refuses_writes_until_space_is_made_and_the_alarm_cleared() {
    fills_and_recovers("--engine=memory").await;
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn a_full_member_with_rocksdb_does_the_same() {
    fills_and_recovers("--engine=rocksdb").await;
}

async fn fills_and_recovers(engine: &str) {
    let quota = format!("--quota-backend-bytes={QUOTA}");
    let mut member = Member::start(&[engine, &quota]);
    let (mut kv, mut maintenance) = (member.kv().await, member.maintenance().await);
    let began = status(&mut maintenance).await;
    assert!(began.db_size < QUOTA / 2, "an empty store takes {} bytes", began.db_size);
    assert_eq!(began.db_size_quota, QUOTA);

    let stored = fill(&mut kv, 1000).await;
    assert!(stored >= 5, "full after {stored} values of 4 KiB");
    let [alarm] = &alarms(&mut maintenance).await[..] else { panic!("one alarm") };
    assert_eq!((alarm.alarm, alarm.member_id), (1, began.leader));

    // What does not grow the data goes on, also after a restart.
    member.crash(&[engine, &quota]);
    let (mut kv, mut maintenance) = (member.kv().await, member.maintenance().await);
    assert_eq!(alarms(&mut maintenance).await.len(), 1);
    assert_eq!(kv.put(put("b", "")).await.unwrap_err().message(), NO_SPACE);
    let read = kv.range(get("a", 0)).await.unwrap().into_inner();
    assert_eq!(read.kvs[0].value.len(), 4096);
    let delete = DeleteRangeRequest { key: "a".into(), ..DeleteRangeRequest::default() };
    assert_eq!(kv.delete_range(delete).await.unwrap().into_inner().deleted, 1);

    // As an operator does it: compact, defragment, clear.
    let full = status(&mut maintenance).await;
    let revision = full.header.unwrap().revision;
    kv.compact(CompactionRequest { revision, physical: false }).await.unwrap();
    maintenance.defragment(DefragmentRequest {}).await.unwrap();
    let free = status(&mut maintenance).await;
    assert!(free.db_size < QUOTA / 2, "{} bytes of {} are left", free.db_size, full.db_size);
    assert_eq!(kv.put(put("b", "")).await.unwrap_err().message(), NO_SPACE);
    clear_alarm(&mut maintenance).await;
    kv.put(put("b", "1")).await.unwrap();
    assert!(fill(&mut kv, 1000).await >= 5, "there is as much room as at the beginning");
}

/// What is compacted away stays in RocksDB's files until those are compacted, and counts as long.
/// Few and large values: neither their number nor the growth of the log would have them flushed.
#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn garbage_in_files_counts_until_it_is_gone_and_an_operator_can_have_it_go() {
    const QUOTA: i64 = 24 << 20;
    let member = Member::start(&[
        "--engine=rocksdb",
        &format!("--quota-backend-bytes={QUOTA}"),
        "--rocksdb-compression=none",
        // Flushed while the log grows; as garbage it is less than what a flush is worth.
        "--snapshot-log-bytes=1048576",
        "--rocksdb-write-buffer-bytes=33554432",
    ]);
    let (mut kv, mut maintenance) = (member.kv().await, member.maintenance().await);
    fill_with(&mut kv, 1000, 256 << 10).await;
    let full = status(&mut maintenance).await;
    let files = |member: &Member| -> u64 {
        let files = std::fs::read_dir(member.folder().join("data/rocksdb")).unwrap();
        files.map(|file| file.unwrap().metadata().map_or(0, |file| file.len())).sum()
    };
    assert!(files(&member) > 20 << 20, "it is in files");

    let revision = full.header.unwrap().revision;
    kv.compact(CompactionRequest { revision, physical: true }).await.unwrap();
    let swept = status(&mut maintenance).await;
    assert!(swept.db_size_in_use < 1 << 20, "{swept:?}");
    assert!(swept.db_size > QUOTA / 2, "the files are as large as before: {swept:?}");
    maintenance.defragment(DefragmentRequest {}).await.unwrap();
    // While it serves, and although nobody writes.
    let deadline = Instant::now() + PATIENCE;
    while status(&mut maintenance).await.db_size > 1 << 20 || files(&member) > 2 << 20 {
        assert!(Instant::now() < deadline, "{} bytes of files stay", files(&member));
    }
    clear_alarm(&mut maintenance).await;
    kv.put(put("b", "1")).await.unwrap();
    assert!(fill_with(&mut kv, 1000, 256 << 10).await > 80, "there is as much room as before");
}

#[tokio::test]
async fn a_negative_quota_is_none_and_zero_is_the_default() {
    let mut member = Member::start(&["--quota-backend-bytes=0"]);
    let told = status(&mut member.maintenance().await).await.db_size_quota;
    assert_eq!(told, 2 << 30);
    member.crash(&["--quota-backend-bytes=1"]);
    fill(&mut member.kv().await, 1).await;
    member.crash(&["--quota-backend-bytes=-1"]);
    let mut maintenance = member.maintenance().await;
    assert_eq!(status(&mut maintenance).await.db_size_quota, -1);
    // The alarm is the cluster's and stays until it is cleared.
    clear_alarm(&mut maintenance).await;
    member.kv().await.put(put("a", vec![b'x'; 4096])).await.unwrap();
}
