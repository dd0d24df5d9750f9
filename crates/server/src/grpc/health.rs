//! `grpc.health.v1.Health`: whether the server serves. The one service it knows is the server as a
//! whole, whose name is empty.

use std::pin::Pin;

use metastore_proto::grpc::health::v1::health_check_response::ServingStatus;
use metastore_proto::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use metastore_proto::server::grpc::health::v1::health_server::Health;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::Shell;
use super::drain::UntilDrained;

type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for Shell {
    type WatchStream = UntilDrained<WatchStream>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match standing(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("unknown service")),
            standing => Ok(Response::new(response(standing))),
        }
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let whole = String::new();
        let statuses = [(whole.clone(), response(standing(&whole)))].into();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    /// Tells the standing once, for it does not change while the server runs. A service that does
    /// not exist is no error here: it may come to exist.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let now = tokio_stream::once(Ok(response(standing(&request.get_ref().service))));
        let stream: WatchStream = Box::pin(now.chain(tokio_stream::pending()));
        Ok(Response::new(UntilDrained::new(stream, &self.shutdown.draining)))
    }
}

fn standing(service: &str) -> ServingStatus {
    if service.is_empty() { ServingStatus::Serving } else { ServingStatus::ServiceUnknown }
}

fn response(standing: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: standing.into() }
}
