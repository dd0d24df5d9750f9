//! MetaStore beside etcd, request by request: a randomized driver that sends the same to both, as
//! processes, and compares every field of every answer.
//!
//! ```text
//! Generator ─▶ Step ─▶ Driver ─┬─▶ etcd ──────▶ Answer ─▶ put aside ─┐
//!     ▲                        └─▶ metastore ─▶ Answer ─▶ put aside ─┴─▶ compare ─▶ explained?
//!     └────────── World ◀───────── etcd's answers                                      │ no
//!                                                                                      ▼
//!                                              fewest steps, diff, seed ◀── Report ◀── Found
//! ```
//!
//! In reading order: [`step`] (what is done), [`generate`] (what is asked), [`driver`] (how),
//! [`answer`] (what is compared), [`explained`] (what may differ, and why), [`run`] (whole runs), [`scene`] (what takes its time),
//! [`surface`] (what all of it shows of etcd's API), [`fault`] (that it would notice).
//!
//! ```
//! use compat::generate::{Generator, Profile};
//! use compat::world::World;
//! let world = World::new();
//! let mut one = Generator::new(7, Profile::of(7));
//! let mut other = Generator::new(7, Profile::of(7));
//! // A seed is a run.
//! assert_eq!(one.step(&world), other.step(&world));
//! ```
//!
//! What it does not do: it knows nothing of what MetaStore is made of, and it does not say what is
//! right. etcd does.

pub mod answer;
mod aside;
pub mod coverage;
pub mod driver;
pub mod explained;
pub mod fault;
pub mod generate;
pub mod process;
pub mod run;
pub mod scene;
pub mod schema;
pub mod step;
pub mod surface;
mod ties;
mod watching;
pub mod wire;
pub mod world;
