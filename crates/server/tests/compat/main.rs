//! MetaStore beside etcd: the same command lines, the same answers.
//!
//! ```text
//!   compat/session/kv.session ──┬──▶ etcdctl ──▶ etcd         ──▶ transcript ─┐
//!                               └──▶ etcdctl ──▶ the subject  ──▶ transcript ─┴─▶ must be equal
//!   README.md, docs/**/*.md ───────▶ bash    ──▶ the subject  ──▶ as the page shows
//! ```
//!
//! Both etcd and etcdctl are built from their published Go modules by `compat/build`. Where Go is
//! absent the tests say so and are skipped; with `METASTORE_REQUIRE_TOOLS=1` they fail instead.
//! The sessions are played a second time through the etcdctl 3.4 that Debian ships, where there is one.
//!
//! The subject is the `metastore` binary of this build. `METASTORE_SESSION_SUBJECT=/path/to/binary`
//! puts another one in its place: with etcd itself there, every session passes.
//!
//! It does not test what etcdctl cannot say (raw gRPC, REST) and it measures nothing.

mod binaries;
mod docs;
mod markdown;
mod member;
mod normalise;
mod runner;
mod script;
mod sessions;
mod transcript;
