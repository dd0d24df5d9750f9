//! Writes the first inputs of each target into `fuzz/corpus`, made by the product's own writers:
//!
//! ```text
//! cargo run --manifest-path fuzz/Cargo.toml --bin seeds -- fuzz/corpus
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use fuzz::log::{CLUSTER, Log, MEMBER};
use fuzz::store::{Store, written_by};
use metastore_proto::etcdserverpb as pb;
use node::consensus::{Config, bootstrap};
use node::messages::{LogWrite, SegmentId};
use node::wal::writer::Origin;
use node::wal::{Batch, Entry, HardState, Writer};
use prost::Message;
use state::ClusterTime;
use state::command::{
    Alarm, Command, Compact, DeleteRange, LeaseExpire, LeaseRenew, LeaseRevoke, Operation, Publish,
    Put, Range, Txn, TxnOp, TxnOperation, begin_batch, push_command,
};

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).expect("the folder of the corpus");
    let folder = Path::new(&folder);
    for (target, seeds) in [
        ("log", logs()),
        ("snapshot", vec![[&[0][..], &written_by(&Store::with_history())].concat()]),
        ("commands", batches()),
        ("requests", requests()),
        ("planted", vec![b"hello".to_vec()]),
    ] {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

/// A log that was begun, one that was begun anew behind a snapshot, and one of several segments.
fn logs() -> Vec<Vec<u8>> {
    let mut config = Config::new(CLUSTER, MEMBER, 7);
    config.segment_bytes = 400;
    let first = bootstrap(&config, 99, &[(MEMBER, Bytes::from_static(b"row"))]);
    let mut logs = vec![Log::encode(0, &segments(std::slice::from_ref(&first)))];

    let origin = Origin {
        cluster: CLUSTER,
        member: MEMBER,
        salt: 99,
        segment: SegmentId(2),
        number: 2,
        older: vec![(SegmentId(1), 1)],
    };
    let hard = HardState { term: 1, vote: 0, commit: 1 };
    let mut writer = Writer::new(origin, hard, config.segment_bytes);
    let mut writes = vec![first];
    for (index, batch) in (2..).zip(batches()) {
        let number = writer.last_number();
        let entry = Entry { term: 1 + index / 3, data: batch.into(), ..Entry::default() };
        let batch = Batch {
            commit: Some(index - 1),
            first_index: index,
            entries: vec![entry],
            ..Batch::default()
        };
        writes.push(writer.append(batch, number));
    }
    let number = writer.last_number();
    writes.push(writer.append(Batch { oldest: Some(SegmentId(1)), ..Batch::default() }, number));
    logs.push(Log::encode(0, &segments(&writes)));
    logs.push(Log::encode(3, &segments(&writes)));
    logs
}

fn segments(writes: &[LogWrite]) -> BTreeMap<SegmentId, Vec<u8>> {
    let mut segments: BTreeMap<SegmentId, Vec<u8>> = BTreeMap::new();
    for write in writes {
        segments.entry(write.segment).or_default().extend_from_slice(&write.bytes);
    }
    segments
}

fn put(key: &'static str) -> Put {
    Put { key: key.into(), value: "1".into(), prev_kv: true, ..Put::default() }
}

fn batches() -> Vec<Vec<u8>> {
    let key = Bytes::from_static;
    let delete = DeleteRange { key: key(b"b"), range_end: key(b"c"), prev_kv: true };
    let range = Range { key: key(b"a"), range_end: key(b"\0"), limit: 2, ..Range::default() };
    let step = |operation| TxnOp { operation: Some(operation) };
    let inner = Txn { success: vec![step(TxnOperation::Put(put("c")))], ..Txn::default() };
    let compare = state::command::Compare {
        key: key(b"a"),
        target: 3,
        value: key(b"value"),
        ..Default::default()
    };
    let txn = Txn {
        compare: vec![compare],
        success: vec![
            step(TxnOperation::Range(range.clone())),
            step(TxnOperation::DeleteRange(delete.clone())),
            step(TxnOperation::Txn(inner)),
        ],
        failure: vec![step(TxnOperation::Put(put("d")))],
    };
    let operations = [
        vec![Operation::Put(put("a")), Operation::Put(Put { lease: 7, ..put("b") })],
        vec![Operation::DeleteRange(delete), Operation::Txn(txn)],
        vec![Operation::Range(range), Operation::Compact(Compact { revision: 6 })],
        vec![
            Operation::LeaseRenew(LeaseRenew { ids: vec![7], at_ms: vec![2000] }),
            Operation::LeaseExpire(LeaseExpire { ids: vec![7], term: 1 }),
            Operation::LeaseRevoke(LeaseRevoke { id: 7 }),
        ],
        vec![
            Operation::Alarm(Alarm { action: 1, member: 1, alarm: 1 }),
            Operation::Publish(Publish { member: 1, name: "one".to_owned(), client_urls: vec![] }),
        ],
    ];
    let encode = |operations: Vec<Operation>| {
        let mut batch = begin_batch(ClusterTime(5000));
        for operation in operations {
            let command = Command { operation: Some(operation), ..Command::default() };
            push_command(&mut batch, &command.encode_to_vec());
        }
        batch.to_vec()
    };
    operations.map(encode).into()
}

fn requests() -> Vec<Vec<u8>> {
    use pb::request_op::Request;
    let range =
        pb::RangeRequest { key: "a".into(), range_end: "c".into(), limit: 1, ..Default::default() };
    let put = pb::PutRequest {
        key: "a".into(),
        value: "1".into(),
        lease: 7,
        prev_kv: true,
        ..Default::default()
    };
    let delete = pb::DeleteRangeRequest { key: "b".into(), range_end: "\0".into(), prev_kv: true };
    let ops = vec![
        pb::RequestOp { request: Some(Request::RequestRange(range.clone())) },
        pb::RequestOp { request: Some(Request::RequestPut(put.clone())) },
    ];
    let compare = pb::Compare { key: "a".into(), ..Default::default() };
    let inner = pb::TxnRequest { compare: vec![compare], success: ops, failure: vec![] };
    let txn = pb::TxnRequest {
        compare: vec![],
        success: vec![
            pb::RequestOp { request: Some(Request::RequestTxn(inner)) },
            pb::RequestOp { request: Some(Request::RequestDeleteRange(delete.clone())) },
        ],
        failure: vec![],
    };
    let messages = [
        range.encode_to_vec(),
        put.encode_to_vec(),
        delete.encode_to_vec(),
        txn.encode_to_vec(),
        pb::CompactionRequest { revision: 5, physical: true }.encode_to_vec(),
        pb::LeaseGrantRequest { ttl: 60, id: 8 }.encode_to_vec(),
        range.encode_to_vec(),
    ];
    (0..).zip(messages).map(|(kind, message)| [&[kind][..], &message].concat()).collect()
}
