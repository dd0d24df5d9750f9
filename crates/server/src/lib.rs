//! How the world reaches a member: configuration, listeners, services, and the thread that runs it.

// In reading order.
pub mod config;
pub mod telemetry;

pub mod background;
pub mod boot;
pub mod checkpoints;
pub mod compactor;
pub mod core;
pub mod engines;
pub mod handle;
pub mod reply;
pub mod run;
pub mod slow;
pub mod sweep_pace;
pub mod waiters;
pub mod watch_queue;

pub mod grpc;
pub mod http;
pub mod listen;

pub mod limits;

#[cfg(test)]
mod toy_member;
