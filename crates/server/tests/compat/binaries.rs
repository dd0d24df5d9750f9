//! Where the programs are: etcd and etcdctl from `compat/build`, the subject from this build.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The programs of a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    /// The folder of `etcd` and `etcdctl`.
    pub(crate) folder: PathBuf,
    /// The server of reference.
    pub(crate) etcd: PathBuf,
    /// The client that drives both.
    pub(crate) etcdctl: PathBuf,
    /// The server under test.
    pub(crate) subject: PathBuf,
}

/// The root of the checkout.
pub(crate) fn checkout() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Finds the programs, building etcd once if need be; `None` says that the caller is to be skipped.
pub(crate) fn find() -> Option<&'static Binaries> {
    static FOUND: OnceLock<Option<Binaries>> = OnceLock::new();
    FOUND.get_or_init(build).as_ref()
}

fn build() -> Option<Binaries> {
    let output = Command::new(checkout().join("compat/build"))
        .output()
        .expect("compat/build is part of the checkout and bash is installed");
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(GO_IS_ABSENT) {
        let required = std::env::var_os("METASTORE_REQUIRE_GO").is_some();
        assert!(!required, "METASTORE_REQUIRE_GO is set, but: {complaint}");
        // Past the capture of the test harness: a skipped comparison must not look like a passed one.
        let _ = writeln!(std::io::stderr(), "SKIPPED comparison with etcd: {}", complaint.trim());
        return None;
    }
    assert!(output.status.success(), "compat/build failed:\n{complaint}");
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let subject = std::env::var_os("METASTORE_SESSION_SUBJECT")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_metastore").into());
    Some(Binaries {
        etcd: folder.join("etcd"),
        etcdctl: folder.join("etcdctl"),
        subject: subject.into(),
        folder,
    })
}

/// How `compat/build` says that it has no Go.
const GO_IS_ABSENT: i32 = 3;
