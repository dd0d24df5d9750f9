//! Any request: it is refused, or what it becomes is applied and answered.
//!
//! The first byte says which message the others are.
#![no_main]

use bytes::Bytes;
use fuzz::store::Store;
use libfuzzer_sys::fuzz_target;
use metastore_proto::etcdserverpb as pb;
use prost::Message;
use server::grpc::convert::{request, response};
use state::command::{Command, Compact, LeaseGrant, Operation};
use state::outcome::Outcome;

/// The default of `--max-txn-ops`.
const OPS_MAX: usize = 128;

fuzz_target!(|input: &[u8]| {
    let Some((kind, message)) = input.split_first() else { return };
    let message = Bytes::copy_from_slice(message);
    let Some(operation) = operation(*kind, message) else { return };
    let mut store = Store::with_history();
    if let Operation::Range(range) = &operation {
        if let Ok(found) = store.read(range) {
            let response = response::range(None, found);
            assert!(response.encoded_len() < 1 << 20);
        }
        return;
    }
    let command = Command { operation: Some(operation), ..Command::default() };
    for answer in store.apply_command(&command) {
        let bytes = match answer.applied {
            Ok(Outcome::Put(outcome)) => response::put(None, outcome).encode_to_vec(),
            Ok(Outcome::DeleteRange(outcome)) => {
                response::delete_range(None, outcome).encode_to_vec()
            }
            Ok(Outcome::Txn(outcome)) => response::txn(None, outcome).encode_to_vec(),
            _ => Vec::new(),
        };
        // What the server sends, a client must be able to read.
        pb::TxnResponse::decode(&bytes[..]).ok();
    }
    store.reopen();
});

/// What the server makes of a message; `None` if it refuses it.
fn operation(kind: u8, message: Bytes) -> Option<Operation> {
    Some(match kind % 7 {
        0 => Operation::Range(request::range(pb::RangeRequest::decode(message).ok()?).ok()?),
        1 => Operation::Put(request::put(pb::PutRequest::decode(message).ok()?).ok()?),
        2 => {
            let delete = pb::DeleteRangeRequest::decode(message).ok()?;
            Operation::DeleteRange(request::delete_range(delete).ok()?)
        }
        3 => {
            let txn = pb::TxnRequest::decode(message).ok()?;
            let cost = request::txn_cost(&txn);
            let txn = request::txn(txn, OPS_MAX).ok()?;
            assert!(cost < 1 << 32);
            let _ = request::txn_kind(&txn);
            Operation::Txn(txn)
        }
        4 => {
            let compact = pb::CompactionRequest::decode(message).ok()?;
            Operation::Compact(Compact { revision: compact.revision })
        }
        5 => {
            let grant = pb::LeaseGrantRequest::decode(message).ok()?;
            Operation::LeaseGrant(LeaseGrant { id: grant.id, ttl_s: grant.ttl, ttl_min_s: 2 })
        }
        _ => {
            let stream = pb::RangeRequest::decode(message).ok()?;
            Operation::Range(request::range_stream(stream).ok()?)
        }
    })
}
