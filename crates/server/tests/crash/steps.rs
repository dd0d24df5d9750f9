//! Single requests, one after the other, that tell the oracle what they were promised.

use bytes::Bytes;
use metastore_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use tonic::Status;

use crate::keyspace::{Answer, Change, Op};
use crate::oracle::{Acknowledged, Attempt, Oracle};
use crate::support::Client;

/// Writes a value that nobody else writes. What is refused may still have been carried out: the
/// first write that finds no room is.
pub(crate) async fn put(
    client: &mut Client,
    oracle: &mut Oracle,
    key: &str,
    at: usize,
    value_bytes: usize,
) -> Result<(), Status> {
    let mut value = format!("{key}.{at}.").into_bytes();
    value.resize(value_bytes.max(value.len()), b'.');
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value));
    let request = PutRequest { key: key.clone(), value: value.clone(), ..PutRequest::default() };
    let change = Change::Write(vec![Op::Put { key, value, lease: 0 }]);
    let answer = match client.kv.put(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            oracle.attempt(Attempt { after: 0, change });
            return Err(status);
        }
    };
    let revision = answer.header.expect("every answer has a header").revision;
    let done = Acknowledged { revision, change, answer: Answer::default() };
    oracle.acknowledge(done).expect("nobody else wrote there");
    Ok(())
}

/// Deletes the keys from one up to, and without, another; says how many.
pub(crate) async fn delete(
    client: &mut Client,
    oracle: &mut Oracle,
    from: &'static str,
    to: &'static str,
) -> Result<i64, Status> {
    let (from, to) = (Bytes::from_static(from.as_bytes()), Bytes::from_static(to.as_bytes()));
    let request = DeleteRangeRequest { key: from.clone(), range_end: to.clone(), prev_kv: false };
    let answer = client.kv.delete_range(request).await?.into_inner();
    let revision = answer.header.expect("every answer has a header").revision;
    let deleted = answer.deleted;
    let change = Change::Write(vec![Op::Delete { from, to }]);
    let answer = Answer { deleted, succeeded: false };
    let done = Acknowledged { revision, change, answer };
    oracle.acknowledge(done).expect("nobody else wrote there");
    Ok(deleted)
}

/// The newest revision.
pub(crate) async fn revision(client: &mut Client) -> i64 {
    let request = RangeRequest { key: Bytes::from_static(b"k"), ..RangeRequest::default() };
    let answer = client.kv.range(request).await.expect("a ready member is read from").into_inner();
    answer.header.expect("every answer has a header").revision
}
