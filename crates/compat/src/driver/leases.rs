//! Leases that cannot be compared by a single call: their ids are the server's, or their time is
//! short.

use std::time::{Duration, Instant};

use metastore_proto::etcdserverpb as pb;
use prost::Message;

use super::{Driver, Side};
use crate::answer::Answer;
use crate::aside;
use crate::step::{Step, call};
use crate::wire::Call;

/// Within this time not even the shortest lease expires: that is two seconds.
const SURELY_ALIVE: Duration = Duration::from_secs(1);

impl Driver {
    /// Grants a lease without an id, looks at it, renews it and revokes it.
    pub(super) async fn nameless_lease(&mut self, _step: &Step, ttl: i64) {
        let grant = call("/etcdserverpb.Lease/LeaseGrant", &pb::LeaseGrantRequest { ttl, id: 0 });
        let begun = Instant::now();
        let (etcd, subject) = tokio::join!(self.etcd.answer(&grant), self.subject.answer(&grant));
        let ids = (granted_id(&etcd), granted_id(&subject));
        self.check_nameless(&grant, ids, etcd, subject);
        let (Some(one), Some(other)) = ids else { return };
        for path in ["LeaseTimeToLive", "LeaseKeepAlive", "LeaseRevoke"] {
            let ask = |id| Call { path: format!("/etcdserverpb.Lease/{path}"), ..of_lease(id) };
            let (ours, theirs) = (ask(one), ask(other));
            let (etcd, subject) =
                tokio::join!(self.etcd.answer(&ours), self.subject.answer(&theirs));
            if begun.elapsed() < SURELY_ALIVE {
                self.check_nameless(&ours, ids, etcd, subject);
            }
        }
    }

    fn check_nameless(
        &mut self,
        call: &Call,
        ids: (Option<i64>, Option<i64>),
        mut etcd: Answer,
        mut subject: Answer,
    ) {
        // A positive id is put aside; a zero or a negative one is not, and shows.
        if let (Some(one), Some(other)) = ids {
            aside::put_id_aside(&mut etcd, one);
            aside::put_id_aside(&mut subject, other);
        }
        self.check(call, etcd, subject);
    }

    /// Grants a lease that may be short and revokes it.
    pub(super) async fn passing_lease(&mut self, _step: &Step, id: i64, ttl: i64) {
        let begun = Instant::now();
        let grant = call("/etcdserverpb.Lease/LeaseGrant", &pb::LeaseGrantRequest { ttl, id });
        let revoke = call("/etcdserverpb.Lease/LeaseRevoke", &pb::LeaseRevokeRequest { id });
        for call in [grant, revoke] {
            let (etcd, subject) = answers(&self.etcd, &self.subject, &call).await;
            if begun.elapsed() < SURELY_ALIVE {
                self.check(&call, etcd, subject);
            }
        }
        self.world.leases.remove(&id);
    }
}

async fn answers(etcd: &Side, subject: &Side, call: &Call) -> (Answer, Answer) {
    tokio::join!(etcd.answer(call), subject.answer(call))
}

/// A request of any kind that is nothing but a lease's id: they all have it as their first field.
fn of_lease(id: i64) -> Call {
    let request = pb::LeaseRevokeRequest { id };
    Call { requests: vec![request.encode_to_vec().into()], ..Call::default() }
}

fn granted_id(answer: &Answer) -> Option<i64> {
    let id = answer.messages.first()?.get_field_by_name("ID")?.as_i64()?;
    (id > 0).then_some(id)
}
