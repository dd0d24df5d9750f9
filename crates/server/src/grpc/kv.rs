//! `etcdserverpb.KV`: reads and writes of keys.

use metastore_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest,
};
use metastore_proto::server::etcdserverpb::kv_server::Kv;
use metastore_proto::server::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, TxnResponse,
};
use state::command::{Compact, Operation};
use state::mvcc::range::RangeCursor;
use state::outcome::Outcome;
use tonic::{Request, Response, Status};

use super::convert::request::{self, TxnKind};
use super::convert::response;
use super::drain::UntilDrained;
use super::in_turns::InTurns;
use super::range_stream::RangeStream;
use super::status::EtcdError;
use super::unread::WhileRead;
use super::{Shell, mismatched, pieces};

#[tonic::async_trait]
impl Kv for Shell {
    type RangeStreamStream = UntilDrained<WhileRead<InTurns<RangeStream<RangeCursor>>>>;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        let _permit = self.admit(&request)?;
        let outcome = self.read(request::range(request)?).await?;
        // The revision of the store, even if an older one was asked for.
        let header = response::header_at(self.handle.header(), outcome.revision.0);
        pieces::response(response::range(header, outcome))
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let request = request.into_inner();
        let permit = self.admit(&request)?;
        let range = request::range_stream(request)?;
        if !range.serializable {
            self.barrier().await?;
        }
        let cursor = RangeCursor::open(self.handle.reader(), range).map_err(EtcdError::of_read)?;
        let stream = RangeStream::new(cursor, self.handle.header(), permit);
        let stream = InTurns::resting(stream, self.permits.clone());
        let stream = WhileRead::new(stream, self.handle.settings().unread_view);
        Ok(Response::new(UntilDrained::new(stream, &self.shutdown.closed)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        let permit = self.admit(&request)?;
        self.check_quota(request::put_cost(&request)).await?;
        let put = request::put(request)?;
        match self.propose(Operation::Put(put), &permit).await? {
            (header, Outcome::Put(outcome)) => {
                let header = response::header_at(header, outcome.revision.0);
                Ok(Response::new(response::put(header, outcome)))
            }
            (_, other) => mismatched(&other),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        let permit = self.admit(&request)?;
        let delete = request::delete_range(request)?;
        match self.propose(Operation::DeleteRange(delete), &permit).await? {
            (header, Outcome::DeleteRange(outcome)) => {
                let header = response::header_at(header, outcome.revision.0);
                Ok(Response::new(response::delete_range(header, outcome)))
            }
            (_, other) => mismatched(&other),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = request.into_inner();
        let permit = self.admit(&request)?;
        self.check_quota(request::txn_cost(&request)).await?;
        let txn = request::txn(request, self.handle.settings().max_txn_ops)?;
        let kind = request::txn_kind(&txn);
        let (header, outcome) = if kind == TxnKind::Writes {
            match self.propose(Operation::Txn(txn), &permit).await? {
                (header, Outcome::Txn(outcome)) => (header, outcome),
                (_, other) => mismatched(&other),
            }
        } else {
            if kind == TxnKind::Reads {
                self.barrier().await?;
            }
            let outcome = self.read_txn(txn).await?;
            (self.handle.header(), outcome)
        };
        let header = response::header_at(header, outcome.revision.0);
        Ok(Response::new(response::txn(header, outcome)))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let CompactionRequest { revision, physical } = request.into_inner();
        let permit = self.admit(&CompactionRequest { revision, physical })?;
        let compacted = self.propose(Operation::Compact(Compact { revision }), &permit).await;
        // One that comes too late still waits for those before it, and only then fails.
        if physical && matches!(compacted, Ok(_) | Err(EtcdError::Compacted)) {
            self.handle.wait_swept().await.map_err(EtcdError::from)?;
        }
        let (header, _) = compacted?;
        Ok(Response::new(CompactionResponse { header: response::header(header) }))
    }
}
