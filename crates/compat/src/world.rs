//! What the driver knows of the servers' state: enough to ask questions that are near the edge.
//!
//! It is learned from etcd's answers, so that a wrong answer of the subject cannot mislead it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use metastore_proto::etcdserverpb as pb;
use prost::Message;

use crate::answer::Answer;
use crate::wire::Call;

/// The state as far as it is known.
#[derive(Clone, Debug)]
pub struct World {
    /// The store's revision.
    pub revision: i64,
    /// Where the history begins; 0 if nothing was ever compacted.
    pub compacted: i64,
    /// Every revision that was compacted to.
    pub compactions: BTreeSet<i64>,
    /// Leases that were granted and not revoked.
    pub leases: BTreeSet<i64>,
    /// Alarms that were raised: member and type.
    pub alarms: BTreeSet<(u64, i32)>,
    /// The watchers of each open stream.
    pub watchers: BTreeMap<usize, Vec<i64>>,
    /// Streams whose requests have ended.
    pub half_closed: BTreeSet<usize>,
    /// The member's id; 0 until the first answer.
    pub member_id: u64,
    /// How many seconds both restarts took, all together; 0 before the first.
    pub restarts_s: u64,
}

impl World {
    /// The state of a fresh server.
    #[must_use]
    pub fn new() -> World {
        World {
            revision: 1,
            compacted: 0,
            compactions: BTreeSet::new(),
            leases: BTreeSet::new(),
            alarms: BTreeSet::new(),
            watchers: BTreeMap::new(),
            half_closed: BTreeSet::new(),
            member_id: 0,
            restarts_s: 0,
        }
    }

    /// The servers have been started anew: nobody is connected.
    pub fn restart(&mut self, took: Duration) {
        self.restarts_s += took.as_secs() + 1;
        self.watchers.clear();
        self.half_closed.clear();
    }

    /// Learns from one of etcd's answers.
    pub fn learn(&mut self, call: &Call, answer: &Answer) {
        self.revision = self.revision.max(answer.revision().unwrap_or(0));
        self.member_id = answer.member_id().unwrap_or(self.member_id);
        let Some(request) = call.requests.first().filter(|_| answer.is_ok()) else { return };
        match call.path.as_str() {
            "/etcdserverpb.KV/Compact" => {
                let compacted = decoded::<pb::CompactionRequest>(request).revision;
                self.compacted = self.compacted.max(compacted);
                self.compactions.insert(compacted);
            }
            "/etcdserverpb.Lease/LeaseGrant" => {
                let id = decoded::<pb::LeaseGrantRequest>(request).id;
                if id != 0 {
                    self.leases.insert(id);
                }
            }
            "/etcdserverpb.Lease/LeaseRevoke" => {
                self.leases.remove(&decoded::<pb::LeaseRevokeRequest>(request).id);
            }
            "/etcdserverpb.Maintenance/Alarm" => self.learn_alarm(&decoded(request)),
            _ => {}
        }
    }

    fn learn_alarm(&mut self, request: &pb::AlarmRequest) {
        let alarm = (request.member_id, request.alarm);
        match request.action() {
            pb::alarm_request::AlarmAction::Activate if request.alarm != 0 => {
                self.alarms.insert(alarm);
            }
            pb::alarm_request::AlarmAction::Deactivate => {
                self.alarms.remove(&alarm);
            }
            _ => {}
        }
    }
}

fn decoded<M: Message + Default>(request: &[u8]) -> M {
    M::decode(request).expect("the server has read it")
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}
