//! What two runs of etcd itself may differ in; it is put aside before answers are compared.
//!
//! | what | where |
//! |---|---|
//! | raft terms and indexes | every header, `Status` |
//! | sizes in bytes | `Status` |
//! | how a result is parted into messages | `RangeStream`, `Snapshot` |
//! | the order of what is unordered | leases, keys of a lease, alarms |
//! | spaces in the text form of an alarm | `Status.errors` |
//! | an id that the server has chosen | `LeaseGrant` without an id |
//! | a second or two of a lease's remaining time | `LeaseTimeToLive` |
//! | one of two kinds of space in errors of the protobuf library | the status of a broken request |
//! | whether an answer is compressed | a request that says it may be |

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use sha2::{Digest as _, Sha256};

use crate::answer::{Answer, Difference};
use crate::schema;

/// How many seconds a remaining time may differ by: both servers are asked within that.
const TTL_TOLERANCE_S: u64 = 2;

/// Takes out of an answer what means nothing.
pub(crate) fn put_aside(answer: &mut Answer) {
    match answer.path.as_str() {
        "/etcdserverpb.KV/RangeStream" => join_pieces(answer),
        "/etcdserverpb.Maintenance/Snapshot" => check_snapshot(answer),
        _ => {}
    }
    answer.messages.iter_mut().for_each(walk);
    // The protobuf library spells its errors with one of two kinds of space, by chance.
    answer.text = answer.text.replace('\u{a0}', " ");
}

/// Whether this difference is one of time and not of servers, whose restarts took so many seconds.
pub(crate) fn is_of_time(difference: &Difference, restarts_s: u64) -> bool {
    let seconds = |text: &str| text.parse::<i64>().ok();
    difference.place == "LeaseTimeToLiveResponse.TTL"
        && seconds(&difference.etcd).zip(seconds(&difference.subject)).is_some_and(
            |(one, other)| {
                one > 0 && other > 0 && one.abs_diff(other) <= TTL_TOLERANCE_S + restarts_s
            },
        )
}

/// Takes a lease's id out of an answer.
pub(crate) fn put_id_aside(answer: &mut Answer, id: i64) {
    for message in &mut answer.messages {
        if message.get_field_by_name("ID").is_some_and(|found| found.as_i64() == Some(id)) {
            message.clear_field_by_name("ID");
        }
    }
}

fn walk(message: &mut DynamicMessage) {
    let name = message.descriptor().name().to_owned();
    for field in message.descriptor().fields() {
        if means_nothing(&name, field.name()) {
            message.clear_field(&field);
        }
        if !message.has_field(&field) {
            continue;
        }
        let is_unordered = is_unordered(&name, field.name());
        match message.get_field_mut(&field) {
            Value::Message(inner) => walk(inner),
            Value::List(items) => {
                for item in &mut *items {
                    match item {
                        Value::Message(inner) => walk(inner),
                        Value::String(text) if name == "StatusResponse" => {
                            *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                        }
                        _ => {}
                    }
                }
                if is_unordered {
                    items.sort_by_key(schema::value_text);
                }
            }
            _ => {}
        }
    }
}

fn means_nothing(message: &str, field: &str) -> bool {
    match message {
        "ResponseHeader" => field == "raft_term",
        "StatusResponse" => {
            ["raftTerm", "raftIndex", "raftAppliedIndex", "dbSize", "dbSizeInUse"].contains(&field)
        }
        _ => false,
    }
}

fn is_unordered(message: &str, field: &str) -> bool {
    [
        ("LeaseLeasesResponse", "leases"),
        ("LeaseTimeToLiveResponse", "keys"),
        ("AlarmResponse", "alarms"),
        ("StatusResponse", "errors"),
    ]
    .contains(&(message, field))
}

/// One message out of the pieces of a streamed range, if each piece is what it has to be.
fn join_pieces(answer: &mut Answer) {
    let Some((last, pieces)) = answer.messages.split_last() else { return };
    let part = |message: &DynamicMessage, field: &str| {
        let response = message.get_field_by_name("range_response")?;
        response
            .as_message()
            .map(|response| response.get_field_by_name(field).map(|v| v.into_owned()))?
    };
    let mut kvs = Vec::new();
    for piece in pieces {
        let keys = part(piece, "kvs").and_then(|keys| keys.as_list().map(<[Value]>::to_vec));
        let is_last = ["count", "more"].iter().any(|field| {
            let value = part(piece, field);
            value.is_some_and(|value| value != Value::I64(0) && value != Value::Bool(false))
        });
        match keys {
            Some(keys) if !keys.is_empty() && !is_last => kvs.extend(keys),
            // Left as it is, which the comparison will not like.
            _ => return,
        }
    }
    let mut whole = last.clone();
    if let Some(response) =
        whole.get_field_by_name_mut("range_response").and_then(Value::as_message_mut)
        && let Some(list) = response.get_field_by_name_mut("kvs").and_then(Value::as_list_mut)
    {
        kvs.append(list);
        *list = kvs;
    }
    answer.messages = vec![whole];
}

/// What is left of a snapshot: its version, and whether its parts make a whole. The inside is the
/// server's own.
fn check_snapshot(answer: &mut Answer) {
    let Some((last, parts)) = answer.messages.split_last() else { return };
    let bytes = |message: &DynamicMessage| {
        message
            .get_field_by_name("blob")
            .and_then(|blob| blob.as_bytes().cloned())
            .unwrap_or_default()
    };
    let remaining = |message: &DynamicMessage| {
        message.get_field_by_name("remaining_bytes").and_then(|left| left.as_u64()).unwrap_or(0)
    };
    let mut left: u64 = parts.iter().map(|part| bytes(part).len() as u64).sum();
    let total = left;
    let mut hash = Sha256::new();
    let mut is_announced = true;
    for part in parts {
        let blob = bytes(part);
        left -= blob.len() as u64;
        is_announced &= remaining(part) == left;
        hash.update(&blob);
    }
    let is_hashed = bytes(last)[..] == hash.finalize()[..];
    let is_recognised = total > 0 && total.is_multiple_of(512);
    if !(is_announced && is_hashed && is_recognised && remaining(last) == 0) {
        answer.text = format!("announced {is_announced}, hashed {is_hashed}, {total} bytes");
    }
    let mut whole = last.clone();
    whole.clear_field_by_name("blob");
    let is_versioned = parts
        .iter()
        .all(|part| part.get_field_by_name("version") == last.get_field_by_name("version"));
    if !is_versioned {
        whole.clear_field_by_name("version");
    }
    answer.messages = vec![whole];
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use metastore_proto::etcdserverpb as pb;
    use prost::Message as _;

    use super::*;
    use crate::wire::Reply;

    fn snapshot(change: impl Fn(&mut Vec<pb::SnapshotResponse>)) -> String {
        let data = [vec![1; 512], vec![2; 1024]];
        let part = |remaining_bytes, blob: &[u8]| pb::SnapshotResponse {
            remaining_bytes,
            blob: Bytes::copy_from_slice(blob),
            version: "3.7.0".to_owned(),
            ..pb::SnapshotResponse::default()
        };
        let hash = Sha256::digest(data.concat());
        let mut messages = vec![part(1024, &data[0]), part(0, &data[1]), part(0, &hash)];
        change(&mut messages);
        let messages = messages.iter().map(|message| message.encode_to_vec().into()).collect();
        let reply = Reply { code: Some(0), messages, ..Reply::default() };
        let mut answer = Answer::of("/etcdserverpb.Maintenance/Snapshot", reply);
        put_aside(&mut answer);
        answer.text
    }

    #[test]
    fn a_snapshot_is_told_from_a_broken_one() {
        assert_eq!(snapshot(|_| {}), "");
        for change in [
            |parts: &mut Vec<pb::SnapshotResponse>| parts[0].remaining_bytes += 1,
            |parts: &mut Vec<pb::SnapshotResponse>| parts[2].blob = vec![0; 32].into(),
            |parts: &mut Vec<pb::SnapshotResponse>| drop(parts.remove(1)),
            |parts: &mut Vec<pb::SnapshotResponse>| parts[1].blob = vec![2; 1023].into(),
        ] {
            assert_ne!(snapshot(change), "");
        }
    }

    fn streamed(pieces: &[pb::RangeResponse]) -> usize {
        let encoded = pieces.iter().map(|piece| {
            let message = pb::RangeStreamResponse { range_response: Some(piece.clone()) };
            message.encode_to_vec().into()
        });
        let reply = Reply { code: Some(0), messages: encoded.collect(), ..Reply::default() };
        let mut answer = Answer::of("/etcdserverpb.KV/RangeStream", reply);
        put_aside(&mut answer);
        answer.messages.len()
    }

    #[test]
    fn pieces_of_a_streamed_range_become_one_unless_one_is_odd() {
        let kvs = vec![metastore_proto::mvccpb::KeyValue { key: "a".into(), ..Default::default() }];
        let piece = pb::RangeResponse { kvs, ..pb::RangeResponse::default() };
        let counted = pb::RangeResponse { count: 2, ..piece.clone() };
        assert_eq!(streamed(&[piece.clone(), piece.clone(), counted.clone()]), 1);
        assert_eq!(streamed(&[counted.clone(), counted.clone()]), 2, "counted before the end");
        assert_eq!(streamed(&[pb::RangeResponse::default(), counted]), 2, "an empty piece");
    }
}
