//! Requests by chance: few keys, so that they meet; arguments at and beyond every edge.
//!
//! The same seed and the same answers give the same requests.

mod hostile;
mod kv;
mod leases;
mod operator;
mod watches;

use std::collections::VecDeque;

use bytes::Bytes;
use metastore_proto::etcdserverpb as pb;

pub use watches::STREAMS_COUNT;

use crate::process::End;
use crate::step::Step;
use crate::world::World;

/// What both servers are started with, and what requests are therefore worth sending.
#[derive(Clone, Debug)]
pub struct Profile {
    /// `--max-request-bytes`.
    pub request_bytes_max: usize,
    /// `--max-txn-ops`.
    pub txn_ops_max: usize,
}

impl Profile {
    /// Small limits mostly, which are met often; now and then etcd's own.
    #[must_use]
    pub fn of(seed: u64) -> Profile {
        if seed % 5 == 4 {
            Profile { request_bytes_max: 1_572_864, txn_ops_max: 128 }
        } else {
            Profile { request_bytes_max: 64 << 10, txn_ops_max: 16 }
        }
    }

    /// The flags that make a server have these limits.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        vec![
            format!("--max-request-bytes={}", self.request_bytes_max),
            format!("--max-txn-ops={}", self.txn_ops_max),
            // A power cut is none of this test's business, a killed process is.
            "--unsafe-no-fsync".to_owned(),
        ]
    }
}

/// How many steps there are between two quiet points. etcd queues 128 responses for a stream; when
/// there are more, it parts them otherwise.
const SETTLE_EVERY: u64 = 25;

/// The source of requests.
#[derive(Debug)]
pub struct Generator {
    rng: fastrand::Rng,
    profile: Profile,
    /// Counts values, so that no two writes are the same by accident.
    values_count: u64,
    steps_count: u64,
    /// Steps that belong together, and come next.
    planned: VecDeque<Step>,
}

/// One of several things, each as often as its weight.
macro_rules! choose {
    ($rng:expr; $($weight:literal => $what:expr),+ $(,)?) => {{
        let total: u32 = 0 $(+ $weight)+;
        let mut ticket = $rng.u32(0..total);
        loop {
            $(
                if ticket < $weight { break $what; }
                #[allow(unused_assignments, reason = "the last one always matches")]
                { ticket -= $weight; }
            )+
        }
    }};
}
pub(crate) use choose;

impl Generator {
    /// The source that this seed gives.
    #[must_use]
    pub fn new(seed: u64, profile: Profile) -> Generator {
        Generator {
            rng: fastrand::Rng::with_seed(seed),
            profile,
            values_count: 0,
            steps_count: 0,
            planned: VecDeque::new(),
        }
    }

    /// The next step.
    pub fn step(&mut self, world: &World) -> Step {
        if let Some(planned) = self.planned.pop_front() {
            return planned;
        }
        if !world.alarms.is_empty() && self.rng.u32(0..5) == 0 {
            return choose! { self.rng;
                3 => self.disarm(world),
                // Only now it has something to tell.
                1 => Step::call("/etcdserverpb.Maintenance/Status", &pb::StatusRequest {}),
            };
        }
        self.steps_count += 1;
        if self.steps_count.is_multiple_of(SETTLE_EVERY) {
            return Step::Settle;
        }
        choose! { self.rng;
            300 => Step::call("/etcdserverpb.KV/Put", &self.put(world)),
            80 => Step::call("/etcdserverpb.KV/DeleteRange", &self.delete(world)),
            200 => Step::call("/etcdserverpb.KV/Txn", &self.txn(world)),
            12 => Step::call("/etcdserverpb.KV/Compact", &self.compact(world)),
            80 => self.leases(world),
            60 => self.watches(world),
            24 => self.operator(world),
            14 => Step::Call(self.large()),
            3 => Step::Call(self.deep()),
            2 => {
                self.planned = self.plan_of_fragments().into();
                Step::Settle
            },
            300 => self.reads(world),
            2 => Step::Restart(if self.rng.bool() { End::Graceful } else { End::Killed }),
        }
    }

    fn reads(&mut self, world: &World) -> Step {
        let count = self.rng.usize(1..=16);
        let calls = (0..count).map(|_| {
            choose! { self.rng;
                30 => crate::step::call("/etcdserverpb.KV/Range", &self.range(world)),
                10 => crate::step::call("/etcdserverpb.KV/RangeStream", &self.range(world)),
                8 => self.lease_read(world),
                4 => self.look(),
                4 => self.hostile(),
            }
        });
        Step::Together(calls.collect())
    }

    /// A bound of something counted: nothing, one, few, too many, nonsense.
    fn limit(&mut self) -> i64 {
        choose! { self.rng;
            6 => 0,
            3 => 1,
            3 => self.rng.i64(2..8),
            1 => self.rng.i64(8..64),
            1 => i64::MAX,
            1 => -1,
            1 => i64::MIN,
        }
    }

    /// A revision: none, known, at an edge, beyond all edges.
    fn revision(&mut self, world: &World) -> i64 {
        let (now, compacted) = (world.revision, world.compacted);
        choose! { self.rng;
            8 => self.rng.i64(compacted.min(now)..=now),
            2 => now,
            2 => now + 1,
            2 => compacted,
            2 => compacted - 1,
            2 => compacted + 1,
            1 => 0,
            1 => 1,
            1 => -1,
            1 => i64::MIN,
            1 => i64::MAX,
            1 => now + self.rng.i64(2..100),
        }
    }

    /// A field that is set now and then.
    fn sometimes<T: Default>(&mut self, one_in: u32, value: impl FnOnce(&mut Self) -> T) -> T {
        if self.rng.u32(0..one_in) == 0 { value(self) } else { T::default() }
    }

    /// A key of the small alphabet, or a strange one.
    fn key(&mut self) -> Bytes {
        const STRANGE: [&[u8]; 10] = [
            b"",
            b"\0",
            b"\0\0",
            b"a\0",
            b"\xff",
            b"\xff\xff",
            b"a\xff",
            b"b\xffz",
            "ä".as_bytes(),
            b"zz",
        ];
        choose! { self.rng;
            30 => Bytes::copy_from_slice(&[self.rng.u8(b'a'..=b'h')]),
            10 => Bytes::copy_from_slice(&[self.rng.u8(b'a'..=b'c'), self.rng.u8(b'a'..=b'c')]),
            8 => Bytes::from(format!("k{:02}", self.rng.u32(0..40))),
            3 => Bytes::from_static(STRANGE[self.rng.usize(..STRANGE.len())]),
        }
    }

    /// The end of a range that begins at `key`.
    fn range_end(&mut self, key: &Bytes) -> Bytes {
        choose! { self.rng;
            8 => Bytes::new(),
            3 => Bytes::from_static(b"\0"),
            4 => prefix_end(key),
            4 => self.key(),
            1 => key.clone(),
            1 => Bytes::from_static(b"\0\0"),
            3 => Bytes::from_static(b"zzz"),
        }
    }

    fn value(&mut self) -> Bytes {
        self.values_count += 1;
        let count = self.values_count;
        choose! { self.rng;
            20 => Bytes::from(format!("v{count}")),
            3 => Bytes::new(),
            3 => Bytes::from(vec![self.rng.u8(..); self.rng.usize(1..20)]),
            2 => Bytes::from(format!("{count}").repeat(self.rng.usize(1..200))),
        }
    }

    /// A lease that exists, mostly.
    fn lease(&mut self, world: &World) -> i64 {
        let known: Vec<i64> = world.leases.iter().copied().collect();
        choose! { self.rng;
            10 => if known.is_empty() { 0 } else { known[self.rng.usize(..known.len())] },
            1 => self.rng.i64(1..20),
            1 => -1,
        }
    }
}

/// Where the keys that begin with this one end.
fn prefix_end(key: &[u8]) -> Bytes {
    let mut end = key.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

/// An operation of a transaction.
fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}
