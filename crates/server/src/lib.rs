//! How the world reaches the store.

pub mod grpc;
pub mod handle;
pub mod http;
pub mod listen;
