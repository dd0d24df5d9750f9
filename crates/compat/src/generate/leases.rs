//! Requests of the `Lease` service. Leases that stay live far longer than a run: when exactly one
//! expires is a matter of chance.

use metastore_proto::etcdserverpb as pb;
use prost::Message;

use super::{Generator, choose};
use crate::step::Step;
use crate::wire::Call;
use crate::world::World;

/// More than a run takes.
const TTL_S_MIN: i64 = 100_000;
/// The longest that is granted.
const TTL_S_MAX: i64 = 9_000_000_000;

impl Generator {
    pub(super) fn leases(&mut self, world: &World) -> Step {
        choose! { self.rng;
            10 => Step::call("/etcdserverpb.Lease/LeaseGrant", &self.grant(world)),
            3 => Step::PassingLease { id: self.named_lease(world), ttl: self.short_ttl() },
            2 => Step::NamelessLease { ttl: self.long_ttl() },
            1 => Step::NamelessLease { ttl: self.short_ttl() },
            4 => Step::call("/etcdserverpb.Lease/LeaseRevoke", &pb::LeaseRevokeRequest {
                id: self.lease_id(world),
            }),
            4 => Step::Call(self.keep_alives(world)),
        }
    }

    fn grant(&mut self, world: &World) -> pb::LeaseGrantRequest {
        pb::LeaseGrantRequest { ttl: self.long_ttl(), id: self.named_lease(world) }
    }

    /// Never 0: then each server would choose its own, and keys would name it.
    fn named_lease(&mut self, world: &World) -> i64 {
        match self.lease_id(world) {
            0 => 1,
            id => id,
        }
    }

    fn long_ttl(&mut self) -> i64 {
        choose! { self.rng;
            8 => self.rng.i64(TTL_S_MIN..TTL_S_MIN * 10),
            2 => TTL_S_MAX,
            2 => TTL_S_MAX + 1,
            1 => i64::MAX,
        }
    }

    fn short_ttl(&mut self) -> i64 {
        choose! { self.rng; 3 => self.rng.i64(0..4), 1 => -1, 1 => i64::MIN, 1 => 60 }
    }

    fn keep_alives(&mut self, world: &World) -> Call {
        let count = self.rng.usize(0..4);
        let requests = (0..count).map(|_| {
            let request = pb::LeaseKeepAliveRequest { id: self.lease_id(world) };
            request.encode_to_vec().into()
        });
        let requests = requests.collect();
        Call { path: "/etcdserverpb.Lease/LeaseKeepAlive".to_owned(), requests, ..Call::default() }
    }

    /// Remaining times and lists: they change nothing.
    pub(super) fn lease_read(&mut self, world: &World) -> Call {
        choose! { self.rng;
            4 => crate::step::call("/etcdserverpb.Lease/LeaseTimeToLive", &pb::LeaseTimeToLiveRequest {
                id: self.lease_id(world),
                keys: self.rng.bool(),
            }),
            1 => crate::step::call("/etcdserverpb.Lease/LeaseLeases", &pb::LeaseLeasesRequest {}),
        }
    }

    /// The id of a lease that exists, or of none.
    fn lease_id(&mut self, world: &World) -> i64 {
        choose! { self.rng;
            8 => self.lease(world),
            6 => self.rng.i64(1..20),
            1 => 0,
            1 => -self.rng.i64(1..5),
            1 => i64::MAX,
            1 => i64::MIN,
        }
    }
}
