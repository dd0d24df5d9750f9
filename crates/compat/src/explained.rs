//! The differences that have a reason: each is one entry here and one line in `docs/compat.md`.
//!
//! An entry says as exactly as it can where it holds, for what it explains is not looked at again.

use bytes::Bytes;
use metastore_proto::etcdserverpb as pb;
use prost::Message;

use crate::answer::{Answer, Difference};
use crate::ties;
use crate::watching::PIECE;
use crate::wire::Call;
use crate::world::World;

/// What is to be explained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// What is known of the state.
    pub(crate) world: &'a World,
    /// What was asked.
    pub(crate) call: &'a Call,
    /// What etcd answered; `None` for streams that are not at their end.
    pub(crate) etcd: Option<&'a Answer>,
    /// What the subject answered.
    pub(crate) subject: Option<&'a Answer>,
    /// One place at which the answers differ.
    pub(crate) difference: &'a Difference,
}

/// Why this difference is none, if there is a reason: the name of its entry.
#[must_use]
pub(crate) fn explanation(question: Question<'_>) -> Option<&'static str> {
    TABLE.iter().find(|entry| (entry.applies)(question)).map(|entry| entry.name)
}

/// A reason and where it holds.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// How the line in `docs/compat.md` begins.
    pub name: &'static str,
    applies: fn(Question<'_>) -> bool,
}

/// All reasons.
pub const TABLE: &[Explained] = &[
    Explained {
        name: "`Maintenance.Hash`",
        applies: |question| question.difference.place == "HashResponse.hash",
    },
    Explained {
        name: "`Maintenance.HashKV` at a compacted revision",
        applies: hash_of_a_compaction,
    },
    Explained { name: "Lease expiry", applies: lease_after_a_restart },
    Explained { name: "`RangeStream` with a target and no order", applies: stream_by_target },
    Explained { name: "Sorted by version, revision or value", applies: tied },
    Explained { name: "Transactions nested more than 40 deep", applies: nested_deep },
    Explained {
        name: "A watch that catches up with much history",
        applies: |question| {
            let Difference { place, subject, .. } = question.difference;
            place.ends_with("subject against its own history") && subject.starts_with(PIECE)
        },
    },
    Explained {
        name: "A request that ends where something has to be",
        applies: |question| {
            // In the prefix of a message, or behind one that says that gzip follows.
            let is_cut =
                question.call.body.as_ref().is_some_and(|body| {
                    (1..5).contains(&body.len()) || body[..] == [1, 0, 0, 0, 0]
                });
            // Behind that, a stream of requests is taken for one that has ended.
            let places =
                if question.call.path == KEEP_ALIVE { &["text", "code"][..] } else { &["text"] };
            is_cut && places.contains(&question.difference.place.as_str())
        },
    },
    Explained { name: "A second request where one is taken", applies: asked_twice },
    Explained {
        name: "A known field of another wire type",
        applies: |question| {
            let is_meant = question.call.body.as_ref().is_some_and(|body| body[..] == *WRONG_TYPE);
            is_meant
                && ["code", "text", "messages.len"].contains(&question.difference.place.as_str())
        },
    },
];

/// A method that takes one request and gives a stream.
pub(crate) const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
/// A method that takes a stream of requests.
pub(crate) const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// The frame of a range request whose key is a number.
pub(crate) const WRONG_TYPE: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x05];

fn hash_of_a_compaction(question: Question<'_>) -> bool {
    let Some(asked) = request::<pb::HashKvRequest>(question.call, "/HashKV") else { return false };
    // 0 is now, but also a revision that can be compacted to.
    let now = if asked.revision == 0 { question.world.revision } else { asked.revision };
    let compactions = &question.world.compactions;
    (compactions.contains(&asked.revision) || compactions.contains(&now))
        && !question.difference.place.contains("header")
}

fn lease_after_a_restart(question: Question<'_>) -> bool {
    let seconds = |text: &str| text.parse::<i64>().unwrap_or(0);
    let Difference { place, etcd, subject } = question.difference;
    let is_less = seconds(etcd) > seconds(subject) && seconds(subject) > 0;
    question.world.restarts_s > 0 && place == "LeaseTimeToLiveResponse.TTL" && is_less
}

fn stream_by_target(question: Question<'_>) -> bool {
    let asked = request::<pb::RangeRequest>(question.call, "/RangeStream");
    let is_refused = question.subject.is_some_and(|subject| {
        subject.code == Some(12)
            && subject.text == "RangeStream does not support custom sort orders"
    });
    is_refused && asked.is_some_and(|asked| asked.sort_order == 0 && asked.sort_target != 0)
}

fn asked_twice(question: Question<'_>) -> bool {
    let is_refused = question.etcd.is_some_and(|etcd| {
        etcd.text
            == "cardinality violation: received multiple request messages for \
                non-client-streaming RPC"
    });
    is_refused && question.call.path == RANGE_STREAM
}

fn tied(question: Question<'_>) -> bool {
    let (Some(etcd), Some(subject)) = (question.etcd, question.subject) else { return false };
    ties::are_all(question.call, etcd, subject)
}

fn nested_deep(question: Question<'_>) -> bool {
    let is_refused = question
        .subject
        .is_some_and(|subject| subject.text == "etcdserver: too many operations in txn request");
    is_refused
        && request::<pb::TxnRequest>(question.call, "/Txn")
            .is_none_or(|txn| depth(&txn) > DEPTH_MAX)
}

/// The server's bound.
pub(crate) const DEPTH_MAX: usize = 40;

/// How many transactions are inside one another, this one included.
fn depth(txn: &pb::TxnRequest) -> usize {
    let nested = txn.success.iter().chain(&txn.failure).filter_map(|op| match &op.request {
        Some(pb::request_op::Request::RequestTxn(nested)) => Some(depth(nested)),
        _ => None,
    });
    1 + nested.max().unwrap_or(0)
}

/// The request of a call of this method, if it is one.
fn request<M: Message + Default>(call: &Call, method: &str) -> Option<M> {
    let request: &Bytes = call.requests.first()?;
    if call.path.ends_with(method) { M::decode(&request[..]).ok() } else { None }
}
