//! `etcdserverpb.Cluster`: who belongs to the cluster. Changing that is not possible yet.

use metastore_proto::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};
use metastore_proto::server::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::Shell;
use super::convert::response;
use super::status::unknown_method;

const SERVICE: &str = "etcdserverpb.Cluster";

#[tonic::async_trait]
impl Cluster for Shell {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let request = request.into_inner();
        let _permit = self.admit(&request)?;
        if request.linearizable {
            self.barrier().await?;
        }
        // Headers of this service show no revision.
        let header = response::header_at(self.handle.header(), 0);
        let members = self.handle.members().into_iter().map(response::member).collect();
        Ok(Response::new(MemberListResponse { header, members }))
    }

    async fn member_add(
        &self,
        _request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        Err(unknown_method(SERVICE, "MemberAdd"))
    }

    async fn member_remove(
        &self,
        _request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        Err(unknown_method(SERVICE, "MemberRemove"))
    }

    async fn member_update(
        &self,
        _request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        Err(unknown_method(SERVICE, "MemberUpdate"))
    }

    async fn member_promote(
        &self,
        _request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        Err(unknown_method(SERVICE, "MemberPromote"))
    }
}
