//! Random commands, near enough to the state for every outcome to happen often.

use bytes::Bytes;
use fastrand::Rng;
use state::command::{
    Alarm, ClusterVersion, Compact, Compare, DeleteRange, LeaseExpire, LeaseGrant, LeaseRenew,
    LeaseRevoke, Operation, Publish, Put, Range, Txn, TxnOp, TxnOperation,
};

use super::naive::Model;
use super::transaction::is_admitted;

/// Few and close together, so that commands meet.
const KEYS: [&[u8]; 18] = [
    b"\0",
    b"\0\0",
    b"a",
    b"a\0",
    b"a\0\0",
    b"aa",
    b"ab",
    b"b",
    b"b\0",
    b"ba",
    b"c",
    b"ca",
    b"d",
    b"d\xff",
    b"e",
    b"\xfe",
    b"\xff",
    b"\xff\xff",
];
const LEASES: [i64; 7] = [1, 2, 3, -1, i64::MIN, i64::MAX, 77];

pub(crate) struct Generator<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) model: &'a Model,
    pub(crate) term: u64,
}

impl Generator<'_> {
    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(0..n) == 0
    }

    pub(crate) fn key(&mut self) -> Bytes {
        Bytes::from_static(KEYS[self.rng.usize(0..KEYS.len())])
    }

    /// Single keys, intervals also backwards, and everything from a key on.
    fn range_end(&mut self) -> Bytes {
        match self.rng.u32(0..10) {
            0..3 => Bytes::new(),
            3 | 4 => Bytes::from_static(b"\0"),
            _ => self.key(),
        }
    }

    fn value(&mut self) -> Bytes {
        let length = self.rng.usize(0..3);
        (0..length).map(|_| self.rng.u8(b'x'..=b'z')).collect()
    }

    fn lease(&mut self) -> i64 {
        LEASES[self.rng.usize(0..LEASES.len())]
    }

    /// 0, negative, old, present and future ones.
    fn revision(&mut self) -> i64 {
        let now = self.model.revision;
        match self.rng.u32(0..20) {
            0..8 => 0,
            8 => -1,
            9 => self.rng.i64(i64::MIN..0),
            10 => now + self.rng.i64(1..3),
            11 => self.model.compacted + self.rng.i64(-1..2),
            12 | 13 => now,
            _ => now - self.rng.i64(0..40),
        }
    }

    fn limit(&mut self) -> i64 {
        match self.rng.u32(0..8) {
            0..3 => 0,
            3 => -self.rng.i64(1..9),
            4 => [i64::MIN, i64::MAX][self.rng.usize(0..2)],
            _ => self.rng.i64(1..8),
        }
    }

    /// Often none.
    fn bound(&mut self) -> i64 {
        if !self.one_in(6) { 0 } else { self.model.revision - self.rng.i64(-1..40) }
    }

    pub(crate) fn range(&mut self) -> Range {
        let mut range = Range {
            key: self.key(),
            range_end: self.range_end(),
            limit: self.limit(),
            revision: self.revision(),
            keys_only: self.one_in(4),
            count_only: self.one_in(10),
            serializable: self.rng.bool(),
            ..Range::default()
        };
        if self.one_in(2) {
            range.sort_order = self.rng.i32(0..3);
            range.sort_target = self.rng.i32(0..5);
        }
        if self.one_in(3) {
            range.min_mod_revision = self.bound();
            range.max_mod_revision = self.bound();
            range.min_create_revision = self.bound();
            range.max_create_revision = self.bound();
        }
        range
    }

    /// In key order and unfiltered: what a cursor can do.
    pub(crate) fn plain_range(&mut self) -> Range {
        let sort_order = self.rng.i32(0..2);
        Range {
            sort_order,
            sort_target: 0,
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
            ..self.range()
        }
    }

    fn put(&mut self) -> Put {
        let mut put = Put {
            key: self.key(),
            prev_kv: self.one_in(3),
            ignore_value: self.one_in(6),
            ignore_lease: self.one_in(6),
            ..Put::default()
        };
        if !put.ignore_value {
            put.value = self.value();
        }
        if !put.ignore_lease && self.one_in(3) {
            put.lease = self.lease();
        }
        put
    }

    fn delete(&mut self) -> DeleteRange {
        let range_end = if self.one_in(2) { Bytes::new() } else { self.range_end() };
        DeleteRange { key: self.key(), range_end, prev_kv: self.rng.bool() }
    }

    fn compare(&mut self) -> Compare {
        let range_end = if self.one_in(4) { self.range_end() } else { Bytes::new() };
        let target = if self.one_in(30) { 9 } else { self.rng.i32(0..5) };
        let number = match target {
            0 => self.rng.i64(0..4),
            4 if self.rng.bool() => self.lease(),
            1 | 2 if self.rng.bool() => self.model.revision - self.rng.i64(0..20),
            _ => 0,
        };
        let value = if target == 3 { self.value() } else { Bytes::new() };
        let result = if self.one_in(30) { -1 } else { self.rng.i32(0..4) };
        Compare { key: self.key(), range_end, result, target, number, value }
    }

    fn ops(&mut self, depth: u32) -> Vec<TxnOp> {
        let count = self.rng.usize(0..5);
        let ops = (0..count).map(|_| match self.rng.u32(0..12) {
            0..3 => TxnOperation::Range(self.range()),
            3..7 => TxnOperation::Put(self.put()),
            7 | 8 => TxnOperation::DeleteRange(self.delete()),
            _ if depth > 0 => TxnOperation::Txn(self.nested(depth - 1)),
            _ => TxnOperation::Put(self.put()),
        });
        ops.map(|operation| TxnOp { operation: Some(operation) }).collect()
    }

    fn nested(&mut self, depth: u32) -> Txn {
        let compares = [0, 1, 1, 1, 2][self.rng.usize(0..5)];
        Txn {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.ops(depth),
            failure: self.ops(depth),
        }
    }

    /// One that a server lets through.
    fn txn(&mut self) -> Txn {
        for _ in 0..20 {
            let txn = self.nested(2);
            if is_admitted(&txn) {
                return txn;
            }
        }
        Txn::default()
    }

    /// One that only reads.
    pub(crate) fn read_txn(&mut self) -> Txn {
        let reads = |generator: &mut Self| {
            (0..generator.rng.usize(0..4))
                .map(|_| TxnOp { operation: Some(TxnOperation::Range(generator.range())) })
                .collect()
        };
        Txn {
            compare: (0..self.rng.usize(0..3)).map(|_| self.compare()).collect(),
            success: reads(self),
            failure: reads(self),
        }
    }

    fn grant(&mut self) -> LeaseGrant {
        let ttls = [-5, 0, 1, 3, 5, 10, i64::MIN, i64::MAX, 9_000_000_000, 9_000_000_001];
        let few = if self.one_in(5) { ttls.len() } else { 6 };
        LeaseGrant { id: self.lease(), ttl_s: ttls[self.rng.usize(0..few)], ttl_min_s: 2 }
    }

    fn leases(&mut self) -> Vec<i64> {
        (0..self.rng.usize(0..4)).map(|_| self.lease()).collect()
    }

    fn renew(&mut self) -> LeaseRenew {
        let ids = self.leases();
        let now = self.model.time_ms;
        let at_ms = ids.iter().map(|_| now.saturating_sub(500 * self.rng.u64(0..6))).collect();
        LeaseRenew { ids, at_ms }
    }

    fn alarm(&mut self) -> Alarm {
        Alarm {
            action: [0, 0, 0, 1, 2, 2, 3, -1][self.rng.usize(0..8)],
            member: self.rng.u64(0..2),
            alarm: [0, 1, 1, 1, 2, 3][self.rng.usize(0..6)],
        }
    }

    /// An active alarm is in the way of everything else: it is cleared soon.
    fn clear_alarm(&mut self) -> Option<Alarm> {
        let (member, alarm) = *self.model.alarms.first()?;
        self.one_in(3).then_some(Alarm { action: 2, member, alarm })
    }

    pub(crate) fn operation(&mut self) -> Operation {
        if let Some(alarm) = self.clear_alarm() {
            return Operation::Alarm(alarm);
        }
        match self.rng.u32(0..100) {
            0..38 => Operation::Put(self.put()),
            38..50 => Operation::DeleteRange(self.delete()),
            50..76 => Operation::Txn(self.txn()),
            76..81 => {
                let revision = match self.rng.u32(0..8) {
                    0 => self.model.compacted + self.rng.i64(-1..2),
                    1 => self.model.revision + self.rng.i64(-1..2),
                    _ => self.model.revision - self.rng.i64(0..60),
                };
                Operation::Compact(Compact { revision })
            }
            81..87 => Operation::LeaseGrant(self.grant()),
            87..90 => Operation::LeaseRevoke(LeaseRevoke { id: self.lease() }),
            90..93 => {
                let term = self.term - self.rng.u64(0..2);
                Operation::LeaseExpire(LeaseExpire { ids: self.leases(), term })
            }
            93..96 => Operation::LeaseRenew(self.renew()),
            96 | 97 => Operation::Alarm(self.alarm()),
            98 => {
                let version = format!("3.{}.0", self.rng.u32(0..8));
                Operation::ClusterVersion(ClusterVersion { version })
            }
            _ if self.rng.bool() => Operation::Range(self.range()),
            _ => {
                let name = "nobody".to_owned();
                Operation::Publish(Publish { member: 1, name, client_urls: Vec::new() })
            }
        }
    }
}
