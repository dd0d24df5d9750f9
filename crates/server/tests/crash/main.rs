//! What the real binary keeps when it is killed, its files are damaged or its disk is full.
//!
//! ```text
//! kills      clients write ─▶ kill -9 ─▶ start ─▶ replay by a watch, read back, leases ─▶ again
//! damage     stop ─▶ cut, flip, remove ─▶ start: everything, a prefix, or a refusal that says why
//! engine_files   the same for the files of RocksDB
//! full_disk  a small disk ─▶ fill it ─▶ NOSPACE ─▶ make room ─▶ writes again
//! ```
//!
//! What is right is said by [`oracle::Oracle`] and [`leases::LeaseBook`], which know nothing of
//! processes and have tests of their own, with planted violations.
//!
//! A `kill -9` loses nothing that the kernel was given, synced or not: what a power cut loses is
//! tested on the simulated disk.

#[path = "../support/mod.rs"]
mod support;

mod damage;
#[cfg(feature = "rocksdb")]
mod engine_files;
mod full_disk;
mod keyspace;
mod kills;
mod leases;
mod load;
mod oracle;
mod oracle_tests;
mod requests;
mod steps;
mod verify;
