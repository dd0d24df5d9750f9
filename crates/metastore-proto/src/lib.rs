//! The etcd v3 messages and services, generated at build time; no logic.
//!
//! ```text
//!   proto/*.proto ──▶ mvccpb, authpb, etcdserverpb, ...     messages and clients
//!        │
//!        └─ KeyValue in responses ⇒ bytes ──▶ server::...   what changes thereby, and services
//! ```
//!
//! The modules are named like the protobuf packages. Names, numbers and types are those of etcd
//! 3.7, so that its clients are ours.
//!
//! ```
//! use metastore_proto::{etcdserverpb, mvccpb, server};
//! use prost::Message;
//!
//! // What the server stores is what it sends ...
//! let stored = mvccpb::KeyValue { key: "a".into(), version: 1, ..Default::default() };
//! let sent = server::etcdserverpb::RangeResponse {
//!     kvs: vec![stored.encode_to_vec().into()],
//!     count: 1,
//!     ..Default::default()
//! };
//! // ... and what a client reads.
//! let read = etcdserverpb::RangeResponse::decode(&sent.encode_to_vec()[..]).unwrap();
//! assert_eq!(read.kvs, [stored]);
//! ```
//!
//! What it does not do: it checks nothing. Whether a request makes sense is the server's business.

pub mod codec;

/// Generated code has its own style.
macro_rules! generated {
    ($path:expr) => {
        include!(concat!(env!("OUT_DIR"), $path));
    };
}

/// What is stored and what watchers are told.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod mvccpb {
    generated!("/mvccpb.rs");
}

/// Users, roles and what they may touch.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod authpb {
    generated!("/authpb.rs");
}

/// The services that clients of the store use.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod etcdserverpb {
    generated!("/etcdserverpb.rs");
}

/// A lock as a service.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod v3lockpb {
    generated!("/v3lockpb.rs");
}

/// An election as a service.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod v3electionpb {
    generated!("/v3electionpb.rs");
}

/// What every gRPC server has, named by its package.
pub mod grpc {
    /// Whether a server serves.
    pub mod health {
        /// The only version there is.
        #[allow(missing_docs, clippy::all, reason = "generated")]
        pub mod v1 {
            generated!("/grpc.health.v1.rs");
        }
    }
}

pub mod server;

/// The description of all of the above: a `FileDescriptorSet` as bytes, for programs that look at any
/// message without knowing its type.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
