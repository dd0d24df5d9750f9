//! `etcdserverpb.Lease`: keys that live only as long as somebody says so.

use std::pin::Pin;

use metastore_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use metastore_proto::server::etcdserverpb::lease_server::Lease;
use state::LeaseId;
use state::command::{LeaseGrant, LeaseRevoke, Operation};
use state::limits::LEASE_OVERHEAD_BYTES;
use state::outcome::Outcome;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::convert::response;
use super::drain::UntilDrained;
use super::status::{EtcdError, Takes, in_etcds_words};
use super::{Shell, mismatched};

/// What a client hears of the remaining time of a lease that does not exist.
const TTL_S_OF_NO_LEASE: i64 = -1;

type KeepAliveStream = Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Lease for Shell {
    type LeaseKeepAliveStream = UntilDrained<KeepAliveStream>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let request = request.into_inner();
        let permit = self.admit(&request)?;
        self.check_quota(LEASE_OVERHEAD_BYTES).await?;
        let grant = LeaseGrant {
            id: if request.id == 0 { self.handle.new_lease_id() } else { request.id },
            ttl_s: request.ttl,
            ttl_min_s: self.handle.settings().lease_ttl_min_s,
        };
        match self.propose(Operation::LeaseGrant(grant), &permit).await? {
            (header, Outcome::LeaseGrant { id, ttl_s }) => Ok(Response::new(LeaseGrantResponse {
                header: response::header(header),
                id: id.0,
                ttl: ttl_s,
                error: String::new(),
            })),
            (_, other) => mismatched(&other),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let request = request.into_inner();
        let permit = self.admit(&request)?;
        let revoke = Operation::LeaseRevoke(LeaseRevoke { id: request.id });
        let (header, _) = self.propose(revoke, &permit).await?;
        Ok(Response::new(LeaseRevokeResponse { header: response::header(header) }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let shell = self.clone();
        // `then` takes a request only when the one before it has its answer.
        let answers = request.into_inner().then(move |request| {
            let shell = shell.clone();
            let request = request.map_err(|status| in_etcds_words(status, Takes::Stream));
            async move { shell.keep_alive(request?.id).await }
        });
        let answers: KeepAliveStream = Box::pin(answers);
        Ok(Response::new(UntilDrained::new(answers, &self.shutdown.draining)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        let _permit = self.admit(&request)?;
        let lease = self.handle.lease_time_to_live(LeaseId(request.id), request.keys).await;
        let header = response::header(self.handle.header());
        let no_lease = LeaseTimeToLiveResponse {
            header,
            id: request.id,
            ttl: TTL_S_OF_NO_LEASE,
            ..LeaseTimeToLiveResponse::default()
        };
        let response = match lease.map_err(EtcdError::from)? {
            None => no_lease,
            Some(lease) => LeaseTimeToLiveResponse {
                ttl: lease.remaining_s,
                granted_ttl: lease.granted_s,
                keys: lease.keys,
                ..no_lease
            },
        };
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let _permit = self.admit(request.get_ref())?;
        let leases = self.handle.leases().await.map_err(EtcdError::from)?;
        let leases = leases.into_iter().map(|lease| LeaseStatus { id: lease.0 }).collect();
        let header = response::header(self.handle.header());
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}

impl Shell {
    /// Renews one lease. A lease that does not exist is no error: the client reads 0 seconds.
    async fn keep_alive(&self, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
        // Taken before the renewal, as etcd does: the answer claims nothing newer.
        let header = response::header(self.handle.header());
        let ttl_s = self.handle.lease_keep_alive(LeaseId(id)).await.map_err(EtcdError::from)?;
        Ok(LeaseKeepAliveResponse { header, id, ttl: ttl_s.unwrap_or(0) })
    }
}
