//! `etcdserverpb.Watch`: changes as they happen.

use metastore_proto::etcdserverpb::WatchRequest;
use metastore_proto::server::Prepared;
use metastore_proto::server::etcdserverpb::watch_server::Watch;
use tokio_stream::Empty;
use tonic::{Request, Response, Status, Streaming};

use super::Shell;
use super::status::unknown_method;

#[tonic::async_trait]
impl Watch for Shell {
    type WatchStream = Empty<Result<Prepared, Status>>;

    async fn watch(
        &self,
        _request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(unknown_method("etcdserverpb.Watch", "Watch"))
    }
}
