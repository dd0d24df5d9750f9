//! Answers: outcomes with the headers that etcd gives them.

use metastore_proto::etcdserverpb::{self as pb, ResponseHeader};
use metastore_proto::server::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, ResponseOp, TxnResponse, response_op::Response,
};
use state::Revision;
use state::members::Member;
use state::outcome::{
    AlarmMember, DeleteOutcome, PutOutcome, RangeOutcome, TxnOutcome, TxnResponse as TxnStep,
};

use crate::handle::Header;

/// The header of a response that shows the revision of the store.
#[must_use]
pub fn header(header: Header) -> Option<ResponseHeader> {
    header_at(header, header.revision)
}

/// The header of a response that shows a revision of its own.
#[must_use]
pub fn header_at(header: Header, revision: i64) -> Option<ResponseHeader> {
    let Header { cluster_id, member_id, raft_term, .. } = header;
    Some(ResponseHeader { cluster_id, member_id, revision, raft_term })
}

/// The header of a step inside a transaction: nothing but a revision.
fn inner_header(revision: Revision) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision: revision.0, ..ResponseHeader::default() })
}

/// The answer to a read.
#[must_use]
pub fn range(header: Option<ResponseHeader>, outcome: RangeOutcome) -> RangeResponse {
    RangeResponse { header, kvs: outcome.kvs, more: outcome.more, count: outcome.count }
}

/// The answer to a put.
#[must_use]
pub fn put(header: Option<ResponseHeader>, outcome: PutOutcome) -> PutResponse {
    PutResponse { header, prev_kv: outcome.prev_kv.unwrap_or_default() }
}

/// The answer to a range deletion.
#[must_use]
pub fn delete_range(header: Option<ResponseHeader>, outcome: DeleteOutcome) -> DeleteRangeResponse {
    DeleteRangeResponse { header, deleted: outcome.deleted, prev_kvs: outcome.prev_kvs }
}

/// The answer to a transaction.
#[must_use]
pub fn txn(header: Option<ResponseHeader>, outcome: TxnOutcome) -> TxnResponse {
    let responses = outcome.responses.into_iter().map(step).collect();
    TxnResponse { header, succeeded: outcome.succeeded, responses }
}

fn step(step: TxnStep) -> ResponseOp {
    let response = match step {
        TxnStep::Range(outcome) => {
            Response::ResponseRange(range(inner_header(outcome.revision), outcome))
        }
        TxnStep::Put(outcome) => {
            Response::ResponsePut(put(inner_header(outcome.revision), outcome))
        }
        TxnStep::DeleteRange(outcome) => {
            Response::ResponseDeleteRange(delete_range(inner_header(outcome.revision), outcome))
        }
        // Present but empty, as etcd leaves it.
        TxnStep::Txn(outcome) => {
            Response::ResponseTxn(txn(Some(ResponseHeader::default()), outcome))
        }
    };
    ResponseOp { response: Some(response) }
}

/// A member of the cluster.
#[must_use]
pub fn member(member: Member) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.is_learner,
    }
}

/// An active alarm.
#[must_use]
pub fn alarm(alarm: AlarmMember) -> pb::AlarmMember {
    pb::AlarmMember { member_id: alarm.member.0, alarm: alarm.alarm.number() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn steps_of_a_transaction_show_their_revision_and_inner_ones_nothing() {
        let read = RangeOutcome { revision: Revision(5), count: 1, ..RangeOutcome::default() };
        let written = PutOutcome { revision: Revision(6), prev_kv: Some(Bytes::from("kv")) };
        let inner = TxnOutcome {
            revision: Revision(6),
            succeeded: true,
            responses: vec![TxnStep::Put(PutOutcome { revision: Revision(6), prev_kv: None })],
        };
        let outcome = TxnOutcome {
            revision: Revision(6),
            succeeded: true,
            responses: vec![TxnStep::Range(read), TxnStep::Put(written), TxnStep::Txn(inner)],
        };
        let whole = Header { cluster_id: 1, member_id: 2, revision: 9, raft_term: 3 };
        let response = txn(header_at(whole, 6), outcome);

        let top = ResponseHeader { cluster_id: 1, member_id: 2, revision: 6, raft_term: 3 };
        assert_eq!(response.header, Some(top));
        let steps: Vec<_> = response.responses.iter().map(|op| op.response.as_ref()).collect();
        let [
            Some(Response::ResponseRange(range)),
            Some(Response::ResponsePut(put)),
            Some(Response::ResponseTxn(inner)),
        ] = &steps[..]
        else {
            panic!("other steps than taken: {steps:?}");
        };
        assert_eq!(range.header, inner_header(Revision(5)));
        assert_eq!(put.header, inner_header(Revision(6)));
        assert_eq!(put.prev_kv, "kv");
        assert_eq!(inner.header, Some(ResponseHeader::default()));
    }
}
