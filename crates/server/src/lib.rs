//! How the world reaches the store.

#[path = "core_scaffold.rs"]
pub mod core;
pub mod grpc;
pub mod handle;
pub mod http;
pub mod limits;
pub mod listen;
pub mod watch_queue;

#[cfg(test)]
mod toy_member;
