//! Between etcd's messages and the commands of the log: checks on the way in, headers on the way
//! out.
//!
//! ```text
//! PutRequest ──▶ request::put ──▶ command::Put ──▶ log ──▶ Outcome ──▶ response::put ──▶ PutResponse
//!                    └─▶ EtcdError, in etcd's order of checks
//! ```
//!
//! For example a put without a key is refused with `key is not provided` even if it also gives a
//! value that it wants ignored. What needs the state, such as whether a lease exists, is checked
//! when the command is applied and not here.

mod overlap;
pub mod request;
pub mod response;
