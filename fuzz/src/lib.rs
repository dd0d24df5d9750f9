//! What the fuzz targets share: how bytes become the thing that is attacked.
//!
//! ```text
//! libFuzzer ──▶ bytes ──▶ src/bin/<target>.rs ──▶ the crate's own way in ──▶ no panic, and what
//!    ▲                        ▲                                              was understood holds
//!    └── coverage             └── fuzz/corpus/<target>, begun by src/bin/seeds.rs
//! ```
//!
//! | target | attacks | with |
//! |---|---|---|
//! | `log` | `node::wal::replay`, then `Consensus::open` | segments whose checksums are right |
//! | `snapshot` | `state::checkpoint::restore`, then `State::open` | a stream whose checksums are right |
//! | `commands` | `state::command::decode_batch`, then `State::apply_entry` | batches |
//! | `requests` | `server`'s checks and conversions, then `State::apply_entry` | protobuf messages |
//! | `planted` | the fuzzer itself | a panic that it has to find |
//!
//! Damage that a checksum finds is tested elsewhere (`node/tests/recovery.rs`); here checksums are put
//! right first, so that what lies behind them is reached.
//!
//! A target is run by `cargo xtask fuzz <target>`; tests run each for a few seconds.

pub mod log;
pub mod snapshot;
pub mod store;
