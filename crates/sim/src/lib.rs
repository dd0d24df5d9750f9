//! The simulator: the product's own machines on a disk that fails, under one seed.
//!
//! ```text
//! seed ─▶ World ─┬─▶ Consensus (the real one) ── Append ─▶ Disk: loses, tears, reorders, fails
//!                ├─▶ clients, who remember every acknowledgement
//!                └─▶ Oracle: nothing acknowledged is lost, nothing appears from nowhere
//! ```
//!
//! One thread, no clock and no chance but the seed: a run that fails is run again with the seed
//! it prints. What is simulated is everything around the machine; the machine is not changed.

pub mod disk;
pub mod oracle;
pub mod world;

pub use world::{Planted, Report, run};
