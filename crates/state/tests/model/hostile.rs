//! Batches that no honest server logs: whatever their numbers and bytes, the state machine answers,
//! answers the same on both engines, and comes back from a restart.

use bytes::Bytes;
use fastrand::Rng;
use prost::Message;
use state::command::{
    Alarm, Caller, Command, Compact, Compare, DeleteRange, LeaseExpire, LeaseGrant, LeaseRenew,
    LeaseRevoke, Operation, Put, Range, Txn, TxnOp, TxnOperation, begin_batch, decode_batch,
    push_command,
};
use state::engine::memory::MemoryEngine;
use state::mvcc::hash::hash_kv;
use state::mvcc::range::{RangeCursor, ReadError, range};
use state::txn::read_only;
use state::{ClusterTime, RequestId};

use crate::harness::{CrashingEngine, Harness};

struct Wild(Rng);

impl Wild {
    fn number(&mut self) -> i64 {
        let edges = [i64::MIN, i64::MIN + 1, -1, 0, 1, 2, i64::MAX - 1, i64::MAX];
        match self.0.u32(0..3) {
            0 => self.0.i64(..),
            1 => self.0.i64(-5..40),
            _ => edges[self.0.usize(0..edges.len())],
        }
    }

    fn choice(&mut self) -> i32 {
        if self.0.bool() { self.0.i32(..) } else { self.0.i32(-1..7) }
    }

    fn bytes(&mut self) -> Bytes {
        let all: [&[u8]; 7] = [b"", b"\0", b"a", b"a\0", b"b", b"\xff", b"\xff\xff"];
        Bytes::from_static(all[self.0.usize(0..all.len())])
    }

    fn range(&mut self) -> Range {
        Range {
            key: self.bytes(),
            range_end: self.bytes(),
            limit: self.number(),
            revision: if self.0.u8(0..8) > 0 { 0 } else { self.number() },
            sort_order: self.choice(),
            sort_target: self.choice(),
            keys_only: self.0.bool(),
            count_only: self.0.u8(0..9) == 0,
            min_mod_revision: self.number(),
            max_mod_revision: self.number(),
            min_create_revision: self.number(),
            max_create_revision: self.number(),
            serializable: self.0.bool(),
        }
    }

    fn put(&mut self) -> Put {
        Put {
            key: self.bytes(),
            value: self.bytes(),
            lease: if self.0.u8(0..5) > 0 { 0 } else { self.number() },
            prev_kv: self.0.bool(),
            ignore_value: self.0.u8(0..6) == 0,
            ignore_lease: self.0.u8(0..6) == 0,
        }
    }

    fn delete(&mut self) -> DeleteRange {
        DeleteRange { key: self.bytes(), range_end: self.bytes(), prev_kv: self.0.bool() }
    }

    fn compare(&mut self) -> Compare {
        Compare {
            key: self.bytes(),
            range_end: self.bytes(),
            result: self.choice(),
            target: self.choice(),
            number: self.number(),
            value: self.bytes(),
        }
    }

    /// The same key put, deleted and put again, as often as it comes.
    fn ops(&mut self, depth: u32) -> Vec<TxnOp> {
        let op = |wild: &mut Wild| match wild.0.u32(0..5) {
            0 => TxnOperation::Range(wild.range()),
            1 | 2 => TxnOperation::Put(wild.put()),
            3 => TxnOperation::DeleteRange(wild.delete()),
            _ if depth > 0 => TxnOperation::Txn(wild.txn(depth - 1)),
            _ => TxnOperation::Txn(Txn::default()),
        };
        (0..self.0.usize(0..5)).map(|_| TxnOp { operation: Some(op(self)) }).collect()
    }

    fn txn(&mut self, depth: u32) -> Txn {
        Txn {
            compare: (0..self.0.usize(0..3)).map(|_| self.compare()).collect(),
            success: self.ops(depth),
            failure: self.ops(depth),
        }
    }

    fn ids(&mut self) -> Vec<i64> {
        (0..self.0.usize(0..5)).map(|_| self.number()).collect()
    }

    fn operation(&mut self) -> Operation {
        match self.0.u32(0..14) {
            0..3 => Operation::Put(self.put()),
            3 => Operation::DeleteRange(self.delete()),
            4..8 => Operation::Txn(self.txn(3)),
            8 => Operation::Compact(Compact { revision: self.number() }),
            9 => {
                let (id, ttl_s, ttl_min_s) = (self.number(), self.number(), self.number());
                Operation::LeaseGrant(LeaseGrant { id, ttl_s, ttl_min_s })
            }
            10 => Operation::LeaseRevoke(LeaseRevoke { id: self.number() }),
            11 => Operation::LeaseExpire(LeaseExpire { ids: self.ids(), term: 2 }),
            12 => {
                let at_ms = self.ids().iter().map(|id| id.cast_unsigned()).collect();
                Operation::LeaseRenew(LeaseRenew { ids: self.ids(), at_ms })
            }
            // An active alarm would be in the way of everything else.
            _ => {
                let (action, member) = (self.choice(), self.number().cast_unsigned());
                let alarm = if action == 1 { 7 } else { self.choice() };
                Operation::Alarm(Alarm { action, member, alarm })
            }
        }
    }
}

/// What a reader gets, as text; an engine that does not find what the index shows is a defect.
fn answers(harness: &Harness, wild: &mut Wild) -> String {
    let reader = harness.state.reader();
    let refused = |error: ReadError| match error {
        ReadError::Refused(refusal) => refusal,
        ReadError::Engine(error) => panic!("a test engine does not fail: {error}"),
    };
    let query = wild.range();
    let found = range(reader, &query).map_err(refused);
    let reads = Txn {
        compare: vec![wild.compare()],
        success: vec![TxnOp { operation: Some(TxnOperation::Range(query.clone())) }],
        failure: Vec::new(),
    };
    let txn = read_only(reader, &reads).map_err(refused);
    let hash = hash_kv(reader, wild.number()).map_err(refused);
    let mut chunks = 0;
    if let Ok(mut cursor) = RangeCursor::open(reader, query) {
        while cursor.next(wild.0.usize(0..3)).expect("a test engine does not fail").end.is_none() {
            chunks += 1;
            assert!(chunks < 100, "the cursor does not come to an end");
        }
        let after = cursor.next(9).expect("a test engine does not fail");
        assert!(after.kvs.is_empty() && after.end.is_none());
    }
    format!("{found:?} {txn:?} {hash:?} {chunks}")
}

#[test]
fn no_batch_makes_the_state_machine_panic() {
    for seed in 0..8 {
        let mut wild = Wild(Rng::with_seed(seed));
        let mut engine = CrashingEngine::new();
        let mut memory = Harness::new(Box::new(MemoryEngine::new()));
        let mut disk = Harness::new(Box::new(engine.clone()));
        for turn in 0..300 {
            let operations: Vec<_> = (0..wild.0.usize(1..4)).map(|_| wild.operation()).collect();
            let time = if wild.0.u8(0..100) == 0 { u64::MAX } else { wild.0.u64(0..100_000) };
            (memory.time, disk.time) = (ClusterTime(time), ClusterTime(time));
            let first = memory.apply_all(operations.clone());
            let second = disk.apply_all(operations);
            assert_eq!(format!("{first:?}"), format!("{second:?}"), "seed {seed}, turn {turn}");
            let mut again = Wild(wild.0.clone());
            let (first, second) = (answers(&memory, &mut wild), answers(&disk, &mut again));
            assert_eq!(first, second, "seed {seed}, turn {turn}");
            memory.state.sweep().expect("a test engine does not fail");
            disk.state.sweep().expect("a test engine does not fail");
            if turn % 50 == 49 {
                engine.flush_oldest(wild.0.usize(0..200));
                memory.restart(Box::new(MemoryEngine::new()));
                disk.restart(Box::new(engine.crash()));
            }
        }
        let revision = memory.state.revision().0;
        assert!(revision > 100, "seed {seed} changes next to nothing: {revision}");
    }
}

#[test]
fn a_step_that_only_a_newer_program_knows_stops_the_member_before_it_does_half() {
    let empty = || TxnOp { operation: None };
    let nested = Txn { failure: vec![empty()], ..Txn::default() };
    let put = TxnOperation::Put(Put { key: "a".into(), ..Put::default() });
    for steps in [vec![empty()], vec![TxnOp { operation: Some(TxnOperation::Txn(nested)) }]] {
        let first = TxnOp { operation: Some(put.clone()) };
        let txn = Txn { success: [vec![first], steps].concat(), ..Txn::default() };
        let batch = batch_of(&Command::new(RequestId(1), Operation::Txn(txn)));
        let error = decode_batch(batch).expect_err("the step is empty");
        assert!(error.to_string().contains("does not know"), "{error}");
    }
    let whole = Txn { success: vec![TxnOp { operation: Some(put) }], ..Txn::default() };
    let batch = batch_of(&Command::new(RequestId(1), Operation::Txn(whole)));
    assert_eq!(decode_batch(batch).expect("every step is known").1.len(), 1);
}

#[test]
fn any_bytes_are_a_batch_or_an_error() {
    let mut rng = Rng::with_seed(7);
    let mut wild = Wild(Rng::with_seed(8));
    let mut decoded = 0;
    for _ in 0..3000 {
        let caller = Caller { user: "root".to_owned(), auth_revision: rng.u64(..) };
        let operation = Some(wild.operation());
        let batch = batch_of(&Command { request: rng.u64(..), caller: Some(caller), operation });
        let mut bytes = batch.to_vec();
        for _ in 0..rng.usize(0..3) {
            let at = rng.usize(0..bytes.len());
            bytes[at] = rng.u8(..);
        }
        bytes.truncate(rng.usize(0..=bytes.len() * 2));
        decoded += usize::from(decode_batch(Bytes::from(bytes)).is_ok());
    }
    assert!((300..2700).contains(&decoded), "{decoded} of 3000 decode");
}

fn batch_of(command: &Command) -> Bytes {
    let mut batch = begin_batch(ClusterTime(5));
    push_command(&mut batch, &command.encode_to_vec());
    batch.freeze()
}
