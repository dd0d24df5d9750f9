//! The program itself: how it starts, what it refuses, how it stops, what is there afterwards.
//!
//! ```text
//! test ──▶ metastore (the binary of this build) ──▶ log line by line, exit status
//!   └────▶ gRPC and plain HTTP, as any client speaks them
//! ```
//!
//! For example a member that is asked to stop while a client watches: the client reads
//! `Unavailable`, the log says `stopped`, the exit status is 0, all within the bound.
//!
//! What requests answer is tested elsewhere (`tests/compat`, `tests/clients`); that nothing is lost
//! when the process is killed as well.

mod engines;
mod http;
mod member;
mod places;
mod refusals;
mod restart;
mod start;
mod stop;
