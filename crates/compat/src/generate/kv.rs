//! Requests of the `KV` service.

use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::compare::TargetUnion;
use metastore_proto::etcdserverpb::request_op::Request;

use super::{Generator, choose, op};
use crate::world::World;

/// How deep transactions are nested, mostly.
const DEPTH_MAX: u32 = 3;

impl Generator {
    pub(super) fn put(&mut self, world: &World) -> pb::PutRequest {
        let ignore_value = self.rng.u32(0..12) == 0;
        let ignore_lease = self.rng.u32(0..12) == 0;
        // With a value or lease that is to be ignored, a put is refused; without, it keeps them.
        let value = if ignore_value && self.rng.u32(0..4) > 0 { "".into() } else { self.value() };
        let lease = if ignore_lease && self.rng.u32(0..4) > 0 {
            0
        } else {
            self.sometimes(3, |g| g.lease(world))
        };
        let prev_kv = self.rng.bool();
        pb::PutRequest { key: self.key(), value, lease, prev_kv, ignore_value, ignore_lease }
    }

    pub(super) fn delete(&mut self, _world: &World) -> pb::DeleteRangeRequest {
        let key = self.key();
        // Seldom all that follows, or nothing would live long.
        let range_end = if self.rng.u32(0..3) == 0 { self.range_end(&key) } else { "".into() };
        pb::DeleteRangeRequest { key, range_end, prev_kv: self.rng.bool() }
    }

    pub(super) fn range(&mut self, world: &World) -> pb::RangeRequest {
        let key = self.key();
        let range_end = self.range_end(&key);
        let is_plain = self.rng.u32(0..3) == 0;
        let sorted = if is_plain { 1000 } else { 3 };
        let filtered = if is_plain { 1000 } else { 6 };
        pb::RangeRequest {
            range_end,
            limit: self.limit(),
            revision: self.sometimes(2, |g| g.revision(world)),
            sort_order: self.sometimes(sorted, Generator::enumeration::<3>),
            sort_target: self.sometimes(sorted, Generator::enumeration::<5>),
            serializable: self.rng.u32(0..4) == 0,
            keys_only: self.rng.u32(0..4) == 0,
            count_only: self.rng.u32(0..6) == 0,
            min_mod_revision: self.sometimes(filtered, |g| g.revision(world)),
            max_mod_revision: self.sometimes(filtered, |g| g.revision(world)),
            min_create_revision: self.sometimes(filtered, |g| g.revision(world)),
            max_create_revision: self.sometimes(filtered, |g| g.revision(world)),
            key,
        }
    }

    pub(super) fn compact(&mut self, world: &World) -> pb::CompactionRequest {
        pb::CompactionRequest { revision: self.revision(world), physical: self.rng.bool() }
    }

    /// One of `COUNT` numbers, and now and then one that means nothing.
    fn enumeration<const COUNT: i32>(&mut self) -> i32 {
        choose! { self.rng;
            20 => self.rng.i32(0..COUNT),
            1 => COUNT,
            1 => -1,
        }
    }

    pub(super) fn txn(&mut self, world: &World) -> pb::TxnRequest {
        let mut txn = self.txn_at(world, 0);
        if deletes_from_key(&txn) {
            // etcd falls over a put that keeps what the same transaction has deleted in this way.
            forget_to_ignore(&mut txn);
        }
        txn
    }

    fn txn_at(&mut self, world: &World, depth: u32) -> pb::TxnRequest {
        let widths = |generator: &mut Generator| {
            let limit = generator.profile.txn_ops_max;
            choose! { generator.rng;
                40 => generator.rng.usize(0..3),
                20 => generator.rng.usize(0..6),
                1 => generator.rng.usize(limit.saturating_sub(2)..limit + 2),
            }
        };
        let (compares, successes, failures) = (widths(self), widths(self), widths(self));
        pb::TxnRequest {
            compare: (0..compares).map(|_| self.compare(world)).collect(),
            success: (0..successes).map(|_| self.operation(world, depth)).collect(),
            failure: (0..failures).map(|_| self.operation(world, depth)).collect(),
        }
    }

    fn operation(&mut self, world: &World, depth: u32) -> pb::RequestOp {
        let mut nested = if depth < DEPTH_MAX { self.rng.u32(0..8) } else { 8 };
        if depth == 0 && self.rng.u32(0..3) == 0 {
            nested = 8;
        }
        if nested == 0 {
            return op(Request::RequestTxn(self.txn_at(world, depth + 1)));
        }
        choose! { self.rng;
            40 => op(Request::RequestPut(self.put(world))),
            15 => op(Request::RequestDeleteRange(self.delete(world))),
            40 => op(Request::RequestRange(self.range(world))),
            1 => pb::RequestOp { request: None },
        }
    }

    fn compare(&mut self, world: &World) -> pb::Compare {
        let target = self.enumeration::<5>();
        let revision = |generator: &mut Generator| generator.revision(world);
        // Mostly the operand belongs to the target.
        let operand = if self.rng.u32(0..10) == 0 { self.rng.i32(0..6) } else { target };
        let target_union = match operand {
            0 => Some(TargetUnion::Version(choose! { self.rng; 8 => self.rng.i64(0..4), 1 => -1 })),
            1 => Some(TargetUnion::CreateRevision(revision(self))),
            2 => Some(TargetUnion::ModRevision(revision(self))),
            3 => Some(TargetUnion::Value(self.value())),
            4 => Some(TargetUnion::Lease(self.lease(world))),
            _ => None,
        };
        let key = self.key();
        let range_end = if self.rng.u32(0..3) == 0 { self.range_end(&key) } else { "".into() };
        let result = choose! { self.rng;
            4 => self.rng.i32(0..4),
            // Those that come out true more often, so that both branches are taken.
            4 => pb::compare::CompareResult::NotEqual.into(),
            1 => self.enumeration::<4>(),
        };
        pb::Compare { result, target, key, range_end, target_union }
    }
}

/// The operations of both branches.
fn operations(txn: &pb::TxnRequest) -> impl Iterator<Item = &Request> {
    txn.success.iter().chain(&txn.failure).filter_map(|op| op.request.as_ref())
}

fn deletes_from_key(txn: &pb::TxnRequest) -> bool {
    operations(txn).any(|request| match request {
        Request::RequestDeleteRange(delete) => &delete.range_end[..] == b"\0",
        Request::RequestTxn(nested) => deletes_from_key(nested),
        _ => false,
    })
}

fn forget_to_ignore(txn: &mut pb::TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Request::RequestPut(put)) => {
                (put.ignore_value, put.ignore_lease) = (false, false);
            }
            Some(Request::RequestTxn(nested)) => forget_to_ignore(nested),
            _ => {}
        }
    }
}
