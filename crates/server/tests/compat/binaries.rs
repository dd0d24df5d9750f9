//! Where the programs are: etcd and etcdctl from `compat/build`, the subject from this build.
//!
//! A tool that a build needs and this machine lacks, Go for example, skips what depends on it, which is
//! said on standard error. With `METASTORE_REQUIRE_TOOLS=1` it is a failure instead: so continuous
//! integration cannot become green by testing less.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, OnceLock};

/// The programs of a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    /// The folder of `etcd` and `etcdctl`.
    pub(crate) folder: PathBuf,
    /// The server of reference.
    pub(crate) etcd: PathBuf,
    /// The client that drives both.
    pub(crate) etcdctl: PathBuf,
    /// What stands before the address in etcdctl's `--endpoints`.
    #[allow(dead_code, reason = "only etcdctl asks for it")]
    pub(crate) scheme: &'static str,
    /// The server under test.
    pub(crate) subject: PathBuf,
}

impl Binaries {
    /// The flags for each engine of the subject. What somebody else has put there has one of its own.
    pub(crate) fn engines(&self) -> impl Iterator<Item = &'static [String]> + use<> {
        static ROCKSDB: LazyLock<[String; 1]> = LazyLock::new(|| ["--engine=rocksdb".to_owned()]);
        let is_ours = self.subject == Path::new(env!("CARGO_BIN_EXE_metastore"));
        let rocksdb = (is_ours && cfg!(feature = "rocksdb")).then(|| &ROCKSDB[..]);
        std::iter::once(&[][..]).chain(rocksdb)
    }
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

/// The same with the etcdctl 3.4 of Debian's package `etcd-client` in the place of the current one. It
/// gets URLs as endpoints, for it sends them to the member as they are.
#[allow(dead_code, reason = "the client programs do not ask for it")]
pub(crate) fn find_with_older_etcdctl() -> Option<Binaries> {
    let binaries = find()?;
    let version = Command::new("etcdctl").arg("version").env("ETCDCTL_API", "3").output();
    let is_older = version.is_ok_and(|output| output.stdout.starts_with(b"etcdctl version: 3.4."));
    if !is_older {
        return skipped("there is no etcdctl 3.4 (Debian 12: etcd-client)");
    }
    Some(Binaries { etcdctl: "etcdctl".into(), scheme: "http://", ..binaries.clone() })
}

fn build() -> Option<Binaries> {
    let folder = built("compat/build", &[])?;
    let subject = std::env::var_os("METASTORE_SESSION_SUBJECT")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_metastore").into());
    Some(Binaries {
        etcd: folder.join("etcd"),
        etcdctl: folder.join("etcdctl"),
        scheme: "",
        subject: subject.into(),
        folder,
    })
}

/// Runs a build script of the checkout and gives the path that it prints.
pub(crate) fn built(script: &str, arguments: &[&str]) -> Option<PathBuf> {
    let output = Command::new(checkout().join(script))
        .args(arguments)
        .output()
        .expect("the script is part of the checkout and bash is installed");
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(TOOL_IS_ABSENT) {
        return skipped(complaint.trim());
    }
    assert!(output.status.success(), "{script} {arguments:?} failed:\n{complaint}");
    Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// How a build script says that it lacks a tool.
const TOOL_IS_ABSENT: i32 = 3;

/// Says that a test is skipped, and why; fails where nothing may be.
pub(crate) fn skipped<T>(why: &str) -> Option<T> {
    let required = std::env::var_os("METASTORE_REQUIRE_TOOLS").is_some();
    assert!(!required, "METASTORE_REQUIRE_TOOLS is set, but: {why}");
    // Past the capture of the test harness: a skipped comparison must not look like a passed one.
    let _ = writeln!(std::io::stderr(), "SKIPPED comparison with etcd: {why}");
    None
}
