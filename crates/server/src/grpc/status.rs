//! What clients are told when a request fails: one table of etcd's errors.
//!
//! Clients of every language recognise an error by its exact text first and by its code second, so
//! both are etcd's, byte for byte. Two rows are odd on purpose and say so.
//!
//! ```
//! use server::grpc::status::EtcdError;
//! let status = tonic::Status::from(EtcdError::EmptyKey);
//! assert_eq!(status.code(), tonic::Code::InvalidArgument);
//! assert_eq!(status.message(), "etcdserver: key is not provided");
//! ```
//!
//! What it does not do: it decides nothing. Which error a request meets is the business of the
//! checks in [`convert`](super::convert), of the state machine and of the handlers.

use state::engine::EngineError;
use state::mvcc::range::ReadError;
use state::outcome::Refusal;
use tonic::{Code, Status};

use crate::handle::Unserved;

/// A row of the table below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table says what each one means")]
pub enum EtcdError {
    EmptyKey,
    KeyNotFound,
    ValueProvided,
    LeaseProvided,
    TooManyOps,
    DuplicateKey,
    InvalidClientApiVersion,
    InvalidSortOption,
    Compacted,
    FutureRevision,
    NoSpace,
    LeaseNotFound,
    LeaseExists,
    LeaseTtlTooLarge,
    WatchCanceled,
    RequestTooLarge,
    TooManyRequests,
    NoLeader,
    NotLeader,
    BadLeaderTransferee,
    LeaderChanged,
    Stopped,
    Timeout,
    Corrupt,
    StreamSortOrder,
    StreamFilter,
    UnknownAlarmAction,
    SnapshotCut,
    StorageFailed,
}

impl EtcdError {
    /// Every row, for tests.
    pub const ALL: [EtcdError; 29] = [
        EtcdError::EmptyKey,
        EtcdError::KeyNotFound,
        EtcdError::ValueProvided,
        EtcdError::LeaseProvided,
        EtcdError::TooManyOps,
        EtcdError::DuplicateKey,
        EtcdError::InvalidClientApiVersion,
        EtcdError::InvalidSortOption,
        EtcdError::Compacted,
        EtcdError::FutureRevision,
        EtcdError::NoSpace,
        EtcdError::LeaseNotFound,
        EtcdError::LeaseExists,
        EtcdError::LeaseTtlTooLarge,
        EtcdError::WatchCanceled,
        EtcdError::RequestTooLarge,
        EtcdError::TooManyRequests,
        EtcdError::NoLeader,
        EtcdError::NotLeader,
        EtcdError::BadLeaderTransferee,
        EtcdError::LeaderChanged,
        EtcdError::Stopped,
        EtcdError::Timeout,
        EtcdError::Corrupt,
        EtcdError::StreamSortOrder,
        EtcdError::StreamFilter,
        EtcdError::UnknownAlarmAction,
        EtcdError::SnapshotCut,
        EtcdError::StorageFailed,
    ];

    /// The code and the text that go out.
    #[must_use]
    pub fn row(self) -> (Code, &'static str) {
        use Code::{
            Cancelled, DataLoss, FailedPrecondition, Internal, InvalidArgument, NotFound,
            OutOfRange, ResourceExhausted, Unavailable, Unimplemented, Unknown,
        };
        match self {
            Self::EmptyKey => (InvalidArgument, "etcdserver: key is not provided"),
            // Not `NotFound`: a put that keeps a value or lease names a key that is absent.
            Self::KeyNotFound => (InvalidArgument, "etcdserver: key not found"),
            Self::ValueProvided => (InvalidArgument, "etcdserver: value is provided"),
            Self::LeaseProvided => (InvalidArgument, "etcdserver: lease is provided"),
            Self::TooManyOps => (InvalidArgument, "etcdserver: too many operations in txn request"),
            Self::DuplicateKey => {
                (InvalidArgument, "etcdserver: duplicate key given in txn request")
            }
            Self::InvalidClientApiVersion => {
                (InvalidArgument, "etcdserver: invalid client api version")
            }
            Self::InvalidSortOption => (InvalidArgument, "etcdserver: invalid sort option"),
            Self::Compacted => {
                (OutOfRange, "etcdserver: mvcc: required revision has been compacted")
            }
            Self::FutureRevision => {
                (OutOfRange, "etcdserver: mvcc: required revision is a future revision")
            }
            Self::NoSpace => (ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            Self::LeaseNotFound => (NotFound, "etcdserver: requested lease not found"),
            Self::LeaseExists => (FailedPrecondition, "etcdserver: lease already exists"),
            Self::LeaseTtlTooLarge => (OutOfRange, "etcdserver: too large lease TTL"),
            Self::WatchCanceled => (Cancelled, "etcdserver: watch canceled"),
            Self::RequestTooLarge => (InvalidArgument, "etcdserver: request is too large"),
            // etcd declares it as ResourceExhausted but sends it as Unknown; clients know the text.
            Self::TooManyRequests => (Unknown, "etcdserver: too many requests"),
            Self::NoLeader => (Unavailable, "etcdserver: no leader"),
            Self::NotLeader => (FailedPrecondition, "etcdserver: not leader"),
            Self::BadLeaderTransferee => (FailedPrecondition, "etcdserver: bad leader transferee"),
            Self::LeaderChanged => (Unavailable, "etcdserver: leader changed"),
            Self::Stopped => (Unavailable, "etcdserver: server stopped"),
            Self::Timeout => (Unavailable, "etcdserver: request timed out"),
            Self::Corrupt => (DataLoss, "etcdserver: corrupt cluster"),
            Self::StreamSortOrder => {
                (Unimplemented, "RangeStream does not support custom sort orders")
            }
            Self::StreamFilter => (Unimplemented, "RangeStream does not support revision filters"),
            // etcd crashes instead, so the text is ours.
            Self::UnknownAlarmAction => (InvalidArgument, "etcdserver: unknown alarm action"),
            // Ours as well: a copy that is not whole must not look whole.
            Self::SnapshotCut => (Unavailable, "etcdserver: snapshot ended early"),
            Self::StorageFailed => (Internal, "etcdserver: read from the storage engine failed"),
        }
    }

    /// The text alone, as it stands in a response that reports an error without failing.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.row().1
    }
}

impl From<EtcdError> for Status {
    fn from(error: EtcdError) -> Status {
        let (code, text) = error.row();
        Status::new(code, text)
    }
}

impl From<Refusal> for EtcdError {
    fn from(refusal: Refusal) -> EtcdError {
        match refusal {
            Refusal::Compacted => EtcdError::Compacted,
            Refusal::FutureRevision => EtcdError::FutureRevision,
            Refusal::NoSpace => EtcdError::NoSpace,
            Refusal::Corrupt => EtcdError::Corrupt,
            Refusal::KeyNotFound => EtcdError::KeyNotFound,
            Refusal::LeaseNotFound => EtcdError::LeaseNotFound,
            Refusal::LeaseExists => EtcdError::LeaseExists,
            Refusal::LeaseTtlTooLarge => EtcdError::LeaseTtlTooLarge,
            Refusal::StaleTerm => EtcdError::LeaderChanged,
            Refusal::UnknownAlarmAction => EtcdError::UnknownAlarmAction,
        }
    }
}

impl From<Unserved> for EtcdError {
    fn from(unserved: Unserved) -> EtcdError {
        match unserved {
            Unserved::Timeout => EtcdError::Timeout,
            Unserved::Stopped => EtcdError::Stopped,
            Unserved::NoLeader => EtcdError::NoLeader,
            Unserved::LeaderChanged => EtcdError::LeaderChanged,
            Unserved::TooManyRequests => EtcdError::TooManyRequests,
        }
    }
}

impl EtcdError {
    /// What a client hears of a read that has no answer; the operator hears of a failing disk.
    #[must_use]
    pub fn of_read(error: ReadError) -> EtcdError {
        match error {
            ReadError::Refused(refusal) => refusal.into(),
            ReadError::Engine(error) => EtcdError::of_storage(&error),
        }
    }

    /// As [`EtcdError::of_read`], for steps that only the storage can fail.
    #[must_use]
    pub fn of_storage(error: &EngineError) -> EtcdError {
        tracing::error!(error = error as &dyn std::error::Error, "failed to read from the engine");
        EtcdError::StorageFailed
    }
}

/// What a client hears of a method that this server does not have.
#[must_use]
pub fn unknown_method(service: &str, method: &str) -> Status {
    Status::unimplemented(format!("unknown method {method} for service {service}"))
}

/// How a method takes its requests: what cannot be read is told in other words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One, and gives one answer.
    One,
    /// One, and gives a stream.
    OneForStream,
    /// A stream.
    Stream,
}

impl Takes {
    /// What the method of this path takes.
    #[must_use]
    pub fn of(path: &str) -> Takes {
        match path {
            "/etcdserverpb.Watch/Watch" | "/etcdserverpb.Lease/LeaseKeepAlive" => Takes::Stream,
            "/etcdserverpb.KV/RangeStream"
            | "/etcdserverpb.Maintenance/Snapshot"
            | "/grpc.health.v1.Health/Watch" => Takes::OneForStream,
            _ => Takes::One,
        }
    }
}

/// Puts etcd's words on the errors that the gRPC library raises by itself.
///
/// Most of them only a broken client can meet; the sizes, though, and the depth of a transaction
/// are met by honest ones.
#[must_use]
pub fn in_etcds_words(status: Status, takes: Takes) -> Status {
    match status.code() {
        Code::Internal => unreadable(status.message(), takes).unwrap_or(status),
        Code::OutOfRange => oversize(status.message()).unwrap_or(status),
        Code::ResourceExhausted => oversize_unpacked(status.message()).unwrap_or(status),
        _ => status,
    }
}

/// A request that could not be read.
fn unreadable(message: &str, takes: Takes) -> Option<Status> {
    const FLAG: &str = "protocol error: received message with invalid compression flag: ";
    // Nothing but transactions is nested.
    if message.ends_with("recursion limit reached") {
        return Some(EtcdError::TooManyOps.into());
    }
    if message.starts_with("failed to decode Protobuf message") {
        let failed = match takes {
            Takes::One => "error unmarshalling request",
            Takes::OneForStream | Takes::Stream => "failed to unmarshal the received message",
        };
        let why = "proto: cannot parse invalid wire-format data";
        return Some(Status::internal(format!("grpc: {failed}: {why}")));
    }
    if let Some(rest) = message.strip_prefix(FLAG) {
        let flag = rest.split(' ').next()?;
        return Some(Status::internal(format!("grpc: received unexpected payload format {flag}")));
    }
    if let Some(rest) = message.strip_prefix("Error decompressing: ") {
        let (failed, why) = match rest.split(", while").next()? {
            "unexpected end of file" => ("decompress the message", "unexpected EOF"),
            "invalid gzip header" => ("decompress the message", "gzip: invalid header"),
            "incomplete deflate stream" => ("read decompressed data", "unexpected EOF"),
            other => ("read decompressed data", other),
        };
        return Some(Status::internal(format!("grpc: failed to {failed}: {why}")));
    }
    if message.starts_with("protocol error: received message with compressed-flag") {
        let text = "grpc: compressed flag set with identity or empty encoding";
        return Some(Status::internal(text));
    }
    match message {
        "Missing request message." if takes == Takes::One => Some(Status::unknown("EOF")),
        "Missing request message." => Some(Status::internal(
            "cardinality violation: received no request message from non-client-streaming RPC",
        )),
        "Unexpected EOF decoding stream." if takes == Takes::One => {
            Some(Status::unknown("unexpected EOF"))
        }
        "Unexpected EOF decoding stream." => Some(Status::internal("unexpected EOF")),
        _ => None,
    }
}

/// A message above the limit, for which the library has another code than every other gRPC server.
fn oversize(message: &str) -> Option<Status> {
    let rest = message.strip_prefix("Error, decoded message length too large: found ")?;
    let numbers: Vec<&str> =
        rest.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    let [found, limit] = numbers[..] else { return None };
    let text = format!("grpc: received message larger than max ({found} vs. {limit})");
    Some(Status::resource_exhausted(text))
}

/// A message that is above the limit when it is unpacked.
fn oversize_unpacked(message: &str) -> Option<Status> {
    let limit = message.strip_prefix("Error decompressing: size limit, of ")?.split(' ').next()?;
    let text = format!("grpc: received message after decompression larger than max {limit}");
    Some(Status::resource_exhausted(text))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_errors_look_the_same_to_a_client() {
        let texts: HashSet<&str> = EtcdError::ALL.iter().map(|error| error.text()).collect();
        assert_eq!(texts.len(), EtcdError::ALL.len());
    }

    #[test]
    fn a_message_above_the_limit_is_reported_as_by_every_grpc_server() {
        let status = Status::out_of_range(
            "Error, decoded message length too large: found 2097153 bytes, the limit is: 2097152 \
             bytes",
        );
        let status = in_etcds_words(status, Takes::One);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "grpc: received message larger than max (2097153 vs. 2097152)"
        );
    }

    #[test]
    fn a_message_above_the_limit_once_unpacked_is_reported_likewise() {
        let status = Status::resource_exhausted(
            "Error decompressing: size limit, of 2097152 bytes, exceeded while decompressing \
             message",
        );
        let text = "grpc: received message after decompression larger than max 2097152";
        assert_eq!(in_etcds_words(status, Takes::One).message(), text);
        let full = Status::resource_exhausted(EtcdError::NoSpace.text());
        assert_eq!(in_etcds_words(full, Takes::One).message(), EtcdError::NoSpace.text());
    }

    #[test]
    fn a_transaction_nested_too_deep_to_be_read_has_too_many_operations() {
        use metastore_proto::etcdserverpb as pb;
        use prost::Message;

        let mut txn = pb::TxnRequest::default();
        for _ in 0..200 {
            let request = Some(pb::request_op::Request::RequestTxn(txn));
            txn = pb::TxnRequest {
                success: vec![pb::RequestOp { request }],
                ..pb::TxnRequest::default()
            };
        }
        let error = pb::TxnRequest::decode(&txn.encode_to_vec()[..]).expect_err("it is too deep");
        let status = in_etcds_words(Status::internal(error.to_string()), Takes::One);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), EtcdError::TooManyOps.text());
    }

    #[test]
    fn a_request_that_cannot_be_read_is_refused_in_the_words_of_every_grpc_server() {
        for (ours, code, text) in [
            ("Missing request message.", Code::Unknown, "EOF"),
            (
                "Error decompressing: unexpected end of file, while sending request",
                Code::Internal,
                "grpc: failed to decompress the message: unexpected EOF",
            ),
            (
                "Error decompressing: incomplete deflate stream, while sending request",
                Code::Internal,
                "grpc: failed to read decompressed data: unexpected EOF",
            ),
            ("Unexpected EOF decoding stream.", Code::Unknown, "unexpected EOF"),
            (
                "failed to decode Protobuf message: RangeRequest.key: buffer underflow",
                Code::Internal,
                "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
            ),
            (
                "protocol error: received message with invalid compression flag: 2 (valid flags \
                 are 0 and 1), while sending request",
                Code::Internal,
                "grpc: received unexpected payload format 2",
            ),
            (
                "protocol error: received message with compressed-flag but no grpc-encoding was \
                 specified",
                Code::Internal,
                "grpc: compressed flag set with identity or empty encoding",
            ),
        ] {
            let status = in_etcds_words(Status::internal(ours), Takes::One);
            assert_eq!((status.code(), status.message()), (code, text), "{ours}");
        }
    }

    #[test]
    fn a_stream_tells_in_other_words_what_it_cannot_read() {
        let garbage = "failed to decode Protobuf message: WatchRequest: buffer underflow";
        let unreadable = "grpc: failed to unmarshal the received message: \
                          proto: cannot parse invalid wire-format data";
        let none =
            "cardinality violation: received no request message from non-client-streaming RPC";
        let cut = "Unexpected EOF decoding stream.";
        for (path, ours, text) in [
            ("/etcdserverpb.Watch/Watch", garbage, unreadable),
            ("/etcdserverpb.Lease/LeaseKeepAlive", cut, "unexpected EOF"),
            ("/etcdserverpb.KV/RangeStream", garbage, unreadable),
            ("/etcdserverpb.Maintenance/Snapshot", "Missing request message.", none),
            ("/grpc.health.v1.Health/Watch", cut, "unexpected EOF"),
        ] {
            let status = in_etcds_words(Status::internal(ours), Takes::of(path));
            assert_eq!((status.code(), status.message()), (Code::Internal, text), "{path}: {ours}");
        }
    }

    #[test]
    fn an_error_of_the_store_keeps_its_words() {
        let status = in_etcds_words(EtcdError::FutureRevision.into(), Takes::One);
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(status.message(), EtcdError::FutureRevision.text());
    }
}
