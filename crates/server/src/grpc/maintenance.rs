//! `etcdserverpb.Maintenance`: what an operator asks of one member.

use metastore_proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeInfo,
    DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse,
    MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, StatusRequest, StatusResponse,
};
use metastore_proto::server::etcdserverpb::maintenance_server::Maintenance;
use state::ClusterId;
use state::command::{Alarm, Operation};
use state::outcome::{AlarmMember, AlarmType, Outcome};
use tonic::{Request, Response, Status};

use super::convert::response;
use super::drain::UntilDrained;
use super::in_turns::InTurns;
use super::snapshot::{self, Snapshot};
use super::status::{EtcdError, unknown_method};
use super::unread::WhileRead;
use super::{STORAGE_VERSION, Shell, mismatched};
use crate::config::ETCD_VERSION;
use crate::core::CoreInput;
use crate::handle::Unserved;

const SERVICE: &str = "etcdserverpb.Maintenance";
/// What a quota that was not configured amounts to.
const QUOTA_BYTES_DEFAULT: i64 = 2 << 30;

#[tonic::async_trait]
impl Maintenance for Shell {
    type SnapshotStream = UntilDrained<WhileRead<InTurns<Snapshot>>>;

    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner();
        let permit = self.admit(&request)?;
        let AlarmRequest { action, member_id: member, alarm } = request;
        // Listing goes through the log too: it shows every alarm raised before it.
        match self.propose(Operation::Alarm(Alarm { action, member, alarm }), &permit).await? {
            (header, Outcome::Alarm(alarms)) => {
                let alarms = alarms.into_iter().map(response::alarm).collect();
                Ok(Response::new(AlarmResponse { header: response::header(header), alarms }))
            }
            (_, other) => mismatched(&other),
        }
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let _permit = self.admit(request.get_ref())?;
        let (status, members) = (self.handle.status(), self.handle.members());
        let this = self.handle.member_id().0;
        let quota = self.handle.settings().quota_setting;
        let mut errors = Vec::new();
        if status.leader == 0 {
            errors.push(EtcdError::NoLeader.text().to_owned());
        }
        errors.extend(self.handle.alarms().into_iter().map(alarm_text));
        Ok(Response::new(StatusResponse {
            header: response::header(self.handle.header()),
            version: ETCD_VERSION.to_owned(),
            db_size: signed(status.db_size),
            leader: status.leader,
            raft_index: status.committed,
            raft_term: status.term,
            raft_applied_index: status.applied,
            errors,
            db_size_in_use: signed(status.db_size_in_use),
            is_learner: members.iter().any(|member| member.id == this && member.is_learner),
            storage_version: STORAGE_VERSION.to_owned(),
            db_size_quota: if quota == 0 { QUOTA_BYTES_DEFAULT } else { quota },
            downgrade_info: Some(DowngradeInfo::default()),
        }))
    }

    /// Space is freed as what is compacted away is removed, so there is nothing to rewrite. An
    /// operator looks at the size next: the removing under way is waited for. An engine with files
    /// is told not to wait for more garbage, and gives the space back while it serves.
    async fn defragment(
        &self,
        request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        let _permit = self.admit(request.get_ref())?;
        if let Err(Unserved::Stopped) = self.handle.wait_swept().await {
            return Err(EtcdError::Stopped.into());
        }
        // Somebody may hold a view for longer than a request may take: what it shows goes later.
        if self.handle.send(CoreInput::FreeSpace).is_err() {
            return Err(EtcdError::Stopped.into());
        }
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let _permit = self.admit(request.get_ref())?;
        let hash = self.handle.hash().await.map_err(EtcdError::from)?;
        let hash = hash.map_err(EtcdError::of_read)?;
        Ok(Response::new(HashResponse { header: response::header(self.handle.header()), hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let request = request.into_inner();
        let _permit = self.admit(&request)?;
        let hashed = self.handle.hash_kv(request.revision).await.map_err(EtcdError::from)?;
        let hashed = hashed.map_err(EtcdError::of_read)?;
        Ok(Response::new(HashKvResponse {
            header: response::header_at(self.handle.header(), hashed.store_revision),
            hash: hashed.hash,
            compact_revision: hashed.compact_revision,
            hash_revision: hashed.hash_revision,
        }))
    }

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let permit = self.admit(request.get_ref())?;
        let view = self.handle.reader().engine_view();
        let cluster = ClusterId(self.handle.header().cluster_id);
        let snapshot = snapshot::begin(view, cluster, permit).await?;
        let snapshot = InTurns::resting(snapshot, self.permits.clone());
        let snapshot = WhileRead::new(snapshot, self.handle.settings().unread_view);
        Ok(Response::new(UntilDrained::new(snapshot, &self.shutdown.closed)))
    }

    /// A leader may be asked to go on leading; handing over needs somebody to hand over to.
    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let request = request.into_inner();
        let _permit = self.admit(&request)?;
        let leader = self.handle.status().leader;
        if leader != self.handle.member_id().0 {
            return Err(EtcdError::NotLeader.into());
        }
        let mut members = self.handle.members().into_iter();
        if !members.any(|member| member.id == request.target_id && !member.is_learner) {
            return Err(EtcdError::BadLeaderTransferee.into());
        }
        if request.target_id != leader {
            return Err(unknown_method(SERVICE, "MoveLeader"));
        }
        Ok(Response::new(MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        _request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        Err(unknown_method(SERVICE, "Downgrade"))
    }
}

/// An alarm as the text form of its message.
fn alarm_text(alarm: AlarmMember) -> String {
    let name = match alarm.alarm {
        AlarmType::NO_SPACE => "NOSPACE",
        AlarmType::CORRUPT => "CORRUPT",
        other => &other.number().to_string(),
    };
    // As everywhere in that form, a zero is left out.
    match alarm.member.0 {
        0 => format!("alarm:{name}"),
        member => format!("memberID:{member} alarm:{name}"),
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[test]
fn an_alarm_reads_as_the_text_form_of_its_message() {
    let text = |member, alarm| {
        let alarm = AlarmType::from_number(alarm).expect("not 0");
        alarm_text(AlarmMember { member: state::MemberId(member), alarm })
    };
    assert_eq!(text(5, 1), "memberID:5 alarm:NOSPACE");
    assert_eq!(text(0, 2), "alarm:CORRUPT");
    assert_eq!(text(1, -7), "memberID:1 alarm:-7");
}
