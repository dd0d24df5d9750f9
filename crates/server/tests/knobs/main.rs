//! Settings that work, each seen to work from outside: the real program, started with the flag.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compaction;
mod docs;
mod listeners;
mod member;
mod progress;
mod quota;
mod sizes;
mod slow;
