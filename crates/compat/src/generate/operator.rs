//! Requests of the `Maintenance`, `Cluster` and health services.

use metastore_proto::etcdserverpb as pb;
use metastore_proto::grpc::health::v1 as health;

use super::{Generator, choose};
use crate::step::{Step, call};
use crate::wire::Call;
use crate::world::World;

impl Generator {
    /// What changes something, or has to be alone.
    pub(super) fn operator(&mut self, world: &World) -> Step {
        choose! { self.rng;
            6 => self.alarm(),
            1 => Step::call("/etcdserverpb.Maintenance/Defragment", &pb::DefragmentRequest {}),
            1 => Step::call("/etcdserverpb.Maintenance/Snapshot", &pb::SnapshotRequest {}),
            1 => Step::call("/etcdserverpb.Maintenance/MoveLeader", &pb::MoveLeaderRequest {
                target_id: self.rng.u64(0..3),
            }),
            12 => Step::call("/etcdserverpb.Maintenance/HashKV", &pb::HashKvRequest {
                revision: self.revision(world),
            }),
        }
    }

    fn alarm(&mut self) -> Step {
        // Only what etcd survives: an unknown action brings it down.
        let action = self.rng.i32(0..3);
        let alarm = choose! { self.rng; 3 => 0, 3 => 1, 1 => 2, 2 => 7 };
        let member_id = choose! { self.rng; 2 => 0, 4 => self.rng.u64(1..3), 1 => u64::MAX };
        Step::call(
            "/etcdserverpb.Maintenance/Alarm",
            &pb::AlarmRequest { action, member_id, alarm },
        )
    }

    /// Puts an end to one of the alarms, which stop everything else.
    pub(super) fn disarm(&mut self, world: &World) -> Step {
        let alarms: Vec<_> = world.alarms.iter().copied().collect();
        let (member_id, alarm) = alarms[self.rng.usize(..alarms.len())];
        let action = pb::alarm_request::AlarmAction::Deactivate.into();
        Step::call(
            "/etcdserverpb.Maintenance/Alarm",
            &pb::AlarmRequest { action, member_id, alarm },
        )
    }

    /// What can be asked at any time.
    pub(super) fn look(&mut self) -> Call {
        let service = choose! { self.rng; 3 => String::new(), 1 => "etcdserverpb.KV".to_owned() };
        choose! { self.rng;
            3 => call("/etcdserverpb.Maintenance/Status", &pb::StatusRequest {}),
            1 => call("/etcdserverpb.Maintenance/Hash", &pb::HashRequest {}),
            3 => call("/etcdserverpb.Cluster/MemberList", &pb::MemberListRequest {
                linearizable: self.rng.bool(),
            }),
            1 => call("/grpc.health.v1.Health/List", &health::HealthListRequest {}),
            2 => call("/grpc.health.v1.Health/Check", &health::HealthCheckRequest { service }),
            1 => Call {
                responses_max: 1,
                ..call("/grpc.health.v1.Health/Watch", &health::HealthCheckRequest { service })
            },
        }
    }
}
