//! What a server needs: the services, and the messages that carry bytes it has prepared.
//!
//! A `KeyValue` is encoded once, when it is written, and sent ever after as it is. In the messages
//! here the embedded `KeyValue` fields are therefore `bytes`, which protobuf writes in the same way
//! as an embedded message; an absent one is the empty string of bytes, because a stored key is
//! never empty.

/// The services that clients of the store use.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod etcdserverpb {
    generated!("/server/etcdserverpb.rs");
}

/// A lock as a service.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod v3lockpb {
    generated!("/server/v3lockpb.rs");
}

/// An election as a service.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod v3electionpb {
    generated!("/server/v3electionpb.rs");
}

/// What every gRPC server has, named by its package.
pub mod grpc {
    /// Whether a server serves.
    pub mod health {
        /// The only version there is.
        #[allow(missing_docs, clippy::all, reason = "generated")]
        pub mod v1 {
            generated!("/server/grpc.health.v1.rs");
        }
    }
}
