//! Multi-version concurrency control: what a version is and how versions are found.
//!
//! ```text
//!              revision 2     3         4            5
//! key a        put v1 ──── put v2 ── deleted
//! key b                    put v1 ─────────────── put v2
//! read at 3    a = v2 (create 2, mod 3, version 2)   b = v1
//! read at 4    a absent                              b = v1
//! ```
//!
//! A revision is consumed by each operation that changed at least one key; all changes of one
//! transaction share it. Reading at a revision sees, of each key, its newest version that is not
//! newer than that revision.

pub mod hash;
pub mod index;
pub mod keys;
pub(crate) mod pages;
pub mod range;
pub mod record;
pub(crate) mod write;
