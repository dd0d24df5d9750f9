//! How the world reaches a member: configuration, listeners, services.

pub mod config;
pub mod telemetry;
